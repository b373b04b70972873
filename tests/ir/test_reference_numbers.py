"""Exact scores, expressions and storage: the arithmetic under the reference interpreter."""

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attnc_ir.errors import ArgumentError
from attnc_ir.expr import (
    Binary,
    BinaryOp,
    BoolLiteral,
    FloatLiteral,
    Index,
    IntLiteral,
    Lookup,
    Unary,
    UnaryOp,
    Variable,
    Where,
)
from attnc_ir.reference import extended
from attnc_ir.reference.expressions import Evaluator, Position, wrap
from attnc_ir.reference.scores import CappedScore, PlainScore, compare, tanh_enclosure
from attnc_ir.storage import convert, from_float64, to_float64
from attnc_ir.types import DType
from reference_graphs import tensor

INF, NAN = math.inf, math.nan
AT = Position(b=1, h=2, i=3, j=5)
J = Index(Variable.KEY)

dyadic = st.builds(lambda n, e: Fraction(n) / 2**e, st.integers(-40, 40), st.integers(0, 3))
number = st.one_of(dyadic, st.sampled_from([INF, -INF, NAN]))


def same(x, y):
    return x == y or (x != x and y != y)


# --- extended ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "ieee"), [(extended.add, lambda x, y: x + y), (extended.mul, lambda x, y: x * y)]
)
@given(x=number, y=number)
def test_extended_arithmetic_is_that_of_doubles_where_doubles_are_exact(function, ieee, x, y):
    assert same(function(x, y), ieee(float(x), float(y)))


@given(x=number, y=number)
def test_extended_division_has_one_zero(x, y):
    with np.errstate(all="ignore"):
        expected = np.float64(float(x)) / np.float64(float(y))
    quotient = extended.div(x, y)
    if y != 0 and isinstance(quotient, Fraction):
        assert quotient == (0 if math.isinf(y) else x / y)
    else:
        assert same(quotient, expected)


@pytest.mark.parametrize(("x", "y"), [(NAN, Fraction(1)), (Fraction(1), NAN), (NAN, INF)])
def test_minimum_and_maximum_propagate_nan(x, y):
    assert extended.is_nan(extended.smaller(x, y))
    assert extended.is_nan(extended.larger(x, y))


def test_too_large_a_fraction_is_an_infinite_double():
    assert extended.to_float(-(Fraction(10) ** 400)) == -INF
    assert extended.to_float(Fraction(1, 10**400)) == 0.0


# --- capped scores ----------------------------------------------------------------------------------------------------


@given(dyadic, st.integers(5, 60))
@example(Fraction(1000), 20)
@example(Fraction(1, 10**300), 30)
def test_tanh_lies_in_its_enclosure(x, digits):
    low, high = tanh_enclosure(x, digits)
    with localcontext() as context:
        context.prec = 2 * digits + 700
        e = (2 * Decimal(x.numerator) / Decimal(x.denominator)).exp()
        tanh = Fraction((e - 1) / (e + 1))
    # The comparison value is itself rounded, far below the width of the enclosure.
    slack = Fraction(1, 10 ** (2 * digits + 600))
    assert low - slack <= tanh <= high + slack
    assert high - low <= Fraction(10) ** (2 - digits)


@given(dyadic, dyadic, dyadic)
def test_a_cap_without_bias_never_changes_the_order(x, y, cap):
    cap = abs(cap) + 1
    zero = Fraction(0)
    assert compare(CappedScore(x, zero, cap), CappedScore(y, zero, cap)) == (x > y) - (x < y)


@given(dyadic, dyadic, dyadic, dyadic)
def test_capped_scores_order_as_doubles_do_where_those_are_apart(x, y, a, b):
    left, right = CappedScore(x, a, Fraction(2)), CappedScore(y, b, Fraction(2))
    difference = left.to_float() - right.to_float()
    if abs(difference) > 1e-9:
        assert compare(left, right) == math.copysign(1, difference)
    assert compare(left, right) == -compare(right, left)


