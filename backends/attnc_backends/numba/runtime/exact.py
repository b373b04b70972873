"""Exact arithmetic on doubles: error-free transforms, a super-accumulator and the 2-D predicates.

Error-free transforms follow Knuth and Dekker. The accumulator is Kulisch's long fixed-point register in
carry-save form: 32 payload bits in each signed 64-bit limb, so an addition touches a few limbs and never
ripples. The predicates are adaptive in Shewchuk's sense ("Adaptive Precision Floating-Point Arithmetic and
Fast Robust Geometric Predicates", 1997): a floating filter with a proven bound, then an exactness test for
ties on ordinary numbers, then the accumulator, which holds over the full range of the double.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.memory import (
    float64_bits,
    float64_from_bits,
    fma,
    load_i64,
    out_of_line,
    store_i64,
)

# The accumulator's unit is the last bit of a product of three subnormals, 2**-3222; bit 0 of limb 0 is that
# unit. The largest product of three doubles stays below 2**3072, which is bit 6294, and 202 limbs of 32
# bits reach bit 6464: room for far more than 2**64 terms of that size.
ACC_LIMBS = 202
ACC_UNIT_BITS = 3222
ACC_HEADER_BYTES = 24
ACC_BYTES = ACC_HEADER_BYTES + 8 * ACC_LIMBS

# Header: limbs [low, high) are live, all others hold garbage; pending counts additions since the last carry.
_ACC_LOW = 0
_ACC_HIGH = 8
_ACC_PENDING = 16
# One addition grows a limb by less than 2**33, so after 2**28 of them a limb still lies within 2**62.
_ACC_PENDING_LIMIT = 1 << 28
_ACC_LIMB_MASK = 0xFFFFFFFF
_ACC_LIMB_SPAN = 1 << 32

_ACC_FRACTION_MASK = (1 << 52) - 1
_ACC_HIDDEN_BIT = 1 << 52
_ACC_INF_BITS = 0x7FF << 52
_ACC_DIGIT_MASK = (1 << 27) - 1

# With unit roundoff u = 2**-53 both predicates are l + r where each product carries at most two or three
# roundings; the error is below (3 + 16u) u (|l| + |r|) (Shewchuk, theorem for ccwerrboundA), so 4u is safe.
# The underflow of two products adds less than 2**-1073, far below the constant term.
FILTER_BOUND = 4.0 * 2.0**-53
FILTER_UNDERFLOW = 2.0**-1011
FILTER_FLOOR = 2.0**-960
_EXACT_INFINITY = math.inf


@njit(nogil=True, error_model="numpy", forceinline=True)
def two_sum(x: float, y: float) -> tuple[float, float]:
    """(s, e) with s = fl(x + y) and s + e = x + y exactly (Knuth); e is NaN when s overflows."""
    s = x + y
    t = s - x
    return s, (x - (s - t)) + (y - t)


@njit(nogil=True, error_model="numpy", forceinline=True)
def two_prod(x: float, y: float) -> tuple[float, float]:
    """(p, e) with p = fl(x * y) and p + e = x * y exactly, unless p overflows or |p| < 2**-969."""
    p = x * y
    return p, fma(x, y, -p)


@njit(nogil=True, error_model="numpy")
def acc_clear(a: int) -> None:
    """Set the accumulator at `a` (ACC_BYTES of any content) to zero. O(1): limbs are zeroed when touched."""
    store_i64(a + _ACC_LOW, 0)
    store_i64(a + _ACC_HIGH, 0)
    store_i64(a + _ACC_PENDING, 0)


@njit(nogil=True, error_model="numpy")
def _acc_limb(a: int, index: int) -> int:
    """Address of limb `index`."""
    return a + ACC_HEADER_BYTES + 8 * index


@njit(nogil=True, error_model="numpy")
def _acc_reach(a: int, low: int, high: int) -> None:
    """Make limbs [low, high) live, zeroing those that were not."""
    old_low = load_i64(a + _ACC_LOW)
    old_high = load_i64(a + _ACC_HIGH)
    if old_low == old_high:
        old_low = low
        old_high = low
    for index in range(low, old_low):
        store_i64(_acc_limb(a, index), 0)
    for index in range(old_high, high):
        store_i64(_acc_limb(a, index), 0)
    store_i64(a + _ACC_LOW, min(low, old_low))
    store_i64(a + _ACC_HIGH, max(high, old_high))


@njit(nogil=True, error_model="numpy")
def _acc_carry(a: int) -> None:
    """Bring every live limb but the top one into [0, 2**32) and the top one into [-2**32, 2**32)."""
    out_of_line()
    low = load_i64(a + _ACC_LOW)
    high = load_i64(a + _ACC_HIGH)
    store_i64(a + _ACC_PENDING, 0)
    if low == high:
        return
    carry = 0
    for index in range(low, high - 1):
        limb = load_i64(_acc_limb(a, index)) + carry
        store_i64(_acc_limb(a, index), limb & _ACC_LIMB_MASK)
        carry = limb >> 32
    top = load_i64(_acc_limb(a, high - 1)) + carry
    # The top limb keeps its sign. It is split only when too large, so the live range follows the magnitude
    # of the value and repeated carries of a negative number do not creep upwards.
    if top < -_ACC_LIMB_SPAN or top >= _ACC_LIMB_SPAN:
        store_i64(_acc_limb(a, high - 1), top & _ACC_LIMB_MASK)
        store_i64(_acc_limb(a, high), top >> 32)
        store_i64(a + _ACC_HIGH, high + 1)
    else:
        store_i64(_acc_limb(a, high - 1), top)


@njit(nogil=True, error_model="numpy")
def _acc_add_bits(a: int, digits: int, bit: int) -> None:
    """Add digits * 2**bit units, |digits| < 2**62. Negative digits work: shifts floor, masks are >= 0."""
    out_of_line()
    index = bit >> 5
    shift = bit & 31
    low = load_i64(a + _ACC_LOW)
    high = load_i64(a + _ACC_HIGH)
    if index < low or index + 3 > high:
        _acc_reach(a, index, index + 3)
    pending = load_i64(a + _ACC_PENDING) + 1
    store_i64(a + _ACC_PENDING, pending)
    if pending >= _ACC_PENDING_LIMIT:
        _acc_carry(a)
    limb = _acc_limb(a, index)
    rest = digits >> (32 - shift)
    store_i64(limb, load_i64(limb) + ((digits << shift) & _ACC_LIMB_MASK))
    store_i64(limb + 8, load_i64(limb + 8) + (rest & _ACC_LIMB_MASK))
    store_i64(limb + 16, load_i64(limb + 16) + (rest >> 32))


@njit(nogil=True, error_model="numpy")
def _acc_significand(x: float) -> int:
    """The signed integer m of x = m * 2**(exponent field, at least 1, minus 1075)."""
    bits = float64_bits(x)
    m = bits & _ACC_FRACTION_MASK
    if ((bits >> 52) & 0x7FF) != 0:
        m |= _ACC_HIDDEN_BIT
    if bits < 0:
        m = -m
    return m


@njit(nogil=True, error_model="numpy")
def _acc_exponent(x: float) -> int:
    """Exponent of the last bit of x above that of the smallest subnormal: 0 for subnormals, up to 2045."""
    field = (float64_bits(x) >> 52) & 0x7FF
    return max(field, 1) - 1


@njit(nogil=True, error_model="numpy")
def acc_add(a: int, x: float) -> None:
    """Add finite `x` exactly; give -x to subtract."""
    if x != 0.0:
        _acc_add_bits(a, _acc_significand(x), _acc_exponent(x) + (ACC_UNIT_BITS - 1074))


@njit(nogil=True, error_model="numpy")
def acc_add_product(a: int, x: float, y: float) -> None:
    """Add x * y exactly, for any finite doubles, also where the rounded product would over- or underflow."""
    out_of_line()
    if x == 0.0 or y == 0.0:
        return
    bit = _acc_exponent(x) + _acc_exponent(y) + (ACC_UNIT_BITS - 2148)
    m = _acc_significand(x)
    n = _acc_significand(y)
    # Schoolbook product in radix 2**27; the upper digits carry the sign and every column stays below 2**55.
    m0 = m & _ACC_DIGIT_MASK
    m1 = m >> 27
    n0 = n & _ACC_DIGIT_MASK
    n1 = n >> 27
    _acc_add_bits(a, m0 * n0, bit)
    _acc_add_bits(a, m1 * n0 + m0 * n1, bit + 27)
    _acc_add_bits(a, m1 * n1, bit + 54)


@njit(nogil=True, error_model="numpy")
def acc_add_product3(a: int, x: float, y: float, z: float) -> None:
    """Add x * y * z exactly, for any finite doubles."""
    if x == 0.0 or y == 0.0 or z == 0.0:
        return
    bit = _acc_exponent(x) + _acc_exponent(y) + _acc_exponent(z)
    m = _acc_significand(x)
    n = _acc_significand(y)
    k = _acc_significand(z)
    m0 = m & _ACC_DIGIT_MASK
    m1 = m >> 27
    n0 = n & _ACC_DIGIT_MASK
    n1 = n >> 27
    k0 = k & _ACC_DIGIT_MASK
    k1 = k >> 27
    # The product m * n in four digits of 27 bits, carried so that digit times digit stays below 2**55.
    c = m0 * n0
    p0 = c & _ACC_DIGIT_MASK
    c = (c >> 27) + m1 * n0 + m0 * n1
    p1 = c & _ACC_DIGIT_MASK
    c = (c >> 27) + m1 * n1
    p2 = c & _ACC_DIGIT_MASK
    p3 = c >> 27
    _acc_add_bits(a, p0 * k0, bit)
    _acc_add_bits(a, p1 * k0 + p0 * k1, bit + 27)
    _acc_add_bits(a, p2 * k0 + p1 * k1, bit + 54)
    _acc_add_bits(a, p3 * k0 + p2 * k1, bit + 81)
    _acc_add_bits(a, p3 * k1, bit + 108)


@njit(nogil=True, error_model="numpy")
def acc_sign(a: int) -> int:
    """-1, 0 or 1: the sign of the exact value. O(live limbs); the value is kept."""
    out_of_line()
    _acc_carry(a)
    low = load_i64(a + _ACC_LOW)
    high = load_i64(a + _ACC_HIGH)
    for offset in range(high - low):
        limb = load_i64(_acc_limb(a, high - 1 - offset))
        # Only the top limb can be negative, and the limbs below it add less than one of its units.
        if limb < 0:
            return -1
        if limb > 0:
            return 1
    return 0


@njit(nogil=True, error_model="numpy")
def _acc_negate(a: int) -> None:
    """Change the sign of the value."""
    for index in range(load_i64(a + _ACC_LOW), load_i64(a + _ACC_HIGH)):
        store_i64(_acc_limb(a, index), -load_i64(_acc_limb(a, index)))
    _acc_carry(a)


@njit(nogil=True, error_model="numpy")
def _acc_round_positive(a: int) -> float:
    """The value of a carried, positive accumulator, rounded once to nearest even."""
    out_of_line()
    low = load_i64(a + _ACC_LOW)
    top = load_i64(a + _ACC_HIGH) - 1
    while load_i64(_acc_limb(a, top)) == 0:
        top -= 1
    leading = 32 * top
    limb = load_i64(_acc_limb(a, top))
    while limb > 1:
        limb >>= 1
        leading += 1
    # `last` is the bit that becomes the last place of the result: 52 below the leading bit, but not below
    # the unit of the subnormals.
    last = max(leading - 52, ACC_UNIT_BITS - 1074)
    if last > ACC_UNIT_BITS + 971:
        return math.inf
    q = 0
    index = max(last >> 5, low)
    while index <= top:
        limb = load_i64(_acc_limb(a, index))
        place = 32 * index - last
        q += limb << place if place >= 0 else limb >> -place
        index += 1
    half = last - 1
    index = half >> 5
    if low <= index <= top and ((load_i64(_acc_limb(a, index)) >> (half & 31)) & 1) == 1:
        sticky = (load_i64(_acc_limb(a, index)) & ((1 << (half & 31)) - 1)) != 0
        index -= 1
        while not sticky and index >= low:
            sticky = load_i64(_acc_limb(a, index)) != 0
            index -= 1
        if sticky or (q & 1) == 1:
            q += 1
    # A hidden bit in q adds one to the exponent field, and so does a carry out of the significand; a
    # subnormal q has none. A sum past the largest double lands on the bits of infinity.
    bits = ((last - (ACC_UNIT_BITS - 1074)) << 52) + q
    return float64_from_bits(min(bits, _ACC_INF_BITS))


@njit(nogil=True, error_model="numpy")
def acc_round(a: int) -> float:
    """The exact value rounded once to the nearest double, ties to even; overflow to +-inf, zero to +0.0.

    O(live limbs); the value is kept.
    """
    out_of_line()
    sign = acc_sign(a)
    if sign == 0:
        return 0.0
    if sign > 0:
        return _acc_round_positive(a)
    _acc_negate(a)
    rounded = _acc_round_positive(a)
    _acc_negate(a)
    return -rounded


@njit(nogil=True, error_model="numpy")
def _exact_pair_sign(u: float, x: float, v: float, y: float) -> int:
    """Sign of u*x + v*y from error-free products; 2 when they may over- or underflow or cancel too deeply."""
    p, p_tail = two_prod(u, x)
    r, r_tail = two_prod(v, y)
    # A zero factor gives an exact zero; any other product must clear underflow for its tail to be exact.
    p_safe = abs(p) > FILTER_FLOOR or u == 0.0 or x == 0.0
    r_safe = abs(r) > FILTER_FLOOR or v == 0.0 or y == 0.0
    if not (p_safe and r_safe and abs(p) + abs(r) < _EXACT_INFINITY):
        return 2
    s, e = two_sum(p, r)
    if s == 0.0:
        # A sum of doubles rounds to zero only when it is zero, so the tails decide, and the rounded sum of
        # the two has the right sign.
        s = p_tail + r_tail
    elif (p_tail != 0.0 or r_tail != 0.0) and abs(s) <= 2.0 * (abs(e) + abs(p_tail) + abs(r_tail)):
        return 2
    if s > 0.0:
        return 1
    return -1 if s < 0.0 else 0


@njit(nogil=True, error_model="numpy")
def _compare_dot2_exact(
    qx: float, qy: float, x1: float, y1: float, x2: float, y2: float, scratch: int
) -> int:
    """compare_dot2 after its filter has failed."""
    out_of_line()
    dx, dx_tail = two_sum(x1, -x2)
    dy, dy_tail = two_sum(y1, -y2)
    # A tail is NaN when the difference overflows, so these tests also send that case to the accumulator.
    if dx_tail == 0.0 and dy_tail == 0.0:
        sign = _exact_pair_sign(qx, dx, qy, dy)
        if sign != 2:
            return sign
    acc_clear(scratch)
    acc_add_product(scratch, qx, x1)
    acc_add_product(scratch, qx, -x2)
    acc_add_product(scratch, qy, y1)
    acc_add_product(scratch, qy, -y2)
    return acc_sign(scratch)


@njit(nogil=True, error_model="numpy", forceinline=True)
def compare_dot2(qx: float, qy: float, x1: float, y1: float, x2: float, y2: float, scratch: int) -> int:
    """Sign of q.(k1 - k2) in exact arithmetic, for any finite doubles. `scratch` is ACC_BYTES of memory.

    A few nanoseconds when the sign is clear or the numbers are small integers, else one accumulator pass.
    """
    p = qx * (x1 - x2)
    r = qy * (y1 - y2)
    s = p + r
    size = abs(p) + abs(r)
    # Infinities and NaNs fail the comparison and fall through.
    if abs(s) > FILTER_BOUND * size + FILTER_UNDERFLOW:
        return 1 if s > 0.0 else -1
    return _compare_dot2_exact(qx, qy, x1, y1, x2, y2, scratch)


@njit(nogil=True, error_model="numpy")
def _orient2_exact(ax: float, ay: float, bx: float, by: float, cx: float, cy: float, scratch: int) -> int:
    """orient2 after its filter has failed."""
    out_of_line()
    if (ax == bx and ax == cx) or (ay == by and ay == cy):
        return 0
    ux, ux_tail = two_sum(bx, -ax)
    uy, uy_tail = two_sum(by, -ay)
    wx, wx_tail = two_sum(cx, -ax)
    wy, wy_tail = two_sum(cy, -ay)
    if ux_tail == 0.0 and uy_tail == 0.0 and wx_tail == 0.0 and wy_tail == 0.0:
        sign = _exact_pair_sign(ux, wy, -uy, wx)
        if sign != 2:
            return sign
    # The determinant expanded over the given coordinates; the two products of a with itself cancel.
    acc_clear(scratch)
    acc_add_product(scratch, bx, cy)
    acc_add_product(scratch, bx, -ay)
    acc_add_product(scratch, ax, -cy)
    acc_add_product(scratch, by, -cx)
    acc_add_product(scratch, by, ax)
    acc_add_product(scratch, ay, cx)
    return acc_sign(scratch)


@njit(nogil=True, error_model="numpy", forceinline=True)
def orient2(ax: float, ay: float, bx: float, by: float, cx: float, cy: float, scratch: int) -> int:
    """Sign of (b - a) x (c - a) in exact arithmetic: 1 when a, b, c turn left, 0 when they are collinear.

    Any finite doubles; `scratch` is ACC_BYTES of memory. Cost as for compare_dot2.
    """
    p = (bx - ax) * (cy - ay)
    r = (by - ay) * (cx - ax)
    s = p - r
    size = abs(p) + abs(r)
    if abs(s) > FILTER_BOUND * size + FILTER_UNDERFLOW:
        return 1 if s > 0.0 else -1
    return _orient2_exact(ax, ay, bx, by, cx, cy, scratch)
