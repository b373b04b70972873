"""Caches: sequences of key and value rows that grow from step to step.

A cache is an SSA value like any other: `cache` names it as it stands before the step, `append` gives the
version with one row more. Execution updates in place, so a version may be read only above the `append` that
continues it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.kinds import SHAPE, TYPE, attribute, operand
from attnc_ir.op import Op, OpReport, TypeRuleError, register_op
from attnc_ir.ops.elementwise import tensor_type
from attnc_ir.types import CacheType, Shape, TensorType, Type, may_equal
from attnc_ir.values import Value


@register_op
@dataclass(frozen=True, kw_only=True)
class Cache(Op):
    """A cache that the graph owns: empty in a fresh state, then whatever earlier steps appended.

    `heads` are its leading dimensions (batch x key heads, key heads, or none), `key` and `value` the types of
    one row.
    """

    mnemonic: ClassVar[str] = "cache"
    pure: ClassVar[bool] = False
    heads: Shape = attribute(SHAPE)
    key: TensorType = attribute(TYPE)
    value: TensorType = attribute(TYPE)

    def infer(self) -> tuple[Type, ...]:
        return (CacheType(self.heads, self.key, self.value),)

    def verify(self, report: OpReport) -> None:
        if len(self.heads) > 2:
            report.error(
                f"{len(self.heads)} head dimensions", at="heads", help="at most two: batch and heads"
            )
        for name, row in (("key", self.key), ("value", self.value)):
            if row.rank != 1 or not isinstance(row.shape[0], int):
                report.error(
                    f"a {name} row is {row}", at=name, help="one dimension, its size a number, such as f64[2]"
                )
            elif not row.dtype.is_float:
                report.error(f"a {name} row of {row.dtype}", at=name, help="use f64, f32, f16 or bf16")


@register_op
@dataclass(frozen=True, kw_only=True)
class Append(Op):
    """The cache with one more row per head: `key` and `value` have the cache's heads as leading dimensions.

    A key that is not finite is refused when the graph runs; the state then stays as it was before the step.
    """

    mnemonic: ClassVar[str] = "append"
    pure: ClassVar[bool] = False
    cache: Value = operand()
    key: Value = operand()
    value: Value = operand()

    def infer(self) -> tuple[Type, ...]:
        kind = cache_type(self.cache)
        for name, value, row in (("key", self.key, kind.key), ("value", self.value, kind.value)):
            given = tensor_type(value, name)
            wanted = TensorType(row.dtype, (*kind.heads, *row.shape))
            fits = given.rank == wanted.rank and all(map(may_equal, given.shape, wanted.shape))
            if given.dtype is not wanted.dtype or not fits:
                raise TypeRuleError(f"{name} {value} is {given}, the cache takes {wanted}", at=name)
        return (kind,)


def cache_type(value: Value, at: str = "cache") -> CacheType:
    """The cache type of an operand; `TypeRuleError` when it is a tensor."""
    if not isinstance(value.type, CacheType):
        raise TypeRuleError(
            f"{value} is {value.type}, not a cache",
            at=at,
            help="make one with: %c = cache {heads = ..., key = ..., value = ...}",
        )
    return value.type
