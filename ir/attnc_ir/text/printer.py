"""Writes modules as text in one canonical form: equal modules, equal text, which reads back the same."""

from __future__ import annotations

import dataclasses

from attnc_ir.graph import Graph, Module
from attnc_ir.kinds import Field, kind_of, role_of
from attnc_ir.op import Op, attribute_fields, operand_fields
from attnc_ir.types import TensorType

_WIDTH = 120
"""A header longer than this gives each input a line of its own."""


def format_module(module: Module) -> str:
    """The text of a module, ending in a newline: one op per line, defaults left out.

    >>> from attnc_ir.text import parse
    >>> print(format_module(parse("graph @f(%x:f64[2]){%y=iota{axis=-1,type=f64[2]} return %y}")), end="")
    graph @f(%x: f64[2]) -> f64[2] {
      %y = iota {type = f64[2]}
      return %y
    }
    """
    return "\n".join(format_graph(graph) for graph in module)


def format_graph(graph: Graph) -> str:
    """The text of one graph, ending in a newline."""
    lines = [_header(graph), *(f"  {format_op(op)}" for op in graph.ops)]
    lines.append(f"  {' '.join(['return', ', '.join(map(str, graph.outputs))]).rstrip()}")
    return "\n".join([*lines, "}\n"])


def format_op(op: Op) -> str:
    """The text of one op, on one line."""
    parts = [f"{', '.join(map(str, op.results))} = {op.mnemonic}"]
    operands = [text for spec in operand_fields(type(op)) if (text := _operand(op, spec))]
    if operands:
        parts.append(", ".join(operands))
    attributes = format_attributes(op)
    if attributes:
        parts.append(f"{{{', '.join(attributes)}}}")
    return " ".join(parts)


def format_attributes(op: Op) -> list[str]:
    """The attributes of an op as `name = value`, in order, without those that have their default."""
    texts = ((spec.name, _attribute(op, spec)) for spec in attribute_fields(type(op)))
    return [f"{name} = {text}" for name, text in texts if text]


def _operand(op: Op, spec: Field) -> str:
    value = getattr(op, spec.name)
    return ", ".join(map(str, value)) if role_of(spec) == "operands" else str(value)


def _attribute(op: Op, spec: Field) -> str:
    """The text of an attribute, empty when it is the default."""
    kind = kind_of(spec)
    text = kind.write(getattr(op, spec.name))
    # Texts are compared, not values: 0.0 == -0.0 in Python, and they are not the same.
    return "" if spec.default is not dataclasses.MISSING and text == kind.write(spec.default) else text


def _header(graph: Graph) -> str:
    inputs = [f"{value}: {value.type}" for value in graph.inputs]
    kinds = [value.type for value in graph.outputs]
    stated = bool(kinds) and all(isinstance(kind, TensorType) for kind in kinds)
    arrow = f" -> {', '.join(map(str, kinds))}" if stated else ""
    line = f"graph @{graph.name}({', '.join(inputs)}){arrow} {{"
    if len(line) <= _WIDTH or not inputs:
        return line
    return f"graph @{graph.name}(\n    " + ",\n    ".join(inputs) + f"\n){arrow} {{"
