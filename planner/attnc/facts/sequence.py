"""Facts about a value along its sequence: the same in every row, or polynomials in the position.

The sequence is the last axis but one of a value of rank two or more. A value of lower rank has no positions:
it is one row, repeated wherever it is broadcast.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from attnc.facts.kinds import ConstantFact, Facts, FixedFact, MonotoneFact, PolynomialFact, SteadyFact
from attnc.facts.polynomial import Polynomial, exact_below, fitted
from attnc_ir.op import Op
from attnc_ir.ops import (
    Add,
    Binary,
    Broadcast,
    Concat,
    Constant,
    Convert,
    Iota,
    Mul,
    Neg,
    Slice,
    Sub,
)
from attnc_ir.ops.elementwise import Elementwise
from attnc_ir.types import MAX_DIM, UNKNOWN, DType, TensorType
from attnc_ir.values import Value

MAX_WIDTH = 64
"""Wider rows are not followed element by element."""

_Row = tuple[tuple[Polynomial, ...], int]
"""A row's polynomials, and the bound below which they hold."""


def transfer_sequence(op: Op, facts: Facts) -> None:
    """State what an op makes of what is known about its operands along the sequence."""
    if not op.results or not isinstance(op.results[0].type, TensorType):
        return
    _fixed(op, facts)
    _steady(op, facts)
    _polynomial(op, facts)


# --- fixed --------------------------------------------------------------------------------------------------


def _fixed(op: Op, facts: Facts) -> None:
    if isinstance(op, Constant | Iota):
        facts.add(FixedFact(op.results[0], "depends on no input"))
    elif _is_plain(op) and all(facts.get(v, FixedFact) for v in op.operands):
        facts.add(FixedFact(op.results[0], "depends on nothing that varies", op.operands))


def _is_plain(op: Op) -> bool:
    """Whether the result is made of nothing but the operands' elements, place by place."""
    return isinstance(op, Elementwise | Concat | Slice | Broadcast)


# --- steady -------------------------------------------------------------------------------------------------


def _has_one_row(value: Value) -> bool:
    shape = value.tensor.shape
    return len(shape) < 2 or shape[-2] == 1


def steady(value: Value, facts: Facts) -> bool:
    """Whether a value is the same in every row: it has one only, or a fact says so."""
    return _has_one_row(value) or facts.get(value, SteadyFact) is not None


def _steady(op: Op, facts: Facts) -> None:
    (result, *_) = op.results
    rank = result.tensor.rank
    if rank < 2:
        return
    match op:
        case Constant():
            known = facts.get(result, ConstantFact)
            assert known is not None, "a constant is known"
            if _equal_rows(known):
                facts.add(SteadyFact(result, "is written out with equal rows"))
        case Iota(axis=axis):
            if axis % rank != rank - 2:
                facts.add(SteadyFact(result, "counts along another axis than the sequence"))
        case Concat(axis=axis) if axis % rank == rank - 2:
            # Parts that are steady each may still differ from one another.
            pass
        case _ if _is_plain(op) and all(steady(v, facts) for v in op.operands):
            facts.add(SteadyFact(result, "repeats one row along the sequence", op.operands))
        case _:
            pass


def _equal_rows(known: ConstantFact) -> bool:
    if len(known.elements) == 1:
        return True
    *_, length, width = known.value.tensor.shape
    assert isinstance(length, int), "many values need known sizes"
    assert isinstance(width, int), "many values need known sizes"
    rows = np.array(known.stored).reshape(-1, length, width)
    # By bits: zeros of different sign are equal numbers, but what divides by them is not.
    bits = rows.view(np.int64)
    return bool((bits == bits[..., :1, :]).all())


# --- polynomials --------------------------------------------------------------------------------------------


def _polynomial(op: Op, facts: Facts) -> None:
    (result, *_) = op.results
    kind = result.tensor
    if kind.dtype is DType.BOOL or _width(kind) is None or UNKNOWN in kind.shape:
        return
    found, sources = _row_of(op, facts)
    if found is None:
        return
    elements, bound = found
    bound = min([bound, *(exact_below(e, kind.dtype) for e in elements)])
    if bound < 1:
        return
    below = "" if bound >= MAX_DIM else f" below position {bound}"
    text = f"({', '.join(map(str, elements))})"
    reason = f"has rows {text} at position p{below}" if any(map(_varies, elements)) else f"has rows {text}"
    facts.add(PolynomialFact(result, reason, sources, elements, bound))
    _monotone(result, elements, bound, sources, facts)


def _monotone(
    result: Value, elements: tuple[Polynomial, ...], bound: int, sources: tuple[Value, ...], facts: Facts
) -> None:
    """State the first coordinate in which rows increase strictly, if there is one."""
    if _has_one_row(result) or bound < 2:
        return
    for axis, element in enumerate(elements):
        # From position p to p + 1, where both lie below the bound.
        if (element - element.shifted(1)).negative_below(bound - 1):
            below = "" if bound >= MAX_DIM else f" below position {bound}"
            reason = f"increases strictly in coordinate {axis}{below}, where it is {element}"
            facts.add(MonotoneFact(result, reason, sources, axis, bound))
            return


