"""How elements are stored, and the exact way between storage and doubles.

NumPy has no bfloat16 of its own, so a `bf16` tensor is held as its bits in `uint16`: the upper half of the
f32 it stands for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from attnc_ir.types import DType

Array = npt.NDArray[Any]

NUMPY: dict[DType, np.dtype[Any]] = {
    DType.F64: np.dtype(np.float64),
    DType.F32: np.dtype(np.float32),
    DType.F16: np.dtype(np.float16),
    DType.BF16: np.dtype(np.uint16),
    DType.I64: np.dtype(np.int64),
    DType.I32: np.dtype(np.int32),
    DType.BOOL: np.dtype(np.bool_),
}
"""The array element that stores each type, in native byte order."""


def to_float64(array: Array, dtype: DType) -> npt.NDArray[np.float64]:
    """The numbers of a stored float tensor, widened without rounding; of the same shape. f64 comes back as it
    is.

    >>> to_float64(np.array([0x3F80, 0xC000], np.uint16), DType.BF16)
    array([ 1., -2.])
    """
    assert dtype.is_float, dtype
    if dtype is DType.F64:
        return array
    if dtype is DType.BF16:
        array = _bf16_to_f32(array)
    with np.errstate(invalid="ignore"):  # widening a signalling NaN only makes it quiet
        return array.astype(np.float64)


def from_float64(array: npt.ArrayLike, dtype: DType) -> Array:
    """Doubles as a stored float tensor: one rounding, to nearest even. Too large becomes infinite, NaN stays
    NaN.

    >>> from_float64([1.0, 2.0**16], DType.F16)
    array([ 1., inf], dtype=float16)
    """
    assert dtype.is_float, dtype
    doubles = np.asarray(array, np.float64)
    if dtype is DType.BF16:
        return _f64_to_bf16(doubles)
    with np.errstate(all="ignore"):
        return doubles.astype(NUMPY[dtype])


def convert(array: Array, source: DType, target: DType) -> Array:
    """Stored elements of one type as another: what the `convert` op means.

    Toward floats one rounding to nearest even; toward integers truncation, and the lowest integer for NaN and
    whatever lies outside; between integers the low bits are kept; toward bool `!= 0`.
    """
    if source is target:
        return array
    if target is DType.BOOL:
        return np.asarray((to_float64(array, source) if source.is_float else array) != 0)
    if target.is_float:
        if source.is_float:
            return from_float64(to_float64(array, source), target)
        if target is DType.BF16:
            return _f64_to_bf16(_sticky_f64(array.astype(np.int64)))
        with np.errstate(all="ignore"):
            return array.astype(NUMPY[target])
    if source.is_float:
        return _truncated(to_float64(array, source), target)
    return array.astype(NUMPY[target])


def _truncated(doubles: npt.NDArray[np.float64], target: DType) -> Array:
    info = np.iinfo(NUMPY[target])
    whole = np.trunc(doubles)
    # Both bounds are powers of two, hence doubles: -2**63 itself is inside, 2**63 is not.
    inside = (whole >= float(info.min)) & (whole < -float(info.min))
    return np.where(inside, np.where(inside, whole, 0.0).astype(NUMPY[target]), info.min).astype(
        NUMPY[target]
    )


def _bf16_to_f32(bits: Array) -> npt.NDArray[np.float32]:
    return np.asarray((np.asarray(bits, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32))


def _f64_to_bf16(doubles: npt.NDArray[np.float64]) -> npt.NDArray[np.uint16]:
    # First to f32 by rounding to odd: truncate, and set the last bit if anything was lost. f32 has more than
    # two bits more than bf16, so rounding that to nearest even gives what one rounding would have given.
    with np.errstate(all="ignore"):
        near = np.asarray(doubles.astype(np.float32))
        bits = near.view(np.uint32)
        too_far = np.abs(near) > np.abs(doubles)
        lost = near != doubles
    odd = (bits - too_far.astype(np.uint32)) | lost.astype(np.uint32)
    rounded = (odd + np.uint32(0x7FFF) + ((odd >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x0040)
    return np.asarray(np.where(np.isnan(doubles), quiet, rounded), np.uint16)


def _sticky_f64(integers: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Integers as doubles that round to bf16 as the integers would: rounding to odd, for the reason above."""
    low = integers & np.int64(0x7FF)
    wide = np.abs(integers.astype(np.float64)) >= 2.0**53
    odd = (integers - low) | np.where(low != 0, np.int64(0x400), np.int64(0))
    return np.where(wide, odd, integers).astype(np.float64)
