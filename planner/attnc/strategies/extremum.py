"""`extremum`: keys of width 1, where the best key is the largest or the smallest one that is allowed.

A positive query looks for the largest key, a negative one for the smallest, and under a zero query all tie.
Both extremes are followed from row to row, by a monotone queue where a window lets positions go.
"""

from __future__ import annotations

from typing import ClassVar

from attnc.facts import Facts
from attnc.machine import Machine
from attnc.plan import Cost
from attnc.strategies.base import Judge, Sizes, overhead, register_strategy, rows_of
from attnc.strategies.dense import append_bytes, key_bytes
from attnc.strategies.grounds import EXACT_ADDITION, keys_reached, range_reasons
from attnc_ir.attributes.normalizer import Hardmax, Tie
from attnc_ir.attributes.strategy import Extremum, Strategy
from attnc_ir.ops import AttendStep, AttentionOp
from attnc_ir.types import DType


@register_strategy
class ExtremumJudge(Judge):
    """Cost terms: `follow` (one comparison for each key that enters), `sum` flops of values that tie,
    `value` bytes written, `keys` bytes, `call`.
    """

    noun: ClassVar[type[Strategy]] = Extremum

    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        reasons = list(range_reasons(node, "an extremum"))
        width = node.geometry.key_width
        if width != 1:
            reasons.append(f"keys have width {width}, and only numbers have an extremum")
        return tuple(reasons)

    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        rows, heads, queries = rows_of(node, sizes)
        width = sizes.width(node.geometry.value_width)
        value = width * node.value_type.dtype.itemsize
        entering = heads if isinstance(node, AttendStep) else heads * keys_reached(node, queries, length)
        terms = [("follow", entering * machine.compare)]
        if isinstance(node.normalizer, Hardmax) and node.normalizer.tie is Tie.MEAN:
            # Ties are few; one value row for each query position stands for them.
            terms.append(("sum", heads * queries * width * EXACT_ADDITION * machine.flop(DType.F64)))
        terms += [
            ("value", rows * value * machine.byte),
            ("call", overhead(node, machine)),
        ]
        if not isinstance(node, AttendStep):  # a step has just written the one key that is new
            terms.append(("keys", entering * key_bytes(node, sizes) * machine.byte))
        return Cost(tuple(terms), append_bytes(node, heads, machine, sizes))
