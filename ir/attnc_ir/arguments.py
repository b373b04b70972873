"""Checks of the arrays that a graph is called with, before anything runs.

A [`Signature`][attnc_ir.arguments.Signature] is made once per graph; its `bind` runs on every call. Arrays
pass through as they are, strided, read-only or empty; nothing is converted behind the caller's back, except
Python numbers and lists, which have no dtype of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnc_ir.attributes.mask import Lengths, Prefix
from attnc_ir.errors import ArgumentError
from attnc_ir.graph import Graph
from attnc_ir.kinds import suggest
from attnc_ir.ops import AttentionOp
from attnc_ir.storage import NUMPY, Array, from_float64
from attnc_ir.types import MAX_DIM, UNKNOWN, Dim, DType, Shape, Symbol, TensorType, format_shape
from attnc_ir.values import Value


@dataclass(slots=True)
class Bound:
    """Arguments that fit. `dims` maps symbols to sizes, `arrays` input names to arrays (bf16 as its bits in
    `uint16`).

    `steps` is the size of the leading axis when many steps were given at once, else None.
    """

    dims: dict[str, int]
    arrays: dict[str, Array]
    steps: int | None = None

    def size(self, dim: Dim) -> int:
        """The size of a dimension that the arguments or the type determine."""
        return dim if isinstance(dim, int) else self.dims[dim.name]

    def shape(self, shape: Shape) -> tuple[int, ...]:
        """A shape in numbers."""
        return tuple(self.size(d) for d in shape)


@dataclass(frozen=True, slots=True)
class _Input:
    name: str
    dtype: DType
    element: np.dtype[Any]
    shape: Shape


@dataclass(frozen=True, slots=True)
class _Fit:
    """What the last call found, so that a call with the same shapes need not look again."""

    shapes: tuple[tuple[int, ...], ...]
    given: Mapping[str, int] | None
    stacked: bool
    dims: dict[str, int]
    steps: int | None


class Signature:
    """What a graph expects of its arguments. The graph is verified."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._last: _Fit | None = None
        self._where = f"graph @{self.graph.name}: "
        self._inputs = tuple(
            _Input(v.name, v.tensor.dtype, NUMPY[v.tensor.dtype], v.tensor.shape) for v in self.graph.inputs
        )
        self._types = [(v, v.type) for v in self.graph.values() if isinstance(v.type, TensorType)]
        shapes = [kind.shape for _, kind in self._types] + [cache.heads for cache in self.graph.caches]
        self._symbols = dict.fromkeys(
            d.name for s in shapes for d in s if isinstance(d, Symbol) and d != UNKNOWN
        )
        nodes = [op for op in self.graph.ops if isinstance(op, AttentionOp)]
        self._groups = [(op.output, op.geometry.query_heads, op.geometry.key_heads) for op in nodes]
        self._counted = [(op, op.geometry) for op in nodes if any(True for _ in _counts(op))]

    def bind(
        self, arrays: Mapping[str, object], *, steps: bool = False, dims: Mapping[str, int] | None = None
    ) -> Bound:
        """The arguments as arrays, and the size of every symbol; `ArgumentError` for whatever does not fit.

        With `steps`, each array has one more leading axis, of the same size (which may be 0) for all. `dims`
        gives sizes that are already settled: those of a state, or of symbols that no input has.
        """
        found: dict[str, Array] = {}
        for spec in self._inputs:
            array = arrays.get(spec.name)
            if type(array) is not np.ndarray or array.dtype != spec.element:
                array = self._converted(spec, array, arrays)
            found[spec.name] = array
        if len(arrays) != len(found):
            self._name_fault(arrays)
        shapes = tuple([a.shape for a in found.values()])
        last = self._last
        if last is None or last.shapes != shapes or last.stacked is not steps or last.given != dims:
            last = self._last = self._fit(shapes, steps, dims)
        return Bound(dict(last.dims), found, last.steps)

    # --- names and elements ---

    def _name_fault(self, arrays: Mapping[str, object]) -> None:
        known = {v.name: v.type for v in self.graph.inputs}
        faults = []
        for name in arrays:
            if name not in known:
                help = suggest(str(name), list(known)) if known else "it takes none"
                faults.append(f"there is no argument {str(name)[:60]} ({help})")
        faults += [
            f"argument {name} is missing, expected {kind}"
            for name, kind in known.items()
            if name not in arrays
        ]
        raise ArgumentError(self._where + "; ".join(faults))

    def _converted(self, spec: _Input, given: object, arrays: Mapping[str, object]) -> Array:
        """`given` as an array of the input's element type, where that loses nothing."""
        if spec.name not in arrays:
            self._name_fault(arrays)
        what = f"{self._where}argument {spec.name}"
        if isinstance(given, np.ma.MaskedArray):
            raise ArgumentError(
                f"{what} is a masked array; fill it, {spec.name}.filled(0), and leave "
                f"positions out by a mask of the graph"
            )
        if isinstance(given, bool | int | float | list | tuple):
            return _from_literal(spec, given, what)
        try:
            array = np.asarray(given)
        except (TypeError, ValueError, RuntimeError) as error:  # from a foreign array's own conversion
            raise ArgumentError(f"{what} is a {type(given).__name__}, not an array: {error}") from None
        if array.dtype == spec.element:
            return array
        if spec.dtype is DType.BF16 and array.dtype.name == "bfloat16" and array.dtype.isnative:
            return array.view(np.uint16)
        raise ArgumentError(f"{what} {_dtype_fault(spec, given, array)}")

    # --- shapes ---

    def _fit(
        self, shapes: tuple[tuple[int, ...], ...], stacked: bool, given: Mapping[str, int] | None
    ) -> _Fit:
        check_sizes(self._where, given or {})
        dims = dict(given or {})
        origin = dict.fromkeys(dims, "fixed before this call")
        steps: int | None = None
        if stacked:
            if not shapes:
                raise ArgumentError(f"{self._where}it has no argument to count steps by; step it one by one")
            steps = shapes[0][0] if shapes[0] else None
        for spec, shape in zip(self._inputs, shapes, strict=True):
            wanted = format_shape((Symbol("steps"), *spec.shape) if stacked else spec.shape)
            what = f"{self._where}argument {spec.name} has shape {shape}, expected {wanted}"
            if len(shape) != len(spec.shape) + stacked:
                extra = ", the first axis counts steps" if stacked else ""
                raise ArgumentError(f"{what}: rank {len(spec.shape) + stacked}{extra}, not {len(shape)}")
            if stacked and shape[0] != steps:
                raise ArgumentError(
                    f"{what}: {shape[0]} steps, but argument {self._inputs[0].name} has {steps}"
                )
            for axis, (dim, size) in enumerate(zip(spec.shape, shape[stacked:], strict=True)):
                if size > MAX_DIM:
                    raise ArgumentError(f"{what}: axis {axis + stacked} is longer than 2**40")
                if isinstance(dim, int):
                    if size != dim:
                        raise ArgumentError(f"{what}: axis {axis + stacked} must be {dim}, not {size}")
                elif dim != UNKNOWN:
                    known = dims.setdefault(dim.name, size)
                    if known != size:
                        raise ArgumentError(f"{what}: {dim} is {size} here but {known} {origin[dim.name]}")
                    origin.setdefault(dim.name, f"in argument {spec.name}")
        self._check_dims(dims, given, 1 if steps is None else steps)
        return _Fit(shapes, None if given is None else dict(given), stacked, dims, steps)

    def _check_dims(self, dims: dict[str, int], given: Mapping[str, int] | None, steps: int) -> None:
        for name in given or {}:
            if name not in self._symbols:
                raise ArgumentError(
                    f"{self._where}it has no dimension {name} ({suggest(name, list(self._symbols))})"
                )
        open_ = [name for name in self._symbols if name not in dims]
        if open_:
            raise ArgumentError(
                f"{self._where}no argument says how large {', '.join(open_)} is; "
                f"give dims={{{open_[0]!r}: ...}}"
            )
        bound = Bound(dims, {})
        for output, query_heads, key_heads in self._groups:
            if UNKNOWN in (query_heads, key_heads):
                continue
            q, k = bound.size(query_heads), bound.size(key_heads)
            if q != k and (k == 0 or q % k):
                raise ArgumentError(
                    f"{self._where}{output} has {q} query heads ({query_heads}), "
                    f"but {k} key heads ({key_heads}); query heads must be a multiple of key heads"
                )
        for value, kind in self._types:
            if UNKNOWN not in kind.shape:
                # Size 0 does not make room for the others: offsets within those are computed all the same.
                count = math.prod(max(1, n) for n in (steps, *bound.shape(kind.shape)))
                if count * kind.dtype.itemsize >= 2**63:
                    raise ArgumentError(
                        f"{self._where}{value} would have shape {bound.shape(kind.shape)}, more than "
                        f"2**63 bytes; use smaller sizes"
                    )

    # --- values ---

    def check_values(self, bound: Bound) -> None:
        """`ArgumentError` for lengths and prefix counts among the arguments, negative or too large."""
        for op, g in self._counted:
            queries = None if g.queries == UNKNOWN else bound.size(g.queries)
            keys = None if g.keys is None or g.keys == UNKNOWN else bound.size(g.keys)
            check_counts(f"{self._where}{op.output}: ", op, bound.arrays, queries=queries, keys=keys)


