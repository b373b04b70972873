"""Code for the ops that compute or move elements: one loop nest over the result."""

from __future__ import annotations

import math

from attnc_backends.numba.access import GraphContext, copy_element, load, store
from attnc_backends.numba.source import Function
from attnc_ir import ops
from attnc_ir.op import Op
from attnc_ir.types import DType
from attnc_ir.values import Value

_INFIX = {ops.Add: "{} + {}", ops.Sub: "{} - {}", ops.Mul: "{} * {}", ops.Div: "{} / {}", ops.Equal: "{} == {}",
          ops.Less: "{} < {}", ops.LessEqual: "{} <= {}", ops.Minimum: "minimum({}, {})", ops.Maximum: "maximum({}, {})"}  # fmt: skip
_INT_RANGE = {DType.I64: (-(2**63), 2**63), DType.I32: (-(2**31), 2**31)}


def emit_elementwise(context: GraphContext, op: Op, name: str) -> str:
    """The source of `name(frame, t, worker, workers)`, which computes `op`'s result. Returns 0; needs no
    scratch.
    """
    f = context.function(
        name, "worker", "workers", doc=f"{op.mnemonic} -> {op.results[0]}: {op.results[0].type}"
    )
    # Every op function answers workers == 0 with the scratch bytes it needs.
    with f.block("if workers == 0"):
        f.line("return 0")
    (result,) = op.results
    rank = result.tensor.rank
    indices = [f"i{axis}" for axis in range(rank)]
    if rank == 0:
        with f.block("if worker == 0"):
            _element(context, f, op, result, indices)
    else:
        size = context.dim_of(f, result, 0)
        f.line(f"first = {size} * worker // workers")
        f.line(f"last = {size} * (worker + 1) // workers")
        _nest(context, f, op, result, indices, 0)
    f.line("return 0")
    return f.text()


def _nest(context: GraphContext, f: Function, op: Op, result: Value, indices: list[str], axis: int) -> None:
    if axis == len(indices):
        _element(context, f, op, result, indices)
        return
    bounds = "first, last" if axis == 0 else context.dim_of(f, result, axis)
    with f.block(f"for {indices[axis]} in range({bounds})"):
        _nest(context, f, op, result, indices, axis + 1)


def _element(context: GraphContext, f: Function, op: Op, result: Value, indices: list[str]) -> None:
    """Statements that compute one element of the result at `indices`."""
    target = context.element(f, result, indices)
    dtype = result.tensor.dtype

    def read(value: Value) -> str:
        return load(value.tensor.dtype, context.element(f, value, indices))

    match op:
        case ops.Constant(values=(single,)):
            f.line(store(dtype, target, literal(single)))
        case ops.Constant():
            f.line(
                store(
                    dtype,
                    target,
                    load(
                        DType.F64, f"{f.slot(constant_slot(op))} + 8 * ({_flat(context, f, result, indices)})"
                    ),
                )
            )
        case ops.Iota(axis=axis):
            f.line(store(dtype, target, indices[axis % len(indices)]))
        case ops.Neg(x=x):
            f.line(store(dtype, target, f"-{read(x)}"))
        case ops.Binary(left=left, right=right) | ops.Compare(left=left, right=right):
            f.line(store(dtype, target, _INFIX[type(op)].format(read(left), read(right))))
        case ops.Select(condition=condition, then=then, otherwise=otherwise):
            with f.block(f"if {read(condition)}"):
                f.line(_copy(context, f, then, result, indices))
            with f.block("else"):
                f.line(_copy(context, f, otherwise, result, indices))
        case ops.Convert(x=x):
            f.line(store(dtype, target, converted(read(x), x.tensor.dtype, dtype)))
        case ops.Broadcast(x=x):
            f.line(_copy(context, f, x, result, indices))
        case ops.Slice(x=x, start=start, axis=axis):
            moved = list(indices)
            moved[axis % len(indices)] = f"({indices[axis % len(indices)]} + {start})"
            f.line(f"{copy_element(dtype.itemsize, target, _exact_element(context, f, x, moved))}")
        case ops.Concat(parts=parts, axis=axis):
            _concat(context, f, parts, result, indices, axis % len(indices))
        case _:
            raise AssertionError(op.mnemonic)


def _copy(context: GraphContext, f: Function, source: Value, result: Value, indices: list[str]) -> str:
    return copy_element(
        result.tensor.dtype.itemsize, context.element(f, result, indices), context.element(f, source, indices)
    )


def _exact_element(context: GraphContext, f: Function, value: Value, indices: list[str]) -> str:
    """The address of an element by its full index, axes of size 1 included: an offset into them is always 0
    anyway.
    """
    return context.element(f, value, indices)


def _concat(
    context: GraphContext, f: Function, parts: tuple[Value, ...], result: Value, indices: list[str], axis: int
) -> None:
    start = 0
    itemsize = result.tensor.dtype.itemsize
    target = context.element(f, result, indices)
    for number, part in enumerate(parts):
        size = part.tensor.shape[axis]
        assert isinstance(size, int)
        moved = list(indices)
        moved[axis] = f"({indices[axis]} - {start})"
        with f.block(f"{'if' if number == 0 else 'elif'} {indices[axis]} < {start + size}"):
            f.line(copy_element(itemsize, target, context.element(f, part, moved)))
        start += size


def _flat(context: GraphContext, f: Function, result: Value, indices: list[str]) -> str:
    """The row-major number of an element."""
    text = "0"
    for axis, index in enumerate(indices):
        text = index if axis == 0 else f"({text}) * {context.dim_of(f, result, axis)} + {index}"
    return text


def constant_slot(op: ops.Constant) -> str:
    """The frame slot with the address of a written-out constant's doubles."""
    return f"c_{op.results[0].name}"


def literal(value: float) -> str:
    """A double as source text; only digits, point, sign and exponent, or a name from `math`."""
    if math.isnan(value):
        return "math.nan"
    if math.isinf(value):
        return "math.inf" if value > 0 else "-math.inf"
    return repr(float(value))


def converted(text: str, source: DType, target: DType) -> str:
    """The value `text` of type `source` as `target`, before the store rounds it."""
    if target is DType.BOOL:
        return f"({text} != 0)"
    if target.is_int and source.is_float:
        low, high = _INT_RANGE[target]
        return f"truncate({text}, {float(low)!r}, {float(high)!r}, {low})"
    if source is DType.BOOL:
        return f"np.int64({text})"
    if source.is_int and target is DType.BF16:
        return f"integer_to_odd({text})"
    return text