def test_capped_scores_closer_than_doubles_can_tell():
    cap = Fraction(1)
    # tanh(1/2) = 0.46211715726000975850231848364367254873...; the bias stops short of it, or passes it, in the 37th digit.
    short = Fraction("0.4621171572600097585023184836436725487")
    past = Fraction("0.4621171572600097585023184836436725488")
    score = CappedScore(Fraction(1, 2), Fraction(0), cap)
    assert score.to_float() == float(short) == float(past)
    assert compare(score, CappedScore(Fraction(0), short, cap)) == 1
    assert compare(score, CappedScore(Fraction(0), past, cap)) == -1


def test_an_infinite_dot_product_is_capped_to_the_cap():
    cap, one = Fraction(2), Fraction(1)
    infinite = CappedScore(INF, one, cap)
    assert compare(infinite, CappedScore(INF, one, cap)) == 0
    assert compare(infinite, CappedScore(Fraction(0), Fraction(3), cap)) == 0
    assert compare(infinite, CappedScore(Fraction(10**9), one, cap)) == 1
    assert compare(CappedScore(-INF, one, cap), CappedScore(-Fraction(10**9), one, cap)) == -1
    assert compare(CappedScore(Fraction(1), INF, cap), infinite) == 1
    assert compare(infinite, CappedScore(Fraction(1), INF, cap)) == -1


def test_plain_scores_compare_infinities_as_equal():
    assert compare(PlainScore(INF), PlainScore(INF)) == 0
    assert compare(PlainScore(-INF), PlainScore(Fraction(-(10**400)))) == -1
    assert PlainScore(NAN).is_nan
    assert CappedScore(NAN, Fraction(0), Fraction(1)).is_nan


# --- expressions ------------------------------------------------------------------------------------------------------


def value(expr, exact=False, **arrays):
    return Evaluator(arrays, exact=exact, where="graph @g: %o: ").value(expr, AT)


def test_coordinates():
    assert [value(Index(v)) for v in (Variable.BATCH, Variable.HEAD, Variable.QUERY, Variable.KEY)] == [
        1,
        2,
        3,
        5,
    ]


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_integers_wrap_as_int64_does(x, y):
    with np.errstate(all="ignore"):
        for op, reference in (
            (BinaryOp.ADD, np.add),
            (BinaryOp.SUB, np.subtract),
            (BinaryOp.MUL, np.multiply),
        ):
            assert value(Binary(op, IntLiteral(x), IntLiteral(y))) == int(reference(np.int64(x), np.int64(y)))
        assert value(Unary(UnaryOp.NEG, IntLiteral(x))) == int(-np.int64(x))
        assert value(Unary(UnaryOp.ABS, IntLiteral(x))) == int(np.abs(np.int64(x)))
    assert wrap(x + 2**64) == x


@pytest.mark.parametrize(("x", "quotient", "remainder"), [(7, 2, 1), (-7, -3, 2), (-6, -2, 0)])
def test_integer_division_rounds_toward_minus_infinity(x, quotient, remainder):
    assert value(Binary(BinaryOp.FLOORDIV, IntLiteral(x), IntLiteral(3))) == quotient
    assert value(Binary(BinaryOp.MOD, IntLiteral(x), IntLiteral(3))) == remainder


@pytest.mark.parametrize(
    ("x", "y", "expected"), [(1.0, 0.0, INF), (-1.0, 0.0, -INF), (0.0, 0.0, NAN), (1.0, -0.0, -INF)]
)
def test_doubles_divide_as_ieee_does(x, y, expected):
    assert same(value(Binary(BinaryOp.DIV, FloatLiteral(x), FloatLiteral(y))), expected)


def test_functions_beyond_their_domain_give_nan_or_infinity():
    assert same(value(Unary(UnaryOp.LOG, FloatLiteral(-1.0))), NAN)
    assert value(Unary(UnaryOp.LOG, IntLiteral(0))) == -INF
    assert same(value(Unary(UnaryOp.SQRT, IntLiteral(-4))), NAN)
    assert value(Unary(UnaryOp.EXP, IntLiteral(10**6))) == INF
    assert value(Unary(UnaryOp.TANH, FloatLiteral(-INF))) == -1.0


