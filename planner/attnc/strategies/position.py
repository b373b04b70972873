"""`position`: the winner of query `i` is provably key `i + c`, or the allowed key nearest to it.

Let keys and queries be polynomials in their positions, of degree two at most. Then the score of query `i` and
key `j` is

    s(i, j) = A(i) j^2 + B(i) j + C(i)

and if `A(i) < 0` and `B(i) = -2 A(i) (i + c)`, completing the square gives

    s(i, j) = A(i) (j - (i + c))^2 + D(i)

so that scores fall strictly with the distance from `i + c`: the nearest allowed integer wins, and two tie
only where `i + c` lies halfway between them. Where `A` vanishes and `B(i)` keeps one sign, scores rise or
fall strictly along the keys, and the last or first allowed key wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from attnc.facts import Fact, Facts, Polynomial, PolynomialFact
from attnc.machine import Machine
from attnc.plan import Cost
from attnc.strategies.base import Judge, Sizes, overhead, register_strategy, rows_of
from attnc.strategies.dense import DenseJudge
from attnc.strategies.grounds import range_reasons
from attnc_ir.attributes.strategy import Position, Strategy
from attnc_ir.ops import Attend, AttentionOp
from attnc_ir.types import MAX_DIM

_HALF = Fraction(1, 2)


@register_strategy
class PositionJudge(Judge):
    """Cost terms: `value` bytes written, `call`, and `beyond`: the dense scan of positions past the proof."""

    noun: ClassVar[type[Strategy]] = Position

    def choose(self, node: AttentionOp, facts: Facts) -> Strategy:
        proof = proved(node, facts)
        assert isinstance(proof, Position), "only a legal node is asked for its strategy"
        return proof

    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        reasons = list(range_reasons(node, "a position"))
        proof = proved(node, facts)
        if not isinstance(proof, Position):
            reasons.append(proof)
        elif isinstance(node.strategy, Position) and node.strategy != proof:
            reasons.append(
                f"the text says offset {node.strategy.offset} below {node.strategy.bound}, "
                f"proved is offset {proof.offset} below {proof.bound}"
            )
        return tuple(reasons)

    def grounds(self, node: AttentionOp, facts: Facts) -> tuple[Fact, ...]:
        if not isinstance(node, Attend):
            return ()
        found = (facts.get(node.query, PolynomialFact), facts.get(node.key, PolynomialFact))
        return tuple(fact for fact in found if fact is not None)

    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        rows, _, queries = rows_of(node, sizes)
        value = sizes.width(node.geometry.value_width) * node.value_type.dtype.itemsize
        terms = [("value", rows * value * machine.byte), ("call", overhead(node, machine))]
        proof = proved(node, facts)
        assert isinstance(proof, Position), "only a legal node has a cost"
        longest = max(queries, length)
        if longest > proof.bound:
            dense = DenseJudge().cost(node, facts, machine, sizes, length).own
            terms.append(("beyond", dense * (longest - proof.bound) / longest))
        return Cost(tuple(terms))


def proved(node: AttentionOp, facts: Facts) -> Position | str:
    """The winner's place, as the strategy that reads it; or why none is proved, as a sentence."""
    if not isinstance(node, Attend):
        return "a step reads a cache, and positions are followed along whole sequences only"
    query, keys = facts.get(node.query, PolynomialFact), facts.get(node.key, PolynomialFact)
    missing = [str(v) for v, known in ((node.query, query), (node.key, keys)) if known is None]
    if query is None or keys is None:
        return f"no polynomial in the position is known for {' and '.join(dict.fromkeys(missing))}"
    score = _Score.of(query, keys, Fraction(node.scale))
    place = score.winner(min(query.bound, keys.bound))
    if place is None:
        return "the best key does not stand at a fixed distance from the query"
    return place


@dataclass(frozen=True)
class _Score:
    """`square(i) * j * j + linear(i) * j` plus what does not depend on `j`."""

    square: Polynomial
    linear: Polynomial

    @classmethod
    def of(cls, query: PolynomialFact, keys: PolynomialFact, scale: Fraction) -> _Score:
        """The score of query row `i` and key row `j`."""
        square = linear = Polynomial()
        for q, k in zip(query.elements, keys.elements, strict=True):
            square += q.scaled(scale * k.square)
            linear += q.scaled(scale * k.linear)
        return cls(square, linear)

    def winner(self, bound: int) -> Position | None:
        """Where the largest score stands for positions below `bound`, if that is proved."""
        if self.square.is_zero:
            if self.linear.negative_below(bound):
                return Position(-MAX_DIM, bound)
            return Position(MAX_DIM, bound) if (-self.linear).negative_below(bound) else None
        if not self.square.negative_below(bound):
            return None
        # At position 0: B(0) = -2 A(0) c, and A(0) < 0.
        c = -self.linear(0) / (2 * self.square(0))
        wanted = self.square.scaled(Fraction(-2)).times(Polynomial(c, Fraction(1)))
        if wanted != self.linear or abs(c) > MAX_DIM:
            return None
        offset, part = divmod(c, 1)
        return Position(int(offset) + (part > _HALF), bound, tied=int(part == _HALF))
