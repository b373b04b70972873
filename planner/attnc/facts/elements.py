"""Facts about single elements: finite, zero, integer with a range."""

from __future__ import annotations

import math
from fractions import Fraction

from attnc.facts.kinds import ConstantFact, Facts, FiniteFact, IntegerFact, ZeroFact
from attnc.facts.polynomial import exact_integers, largest_integer
from attnc_ir.op import Op
from attnc_ir.ops import (
    Add,
    Broadcast,
    Concat,
    Constant,
    Convert,
    Iota,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Select,
    Slice,
    Sub,
)
from attnc_ir.types import MAX_DIM, DType, TensorType
from attnc_ir.values import Value

# Their results are elements of their operands, up to sign, so finite stays finite and zero stays zero.
_KEEPS = (Neg, Minimum, Maximum, Broadcast, Slice, Concat)


def transfer_elements(op: Op, facts: Facts) -> None:
    """State what an op makes of what is known about its operands' elements."""
    for result in op.results:
        if isinstance(result.type, TensorType) and not result.type.dtype.is_float:
            facts.add(FiniteFact(result, f"is {result.type.dtype}"))
    if isinstance(op, Constant):
        _constant(op, facts)
    _finite(op, facts)
    _zero(op, facts)
    _integer(op, facts)


def moved(op: Op) -> tuple[Value, ...]:
    """The values whose elements, up to sign, are the elements of an op's result; none for other ops."""
    match op:
        case Select(then=then, otherwise=otherwise):
            return (then, otherwise)
        case _ if isinstance(op, _KEEPS):
            return op.operands
        case _:
            return ()


def _constant(op: Constant, facts: Facts) -> None:
    (result,) = op.results
    known = ConstantFact(result, "is written out", (), op.values)
    facts.add(known)
    # As stored: a literal beyond the range of a narrow type becomes infinite.
    elements = known.stored
    if not all(map(math.isfinite, elements)):
        return
    facts.add(FiniteFact(result, "is written out and finite"))
    if not any(elements):
        facts.add(ZeroFact(result, "is written out and zero"))
    if elements and all(x == int(x) for x in elements):
        low, high = int(min(elements)), int(max(elements))
        facts.add(IntegerFact(result, f"is written out: integers from {low} to {high}", (), low, high))


# --- finite -------------------------------------------------------------------------------------------------


def _finite(op: Op, facts: Facts) -> None:
    match op:
        case Iota(results=(result, *_)):
            if op.type.dtype is not DType.F16:
                facts.add(FiniteFact(result, "counts positions"))
        case Convert(x=x, to=to, results=(result, *_)):
            widens = x.tensor.dtype.itemsize <= to.itemsize and to is not DType.F16
            if to.is_float and widens and facts.get(x, FiniteFact):
                facts.add(FiniteFact(result, "widens finite elements", (x,)))
        case _:
            sources = moved(op)
            if sources and all(facts.get(v, FiniteFact) for v in sources):
                facts.add(FiniteFact(op.results[0], "moves or compares finite elements", sources))


# --- zero ---------------------------------------------------------------------------------------------------


def _zero(op: Op, facts: Facts) -> None:
    def zero(value: Value) -> bool:
        return facts.get(value, ZeroFact) is not None

    match op:
        case Mul(left=left, right=right):
            # Zero times infinity is NaN.
            for one, other in ((left, right), (right, left)):
                if zero(one) and facts.get(other, FiniteFact):
                    facts.add(ZeroFact(op.results[0], "is zero times something finite", (one, other)))
        case Add(left=left, right=right) | Sub(left=left, right=right):
            if zero(left) and zero(right):
                facts.add(ZeroFact(op.results[0], "joins zeros", (left, right)))
        case Convert(x=x):
            if zero(x):
                facts.add(ZeroFact(op.results[0], "converts zeros", (x,)))
        case _:
            sources = moved(op)
            if sources and all(map(zero, sources)):
                facts.add(ZeroFact(op.results[0], "moves zeros", sources))
    for result in op.results:
        known = facts.get(result, ZeroFact)
        if known is not None:
            facts.add(FiniteFact(result, known.reason, known.because))


# --- integers -----------------------------------------------------------------------------------------------


def integer_range(value: Value, facts: Facts) -> tuple[int, int] | None:
    """The range of a value whose elements are integers, by a fact or by its type; None for others."""
    known = facts.get(value, IntegerFact)
    if known is not None:
        return known.low, known.high
    match value.tensor.dtype:
        case DType.BOOL:
            return 0, 1
        case DType.I32 | DType.I64 as dtype:
            return -largest_integer(dtype) - 1, largest_integer(dtype)
        case _:
            return None


def _integer(op: Op, facts: Facts) -> None:
    if not op.results or not isinstance(op.results[0].type, TensorType):
        return
    result = op.results[0]
    dtype = result.tensor.dtype
    found: tuple[int, int] | None = None
    sources: tuple[Value, ...] = moved(op)
    match op:
        case Iota(type=kind, axis=axis):
            size = kind.shape[axis]
            found = 0, max(size - 1, 0) if isinstance(size, int) else MAX_DIM - 1
        case Add(left=left, right=right) | Sub(left=left, right=right) | Mul(left=left, right=right):
            sources = (left, right)
            x, y = integer_range(left, facts), integer_range(right, facts)
            found = _combined(op, x, y) if x is not None and y is not None else None
        case Convert(x=source):
            sources = (source,)
            found = integer_range(source, facts)
        case Minimum(left=left, right=right) | Maximum(left=left, right=right):
            x, y = integer_range(left, facts), integer_range(right, facts)
            if x is not None and y is not None:
                pick = min if isinstance(op, Minimum) else max
                found = pick(x[0], y[0]), pick(x[1], y[1])
        case _ if sources:
            ranges = [integer_range(v, facts) for v in sources]
            known = [r for r in ranges if r is not None]
            if len(known) == len(ranges):
                found = min(low for low, _ in known), max(high for _, high in known)
            if found is not None and isinstance(op, Neg):
                found = -found[1], -found[0]
    if found is None or dtype is DType.BOOL:
        return
    stored = _stored(found, dtype)
    if stored is not None:
        low, high = stored
        facts.add(IntegerFact(result, f"has integers from {low} to {high}", sources, low, high))
        facts.add(FiniteFact(result, f"has integers from {low} to {high}", sources))


def _combined(op: Op, x: tuple[int, int], y: tuple[int, int]) -> tuple[int, int]:
    if isinstance(op, Add):
        return x[0] + y[0], x[1] + y[1]
    if isinstance(op, Sub):
        return x[0] - y[1], x[1] - y[0]
    products = [a * b for a in x for b in y]
    return min(products), max(products)


def _stored(span: tuple[int, int], dtype: DType) -> tuple[int, int] | None:
    """The range of integers after rounding or wrapping to `dtype`; None where floats can overflow.

    Floats beyond their exact integers are farther apart than 1, so rounding an integer gives an integer.
    """
    reach = max(abs(span[0]), abs(span[1]))
    if reach <= exact_integers(dtype):
        return span
    if not dtype.is_float:
        return -largest_integer(dtype) - 1, largest_integer(dtype)  # it may have wrapped
    low, high = (_outward(end) for end in span)
    return (low, high) if max(-low, high) <= Fraction(largest_integer(dtype)) else None


def _outward(number: int) -> int:
    """A power of two, which every float type rounds to itself, at least as far out; 0 stays."""
    size = 1 << (abs(number) - 1).bit_length() if number else 0
    return size if number > 0 else -size


__all__ = ["integer_range", "moved", "transfer_elements"]
