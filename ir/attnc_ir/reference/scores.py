"""Scores of hard-max and top-k: compared in exact real arithmetic.

A score is `x + bias`, or `cap * tanh(x / cap) + bias` under a softcap, where `x = scale * dot(q, k)`. Without
a softcap it is a fraction. With one it is not, yet its order is decided all the same:

**Equality.** Let `a` and `c` be different rationals. Then `tanh a - tanh c` is no rational number `r`. For
`tanh a = 1 - 2 / (e^2a + 1)`, so the equation `tanh a - tanh c = r`, multiplied out, reads

    r e^2(a+c) + (r - 2) e^2a + (r + 2) e^2c + r = 0

By Lindemann and Weierstrass, exponentials of different algebraic numbers are linearly independent over the
algebraic numbers, so once terms of equal exponent are joined, every coefficient must vanish. If the four
exponents differ, `r - 2 = r + 2 = 0`. If `a = 0`, the terms join to `(2r + 2) e^2c + (2r - 2)`; if `c = 0`,
to `(2r - 2) e^2a + (2r + 2)`; if `a + c = 0`, to `(r - 2) e^2a + (r + 2) e^2c + 2r`. (No other two exponents
can meet, as `a` and `c` differ.) None of them can vanish altogether, so there is no such `r`.

Hence two capped scores with finite rational `x` are equal exactly when both `x` and both biases are equal. An
infinite `x` gives plus or minus `cap`; `tanh` of a rational other than 0 is irrational (the case `c = 0`
above), so such a score can equal another only where that one is a rational too: see `CappedScore.rational`.

**Order.** Different scores are told apart by enclosing both in intervals of fractions, with more and more
digits until they are disjoint.
"""

from __future__ import annotations

import decimal
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from attnc_ir.reference import extended
from attnc_ir.reference.extended import Extended


class Score(Protocol):
    """A number that can be ordered exactly and rounded to a double."""

    @property
    def is_nan(self) -> bool:
        """Neither larger nor smaller than anything; such a score is not compared."""
        ...

    @property
    def rational(self) -> Extended | None:
        """The score itself, or None where it is irrational."""
        ...

    def enclosure(self, digits: int) -> tuple[Fraction, Fraction]:
        """Fractions around a finite score, closer with more digits."""
        ...

    def to_float(self) -> float:
        """The score as a double, computed in doubles from rounded parts."""
        ...


def compare(left: Score, right: Score) -> int:
    """-1, 0 or 1 as `left` is smaller than, equal to or larger than `right`, exactly. Neither is NaN."""
    if isinstance(left, CappedScore) and isinstance(right, CappedScore) and left.bias == right.bias:
        # tanh is strictly increasing; and however far out both saturate, no digits are needed.
        return _order(left.x, right.x) if isinstance(left.bias, Fraction) else 0
    a, b = left.rational, right.rational
    if a is not None and b is not None:
        return _order(a, b)
    if a is not None and extended.is_infinite(a):
        return extended.sign(a)
    if b is not None and extended.is_infinite(b):
        return -extended.sign(b)
    # The biases differ, so the scores do, by the argument above, and some number of digits tells them apart.
    digits = 32
    while True:
        (low, high), (other_low, other_high) = left.enclosure(digits), right.enclosure(digits)
        if low > other_high:
            return 1
        if high < other_low:
            return -1
        digits *= 2


def _order(x: Extended, y: Extended) -> int:
    return (x > y) - (x < y)


@dataclass(frozen=True)
class PlainScore:
    """A score without softcap: a fraction, an infinity or NaN."""

    value: Extended

    @property
    def is_nan(self) -> bool:
        return extended.is_nan(self.value)

    @property
    def rational(self) -> Extended:
        return self.value

    def enclosure(self, digits: int) -> tuple[Fraction, Fraction]:
        assert isinstance(self.value, Fraction)
        return self.value, self.value

    def to_float(self) -> float:
        return extended.to_float(self.value)


@dataclass(frozen=True)
class CappedScore:
    """`cap * tanh(x / cap) + bias`; `cap` is positive."""

    x: Extended
    bias: Extended
    cap: Fraction

    @property
    def is_nan(self) -> bool:
        return extended.is_nan(self.x) or extended.is_nan(self.bias)

    @property
    def rational(self) -> Extended | None:
        if not isinstance(self.bias, Fraction):
            return self.bias  # tanh is finite, so an infinite bias decides
        if self.x == 0 or extended.is_infinite(self.x):
            return extended.sign(self.x) * self.cap + self.bias
        return None

    def enclosure(self, digits: int) -> tuple[Fraction, Fraction]:
        known = self.rational
        if known is not None:
            assert isinstance(known, Fraction)
            return known, known
        assert isinstance(self.x, Fraction)
        assert isinstance(self.bias, Fraction)
        low, high = tanh_enclosure(self.x / self.cap, digits)
        return self.cap * low + self.bias, self.cap * high + self.bias

    def to_float(self) -> float:
        x, cap = extended.to_float(self.x), float(self.cap)
        return cap * math.tanh(x / cap) + extended.to_float(self.bias)


def tanh_enclosure(x: Fraction, digits: int) -> tuple[Fraction, Fraction]:
    """Fractions `low <= tanh(x) <= high`, about `10**-digits` apart.

    >>> low, high = tanh_enclosure(Fraction(1, 2), 20)
    >>> low < Fraction("0.46211715726000975850231848364367254874") < high
    True
    """
    if x < 0:
        low, high = tanh_enclosure(-x, digits)
        return -high, -low
    if x > 2 * digits:
        # 1 - tanh(x) = 2 / (e^2x + 1) < 2 e^-2x < 2 e^(-4 digits) < 10^-digits
        return 1 - Fraction(1, 10**digits), Fraction(1)
    down = decimal.Context(prec=digits, rounding=decimal.ROUND_FLOOR)
    up = decimal.Context(prec=digits, rounding=decimal.ROUND_CEILING)
    twice = 2 * x
    # The quotients enclose 2x; `exp` rounds to nearest whatever the context says, so a step outwards encloses
    # e^2x.
    below = down.divide(decimal.Decimal(twice.numerator), decimal.Decimal(twice.denominator))
    above = up.divide(decimal.Decimal(twice.numerator), decimal.Decimal(twice.denominator))
    low, high = Fraction(down.next_minus(down.exp(below))), Fraction(up.next_plus(up.exp(above)))
    return (low - 1) / (low + 1), (high - 1) / (high + 1)
