"""Eight doubles at a time: comparisons that return a bit per lane, for counting in short sorted arrays.

Arrays are followed by something readable: lanes past their end are masked away, not skipped.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from attnc_backends.numba.runtime.vector import vec_add, vec_f64, vec_fill, vec_load, vec_mul, vec_sub
from attnc_backends.numba.runtime.vector_lanes import vec_at_least, vec_bits, vec_less


@njit(nogil=True, error_model="numpy")
def lanes_at_most(address: int, x: float) -> int:
    """Bit i says whether the double at address + 8 * i is at most `x`, for eight of them."""
    like = vec_f64(8)
    return vec_bits(vec_at_least(vec_fill(x, like), vec_load(address, like)))


@njit(nogil=True, error_model="numpy")
def lanes_above(address: int, x: float) -> int:
    """Bit i says whether the double at address + 8 * i is above `x`, for eight of them."""
    like = vec_f64(8)
    return vec_bits(vec_less(vec_fill(x, like), vec_load(address, like)))


@njit(nogil=True, error_model="numpy")
def lanes_rising(xs: int, ys: int, qx: float, qy: float) -> int:
    """Bit i says whether qx * x + qy * y rises, in doubles, from point i to i + 1, for eight points.

    Coordinates are doubles side by side from `xs` and from `ys`; nine of each are read.
    """
    zeros = vec_f64(8)
    across = vec_sub(vec_load(xs + 8, zeros), vec_load(xs, zeros))
    up = vec_sub(vec_load(ys + 8, zeros), vec_load(ys, zeros))
    rise = vec_add(vec_mul(across, vec_fill(qx, zeros)), vec_mul(up, vec_fill(qy, zeros)))
    return vec_bits(vec_less(zeros, rise))


@intrinsic
def _bit_count(typingctx: object, bits: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.ctpop(args[0])

    return types.int64(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def bit_count(bits: int) -> int:
    """How many bits are set."""
    return _bit_count(bits)


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
def count_rising(xs: int, ys: int, count: int, upto: int, qx: float, qy: float) -> int:
    """How many of the `count` steps, up to 64, from a point to the next rise in doubles. `upto` steps are
    looked at, rounded up to eights: `count`, or 64 where branches had better not depend on it.
    """
    bits = lanes_rising(xs, ys, qx, qy)
    for index in range(8, upto, 8):
        bits |= lanes_rising(xs + 8 * index, ys + 8 * index, qx, qy) << index
    return _low_bits(bits, count)
