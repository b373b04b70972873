"""Masks, biases and normalisers that carry arrays: the arguments of `attnc.attention`.

They mirror the IR's attributes, but hold NumPy arrays where those hold values. `lower` puts the arrays into a
graph as inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from attnc_ir.attributes import bias as ir_bias
from attnc_ir.attributes import mask as ir_mask
from attnc_ir.errors import ArgumentError
from attnc_ir.types import Dim, DType, Symbol, TensorType
from attnc_ir.values import Value

Array = npt.NDArray[Any]

_DTYPES = {"float64": DType.F64, "float32": DType.F32, "float16": DType.F16, "bfloat16": DType.BF16,
           "int64": DType.I64, "int32": DType.I32, "bool": DType.BOOL}  # fmt: skip


def as_array(value: object, what: str) -> Array:
    """An array as it is, anything else that has numbers through NumPy; `ArgumentError` when it has none."""
    array = value if isinstance(value, np.ndarray) else _converted(value, what)
    if array.dtype == object and array.ndim == 0:
        raise ArgumentError(f"{what} is a {type(value).__name__}; give an array of numbers")
    if array.dtype.name not in _DTYPES:
        known = ", ".join(_DTYPES)
        raise ArgumentError(
            f"{what} has element type {array.dtype}; attnc takes {known}. Convert it with astype"
        )
    return array


def _converted(value: object, what: str) -> Array:
    try:
        return np.asarray(value)
    except Exception as error:  # whatever a foreign object's own conversion raises
        raise ArgumentError(f"{what} is not an array: {error}") from None


def dtype_of(array: Array) -> DType:
    """The IR's name of an array's element type."""
    return _DTYPES[array.dtype.name]


@dataclass
class Lowering:
    """The inputs of a graph to be: arrays by name, named in order, and the values that stand for them.

    With `one_length` there are as many keys as queries, and `M` is written `N`.
    """

    one_length: bool = False
    arrays: dict[str, Array] = field(default_factory=dict)
    values: list[Value] = field(default_factory=list)
    tables: dict[tuple[int, Value], Value] = field(default_factory=dict)
    """Inputs for the arrays of traced functions: by function and by what stands for the array there."""

    def input(self, stem: str, array: Array, shape: tuple[Dim, ...], *, numbered: bool = True) -> Value:
        """A fresh input for `array` with the given dimensions."""
        name = f"{stem}{len(self.arrays)}" if numbered else stem
        if self.one_length:
            shape = tuple(Symbol("N") if d == Symbol("M") else d for d in shape)
        value = Value(name, TensorType(dtype_of(array), shape))
        self.arrays[name] = array
        self.values.append(value)
        return value

    def scores(self, stem: str, array: Array) -> Value:
        """An input that broadcasts to `[B x H x N x M]`: sizes of 1 stay 1, others are the node's."""
        if array.ndim > 4:
            raise ArgumentError(f"{stem} has rank {array.ndim}; it must broadcast to [B, H, N, M]")
        dims = SCORE_DIMS[4 - array.ndim :]
        return self.input(
            stem, array, tuple(1 if size == 1 else d for size, d in zip(array.shape, dims, strict=True))
        )


SCORE_DIMS: tuple[Symbol, ...] = (Symbol("B"), Symbol("H"), Symbol("N"), Symbol("M"))


def pattern(array: Array) -> tuple[Any, ...]:
    """What of an array decides the graph: element type, rank, and which sizes are 1."""
    return (array.dtype.name, tuple(size == 1 for size in array.shape))