def test_exact_floats_are_fractions():
    tenth = Binary(BinaryOp.ADD, FloatLiteral(0.1), FloatLiteral(0.2))
    assert value(tenth) == 0.1 + 0.2
    assert value(tenth, exact=True) == Fraction(0.1) + Fraction(0.2)
    third = Binary(BinaryOp.DIV, IntLiteral(1), IntLiteral(3))
    assert value(third, exact=True) == Fraction(1, 3)
    assert value(Unary(UnaryOp.ABS, Unary(UnaryOp.NEG, third)), exact=True) == Fraction(1, 3)
    assert value(Binary(BinaryOp.MAX, FloatLiteral(INF), IntLiteral(3)), exact=True) == INF


def test_where_gives_one_type_whichever_branch_is_taken():
    # The integer 2**62 is a float here, because the other branch is one: adding it to itself does not wrap.
    wide = Where(BoolLiteral(True), IntLiteral(2**62), FloatLiteral(0.5))
    assert value(Binary(BinaryOp.ADD, wide, wide)) == 2.0**63
    narrow = Where(BoolLiteral(True), IntLiteral(2**62), IntLiteral(0))
    assert value(Binary(BinaryOp.ADD, narrow, narrow)) == -(2**63)


@pytest.mark.parametrize("exact", [False, True])
def test_comparisons_are_false_with_nan_but_for_unequal(exact):
    for op in (BinaryOp.LT, BinaryOp.LE, BinaryOp.GT, BinaryOp.GE, BinaryOp.EQ):
        assert value(Binary(op, FloatLiteral(NAN), IntLiteral(1)), exact) is False
    assert value(Binary(BinaryOp.NE, FloatLiteral(NAN), FloatLiteral(NAN)), exact) is True


def test_exact_comparison_of_an_integer_and_a_float_does_not_round():
    equal = Binary(BinaryOp.EQ, IntLiteral(2**53 + 1), FloatLiteral(2.0**53))
    assert value(equal) is True
    assert value(equal, exact=True) is False


TABLE = tensor("t", "f32", 4)
COUNTS = tensor("n", "i32", 2, 3)
FLAGS = tensor("f", "bool", 6)
BRAIN = tensor("w", "bf16", 6)


def test_look_ups_read_every_element_type():
    assert value(Lookup(TABLE, (Index(Variable.QUERY),)), t=np.float32([0, 1, 2, 0.1])) == float(
        np.float32(0.1)
    )
    assert (
        value(Lookup(COUNTS, (IntLiteral(1), IntLiteral(2))), n=np.arange(6, dtype=np.int32).reshape(2, 3))
        == 5
    )
    assert value(Lookup(FLAGS, (J,)), f=np.array([False] * 5 + [True])) is True
    assert value(Lookup(BRAIN, (J,)), exact=True, w=np.full(6, 0x3FC0, np.uint16)) == Fraction(3, 2)


@pytest.mark.parametrize("index", [IntLiteral(4), IntLiteral(-1), Binary(BinaryOp.SUB, J, IntLiteral(9))])
def test_a_look_up_outside_its_table_names_the_place(index):
    with pytest.raises(
        ArgumentError,
        match=r"graph @g: %o: look-up %t\[-?\d+\] at batch 1, head 2, row 3, key 5: index -?\d+ is outside axis 0 of size 4",
    ):
        value(Lookup(TABLE, (index,)), t=np.zeros(4, np.float32))


def test_what_a_condition_rules_out_is_not_looked_up():
    outside = Lookup(FLAGS, (IntLiteral(99),))
    arrays = {"f": np.zeros(6, bool)}
    assert value(Binary(BinaryOp.AND, BoolLiteral(False), outside), **arrays) is False
    assert value(Binary(BinaryOp.OR, BoolLiteral(True), outside), **arrays) is True
    assert value(Where(BoolLiteral(False), outside, BoolLiteral(True)), **arrays) is True


