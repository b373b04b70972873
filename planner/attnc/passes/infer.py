"""`infer`: give every open dimension `?` a number or a name.

Each `?` becomes an unknown. What the ops require (one batch for query, key and value, as many values as
keys, equal widths, masks and biases that fit the scores, elementwise operands that agree) is solved by
unification; what stays open gets a fresh name. Then the types of all results follow anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from attnc.passes.base import Context, Pass, register_pass
from attnc_ir.attributes.alignment import alignment_faults
from attnc_ir.attributes.bias import Alibi, Relative, TensorBias
from attnc_ir.attributes.empty import EmptyDefault
from attnc_ir.attributes.mask import Documents, Lengths, Prefix, TensorMask
from attnc_ir.diagnostics import Report
from attnc_ir.graph import Graph, Module
from attnc_ir.location import Location
from attnc_ir.op import Op, TypeRuleError
from attnc_ir.ops import Append, Attend, AttendStep, AttentionOp, Broadcast, Cache, Concat, Elementwise
from attnc_ir.types import UNKNOWN, CacheType, Dim, Shape, Symbol, TensorType, Type
from attnc_ir.values import Value
from attnc_ir.verifier import verify_into

Equation = tuple[Dim, Dim]


@register_pass
@dataclass(frozen=True)
class Infer(Pass):
    """Solve open dimensions and re-derive the types of results.

    Raises `SpecError` with every place where two known sizes are required to be one.

    >>> from attnc.passes.rewrite import run_on_text
    >>> print(
    ...     run_on_text(Infer(), "graph @g(%a: f64[? x 2], %b: f64[3 x ?]) { %c = add %a, %b  return %c }")
    ...     .inputs[1]
    ...     .type
    ... )
    f64[3 x 2]
    """

    name: ClassVar[str] = "infer"

    def run(self, graph: Graph, context: Context) -> Graph:
        if not any(True for value in graph.values() for _ in _open(value.type)) and not any(
            UNKNOWN in dims for op in graph.ops for dims in _own_shapes(op)
        ):
            return graph
        report = Report(context.module.text)
        inferred = _Inference(graph, report).run(context)
        report.raise_if_any()
        # Two dimensions that both read `?` can come out different, and then a mask may lack its alignment.
        verify_into(Module((inferred,)), report)
        report.raise_if_any()
        return inferred


def _open(kind: Type) -> Iterator[Dim]:
    shapes = [kind.shape] if isinstance(kind, TensorType) else [kind.heads, kind.key.shape, kind.value.shape]
    return (d for shape in shapes for d in shape if d == UNKNOWN)


def _own_shapes(op: Op) -> Iterator[Shape]:
    """Shapes that stand in the op's braces."""
    for spec in dataclasses.fields(op):
        field = getattr(op, spec.name)
        if isinstance(field, TensorType):
            yield field.shape
        elif spec.name in ("shape", "heads"):
            yield field