class Mask:
    """Which keys a query may see. Combine with `&`, `|`, `~`, with each other and with boolean arrays.

    `key` is equal for two masks that make the same graph; `lower` makes the IR mask.
    """

    __array_ufunc__ = None  # so that `array & mask` asks the mask
    __slots__ = ("key", "lower", "needs_one_length")

    def __init__(
        self, key: tuple[Any, ...], lower: Callable[[Lowering], ir_mask.Mask], needs_one_length: bool = False
    ) -> None:
        self.key = key
        self.lower = lower
        self.needs_one_length = needs_one_length

    def __and__(self, other: object) -> Mask:
        return _combined("and", ir_mask.And, self, as_mask(other))

    def __rand__(self, other: object) -> Mask:
        return _combined("and", ir_mask.And, as_mask(other), self)

    def __or__(self, other: object) -> Mask:
        return _combined("or", ir_mask.Or, self, as_mask(other))

    def __ror__(self, other: object) -> Mask:
        return _combined("or", ir_mask.Or, as_mask(other), self)

    def __invert__(self) -> Mask:
        return Mask(("not", self.key), lambda low: ir_mask.Not(self.lower(low)), self.needs_one_length)


def _combined(word: str, cls: type[ir_mask.And | ir_mask.Or], left: Mask, right: Mask) -> Mask:
    def lower(low: Lowering) -> ir_mask.Mask:
        return cls((left.lower(low), right.lower(low)))

    return Mask((word, left.key, right.key), lower, left.needs_one_length or right.needs_one_length)


def as_mask(mask: object) -> Mask:
    """A mask as it is, or a boolean array as one."""
    if isinstance(mask, Mask):
        return mask
    array = as_array(mask, "mask")
    if array.dtype != np.bool_:
        raise ArgumentError(
            f"a mask array holds booleans, this one {array.dtype}; "
            "compare it first, or pass it as bias if it is added to scores"
        )
    return Mask(("tensor", pattern(array)), lambda low: ir_mask.TensorMask(low.scores("mask", array)))


def causal(alignment: str | int | None = None) -> Mask:
    """`j <= i + offset`: `"top_left"` (offset 0), `"bottom_right"` (`n_kv - n_q`) or the offset itself.

    May be left out only where there are as many queries as keys.
    """
    parsed = _alignment(alignment)
    return Mask(("causal", parsed), lambda _: ir_mask.Causal(parsed), alignment is None)


def window(left: int, right: int, alignment: str | int | None = None) -> Mask:
    """`i + offset - left <= j <= i + offset + right`.

    Without an alignment it takes that of a causal mask it is and-ed with; else there must be as many queries
    as keys.
    """
    parsed = _alignment(alignment)
    sizes = (_count(left, "window: left"), _count(right, "window: right"))
    return Mask(("window", sizes, parsed), lambda _: ir_mask.Window(*sizes, parsed), alignment is None)


def prefix(count: int | Array) -> Mask:
    """`j < count`: the first keys, for every query. An integer, or an integer array `[B]`."""
    if isinstance(count, int):
        number = _count(count, "prefix")
        return Mask(("prefix", number), lambda _: ir_mask.Prefix(number))
    array = _integers(count, "prefix")
    dims = (Symbol("B"),)[: array.ndim]
    return Mask(("prefix", pattern(array)), lambda low: ir_mask.Prefix(low.input("prefix", array, dims)))


def documents(ids: Array, key_ids: Array | None = None) -> Mask:
    """Query and key belong to the same document: integer arrays `[N]` or `[B, N]`; `key_ids` where lengths
    differ.
    """
    arrays = [_integers(ids, "documents: ids")]
    if key_ids is not None:
        arrays.append(_integers(key_ids, "documents: key_ids"))
    for array in arrays:
        if array.ndim not in (1, 2):
            raise ArgumentError(f"documents: ids have rank {array.ndim}; give [N] or [B, N]")

    def lower(low: Lowering) -> ir_mask.Mask:
        values = [
            low.input("ids", a, ((Symbol("B"),) if a.ndim == 2 else ()) + (length,))
            for a, length in zip(arrays, (Symbol("N"), Symbol("M")), strict=False)
        ]
        return ir_mask.Documents(*values)

    return Mask(("documents", *(pattern(a)[0] + str(a.ndim) for a in arrays)), lower, key_ids is None)


