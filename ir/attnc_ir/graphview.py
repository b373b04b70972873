"""Graphs as graphs: a networkx view for analyses and schedules, and DOT text for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import networkx as nx

from attnc_ir.graph import Graph, Module
from attnc_ir.kinds import parameters_of
from attnc_ir.op import Op, values_in
from attnc_ir.ops import Append
from attnc_ir.text.printer import format_attributes
from attnc_ir.values import Value

RETURN = "return"
"""The node that uses a graph's outputs."""

_LABEL_WIDTH = 60


def to_networkx(graph: Graph) -> nx.MultiDiGraph[str]:
    """A graph as a networkx graph without cycles: an edge runs from what defines a value to what uses it.

    Nodes are `%name` of each input and of each op's first result, and `return`, in text order. Attributes:

    - `kind`: `"input"`, `"op"` or `"return"`
    - `op`: the op, or None
    - `values`: the values defined there, a tuple

    Edges, one for each use, have as attributes:

    - `value`: the value used
    - `field`: the operand or attribute that uses it; for `return`, the position as text
    - `kind`: `"use"`; or `"before"`, without `field`, from a read of a cache to the append that continues it:
      an append happens in place, and so any topological order of the nodes is one in which the ops can run

    >>> from attnc_ir.text import parse
    >>> view = to_networkx(parse("graph @f(%x: f64[2]) { %y = neg %x return %y }")["f"])
    >>> [(a, b, data["field"]) for a, b, data in view.edges(data=True)]
    [('%x', '%y', 'x'), ('%y', 'return', '0')]
    """
    view: nx.MultiDiGraph[str] = nx.MultiDiGraph(name=graph.name)
    home: dict[str, str] = {}  # by value name, the node that defines it
    readers: defaultdict[str, list[str]] = defaultdict(list)  # by cache version
    for value in graph.inputs:
        home[value.name] = str(value)
        view.add_node(str(value), kind="input", op=None, values=(value,))
    for op in graph.ops:
        node = str(op.results[0])
        view.add_node(node, kind="op", op=op, values=op.results)
        home |= dict.fromkeys((result.name for result in op.results), node)
        for field, value in _uses(op):
            view.add_edge(home[value.name], node, value=value, field=field, kind="use")
            if isinstance(op, Append) and field == "cache":
                for reader in readers[value.name]:
                    view.add_edge(reader, node, value=value, field="", kind="before")
            else:
                readers[value.name].append(node)
    view.add_node(RETURN, kind="return", op=None, values=())
    for position, value in enumerate(graph.outputs):
        view.add_edge(home[value.name], RETURN, value=value, field=str(position), kind="use")
    return view


def users(graph: Graph) -> Mapping[str, tuple[Op, ...]]:
    """For every value of a graph, by name, the ops that read it, in order; an output is not a user.

    >>> from attnc_ir.text import parse
    >>> found = users(parse("graph @f(%x: f64[2]) { %y = add %x, %x return %y }")["f"])
    >>> {name: [op.mnemonic for op in ops] for name, ops in found.items()}
    {'x': ['add'], 'y': []}
    """
    found: dict[str, dict[str, Op]] = {value.name: {} for value in graph.values()}
    for op in graph.ops:
        for _, value in _uses(op):
            found[value.name][op.results[0].name] = op
    return {name: tuple(ops.values()) for name, ops in found.items()}


def live_ops(graph: Graph) -> tuple[Op, ...]:
    """The ops that an output depends on, and those that change a state with what they depend on; in order.

    >>> from attnc_ir.text import parse
    >>> [
    ...     op.mnemonic
    ...     for op in live_ops(parse("graph @f(%x: f64[2]) { %y = neg %x %z = add %x, %x return %z }")["f"])
    ... ]
    ['add']
    """
    needed = {value.name for value in graph.outputs}
    live: list[Op] = []
    for op in reversed(graph.ops):
        if not op.pure or any(result.name in needed for result in op.results):
            live.append(op)
            needed |= {value.name for _, value in _uses(op)}
    return tuple(reversed(live))


def to_dot(module: Module) -> str:
    """A module in the DOT language, one cluster for each graph; the same module gives the same text.

    >>> from attnc_ir.text import parse
    >>> print(to_dot(parse("graph @f(%x: f64[2]) { %y = neg %x return %y }")), end="")
    digraph "module" {
      node [shape=box, fontname="monospace"];
      edge [fontname="monospace"];
      subgraph "cluster_f" {
        label="@f";
        "f.%x" [label="%x: f64[2]", shape=ellipse];
        "f.%y" [label="neg"];
        "f.return" [label="return", shape=ellipse];
        "f.%x" -> "f.%y" [label="%x"];
        "f.%y" -> "f.return" [label="%y: f64[2]"];
      }
    }
    """
    lines = [
        'digraph "module" {',
        '  node [shape=box, fontname="monospace"];',
        '  edge [fontname="monospace"];',
    ]
    for graph in module:
        lines += _cluster(graph)
    return "\n".join([*lines, "}\n"])


def _cluster(graph: Graph) -> list[str]:
    view = to_networkx(graph)
    lines = [f"  subgraph {_quoted(f'cluster_{graph.name}')} {{", f"    label={_quoted(f'@{graph.name}')};"]
    for node, data in view.nodes(data=True):
        op: Op | None = data["op"]
        if op is not None:
            shown = "\n".join(_shortened(line) for line in (op.mnemonic, *format_attributes(op)))
            lines.append(f"    {_quoted(f'{graph.name}.{node}')} [label={_quoted(shown)}];")
        else:
            shown = RETURN if node == RETURN else _typed(data["values"][0])
            lines.append(f"    {_quoted(f'{graph.name}.{node}')} [label={_quoted(shown)}, shape=ellipse];")
    for source, target, data in view.edges(data=True):
        value: Value = data["value"]
        # An input shows its type in its node, every other value on its edges.
        shown = str(value) if view.nodes[source]["kind"] == "input" else _typed(value)
        style = f"label={_quoted(shown)}" if data["kind"] == "use" else "style=dotted, constraint=false"
        lines.append(
            f"    {_quoted(f'{graph.name}.{source}')} -> {_quoted(f'{graph.name}.{target}')} [{style}];"
        )
    return [*lines, "  }"]


def _uses(op: Op) -> list[tuple[str, Value]]:
    """Every use of a value by an op, with the field it stands in."""
    return [
        (spec.name, value) for spec in parameters_of(type(op)) for value in values_in(getattr(op, spec.name))
    ]


def _typed(value: Value) -> str:
    return _shortened(f"{value}: {value.type}")


def _shortened(text: str) -> str:
    return text if len(text) <= _LABEL_WIDTH else f"{text[: _LABEL_WIDTH - 3]}..."


def _quoted(text: str) -> str:
    """A DOT string; quotes, backslashes and line breaks are escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
