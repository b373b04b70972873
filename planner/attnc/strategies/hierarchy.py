"""`hierarchy`: many queries over one set of three-dimensional keys.

The best key is a vertex of the keys' convex hull, and from any other vertex some edge leads to a better one.
Coarser hulls of fewer and fewer vertices say where to begin, so a query visits a logarithmic number of
vertices. The hull is made once, for all queries, which costs more than a tree of boxes does.

How many keys are vertices depends on how they are distributed. A search is counted as one among normally
distributed keys, as for `tree`. Making the hull takes up to thirty times as long where every key is a vertex
as it does for these, so it is counted as something in between: either way the plan is then not far off.
"""

from __future__ import annotations

import math
from typing import ClassVar

from attnc.facts import Facts
from attnc.machine import Machine
from attnc.plan import Cost
from attnc.strategies.base import Judge, Sizes, overhead, register_strategy, rows_of
from attnc.strategies.dense import key_bytes
from attnc.strategies.grounds import (
    EXACT_ADDITION,
    dtype_reasons,
    keys_reached,
    normalizer_reasons,
    one_key_set,
    scale_reasons,
    score_reasons,
)
from attnc_ir.attributes.normalizer import Hardmax, Tie
from attnc_ir.attributes.strategy import Hierarchy, Strategy
from attnc_ir.ops import AttendStep, AttentionOp
from attnc_ir.types import DType

_WIDTH = 3

_START = 12_000
"""Comparisons that the first hulls cost, however few keys there are."""

_SIDES = 25
"""How often a key is asked on which side of a facet it lies, beside once for each doubling of the keys."""

_SIDE_COMPARES = 30
"""Comparisons that one such question costs as much as."""

_PROBES = 8
"""Probes that a query costs beside one for each doubling of the keys."""


@register_strategy
class HierarchyJudge(Judge):
    """Cost terms: `start` and `build` (comparisons), `search` (probes), `value` bytes or, for
    `mean`, flops, `keys` bytes, `call`.
    """

    noun: ClassVar[type[Strategy]] = Hierarchy
    keeps_structure: ClassVar[bool] = False

    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        reasons = []
        if isinstance(node, AttendStep):
            reasons.append("a step adds a key for each query, and a hierarchy is made of keys that stay")
        reasons += normalizer_reasons(node, "a hierarchy")
        width = node.geometry.key_width
        if width != _WIDTH:
            reasons.append(f"keys have width {width}, and a hierarchy needs exactly 3")
        reasons += dtype_reasons(node, "a hierarchy compares")
        if not one_key_set(node):
            reasons.append("the mask does not give all queries of a head the same keys, from the first on")
        return (*reasons, *score_reasons(node, "a hierarchy"), *scale_reasons(node))

    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        rows, heads, queries = rows_of(node, sizes)
        keys = heads * keys_reached(node, queries, length)
        doublings = math.log2(length + 1)
        value_width = sizes.width(node.geometry.value_width)
        if isinstance(node.normalizer, Hardmax) and node.normalizer.tie is Tie.MEAN:
            value = value_width * EXACT_ADDITION * machine.flop(DType.F64)
        else:
            value = value_width * node.value_type.dtype.itemsize * machine.byte
        return Cost(
            (
                ("start", heads * _START * machine.compare),
                ("build", keys * (_SIDES + doublings) * _SIDE_COMPARES * machine.compare),
                ("search", rows * (_PROBES + doublings) * machine.probe),
                ("value", rows * value),
                ("keys", keys * key_bytes(node, sizes) * machine.byte),
                ("call", overhead(node, machine)),
            )
        )
