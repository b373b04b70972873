"""Modifiers taken apart: what of a function of the score is a scale, a softcap, a bias or a mask.

    a * score + e        is a scale and a bias
    c * tanh(f * score)  is a scale and a softcap
    where(m, x, -inf)    is a mask, for a `score_mod`

where `e` and `m` depend on the position only. What is left
stays a modifier, which a kernel asks for every score.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from attnc_ir.expr import (
    Binary,
    BinaryOp,
    BoolLiteral,
    Expr,
    ExprType,
    FloatLiteral,
    IntLiteral,
    Score,
    Unary,
    UnaryOp,
    Where,
    type_of,
)


@dataclass(frozen=True)
class Parts:
    """`s = modifier(softcap(factor * s)) + biases` at the positions where every condition holds.

    `factor` is exact; the other parts are None, or empty, where they change nothing.
    """

    conditions: tuple[Expr, ...] = ()
    factor: Fraction = Fraction(1)
    softcap: float | None = None
    modifier: Expr | None = None
    biases: tuple[Expr, ...] = ()


def depends_on_score(expr: Expr) -> bool:
    """Whether `expr` reads the score."""
    return any(isinstance(node, Score) for node in expr.walk())


def without_removals(expr: Expr) -> tuple[tuple[Expr, ...], Expr]:
    """Conditions `m` and the rest `x` of `where(m, x, -inf)`, outermost first: what a function means that
    gives -inf where a key is not to be seen.
    """
    match expr:
        case Where(condition, then, FloatLiteral(value)) if value == -math.inf:
            kept, rest = condition, then
        case Where(condition, FloatLiteral(value), otherwise) if value == -math.inf:
            kept, rest = Unary(UnaryOp.NOT, condition), otherwise
        case FloatLiteral(value) if value == -math.inf:
            return (BoolLiteral(False),), Score()
        case _:
            return (), expr
    if depends_on_score(kept):
        return (), expr
    inner, rest = without_removals(rest)
    return (kept, *inner), rest


def split(expr: Expr, *, capped: bool = False, movable: Callable[[Expr], bool] = lambda _: True) -> Parts:
    """A modifier in parts. `capped` says that it stands behind a softcap, `movable` whether a term may become
    a bias, which removes a key where it is -inf.

    >>> from attnc_ir.expr import Index, Variable
    >>> distance = Binary(BinaryOp.SUB, Index(Variable.KEY), Index(Variable.QUERY))
    >>> parts = split(Binary(BinaryOp.ADD, Binary(BinaryOp.DIV, Score(), IntLiteral(2)), distance))
    >>> parts.factor, len(parts.biases), parts.modifier
    (Fraction(1, 2), 1, None)
    """
    form = _linear(expr, movable)
    if form.core == Score() and not capped:
        return Parts(factor=form.factor, biases=form.biases)
    if form.core == Score() and form.factor == 1:
        return Parts(biases=form.biases)
    match form.core:
        case Unary(UnaryOp.TANH, operand) if not capped:
            inner = _linear(operand, movable)
            cap = as_double(abs(form.factor))
            if inner.core == Score() and not inner.biases and cap is not None:
                # tanh is odd: the sign of the factor may stand inside.
                return Parts(factor=form.factor * inner.factor, softcap=cap, biases=form.biases)
        case _:
            pass
    factor = as_double(form.factor)
    if factor is None:
        return Parts(modifier=expr)
    core = form.core if factor == 1 else Binary(BinaryOp.MUL, FloatLiteral(factor), form.core)
    return Parts(modifier=core, biases=form.biases) if form.biases else Parts(modifier=expr)


def as_double(value: Fraction) -> float | None:
    """`value` as a double, where it is one."""
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if Fraction(found) == value else None


@dataclass(frozen=True)
class _Linear:
    """`factor * core + sum(biases)`; `core` reads the score, `factor` is not 0."""

    core: Expr
    factor: Fraction = Fraction(1)
    biases: tuple[Expr, ...] = ()

    def times(self, factor: Fraction, scaled: Callable[[Expr], Expr]) -> _Linear:
        return _Linear(self.core, self.factor * factor, tuple(map(scaled, self.biases)))


def _linear(expr: Expr, movable: Callable[[Expr], bool]) -> _Linear:
    match expr:
        case Binary(BinaryOp.ADD, left, right):
            for inner, term in ((left, right), (right, left)):
                if depends_on_score(inner) and _is_term(term, movable):
                    form = _linear(inner, movable)
                    return replace(form, biases=(*form.biases, term))
        case Binary(BinaryOp.SUB, left, right) if depends_on_score(left) and _is_term(right, movable):
            form = _linear(left, movable)
            return replace(form, biases=(*form.biases, _negated(right)))
        case Binary(BinaryOp.SUB, left, right) if depends_on_score(right) and _is_term(left, movable):
            form = _linear(right, movable).times(Fraction(-1), _negated)
            return replace(form, biases=(*form.biases, left))
        case Unary(UnaryOp.NEG, operand) if depends_on_score(operand):
            return _linear(operand, movable).times(Fraction(-1), _negated)
        case Binary(BinaryOp.MUL, left, right):
            for inner, literal in ((left, right), (right, left)):
                factor = _factor(literal)
                if factor is not None and depends_on_score(inner):
                    return _linear(inner, movable).times(factor, _scaled(BinaryOp.MUL, factor))
        case Binary(BinaryOp.DIV, left, right) if depends_on_score(left):
            divisor = _factor(right)
            if divisor is not None:
                return _linear(left, movable).times(1 / divisor, _scaled(BinaryOp.DIV, divisor))
        case _:
            pass
    return _Linear(expr)


def _is_term(expr: Expr, movable: Callable[[Expr], bool]) -> bool:
    return not depends_on_score(expr) and movable(expr)


def _negated(expr: Expr) -> Expr:
    if type_of(expr) is ExprType.INT:
        return _scaled(BinaryOp.MUL, Fraction(-1))(expr)
    return expr.operand if isinstance(expr, Unary) and expr.op is UnaryOp.NEG else Unary(UnaryOp.NEG, expr)


def _scaled(op: BinaryOp, by: Fraction) -> Callable[[Expr], Expr]:
    # A float, for the score was one: integers would wrap.
    def scale(expr: Expr) -> Expr:
        known = _factor(expr)
        if known is not None:
            product = as_double(known * by if op is BinaryOp.MUL else known / by)
            if product is not None:
                return FloatLiteral(product)
        return Binary(op, expr, FloatLiteral(float(by)))

    return scale


def _factor(expr: Expr) -> Fraction | None:
    """A literal that is a double other than 0."""
    if isinstance(expr, IntLiteral | FloatLiteral) and expr.value != 0 and math.isfinite(expr.value):
        exact = Fraction(expr.value)
        return exact if as_double(exact) is not None else None
    return None
