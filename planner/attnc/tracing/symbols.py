"""Symbols: what a traced function gets in place of numbers. Arithmetic on them writes an expression down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from attnc.tracing.faults import fault, source_segment
from attnc_ir.errors import TraceError
from attnc_ir.expr import (
    EXPR,
    LOGIC,
    Binary,
    BinaryOp,
    BoolLiteral,
    Expr,
    ExprError,
    ExprType,
    FloatLiteral,
    IntLiteral,
    Lookup,
    Unary,
    UnaryOp,
    Where,
    result_type,
)
from attnc_ir.types import UNKNOWN, TensorType
from attnc_ir.values import Value

MAX_NODES = 2000
"""How large an expression may become; past that a function is taken to run away."""

MAX_DEPTH = 60
"""How deep operations may nest: deeper text would not be read back."""

MAX_STEPS = 100_000
"""How many operations a function may do while it is traced, whether their results are used or not."""

MAX_POWER = 16


@dataclass
class Session:
    """One run of a traced function. `what` names it in messages, such as `score_mod`."""

    what: str
    steps: int = 0
    open: bool = True
    elements_read: bool = False
    """Whether the function looked at elements of an array, which are part of the expression then."""
    tables: list[Any] = field(default_factory=list)
    """The arrays that were looked up in, in the order of their first look-up."""

    def made(self, expr: Expr, parts: tuple[Symbol, ...]) -> Symbol:
        """A new symbol, checked: types fit, and it does not grow without bound."""
        if not self.open:
            raise fault(
                "a symbol is used after the function was traced",
                "do not keep what the function gets; it means nothing outside",
            )
        self.steps += 1
        size = 1 + sum(part.size for part in parts)
        depth = 1 + max((part.depth for part in parts), default=0)
        if size > MAX_NODES or depth > MAX_DEPTH or self.steps > MAX_STEPS:
            limit = (
                f"more than {MAX_NODES} operations"
                if size > MAX_NODES
                else f"operations nested more than {MAX_DEPTH} deep"
                if depth > MAX_DEPTH
                else f"more than {MAX_STEPS} steps"
            )
            raise fault(
                f"{self.what} grows to {limit}",
                "put what a loop computes into an array beforehand, and look it up",
            )
        try:
            kind = result_type(expr, [part.kind for part in parts])
        except ExprError as error:
            help = _binary_help(expr.op) if isinstance(expr, Binary) else _HELP.get(type(expr))
            raise fault(str(error), help) from None
        return Symbol(self, expr, kind, size, depth)

    def symbol(self, value: object) -> Symbol:
        """A symbol as it is, a number as a literal; anything else is refused."""
        if isinstance(value, Symbol):
            if value.session is not self:
                raise fault("a symbol of another function", "do not keep what a traced function gets")
            return value
        number = getattr(value, "as_number", None)
        value = number() if callable(number) else value  # a captured array without axes is a number
        if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
            value = value.item()
        # What a subclass makes of a number as text has no place in a graph.
        if isinstance(value, int) and not isinstance(value, bool):
            value = int.__add__(value, 0)
        elif isinstance(value, float):
            value = float.__mul__(value, 1.0)
        match value:
            case bool():
                return self.made(BoolLiteral(value), ())
            case int():
                if not -(2**63) <= value < 2**63:
                    raise fault(
                        f"{value:.3e} does not fit 64 bits"
                        if abs(value) < 10**300
                        else "an integer does not fit 64 bits"
                    )
                return self.made(IntLiteral(value), ())
            case float():
                return self.made(FloatLiteral(value), ())
            case _ if getattr(value, "shape", ()):
                raise fault(
                    f"an array of shape {value.shape} meets a symbol, which stands for one number",  # type: ignore[attr-defined]
                    "look one element up: table[h]",
                )
            case _:
                raise fault(f"a {type(value).__name__} has no place in an expression")

    def unary(self, op: UnaryOp, operand: object) -> Symbol:
        """`op operand`."""
        x = self.symbol(operand)
        return self.made(Unary(op, x.expr), (x,))

    def binary(self, op: BinaryOp, left: object, right: object) -> Symbol:
        """`left op right`; conditions may be compared for equality as well."""
        x, y = self.symbol(left), self.symbol(right)
        if op in (BinaryOp.EQ, BinaryOp.NE) and x.kind is y.kind is ExprType.BOOL:
            other = self.unary(UnaryOp.NOT, y)
            return self.where(x, *((y, other) if op is BinaryOp.EQ else (other, y)))
        return self.made(Binary(op, x.expr, y.expr), (x, y))

    def where(self, condition: object, then: object, otherwise: object) -> Symbol:
        """`where(condition, then, otherwise)`."""
        parts = (self.symbol(condition), self.symbol(then), self.symbol(otherwise))
        return self.made(Where(*(part.expr for part in parts)), parts)

    def lookup(self, table: Value, indices: tuple[object, ...]) -> Symbol:
        """`table[indices]`."""
        parts = tuple(self.symbol(index) for index in indices)
        return self.made(Lookup(table, tuple(part.expr for part in parts)), parts)

    def power(self, base: object, exponent: object) -> Symbol:
        """`base ** exponent` for a small whole number, multiplied out, or 0.5."""
        exponent = exponent.item() if isinstance(exponent, np.generic) else exponent
        if isinstance(exponent, float) and exponent == 0.5:
            return self.unary(UnaryOp.SQRT, base)
        if isinstance(exponent, bool) or not isinstance(exponent, int) or not 1 <= exponent <= MAX_POWER:
            raise fault(
                f"** takes a whole number from 1 to {MAX_POWER} known beforehand, or 0.5",
                "write exp(y * log(x)) for x ** y",
            )
        x = self.symbol(base)
        result = x
        for _ in range(exponent - 1):
            result = self.binary(BinaryOp.MUL, result, x)
        return result


_HELP: dict[type[Expr], str] = {
    Where: "conditions and numbers do not mix: a condition as a number is attnc.where(condition, 1, 0)",
    Lookup: "give one whole number for each axis of the array",
}


def _binary_help(op: BinaryOp) -> str:
    if op in LOGIC:
        return (
            "& and | join conditions; they bind tighter than comparisons, so write (q_idx >= kv_idx) & (...)"
        )
    if op in (BinaryOp.FLOORDIV, BinaryOp.MOD):
        return "such as q_idx // 128; the divisor has to be a number when the function is traced"
    return "a condition as a number is attnc.where(condition, 1, 0)"


class Symbol:
    """A number or condition that is not known yet. It can be computed with, not looked at."""

    __slots__ = ("depth", "expr", "kind", "session", "size")

    def __init__(self, session: Session, expr: Expr, kind: ExprType, size: int, depth: int) -> None:
        self.session = session
        self.expr = expr
        self.kind = kind
        self.size = size
        self.depth = depth

    def __repr__(self) -> str:
        return f"<{self.kind.value} {_short(self.expr)}>"

    # --- arithmetic ---

    def __add__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.ADD, self, other)

    def __radd__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.ADD, other, self)

    def __sub__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.SUB, self, other)

    def __rsub__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.SUB, other, self)

    def __mul__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.MUL, self, other)

    def __rmul__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.MUL, other, self)

    def __truediv__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.DIV, self, other)

    def __rtruediv__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.DIV, other, self)

    def __floordiv__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.FLOORDIV, self, other)

    def __rfloordiv__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.FLOORDIV, other, self)

    def __mod__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.MOD, self, other)

    def __rmod__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.MOD, other, self)

    def __pow__(self, other: object) -> Symbol:
        return self.session.power(self, other)

    def __rpow__(self, other: object) -> Symbol:
        return self.session.power(other, self)

    def __neg__(self) -> Symbol:
        return self.session.unary(UnaryOp.NEG, self)

    def __pos__(self) -> Symbol:
        return self

    def __abs__(self) -> Symbol:
        return self.session.unary(UnaryOp.ABS, self)

    # --- comparisons and logic ---

    def __lt__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.LT, self, other)

    def __le__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.LE, self, other)

    def __gt__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.GT, self, other)

    def __ge__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.GE, self, other)

    def __eq__(self, other: object) -> Symbol:  # type: ignore[override]
        return self.session.binary(BinaryOp.EQ, self, other)

    def __ne__(self, other: object) -> Symbol:  # type: ignore[override]
        return self.session.binary(BinaryOp.NE, self, other)

    def __and__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.AND, self, other)

    def __rand__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.AND, other, self)

    def __or__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.OR, self, other)

    def __ror__(self, other: object) -> Symbol:
        return self.session.binary(BinaryOp.OR, other, self)

    def __xor__(self, other: object) -> Symbol:
        x, y = self, self.session.symbol(other)
        if x.kind is not ExprType.BOOL or y.kind is not ExprType.BOOL:
            raise fault("'^' needs two conditions; a number is not one", _binary_help(BinaryOp.AND))
        return self.session.binary(BinaryOp.NE, x, y)

    def __rxor__(self, other: object) -> Symbol:
        return self ^ other

    def __invert__(self) -> Symbol:
        if self.kind is not ExprType.BOOL:
            raise fault(
                f"~ does not apply to a {self.kind.value}", "it negates a condition, as ~(q_idx < kv_idx)"
            )
        return self.session.unary(UnaryOp.NOT, self)

    # --- NumPy ---

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: object, **options: object) -> Symbol:
        from attnc.tracing.functions import call_ufunc

        return call_ufunc(self.session, ufunc, method, inputs, options)

    def __array_function__(
        self, function: Any, types: object, args: tuple[Any, ...], options: dict[str, Any]
    ) -> Symbol:
        from attnc.tracing.functions import call_function

        return call_function(self.session, function, args, options)

    # --- what would need the number itself ---

    def __bool__(self) -> bool:
        called = source_segment()
        if called.startswith(("min(", "max(")):
            name = "minimum" if called.startswith("min(") else "maximum"
            raise fault(f"{called[:3]} compares numbers that are not known yet", f"write attnc.{name}(x, y)")
        raise fault(
            f"{self._name} is not known yet: it is neither true nor false",
            "the function is called once, for all positions: write attnc.where(condition, a, b) for if; "
            "&, |, ~ for and, or, not, with parentheses around comparisons; (a < b) & (b < c) for a < b < c",
        )

    def __index__(self) -> int:
        raise fault(
            f"{self._name} is not known yet: it is no index and no length",
            "to look up in an array write attnc.table(array)[...]; a loop needs a number known beforehand",
        )

    def __array__(self, *args: object, **options: object) -> NoReturn:
        raise AssertionError(self.__index__())

    def __int__(self) -> int:
        raise self._no_number("int", "positions are whole numbers already; // divides without a rest")

    def __float__(self) -> float:
        raise self._no_number(
            "float", "use attnc.exp, attnc.tanh and so on in place of math's; x * 1.0 is a float"
        )

    def __round__(self, digits: object = None) -> Symbol:
        raise self._no_number("round", "write floor division, as (x + 1) // 2")

    def __len__(self) -> int:
        raise self._no_sequence()

    def __iter__(self) -> NoReturn:
        raise self._no_sequence()

    def __contains__(self, other: object) -> bool:
        raise self._no_sequence()

    def __getitem__(self, index: object) -> NoReturn:
        raise self._no_sequence()

    def __hash__(self) -> int:
        raise fault(
            f"{self._name} is not known yet: it is no key of a dictionary and no member of a set",
            "put the numbers into an array and look up: attnc.table(array)[...]",
        )

    @property
    def _name(self) -> str:
        return "this condition" if self.kind is ExprType.BOOL else "this number"

    def _no_number(self, name: str, help: str) -> TraceError:
        return fault(f"{self._name} is not known yet: {name}() cannot make a Python number of it", help)

    def _no_sequence(self) -> TraceError:
        return fault(f"{self._name} is no sequence")


def _short(expr: Expr) -> str:
    text = EXPR.write(expr)
    return text if len(text) <= 60 else text[:57] + "..."


def placeholder(name: str, dtype: Any, rank: int) -> Value:
    """What stands for a captured array until the sizes of its axes are given names."""
    return Value(name, TensorType(dtype, (UNKNOWN,) * rank))
