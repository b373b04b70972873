"""`index`: keys on a parabola of integer addresses, the idiom of a memory that is read by address.

With keys `(2a, -a*a)` the score of a query `(x, y)` is `y (x/y)^2 - y (a - x/y)^2`: for positive `y` the
nearest address wins, which a table finds without searching among the keys.
"""

from __future__ import annotations

from typing import ClassVar

from attnc.facts import Fact, Facts, ParabolaFact
from attnc.machine import Machine
from attnc.plan import Cost
from attnc.strategies.base import Judge, Sizes, overhead, register_strategy, rows_of
from attnc.strategies.dense import append_bytes, key_bytes
from attnc.strategies.grounds import (
    EXACT_ADDITION,
    dtype_reasons,
    key_source,
    keys_reached,
    range_reasons,
    ranged_terms,
    scale_reasons,
)
from attnc_ir.attributes.mask import Window
from attnc_ir.attributes.normalizer import Hardmax, Tie
from attnc_ir.attributes.strategy import Index, Strategy
from attnc_ir.ops import AttendStep, AttentionOp
from attnc_ir.types import DType

_READ, _WRITTEN = 1, 2
"""Probes of a query, and of a key that is written: nodes near the root are in the nearest cache."""


@register_strategy
class IndexJudge(Judge):
    """Cost terms: `find` (probes of the table), `write` (keys that enter it), `sum` flops of their values for
    a mean, `value` bytes, `keys` bytes, `call`. A step writes one key for each head.
    """

    noun: ClassVar[type[Strategy]] = Index

    def choose(self, node: AttentionOp, facts: Facts) -> Strategy:
        proof = proved(node, facts)
        assert proof is not None, "only a legal node is asked for its strategy"
        return proof

    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        reasons = list(range_reasons(node, "an index"))
        if any(isinstance(term, Window) for term in ranged_terms(node) or ()):
            reasons.append("a window lets keys go, and a table of addresses only grows")
        reasons += dtype_reasons(node, "an index reads")
        width = node.geometry.key_width
        if width != 2:
            reasons.append(f"keys have width {width}, and a parabola lies in the plane")
        reasons += scale_reasons(node)
        proof = proved(node, facts)
        if proof is None:
            reasons.append(f"{key_source(node)} is not known to lie on a parabola of integers")
        elif isinstance(node.strategy, Index) and node.strategy != proof:
            reasons.append("the text names another parabola than the one that is known")
        return tuple(reasons)

    def grounds(self, node: AttentionOp, facts: Facts) -> tuple[Fact, ...]:
        fact = facts.get(key_source(node), ParabolaFact)
        return () if fact is None else (fact,)

    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        rows, heads, queries = rows_of(node, sizes)
        width = sizes.width(node.geometry.value_width)
        value = width * node.value_type.dtype.itemsize
        step = isinstance(node, AttendStep)
        entering = heads if step else heads * keys_reached(node, queries, length)
        terms = [
            ("find", rows * (_READ * machine.probe + machine.compare)),
            ("write", entering * (machine.insert + _WRITTEN * machine.probe)),
        ]
        if isinstance(node.normalizer, Hardmax) and node.normalizer.tie is Tie.MEAN:
            terms.append(("sum", 2 * entering * width * EXACT_ADDITION * machine.flop(DType.F64)))
        terms += [("value", rows * value * machine.byte), ("call", overhead(node, machine))]
        if step:
            return Cost(tuple(terms), append_bytes(node, heads, machine, sizes))
        terms.append(("keys", entering * key_bytes(node, sizes) * machine.byte))
        return Cost(tuple(terms))


def proved(node: AttentionOp, facts: Facts) -> Index | None:
    """The strategy for the parabola that a node's keys are known to lie on."""
    fact = facts.get(key_source(node), ParabolaFact)
    if fact is None:
        return None
    c0, c1, _ = map(float, fact.linear.coefficients)
    d0, d1, d2 = map(float, fact.square.coefficients)
    return Index(fact.axis, c1, c0, d2, d1, d0, fact.bound, strays=int(not fact.proved))
