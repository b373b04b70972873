"""Eight doubles at a time: comparisons that return a bit per lane, for counting in short sorted arrays.

Arrays are followed by something readable: lanes past their end are masked away, not skipped.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


@intrinsic
def _lanes_at_most(typingctx: object, address: types.Type, x: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        row = ir.VectorType(ir.DoubleType(), 8)
        lanes = builder.load(builder.inttoptr(args[0], row.as_pointer()), align=1)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
        first = builder.insert_element(ir.Constant(row, ir.Undefined), args[1], ir.IntType(32)(0))
        bits = builder.fcmp_ordered("<=", lanes, builder.shuffle_vector(first, first, zeros))
        return builder.zext(builder.bitcast(bits, ir.IntType(8)), ir.IntType(64))

    return types.int64(types.int64, types.float64), codegen


@njit(nogil=True, error_model="numpy")
def lanes_at_most(address: int, x: float) -> int:
    """Bit i says whether the double at address + 8 * i is at most `x`, for eight of them."""
    return _lanes_at_most(address, x)


@intrinsic
def _lanes_above(typingctx: object, address: types.Type, x: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        row = ir.VectorType(ir.DoubleType(), 8)
        lanes = builder.load(builder.inttoptr(args[0], row.as_pointer()), align=1)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
        first = builder.insert_element(ir.Constant(row, ir.Undefined), args[1], ir.IntType(32)(0))
        bits = builder.fcmp_ordered(">", lanes, builder.shuffle_vector(first, first, zeros))
        return builder.zext(builder.bitcast(bits, ir.IntType(8)), ir.IntType(64))

    return types.int64(types.int64, types.float64), codegen


@njit(nogil=True, error_model="numpy")
def lanes_above(address: int, x: float) -> int:
    """Bit i says whether the double at address + 8 * i is above `x`, for eight of them."""
    return _lanes_above(address, x)


@intrinsic
def _lanes_rising(
    typingctx: object, xs: types.Type, ys: types.Type, qx: types.Type, qy: types.Type
) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        row = ir.VectorType(ir.DoubleType(), 8)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)

        def spread(value: ir.Value) -> ir.Value:
            first = builder.insert_element(ir.Constant(row, ir.Undefined), value, ir.IntType(32)(0))
            return builder.shuffle_vector(first, first, zeros)

        def step(address: ir.Value) -> ir.Value:
            here = builder.load(builder.inttoptr(address, row.as_pointer()), align=1)
            after = builder.add(address, ir.IntType(64)(8))
            there = builder.load(builder.inttoptr(after, row.as_pointer()), align=1)
            return builder.fsub(there, here)

        rise = builder.fadd(
            builder.fmul(step(args[0]), spread(args[2])), builder.fmul(step(args[1]), spread(args[3]))
        )
        bits = builder.fcmp_ordered(">", rise, ir.Constant(row, [0.0] * 8))
        return builder.zext(builder.bitcast(bits, ir.IntType(8)), ir.IntType(64))

    return types.int64(types.int64, types.int64, types.float64, types.float64), codegen


@njit(nogil=True, error_model="numpy")
def lanes_rising(xs: int, ys: int, qx: float, qy: float) -> int:
    """Bit i says whether qx * x + qy * y rises, in doubles, from point i to i + 1, for eight points.

    Coordinates are doubles side by side from `xs` and from `ys`; nine of each are read.
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


@intrinsic
def _prefetch(typingctx: object, address: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = ir.IntType(8).as_pointer()
        i32 = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32])
        name = "llvm.prefetch.p0i8"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        builder.call(function, [builder.inttoptr(args[0], pointer), i32(0), i32(3), i32(1)])
        return ir.Constant(pointer, None)  # no value

    return types.void(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def prefetch(address: int) -> None:
    """Ask for the cache line at `address`, which need not be valid."""
    _prefetch(address)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _low_bits(bits: int, count: int) -> int:
    """How many of the lowest `count` bits, 0 to 64 of them, are set."""
    if count < 64:
        bits &= (1 << count) - 1
    return bit_count(bits)


# Loops have one of two fixed lengths, so that branches do not depend on the count: whole arrays of 64 are
# readable, and bits past the count are masked away.


@njit(nogil=True, error_model="numpy", forceinline=True)
def count_at_most(address: int, count: int, x: float) -> int:
    """How many of `count` doubles, up to 64, are at most `x`; 64 are read."""
    bits = lanes_at_most(address, x)
    if count > 8:
        for index in range(8, 64, 8):
            bits |= lanes_at_most(address + 8 * index, x) << index
    return _low_bits(bits, count)


@njit(nogil=True, error_model="numpy", forceinline=True)
def count_above(address: int, count: int, x: float) -> int:
    """How many of `count` doubles, up to 64, are above `x`; 64 are read."""
    bits = lanes_above(address, x)
    if count > 8:
        for index in range(8, 64, 8):
            bits |= lanes_above(address + 8 * index, x) << index
    return _low_bits(bits, count)


@njit(nogil=True, error_model="numpy", forceinline=True)
def count_rising(xs: int, ys: int, count: int, qx: float, qy: float) -> int:
    """How many of the `count` steps, up to 64, from a point to the next rise in doubles; reads 65 points."""
    bits = lanes_rising(xs, ys, qx, qy)
    if count > 8:
        for index in range(8, 64, 8):
            bits |= lanes_rising(xs + 8 * index, ys + 8 * index, qx, qy) << index
    return _low_bits(bits, count)
