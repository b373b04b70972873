"""`monotone`: the hull of two-dimensional keys that come in order of one coordinate.

Positions and counters come so. While they also turn to one side only, as on a parabola, every key is a vertex
and the hull is the keys themselves: a key is appended by one turn test, and a query goes from the last answer
to the next by two differences of scores. What does not turn so, or breaks the order, is a matter for the
general hull, into which the structure changes by itself.
"""

from __future__ import annotations

from typing import ClassVar

from attnc.facts import Fact, Facts, MonotoneFact
from attnc.machine import Machine
from attnc.plan import Cost
from attnc.strategies.base import Judge, Sizes, overhead, register_strategy, rows_of
from attnc.strategies.dense import append_bytes, key_bytes
from attnc.strategies.grounds import key_source, known_half
from attnc.strategies.hull import HullJudge, ranges_move
from attnc_ir.attributes.strategy import Monotone, Strategy
from attnc_ir.ops import AttendStep, AttentionOp

_COMPARISONS = 4
"""Of scores, for one query: one to each side of the last answer, and again of the new one."""


@register_strategy
class MonotoneJudge(Judge):
    """Cost terms: `follow` (a turn test for each key that enters), `search` (a probe and its comparisons),
    `value` bytes, `keys` bytes, `call`, and `beyond`: what a hull takes past the proof.
    """

    noun: ClassVar[type[Strategy]] = Monotone

    def choose(self, node: AttentionOp, facts: Facts) -> Strategy:
        fact = _order(node, facts)
        assert fact is not None, "only a legal node is asked for its strategy"
        return Monotone(fact.axis, known_half(node, facts, fact.axis)[0])

    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        reasons = list(HullJudge().why_not(node, facts))
        if ranges_move(node):
            reasons.append("ranges of keys may begin behind the first, and keys in order are never let go")
        fact = _order(node, facts)
        if fact is None:
            reasons.append("keys are not known to increase strictly in one of their coordinates")
            return tuple(reasons)
        if fact.axis != 0 and isinstance(node, AttendStep):
            reasons.append("keys increase in coordinate 1, and a step follows coordinate 0 only")
        written = node.strategy
        if isinstance(written, Monotone) and fact.axis < 2:
            half = known_half(node, facts, fact.axis)[0]
            if written.axis != fact.axis or written.half not in (0, half):
                reasons.append(
                    f"the text says axis {written.axis} and half {written.half}, "
                    f"proved are axis {fact.axis} and half {half}"
                )
        return tuple(reasons)

    def grounds(self, node: AttentionOp, facts: Facts) -> tuple[Fact, ...]:
        fact = _order(node, facts)
        return () if fact is None else (fact,)

    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        rows, heads, _ = rows_of(node, sizes)
        fact = _order(node, facts)
        assert fact is not None, "only a legal node has a cost"
        value = sizes.width(node.geometry.value_width) * node.value_type.dtype.itemsize
        search = ("search", rows * (machine.probe + _COMPARISONS * machine.compare))
        terms = [("value", rows * value * machine.byte), ("call", overhead(node, machine))]
        if length > fact.bound:
            hull = HullJudge().cost(node, facts, machine, sizes, length).own
            terms.append(("beyond", hull * (length - fact.bound) / length))
        if isinstance(node, AttendStep):
            follow = ("follow", heads * machine.compare)
            return Cost((search, *terms), (follow, *append_bytes(node, heads, machine, sizes)))
        follow = ("follow", heads * length * machine.compare)
        keys = ("keys", heads * length * key_bytes(node, sizes) * machine.byte)
        return Cost((follow, search, terms[0], keys, *terms[1:]))


def _order(node: AttentionOp, facts: Facts) -> MonotoneFact | None:
    """What is known about the order of a node's keys."""
    return facts.get(key_source(node), MonotoneFact)