def bind(
    graph: Graph, arrays: Mapping[str, object], *, steps: bool = False, dims: Mapping[str, int] | None = None
) -> Bound:
    """`Signature(graph).bind(...)`, for a single call."""
    return Signature(graph).bind(arrays, steps=steps, dims=dims)


def check_values(graph: Graph, bound: Bound) -> None:
    """`Signature(graph).check_values(bound)`, for a single call."""
    Signature(graph).check_values(bound)


def check_sizes(where: str, dims: Mapping[str, int]) -> None:
    """`ArgumentError` unless every size is an integer from 0 to 2**40."""
    for name, size in dims.items():
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_DIM:
            raise ArgumentError(f"{where}dimension {name} is {size!r:.60}; give an integer from 0 to 2**40")


def check_counts(
    where: str, op: AttentionOp, arrays: Mapping[str, Array], *, queries: int | None, keys: int | None
) -> None:
    """`ArgumentError` for lengths and prefix counts of a node's masks that are negative or too large.

    Looks at those counts that `arrays` holds. `queries` and `keys` are the node's lengths, None where they
    are not known. A prefix may be longer than the keys, as a cache may be shorter than the prefix that is
    promised to it.
    """
    for value, what in _counts(op):
        counts = arrays.get(value.name)
        if counts is None or counts.size == 0:
            continue
        if counts.min() < 0:
            raise ArgumentError(f"{where}{what} {value} is {counts.min()}; a count must not be negative")
        limit = {"query length": queries, "key length": keys}.get(what)
        if limit is not None and counts.max() > limit:
            raise ArgumentError(
                f"{where}{what} {value} is {counts.max()}, but the array has only {limit} positions"
            )