def _varies(polynomial: Polynomial) -> bool:
    return bool(polynomial.linear or polynomial.square)


def _width(kind: TensorType) -> int | None:
    """Elements of a row, where they are followed; a scalar is a row of one."""
    width = kind.shape[-1] if kind.shape else 1
    return width if isinstance(width, int) and 0 < width <= MAX_WIDTH else None


def _row_of(op: Op, facts: Facts) -> tuple[_Row | None, tuple[Value, ...]]:
    (result, *_) = op.results
    kind = result.tensor
    match op:
        case Constant():
            known = facts.get(result, ConstantFact)
            assert known is not None, "a constant is known"
            return _constant_row(known), ()
        case Iota(axis=axis):
            return _counting_row(kind, axis % kind.rank), ()
        case Neg(x=x):
            row = _stretched(x, kind, facts)
            return (None if row is None else (tuple(-e for e in row[0]), row[1])), (x,)
        case Add(left=left, right=right) | Sub(left=left, right=right) | Mul(left=left, right=right):
            one, other = _stretched(left, kind, facts), _stretched(right, kind, facts)
            made = None if one is None or other is None else _arithmetic(op, one, other)
            return made, (left, right)
        case Convert(x=x):
            row = _stretched(x, kind, facts)
            if row is not None and not op.to.is_float and not all(e.is_integral for e in row[0]):
                row = None  # fractions are cut off
            return row, (x,)
        case Broadcast(x=x):
            return _stretched(x, kind, facts), (x,)
        case Slice(x=x):
            return _sliced(op, facts), (x,)
        case Concat(parts=parts):
            return _joined(op, facts), parts
        case _:
            return None, ()


def _constant_row(known: ConstantFact) -> _Row | None:
    kind = known.value.tensor
    stored = known.stored
    if not all(map(math.isfinite, stored)):
        return None
    width = _width(kind)
    assert width is not None
    if len(stored) == 1:
        return (Polynomial(Fraction(stored[0])),) * width, MAX_DIM
    shape = (1, *kind.shape) if kind.rank < 2 else kind.shape
    table = np.array(stored).reshape(-1, *shape[-2:])
    if not table.size or not (table == table[:1]).all():
        return None
    elements = [fitted([Fraction(x) for x in column]) for column in table[0].T.tolist()]
    if any(e is None for e in elements):
        return None
    # There are no positions beyond the last row.
    return tuple(e for e in elements if e is not None), MAX_DIM


def _counting_row(kind: TensorType, axis: int) -> _Row | None:
    width = _width(kind)
    assert width is not None
    if axis == kind.rank - 1:
        return tuple(Polynomial(Fraction(c)) for c in range(width)), MAX_DIM
    if axis == kind.rank - 2:
        return (Polynomial(linear=Fraction(1)),) * width, MAX_DIM
    return None


def _stretched(value: Value, target: TensorType, facts: Facts) -> _Row | None:
    """An operand's row as it appears in a result of type `target`, which it is broadcast to."""
    known = facts.get(value, PolynomialFact)
    if known is None:
        return None
    elements, bound = known.elements, known.bound
    width = _width(target)
    assert width is not None
    if len(elements) != width:
        elements = elements * width  # of one
    if _has_one_row(value):
        # Its one row stands at position 0 and is repeated.
        return tuple(Polynomial(e(0)) for e in elements), MAX_DIM
    return elements, bound


def _arithmetic(op: Binary, x: _Row, y: _Row) -> _Row | None:
    elements = []
    for left, right in zip(x[0], y[0], strict=True):
        made = (
            left.times(right)
            if isinstance(op, Mul)
            else left + right
            if isinstance(op, Add)
            else left - right
        )
        if made is None:
            return None
        elements.append(made)
    return tuple(elements), min(x[1], y[1])


def _sliced(op: Slice, facts: Facts) -> _Row | None:
    known = facts.get(op.x, PolynomialFact)
    if known is None:
        return None
    rank = op.x.tensor.rank
    axis = op.axis % rank
    if axis == rank - 1:
        return known.elements[op.start : op.stop], known.bound
    if axis == rank - 2:
        return tuple(e.shifted(op.start) for e in known.elements), max(known.bound - op.start, 0)
    return known.elements, known.bound


def _joined(op: Concat, facts: Facts) -> _Row | None:
    rows = [facts.get(v, PolynomialFact) for v in op.parts]
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        return None
    bound = min(row.bound for row in known)
    rank = op.parts[0].tensor.rank
    axis = op.axis % rank
    if axis == rank - 1:
        return tuple(e for row in known for e in row.elements), bound
    if axis == rank - 2 or len({row.elements for row in known}) > 1:
        return None
    return known[0].elements, bound


__all__ = ["steady", "transfer_sequence"]
