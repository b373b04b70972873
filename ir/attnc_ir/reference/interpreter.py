"""Runs graphs: stateless ones at once, stateful ones step by step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attnc_ir.arguments import Bound, Signature, check_sizes
from attnc_ir.errors import ArgumentError, StateError
from attnc_ir.graph import Graph
from attnc_ir.ops import Append, Attend, AttendStep, AttentionOp, Cache
from attnc_ir.promises import check_append, check_operand, first_readers, promised_for_cache
from attnc_ir.reference import tensors
from attnc_ir.reference.attention import attend
from attnc_ir.reference.node import Node
from attnc_ir.snapshot import CacheRows, Snapshot, check_snapshot
from attnc_ir.storage import NUMPY, Array, to_float64
from attnc_ir.types import UNKNOWN, CacheType, Symbol, TensorType

Rows = tuple[tuple[Array, Array], ...]
"""What a cache holds: one key and one value row for each position, each under the cache's head dimensions.
Never changed in place.
"""


def run(
    graph: Graph, arrays: Mapping[str, object], *, dims: Mapping[str, int] | None = None
) -> tuple[Array, ...]:
    """The outputs of a verified graph, in order, of their declared element types (bf16 as bits in `uint16`).

    For a stateful graph each array has a leading axis of steps, and so has each output; it starts from empty
    caches. `dims` is needed only for symbols that no input has. Raises `ArgumentError`, `StateError` or
    `EmptyRowError`.
    """
    signature = Signature(graph)
    if not graph.is_stateful:
        return _Step(graph, signature.bind(arrays, dims=dims), {}).run()[0]
    bound = signature.bind(arrays, steps=True, dims=dims)
    return ReferenceState(graph, {s.name: bound.size(s) for s in _head_symbols(graph)}).extend(
        arrays, dims=dims
    )


class ReferenceState:
    """The caches of a stateful graph between steps. `len(state)` is the number of steps taken.

    `dims` gives a size to every symbol among the caches' head dimensions. A call that raises leaves the state
    as it was.
    """

    def __init__(self, graph: Graph, dims: Mapping[str, int] | None = None) -> None:
        where = f"graph @{graph.name}: "
        if not graph.is_stateful:
            raise ArgumentError(f"{where}it has no cache, so it has no state; run it instead")
        check_sizes(where, dims or {})
        missing = [s.name for s in _head_symbols(graph) if s.name not in (dims or {})]
        if missing:
            raise ArgumentError(
                f"{where}a state needs the size of {', '.join(missing)}; give dims={{{missing[0]!r}: ...}}"
            )
        self.graph = graph
        self.dims = dict(dims or {})
        self._signature = Signature(graph)
        self._rows: dict[str, Rows] = {cache.results[0].name: () for cache in graph.caches}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def step(
        self, arrays: Mapping[str, object], *, dims: Mapping[str, int] | None = None
    ) -> tuple[Array, ...]:
        """Take one step and give its outputs."""
        bound = self._signature.bind(arrays, dims={**self.dims, **(dims or {})})
        outputs, self._rows = _Step(self.graph, bound, self._rows).run()
        self._length += 1
        return outputs

    def extend(
        self, arrays: Mapping[str, object], *, dims: Mapping[str, int] | None = None
    ) -> tuple[Array, ...]:
        """Take the steps along the leading axis of every array, all of them or, on an error, none; outputs
        are stacked likewise.
        """
        bound = self._signature.bind(arrays, steps=True, dims={**self.dims, **(dims or {})})
        assert bound.steps is not None
        rows, results = self._rows, []
        for t in range(bound.steps):
            outputs, rows = _Step(self.graph, _at(bound, t), rows).run()
            results.append(outputs)
        stacked = tuple(
            np.stack([outputs[n] for outputs in results]) if results else self._no_steps(value.tensor, bound)
            for n, value in enumerate(self.graph.outputs)
        )
        self._rows = rows
        self._length += bound.steps
        return stacked

    def _no_steps(self, kind: TensorType, bound: Bound) -> Array:
        shape = [0 if d == UNKNOWN else bound.size(d) for d in kind.shape]
        return np.empty((0, *shape), NUMPY[kind.dtype])

    def truncate(self, length: int) -> None:
        """Forget every step from step `length` on; nothing to forget if there are fewer."""
        if isinstance(length, bool) or not isinstance(length, int) or length < 0:
            raise ArgumentError(
                f"graph @{self.graph.name}: cannot truncate to {length!r:.60} steps; give a number from 0 up"
            )
        if length < self._length:
            # Each step appends equally often to a cache, usually once.
            self._rows = {
                name: rows[: len(rows) // self._length * length] for name, rows in self._rows.items()
            }
            self._length = length

    def fork(self) -> ReferenceState:
        """An independent state that starts out with the same contents."""
        other = ReferenceState(self.graph, self.dims)
        other._rows = dict(self._rows)
        other._length = self._length
        return other

    def snapshot(self) -> Snapshot:
        """The rows of every cache, to be saved."""
        caches = []
        for op in self.graph.caches:
            rows = self._rows[op.results[0].name]
            shape = tuple(self.dims[d.name] if isinstance(d, Symbol) else d for d in op.heads)
            parts = []
            for part, kind in enumerate((op.key, op.value)):
                (width,) = kind.shape
                empty = np.empty((*shape, 0, int(str(width))), NUMPY[kind.dtype])
                parts.append(np.stack([row[part] for row in rows], axis=-2) if rows else empty)
            caches.append(CacheRows(*parts))
        return Snapshot(self.dims, self._length, tuple(caches))

    def restore(self, snapshot: Snapshot) -> None:
        """Become the state that `snapshot` was taken of; `StateError` when it cannot be one of this graph."""
        check_snapshot(self.graph, snapshot)
        for op, cache in zip(self.graph.caches, snapshot.caches, strict=True):
            count = cache.keys.shape[-2]
            self._rows[op.results[0].name] = tuple(
                (cache.keys[..., j, :], cache.values[..., j, :]) for j in range(count)
            )
        self._length = snapshot.length


def _at(bound: Bound, t: int) -> Bound:
    return Bound(bound.dims, {name: np.asarray(array[t]) for name, array in bound.arrays.items()})


def _head_symbols(graph: Graph) -> tuple[Symbol, ...]:
    heads = [d for cache in graph.caches for d in cache.heads]
    return tuple(dict.fromkeys(d for d in heads if isinstance(d, Symbol)))


class _Step:
    """One run through the ops of a graph. `rows` is what each cache holds before it, by the name the `cache`
    op gives it.
    """

    def __init__(self, graph: Graph, bound: Bound, rows: Mapping[str, Rows]) -> None:
        self.graph = graph
        self.where = f"graph @{graph.name}: "
        self.bound = bound
        self.values: dict[str, Array] = dict(bound.arrays)
        self.versions: dict[str, Rows] = dict(rows)

    def run(self) -> tuple[tuple[Array, ...], dict[str, Rows]]:
        """The outputs, and what each cache holds afterwards."""
        roots = self.graph.cache_roots()
        promised = first_readers(self.graph)
        after = {cache.results[0].name: self.versions[cache.results[0].name] for cache in self.graph.caches}
        for op in self.graph.ops:
            match op:
                case Cache():
                    pass  # its rows are given
                case Append():
                    version = self._append(op)
                    self.versions[op.results[0].name] = version
                    after[roots[op.results[0].name].results[0].name] = version
                case AttentionOp():
                    check_operand(self.graph, promised.get(op.output.name, ()), self.values)
                    for result, array in zip(op.results, attend(self._node(op)), strict=True):
                        self.values[result.name] = array
                case _:
                    self.values[op.results[0].name] = tensors.evaluate(
                        op, self.values, self.bound, self.where
                    )
        # Copies: a caller may change an output, and it may be a view of an argument.
        return tuple(np.array(self.values[value.name]) for value in self.graph.outputs), after

    def _node(self, op: AttentionOp) -> Node:
        if isinstance(op, Attend):
            return Node(op, self.values, graph=self.graph.name)
        assert isinstance(op, AttendStep)
        rows = self.versions[op.cache.name]
        keys, values = self._stacked(rows, 0, op.cache.cache), self._stacked(rows, 1, op.cache.cache)
        return Node(op, self.values, keys=keys, rows=values, graph=self.graph.name)

    def _stacked(self, rows: Rows, part: int, kind: CacheType) -> Array:
        """All key rows (`part` 0) or value rows (1) of a cache, with positions as the last axis but one."""
        if rows:
            return np.stack([row[part] for row in rows], axis=-2)
        row_type = (kind.key, kind.value)[part]
        return np.empty(
            (*self.bound.shape(kind.heads), 0, *self.bound.shape(row_type.shape)), NUMPY[row_type.dtype]
        )

    def _append(self, op: Append) -> Rows:
        rows = self.versions[op.cache.name]
        key, value = np.array(self.values[op.key.name]), np.array(self.values[op.value.name])
        finite = np.isfinite(to_float64(key, op.key.tensor.dtype))
        if not finite.all():
            *head, column = (int(n) for n in np.argwhere(~finite)[0])
            place = ", ".join(
                f"{name} {n}" for name, n in zip(("batch", "head")[2 - len(head) :], head, strict=True)
            )
            number = to_float64(key, op.key.tensor.dtype)[(*head, column)]
            root = self.graph.cache_roots()[op.cache.name].results[0]
            raise StateError(
                f"{self.where}cache {root}: the key {op.key} for {place + ', ' if place else ''}position "
                f"{len(rows)} is not finite ({number} in column {column}); "
                f"the state is unchanged, append a finite key"
            )
        promised = promised_for_cache(self.graph, self.graph.cache_roots()[op.cache.name])
        check_append(self.graph, op, promised, key, rows[-1][0] if rows else None, len(rows))
        return (*rows, (key, value))
