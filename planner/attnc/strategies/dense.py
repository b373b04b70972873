"""`dense`: look at every allowed key. Always legal, so a choice always exists."""

from __future__ import annotations

import math
from typing import ClassVar

from attnc.facts import Facts
from attnc.machine import Machine
from attnc.masks import Band, explicit
from attnc.plan import Cost
from attnc.strategies.base import Judge, Sizes, overhead, register_strategy, row_bytes, rows_of
from attnc.strategies.grounds import constant_scores
from attnc_ir.attributes.mask import And, Mask, Nothing, Prefix
from attnc_ir.attributes.modifier import ExprModifier, Modifier
from attnc_ir.attributes.normalizer import Hardmax, Mean, Softmax, Tie, TopK
from attnc_ir.attributes.strategy import Dense, Strategy
from attnc_ir.expr import Unary
from attnc_ir.ops import AttendStep, AttentionOp

_TILE = 32
"""Query rows that share one pass over the keys."""


@register_strategy
class DenseJudge(Judge):
    """Cost terms: `score` flops, `modify` flops of masks and biases, `softcap`, `modifier`, `compare` or
    `exp`, `value` flops or bytes, `keys` bytes (`rows`, of keys and values, under softmax), `call`.
    """

    noun: ClassVar[type[Strategy]] = Dense
    keeps_structure: ClassVar[bool] = False

    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        return ()

    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        g = node.geometry
        rows, heads, queries = rows_of(node, sizes)
        seen = visible_keys(node, queries, length)
        pairs = rows * seen
        width, value_width = sizes.width(g.key_width), sizes.width(g.value_width)
        flop, exp = machine.flop(node.accumulator), machine.exp(node.accumulator)
        # Softmax is computed in explicit vectors, which read keys and values once, or from caches.
        in_lanes = isinstance(node.normalizer, Softmax)
        if in_lanes:
            flop, exp = machine.lane_flop(node.accumulator), machine.lane_exp(node.accumulator)
        terms = [("score", pairs * 2 * width * flop)]
        extras = len(node.bias) + sum(1 for _ in node.mask.walk()) - 1
        if extras:
            terms.append(("modify", pairs * extras * machine.flop(node.accumulator)))
        if node.softcap is not None:
            terms.append(("softcap", pairs * machine.exp(node.accumulator)))
        if node.modifier is not None:
            # As softcaps and biases, it is asked for score by score.
            each = modifier_cost(node.modifier, machine.flop(node.accumulator), machine.exp(node.accumulator))
            terms.append(("modifier", pairs * each))
        gathered = value_width * node.value_type.dtype.itemsize
        match node.normalizer:
            case Hardmax(tie):
                # One row of values for each query; ties are few, unless all scores are known to be equal.
                everyone = tie is Tie.MEAN and constant_scores(node, facts) is not None
                read = max(rows, pairs) if everyone else rows
                terms += [("compare", pairs * machine.compare), ("value", read * gathered * machine.byte)]
            case TopK(k=k):
                kept = min(k, max(1, int(seen)))
                terms += [
                    ("compare", pairs * (1 + math.log2(kept)) * machine.compare),
                    ("exp", rows * kept * exp),
                    ("value", rows * kept * gathered * machine.byte),
                ]
            case Softmax():
                terms += [("exp", pairs * exp), ("value", pairs * 2 * value_width * flop)]
            case Mean():
                terms.append(("value", pairs * value_width * flop))
            case _:
                terms.append(("value", pairs * 2 * value_width * flop))
        if in_lanes:
            # What all rows of a head see together.
            read = min(float(length), seen + queries - 1) if seen and queries else 0.0
            terms.append(("rows", heads * read * row_bytes(node, sizes) * machine.byte))
        else:
            passes = max(1.0, rows / heads / _TILE) if heads else 0.0
            terms.append(("keys", heads * passes * seen * key_bytes(node, sizes) * machine.byte))
        terms.append(("call", overhead(node, machine)))
        return Cost(tuple(terms), append_bytes(node, heads, machine, sizes))


def modifier_cost(modifier: Modifier, flop: float, exp: float) -> float:
    """Nanoseconds for one score: a flop for each operation, an exponential for each function."""
    if not isinstance(modifier, ExprModifier):
        return exp
    nodes = [node for node in modifier.value.walk() if node.children()]
    functions = sum(isinstance(node, Unary) and node.op.is_transcendental for node in nodes)
    return (len(nodes) - functions) * flop + functions * exp


def key_bytes(node: AttentionOp, sizes: Sizes) -> int:
    """Bytes of one key."""
    return sizes.width(node.geometry.key_width) * node.key_type.dtype.itemsize


def append_bytes(
    node: AttentionOp, heads: int, machine: Machine, sizes: Sizes
) -> tuple[tuple[str, float], ...]:
    """What it takes to write one row per head into a cache; nothing for a stateless node."""
    if not isinstance(node, AttendStep):
        return ()
    return (("append", heads * row_bytes(node, sizes) * machine.byte),)


def visible_keys(node: AttentionOp, queries: int, keys: int) -> float:
    """How many keys an average query row looks at.

    Counted for bands of diagonals and literal prefixes, which a kernel steps over; other masks hide keys
    but not the work.
    """
    return _visible(explicit(node), node, queries, keys)


def _visible(mask: Mask, node: AttentionOp, queries: int, keys: int) -> float:
    match mask:
        case Nothing():
            return 0.0
        case Prefix(int() as count):
            return float(min(count, keys))
        case And(terms):
            return min(_visible(t, node, queries, keys) for t in terms)
        case _:
            band = Band.of(mask)
            if band is None:
                return float(keys)
            # In a step the one query stands at the last key.
            first = keys - 1 if isinstance(node, AttendStep) else keys - queries if band.bottom_right else 0
            return band_mean(band, first, queries, keys)


def band_mean(band: Band, first: int, queries: int, keys: int) -> float:
    """The mean number of keys `j` in `[0, keys)` with `low <= j - (first + i) <= high`, over rows `i` in
    `[0, queries)`.

    >>> band_mean(Band(False, None, 0), 0, 4, 4)
    2.5
    """
    if queries == 0:
        return 0.0
    below = keys if band.high is None else _clipped_sum(first + band.high + 1, queries, keys) / queries
    above = 0.0 if band.low is None else _clipped_sum(first + band.low, queries, keys) / queries
    return max(0.0, below - above)


def _clipped_sum(start: int, count: int, limit: int) -> int:
    """The sum of `min(max(start + i, 0), limit)` over `i` in `[0, count)`."""
    low = min(max(0, -start), count)
    high = min(max(0, limit - start), count)
    ramp = range(start + low, start + high)
    return (
        len(ramp) * (ramp.start + ramp.stop - 1) // 2 + (count - high) * limit
        if high > low
        else (count - high) * limit
    )


__all__ = ["DenseJudge", "append_bytes", "band_mean", "key_bytes", "visible_keys"]
