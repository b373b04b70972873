"""Double arithmetic that carries a bound of its own error.

A pair is a double and a bound of its distance from the real number it stands for; the bound is exactly 0 when
the double is that number. Bounds are rounded up by a few units, so that their own rounding cannot hurt; a
result that is not finite has the bound 0 when its operands were exact specials and infinity (nothing is
known) when it overflowed.
"""

import math

import numpy as np
from numba import njit

from attnc_backends.numba.runtime.exact import two_prod, two_sum

BOUNDED_SLACK = 1.0 + 2.0**-48
BOUNDED_TINY = 5e-324
BOUNDED_SAFE_PRODUCT = 2.0**-900


@njit(nogil=True, error_model="numpy")
def conversion_error(n: int) -> float:
    """The error of an integer as a double: 0 up to 2**53, else the spacing of doubles of that size."""
    if -9007199254740992 <= n <= 9007199254740992:
        return 0.0
    return 1024.0


@njit(nogil=True, error_model="numpy")
def _bounded(value: float, error: float, specials: bool) -> tuple[float, float]:
    if math.isfinite(value):
        return value, (error * BOUNDED_SLACK + BOUNDED_TINY if error != 0.0 else 0.0)
    return value, (0.0 if specials and error == 0.0 else math.inf)


@njit(nogil=True, error_model="numpy")
def add_bounded(x: float, ex: float, y: float, ey: float) -> tuple[float, float]:
    """`x + y`."""
    s, e = two_sum(x, y)
    if not math.isfinite(s):
        return _bounded(s, ex + ey, not (math.isfinite(x) and math.isfinite(y)))
    return _bounded(s, abs(e) + ex + ey, False)


@njit(nogil=True, error_model="numpy")
def sub_bounded(x: float, ex: float, y: float, ey: float) -> tuple[float, float]:
    """`x - y`."""
    return add_bounded(x, ex, -y, ey)


@njit(nogil=True, error_model="numpy")
def mul_bounded(x: float, ex: float, y: float, ey: float) -> tuple[float, float]:
    """`x * y`."""
    p = x * y
    if not math.isfinite(p):
        return _bounded(p, ex + ey, not (math.isfinite(x) and math.isfinite(y)))
    if x == 0.0 or y == 0.0:
        e = 0.0
    elif abs(p) > BOUNDED_SAFE_PRODUCT:
        e = abs(two_prod(x, y)[1])
    else:
        e = BOUNDED_TINY + abs(p) * 2.0**-52  # near underflow the error-free transform is not free of error
    e += abs(x) * ey + abs(y) * ex + ex * ey
    if (ex != 0.0 and (y != 0.0 or ey != 0.0)) or (ey != 0.0 and x != 0.0):
        e += BOUNDED_TINY  # the factors' errors do not vanish with a product that underflows
    return _bounded(p, e, False)


@njit(nogil=True, error_model="numpy")
def div_bounded(x: float, ex: float, y: float, ey: float) -> tuple[float, float]:
    """`x / y`; nothing is known when the divisor could be zero."""
    if y == 0.0 and ey == 0.0:
        # Real numbers have one zero: what is divided by it keeps its own sign.
        return (math.copysign(math.inf, x) if abs(x) > 0.0 else math.nan), (0.0 if ex == 0.0 else math.inf)
    q = x / y
    if ey != 0.0 and abs(y) <= 2.0 * ey:
        return q, math.inf
    if not math.isfinite(q):
        return _bounded(q, ex + ey, not (math.isfinite(x) and math.isfinite(y)))
    if ex == 0.0 and ey == 0.0:
        if x == 0.0 or not math.isfinite(y):
            return q, 0.0
        p, e = two_prod(q, y)
        if p == x and e == 0.0 and abs(p) > BOUNDED_SAFE_PRODUCT:
            return q, 0.0
        return _bounded(q, abs(q) * 2.0**-52 + BOUNDED_TINY, False)
    return _bounded(q, abs(q) * 2.0**-52 + BOUNDED_TINY + 2.0 * (ex + abs(q) * ey) / abs(y), False)


@njit(nogil=True, error_model="numpy")
def min_bounded(x: float, ex: float, y: float, ey: float) -> tuple[float, float]:
    """The smaller one; NaN if either is."""
    if x != x or y != y:
        return math.nan, max(ex, ey)
    return min(x, y), max(ex, ey)


@njit(nogil=True, error_model="numpy")
def max_bounded(x: float, ex: float, y: float, ey: float) -> tuple[float, float]:
    """The larger one; NaN if either is."""
    if x != x or y != y:
        return math.nan, max(ex, ey)
    return max(x, y), max(ex, ey)


@njit(nogil=True, error_model="numpy")
def settled(x: float, ex: float, y: float, ey: float) -> bool:
    """Whether comparing `x` with `y` gives what comparing the real numbers gives."""
    if ex == 0.0 and ey == 0.0:
        return True
    return abs(x - y) > (ex + ey) * BOUNDED_SLACK


@njit(nogil=True, error_model="numpy")
def exp_ieee(x: float) -> float:
    """The exponential, infinite on overflow."""
    return np.exp(x)


@njit(nogil=True, error_model="numpy")
def log_ieee(x: float) -> float:
    """The logarithm: -inf at 0, NaN below."""
    if x < 0.0:
        return math.nan
    if x == 0.0:
        return -math.inf
    return np.log(x)


@njit(nogil=True, error_model="numpy")
def sqrt_ieee(x: float) -> float:
    """The square root, NaN below 0."""
    return math.nan if x < 0.0 else math.sqrt(x)