def _counts(op: AttentionOp) -> Iterator[tuple[Value, str]]:
    for mask in op.mask.walk():
        match mask:
            case Lengths(queries, keys):
                yield queries, "query length"
                yield keys, "key length"
            case Prefix(Value() as count):
                yield count, "prefix"
            case _:
                pass


# --- elements -----------------------------------------------------------------------------------------------


_LITERALS = {
    (True, False): ("numbers", "iuf"),
    (False, True): ("integers", "iu"),
    (False, False): ("booleans", "b"),
}
"""By `is_float` and `is_int`: what a list may hold, in words and as NumPy's kind letters."""


def _from_literal(spec: _Input, given: object, what: str) -> Array:
    try:
        array = np.asarray(given)
    except ValueError:
        raise ArgumentError(f"{what} is a list of uneven rows; make them equally long") from None
    wanted, kinds = _LITERALS[spec.dtype.is_float, spec.dtype.is_int]
    if array.size and array.dtype.kind not in kinds:  # an empty list holds no sort of number
        raise ArgumentError(f"{what} holds {array.dtype}, expected {wanted} ({spec.dtype})")
    if spec.dtype.is_int and array.size:
        info = np.iinfo(spec.element)
        low, high = int(array.min()), int(array.max())
        if low < info.min or high > info.max:
            raise ArgumentError(f"{what} holds {low if low < info.min else high}, which is no {spec.dtype}")
    if spec.dtype.is_float:
        return from_float64(array, spec.dtype)
    return array.astype(spec.element)


def _dtype_fault(spec: _Input, given: object, array: Array) -> str:
    """What is wrong with an array's elements, and what to write instead."""
    name, dtype = spec.name, spec.dtype
    wanted = "bfloat16 (ml_dtypes), or its bits as uint16" if dtype is DType.BF16 else spec.element.name
    if array.dtype == object:
        if array.ndim == 0:
            return f"is a {type(given).__name__}, expected an array of {wanted} ({dtype})"
        return f"has dtype object, expected {wanted} ({dtype}): give an array of numbers"
    if not array.dtype.isnative and array.dtype.newbyteorder("=") == spec.element:
        how = f"{name}.astype({name}.dtype.newbyteorder('='))"
        return f"is stored in the other byte order ({array.dtype.str}): convert it, {how}"
    how = (
        "attnc_ir.storage.from_float64(..., DType.BF16)"
        if dtype is DType.BF16
        else f"{name}.astype(np.{wanted})"
    )
    return f"is {array.dtype}, expected {wanted} ({dtype}): convert it, {how}"
