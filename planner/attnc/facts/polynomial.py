"""Polynomials of degree two or less in a position, exact, and how far storage holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from attnc_ir.types import MAX_DIM, DType

_ZERO = Fraction(0)


@dataclass(frozen=True)
class Polynomial:
    """`constant + linear * p + square * p * p`.

    >>> p = Polynomial(linear=Fraction(1))
    >>> square = p.times(p)
    >>> print(-square + p, (-square + p)(3), square.times(p))
    p - p*p -6 None
    """

    constant: Fraction = _ZERO
    linear: Fraction = _ZERO
    square: Fraction = _ZERO

    def __call__(self, position: int) -> Fraction:
        return self.constant + position * (self.linear + position * self.square)

    @property
    def coefficients(self) -> tuple[Fraction, Fraction, Fraction]:
        """By rising degree."""
        return (self.constant, self.linear, self.square)

    @property
    def is_zero(self) -> bool:
        """Whether it is 0 everywhere."""
        return not any(self.coefficients)

    def __add__(self, other: Polynomial) -> Polynomial:
        return Polynomial(*(x + y for x, y in zip(self.coefficients, other.coefficients, strict=True)))

    def __neg__(self) -> Polynomial:
        return self.scaled(Fraction(-1))

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self + -other

    def scaled(self, factor: Fraction) -> Polynomial:
        """Every coefficient times `factor`."""
        return Polynomial(*(factor * c for c in self.coefficients))

    def times(self, other: Polynomial) -> Polynomial | None:
        """The product; None when its degree passes two."""
        a, b = self.coefficients, other.coefficients
        if a[1] * b[2] + a[2] * b[1] or a[2] * b[2]:
            return None
        return Polynomial(a[0] * b[0], a[0] * b[1] + a[1] * b[0], a[0] * b[2] + a[1] * b[1] + a[2] * b[0])

    def shifted(self, by: int) -> Polynomial:
        """The polynomial in `q` where `p = q + by`."""
        return Polynomial(self(by), self.linear + 2 * self.square * by, self.square)

    @property
    def is_integral(self) -> bool:
        """Whether it is an integer at every integer position."""
        c, b, a = self.coefficients
        # Its values are spanned by 1, p and p (p - 1) / 2.
        return c.denominator == (a + b).denominator == (2 * a).denominator == 1

    def negative_below(self, bound: int) -> bool:
        """Whether it is below 0 at all positions `0 <= p < bound`; at none, it is."""
        if bound <= 0:
            return True
        places = {0, bound - 1}
        if self.square < 0:
            peak = -self.linear / (2 * self.square)
            places |= {min(max(p, 0), bound - 1) for p in (peak.__floor__(), peak.__ceil__())}
        return all(self(p) < 0 for p in places)

    def __str__(self) -> str:
        text = ""
        for coefficient, power in zip(self.coefficients, ("", "p", "p*p"), strict=True):
            if coefficient:
                sign = "-" if coefficient < 0 else "+"
                size = str(abs(coefficient))
                term = size if not power else power if size == "1" else f"{size}*{power}"
                text += f" {sign} {term}" if text else term if sign == "+" else f"-{term}"
        return text or "0"


def fitted(values: Sequence[Fraction]) -> Polynomial | None:
    """The polynomial with these values at positions 0, 1, 2, ..., if there is one of degree two or less.

    >>> print(fitted([Fraction(-n * n) for n in range(5)]), fitted([Fraction(2**n) for n in range(4)]))
    -p*p None
    """
    if not values:
        return None
    first = values[0]
    step = values[1] - first if len(values) > 1 else _ZERO
    bend = (values[2] - 2 * values[1] + first) / 2 if len(values) > 2 else _ZERO
    found = Polynomial(first, step - bend, bend)
    return found if all(found(p) == value for p, value in enumerate(values)) else None


@dataclass(frozen=True)
class _Format:
    """A storage type: significand bits, exponent of the smallest number above 0, largest number."""

    bits: int
    lowest: int
    largest: Fraction


_FLOATS = {
    DType.F64: _Format(53, -1074, (2 - Fraction(1, 2**52)) * 2**1023),
    DType.F32: _Format(24, -149, (2 - Fraction(1, 2**23)) * 2**127),
    DType.BF16: _Format(8, -133, (2 - Fraction(1, 2**7)) * 2**127),
    DType.F16: _Format(11, -24, Fraction(65504)),
}
_INTEGERS = {DType.I64: 2**63 - 1, DType.I32: 2**31 - 1}


def largest_integer(dtype: DType) -> int:
    """The largest finite integer of a type, of magnitude."""
    return int(_FLOATS[dtype].largest) if dtype in _FLOATS else _INTEGERS.get(dtype, 1)


def exact_integers(dtype: DType) -> int:
    """Every integer up to this magnitude is a number of the type."""
    return 1 << _FLOATS[dtype].bits if dtype in _FLOATS else _INTEGERS.get(dtype, 1)


def exact_below(polynomial: Polynomial, dtype: DType) -> int:
    """A bound such that at all positions below it the polynomial is a number of type `dtype`, exactly.

    At most `MAX_DIM`; 0 where not even position 0 is safe. With coefficients that are multiples of a power of
    two `u`, values are multiples of `u`, and a float holds those up to `2**bits` units.

    >>> square = Polynomial(square=Fraction(-1))
    >>> exact_below(square, DType.F64), exact_below(square, DType.F32)
    (94906266, 4097)
    """
    if polynomial.is_zero:
        return MAX_DIM
    if dtype in _FLOATS:
        form = _FLOATS[dtype]
        exponents = [_twos(c) for c in polynomial.coefficients if c]
        if None in exponents or (unit := min(e for e in exponents if e is not None)) < form.lowest:
            return 0
        limit = min(Fraction(2) ** (form.bits + unit), form.largest)
    elif dtype in _INTEGERS and polynomial.is_integral:
        limit = Fraction(_INTEGERS[dtype])
    else:
        return 0
    c, b, a = map(abs, polynomial.coefficients)
    low, high = 0, MAX_DIM
    while low < high:  # the largest number of positions whose last one is safe; magnitudes rise
        middle = (low + high + 1) // 2
        if c + (middle - 1) * (b + (middle - 1) * a) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def _twos(number: Fraction) -> int | None:
    """How often 2 divides a number, negative for a power of two below the line; None for other fractions."""
    if number.denominator & (number.denominator - 1):
        return None
    top = abs(number.numerator)
    return (top & -top).bit_length() - number.denominator.bit_length()
