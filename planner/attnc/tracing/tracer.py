"""Tracing: a Python function is called once, with symbols, and what it returns is its expression."""

from __future__ import annotations

import inspect
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np

from attnc.tracing.captured import Fingerprint, bound, code_of, fingerprint
from attnc.tracing.faults import fault_of_definition, fault_of_exception
from attnc.tracing.symbols import Session, Symbol
from attnc.tracing.tables import stem_of
from attnc_ir.errors import TraceError
from attnc_ir.expr import Expr, ExprType, Index, Score, Variable
from attnc_ir.values import Value

T = TypeVar("T")

MAX_TRACES = 256
"""How many traces are remembered; the one unused longest goes first."""

_POSITIONS = (Index(Variable.BATCH), Index(Variable.HEAD), Index(Variable.QUERY), Index(Variable.KEY))


@dataclass(frozen=True)
class Convention:
    """What a function is called with, and what it is to return."""

    name: str
    parameters: tuple[str, ...]
    symbols: tuple[Expr, ...]
    wants_condition: bool


MASK_MOD = Convention("mask_mod", ("b", "h", "q_idx", "kv_idx"), _POSITIONS, True)
SCORE_MOD = Convention("score_mod", ("score", "b", "h", "q_idx", "kv_idx"), (Score(), *_POSITIONS), False)


@dataclass(frozen=True)
class TracedTable:
    """An array that a traced expression looks up in; `value` stands for it there."""

    value: Value
    name: str
    array: np.ndarray[Any, Any]


@dataclass(frozen=True)
class Trace:
    """An expression and its tables. `memo` keeps what is worked out of the expression alone."""

    expr: Expr
    tables: tuple[TracedTable, ...]
    memo: dict[Any, Any] = field(default_factory=dict)

    def once(self, what: Any, make: Callable[[], T]) -> T:
        """What `make` gives, which depends on `what` and the expression only."""
        if what not in self.memo:
            self.memo[what] = make()
        return cast(T, self.memo[what])


@dataclass(frozen=True)
class _Remembered:
    expr: Expr
    tables: tuple[tuple[Value, int], ...]
    """Which captured array each table is."""
    memo: dict[Any, Any]


_traces: OrderedDict[tuple[Any, ...], _Remembered] = OrderedDict()
_lock = threading.Lock()


def trace(function: Any, convention: Convention) -> Trace:
    """The expression of a function; raises `TraceError`, which points into its source, where there is none.

    A function whose captured things have not changed is not called again: see `fingerprint`.
    """
    known = fingerprint(function)
    key = (convention.name, known.key)
    if known.key is not None:
        with _lock:
            remembered = _traces.get(key)
            if remembered is not None:
                _traces.move_to_end(key)
        if remembered is not None:
            return _recalled(remembered, known)
    session = Session(convention.name)
    expr = _called(function, convention, session)
    made = Trace(expr, tuple(TracedTable(v, t.name, t.source) for v, t in session.tables))
    slots = [(value, table.slot) for value, table in session.tables]
    if known.key is not None and not session.elements_read and None not in (slot for _, slot in slots):
        with _lock:
            _traces[key] = _Remembered(expr, tuple(slots), made.memo)
            if len(_traces) > MAX_TRACES:
                _traces.popitem(last=False)
    return made


def _recalled(remembered: _Remembered, known: Fingerprint) -> Trace:
    found = [(value, *known.arrays[slot]) for value, slot in remembered.tables]
    tables = tuple(TracedTable(value, stem_of(name), array) for value, name, array in found)
    return Trace(remembered.expr, tables, remembered.memo)


def _called(function: Any, convention: Convention, session: Session) -> Expr:
    """Call the function with symbols and check what it returns."""
    what, code = convention.name, code_of(function)
    _check_parameters(function, convention)
    arguments = [session.made(expr, ()) for expr in convention.symbols]
    try:
        found = bound(function, session)(*arguments)
    except TraceError:
        raise
    except Exception as error:
        raise fault_of_exception(error, what, code) from error
    wanted = "a condition" if convention.wants_condition else "a number"
    if found is None:
        raise fault_of_definition(code, f"{what} returns None, not {wanted}", "is a return missing?")
    try:
        result = session.symbol(found)
    except TraceError:
        message = f"{what} returns a {type(found).__name__}, not {wanted}"
        raise fault_of_definition(code, message) from None
    finally:
        session.open = False
    if (result.kind is ExprType.BOOL) != convention.wants_condition:
        given = "a condition" if result.kind is ExprType.BOOL else f"a number, {_shown(result)}"
        help = (
            "true where the key may be seen; compare the number with something"
            if convention.wants_condition
            else "a condition belongs into mask_mod; or choose numbers by attnc.where(condition, a, b)"
        )
        raise fault_of_definition(code, f"{what} returns {given}, not {wanted}", help)
    return result.expr


def _check_parameters(function: Any, convention: Convention) -> None:
    what, usage = convention.name, f"{convention.name}({', '.join(convention.parameters)})"
    if not callable(function):
        raise fault_of_definition(
            None, f"{what} is a {type(function).__name__}, not a function", f"give {usage}"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # a built-in that does not say; the call will
    try:
        signature.bind(*convention.parameters)
    except TypeError as error:
        raise fault_of_definition(code_of(function), f"{what} is called as {usage}: {error}") from None


def _shown(result: Symbol) -> str:
    return repr(result)[1:-1].split(" ", maxsplit=1)[1]
