"""`sweep`: many queries over one set of two-dimensional keys.

The hull of keys that are all there at once is made by sorting them, which is cheaper than inserting one
after the other. As queries turn, the best vertex moves one way along it; so on a large hull queries are
sorted, too, and each is answered next to the one before it.
"""

from __future__ import annotations

import math
from typing import ClassVar

from attnc.facts import Facts
from attnc.machine import Machine
from attnc.plan import Cost
from attnc.strategies.base import Judge, Sizes, overhead, register_strategy, rows_of
from attnc.strategies.dense import key_bytes
from attnc.strategies.grounds import normalizer_reasons, one_key_set, scale_reasons, score_reasons
from attnc_ir.attributes.strategy import Strategy, Sweep
from attnc_ir.ops import AttendStep, AttentionOp

_START = 4096
"""Counters that are set and summed when keys are sorted, however few they are."""

_KEY_COMPARES = 50
"""Comparisons that a key's share of the work costs as much as: two passes over the sides of a polygon, that
tell what is strictly inside, two passes for each of six digits, a turn test for either half.
"""

_PROBES = 8
"""Steps of a search beyond which it gets no dearer: slopes lie side by side, and where there are too many for
that, queries are sorted.
"""


@register_strategy
class SweepJudge(Judge):
    """Cost terms: `start` and `build` (comparisons), `search` (probes and two comparisons that certify),
    `value` bytes, `keys` bytes, `call`.
    """

    noun: ClassVar[type[Strategy]] = Sweep
    keeps_structure: ClassVar[bool] = False

    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        reasons = []
        if isinstance(node, AttendStep):
            reasons.append("a step has one query for each head, and a sweep answers many at a time")
        reasons += normalizer_reasons(node, "a sweep")
        width = node.geometry.key_width
        if width != 2:
            reasons.append(f"keys have width {width}, and a sweep needs exactly 2")
        if not one_key_set(node):
            reasons.append("the mask does not give all queries of a head the same keys, from the first on")
        return (*reasons, *score_reasons(node, "a sweep"), *scale_reasons(node))

    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        rows, heads, _ = rows_of(node, sizes)
        value = sizes.width(node.geometry.value_width) * node.value_type.dtype.itemsize
        keys = heads * length
        probes = min(1 + math.log2(length + 1), _PROBES)
        return Cost(
            (
                ("start", heads * _START * machine.compare),
                ("build", keys * _KEY_COMPARES * machine.compare),
                ("search", rows * (probes * machine.probe + 2 * machine.compare)),
                ("value", rows * value * machine.byte),
                ("keys", keys * key_bytes(node, sizes) * machine.byte),
                ("call", overhead(node, machine)),
            )
        )
