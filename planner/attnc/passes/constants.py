"""Arithmetic on constants, done at planning time only where every implementation must agree on the result.

That is where the result is exact: the rational result is itself an element of the type. Then neither
rounding mode nor precision of an intermediate can matter.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from attnc_ir.op import Op
from attnc_ir.ops import (
    Add,
    Broadcast,
    Concat,
    Constant,
    Convert,
    Div,
    Equal,
    Less,
    LessEqual,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Select,
    Slice,
    Sub,
)
from attnc_ir.storage import convert, from_float64, to_float64
from attnc_ir.types import DType, Shape, TensorType

MAX_ELEMENTS = 4096
"""A larger constant stays as the ops that make it: the text would grow, and nothing is gained."""


def stored(values: Sequence[float], dtype: DType) -> tuple[float, ...]:
    """What the elements of a constant become when they are stored: floats rounded to their type, then as
    doubles again.

    >>> stored([0.1], DType.F16)
    (0.0999755859375,)
    """
    if not dtype.is_float:
        return tuple(values)
    return tuple(map(float, to_float64(np.atleast_1d(from_float64(list(values), dtype)), dtype)))


def representable(number: Fraction, dtype: DType) -> float | None:
    """The double that is `number`, if it is one and an element of `dtype` too."""
    try:
        value = number.numerator / number.denominator
    except OverflowError:
        return None
    if not math.isfinite(value) or Fraction(value) != number:
        return None
    if dtype.is_int:
        limit = 31 if dtype is DType.I32 else 53  # constants hold integers up to 2**53
        return value if number.denominator == 1 and -(2**limit) <= number < 2**limit else None
    return value if stored([value], dtype)[0] == value else None


def folded(op: Op, sources: Sequence[Constant]) -> tuple[float, ...] | None:
    """The elements of a pure op over constants; None where they are too many, or not exact."""
    kind = op.results[0].tensor
    arrays = [_array(source) for source in sources]
    if any(a is None for a in arrays):
        return None
    known = [a for a in arrays if a is not None]
    splat = all(a.ndim == 0 for a in known)
    if isinstance(op, Slice | Concat | Broadcast):
        return _moved(op, known, kind, splat=splat)
    rule = _RULES.get(type(op))
    if rule is None or not (splat or _count(kind.shape) <= MAX_ELEMENTS):
        return None
    grid = np.broadcast_arrays(*known)
    results: list[float] = []
    for elements in zip(*(g.ravel().tolist() for g in grid), strict=True):
        result = rule(op, [s.type.dtype for s in sources], list(elements), kind.dtype)
        if result is None:
            return None
        results.append(result)
    return tuple(results) if splat else _spread(results, grid[0].shape, kind)


def _array(source: Constant) -> npt.NDArray[np.float64] | None:
    """The elements as stored: a 0-d array for one value that stands for all."""
    values = stored(source.values, source.type.dtype)
    if len(values) == 1:
        return np.asarray(values[0])
    if len(values) > MAX_ELEMENTS or not all(isinstance(d, int) for d in source.type.shape):
        return None
    return np.asarray(values, np.float64).reshape(tuple(d for d in source.type.shape if isinstance(d, int)))


def _count(shape: Shape) -> float:
    return math.prod(d if isinstance(d, int) else math.inf for d in shape)


def _spread(results: list[float], shape: tuple[int, ...], kind: TensorType) -> tuple[float, ...]:
    sizes = tuple(d for d in kind.shape if isinstance(d, int))
    return tuple(np.broadcast_to(np.asarray(results, np.float64).reshape(shape), sizes).ravel().tolist())


def _moved(
    op: Slice | Concat | Broadcast, arrays: list[npt.NDArray[np.float64]], kind: TensorType, *, splat: bool
) -> tuple[float, ...] | None:
    first = float(arrays[0].ravel()[0]) if arrays[0].size else 0.0
    if splat and all(_same(float(a), first) for a in arrays):
        return (first,)
    if _count(kind.shape) > MAX_ELEMENTS:
        return None
    full = [np.broadcast_to(a, _sizes(v.tensor.shape)) for a, v in zip(arrays, op.operands, strict=True)]
    if isinstance(op, Slice):
        index: list[slice] = [slice(None)] * kind.rank
        index[op.axis] = slice(op.start, op.stop)
        result = full[0][tuple(index)]
    elif isinstance(op, Concat):
        result = np.concatenate(full, axis=op.axis)
    else:
        result = np.broadcast_to(full[0], _sizes(kind.shape))
    return tuple(map(float, result.ravel().tolist()))


def _sizes(shape: Shape) -> tuple[int, ...]:
    return tuple(d for d in shape if isinstance(d, int))


def _same(a: float, b: float) -> bool:
    """Equal to the bit, as far as arithmetic can tell: zeros by sign, NaN like NaN."""
    return (a != a and b != b) or (a == b and math.copysign(1.0, a) == math.copysign(1.0, b))


# --- one element --------------------------------------------------------------------------------------------

Rule = Callable[[Op, list[DType], list[float], DType], float | None]


def _arithmetic(
    exact: Callable[[Fraction, Fraction], Fraction], ieee: Callable[[float, float], float]
) -> Rule:
    def rule(op: Op, _dtypes: list[DType], elements: list[float], dtype: DType) -> float | None:
        x, y = elements
        if not (math.isfinite(x) and math.isfinite(y)) or (isinstance(op, Div) and y == 0):
            return None
        number = exact(Fraction(x), Fraction(y))
        if number == 0 and dtype.is_float:
            # A fraction has no sign of zero; the operation on doubles is exact here and knows it.
            return ieee(x, y)
        return representable(number, dtype)

    return rule


def _extremum(choose: Callable[[float, float], float]) -> Rule:
    def rule(_op: Op, _dtypes: list[DType], elements: list[float], _dtype: DType) -> float | None:
        x, y = elements
        # Which zero min(-0.0, 0.0) is, and which NaN, is for the implementation to say.
        return None if x != x or y != y or (x == 0 and y == 0) else choose(x, y)

    return rule


def _negation(_op: Op, _dtypes: list[DType], elements: list[float], dtype: DType) -> float | None:
    x = elements[0]
    if x != x:
        return None
    if dtype.is_float:
        return -x
    return representable(-Fraction(x), dtype)


def _comparison(compare: Callable[[float, float], bool]) -> Rule:
    return lambda _op, _dtypes, elements, _dtype: float(compare(elements[0], elements[1]))


def _selection(_op: Op, _dtypes: list[DType], elements: list[float], _dtype: DType) -> float:
    return elements[1] if elements[0] else elements[2]


def _conversion(_op: Op, dtypes: list[DType], elements: list[float], dtype: DType) -> float | None:
    x = elements[0]
    if not math.isfinite(x):
        return None
    source = dtypes[0]
    array = from_float64([x], source) if source.is_float else np.asarray([x]).astype(_HOLDER[source])
    result = convert(array, source, dtype)
    value = float(to_float64(result, dtype)[0]) if dtype.is_float else int(result[0])
    # Only a conversion that loses nothing is done here.
    return float(value) if _same(float(value), x) else None


_HOLDER = {DType.I64: np.int64, DType.I32: np.int32, DType.BOOL: np.bool_}

_RULES: dict[type[Op], Rule] = {
    Neg: _negation,
    Add: _arithmetic(lambda x, y: x + y, lambda x, y: x + y),
    Sub: _arithmetic(lambda x, y: x - y, lambda x, y: x - y),
    Mul: _arithmetic(lambda x, y: x * y, lambda x, y: x * y),
    Div: _arithmetic(lambda x, y: x / y, lambda x, y: x / y),
    Minimum: _extremum(min),
    Maximum: _extremum(max),
    Equal: _comparison(lambda x, y: x == y),
    Less: _comparison(lambda x, y: x < y),
    LessEqual: _comparison(lambda x, y: x <= y),
    Select: _selection,
    Convert: _conversion,
}
