"""Ops without operands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.kinds import FLOAT, TYPE, IntKind, TupleKind, attribute
from attnc_ir.op import Op, OpReport, TypeRuleError, register_op
from attnc_ir.ops.shape import normalized_axis
from attnc_ir.types import DType, TensorType, Type


@register_op
@dataclass(frozen=True, kw_only=True)
class Constant(Op):
    """A tensor written out: as many `values` as elements in row-major order, or one for all of them."""

    mnemonic: ClassVar[str] = "constant"
    type: TensorType = attribute(TYPE)
    values: tuple[float, ...] = attribute(TupleKind(FLOAT))

    def infer(self) -> tuple[Type, ...]:
        return (self.type,)

    def verify(self, report: OpReport) -> None:
        if len(self.values) != 1:
            if not all(isinstance(d, int) for d in self.type.shape):
                report.error(
                    f"{self.type} has an open size", at="values", help="give one value for all elements"
                )
                return
            count = math.prod(d for d in self.type.shape if isinstance(d, int))
            if count != len(self.values):
                report.error(
                    f"{self.type} has {count} elements, {len(self.values)} values are given", at="values"
                )
        if not self.type.dtype.is_float:
            for value in self.values:
                if not math.isfinite(value) or value != int(value) or not self._fits(int(value)):
                    report.error(
                        f"{value} is not of type {self.type.dtype}", at="values", help="use a float type"
                    )
                    return

    def _fits(self, value: int) -> bool:
        # Values are kept as doubles, which are exact for integers up to 2**53 only.
        limit = {DType.BOOL: (0, 1), DType.I32: (-(2**31), 2**31 - 1)}.get(self.type.dtype, (-(2**53), 2**53))
        return limit[0] <= value <= limit[1]


@register_op
@dataclass(frozen=True, kw_only=True)
class Iota(Op):
    """The index along `axis`, as a number: 0, 1, 2, ..."""

    mnemonic: ClassVar[str] = "iota"
    type: TensorType = attribute(TYPE)
    axis: int = attribute(IntKind(-16, 15), default=-1)

    def infer(self) -> tuple[Type, ...]:
        normalized_axis(self.axis, self.type.rank)
        if self.type.dtype is DType.BOOL:
            raise TypeRuleError("iota counts, bool does not", at="type", help="use i64 or a float type")
        return (self.type,)
