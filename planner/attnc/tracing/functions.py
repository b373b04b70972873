"""Functions on symbols: attnc's own, and what NumPy's come to."""

from __future__ import annotations

from typing import Any

import numpy as np

from attnc.tracing.faults import fault
from attnc.tracing.symbols import Session, Symbol
from attnc_ir.errors import ArgumentError
from attnc_ir.expr import BinaryOp, UnaryOp

# --- attnc's own --------------------------------------------------------------------------------------------


def where(condition: Any, then: Any, otherwise: Any) -> Any:
    """`then` where the condition holds, else `otherwise`; in a traced function, what `if` is elsewhere.

    Only the branch that is taken is evaluated, so a condition may guard a look-up.

    >>> where(True, 1, 2)
    1
    """
    session = _session("where", condition, then, otherwise)
    if session is None or isinstance(condition, bool | np.bool_):
        return then if condition else otherwise
    return session.where(condition, then, otherwise)


def exp(x: Any) -> Any:
    """e to the power of `x`."""
    return _unary("exp", UnaryOp.EXP, np.exp, x)


def log(x: Any) -> Any:
    """The natural logarithm: -inf of 0, NaN of less."""
    return _unary("log", UnaryOp.LOG, np.log, x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""
    return _unary("tanh", UnaryOp.TANH, np.tanh, x)


def sqrt(x: Any) -> Any:
    """The square root: NaN of less than 0."""
    return _unary("sqrt", UnaryOp.SQRT, np.sqrt, x)


def sigmoid(x: Any) -> Any:
    """`1 / (1 + exp(-x))`."""
    return 1.0 / (1.0 + exp(-x))


def minimum(x: Any, y: Any) -> Any:
    """The smaller one, NaN if either is NaN."""
    return _binary("minimum", BinaryOp.MIN, np.minimum, x, y)


def maximum(x: Any, y: Any) -> Any:
    """The larger one, NaN if either is NaN."""
    return _binary("maximum", BinaryOp.MAX, np.maximum, x, y)


def _session(name: str, *args: Any) -> Session | None:
    """The session that a call belongs to; None for a call on plain numbers."""
    for arg in args:
        if isinstance(arg, Symbol):
            return arg.session
        if getattr(arg, "shape", ()):
            raise ArgumentError(f"attnc.{name} takes single numbers; for arrays use NumPy")
    return None


def _unary(name: str, op: UnaryOp, plain: Any, x: Any) -> Any:
    session = _session(name, x)
    if session is not None:
        return session.unary(op, x)
    with np.errstate(all="ignore"):
        return float(plain(np.float64(x)))


def _binary(name: str, op: BinaryOp, plain: Any, x: Any, y: Any) -> Any:
    session = _session(name, x, y)
    return plain(x, y).item() if session is None else session.binary(op, x, y)


# --- NumPy's ------------------------------------------------------------------------------------------------

_UNARY = {
    np.negative: UnaryOp.NEG, np.absolute: UnaryOp.ABS, np.fabs: UnaryOp.ABS, np.exp: UnaryOp.EXP,
    np.log: UnaryOp.LOG, np.tanh: UnaryOp.TANH, np.sqrt: UnaryOp.SQRT, np.logical_not: UnaryOp.NOT,
}  # fmt: skip
_BINARY = {
    np.add: BinaryOp.ADD, np.subtract: BinaryOp.SUB, np.multiply: BinaryOp.MUL, np.true_divide: BinaryOp.DIV,
    np.floor_divide: BinaryOp.FLOORDIV, np.remainder: BinaryOp.MOD, np.minimum: BinaryOp.MIN,
    np.maximum: BinaryOp.MAX, np.less: BinaryOp.LT, np.less_equal: BinaryOp.LE, np.greater: BinaryOp.GT,
    np.greater_equal: BinaryOp.GE, np.equal: BinaryOp.EQ, np.not_equal: BinaryOp.NE,
    np.logical_and: BinaryOp.AND, np.logical_or: BinaryOp.OR, np.bitwise_and: BinaryOp.AND,
    np.bitwise_or: BinaryOp.OR,
}  # fmt: skip


def call_ufunc(
    session: Session, ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, object]
) -> Symbol:
    """A NumPy function of symbols that works element by element."""
    name = f"np.{ufunc.__name__}"
    if method != "__call__" or options:
        raise fault(f"{name} with {method if method != '__call__' else ', '.join(options)} cannot be traced")
    if ufunc in _UNARY:
        return session.unary(_UNARY[ufunc], *inputs)
    if ufunc in _BINARY:
        return session.binary(_BINARY[ufunc], *inputs)
    x: Symbol = session.symbol(inputs[0])
    if ufunc is np.power:
        return session.power(*inputs)
    if ufunc is np.square:
        return x * x
    if ufunc is np.invert:
        return ~x
    if ufunc in (np.bitwise_xor, np.logical_xor):
        return x ^ session.symbol(inputs[1])
    if ufunc is np.isnan:
        return session.binary(BinaryOp.NE, x, x)
    raise fault(f"{name} cannot be traced", _AVAILABLE)


def call_function(session: Session, function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Symbol:
    """Any other NumPy function of symbols: `where` and `clip`."""
    if function is np.where and len(args) == 3 and not options:
        return session.where(*args)
    if function is np.clip and len(args) == 3 and not options:
        x, low, high = args
        at_least = x if low is None else session.binary(BinaryOp.MAX, x, low)
        return session.symbol(at_least) if high is None else session.binary(BinaryOp.MIN, at_least, high)
    raise fault(f"np.{getattr(function, '__name__', 'function')} cannot be traced", _AVAILABLE)


_AVAILABLE = (
    "there are abs, attnc.where, minimum, maximum, exp, log, tanh, sqrt, sigmoid, "
    "NumPy's functions of these names, np.clip, and look-ups in arrays"
)

__all__ = ["exp", "log", "maximum", "minimum", "sigmoid", "sqrt", "tanh", "where"]
