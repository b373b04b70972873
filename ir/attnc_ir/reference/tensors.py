"""Ops on whole tensors: constants, arithmetic element by element, and moving elements."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from attnc_ir.arguments import Bound
from attnc_ir.errors import ArgumentError
from attnc_ir.op import Op
from attnc_ir.ops import (
    Add,
    Broadcast,
    Compare,
    Concat,
    Constant,
    Convert,
    Div,
    Equal,
    Iota,
    Less,
    LessEqual,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Select,
    Slice,
    Sub,
)
from attnc_ir.ops import Binary as BinaryOp
from attnc_ir.storage import NUMPY, Array, convert, from_float64
from attnc_ir.types import UNKNOWN, DType, TensorType
from attnc_ir.values import Value

_ARITHMETIC: dict[type[Op], Callable[..., Any]] = {
    Add: np.add,
    Sub: np.subtract,
    Mul: np.multiply,
    Div: np.divide,
    Minimum: np.minimum,
    Maximum: np.maximum,
    Equal: np.equal,
    Less: np.less,
    LessEqual: np.less_equal,
}


def evaluate(op: Op, values: Mapping[str, Array], bound: Bound, where: str) -> Array:
    """The result of an op that is neither attention nor state. `where` opens error messages."""
    try:
        with np.errstate(all="ignore"):
            return np.asarray(_evaluate(op, values, bound))
    except (ValueError, KeyError) as error:
        # Only sizes that the graph leaves open can still disagree here.
        raise ArgumentError(
            f"{where}{op.results[0]}: {op.mnemonic} does not fit the sizes given: {error}"
        ) from None


def _evaluate(op: Op, values: Mapping[str, Array], bound: Bound) -> Any:
    match op:
        case Constant():
            return _constant(op.type, op.values, bound)
        case Iota():
            shape = bound.shape(op.type.shape)
            axis = op.axis % len(shape)
            counts = np.arange(shape[axis], dtype=np.int64)
            along = counts.reshape([-1 if a == axis else 1 for a in range(len(shape))])
            return np.broadcast_to(convert(along, DType.I64, op.type.dtype), shape)
        case Neg():
            x = values[op.x.name]
            # bf16 is held as bits, where the sign is the highest.
            return x ^ np.uint16(0x8000) if op.x.tensor.dtype is DType.BF16 else -x
        case Compare():
            return _ARITHMETIC[type(op)](_wide(op.left, values), _wide(op.right, values))
        case BinaryOp():
            return _narrow(
                _ARITHMETIC[type(op)](_wide(op.left, values), _wide(op.right, values)), op.left.tensor.dtype
            )
        case Select():
            return np.where(values[op.condition.name], values[op.then.name], values[op.otherwise.name])
        case Convert():
            return convert(values[op.x.name], op.x.tensor.dtype, op.to)
        case Concat():
            return np.concatenate([values[part.name] for part in op.parts], axis=op.axis)
        case Slice():
            x = values[op.x.name]
            index = [slice(None)] * x.ndim
            index[op.axis] = slice(op.start, op.stop)
            return x[tuple(index)]
        case Broadcast():
            x = values[op.x.name]
            own = (1,) * (len(op.shape) - x.ndim) + x.shape
            shape = tuple(n if d == UNKNOWN else bound.size(d) for d, n in zip(op.shape, own, strict=True))
            return np.broadcast_to(x, shape)
        case _:
            raise AssertionError(f"no rule for {op.mnemonic}")


def _wide(value: Value, values: Mapping[str, Array]) -> Array:
    """What arithmetic runs on: f16 and bf16 as f32, everything else as it is stored."""
    dtype = value.tensor.dtype
    return (
        convert(values[value.name], dtype, DType.F32)
        if dtype in (DType.F16, DType.BF16)
        else values[value.name]
    )


def _narrow(result: Array, dtype: DType) -> Array:
    return convert(result, DType.F32, dtype) if dtype in (DType.F16, DType.BF16) else result


def _constant(kind: TensorType, numbers: tuple[float, ...], bound: Bound) -> Array:
    flat = (
        from_float64(numbers, kind.dtype)
        if kind.dtype.is_float
        else np.array([int(n) for n in numbers], NUMPY[kind.dtype])
    )
    shape = bound.shape(kind.shape)
    return np.broadcast_to(flat[0], shape) if len(numbers) == 1 else flat.reshape(shape)