def lengths(queries: Array, keys: Array) -> Mask:
    """Ragged batches: `i < queries[b] and j < keys[b]`, integer arrays `[B]`."""
    arrays = [_integers(queries, "lengths: queries"), _integers(keys, "lengths: keys")]

    def lower(low: Lowering) -> ir_mask.Mask:
        return ir_mask.Lengths(*(low.input("lengths", a, (Symbol("B"),)) for a in arrays))

    return Mask(("lengths", *(a.dtype.name for a in arrays)), lower)


def _alignment(alignment: str | int | None) -> ir_mask.Alignment | None:
    if alignment is None:
        return None
    if isinstance(alignment, int | np.integer) and not isinstance(alignment, bool):
        return int(alignment)
    corners = [c.value for c in ir_mask.Corner]
    if not isinstance(alignment, str) or alignment not in corners:
        raise ArgumentError(
            f"alignment is {alignment!r:.60}; give {', '.join(map(repr, corners))} or an integer offset"
        )
    return ir_mask.Corner(alignment)


def _count(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value <= 2**40:
        raise ArgumentError(f"{what} is {value!r:.60}; give an integer from 0 to 2**40")
    return int(value)


def _integers(value: object, what: str) -> Array:
    array = as_array(value, what)
    if not dtype_of(array).is_int:
        raise ArgumentError(f"{what} holds {array.dtype}; give int32 or int64")
    return array


class Bias:
    """What is added to scores. Terms add up: `alibi(slopes) + array`."""

    __array_ufunc__ = None
    __slots__ = ("key", "lower")

    def __init__(self, key: tuple[Any, ...], lower: Callable[[Lowering], ir_bias.Bias]) -> None:
        self.key = key
        self.lower = lower

    def __add__(self, other: object) -> Bias:
        term = as_bias(other)
        return Bias(("sum", self.key, term.key), lambda low: self.lower(low) + term.lower(low))

    def __radd__(self, other: object) -> Bias:
        return as_bias(other) + self


def as_bias(bias: object) -> Bias:
    """A bias as it is, or a float array that broadcasts to `[B, H, N, M]`."""
    if isinstance(bias, Bias):
        return bias
    array = as_array(bias, "bias")
    if not dtype_of(array).is_float:
        raise ArgumentError(f"bias holds {array.dtype}; give floats, or pass booleans as mask")
    return Bias(("tensor", pattern(array)), lambda low: (ir_bias.TensorBias(low.scores("bias", array)),))


def alibi(slopes: Array) -> Bias:
    """`slopes[h] * (j - i)`: a float array `[H]`, or `[1]` for all heads."""
    array = _floats(slopes, "alibi: slopes", 1)
    dim: Dim = 1 if array.size == 1 else Symbol("H")
    return Bias(("alibi", pattern(array)), lambda low: (ir_bias.Alibi(low.input("slopes", array, (dim,))),))


def relative(table: Array) -> Bias:
    """`table[h, clamp(j - i, -c, c) + c]`: a float array `[H, 2c + 1]`, or `[1, 2c + 1]` for all heads."""
    array = _floats(table, "relative: table", 2)
    if array.shape[1] % 2 == 0:
        raise ArgumentError(f"relative: the table has {array.shape[1]} columns; give an odd number, 2c + 1")
    dims: tuple[Dim, ...] = (1 if array.shape[0] == 1 else Symbol("H"), array.shape[1])
    return Bias(
        ("relative", pattern(array), array.shape[1]),
        lambda low: (ir_bias.Relative(low.input("table", array, dims)),),
    )


def _floats(value: object, what: str, rank: int) -> Array:
    array = as_array(value, what)
    if not dtype_of(array).is_float or array.ndim != rank:
        raise ArgumentError(f"{what} is {array.dtype} of rank {array.ndim}; give floats of rank {rank}")
    return array


@dataclass(frozen=True)
class TopK:
    """A normaliser: softmax over the `k` largest scores. The tie rule is `attention`'s `tie`."""

    k: int


def topk(k: int) -> TopK:
    """Softmax over the `k` largest scores of each row."""
    if _count(k, "topk: k") < 1:
        raise ArgumentError("topk: k is 0; give at least 1")
    return TopK(int(k))
