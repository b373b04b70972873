"""Modifiers: what a score becomes before the bias is added, as a function of itself and its position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.expr import EXPR, Expr
from attnc_ir.kinds import Attribute, FamilyKind, attribute


@dataclass(frozen=True)
class Modifier(Attribute):
    """Base of modifiers."""


MODIFIER: FamilyKind[Modifier] = FamilyKind("modifier")


@MODIFIER.register
@dataclass(frozen=True)
class ExprModifier(Modifier):
    """A number computed from `score`, `b`, `h`, `i`, `j`. It is the score from then on: one of -inf weighs
    nothing, yet removes no key as a bias of -inf does.
    """

    keyword: ClassVar[str] = "expression"
    value: Expr = attribute(EXPR)
