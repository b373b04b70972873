"""The accumulator and the predicates agree with rational arithmetic on any finite doubles."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit

from attnc_backends.numba.runtime import exact

# The profile makes draws the same everywhere; these are cheap, so there are more of them than usual.
MANY = settings(max_examples=max(600, settings.default.max_examples))

LARGEST = 1.7976931348623157e308
SMALLEST = 5e-324

small = st.integers(-8, 8).map(float)
special = st.sampled_from(
    [0.0, -0.0, SMALLEST, -SMALLEST, LARGEST, -LARGEST, 1e308, 2.0**-1022, 2.0**-537, 2.0**512, 1.0]
)
scaled = st.builds(math.ldexp, st.integers(-(2**53), 2**53), st.integers(-1074, 970))
double = st.one_of(small, special, scaled, st.floats(allow_nan=False, allow_infinity=False))


def rounded(value):
    """The exact fraction rounded once to a double; integer division in Python does exactly that."""
    try:
        return value.numerator / value.denominator
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def sign(value):
    return (value > 0) - (value < 0)


@pytest.fixture(scope="module")
def scratch():
    room = np.full(exact.ACC_BYTES + 1, 0xFF, np.uint8)  # uninitialised memory, unaligned
    yield room.ctypes.data + 1
    del room


def add_term(a, factors):
    add = (exact.acc_add, exact.acc_add_product, exact.acc_add_product3)[len(factors) - 1]
    add(a, *factors)


def check_value(a, total):
    assert exact.acc_sign(a) == sign(total)
    got = exact.acc_round(a)
    assert got == rounded(total)
    assert np.signbit(got) == (total < 0)


terms = st.lists(st.lists(double, min_size=1, max_size=3), max_size=8)


@MANY
@given(terms)
def test_sums_of_products_are_exact_and_rounded_once(scratch, terms):
    total = Fraction(0)
    exact.acc_clear(scratch)
    for factors in terms:
        add_term(scratch, factors)
        total += math.prod(map(Fraction, factors))
        check_value(scratch, total)


@MANY
@given(terms)
def test_negating_one_factor_subtracts(scratch, terms):
    exact.acc_clear(scratch)
    for factors in terms:
        add_term(scratch, factors)
    for factors in terms:
        add_term(scratch, [-factors[0], *factors[1:]])
    check_value(scratch, Fraction(0))


@MANY
@given(st.integers(-1074, 900), st.integers(0, 2**60), st.integers(-2, 2))
def test_rounding_goes_to_even_at_and_around_midpoints(scratch, exponent, m, nudge):
    parts = [math.ldexp(float(m >> 30), exponent + 30), math.ldexp(float(m & (2**30 - 1)), exponent)]
    parts.append(nudge * SMALLEST)
    exact.acc_clear(scratch)
    for x in parts:
        exact.acc_add(scratch, x)
    check_value(scratch, sum(map(Fraction, parts)))


@pytest.mark.parametrize(
    ("factors", "value"),
    [
        ([SMALLEST, 0.5], 0.0),  # half of the smallest: ties to even, which is zero
        ([3 * SMALLEST, 0.5], 2 * SMALLEST),
        ([SMALLEST, SMALLEST, SMALLEST], 0.0),
        ([LARGEST, LARGEST], math.inf),
        ([-LARGEST, LARGEST, LARGEST], -math.inf),
        ([LARGEST, 1 + 2.0**-53], LARGEST),
        ([2.0**-1022, 1 - 2.0**-53], 2.0**-1022),  # the largest subnormal and a half
        ([-0.0], 0.0),
    ],
)
def test_results_at_the_ends_of_the_range(scratch, factors, value):
    exact.acc_clear(scratch)
    add_term(scratch, factors)
    got = exact.acc_round(scratch)
    assert (got, np.signbit(got)) == (value, value < 0)
    assert exact.acc_sign(scratch) == sign(math.prod(map(Fraction, factors)))


def test_the_overflow_threshold_is_a_midpoint(scratch):
    for nudge, value in ((-SMALLEST, LARGEST), (0.0, math.inf)):
        exact.acc_clear(scratch)
        for x in (LARGEST, 2.0**970, nudge):
            exact.acc_add(scratch, x)
        assert exact.acc_round(scratch) == value


@njit
def add_often(a, x, n):
    for _ in range(n):
        exact.acc_add(a, x)


def test_more_terms_than_one_limb_can_hold_uncarried(scratch):
    x = -math.ldexp(2.0**53 - 1, 17)
    n = (1 << 28) + 3
    exact.acc_clear(scratch)
    exact.acc_add(scratch, 1.0)
    add_often(scratch, x, n)
    check_value(scratch, 1 + n * Fraction(x))


@MANY
@given(double, double)
def test_error_free_transforms(x, y):
    s, e = exact.two_sum(x, y)
    if math.isfinite(s):
        assert Fraction(s) + Fraction(e) == Fraction(x) + Fraction(y)
    p, e = exact.two_prod(x, y)
    if 2.0**-960 < abs(p) < math.inf:
        assert Fraction(p) + Fraction(e) == Fraction(x) * Fraction(y)


def dot_sign(qx, qy, x1, y1, x2, y2):
    qx, qy, x1, y1, x2, y2 = map(Fraction, (qx, qy, x1, y1, x2, y2))
    return sign(qx * (x1 - x2) + qy * (y1 - y2))


def turn_sign(ax, ay, bx, by, cx, cy):
    ax, ay, bx, by, cx, cy = map(Fraction, (ax, ay, bx, by, cx, cy))
    return sign((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))


@st.composite
def ulp_perturbed(draw):
    """Small integers at one power of two, one of them perhaps moved to the next double."""
    scale = draw(st.sampled_from([0, 0, 40, 500, -500, -1070, 1015]))
    numbers = [math.ldexp(float(draw(st.integers(-4, 4))), scale) for _ in range(6)]
    if draw(st.booleans()):
        moved = draw(st.integers(0, 5))
        numbers[moved] = math.nextafter(numbers[moved], draw(st.sampled_from([-math.inf, math.inf])))
    return [x if math.isfinite(x) else LARGEST for x in numbers]


six = st.one_of(
    st.lists(small, min_size=6, max_size=6), ulp_perturbed(), st.lists(double, min_size=6, max_size=6)
)


@MANY
@example([6554730440190525.0, 4074316829049964.0, 0.0, 0.0, 1169713601280381.0, -1881826492714166.0])
@example([1.8660254037844388, 0.49999999999999994, 0.8660254037844387, 0.49999999999999994, 1.0, 0.0])
@example([20.0, 1.0, 84.0, -1e30, 62.0, -1e30])
@example([1e300, 1.0, 1e300, LARGEST, 1e300, -LARGEST])
@example([1e300, -1e300, 1e300, 1e300, 1e299, 1e299])
@example([SMALLEST, SMALLEST, SMALLEST, 0.0, 0.0, SMALLEST])
@example([SMALLEST, -SMALLEST, 0.5, 0.25, 0.25, 0.0])
@given(six)
def test_dot_comparison_is_exact(scratch, numbers):
    assert exact.compare_dot2(*numbers, scratch) == dot_sign(*numbers)


@MANY
@example([0.0, 0.0, LARGEST, LARGEST, -LARGEST, -LARGEST])
@example([LARGEST, 0.0, -LARGEST, SMALLEST, 0.0, SMALLEST])
@example([0.0, 0.0, SMALLEST, SMALLEST, 2 * SMALLEST, 2 * SMALLEST])
@example([0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
@given(six)
def test_turn_is_exact(scratch, numbers):
    assert exact.orient2(*numbers, scratch) == turn_sign(*numbers)


@MANY
@given(double, double, double, double)
def test_a_key_ties_with_itself_and_two_points_are_collinear(scratch, a, b, c, d):
    assert exact.compare_dot2(a, b, c, d, c, d, scratch) == 0
    assert exact.orient2(a, b, a, b, c, d, scratch) == 0
    assert exact.orient2(a, b, c, d, a, b, scratch) == 0
