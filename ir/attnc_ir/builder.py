"""Building graphs from Python: every call checks what it adds, so the line that makes a fault raises it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

from attnc_ir.diagnostics import Diagnostic, Report
from attnc_ir.errors import ArgumentError, SpecError
from attnc_ir.graph import Graph, Module
from attnc_ir.kinds import TYPE, Field, Kind, Scope, kind_of, role_of, suggest
from attnc_ir.op import Op, TypeRuleError, attribute_fields, operand_fields
from attnc_ir.ops import Add, Append, Attend, AttendStep, Cache, Constant, Iota, Mul
from attnc_ir.syntax import Misread, Ref
from attnc_ir.text.reader import SyntaxFault, read_expression
from attnc_ir.text.source import Source
from attnc_ir.types import TensorType, Type
from attnc_ir.values import Value, check_name
from attnc_ir.verifier import GraphChecker, verify

_FULLY_CHECKED = 10_000
"""A tuple of more items than this is trusted to hold what its kind says."""


class GraphBuilder:
    """Collects the ops of one graph.

    Attributes and types are given as objects, or as the text that stands for them in the text form.

    >>> from attnc_ir.text import format_graph
    >>> b = GraphBuilder("nearest")
    >>> q, k, v = b.input("q", "f64[N x 2]"), b.input("k", "f64[M x 2]"), b.input("v", "f64[M x 8]")
    >>> o = b.attend(q, k, v, name="o", normalizer="hardmax(last)", mask="causal(bottom_right)")
    >>> print(format_graph(b.build(o)), end="")
    graph @nearest(%q: f64[N x 2], %k: f64[M x 2], %v: f64[M x 8]) -> f64[N x 8] {
      %o = attend %q, %k, %v {normalizer = hardmax(last), mask = causal(bottom_right)}
      return %o
    }

    A method raises `ArgumentError` or `SpecError` for what cannot be added, and changes nothing then.
    """

    def __init__(self, name: str) -> None:
        self._name = check_name(name, "graph name")
        self._inputs: list[Value] = []
        self._ops: list[Op] = []
        self._values: dict[str, Value] = {}
        self._checker = GraphChecker(Report())
        self._fresh: dict[str, int] = {}

    def input(self, name: str, type: TensorType | str) -> Value:
        """Add an input; `type` may be text such as `f32[B x N x 64]`."""
        kind = cast(TensorType, self._attribute("type", TYPE, type))
        (value,) = self._named([name], (kind,))
        self._checked(lambda: self._checker.input(value))
        self._inputs.append(value)
        self._values[value.name] = value
        return value

    def op(
        self, cls: type[Op], *operands: Value, results: int | str | Sequence[str] = 1, **attributes: Any
    ) -> Value | tuple[Value, ...]:
        """Add an op and return its result, or all of them when it has several.

        Args:
            cls: the class of the op.
            operands: its operands, in the order of the text form.
            results: their names, or how many there are; names are then made up.
            attributes: its attributes by name; the ones left out take their defaults.
        """
        fields = self._operands(cls, operands) | self._attributes(cls, attributes)
        names: list[str] | int
        if isinstance(results, str):
            names = [results]
        elif isinstance(results, int):
            names = results
        else:
            names = list(results)
        try:
            fields |= cls.result_fields(names if isinstance(names, int) else len(names), fields)
            op = cls(**fields)
            kinds = op.infer()
        except TypeRuleError as error:
            raise SpecError([Diagnostic(error.message, help=error.help)]) from None
        base = cls.mnemonic.replace(".", "_")
        values = self._named(names if isinstance(names, list) else [None] * names, kinds, base)
        op = dataclasses.replace(op, results=values)
        self._checked(lambda: self._checker.op(op))
        self._ops.append(op)
        self._values |= {value.name: value for value in values}
        return values[0] if len(values) == 1 else values

    def build(self, *outputs: Value) -> Graph:
        """The graph that returns `outputs`."""
        for value in outputs:
            self._own(value)
        graph = Graph(self._name, tuple(self._inputs), tuple(self._ops), outputs)
        verify(Module((graph,)))
        return graph

    @property
    def values(self) -> tuple[Value, ...]:
        """Every value so far, in order of definition."""
        return tuple(self._values.values())

    # --- the common ops ---

    def attend(
        self, query: Value, key: Value, value: Value, *, name: str | None = None, **attributes: Any
    ) -> Value:
        """Attention over whole sequences; for more results than one, use `op(Attend, ..., results=2)`."""
        return self._one(Attend, name, query, key, value, **attributes)

    def attend_step(self, query: Value, cache: Value, *, name: str | None = None, **attributes: Any) -> Value:
        """Attention of one new position to a cache."""
        return self._one(AttendStep, name, query, cache, **attributes)

    def cache(
        self, *, heads: Any, key: TensorType | str, value: TensorType | str, name: str | None = None
    ) -> Value:
        """A cache that the graph owns; `key` and `value` are the types of one row."""
        return self._one(Cache, name, heads=heads, key=key, value=value)

    def append(self, cache: Value, key: Value, value: Value, *, name: str | None = None) -> Value:
        """The cache with one more row per head."""
        return self._one(Append, name, cache, key, value)

    def constant(
        self, type: TensorType | str, values: Sequence[float] | float, *, name: str | None = None
    ) -> Value:
        """A tensor written out in row-major order, or one value for all its elements."""
        items = (values,) if isinstance(values, int | float) else tuple(values)
        return self._one(Constant, name, type=type, values=tuple(float(v) for v in items))

    def iota(self, type: TensorType | str, *, axis: int = -1, name: str | None = None) -> Value:
        """The index along an axis."""
        return self._one(Iota, name, type=type, axis=axis)

    def add(self, left: Value, right: Value, *, name: str | None = None) -> Value:
        """`left + right`."""
        return self._one(Add, name, left, right)

    def mul(self, left: Value, right: Value, *, name: str | None = None) -> Value:
        """`left * right`."""
        return self._one(Mul, name, left, right)

    # --- names ---

    def _named(
        self, names: Sequence[str | None], kinds: tuple[Type, ...], base: str = ""
    ) -> tuple[Value, ...]:
        """New values of these types. A name that is None is made up from `base`."""
        if len(names) != len(kinds):
            raise ArgumentError(f"{base} gives {len(kinds)} result(s), {len(names)} are named")
        taken: set[str] = set()
        values = []
        for name, kind in zip(names, kinds, strict=True):
            if name is None:
                name = self._made_up(base, taken)
            elif name in self._values or name in taken:
                raise ArgumentError(
                    f"%{name} is defined twice; a value is assigned once, choose another name"
                )
            taken.add(name)
            values.append(Value(name, kind))
        return tuple(values)

    def _made_up(self, base: str, taken: set[str]) -> str:
        while True:
            count = self._fresh.get(base, 0)
            self._fresh[base] = count + 1
            name = f"{base}_{count}" if count else base
            if name not in self._values and name not in taken:
                return name

    # --- checks ---

    def _checked(self, add: Callable[[], None]) -> None:
        """Run a step of the checker; when it finds a fault, put the checker back and raise."""
        add()
        report = self._checker.report
        if report.ok:
            return
        self._checker = GraphChecker(Report())
        for value in self._inputs:
            self._checker.input(value)
        for op in self._ops:
            self._checker.op(op)
        report.raise_if_any()

    def _one(self, cls: type[Op], name: str | None, *operands: Value, **attributes: Any) -> Value:
        return cast(Value, self.op(cls, *operands, results=1 if name is None else name, **attributes))

    def _own(self, value: Value) -> Value:
        if not isinstance(value, Value):
            raise ArgumentError(f"expected a value of graph @{self._name}, got {type(value).__name__}")
        if self._values.get(value.name) != value:
            raise ArgumentError(
                f"{value} is not a value of graph @{self._name}; make it with this builder first"
            )
        return value

    def _operands(self, cls: type[Op], operands: tuple[Value, ...]) -> dict[str, Any]:
        specs = operand_fields(cls)
        variadic = bool(specs) and role_of(specs[-1]) == "operands"
        least = len(specs) - variadic
        if len(operands) < least or (len(operands) > least and not variadic):
            names = ", ".join(spec.name for spec in specs) or "none"
            raise ArgumentError(
                f"{cls.mnemonic} takes {least} operand(s) ({names}), {len(operands)} are given"
            )
        owned = [self._own(value) for value in operands]
        fields: dict[str, Any] = {spec.name: value for spec, value in zip(specs[:least], owned, strict=False)}
        return fields | ({specs[-1].name: tuple(owned[least:])} if variadic else {})

    def _attributes(self, cls: type[Op], attributes: dict[str, Any]) -> dict[str, Any]:
        specs: dict[str, Field] = {spec.name: spec for spec in attribute_fields(cls)}
        for name in attributes:
            if name not in specs:
                help = suggest(name, list(specs)) if specs else "it has none"
                raise ArgumentError(f"{cls.mnemonic} has no attribute {name!r}; {help}")
        for name, spec in specs.items():
            if name not in attributes and spec.default is dataclasses.MISSING:
                raise ArgumentError(f"{cls.mnemonic} needs {name}: {kind_of(spec).expects}")
        return {
            name: self._attribute(name, kind_of(specs[name]), value) for name, value in attributes.items()
        }

    def _attribute(self, name: str, kind: Kind[Any], value: Any) -> Any:
        """An attribute read from its text, or checked by writing it and reading it back."""
        if isinstance(value, str):
            return self._read(name, kind, value)
        value = tuple(value) if isinstance(value, list) else value
        if isinstance(value, tuple) and len(value) > _FULLY_CHECKED:
            return value
        try:
            text = kind.write(value)
        except (AttributeError, TypeError, ValueError, KeyError):
            text = None
        if text is None or kind.write(self._read(name, kind, text)) != text:
            raise ArgumentError(f"{name}: expected {kind.expects}, got {type(value).__name__}")
        return value

    def _read(self, name: str, kind: Kind[Any], text: str) -> Any:
        return read_attribute(name, kind, text, self)

    def value(self, ref: Ref) -> Value:
        """The value of a name that stands in the text of an attribute."""
        if ref.name not in self._values:
            raise Misread(
                ref, f"%{ref.name} is not defined", suggest(f"%{ref.name}", [f"%{n}" for n in self._values])
            )
        return self._values[ref.name]


class _NoValues:
    """Surroundings without values."""

    def value(self, ref: Ref) -> Value:
        raise Misread(ref, f"%{ref.name} is not defined", "no value can be named here")


def read_attribute(name: str, kind: Kind[Any], text: str, scope: Scope | None = None) -> Any:
    """The attribute that `text` stands for; `SpecError` with a caret where it does not.

    >>> from attnc_ir.attributes.mask import MASK
    >>> read_attribute("mask", MASK, "causal(3)")
    Causal(alignment=3)
    """
    source = Source(text, f"<{name}>")
    try:
        return kind.read(read_expression(source), scope or _NoValues())
    except SyntaxFault as fault:
        found = Diagnostic(fault.message, fault.location, fault.help, text)
    except Misread as error:
        found = Diagnostic(error.message, error.node.location, error.help, text)
    raise SpecError([found])
