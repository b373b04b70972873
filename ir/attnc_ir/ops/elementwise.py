"""Arithmetic element by element. Shapes broadcast as in NumPy, along dimensions that are the number 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.kinds import EnumKind, attribute, operand
from attnc_ir.op import Op, TypeRuleError, register_op
from attnc_ir.types import DType, Shape, TensorType, Type, format_shape, may_equal, resolve
from attnc_ir.values import Value


def tensor_type(value: Value, at: str) -> TensorType:
    """The tensor type of an operand; `TypeRuleError` when it is a cache."""
    if not isinstance(value.type, TensorType):
        raise TypeRuleError(f"{value} is a cache, not a tensor", at=at, help="read a cache with attend.step")
    return value.type


def broadcast_shapes(shapes: Sequence[Shape]) -> Shape:
    """The common shape of operands; `TypeRuleError` when two sizes disagree and neither is 1."""
    result: list[int | object] = []
    rank = max((len(s) for s in shapes), default=0)
    for axis in range(-rank, 0):
        dims = [s[axis] for s in shapes if len(s) >= -axis]
        size = dims[0]
        for dim in dims[1:]:
            if size == 1 or may_equal(size, dim):
                size = dim if size == 1 else resolve(size, dim)
            elif dim != 1:
                text = " and ".join(format_shape(s) for s in shapes)
                raise TypeRuleError(
                    f"shapes {text} do not broadcast: {size} against {dim}", help="sizes must agree or be 1"
                )
        result.append(size)
    return tuple(result)  # type: ignore[arg-type]  # built from dims only


@dataclass(frozen=True, kw_only=True)
class Elementwise(Op):
    """Base of ops that compute each element from the elements at the same place."""

    def _common(self, *values: Value) -> TensorType:
        types = [tensor_type(v, "") for v in values]
        if len({t.dtype for t in types}) > 1:
            names = ", ".join(f"{v} is {t.dtype}" for v, t in zip(values, types, strict=True))
            raise TypeRuleError(f"element types differ: {names}", help="use convert to make them one")
        return TensorType(types[0].dtype, broadcast_shapes([t.shape for t in types]))


@register_op
@dataclass(frozen=True, kw_only=True)
class Neg(Elementwise):
    """`-x`, exact."""

    mnemonic: ClassVar[str] = "neg"
    x: Value = operand()

    def infer(self) -> tuple[Type, ...]:
        result = self._common(self.x)
        _numeric(result, self)
        return (result,)


def _numeric(result: TensorType, op: Op) -> None:
    if result.dtype is DType.BOOL:
        raise TypeRuleError(f"{op.mnemonic} does not apply to bool", help="use select on a condition")


@dataclass(frozen=True, kw_only=True)
class Binary(Elementwise):
    """Base of two-operand arithmetic: both operands and the result have one element type."""

    left: Value = operand()
    right: Value = operand()

    def infer(self) -> tuple[Type, ...]:
        result = self._common(self.left, self.right)
        _numeric(result, self)
        return (result,)


@register_op
@dataclass(frozen=True, kw_only=True)
class Add(Binary):
    """`left + right`; integers wrap."""

    mnemonic: ClassVar[str] = "add"


@register_op
@dataclass(frozen=True, kw_only=True)
class Sub(Binary):
    """`left - right`; integers wrap."""

    mnemonic: ClassVar[str] = "sub"


@register_op
@dataclass(frozen=True, kw_only=True)
class Mul(Binary):
    """`left * right`; integers wrap."""

    mnemonic: ClassVar[str] = "mul"


@register_op
@dataclass(frozen=True, kw_only=True)
class Div(Binary):
    """`left / right`, floats only, as IEEE divides."""

    mnemonic: ClassVar[str] = "div"

    def infer(self) -> tuple[Type, ...]:
        (result,) = super().infer()
        if not (isinstance(result, TensorType) and result.dtype.is_float):
            raise TypeRuleError("div needs floats", help="convert the operands first")
        return (result,)


@register_op
@dataclass(frozen=True, kw_only=True)
class Minimum(Binary):
    """The smaller one; NaN if either is NaN."""

    mnemonic: ClassVar[str] = "min"


@register_op
@dataclass(frozen=True, kw_only=True)
class Maximum(Binary):
    """The larger one; NaN if either is NaN."""

    mnemonic: ClassVar[str] = "max"


@dataclass(frozen=True, kw_only=True)
class Compare(Elementwise):
    """Base of comparisons: operands of one element type, a bool result."""

    left: Value = operand()
    right: Value = operand()

    def infer(self) -> tuple[Type, ...]:
        return (TensorType(DType.BOOL, self._common(self.left, self.right).shape),)


@register_op
@dataclass(frozen=True, kw_only=True)
class Equal(Compare):
    """`left == right`."""

    mnemonic: ClassVar[str] = "eq"


@register_op
@dataclass(frozen=True, kw_only=True)
class Less(Compare):
    """`left < right`."""

    mnemonic: ClassVar[str] = "lt"


@register_op
@dataclass(frozen=True, kw_only=True)
class LessEqual(Compare):
    """`left <= right`."""

    mnemonic: ClassVar[str] = "le"


@register_op
@dataclass(frozen=True, kw_only=True)
class Select(Elementwise):
    """`then` where `condition` is true, else `otherwise`."""

    mnemonic: ClassVar[str] = "select"
    condition: Value = operand()
    then: Value = operand()
    otherwise: Value = operand()

    def infer(self) -> tuple[Type, ...]:
        condition = tensor_type(self.condition, "condition")
        if condition.dtype is not DType.BOOL:
            raise TypeRuleError(
                f"condition {self.condition} is {condition.dtype}, not bool",
                at="condition",
                help="compare it first",
            )
        branches = self._common(self.then, self.otherwise)
        return (TensorType(branches.dtype, broadcast_shapes([condition.shape, branches.shape])),)


@register_op
@dataclass(frozen=True, kw_only=True)
class Convert(Elementwise):
    """Each element in another type: rounded to nearest even toward floats, truncated toward integers, `!= 0`
    toward bool.

    A float outside the integer's range, or NaN, becomes the integer's lowest value.
    """

    mnemonic: ClassVar[str] = "convert"
    x: Value = operand()
    to: DType = attribute(EnumKind(DType))

    def infer(self) -> tuple[Type, ...]:
        return (TensorType(self.to, tensor_type(self.x, "x").shape),)
