"""Reasoning about expressions over `(b, h, i, j)`: ranges, folding, linear forms.

Everything here is exact about 64-bit wrapping: a range or a linear form is given only where no step of the
expression wraps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from attnc_ir.expr import (
    COMPARISONS,
    LOGIC,
    Binary,
    BinaryOp,
    BoolLiteral,
    Expr,
    ExprType,
    FloatLiteral,
    Index,
    IntLiteral,
    Lookup,
    Unary,
    UnaryOp,
    Variable,
    Where,
    type_of,
)
from attnc_ir.types import MAX_DIM, Dim, DType

_LOW, _HIGH = -(2**63), 2**63 - 1


@dataclass(frozen=True)
class Interval:
    """Integers from `low` to `high`, both included."""

    low: int
    high: int

    @property
    def fits(self) -> bool:
        """Within 64 bits, so nothing wrapped."""
        return self.low >= _LOW and self.high <= _HIGH


FULL = Interval(_LOW, _HIGH)


@dataclass(frozen=True)
class Box:
    """Where the coordinates of a node lie. A dimension that is known by name only, or grows (None), is at
    most 2**40.
    """

    batch: Dim
    heads: Dim
    queries: Dim | None
    keys: Dim | None

    def range(self, variable: Variable) -> Interval:
        """The values of a coordinate. An empty dimension gives `[0, 0]`: nothing is ever evaluated there."""
        dim = {
            Variable.BATCH: self.batch,
            Variable.HEAD: self.heads,
            Variable.QUERY: self.queries,
            Variable.KEY: self.keys,
        }[variable]
        return Interval(0, max(0, dim - 1) if isinstance(dim, int) else MAX_DIM - 1)


def exact_range(expr: Expr, box: Box) -> Interval | None:
    """The integers that `expr` can give; None when it is no integer or some step of it may wrap."""
    match expr:
        case Index(variable):
            return box.range(variable)
        case IntLiteral(value):
            return Interval(value, value)
        case Unary(op, operand):
            inner = exact_range(operand, box)
            return None if inner is None else _fitting(_unary_range(op, inner))
        case Binary(op, left, right) if op not in COMPARISONS and op not in LOGIC:
            x, y = exact_range(left, box), exact_range(right, box)
            return None if x is None or y is None else _fitting(_binary_range(op, x, y))
        case Where(_, then, otherwise):
            x, y = exact_range(then, box), exact_range(otherwise, box)
            return None if x is None or y is None else Interval(min(x.low, y.low), max(x.high, y.high))
        case Lookup(table) if table.tensor.dtype.is_int:
            bits = 31 if table.tensor.dtype is DType.I32 else 63
            return Interval(-(2**bits), 2**bits - 1)
        case _:
            return None


def _fitting(interval: Interval | None) -> Interval | None:
    return interval if interval is not None and interval.fits else None


def _unary_range(op: UnaryOp, x: Interval) -> Interval | None:
    if op is UnaryOp.NEG:
        return Interval(-x.high, -x.low)
    if op is UnaryOp.ABS:
        low = 0 if x.low <= 0 <= x.high else min(abs(x.low), abs(x.high))
        return Interval(low, max(abs(x.low), abs(x.high)))
    return None


def _binary_range(op: BinaryOp, x: Interval, y: Interval) -> Interval | None:
    match op:
        case BinaryOp.ADD:
            return Interval(x.low + y.low, x.high + y.high)
        case BinaryOp.SUB:
            return Interval(x.low - y.high, x.high - y.low)
        case BinaryOp.MUL:
            corners = [a * b for a in (x.low, x.high) for b in (y.low, y.high)]
            return Interval(min(corners), max(corners))
        case BinaryOp.FLOORDIV if y.low > 0:
            corners = [a // b for a in (x.low, x.high) for b in (y.low, y.high)]
            return Interval(min(corners), max(corners))
        case BinaryOp.MOD if y.low > 0:
            if y.low == y.high and x.low // y.low == x.high // y.low:
                return Interval(x.low % y.low, x.high % y.low)
            return Interval(0, y.high - 1)
        case BinaryOp.MIN:
            return Interval(min(x.low, y.low), min(x.high, y.high))
        case BinaryOp.MAX:
            return Interval(max(x.low, y.low), max(x.high, y.high))
        case _:
            return None


# --- folding ------------------------------------------------------------------------------------------------


def fold(expr: Expr, box: Box) -> Expr:
    """`expr` with everything computed that is the same at every position of `box`.

    Integers and conditions only: a float literal is compared, never computed with, so folding cannot round.
    A look-up that could have raised an error may disappear, none is added.

    >>> from attnc_ir.types import Symbol
    >>> box = Box(1, 8, Symbol("N"), 100)
    >>> fold(Binary(BinaryOp.LT, Index(Variable.KEY), IntLiteral(100)), box)
    BoolLiteral(value=True)
    """
    expr = _with_children(expr, box)
    known = exact_range(expr, box)
    if known is not None and known.low == known.high:
        return IntLiteral(known.low)
    match expr:
        case Unary(UnaryOp.NOT, operand):
            return _negated(operand)
        case Unary(UnaryOp.NEG, Unary(UnaryOp.NEG, inner)):
            return inner
        case Unary(UnaryOp.ABS, operand) if (x := exact_range(operand, box)) is not None and x.low >= 0:
            return operand
        case Binary(op, left, right) if op in COMPARISONS:
            return _folded_comparison(expr, op, left, right, box)
        case Binary(op, left, right) if op in LOGIC:
            return _folded_logic(expr, op, left, right)
        case Binary(op, left, right):
            return _folded_arithmetic(expr, op, left, right, box)
        case Where(BoolLiteral(taken), then, otherwise):
            chosen = then if taken else otherwise
            # A branch takes the type of the whole: where(c, 1, 0.5) is a float, 1 alone would not be.
            return chosen if type_of(chosen) is type_of(expr) else expr
        case Where(_, then, otherwise) if then == otherwise and type_of(then) is not ExprType.FLOAT:
            return then
        case _:
            return expr


def _with_children(expr: Expr, box: Box) -> Expr:
    match expr:
        case Unary(op, operand):
            new: Expr = Unary(op, fold(operand, box))
        case Binary(op, left, right):
            new = Binary(op, fold(left, box), fold(right, box))
        case Where(condition, then, otherwise):
            new = Where(fold(condition, box), fold(then, box), fold(otherwise, box))
        case Lookup(_, indices):
            new = replace(expr, indices=tuple(fold(e, box) for e in indices))
        case _:
            return expr
    return new


_INVERSE = {
    BinaryOp.LT: BinaryOp.GE,
    BinaryOp.GE: BinaryOp.LT,
    BinaryOp.GT: BinaryOp.LE,
    BinaryOp.LE: BinaryOp.GT,
    BinaryOp.EQ: BinaryOp.NE,
    BinaryOp.NE: BinaryOp.EQ,
}


def _negated(operand: Expr) -> Expr:
    match operand:
        case BoolLiteral(value):
            return BoolLiteral(not value)
        case Unary(UnaryOp.NOT, inner):
            return inner
        case Binary(op, left, right) if op in COMPARISONS and _is_int(left) and _is_int(right):
            # Integers only: with NaN, not (x < y) is not x >= y.
            return Binary(_INVERSE[op], left, right)
        case _:
            return Unary(UnaryOp.NOT, operand)


def _is_int(expr: Expr) -> bool:
    return type_of(expr) is ExprType.INT


def _folded_comparison(expr: Expr, op: BinaryOp, left: Expr, right: Expr, box: Box) -> Expr:
    if isinstance(left, FloatLiteral) and isinstance(right, FloatLiteral):
        return BoolLiteral(_compare(op, left.value, right.value))
    x, y = exact_range(left, box), exact_range(right, box)
    difference = exact_range(Binary(BinaryOp.SUB, left, right), box)
    form = linear(Binary(BinaryOp.SUB, left, right), box)
    if form is not None and not form.coefficients:
        return BoolLiteral(_compare(op, form.constant, 0))
    if x is None or y is None or difference is None:
        return expr
    results = {_compare(op, d, 0) for d in (difference.low, difference.high)}
    if op in (BinaryOp.EQ, BinaryOp.NE):
        if difference.low <= 0 <= difference.high:
            return expr
        return BoolLiteral(op is BinaryOp.NE)
    return BoolLiteral(results.pop()) if len(results) == 1 else expr


def _compare(op: BinaryOp, x: float, y: float) -> bool:
    return {
        BinaryOp.LT: x < y,
        BinaryOp.LE: x <= y,
        BinaryOp.GT: x > y,
        BinaryOp.GE: x >= y,
        BinaryOp.EQ: x == y,
        BinaryOp.NE: x != y,
    }[op]


def _folded_logic(expr: Expr, op: BinaryOp, left: Expr, right: Expr) -> Expr:
    neutral = op is BinaryOp.AND
    for this, other in ((left, right), (right, left)):
        if isinstance(this, BoolLiteral):
            return other if this.value is neutral else this
    return left if left == right else expr


def _folded_arithmetic(expr: Expr, op: BinaryOp, left: Expr, right: Expr, box: Box) -> Expr:
    x, y = exact_range(left, box), exact_range(right, box)
    match op, left, right:
        case (BinaryOp.ADD, other, IntLiteral(0)) | (BinaryOp.ADD, IntLiteral(0), other) if _is_int(other):
            return other
        case (BinaryOp.SUB | BinaryOp.FLOORDIV | BinaryOp.MUL, other, IntLiteral(n)) if _is_int(
            other
        ) and n == (op is not BinaryOp.SUB):
            return other
        case (BinaryOp.MUL, IntLiteral(1), other) if _is_int(other):
            return other
        case BinaryOp.MOD, _, IntLiteral(n) if x is not None and x.low >= 0 and x.high < n:
            return left
        case ((BinaryOp.MIN | BinaryOp.MAX), _, _) if x is not None and y is not None:
            smaller, larger = (left, right) if op is BinaryOp.MIN else (right, left)
            if x.high <= y.low:
                return smaller
            return larger if y.high <= x.low else expr
        case _:
            return expr


# --- linear forms -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Linear:
    """`sum(coefficient * variable) + constant`, over the integers; a coefficient of 0 is left out."""

    coefficients: Mapping[Variable, int]
    constant: int

    def of(self, variable: Variable) -> int:
        """The coefficient of a variable."""
        return self.coefficients.get(variable, 0)


def linear(expr: Expr, box: Box) -> Linear | None:
    """`expr` as a linear form of the coordinates; None when it is not one, or some step may wrap."""
    if exact_range(expr, box) is None:
        return None
    match expr:
        case Index(variable):
            return Linear({variable: 1}, 0)
        case IntLiteral(value):
            return Linear({}, value)
        case Unary(UnaryOp.NEG, operand):
            return _combined(Linear({}, 0), linear(operand, box), -1)
        case Binary(BinaryOp.ADD, left, right):
            return _combined(linear(left, box), linear(right, box), 1)
        case Binary(BinaryOp.SUB, left, right):
            return _combined(linear(left, box), linear(right, box), -1)
        case Binary(BinaryOp.MUL, left, right):
            x, y = linear(left, box), linear(right, box)
            if x is None or y is None or (x.coefficients and y.coefficients):
                return None
            form, factor = (x, y.constant) if x.coefficients else (y, x.constant)
            return _combined(Linear({}, 0), form, factor)
        case _:
            return None


def _combined(x: Linear | None, y: Linear | None, factor: int) -> Linear | None:
    if x is None or y is None:
        return None
    total = {v: x.of(v) + factor * y.of(v) for v in {*x.coefficients, *y.coefficients}}
    return Linear({v: c for v, c in total.items() if c}, x.constant + factor * y.constant)


# --- numbers: what a bias can be ----------------------------------------------------------------------------


def depends_on_key(expr: Expr) -> bool:
    """Whether `expr` can differ between key positions of one row."""
    return any(isinstance(node, Index) and node.variable is Variable.KEY for node in expr.walk())


def magnitude(expr: Expr, box: Box) -> float | None:
    """A bound on `abs(expr)`, or None when there is none: infinite, NaN or unknown at some position.

    Holds for doubles and for exact arithmetic: every step stays far from overflow, so rounding changes the
    bound by less than the factor it is rounded up by.
    """
    if _is_int(expr):
        # Whatever wraps still fits 64 bits.
        known = exact_range(expr, box) or FULL
        return _bounded(float(max(abs(known.low), abs(known.high))))
    match expr:
        case FloatLiteral(value):
            return _bounded(abs(value))
        case Unary(UnaryOp.NEG | UnaryOp.ABS, operand):
            return magnitude(operand, box)
        case Unary(UnaryOp.TANH, operand):
            return None if magnitude(operand, box) is None else 1.0
        case Binary(op, left, right):
            x, y = magnitude(left, box), magnitude(right, box)
            if x is None or y is None:
                return None
            if op in (BinaryOp.ADD, BinaryOp.SUB):
                return _bounded(x + y)
            if op is BinaryOp.MUL:
                return _bounded(x * y)
            if op in (BinaryOp.MIN, BinaryOp.MAX):
                return max(x, y)
            divisor = _literal(right)
            return (
                _bounded(x / abs(divisor))
                if op is BinaryOp.DIV and divisor is not None and abs(divisor) > 1e-100
                else None
            )
        case Where(_, then, otherwise):
            x, y = magnitude(then, box), magnitude(otherwise, box)
            return None if x is None or y is None else max(x, y)
        case _:
            return None


def _bounded(value: float) -> float | None:
    value *= 1 + 2.0**-40
    return value if value < 1e200 else None


def _literal(expr: Expr) -> float | None:
    match expr:
        case FloatLiteral(value):
            return value
        case IntLiteral(value):
            return float(value)
        case _:
            return None


def slope_in_key(expr: Expr, box: Box) -> Fraction | None:
    """The `c` of `expr = c * j + e(b, h, i)` in exact arithmetic, or None where `expr` does not have that
    form.

    `e` is finite and holds no look-up.

    >>> from attnc_ir.types import Symbol
    >>> distance = Binary(BinaryOp.SUB, Index(Variable.KEY), Index(Variable.QUERY))
    >>> slope_in_key(Binary(BinaryOp.MUL, FloatLiteral(-0.5), distance), Box(1, 8, Symbol("N"), Symbol("M")))
    Fraction(-1, 2)
    """
    if any(isinstance(node, Lookup) for node in expr.walk()):
        return None
    if not depends_on_key(expr):
        return Fraction(0) if magnitude(expr, box) is not None else None
    if _is_int(expr) and exact_range(expr, box) is None:
        return None
    match expr:
        case Index(Variable.KEY):
            return Fraction(1)
        case Unary(UnaryOp.NEG, operand):
            inner = slope_in_key(operand, box)
            return None if inner is None else -inner
        case Binary(BinaryOp.ADD | BinaryOp.SUB as op, left, right):
            x, y = slope_in_key(left, box), slope_in_key(right, box)
            if x is None or y is None:
                return None
            return x + y if op is BinaryOp.ADD else x - y
        case Binary(BinaryOp.MUL, left, right):
            for factor, rest in ((_exact_literal(left), right), (_exact_literal(right), left)):
                inner = slope_in_key(rest, box)
                if factor is not None and inner is not None:
                    return factor * inner
            return None
        case Binary(BinaryOp.DIV, left, right):
            inner, divisor = slope_in_key(left, box), _exact_literal(right)
            return inner / divisor if inner is not None and divisor else None
        case _:
            return None


def _exact_literal(expr: Expr) -> Fraction | None:
    value = expr.value if isinstance(expr, FloatLiteral | IntLiteral) else math.nan
    return Fraction(value) if math.isfinite(value) else None
