"""`hull`: keep the convex hull of two-dimensional keys.

The key with the largest dot product is a vertex of the hull of the keys (of several that tie, the hull
keeps what the tie rule needs), and along the hull the dot product rises and falls once, so that a query is
a binary search.
"""

from __future__ import annotations

import math
from typing import ClassVar

from attnc.facts import Fact, Facts
from attnc.machine import Machine
from attnc.masks import explicit
from attnc.plan import Cost
from attnc.strategies.base import Judge, Sizes, overhead, register_strategy, rows_of
from attnc.strategies.dense import append_bytes, key_bytes, visible_keys
from attnc.strategies.grounds import (
    dtype_reasons,
    known_half,
    normalizer_reasons,
    scale_reasons,
    score_reasons,
)
from attnc_ir.attributes.mask import (
    Causal,
    Documents,
    Everything,
    Lengths,
    Nothing,
    Prefix,
    Window,
    window_span,
)
from attnc_ir.attributes.strategy import Hull, Strategy
from attnc_ir.ops import AttendStep, AttentionOp

_ORIENTATIONS = 4
"""Exact turns tested for one key, amortised: it is pushed and popped at most once on the upper and on the
lower hull.
"""


LONGEST_WINDOW = 1 << 20
"""Keys of a window in a step."""

_BLOCK = 64
"""Keys of the smallest block that a window in a step is made of."""


@register_strategy
class HullJudge(Judge):
    """Cost terms: `build` (insertions), `search` (probes), `value` bytes, `keys` bytes, `call`; a step has
    its insertion as upkeep. Where ranges begin behind key 0 there are two hulls to build and to search.
    """

    noun: ClassVar[type[Strategy]] = Hull

    def choose(self, node: AttentionOp, facts: Facts) -> Strategy:
        return Hull(_half(node, facts)[0])

    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        reasons = normalizer_reasons(node, "a hull")
        width = node.geometry.key_width
        if width != 2:
            reasons.append(f"keys have width {width}, and a hull needs exactly 2")
        reasons += dtype_reasons(node, "a hull compares")
        reasons += _mask_reasons(node)
        reasons += [*score_reasons(node, "a hull"), *scale_reasons(node)]
        if isinstance(node.strategy, Hull) and width == 2:
            half = _half(node, facts)[0]
            if node.strategy.half not in (0, half):
                reasons.append(f"the text says half {node.strategy.half}, proved is half {half}")
        return tuple(reasons)

    def grounds(self, node: AttentionOp, facts: Facts) -> tuple[Fact, ...]:
        fact = _half(node, facts)[1]
        return () if fact is None else (fact,)

    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        rows, heads, queries = rows_of(node, sizes)
        # Under a window no hull holds more than the keys of two windows; half of those on average.
        hulls, held = (2, visible_keys(node, queries, length)) if ranges_move(node) else (1, length)
        probes = 1 + math.log2(held + 1)
        insertion = machine.insert + probes * machine.probe + _ORIENTATIONS * machine.compare
        if _half(node, facts)[0] != 0:
            insertion /= 2
        value = sizes.width(node.geometry.value_width) * node.value_type.dtype.itemsize
        terms = [
            ("search", hulls * rows * probes * (machine.probe + machine.compare)),
            ("value", rows * value * machine.byte),
            ("call", overhead(node, machine)),
        ]
        if isinstance(node, AttendStep) and (span := window_span(node.mask)) is not None:
            # One hull on each level takes the key in; half of the levels are asked, and half a block's keys.
            levels = max(1, min(span, length).bit_length() - 6)
            asked = (1 + levels / 2) * probes * (machine.probe + machine.compare)
            terms[0] = ("search", rows * (asked + _BLOCK / 2 * machine.compare))
            insertion *= levels
        if isinstance(node, AttendStep):
            return Cost(
                tuple(terms), (("insert", heads * insertion), *append_bytes(node, heads, machine, sizes))
            )
        build = ("build", hulls * heads * length * insertion)
        keys = ("keys", heads * length * key_bytes(node, sizes) * machine.byte)
        return Cost((build, *terms[:2], keys, terms[2]))


def _mask_reasons(node: AttentionOp) -> tuple[str, ...]:
    """Why the ranges of keys that the mask gives cannot be followed by hulls, which only grow.

    In batch every range mask will do. The ends of the range of row `i` are the largest of lower ends and the
    smallest of upper ends, one for each and-ed term; `causal` and `window` have ends `i + constant`, `prefix`
    and `lengths` an end that is constant in a batch, so neither end of the range ever falls as `i` grows, and
    that is all that the two hulls of a run of rows need. Rows that `lengths` rules out see nothing. Documents
    that lie side by side are ranges too; that they do is looked at when the code runs. In a step the end of
    the range must not fall from one to the next, as a count that is a value could; windows are put together
    from hulls of blocks.
    """
    terms = explicit(node).conjuncts
    step = isinstance(node, AttendStep)
    reasons = []
    if not all(
        isinstance(t, (Everything, Nothing, Causal, Window, Prefix, Lengths, Documents)) for t in terms
    ):
        reasons.append("the mask does not give every row one range of keys")
    if sum(isinstance(t, Documents) for t in terms) > 1:
        reasons.append("the mask has documents of two kinds, and one of them gives the ranges")
    if step and (span := window_span(node.mask)) is not None and span > LONGEST_WINDOW:
        reasons.append(f"the window has {span} keys, and a cache keeps hulls for {LONGEST_WINDOW} at most")
    if step and any(isinstance(t, Prefix) and not isinstance(t.count, int) for t in terms):
        reasons.append("the prefix may shrink from step to step, and a hull in a cache only grows")
    return tuple(reasons)


def _half(node: AttentionOp, facts: Facts) -> tuple[int, Fact | None]:
    """The one half of the hull that is enough, if it is one, and why; windows are put together from whole
    hulls.
    """
    return (0, None) if ranges_move(node) else known_half(node, facts, 0)


def ranges_move(node: AttentionOp) -> bool:
    """Whether ranges may begin behind key 0, so that each key enters two hulls and each row asks both."""
    return any(isinstance(t, Window | Documents) for t in node.mask.conjuncts)
