"""Ops that move elements and compute nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.kinds import SHAPE, IntKind, attribute, operand, operands
from attnc_ir.op import Op, TypeRuleError, register_op
from attnc_ir.ops.elementwise import broadcast_shapes, tensor_type
from attnc_ir.types import MAX_DIM, Shape, Type, format_shape, may_equal
from attnc_ir.values import Value

_AXIS = IntKind(-16, 15)
_SIZE = IntKind(0, MAX_DIM)


def normalized_axis(axis: int, rank: int) -> int:
    """A non-negative axis; `TypeRuleError` when it lies outside the rank."""
    if not -rank <= axis < rank:
        raise TypeRuleError(
            f"axis {axis} is outside rank {rank}", at="axis", help=f"use {-rank} to {rank - 1}"
        )
    return axis % rank


@register_op
@dataclass(frozen=True, kw_only=True)
class Concat(Op):
    """Tensors one after the other along `axis`; their sizes there must be numbers, elsewhere equal."""

    mnemonic: ClassVar[str] = "concat"
    parts: tuple[Value, ...] = operands()
    axis: int = attribute(_AXIS, default=-1)

    def infer(self) -> tuple[Type, ...]:
        if not self.parts:
            raise TypeRuleError("concat of nothing", help="give it at least one operand")
        types = [tensor_type(v, "parts") for v in self.parts]
        first = types[0]
        axis = normalized_axis(self.axis, first.rank)
        shape = list(first.shape)
        total = 0
        for value, kind in zip(self.parts, types, strict=True):
            if kind.dtype is not first.dtype or kind.rank != first.rank:
                raise TypeRuleError(
                    f"{value} is {kind}, {self.parts[0]} is {first}", help="parts share element type and rank"
                )
            for other, dim in enumerate(kind.shape):
                if other != axis and not may_equal(dim, shape[other]):
                    raise TypeRuleError(
                        f"{value} has shape {format_shape(kind.shape)}, "
                        f"expected {shape[other]} at axis {other}"
                    )
            size = kind.shape[axis]
            if not isinstance(size, int):
                raise TypeRuleError(
                    f"{value} has the open size {size} along axis {axis}", help="concat needs numbers there"
                )
            total += size
        if total > MAX_DIM:
            raise TypeRuleError(f"concat gives {total} elements along axis {axis}", help="at most 2**40")
        shape[axis] = total
        return (first.with_shape(tuple(shape)),)


@register_op
@dataclass(frozen=True, kw_only=True)
class Slice(Op):
    """The elements `start <= index < stop` along `axis`, where the size must be a number."""

    mnemonic: ClassVar[str] = "slice"
    x: Value = operand()
    start: int = attribute(_SIZE)
    stop: int = attribute(_SIZE)
    axis: int = attribute(_AXIS, default=-1)

    def infer(self) -> tuple[Type, ...]:
        kind = tensor_type(self.x, "x")
        axis = normalized_axis(self.axis, kind.rank)
        size = kind.shape[axis]
        if not isinstance(size, int):
            raise TypeRuleError(
                f"{self.x} has the open size {size} along axis {axis}",
                at="axis",
                help="slice needs a number there",
            )
        if not self.start <= self.stop <= size:
            raise TypeRuleError(
                f"slice {self.start} to {self.stop} of {size} elements",
                at="stop",
                help="0 <= start <= stop <= size",
            )
        shape = list(kind.shape)
        shape[axis] = self.stop - self.start
        return (kind.with_shape(tuple(shape)),)


@register_op
@dataclass(frozen=True, kw_only=True)
class Broadcast(Op):
    """The tensor repeated to `shape`: sizes of 1 stretch, and leading dimensions are added."""

    mnemonic: ClassVar[str] = "broadcast"
    x: Value = operand()
    shape: Shape = attribute(SHAPE)

    def infer(self) -> tuple[Type, ...]:
        kind = tensor_type(self.x, "x")
        if kind.rank > len(self.shape) or broadcast_shapes([kind.shape, self.shape]) != self.shape:
            raise TypeRuleError(
                f"{self.x} has shape {format_shape(kind.shape)}, "
                f"which does not stretch to {format_shape(self.shape)}",
                at="shape",
                help="only sizes of 1 stretch",
            )
        return (kind.with_shape(self.shape),)
