"""Facts about columns: which elements of every row are zero, steady, finite, integers, or equal to others.

The columns are the places along the last axis. Facts about whole values lose a column as soon as it is put
beside another; what a `concat` puts together and a `slice` takes apart is followed here.
"""

from __future__ import annotations

import dataclasses

from attnc.facts.elements import integer_range
from attnc.facts.kinds import Column, ColumnsFact, ConstantFact, Facts, FiniteFact, PolynomialFact, ZeroFact
from attnc.facts.polynomial import exact_integers
from attnc.facts.sequence import MAX_WIDTH, steady
from attnc_ir.op import Op
from attnc_ir.ops import Add, Broadcast, Concat, Constant, Convert, Mul, Neg, Slice, Sub
from attnc_ir.ops.elementwise import Binary
from attnc_ir.types import MAX_DIM, DType, TensorType, format_shape
from attnc_ir.values import Value

_LONGEST = 120
"""Characters of the name of a source; what would be longer gets a name of its own."""


def transfer_columns(op: Op, facts: Facts) -> None:
    """State what an op makes of its operands' columns."""
    for result in op.results:
        if isinstance(result.type, TensorType) and (width := _width(result)):
            plain = columns(result, facts)
            found = _moved(op, result, width, facts)
            together = tuple(map(_joined, found, plain)) if found is not None else plain
            if any(together[c] != _unknown(result, c) for c in range(width)):
                facts.add(ColumnsFact(result, _reason(together), op.operands, together))


def columns(value: Value, facts: Facts) -> tuple[Column, ...]:
    """What is known of every column, by a fact about columns or about the whole value; none where the width
    is open or large.
    """
    known = facts.get(value, ColumnsFact)
    if known is not None:
        return known.columns
    width = _width(value)
    if not width:
        return ()
    zero = facts.get(value, ZeroFact) is not None
    shared = Column(
        source="",
        constant=0.0 if zero else None,
        steady=zero or steady(value, facts),
        finite=zero or facts.get(value, FiniteFact) is not None,
        integers=(0, 0) if zero else integer_range(value, facts),
    )
    found = [dataclasses.replace(shared, source=_name(value, c)) for c in range(width)]
    rows = facts.get(value, PolynomialFact)
    if rows is not None and rows.bound >= MAX_DIM:
        for c, polynomial in enumerate(rows.elements):
            if not (polynomial.linear or polynomial.square):
                found[c] = _joined(found[c], _constant(float(polynomial.constant)))
    return tuple(found)


def _width(value: Value) -> int:
    """The number of columns that are followed, 0 for none."""
    shape = value.tensor.shape
    width = shape[-1] if shape else 0
    return width if isinstance(width, int) and width <= MAX_WIDTH else 0


def _name(value: Value, column: int) -> str:
    return f"%{value.name}[{column}]"


def _unknown(value: Value, column: int) -> Column:
    return Column(_name(value, column))


def _constant(number: float) -> Column:
    """A column of nothing but one finite number."""
    whole = (int(number), int(number)) if number == int(number) else None
    return Column(f"{number!r}", 1, number, True, True, whole)


def _joined(one: Column, other: Column) -> Column:
    """What two descriptions of one column say together; the source is that of the first."""
    constant = one.constant if one.constant is not None else other.constant
    return Column(
        one.source,
        one.sign,
        constant,
        one.steady or other.steady,
        one.finite or other.finite,
        one.integers or other.integers,
    )


def _reason(found: tuple[Column, ...]) -> str:
    said = []
    for c, column in enumerate(found):
        if column.constant is not None:
            said.append(f"column {c} is {column.constant:g}")
        elif column.steady:
            said.append(f"column {c} is the same in every row")
        elif column.source in [other.source for other in found[:c]]:
            said.append(f"column {c} repeats another")
    return "has columns followed one by one" + (f": {', '.join(said)}" if said else "")


# --- transfer -----------------------------------------------------------------------------------------------


