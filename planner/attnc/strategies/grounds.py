"""What several judges ask about a node: is its mask a key range, are its scores provably equal?"""

from __future__ import annotations

from attnc.facts import Fact, Facts, SameKeyFact, SteadyFact, ZeroFact
from attnc.masks import Band, explicit
from attnc_ir.attributes.mask import (
    And,
    Causal,
    Everything,
    Lengths,
    Mask,
    Nothing,
    Prefix,
    Window,
)
from attnc_ir.attributes.normalizer import Hardmax
from attnc_ir.ops import Attend, AttendStep, AttentionOp
from attnc_ir.values import Value

EXACT_ADDITION = 6
"""Flops of adding a double to an exact sum while two doubles hold it."""

_RANGES = (Everything, Nothing, Causal, Window, Prefix, Lengths)


def ranged_terms(node: AttentionOp) -> tuple[Mask, ...] | None:
    """The and-ed terms of a mask that gives every row one range of keys; None for other masks."""
    mask = explicit(node)
    terms = mask.terms if isinstance(mask, And) else (mask,)
    return terms if all(isinstance(term, _RANGES) for term in terms) else None


def one_key_set(mask: Mask) -> bool:
    """Whether all rows of a key head that see keys see the same ones, a prefix."""
    if isinstance(mask, And):
        return all(one_key_set(term) for term in mask.terms)
    return isinstance(mask, Everything | Prefix | Lengths)


def range_reasons(node: AttentionOp, name: str) -> tuple[str, ...]:
    """Why a strategy that answers ranges of keys by dot products alone may not be used, each reason a
    sentence; `name` is what it finds, with an article.
    """
    reasons = []
    if not isinstance(node.normalizer, Hardmax):
        reasons.append(
            f"the normaliser is {node.normalizer.keyword}, and {name} finds only the largest score"
        )
    if ranged_terms(node) is None:
        reasons.append("the mask does not give every row one range of keys")
    if node.bias:
        reasons.append(f"scores have a bias, and {name} knows dot products only")
    if node.with_lse:
        reasons.append("the log-sum-exp is wanted, and it needs every score")
    return tuple(reasons)


def keys_reached(node: AttentionOp, queries: int, length: int) -> int:
    """How many keys, counted from the first, some row may see; an upper bound for masks not followed."""
    reached = length
    for term in ranged_terms(node) or ():
        band = Band.of(term)
        match term:
            case Nothing():
                reached = 0
            case Prefix(int() as count):
                reached = min(reached, count)
            case _ if band is not None and band.high is not None and not isinstance(node, AttendStep):
                first = length - queries if band.bottom_right else 0
                reached = min(reached, max(0, first + queries + band.high))
            case _:
                pass
    return reached


def key_source(node: AttentionOp) -> Value:
    """The value that facts about a node's keys are kept for: the keys, or the cache that holds them."""
    if isinstance(node, Attend):
        return node.key
    assert isinstance(node, AttendStep)
    return node.cache


def constant_scores(node: AttentionOp, facts: Facts) -> tuple[Fact, ...] | None:
    """The facts from which all scores of a row are equal (none when the scale is 0); None where that is not
    known.

    They hold for finite keys and queries.
    """
    if node.bias:
        return None
    if node.scale == 0:
        return ()
    assert isinstance(node, Attend | AttendStep)
    keys = key_source(node)
    for fact in (
        facts.get(node.query, ZeroFact),
        facts.get(keys, ZeroFact),
        facts.get(keys, SteadyFact),
        facts.get(keys, SameKeyFact),
    ):
        if fact is not None:
            return (fact,)
    return None
