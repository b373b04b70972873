"""Small functions that scans over keys are made of."""

import math

import numpy as np
from numba import njit

from attnc_backends.numba.runtime.memory import float32_bits, float32_from_bits, load_f32, load_f64


@njit(nogil=True, error_model="numpy")
def minimum(x, y):  # type: ignore[no-untyped-def]  # compiled for any element type
    """The smaller one; NaN if either is."""
    return x if (x < y or x != x) else y


@njit(nogil=True, error_model="numpy")
def maximum(x, y):  # type: ignore[no-untyped-def]  # compiled for any element type
    """The larger one; NaN if either is."""
    return x if (x > y or x != x) else y


@njit(nogil=True, error_model="numpy")
def truncate(x: float, low: float, high: float, otherwise: int) -> np.int64 | int:
    """`x` truncated toward zero, or `otherwise` when it is NaN or outside `[low, high)`."""
    if x >= low and x < high:
        return np.int64(x)
    return otherwise


@njit(nogil=True, error_model="numpy")
def narrow_to_odd(x: float) -> np.float32 | float:
    """`x` as a float32 rounded to odd, so that rounding it once more to a half is rounding `x` once.

    Boldo and Melquiond, "When double rounding is odd", 2005: a format with at least two more bits, rounded to
    odd, keeps on which side of every midpoint of the narrower format the number lies.
    """
    y = np.float32(x)
    if np.float64(y) == np.float64(x) or x != x or math.isinf(x):
        return y
    bits = float32_bits(y)
    if abs(np.float64(y)) > abs(np.float64(x)):
        bits -= 1  # toward zero; from infinity this is the largest finite number
    return float32_from_bits(bits | 1)


@njit(nogil=True, error_model="numpy")
def integer_to_odd(n: int) -> float:
    """`n` as a double rounded to odd, for a second rounding to a narrower format."""
    if -9007199254740992 <= n <= 9007199254740992:
        return np.float64(n)
    low = n & 0x7FF
    return np.float64((n - low) | (0x400 if low != 0 else 0))


@njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def abs_dot_f64(x: int, y: int, n: int) -> tuple[float, float]:
    """Dot product of two rows of doubles, and the sum of the products' magnitudes, in any order of
    summation.
    """
    s = 0.0
    a = 0.0
    for c in range(n):
        p = load_f64(x + 8 * c) * load_f64(y + 8 * c)
        s += p
        a += abs(p)
    return s, a


@njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def abs_dot_f64_f32(x: int, y: int, n: int) -> tuple[float, float]:
    """The same with `y` a row of float32."""
    s = 0.0
    a = 0.0
    for c in range(n):
        p = load_f64(x + 8 * c) * np.float64(load_f32(y + 4 * c))
        s += p
        a += abs(p)
    return s, a


@njit(nogil=True, error_model="numpy")
def product_class(x: float, y: float) -> int:
    """0 for a finite product of real numbers (however large), 1 and -1 for the infinities, 2 for NaN."""
    if math.isfinite(x) and math.isfinite(y):
        return 0
    p = x * y
    if p != p:
        return 2
    return 1 if p > 0 else -1


@njit(nogil=True, error_model="numpy")
def sum_class(x: int, y: int) -> int:
    """The class of a sum from the classes of its terms."""
    if x == 2 or y == 2 or x * y == -1:
        return 2
    return x if x != 0 else y


@njit(nogil=True, error_model="numpy")
def value_class(x: float) -> int:
    """The class of a number itself."""
    if math.isfinite(x):
        return 0
    if x != x:
        return 2
    return 1 if x > 0 else -1
