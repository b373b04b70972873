"""`scan`: read the allowed keys once, by vectors.

Scores come with a bound of their rounding errors, a block of keys at a time; a block that cannot hold the
largest score is done, and only keys that may tie with the best are compared exactly. It does what `dense`
does for hard-max, without a comparison for each key.
"""

from __future__ import annotations

import math
from typing import ClassVar

from attnc.facts import Facts
from attnc.machine import Machine
from attnc.plan import Cost
from attnc.strategies.base import Judge, Sizes, overhead, register_strategy, rows_of
from attnc.strategies.dense import append_bytes, key_bytes, visible_keys
from attnc.strategies.grounds import (
    dtype_reasons,
    normalizer_reasons,
    ranged_terms,
    scale_reasons,
    score_reasons,
)
from attnc_ir.attributes.normalizer import TopK
from attnc_ir.attributes.strategy import Scan, Strategy
from attnc_ir.ops import AttentionOp

_TILE = 32
"""Query rows of one key head that share a block of keys while it is in the cache."""

MOST_HELD = 64
"""Keys that a top-k may ask for: beyond, few blocks can be passed over."""

_BLOCK = 64
"""Keys of the smallest block."""


@register_strategy
class ScanJudge(Judge):
    """Cost terms: `score` flops, `keys` bytes, `compare` (one for each row and block), `value` bytes, `call`;
    a step writes its row as upkeep. A top-k adds its heap to `compare` and has `exp`.
    """

    noun: ClassVar[type[Strategy]] = Scan
    keeps_structure: ClassVar[bool] = False

    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        reasons = []
        if isinstance(node.normalizer, TopK):
            if node.normalizer.k > MOST_HELD:
                reasons.append(f"k is {node.normalizer.k}, and a scan holds at most {MOST_HELD} keys")
        else:
            reasons += normalizer_reasons(node, "a scan")
        reasons += dtype_reasons(node, "a scan reads")
        if ranged_terms(node) is None:
            reasons.append(
                "the mask is not one range of keys for each query, so a block is not read as a whole"
            )
        ability = "bounds the errors of dot products only"
        return (*reasons, *score_reasons(node, "a scan", ability), *scale_reasons(node))

    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        g = node.geometry
        rows, heads, queries = rows_of(node, sizes)
        seen = visible_keys(node, queries, length)
        width, flop = sizes.width(g.key_width), machine.flop(node.accumulator)
        passes = max(1.0, rows / heads / _TILE) if heads else 0.0
        value = sizes.width(g.value_width) * node.value_type.dtype.itemsize
        compares, exps, kept = 1 + seen / _BLOCK, 0, 1
        if isinstance(node.normalizer, TopK):
            # Of keys in no order, one in j / k is among the k best of the first j; each goes through a heap.
            kept = min(node.normalizer.k, max(1, int(seen)))
            exps = kept
            compares += kept * (1 + math.log(max(1.0, seen / kept))) * (1 + math.log2(kept))
        terms = [
            ("score", rows * seen * 2 * width * flop),
            ("keys", heads * passes * seen * key_bytes(node, sizes) * machine.byte),
            ("compare", rows * compares * machine.compare),
            ("value", rows * kept * value * machine.byte),
            ("call", overhead(node, machine)),
        ]
        if exps:
            terms.insert(3, ("exp", rows * exps * machine.exp(node.accumulator)))
        return Cost(tuple(terms), append_bytes(node, heads, machine, sizes))
