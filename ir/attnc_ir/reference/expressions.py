"""Values of expressions over the position of a score.

Integers are Python ints brought back to 64 bits after each operation. Floats are Python floats, computed as
IEEE computes doubles, or, when `exact`, [`Extended`][attnc_ir.reference.extended.Extended] numbers. What a
condition rules out is not evaluated: the branch that `where` does not take, the right side of `and` after
false and of `or` after true. So a look-up can be guarded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import cast

import numpy as np

from attnc_ir.errors import ArgumentError
from attnc_ir.expr import (
    Binary,
    BinaryOp,
    BoolLiteral,
    Expr,
    ExprType,
    FloatLiteral,
    Index,
    IntLiteral,
    Lookup,
    Score,
    Unary,
    UnaryOp,
    Variable,
    Where,
    type_of,
)
from attnc_ir.reference import extended
from attnc_ir.reference.extended import Extended
from attnc_ir.storage import Array, to_float64

Number = int | Extended
"""What an expression gives: `bool` and `int` for conditions and integers, an `Extended` (a float unless
exact) for floats.
"""

_type_of = lru_cache(maxsize=4096)(type_of)


@dataclass(frozen=True)
class Position:
    """Where a score stands: batch, query head, query position, key position; for modifiers also the score."""

    b: int
    h: int
    i: int
    j: int
    score: float = math.nan

    def __str__(self) -> str:
        return f"batch {self.b}, head {self.h}, row {self.i}, key {self.j}"


@dataclass(frozen=True)
class Evaluator:
    """Evaluates expressions with look-ups into `arrays` (stored tensors by value name). `where` opens every
    error message.
    """

    arrays: Mapping[str, Array]
    exact: bool = False
    where: str = ""

    def value(self, expr: Expr, at: Position) -> Number:
        """The value of `expr` at a position; raises `ArgumentError` for a look-up outside its table."""
        match expr:
            case Index(variable):
                return {Variable.BATCH: at.b, Variable.HEAD: at.h, Variable.QUERY: at.i, Variable.KEY: at.j}[
                    variable
                ]
            case Score():
                assert not self.exact, "modifiers compute in doubles"
                return at.score
            case IntLiteral(value) | BoolLiteral(value):
                return value
            case FloatLiteral(value):
                return self._float(value)
            case Unary(op, operand):
                return self._unary(op, self.value(operand, at))
            case Binary(BinaryOp.AND, left, right):
                return self.value(left, at) and self.value(right, at)
            case Binary(BinaryOp.OR, left, right):
                return self.value(left, at) or self.value(right, at)
            case Binary(op, left, right):
                return self._binary(op, self.value(left, at), self.value(right, at))
            case Where(condition, then, otherwise):
                taken = self.value(then if self.value(condition, at) else otherwise, at)
                return self.number(taken) if _type_of(expr) is ExprType.FLOAT else taken
            case Lookup(_, indices):
                return self._lookup(expr, [cast(int, self.value(e, at)) for e in indices], at)
            case _:
                raise AssertionError(expr)

    def number(self, value: Number) -> Extended:
        """An integer or float as a float: a fraction when exact, else the nearest double."""
        if not isinstance(value, int):
            return value
        return Fraction(value) if self.exact else float(value)

    def _float(self, value: float) -> Extended:
        return extended.exact(value) if self.exact else value

    def _lookup(self, expr: Lookup, indices: list[int], at: Position) -> Number:
        array = self.arrays[expr.table.name]
        for axis, (index, size) in enumerate(zip(indices, array.shape, strict=True)):
            if not 0 <= index < size:
                written = f"{expr.table}[{', '.join(map(str, indices))}]"
                raise ArgumentError(
                    f"{self.where}look-up {written} at {at}: index {index} is outside axis {axis} of size "
                    f"{size}; guard it with where(...), or enlarge the table"
                )
        element = array[tuple(indices)]
        dtype = expr.table.tensor.dtype
        if dtype.is_float:
            return self._float(float(to_float64(np.asarray(element), dtype)))
        return bool(element) if _type_of(expr) is ExprType.BOOL else int(element)

    def _unary(self, op: UnaryOp, x: Number) -> Number:
        match op:
            case UnaryOp.NOT:
                return not x
            case UnaryOp.NEG if isinstance(x, int):
                return wrap(-x)
            case UnaryOp.NEG:
                return -x
            case UnaryOp.ABS if isinstance(x, int):
                return wrap(abs(x))
            case UnaryOp.ABS if isinstance(x, Fraction):
                return abs(x)
            case UnaryOp.ABS:
                return math.fabs(x)
            case _:
                assert not self.exact, f"{op.value} is not exact"  # the verifier keeps it out of exact biases
                with np.errstate(all="ignore"):
                    return float(_TRANSCENDENTAL[op](np.float64(cast(float, self.number(x)))))

    def _binary(self, op: BinaryOp, x: Number, y: Number) -> Number:
        if op in _COMPARE:
            if isinstance(x, int) and isinstance(y, int):
                return _COMPARE[op](x, y)
            return _COMPARE[op](self.number(x), self.number(y))
        if op is not BinaryOp.DIV and isinstance(x, int) and isinstance(y, int):
            return wrap(_INTEGER[op](x, y))
        left, right = self.number(x), self.number(y)
        return _EXACT[op](left, right) if self.exact else _double(op, cast(float, left), cast(float, right))


def wrap(value: int) -> int:
    """The 64-bit integer that is congruent to `value` modulo 2**64.

    >>> wrap(2**63)
    -9223372036854775808
    """
    return (value + 2**63) % 2**64 - 2**63


def _double(op: BinaryOp, x: float, y: float) -> float:
    with np.errstate(all="ignore"):
        return float(_IEEE[op](np.float64(x), np.float64(y)))


_TRANSCENDENTAL: dict[UnaryOp, Callable[[np.float64], np.float64]] = {
    UnaryOp.EXP: np.exp,
    UnaryOp.LOG: np.log,
    UnaryOp.TANH: np.tanh,
    UnaryOp.SQRT: np.sqrt,
}
_COMPARE: dict[BinaryOp, Callable[[Extended, Extended], bool]] = {
    BinaryOp.LT: lambda x, y: x < y,
    BinaryOp.LE: lambda x, y: x <= y,
    BinaryOp.GT: lambda x, y: x > y,
    BinaryOp.GE: lambda x, y: x >= y,
    BinaryOp.EQ: lambda x, y: x == y,
    BinaryOp.NE: lambda x, y: x != y,
}
_INTEGER: dict[BinaryOp, Callable[[int, int], int]] = {
    BinaryOp.ADD: lambda x, y: x + y,
    BinaryOp.SUB: lambda x, y: x - y,
    BinaryOp.MUL: lambda x, y: x * y,
    BinaryOp.FLOORDIV: lambda x, y: x // y,
    BinaryOp.MOD: lambda x, y: x % y,
    BinaryOp.MIN: min,
    BinaryOp.MAX: max,
}
_EXACT: dict[BinaryOp, Callable[[Extended, Extended], Extended]] = {
    BinaryOp.ADD: extended.add,
    BinaryOp.SUB: lambda x, y: extended.add(x, -y),
    BinaryOp.MUL: extended.mul,
    BinaryOp.DIV: extended.div,
    BinaryOp.MIN: extended.smaller,
    BinaryOp.MAX: extended.larger,
}
_IEEE: dict[BinaryOp, Callable[[np.float64, np.float64], np.float64]] = {
    BinaryOp.ADD: np.add,
    BinaryOp.SUB: np.subtract,
    BinaryOp.MUL: np.multiply,
    BinaryOp.DIV: np.divide,
    BinaryOp.MIN: np.minimum,
    BinaryOp.MAX: np.maximum,
}
