"""Sixty-four doubles at a time: comparisons that return a bit per lane, for counting in short sorted arrays.

Arrays are followed by something readable: lanes past their end are masked away, not skipped, so that branches
do not depend on the length.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


@intrinsic
def _lanes_at_most(typingctx: object, address: types.Type, x: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        i32, i64, row = ir.IntType(32), ir.IntType(64), ir.VectorType(ir.DoubleType(), 8)
        first = builder.insert_element(ir.Constant(row, ir.Undefined), args[1], i32(0))
        spread = builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(i32, 8), [0] * 8))
        total = i64(0)
        for index in range(8):
            at = builder.inttoptr(builder.add(args[0], i64(64 * index)), row.as_pointer())
            bits = builder.fcmp_ordered("<=", builder.load(at, align=1), spread)
            bits = builder.zext(builder.bitcast(bits, ir.IntType(8)), i64)
            total = builder.or_(total, builder.shl(bits, i64(8 * index)))
        return total

    return types.int64(types.int64, types.float64), codegen


@njit(nogil=True, error_model="numpy")
def lanes_at_most(address: int, x: float) -> int:
    """Bit i says whether the double at address + 8 * i is at most `x`, for 64 of them."""
    return _lanes_at_most(address, x)


@intrinsic
def _lanes_above(typingctx: object, address: types.Type, x: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        i32, i64, row = ir.IntType(32), ir.IntType(64), ir.VectorType(ir.DoubleType(), 8)
        first = builder.insert_element(ir.Constant(row, ir.Undefined), args[1], i32(0))
        spread = builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(i32, 8), [0] * 8))
        total = i64(0)
        for index in range(8):
            at = builder.inttoptr(builder.add(args[0], i64(64 * index)), row.as_pointer())
            bits = builder.fcmp_ordered(">", builder.load(at, align=1), spread)
            bits = builder.zext(builder.bitcast(bits, ir.IntType(8)), i64)
            total = builder.or_(total, builder.shl(bits, i64(8 * index)))
        return total

    return types.int64(types.int64, types.float64), codegen


@njit(nogil=True, error_model="numpy")
def lanes_above(address: int, x: float) -> int:
    """Bit i says whether the double at address + 8 * i is above `x`, for 64 of them."""
    return _lanes_above(address, x)


@intrinsic
def _lanes_rising(
    typingctx: object, xs: types.Type, ys: types.Type, qx: types.Type, qy: types.Type
) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        i32, i64, row = ir.IntType(32), ir.IntType(64), ir.VectorType(ir.DoubleType(), 8)

        def spread(value: ir.Value) -> ir.Value:
            first = builder.insert_element(ir.Constant(row, ir.Undefined), value, i32(0))
            return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(i32, 8), [0] * 8))

        def load(address: ir.Value, offset: int) -> ir.Value:
            at = builder.inttoptr(builder.add(address, i64(offset)), row.as_pointer())
            return builder.load(at, align=1)

        qx, qy = spread(args[2]), spread(args[3])
        total = i64(0)
        for index in range(8):
            dx = builder.fsub(load(args[0], 64 * index + 8), load(args[0], 64 * index))
            dy = builder.fsub(load(args[1], 64 * index + 8), load(args[1], 64 * index))
            rise = builder.fadd(builder.fmul(dx, qx), builder.fmul(dy, qy))
            bits = builder.fcmp_ordered(">", rise, ir.Constant(row, [0.0] * 8))
            bits = builder.zext(builder.bitcast(bits, ir.IntType(8)), i64)
            total = builder.or_(total, builder.shl(bits, i64(8 * index)))
        return total

    return types.int64(types.int64, types.int64, types.float64, types.float64), codegen


@njit(nogil=True, error_model="numpy")
def lanes_rising(xs: int, ys: int, qx: float, qy: float) -> int:
    """Bit i says whether qx * x + qy * y rises, in doubles, from point i to i + 1, for 64 points.

    Coordinates are doubles side by side from `xs` and from `ys`; 65 of each are read.
    """
    return _lanes_rising(xs, ys, qx, qy)


@intrinsic
def _bit_count(typingctx: object, bits: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.ctpop(args[0])

    return types.int64(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def bit_count(bits: int) -> int:
    """How many bits are set."""
    return _bit_count(bits)


@njit(nogil=True, error_model="numpy")
def _low_bits(bits: int, count: int) -> int:
    """How many of the lowest `count` bits, 0 to 64 of them, are set."""
    if count < 64:
        bits &= (1 << count) - 1
    return bit_count(bits)


@njit(nogil=True, error_model="numpy")
def count_at_most(address: int, count: int, x: float) -> int:
    """How many of `count` doubles, up to 64, are at most `x`; 64 are read."""
    return _low_bits(lanes_at_most(address, x), count)


@njit(nogil=True, error_model="numpy")
def count_above(address: int, count: int, x: float) -> int:
    """How many of `count` doubles, up to 64, are above `x`; 64 are read."""
    return _low_bits(lanes_above(address, x), count)


@njit(nogil=True, error_model="numpy")
def count_rising(xs: int, ys: int, count: int, qx: float, qy: float) -> int:
    """How many of the `count` steps, up to 64, from point to point rise; 65 points are read."""
    return _low_bits(lanes_rising(xs, ys, qx, qy), count)
