"""What several judges ask about a node: is its mask a key range, are its scores provably equal?"""

from __future__ import annotations

import math

from attnc.facts import (
    ColumnsFact,
    Fact,
    Facts,
    IntegerFact,
    PolynomialFact,
    SameKeyFact,
    SteadyFact,
    ZeroFact,
    columns,
)
from attnc.masks import Band, explicit
from attnc_ir.attributes.mask import (
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
from attnc_ir.types import MAX_DIM, DType
from attnc_ir.values import Value

EXACT_ADDITION = 6
"""Flops of adding a double to an exact sum while two doubles hold it."""

_RANGES = (Everything, Nothing, Causal, Window, Prefix, Lengths)


def ranged_terms(node: AttentionOp) -> tuple[Mask, ...] | None:
    """The and-ed terms of a mask that gives every row one range of keys; None for other masks."""
    terms = explicit(node).conjuncts
    return terms if all(isinstance(term, _RANGES) for term in terms) else None


def one_key_set(node: AttentionOp) -> bool:
    """Whether all rows of a key head that see keys see the same ones, a prefix."""
    return all(isinstance(term, Everything | Prefix | Lengths) for term in explicit(node).conjuncts)


def range_reasons(node: AttentionOp, name: str) -> tuple[str, ...]:
    """Why a strategy that answers ranges of keys by dot products alone may not be used, each reason a
    sentence; `name` is what it finds, with an article.
    """
    reasons = normalizer_reasons(node, name)
    if ranged_terms(node) is None:
        reasons.append("the mask does not give every row one range of keys")
    return (*reasons, *score_reasons(node, name))


def normalizer_reasons(node: AttentionOp, name: str) -> list[str]:
    """Why `name` cannot answer, when the normaliser is not hard-max."""
    if isinstance(node.normalizer, Hardmax):
        return []
    return [f"the normaliser is {node.normalizer.keyword}, and {name} finds only the largest score"]


def score_reasons(node: AttentionOp, name: str, ability: str = "knows dot products only") -> list[str]:
    """Why `name` cannot answer, when scores are not dot products alone, or every one of them is wanted."""
    reasons = []
    if node.bias:
        reasons.append(f"scores have a bias, and {name} {ability}")
    if node.with_lse:
        reasons.append("the log-sum-exp is wanted, and it needs every score")
    return reasons


def scale_reasons(node: AttentionOp) -> list[str]:
    """Why a strategy that looks for one winner is not used, when the scale is 0."""
    return ["the scale is 0, so every key ties"] if node.scale == 0 else []


def dtype_reasons(node: AttentionOp, ability: str) -> list[str]:
    """Why keys of this type are not read; `ability` says who reads what, such as "a hull compares"."""
    if node.key_type.dtype in (DType.F64, DType.F32):
        return []
    return [f"keys are {node.key_type.dtype}, and {ability} f64 or f32"]


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


def known_half(node: AttentionOp, facts: Facts, axis: int) -> tuple[int, Fact | None]:
    """The sign that the query's coordinate beside `axis`, times the scale, is known to have, 1 for never
    negative, -1 for never positive, 0 for unknown; and the fact that says so.
    """
    assert isinstance(node, Attend | AttendStep)
    turn = 1 if node.scale > 0 else -1
    own = columns(node.query, facts)
    if len(own) == 2:
        column = own[1 - axis]
        ground = facts.get(node.query, ColumnsFact) or facts.get(node.query, IntegerFact)
        low, high = column.integers or (-math.inf, math.inf)
        if column.constant is not None:
            low = high = column.constant
        if low >= 0 or high <= 0:
            return (turn if low >= 0 else -turn), ground
    rows = facts.get(node.query, PolynomialFact)
    queries = node.geometry.queries
    if rows is not None and rows.bound >= (queries if isinstance(queries, int) else MAX_DIM):
        element = rows.elements[1 - axis]
        if (-element).negative_below(rows.bound):
            return turn, rows
        if element.negative_below(rows.bound):
            return -turn, rows
    return 0, None
