"""Biases: what is added to a scaled score before the mask. A node carries a sum of terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.expr import EXPR, Expr
from attnc_ir.kinds import VALUE, Attribute, FamilyKind, Scope, attribute
from attnc_ir.syntax import Misread, Name, Node, Operator
from attnc_ir.values import Value


@dataclass(frozen=True)
class BiasTerm(Attribute):
    """One term of a bias. A value of -inf removes the key position, exactly as a false mask does."""


Bias = tuple[BiasTerm, ...]

BIAS_TERM: FamilyKind[BiasTerm] = FamilyKind("bias")


@BIAS_TERM.register
@dataclass(frozen=True)
class TensorBias(BiasTerm):
    """A float tensor, broadcast to `[B x H x N x M]`."""

    keyword: ClassVar[str] = "tensor"
    tensor: Value = attribute(VALUE)


@BIAS_TERM.register
@dataclass(frozen=True)
class Alibi(BiasTerm):
    """`slopes[h] * (j - i)`: linear in the distance, one slope per query head (float tensor `[H]`, or `[1]`
    for all).
    """

    keyword: ClassVar[str] = "alibi"
    slopes: Value = attribute(VALUE)


@BIAS_TERM.register
@dataclass(frozen=True)
class Relative(BiasTerm):
    """`table[h, clamp(j - i, -c, c) + c]`: a float table `[H x R]` (or `[1 x R]`) with odd `R = 2c + 1`."""

    keyword: ClassVar[str] = "relative"
    table: Value = attribute(VALUE)


@BIAS_TERM.register
@dataclass(frozen=True)
class ExprBias(BiasTerm):
    """A number computed from `b`, `h`, `i`, `j`."""

    keyword: ClassVar[str] = "expression"
    value: Expr = attribute(EXPR)


class BiasKind:
    """Terms joined by `+`, or `none`."""

    expects = "a bias: a sum of " + ", ".join(BIAS_TERM.members)

    def read(self, node: Node, scope: Scope) -> Bias:
        match node:
            case Operator(symbol="+", operands=(left, right)):
                return self.read(left, scope) + self.read(right, scope)
            case Operator(symbol=symbol):
                raise Misread(
                    node,
                    f"'{symbol}' does not combine biases",
                    "join terms with +; arithmetic stands inside expression(...)",
                )
            case Name(text="none"):
                return ()
            case _:
                return (BIAS_TERM.read(node, scope),)

    def write(self, value: Bias) -> str:
        return " + ".join(BIAS_TERM.write(term) for term in value) or "none"


BIAS = BiasKind()