def _moved(op: Op, result: Value, width: int, facts: Facts) -> tuple[Column, ...] | None:
    """The columns of a result as its operands' columns give them; None where nothing follows."""
    match op:
        case Constant():
            return _written(result, width, facts)
        case Concat(parts=parts, axis=axis) if axis % result.tensor.rank == result.tensor.rank - 1:
            found = tuple(column for part in parts for column in columns(part, facts))
            return found if len(found) == width else None
        case Slice(x=x, start=start, stop=stop, axis=axis):
            own = columns(x, facts)
            if not own:
                return None
            if axis % x.tensor.rank == x.tensor.rank - 1:
                return own[start:stop]
            return tuple(_renamed(c, f"{c.source} cut {axis % x.tensor.rank} {start} {stop}") for c in own)
        case Broadcast(x=x):
            return _stretched(x, result, width, facts)
        case Neg(x=x):
            return tuple(map(_negated, _stretched(x, result, width, facts) or ())) or None
        case Convert(x=x, to=to) if to.is_float:
            wide = _stretched(x, result, width, facts)
            return None if wide is None else tuple(_converted(c, x.tensor.dtype, to) for c in wide)
        case Add() | Sub() | Mul():
            left, right = (_stretched(v, result, width, facts) for v in (op.left, op.right))
            if left is None or right is None:
                return None
            return tuple(
                _combined(op, a, b, _name(result, c), result.tensor.dtype)
                for c, (a, b) in enumerate(zip(left, right, strict=True))
            )
        case _:
            return None


def _written(result: Value, width: int, facts: Facts) -> tuple[Column, ...] | None:
    known = facts.get(result, ConstantFact)
    assert known is not None, "a constant is known"
    found = []
    for c in range(width):
        numbers = set(known.stored[c::width] if len(known.stored) > 1 else known.stored)
        number = numbers.pop() if len(numbers) == 1 else None
        finite = number is not None and abs(number) < float("inf")
        found.append(_constant(number) if finite and number is not None else _unknown(result, c))
    return tuple(found)


def _renamed(column: Column, source: str) -> Column:
    """The column after something was done to all its places alike."""
    if column.constant is not None:
        return column
    return dataclasses.replace(column, source=source)


def _stretched(value: Value, result: Value, width: int, facts: Facts) -> tuple[Column, ...] | None:
    """An operand's columns as they appear in a result that it is broadcast to."""
    own = columns(value, facts)
    if len(own) == 1:
        own *= width
    if len(own) != width:
        return None
    lead = result.tensor.shape[:-1]
    if value.tensor.shape[:-1] == lead:
        return own
    return tuple(_renamed(c, f"{c.source} over {format_shape(lead)}") for c in own)


def _negated(column: Column) -> Column:
    return dataclasses.replace(
        column,
        sign=-column.sign,
        constant=None if column.constant is None else -column.constant,
        integers=None if column.integers is None else (-column.integers[1], -column.integers[0]),
    )


def _converted(column: Column, dtype: DType, to: DType) -> Column:
    fits = _fitting(column.integers, to)
    keeps = fits is not None or (dtype.is_float and (dtype is to or to is DType.F64))
    return Column(
        f"{column.source} as {to}",
        column.sign,
        column.constant if keeps else None,
        column.steady,
        keeps and column.finite,
        fits,
    )


def _fitting(span: tuple[int, int] | None, dtype: DType) -> tuple[int, int] | None:
    """A range of integers if all are exact in a float type."""
    return span if span is not None and max(-span[0], span[1]) <= exact_integers(dtype) else None


def _combined(op: Binary, left: Column, right: Column, name: str, dtype: DType) -> Column:
    """The column that arithmetic on two columns gives; its source is theirs where it is equal to one, or to
    its negative.
    """
    x, y = left.integers, right.integers
    span = None
    if x is not None and y is not None and dtype.is_float:
        if isinstance(op, Mul):
            products = [a * b for a in x for b in y]
            span = _fitting((min(products), max(products)), dtype)
        else:
            a, b = y if isinstance(op, Add) else (-y[1], -y[0])
            span = _fitting((x[0] + a, x[1] + b), dtype)
    zero = isinstance(op, Mul) and (
        (left.constant == 0 and right.finite) or (right.constant == 0 and left.finite)
    )
    same: Column | None = None
    if isinstance(op, Mul):
        for one, other in ((left, right), (right, left)):
            if other.constant in (1.0, -1.0):
                same = one if other.constant == 1.0 else _negated(one)
    elif right.constant == 0:
        same = left
    elif left.constant == 0:
        same = right if isinstance(op, Add) else _negated(right)
    if zero or (span is not None and span[0] == span[1]):
        return _constant(0.0 if zero or span is None else float(span[0]))
    if same is not None:
        return same
    source = f"{left.source} {op.mnemonic} {right.source}"
    return Column(
        source if len(source) < _LONGEST and left.sign == right.sign == 1 else name,
        steady=left.steady and right.steady,
        finite=span is not None,
        integers=span,
    )
