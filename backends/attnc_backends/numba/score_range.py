"""What a softmax node keeps its scores in: does f32 hold what scale, softcap and bias make of them?"""

from __future__ import annotations

import math

from attnc_backends.numba.node import Node
from attnc_ir.attributes.bias import Alibi, BiasTerm, ExprBias, Relative, TensorBias
from attnc_ir.attributes.modifier import ExprModifier, Modifier
from attnc_ir.expr import (
    Binary,
    BinaryOp,
    Expr,
    ExprType,
    FloatLiteral,
    Index,
    IntLiteral,
    Lookup,
    Score,
    Unary,
    UnaryOp,
    Where,
    type_of,
)
from attnc_ir.types import MAX_DIM, DType

_SAFE_FACTOR = (2.0**-60, 2.0**60)
"""Factors of scores that neither overflow nor lose digits in f32."""

_SAFE_RESULT = 2.0**120
"""What an expression may give for scores and table elements of ordinary size, and still be an f32."""

Range = tuple[float, float]
_UNKNOWN: Range = (-math.inf, math.inf)
_ORDINARY: Range = (-(2.0**40), 2.0**40)
_POSITION: Range = (0.0, float(MAX_DIM))
_INTEGER: Range = (-(2.0**63), 2.0**63)


def score_type(node: Node) -> DType:
    """What scores are kept in: the accumulation type, or f64 where scale, softcap, modifier or bias reach
    beyond f32.

    A bias of -1e300 on all keys of a row makes the row neither empty nor NaN.
    """
    op = node.op
    if op.accumulator is DType.F64:
        return DType.F64
    factors = [abs(x) for x in (op.scale, op.softcap) if x]
    ordinary = all(_SAFE_FACTOR[0] <= x <= _SAFE_FACTOR[1] for x in factors)
    if op.modifier is not None and _is_wide(op.modifier):
        return DType.F64
    return DType.F32 if ordinary and not any(map(_is_wide, op.bias)) else DType.F64


def _is_wide(term: BiasTerm | Modifier) -> bool:
    match term:
        case TensorBias(value) | Relative(value) | Alibi(value):
            return value.tensor.dtype is DType.F64
        case ExprBias(value) | ExprModifier(value):
            low, high = reach(value)
            return low < -_SAFE_RESULT or high > _SAFE_RESULT
        case _:
            return True


def reach(expr: Expr) -> Range:
    """Bounds on the numbers that an expression gives where the score and the elements of tables narrower than
    f64 are of ordinary size. Infinities and NaN, which f32 has too, are not counted.

    >>> from attnc_ir.expr import FloatLiteral, Score
    >>> reach(Binary(BinaryOp.MUL, FloatLiteral(3.0), Unary(UnaryOp.TANH, Score())))
    (-3.0, 3.0)
    """
    low, high = _reach(expr)
    if type_of(expr) is ExprType.INT and not (_INTEGER[0] <= low and high <= _INTEGER[1]):
        return _INTEGER  # it wraps
    return low, high


def _reach(expr: Expr) -> Range:
    match expr:
        case FloatLiteral(value) | IntLiteral(value):
            return (float(value), float(value)) if math.isfinite(value) else (0.0, 0.0)
        case Index():
            return _POSITION
        case Score():
            return _ORDINARY
        case Lookup(table) if table.tensor.dtype is not DType.F64:
            return _INTEGER if table.tensor.dtype.is_int else _ORDINARY
        case Unary(op, operand):
            return _unary(op, *reach(operand))
        case Binary(op, left, right):
            return _binary(op, reach(left), reach(right))
        case Where(_, then, otherwise):
            (a, b), (c, d) = reach(then), reach(otherwise)
            return min(a, c), max(b, d)
        case _:
            return _UNKNOWN


def _unary(op: UnaryOp, low: float, high: float) -> Range:
    match op:
        case UnaryOp.NEG:
            return -high, -low
        case UnaryOp.ABS:
            return 0.0, max(abs(low), abs(high))
        case UnaryOp.TANH:
            return math.tanh(low), math.tanh(high)
        case UnaryOp.EXP:
            return 0.0, math.exp(high) if high < 700 else math.inf
        case UnaryOp.LOG:
            return -750.0, 750.0  # of any double above 0
        case UnaryOp.SQRT:
            return 0.0, math.sqrt(max(high, 0.0))
        case _:
            return _UNKNOWN


def _binary(op: BinaryOp, x: Range, y: Range) -> Range:
    match op:
        case BinaryOp.ADD:
            return x[0] + y[0], x[1] + y[1]
        case BinaryOp.SUB:
            return x[0] - y[1], x[1] - y[0]
        case BinaryOp.MUL:
            return _corners(x, y)
        case BinaryOp.DIV if y[0] > 0 or y[1] < 0:
            return _corners(x, (1 / y[1], 1 / y[0]))
        case BinaryOp.MIN:
            return min(x[0], y[0]), min(x[1], y[1])
        case BinaryOp.MAX:
            return max(x[0], y[0]), max(x[1], y[1])
        case _:
            return _UNKNOWN


def _corners(x: Range, y: Range) -> Range:
    # What is unbounded times 0 is 0: infinities themselves are not counted.
    products = [0.0 if a == 0 or b == 0 else a * b for a in x for b in y]
    return min(products), max(products)
