"""Real numbers without rounding, and what IEEE arithmetic adds to them: infinities and NaN.

An [`Extended`][attnc_ir.reference.extended.Extended] is a `Fraction`, or a `float` that is not finite.
Comparison is Python's own: it is exact between fractions and infinities, and false with NaN. There is one
zero, without a sign.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

Extended = Fraction | float
NAN = math.nan
ZERO = Fraction(0)


def exact(value: float) -> Extended:
    """The number that a double is.

    >>> exact(0.5), exact(float("-inf"))
    (Fraction(1, 2), -inf)
    """
    return Fraction(value) if math.isfinite(value) else value


def is_nan(x: Extended) -> bool:
    """True for NaN."""
    return x != x


def is_infinite(x: Extended) -> bool:
    """True for either infinity."""
    return isinstance(x, float) and math.isinf(x)


def sign(x: Extended) -> int:
    """-1, 0 or 1; `x` is not NaN."""
    return (x > 0) - (x < 0)


def _stand_in(x: Extended) -> float:
    """A double that acts like `x` beside an infinity or NaN: only its sign matters there."""
    return x if isinstance(x, float) else float(sign(x))


def add(x: Extended, y: Extended) -> Extended:
    """`x + y`; infinities of opposite sign give NaN."""
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x + y
    return _stand_in(x) + _stand_in(y)


def mul(x: Extended, y: Extended) -> Extended:
    """`x * y`; zero times infinity gives NaN."""
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x * y
    return _stand_in(x) * _stand_in(y)


def div(x: Extended, y: Extended) -> Extended:
    """`x / y`; by zero an infinity with the sign of `x`, NaN for `0 / 0` and infinity by infinity."""
    if y == 0:
        return NAN if is_nan(x) or x == 0 else sign(x) * math.inf
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x / y
    if isinstance(x, Fraction):
        return ZERO if is_infinite(y) else NAN
    return _stand_in(x) / _stand_in(y)


def total(terms: Iterable[Extended]) -> Extended:
    """The sum, in any order; 0 for none."""
    result: Extended = ZERO
    for term in terms:
        result = add(result, term)
    return result


def smaller(x: Extended, y: Extended) -> Extended:
    """The minimum; NaN if either is NaN."""
    return NAN if is_nan(x) or is_nan(y) else min(x, y)


def larger(x: Extended, y: Extended) -> Extended:
    """The maximum; NaN if either is NaN."""
    return NAN if is_nan(x) or is_nan(y) else max(x, y)


def to_float(x: Extended) -> float:
    """The nearest double, ties to even; infinite where the number is too large.

    >>> to_float(Fraction(1, 3)), to_float(Fraction(10) ** 400)
    (0.3333333333333333, inf)
    """
    try:
        return float(x)
    except OverflowError:
        return sign(x) * math.inf
