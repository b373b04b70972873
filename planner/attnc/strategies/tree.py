"""`tree`: branch and bound over a tree of boxes.

Keys that are near each other share a box, boxes share larger boxes, and a query looks into a box only if its
farthest corner could hold the largest score. How many boxes that are depends on the keys, so the cost here is
an estimate, measured with normally distributed keys, and it is not logarithmic: it grows like a power of the
number of keys, from about `n**0.15` in width 3 over `n**0.35` in width 8 to `n` in width 15.
"""

from __future__ import annotations

import math
from typing import ClassVar

from attnc.facts import Facts
from attnc.machine import Machine
from attnc.plan import Cost
from attnc.strategies.base import Judge, Sizes, overhead, register_strategy, rows_of
from attnc.strategies.dense import append_bytes, key_bytes, visible_keys
from attnc.strategies.grounds import EXACT_ADDITION, dtype_reasons, keys_reached, range_reasons, scale_reasons
from attnc_ir.attributes.normalizer import Hardmax, Tie
from attnc_ir.attributes.strategy import Strategy, Tree
from attnc_ir.ops import AttendStep, AttentionOp
from attnc_ir.types import DType

_LEAF = 64
"""Keys of a leaf."""

_KNEE = 1000
"""From so many keys on the share of them that a query looks at changes with their number."""

_WORST = 1.75
"""A tree that has to look at every key costs so many scans, which have no boxes and read in order."""

_SETUP = 48
"""Probes that a search costs before it looks at a box."""

_MOVES = 4
"""Times a key is read or written for each level that it is arranged in."""


@register_strategy
class TreeJudge(Judge):
    """Cost terms: `build` (keys arranged, level by level), `search` (probes of boxes), `score` flops of the
    keys that a query is expected to look at, `value` bytes or, for `mean`, flops, `keys` bytes, `call`; a
    step arranges keys as upkeep, `arrange`.
    """

    noun: ClassVar[type[Strategy]] = Tree

    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        reasons = list(range_reasons(node, "a tree"))
        width = node.geometry.key_width
        if not isinstance(width, int):
            reasons.append(f"the width of the keys, {width}, is open, and what a tree gains depends on it")
        elif width < 2:
            reasons.append(f"keys have width {width}, and boxes need two coordinates or more")
        reasons += dtype_reasons(node, "a tree compares")
        return (*reasons, *scale_reasons(node))

    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        rows, heads, queries = rows_of(node, sizes)
        width, value_width = sizes.width(node.geometry.key_width), sizes.width(node.geometry.value_width)
        held = keys_reached(node, queries, length)
        seen = min(visible_keys(node, queries, length), held)
        flop = machine.flop(DType.F64)
        levels = 1 + math.log2(max(held / _LEAF, 1.0))
        arrange = machine.insert + _MOVES * 8 * width * machine.byte
        if isinstance(node.normalizer, Hardmax) and node.normalizer.tie is Tie.MEAN:
            value = value_width * EXACT_ADDITION * flop
        else:
            value = value_width * node.value_type.dtype.itemsize * machine.byte
        looked = rows * keys_looked_at(width, held, seen)
        terms = [
            ("search", rows * (_SETUP + 8 * (1 + levels / 3)) * machine.probe),
            ("score", looked * 2 * width * flop),
            ("value", rows * value),
            ("call", overhead(node, machine)),
        ]
        if isinstance(node, AttendStep):
            # Each key is arranged anew whenever the run it is in has grown by four.
            upkeep = heads * (4 + levels * levels / 3) * arrange
            # As for a scan, nobody else has just read them.
            terms.insert(2, ("keys", looked * 8 * width * machine.byte))
            return Cost(tuple(terms), (("arrange", upkeep), *append_bytes(node, heads, machine, sizes)))
        build = ("build", heads * held * levels * arrange)
        keys = ("keys", heads * held * key_bytes(node, sizes) * machine.byte)
        return Cost((build, *terms[:3], keys, terms[3]))


def keys_looked_at(width: int, held: int, seen: float) -> float:
    """How many keys a scan could look at in the time of a search among `held` normally distributed ones.

    An estimate, fitted to `benchmarks/tree.py`. A row that may see only `seen` of the keys finds its best
    later, in proportion.

    >>> [round(keys_looked_at(width, 1_000_000, 1e6)) for width in (3, 8, 12, 16)]
    [422, 4561, 60796, 1750000]
    >>> round(keys_looked_at(3, 1_000_000, 1000.0))  # a window over keys that lie in no order
    422167
    """
    if held == 0 or seen <= 0:
        return 0.0
    # Far beyond the widths that were measured the power must not overflow; the worst is reached long before.
    saving = max(0.9 - 0.004 * width * width, -1.0)
    share: float = (0.03 + 0.045 * width) * (_KNEE / max(held, _KNEE)) ** saving
    return held * min(_WORST, share * held / seen)