class _Inference:
    def __init__(self, graph: Graph, report: Report) -> None:
        self.graph = graph
        self.report = report
        self.parent: dict[Symbol, Dim] = {}
        self.unknowns: dict[Symbol, tuple[Location | None, bool]] = {}
        """Where each unknown was written, and whether the caller's arrays give it a size."""

    def run(self, context: Context) -> Graph:
        graph = self.graph
        current: dict[str, Value] = {}
        for value in graph.inputs:
            current[value.name] = dataclasses.replace(
                value, type=self._opened(value.type, value.location, bound=True)
            )
        ops: list[Op] = []
        for op in graph.ops:
            new = self._advance(op, current)
            if new is None:
                return graph
            ops.append(new)
            current.update((r.name, r) for r in new.results)
        outputs = tuple(current[v.name] for v in graph.outputs)
        self._declared(outputs)
        names = self._names(context)
        if not self.report.ok:
            return graph
        replace = {v: dataclasses.replace(v, type=self._closed(v.type, names)) for v in current.values()}
        return dataclasses.replace(
            graph,
            inputs=tuple(replace[current[v.name]] for v in graph.inputs),
            ops=tuple(self._finished(op, replace, names) for op in ops),
            outputs=tuple(replace[v] for v in outputs),
            declared=tuple(replace[v].tensor for v in outputs) if graph.declared is not None else None,
        )

    # --- unknowns ---

    def _opened(self, kind: Type, location: Location | None, *, bound: bool) -> Type:
        """The type with a symbol of its own for each `?`."""
        if isinstance(kind, CacheType):
            return dataclasses.replace(kind, heads=self._opened_shape(kind.heads, location, bound=bound))
        return kind.with_shape(self._opened_shape(kind.shape, location, bound=bound))

    def _opened_shape(self, shape: Shape, location: Location | None, *, bound: bool) -> Shape:
        return tuple(self._unknown(location, bound) if d == UNKNOWN else d for d in shape)

    def _unknown(self, location: Location | None, bound: bool) -> Symbol:
        symbol = Symbol(f"?{len(self.unknowns)}")
        self.unknowns[symbol] = (location, bound)
        return symbol

    def _find(self, dim: Dim) -> Dim:
        while isinstance(dim, Symbol) and dim in self.parent:
            dim = self.parent[dim]
        return dim

    def _unify(self, a: Dim, b: Dim) -> bool:
        """Make two dimensions one; False when both are known and differ."""
        a, b = self._find(a), self._find(b)
        if a == b:
            return True
        if b in self.unknowns:
            a, b = b, a
        if not (isinstance(a, Symbol) and a in self.unknowns):
            return False
        # Whichever of two unknowns stays, it has a size from the caller if one of them has.
        if isinstance(b, Symbol) and b in self.unknowns:
            location, bound = self.unknowns[b]
            self.unknowns[b] = (location, bound or self.unknowns[a][1])
        self.parent[a] = b
        return True

    def _solved(self, kind: Type) -> Type:
        """The type with what is known so far."""
        if isinstance(kind, CacheType):
            return dataclasses.replace(kind, heads=tuple(map(self._find, kind.heads)))
        return kind.with_shape(tuple(map(self._find, kind.shape)))

    def _closed(self, kind: Type, names: dict[Dim, Symbol]) -> Type:
        """The type with what is known in the end."""
        if isinstance(kind, CacheType):
            return dataclasses.replace(kind, heads=self._closed_shape(kind.heads, names))
        return kind.with_shape(self._closed_shape(kind.shape, names))

    def _closed_shape(self, shape: Shape, names: dict[Dim, Symbol]) -> Shape:
        return tuple(names.get(found, found) for found in map(self._find, shape))

    # --- ops ---

    def _advance(self, op: Op, current: dict[str, Value]) -> Op | None:
        """The op over the operands as known now, its equations noted; None when it does not work out."""
        opened = op.with_operands({v: current[v.name] for v in op.operands if v.name in current})
        if not isinstance(op, AttentionOp):
            # A cache's heads are given by the caller, when it makes the state.
            opened = self._map_shapes(
                opened, lambda s: self._opened_shape(s, op.location, bound=isinstance(op, Cache))
            )
        for a, b in list(_equations(self._known(opened))):
            if not self._unify(a, b):
                self.report.error(
                    f"{op.mnemonic} needs {self._shown(a)} and {self._shown(b)} to be one size",
                    op.location,
                    help="what stands for ? must be the same wherever the value is used",
                )
        try:
            types = self._known(opened).infer()
        except TypeRuleError as error:
            if self.report.ok:
                self.report.error(error.message, op.place(error.at), help=error.help)
            return None
        # Operands keep the types they were defined with, so that values stay equal; what is known is filled
        # in at the end.
        results = tuple(dataclasses.replace(r, type=t) for r, t in zip(op.results, types, strict=True))
        return dataclasses.replace(opened, results=results)

    def _known(self, op: Op) -> Op:
        """The op with every dimension as far as it is solved."""
        solved = op.with_operands({v: dataclasses.replace(v, type=self._solved(v.type)) for v in op.operands})
        return self._map_shapes(solved, lambda shape: tuple(map(self._find, shape)))

    def _map_shapes(self, op: Op, change: Callable[[Shape], Shape]) -> Op:
        changes: dict[str, object] = {}
        for spec in dataclasses.fields(op):
            field = getattr(op, spec.name)
            if isinstance(field, TensorType):
                changes[spec.name] = field.with_shape(change(field.shape))
            elif spec.name in ("shape", "heads"):
                changes[spec.name] = change(field)
        return dataclasses.replace(op, **changes) if changes else op  # type: ignore[arg-type]  # each field has its own type

    def _finished(self, op: Op, replace: dict[Value, Value], names: dict[Dim, Symbol]) -> Op:
        closed = self._map_shapes(op.with_operands(replace), lambda s: self._closed_shape(s, names))
        return dataclasses.replace(closed, results=tuple(replace[r] for r in op.results))

    def _declared(self, outputs: tuple[Value, ...]) -> None:
        for kind, value in zip(self.graph.declared or (), outputs, strict=False):
            if isinstance(value.type, TensorType):
                for a, b in zip(kind.shape, value.type.shape, strict=False):
                    if a != UNKNOWN and not self._unify(a, b):
                        message = f"{value} is declared with size {a} where it has {self._shown(b)}"
                        self.report.error(message, value.location or self.graph.location)

    def _shown(self, dim: Dim) -> str:
        found = self._find(dim)
        return "?" if found in self.unknowns else str(found)

    # --- names ---

    def _names(self, context: Context) -> dict[Dim, Symbol]:
        """A fresh name for every unknown that nothing determines."""
        taken = {d.name for shape in self._all_shapes() for d in shape if isinstance(d, Symbol)}
        names: dict[Dim, Symbol] = {}
        for symbol, (location, bound) in self.unknowns.items():
            if symbol in self.parent:
                context.count("solved-dimension")
                continue
            if not bound:
                self.report.error(
                    "the size ? follows from no input",
                    location,
                    help="write a number, or a name that an input has too",
                )
            count = len(names)
            while f"D{count}" in taken:
                count += 1
            taken.add(f"D{count}")
            names[symbol] = Symbol(f"D{count}")
            context.count("named-dimension")
        return names

    def _all_shapes(self) -> Iterator[Shape]:
        for value in self.graph.values():
            if isinstance(value.type, TensorType):
                yield value.type.shape
            else:
                yield value.type.heads
        for op in self.graph.ops:
            yield from _own_shapes(op)


