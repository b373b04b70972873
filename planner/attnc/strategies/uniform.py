"""`uniform`: all scores of a row are equal, so the whole allowed range ties.

The first or last allowed position is the answer, or the mean of the range, which is followed from row to row.
"""

from __future__ import annotations

from typing import ClassVar

from attnc.facts import Fact, Facts
from attnc.machine import Machine
from attnc.plan import Cost
from attnc.strategies.base import Judge, Sizes, overhead, register_strategy, rows_of
from attnc.strategies.dense import append_bytes, key_bytes
from attnc.strategies.grounds import EXACT_ADDITION, constant_scores, keys_reached, range_reasons
from attnc_ir.attributes.normalizer import Hardmax, Tie
from attnc_ir.attributes.strategy import Strategy, Uniform
from attnc_ir.ops import AttendStep, AttentionOp
from attnc_ir.types import DType


@register_strategy
class UniformJudge(Judge):
    """Cost terms: `sum` flops of the values that enter a mean, `value` bytes written, `keys` bytes (each
    is checked once), `call`.
    """

    noun: ClassVar[type[Strategy]] = Uniform

    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        reasons = list(range_reasons(node, "a uniform score"))
        if constant_scores(node, facts) is None:
            reasons.append(
                "scores are not provably equal: the query is not known to be zero, "
                "nor the keys to be the same all along"
            )
        return tuple(reasons)

    def grounds(self, node: AttentionOp, facts: Facts) -> tuple[Fact, ...]:
        return constant_scores(node, facts) or ()

    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        rows, heads, queries = rows_of(node, sizes)
        width = sizes.width(node.geometry.value_width)
        value = width * node.value_type.dtype.itemsize
        entering = heads if isinstance(node, AttendStep) else heads * keys_reached(node, queries, length)
        terms = []
        if isinstance(node.normalizer, Hardmax) and node.normalizer.tie is Tie.MEAN:
            terms.append(("sum", entering * width * EXACT_ADDITION * machine.flop(DType.F64)))
        terms += [
            ("value", rows * value * machine.byte),
            ("call", overhead(node, machine)),
        ]
        if not isinstance(node, AttendStep):  # a step has just written the one key that is new
            terms.append(("keys", entering * key_bytes(node, sizes) * machine.byte))
        return Cost(tuple(terms), append_bytes(node, heads, machine, sizes))
