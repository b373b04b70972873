"""The verifier: everything that holds for a module from here on.

Invariants, in the order they are checked:

1. graph names are unique within the module
2. within a graph every value is defined once
3. every operand is defined above its use, with the very type it was defined with; hence uses have no cycles
4. the operands of an op satisfy its type rule, and its results have the types the rule gives
5. an op's own rules hold (`verify` of its class): finite scale, masks and biases of fitting shape, a stated
alignment where lengths can differ, exact biases under exact normalisers
6. a cache version is appended to at most once, and is read only above that append
7. a graph returns at least one value, tensors only, of the types it declares
8. inputs are tensors
9. dimensions are sizes from 0 to 2**40, `?`, or names
"""

from __future__ import annotations

from collections.abc import Collection

from attnc_ir.diagnostics import Report, quoted
from attnc_ir.graph import Graph, Module
from attnc_ir.kinds import is_dim_name, parameters_of
from attnc_ir.location import Location
from attnc_ir.op import Op, OpReport, TypeRuleError, values_in
from attnc_ir.ops import Append
from attnc_ir.types import MAX_DIM, Dim, TensorType, Type, may_equal
from attnc_ir.values import Value


def verify(module: Module) -> None:
    """Raise [`SpecError`][attnc_ir.errors.SpecError] with every broken invariant of `module`."""
    report = Report(module.text)
    verify_into(module, report)
    report.raise_if_any()


def verify_into(module: Module, report: Report, *, parts: Collection[int] = ()) -> None:
    """Add every broken invariant to `report`.

    `parts` are the positions of graphs that the parser could read in part only, and has reported: for them,
    what is missing is no fault.
    """
    seen: dict[str, Graph] = {}
    for position, graph in enumerate(module):
        if graph.name in seen:
            first = seen[graph.name].location
            report.error(
                f"graph @{graph.name} is defined twice" + (f", first on line {first.line}" if first else ""),
                graph.location,
                help="graphs of one module need different names",
            )
        seen.setdefault(graph.name, graph)
        checker = GraphChecker(report, frozenset(result.name for op in graph.ops for result in op.results))
        for value in graph.inputs:
            checker.input(value)
        for op in graph.ops:
            checker.op(op)
        checker.outputs(graph, whole=position not in parts)


class GraphChecker:
    """Checks a graph piece by piece, in order. `results` are the names that ops further down will define."""

    def __init__(self, report: Report, results: frozenset[str] = frozenset()) -> None:
        self.report = report
        self.results = results
        self.defined: dict[str, Value] = {}
        self.continued: dict[str, Op] = {}
        self.dims: set[Dim] = set()

    def input(self, value: Value) -> None:
        """Check and define an input."""
        if not isinstance(value.type, TensorType):
            help = "a graph makes its caches itself: %c = cache {...}"
            self.report.error(f"input {value} is a cache", value.location, help=help)
        self._define(value, value.location)

    def op(self, op: Op) -> None:
        """Check an op and define its results."""
        known = True
        for spec in parameters_of(type(op)):
            for value in values_in(getattr(op, spec.name)):
                known &= self._use(value, op, op.place(spec.name))
        if known and self._types(op):
            op.verify(OpReport(self.report, op))
        if isinstance(op, Append):
            self.continued.setdefault(op.cache.name, op)
        for result in op.results:
            self._define(result, op.location)

    def _define(self, value: Value, location: Location | None) -> None:
        if value.name in self.defined:
            first = self.defined[value.name].location
            self.report.error(
                f"{value} is defined twice" + (f", first on line {first.line}" if first else ""),
                value.location or location,
                help="a value is assigned once; choose another name",
            )
        else:
            self.defined[value.name] = value
        for dim in dims_of(value.type):
            if dim not in self.dims:
                self.dims.add(dim)
                self._dim(dim, value)

    def _dim(self, dim: Dim, value: Value) -> None:
        if isinstance(dim, int):
            if not 0 <= dim <= MAX_DIM:
                self.report.error(
                    f"{value} has a dimension of {dim}", value.location, help="sizes are from 0 to 2**40"
                )
        elif not is_dim_name(dim.name):
            self.report.error(
                f"{value} has a dimension named {quoted(dim.name)}",
                value.location,
                help="names are made of letters, digits and _, at most 128; x, and, or, not are taken",
            )

    def _use(self, value: Value, op: Op, place: Location | None) -> bool:
        definition = self.defined.get(value.name)
        if definition is None:
            later = value.name in self.results
            self.report.error(
                f"{value} is used before it is defined" if later else f"{value} is not defined",
                place,
                help="values are defined above their use" if later else None,
            )
            return False
        if definition.type != value.type:
            self.report.error(f"{value} is used as {value.type} but defined as {definition.type}", place)
            return False
        appended = self.continued.get(value.name)
        if appended is not None:
            twice = isinstance(op, Append)
            line = f" on line {appended.location.line}" if appended.location else ""
            self.report.error(
                f"{value} is appended to twice"
                if twice
                else f"{value} is read after it was appended to{line}",
                place,
                help=f"append to {appended.results[0]}"
                if twice
                else f"move the read above the append, or read {appended.results[0]}",
            )
        return True

    def _types(self, op: Op) -> bool:
        try:
            types = op.infer()
        except TypeRuleError as error:
            self.report.error(error.message, op.place(error.at), help=error.help)
            return False
        if len(types) != len(op.results):
            self.report.error(
                f"{op.mnemonic} gives {len(types)} result(s), {len(op.results)} are named", op.location
            )
            return False
        for result, kind in zip(op.results, types, strict=True):
            if result.type != kind:
                self.report.error(
                    f"{result} is {result.type} but {op.mnemonic} gives {kind}",
                    result.location or op.location,
                )
                return False
        return True

    def outputs(self, graph: Graph, *, whole: bool) -> None:
        """Check what a graph returns; only what is there, unless the graph is `whole`."""
        if not graph.outputs and whole:
            self.report.error(
                f"graph @{graph.name} returns nothing", graph.location, help="end it with: return %value"
            )
        for value in graph.outputs:
            place = value.location or graph.location
            definition = self.defined.get(value.name)
            if definition is None:
                self.report.error(f"{value} is not defined", place)
            elif definition.type != value.type:
                self.report.error(
                    f"{value} is returned as {value.type} but defined as {definition.type}", place
                )
            elif not isinstance(value.type, TensorType):
                help = "the state keeps its caches; return a tensor"
                self.report.error(f"{value} is a cache and cannot be returned", place, help=help)
        if graph.declared is not None and whole:
            self._declared(graph, graph.declared)

    def _declared(self, graph: Graph, declared: tuple[TensorType, ...]) -> None:
        if len(declared) != len(graph.outputs):
            self.report.error(
                f"graph @{graph.name} declares {len(declared)} result(s) and returns {len(graph.outputs)}",
                graph.location,
            )
            return
        for kind, value in zip(declared, graph.outputs, strict=True):
            if isinstance(value.type, TensorType):
                fits = kind.rank == value.type.rank and all(map(may_equal, kind.shape, value.type.shape))
                if kind.dtype is not value.type.dtype or not fits:
                    place = value.location or graph.location
                    self.report.error(f"{value} is {value.type}, declared as {kind}", place)


def dims_of(kind: Type) -> tuple[Dim, ...]:
    """Every dimension in a type."""
    return kind.shape if isinstance(kind, TensorType) else (*kind.heads, *kind.key.shape, *kind.value.shape)