# --- storage ----------------------------------------------------------------------------------------------------------


# Every bf16 from 0 up, by its bits; rounding treats infinity as the number one step beyond the largest.
LADDER = to_float64(np.arange(0x7F81, dtype=np.uint16), DType.BF16)
LADDER[-1] = 2.0**128


def bf16_by_search(x):
    """The bits of the bf16 nearest to a double `x >= 0`, by rational comparison with both neighbours."""
    above = int(np.searchsorted(LADDER, x))
    if above == len(LADDER):
        return 0x7F80
    if LADDER[above] == x:
        return above
    low, high = Fraction(x) - Fraction(LADDER[above - 1]), Fraction(LADDER[above]) - Fraction(x)
    return above - 1 if low < high or (low == high and above % 2) else above


@given(
    st.one_of(
        st.floats(allow_nan=False, min_value=0.0),
        st.builds(math.ldexp, st.integers(2**9, 2**11), st.integers(-150, 120)),
    )
)
@example(math.ldexp(0x101, -8))
@example(math.ldexp(0x103, -8))
@example(math.nextafter(math.ldexp(0x101, -8), 2))
@example(3.3961775292304958e38)
@example(1e300)
def test_doubles_round_once_to_bf16(x):
    expected = bf16_by_search(x)
    assert int(from_float64(x, DType.BF16)) == expected
    assert int(from_float64(-x, DType.BF16)) == expected | 0x8000


@pytest.mark.parametrize("dtype", [DType.BF16, DType.F16])
def test_every_short_float_survives_the_way_to_double_and_back(dtype):
    bits = np.arange(2**16).astype(np.uint16)
    stored = bits if dtype is DType.BF16 else bits.view(np.float16)
    back = from_float64(to_float64(stored, dtype), dtype)
    numbers = ~np.isnan(to_float64(stored, dtype))
    assert np.array_equal(back.view(np.uint16)[numbers], bits[numbers])
    assert np.isnan(to_float64(back, dtype)[~numbers]).all()


def test_narrowing_overflows_to_infinity_quietly():
    assert from_float64([1e300, -1e300], DType.F32).tolist() == [INF, -INF]
    assert from_float64([65520.0], DType.F16).tolist() == [INF]


@pytest.mark.parametrize(
    ("x", "i32", "i64"),
    [(2.9, 2, 2), (-2.9, -2, -2), (NAN, -(2**31), -(2**63)), (INF, -(2**31), -(2**63)), (2.0**31, -(2**31), 2**31),
     (-(2.0**63), -(2**31), -(2**63)), (2.0**63, -(2**31), -(2**63))],
)  # fmt: skip
def test_floats_truncate_to_integers_or_give_the_lowest(x, i32, i64):
    assert convert(np.array([x]), DType.F64, DType.I32).tolist() == [i32]
    assert convert(np.array([x]), DType.F64, DType.I64).tolist() == [i64]


def test_conversions_between_the_other_types():
    assert convert(np.array([NAN, 0.0, -0.0, 2.0]), DType.F64, DType.BOOL).tolist() == [
        True,
        False,
        False,
        True,
    ]
    assert convert(np.array([0x8000, 0x3F80], np.uint16), DType.BF16, DType.BOOL).tolist() == [False, True]
    assert convert(np.array([True, False]), DType.BOOL, DType.BF16).tolist() == [0x3F80, 0]
    assert convert(np.array([2**32 + 7]), DType.I64, DType.I32).tolist() == [7]
    assert convert(np.array([2**24 + 1]), DType.I64, DType.F32).tolist() == [2.0**24]


def test_wide_integers_round_once_to_bf16():
    # One more than halfway between two bf16: by way of a double, the one is lost and the tie goes down.
    x = 2**62 + 2**54 + 1
    assert convert(np.array([x, x - 1, -x]), DType.I64, DType.BF16).tolist() == [0x5E81, 0x5E80, 0xDE81]
