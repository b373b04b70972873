"""Row operations of the dense tiles: neighbours in memory, so that the compiler makes vectors of them.

Addresses are turned into pointers once and indexed from there; a loop over plain integer addresses would hide
from the compiler that it walks through memory in order.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


@intrinsic
def _tile_get_f32(typingctx: object, base: types.Type, index: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.FloatType().as_pointer())
        return builder.load(builder.gep(pointer, [args[1]], inbounds=True), align=4)

    return types.float32(types.int64, types.int64), codegen


@intrinsic
def _tile_set_f32(
    typingctx: object, base: types.Type, index: types.Type, value: types.Type
) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.FloatType().as_pointer())
        builder.store(args[2], builder.gep(pointer, [args[1]], inbounds=True), align=4)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(types.int64, types.int64, types.float32), codegen


@njit(nogil=True, error_model="numpy", fastmath={"contract"})
def tile_axpy_f32(out: int, factor: float, row: int, count: int) -> None:
    """`out[i] += factor * row[i]` for `count` elements of f32."""
    for i in range(count):
        _tile_set_f32(out, i, _tile_get_f32(out, i) + factor * _tile_get_f32(row, i))


@njit(nogil=True, error_model="numpy")
def tile_fill_f32(out: int, value: float, count: int) -> None:
    """`out[i] = value` for `count` elements of f32."""
    for i in range(count):
        _tile_set_f32(out, i, value)


@intrinsic
def _tile_get_f64(typingctx: object, base: types.Type, index: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.DoubleType().as_pointer())
        return builder.load(builder.gep(pointer, [args[1]], inbounds=True), align=8)

    return types.float64(types.int64, types.int64), codegen


@intrinsic
def _tile_set_f64(
    typingctx: object, base: types.Type, index: types.Type, value: types.Type
) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.DoubleType().as_pointer())
        builder.store(args[2], builder.gep(pointer, [args[1]], inbounds=True), align=8)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(types.int64, types.int64, types.float64), codegen


@njit(nogil=True, error_model="numpy", fastmath={"contract"})
def tile_axpy_f64(out: int, factor: float, row: int, count: int) -> None:
    """`out[i] += factor * row[i]` for `count` elements of f64."""
    for i in range(count):
        _tile_set_f64(out, i, _tile_get_f64(out, i) + factor * _tile_get_f64(row, i))


@njit(nogil=True, error_model="numpy")
def tile_fill_f64(out: int, value: float, count: int) -> None:
    """`out[i] = value` for `count` elements of f64."""
    for i in range(count):
        _tile_set_f64(out, i, value)


@njit(nogil=True, error_model="numpy", fastmath={"contract"})
def tile_join_f32(out: int, factor: float, row: int, count: int) -> None:
    """`out[c] = out[c] * factor + row[c]`; `out` is doubles, `row` float32."""
    for c in range(count):
        _tile_set_f64(out, c, _tile_get_f64(out, c) * factor + np.float64(_tile_get_f32(row, c)))


@njit(nogil=True, error_model="numpy", fastmath={"contract"})
def tile_join_f64(out: int, factor: float, row: int, count: int) -> None:
    """`out[c] = out[c] * factor + row[c]`; `out` is doubles, `row` doubles."""
    for c in range(count):
        _tile_set_f64(out, c, _tile_get_f64(out, c) * factor + np.float64(_tile_get_f64(row, c)))
