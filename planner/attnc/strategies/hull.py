"""`hull`: keep the convex hull of two-dimensional keys.

The key with the largest dot product is a vertex of the hull of the keys (of several that tie, the hull
keeps what the tie rule needs), and along the hull the dot product rises and falls once, so that a query is
a binary search.
"""

from __future__ import annotations

import math
from typing import ClassVar

from attnc.facts import Facts
from attnc.machine import Machine
from attnc.masks import explicit
from attnc.plan import Cost
from attnc.strategies.base import Judge, Sizes, overhead, register_strategy, rows_of
from attnc.strategies.dense import append_bytes, key_bytes
from attnc_ir.attributes.mask import Causal, Corner, Everything, Mask
from attnc_ir.attributes.normalizer import Hardmax
from attnc_ir.attributes.strategy import Hull, Strategy
from attnc_ir.ops import AttendStep, AttentionOp
from attnc_ir.types import DType

_ORIENTATIONS = 4
"""Exact turns tested for one key, amortised: it is pushed and popped at most once on the upper and on the
lower hull.
"""


@register_strategy
class HullJudge(Judge):
    """Cost terms: `build` (insertions), `search` (probes), `value` bytes, `keys` bytes, `call`; a step has
    its insertion as upkeep.
    """

    noun: ClassVar[type[Strategy]] = Hull

    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        reasons = []
        if not isinstance(node.normalizer, Hardmax):
            reasons.append(
                f"the normaliser is {node.normalizer.keyword}, and a hull finds only the largest score"
            )
        width = node.geometry.key_width
        if width != 2:
            reasons.append(f"keys have width {width}, and a hull needs exactly 2")
        if node.key_type.dtype not in (DType.F64, DType.F32):
            reasons.append(f"keys are {node.key_type.dtype}, and a hull compares f64 or f32")
        mask = explicit(node)
        if not _is_prefix_mask(mask, step=isinstance(node, AttendStep)):
            reasons.append(
                "the mask is neither everything nor causal, so the allowed keys are not a growing prefix"
            )
        if node.bias:
            reasons.append("scores have a bias, and a hull knows dot products only")
        if node.with_lse:
            reasons.append("the log-sum-exp is wanted, and it needs every score")
        if node.scale == 0:
            reasons.append("the scale is 0, so every key ties")
        return tuple(reasons)

    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        rows, heads, _ = rows_of(node, sizes)
        probes = 1 + math.log2(length + 1)
        insertion = machine.insert + probes * machine.probe + _ORIENTATIONS * machine.compare
        value = sizes.width(node.geometry.value_width) * node.value_type.dtype.itemsize
        terms = [
            ("search", rows * probes * (machine.probe + machine.compare)),
            ("value", rows * value * machine.byte),
            ("call", overhead(node, machine)),
        ]
        if isinstance(node, AttendStep):
            return Cost(
                tuple(terms), (("insert", heads * insertion), *append_bytes(node, heads, machine, sizes))
            )
        build = ("build", heads * length * insertion)
        keys = ("keys", heads * length * key_bytes(node, sizes) * machine.byte)
        return Cost((build, *terms[:2], keys, terms[2]))


def _is_prefix_mask(mask: Mask, *, step: bool) -> bool:
    """Whether every row sees a prefix of the keys that grows from row to row; in a step, everything."""
    match mask:
        case Everything():
            return True
        case Causal(alignment):
            return not step or alignment is Corner.TOP_LEFT or (isinstance(alignment, int) and alignment >= 0)
        case _:
            return False