# --- what ops require ---------------------------------------------------------------------------------------


def _equations(op: Op) -> Iterator[Equation]:
    """Pairs of dimensions that an op requires to be equal."""
    match op:
        case Attend():
            q, k, v = op.query.tensor.shape, op.key.tensor.shape, op.value.tensor.shape
            yield from ((q[-1], k[-1]), (k[-2], v[-2]))
            if len(q) >= 3:
                yield k[-3], v[-3]
            if len(q) == 4:
                yield from ((q[0], k[0]), (q[0], v[0]))
            yield from _score_equations(op)
        case AttendStep():
            q, heads = op.query.tensor.shape, op.cache.cache.heads
            yield q[-1], op.cache.cache.key.shape[0]
            if len(heads) == 2:
                yield q[0], heads[0]
            yield from _score_equations(op)
        case Append():
            kind = op.cache.cache
            for value, row in ((op.key, kind.key), (op.value, kind.value)):
                yield from zip(value.tensor.shape, (*kind.heads, *row.shape), strict=False)
        case Concat():
            shapes = [v.tensor.shape for v in op.parts]
            axis = op.axis % len(shapes[0])
            for shape in shapes[1:]:
                yield from (
                    (a, b) for n, (a, b) in enumerate(zip(shapes[0], shape, strict=False)) if n != axis
                )
        case Broadcast():
            yield from _broadcasting(op.x.tensor.shape, op.shape)
        case Elementwise():
            shapes = [v.tensor.shape for v in op.operands]
            for position, shape in enumerate(shapes[1:], 1):
                for before in shapes[:position]:
                    yield from _agreeing(before, shape)
        case _:
            return


def _agreeing(a: Shape, b: Shape) -> Iterator[Equation]:
    return ((x, y) for x, y in zip(a[::-1], b[::-1], strict=False) if 1 not in (x, y))


def _broadcasting(small: Shape, large: Shape) -> Iterator[Equation]:
    return ((x, y) for x, y in zip(small[::-1], large[::-1], strict=False) if x != 1)


def _score_equations(op: AttentionOp) -> Iterator[Equation]:
    """What mask, bias, sinks and default row require, given the geometry."""
    q = op.query.tensor.shape if isinstance(op, Attend | AttendStep) else ()
    step = isinstance(op, AttendStep)
    rows = q[:-1] if step else q[:-2]
    heads: Dim = rows[-1] if rows else 1
    batch: Dim = rows[0] if len(rows) == 2 else 1
    queries: Dim = 1 if step else q[-2]
    keys: Dim | None = op.key.tensor.shape[-2] if isinstance(op, Attend) else None
    width = op.value_type.shape[-1]

    if keys is not None and any(alignment_faults(op.mask, same_length=False)):
        # A causal mask or window that states no alignment is meant for equal lengths.
        yield queries, keys

    def per_batch(value: Value) -> Iterator[Equation]:
        return ((d, batch) for d in value.tensor.shape)

    def positions(value: Value, length: Dim) -> Iterator[Equation]:
        return zip(value.tensor.shape[::-1], (length, batch), strict=False)

    for mask in op.mask.walk():
        match mask:
            case Documents(ids, key_ids) if keys is not None:
                yield from positions(ids, queries)
                yield from positions(ids if key_ids is None else key_ids, keys)
            case Lengths(counts, other):
                yield from per_batch(counts)
                yield from per_batch(other)
            case Prefix(Value() as count):
                yield from per_batch(count)
            case TensorMask(tensor) if keys is not None:
                yield from _broadcasting(tensor.tensor.shape, (batch, heads, queries, keys))
            case _:
                pass
    for term in op.bias:
        match term:
            case TensorBias(tensor) if keys is not None:
                yield from _broadcasting(tensor.tensor.shape, (batch, heads, queries, keys))
            case Alibi(slopes) if slopes.tensor.shape != (1,):
                yield slopes.tensor.shape[0], heads
            case Relative(table) if table.tensor.shape[0] != 1:
                yield table.tensor.shape[0], heads
            case _:
                pass
    if op.sinks is not None:
        yield op.sinks.tensor.shape[0], heads
    if isinstance(op.empty, EmptyDefault):
        yield from zip(op.empty.row.tensor.shape[::-1], (width, heads), strict=False)
