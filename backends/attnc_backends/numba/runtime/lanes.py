"""Eight doubles at a time: comparisons that return a bit per lane, for counting in short sorted arrays.

Arrays are followed by something readable: lanes past their end are masked away, not skipped.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from attnc_backends.numba.runtime.exact import FILTER_BOUND, FILTER_UNDERFLOW
from attnc_backends.numba.runtime.vector import (
    vec_abs,
    vec_add,
    vec_f64,
    vec_fill,
    vec_load,
    vec_mul,
    vec_muladd,
    vec_sub,
)
from attnc_backends.numba.runtime.vector_lanes import vec_at_least, vec_bits, vec_less, vec_next


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
def _lanes_rising(x: object, y: object, x_after: object, y_after: object, qx: object, qy: object) -> int:
    """Bit i says whether qx * x + qy * y rises, in doubles, from lane i to the next, for eight points; the
    points after them give the last bit.
    """
    across = vec_mul(vec_sub(vec_next(x, x_after), x), qx)
    return vec_bits(vec_less(vec_fill(0.0, x), vec_muladd(vec_sub(vec_next(y, y_after), y), qy, across)))


@njit(nogil=True, error_model="numpy", forceinline=True)
def count_rising(xs: int, ys: int, count: int, qx: float, qy: float) -> int:
    """How many of the `count` steps, up to 63, from a point to the next rise in doubles. Coordinates are
    doubles side by side from `xs` and from `ys`; 64 of each may be read.
    """
    like = vec_f64(8)
    across = vec_fill(qx, like)
    up = vec_fill(qy, like)
    x0 = vec_load(xs, like)
    y0 = vec_load(ys, like)
    x1 = vec_load(xs + 64, like)
    y1 = vec_load(ys + 64, like)
    bits = _lanes_rising(x0, y0, x1, y1, across, up)
    if count > 8:
        x2 = vec_load(xs + 128, like)
        y2 = vec_load(ys + 128, like)
        bits |= _lanes_rising(x1, y1, x2, y2, across, up) << 8
        if count > 16:
            x3 = vec_load(xs + 192, like)
            y3 = vec_load(ys + 192, like)
            x4 = vec_load(xs + 256, like)
            y4 = vec_load(ys + 256, like)
            x5 = vec_load(xs + 320, like)
            y5 = vec_load(ys + 320, like)
            x6 = vec_load(xs + 384, like)
            y6 = vec_load(ys + 384, like)
            x7 = vec_load(xs + 448, like)
            y7 = vec_load(ys + 448, like)
            bits |= _lanes_rising(x2, y2, x3, y3, across, up) << 16
            bits |= _lanes_rising(x3, y3, x4, y4, across, up) << 24
            bits |= _lanes_rising(x4, y4, x5, y5, across, up) << 32
            bits |= _lanes_rising(x5, y5, x6, y6, across, up) << 40
            bits |= _lanes_rising(x6, y6, x7, y7, across, up) << 48
            bits |= _lanes_rising(x7, y7, x7, y7, across, up) << 56
    return _low_bits(bits, count)


@njit(nogil=True, error_model="numpy", forceinline=True)
def few_certified(xs: int, ys: int, count: int, qx: float, qy: float) -> int:
    """Which of `count` points, 1 to 8 vertices of a strict chain, alone has the highest qx * x + qy * y, if
    the filter of compare_dot2 can tell of every step from one to the next whether it rises or falls; else -1.

    Coordinates are doubles side by side from `xs` and from `ys`; 8 of each are read.
    """
    like = vec_f64(8)
    x = vec_load(xs, like)
    y = vec_load(ys, like)
    p = vec_mul(vec_sub(vec_next(x, x), x), vec_fill(qx, like))
    r = vec_mul(vec_sub(vec_next(y, y), y), vec_fill(qy, like))
    rise = vec_add(p, r)
    size = vec_mul(vec_add(vec_abs(p), vec_abs(r)), vec_fill(FILTER_BOUND, like))
    error = vec_add(size, vec_fill(FILTER_UNDERFLOW, like))
    rising = vec_bits(vec_less(error, rise))
    clear = vec_bits(vec_less(error, vec_abs(rise)))
    steps = (1 << (count - 1)) - 1
    return bit_count(rising & steps) if (clear & steps) == steps else -1
