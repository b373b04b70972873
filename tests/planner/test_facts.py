import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnc.facts import (
    ColumnsFact,
    ConstantFact,
    Facts,
    FiniteFact,
    FixedFact,
    IntegerFact,
    PolynomialFact,
    SteadyFact,
    ZeroFact,
    analyze,
)
from attnc.facts.polynomial import Polynomial, exact_below, fitted
from attnc_ir.storage import from_float64, to_float64
from attnc_ir.text import parse
from attnc_ir.types import DType


def facts_of(line, *, x="f64"):
    graph = parse(
        f"""graph @g(%x: {x}[4], %n: i64[4], %c: bool[4]) {{
          %k = constant {{type = f64[4], values = [1, 2, 3, 4]}}
          %inf = constant {{type = f64[1], values = [inf]}}
          %wide = constant {{type = f16[1], values = [1e6]}}
          %i = iota {{type = f64[4]}}
          %half = constant {{type = f64[1], values = [0.5]}}
          %zero = constant {{type = f64[1], values = [0.0]}}
          %r = {line}
          return %r
        }}"""
    )["g"]
    return analyze(graph), graph


@pytest.mark.parametrize(
    ("line", "finite"),
    [
        ("neg %k", True),
        ("min %k, %i", True),
        ("select %c, %k, %i", True),
        ("broadcast %k {shape = [3 x 4]}", True),
        ("slice %k {start = 1, stop = 2}", True),
        ("concat %k, %i", True),
        ("convert %n {to = f64}", True),
        ("neg %n", True),
        ("neg %x", False),
        ("select %c, %k, %x", False),
        ("concat %k, %x", False),
        ("add %k, %i", True),  # small integers
        ("add %half, %half", False),  # may overflow in general
        ("neg %inf", False),
        ("neg %wide", False),  # 1e6 is infinite in f16
        ("convert %k {to = f32}", True),  # small integers
        ("convert %half {to = f32}", False),  # may overflow in general
    ],
)
def test_finiteness_follows_the_elements(line, finite):
    facts, graph = facts_of(line)
    fact = facts.get(graph.outputs[0], FiniteFact)
    assert (fact is not None) is finite


def test_breaking_a_link_breaks_the_chain():
    facts, graph = facts_of("concat %k, %i")
    chain = facts.chain(facts.get(graph.outputs[0], FiniteFact))
    assert chain == (
        "%r moves or compares finite elements",
        "%k is written out and finite",
        "%i counts positions",
    )
    broken, graph = facts_of("concat %k, %x")
    assert [type(fact) for fact in broken.of(graph.outputs[0])] == [ColumnsFact]


def test_one_fact_of_a_type_for_a_value():
    facts, graph = facts_of("neg %k")
    value = graph.ops[0].results[0]
    first = facts.get(value, ConstantFact)
    facts.add(ConstantFact(value, "is something else", (), (0.0,)))
    assert facts.get(value, ConstantFact) is first
    assert {type(fact) for fact in facts.of(value)} >= {ConstantFact, FiniteFact}
    assert len({type(fact) for fact in facts.of(value)}) == len(facts.of(value))
    assert Facts().of(value) == ()


# --- zero, integers -----------------------------------------------------------------------------------------


def fact(kind, line, *, x="f64"):
    """The fact of type `kind` about what `line` makes, if there is one."""
    facts, graph = facts_of(line, x=x)
    return facts.get(graph.outputs[0], kind)


@pytest.mark.parametrize(
    ("line", "zero"),
    [
        ("constant {type = f64[4], values = [0.0, -0.0, 0.0, 0.0]}", True),
        ("constant {type = f64[4], values = [0.0, 5e-324, 0.0, 0.0]}", False),
        ("constant {type = f32[1], values = [1e-60]}", True),  # as it is stored
        ("mul %zero, %k", True),
        ("mul %k, %zero", True),
        ("mul %zero, %x", False),  # an infinite %x makes NaN
        ("mul %zero, %inf", False),
        ("add %zero, %zero", True),
        ("sub %zero, %k", False),
        ("neg %zero", True),
        ("select %c, %zero, %zero", True),
        ("select %c, %zero, %k", False),
        ("broadcast %zero {shape = [3 x 1]}", True),
        ("convert %zero {to = f32}", True),
        ("div %zero, %k", False),  # not followed: a divisor may be zero, too
    ],
)
def test_zero_follows_the_elements(line, zero):
    assert (fact(ZeroFact, line) is not None) is zero


@pytest.mark.parametrize(
    ("line", "span"),
    [
        ("neg %k", (-4, -1)),
        ("add %k, %i", (1, 7)),
        ("sub %i, %k", (-4, 2)),
        ("mul %k, %i", (0, 12)),
        ("max %k, %i", (1, 4)),
        ("min %k, %i", (0, 3)),
        ("concat %k, %i", (0, 4)),
        ("convert %n {to = f64}", (-(2**63), 2**63)),  # rounded, and still an integer
        ("convert %n {to = i32}", (-(2**31), 2**31 - 1)),
        ("convert %n {to = f16}", None),  # may be infinite
        ("convert %c {to = f64}", (0, 1)),
        ("neg %n", (-(2**63), 2**63 - 1)),  # may wrap
        ("mul %k, %half", None),
        ("constant {type = f64[2], values = [3.0, 3.0000000000000004]}", None),  # one ulp beside
        ("constant {type = f32[2], values = [3.0, 3.0000000000000004]}", (3, 3)),  # which f32 does not hold
        ("div %k, %i", None),
        ("neg %x", None),
    ],
)
def test_integers_have_ranges(line, span):
    known = fact(IntegerFact, line)
    assert (known and (known.low, known.high)) == span
    assert span is None or fact(FiniteFact, line) is not None


# --- along the sequence -------------------------------------------------------------------------------------


def sequence(body, *, dtype="f64", rows="N"):
    """Facts about `%r` of a graph with positions `%i` [rows x 1] and some constants, and the value."""
    graph = parse(
        f"""graph @g(%x: {dtype}[{rows} x 2], %head: {dtype}[2]) {{
          %i = iota {{type = {dtype}[{rows} x 1], axis = 0}}
          %one = constant {{type = {dtype}[1], values = [1.0]}}
          %two = constant {{type = {dtype}[1], values = [2.0]}}
          %tenth = constant {{type = {dtype}[1], values = [0.1]}}
          {body}
          return %r
        }}"""
    )["g"]
    return analyze(graph), graph.outputs[0]


PARABOLA = "%d = mul %i, %two\n%s = mul %i, %i\n%n = neg %s\n%r = concat %d, %n"


def polynomials(body, **kwargs):
    facts, value = sequence(body, **kwargs)
    known = facts.get(value, PolynomialFact)
    return known and (tuple(map(str, known.elements)), known.bound)


def test_keys_on_a_parabola_are_known_as_far_as_doubles_hold_the_square():
    assert polynomials(PARABOLA) == (("2*p", "-p*p"), 94906266)
    assert math.isqrt(2**53) + 1 == 94906266
    assert polynomials(PARABOLA, dtype="f32") == (("2*p", "-p*p"), 4097)
    facts, value = sequence(PARABOLA)
    chain = facts.chain(facts.get(value, PolynomialFact))
    assert chain[0] == "%r has rows (2*p, -p*p) at position p below position 94906266"
    assert set(chain[1:]) == {
        "%d has rows (2*p) at position p",
        "%n has rows (-p*p) at position p below position 94906266",
        "%i has rows (p) at position p",
        "%two has rows (2)",
        "%s has rows (p*p) at position p below position 94906266",
    }


def test_multiples_of_a_long_fraction_are_known_until_one_is_rounded():
    # 0.1 has 53 significant bits, and so has 0.2; 3 * 0.1 has one too many.
    assert polynomials("%r = mul %i, %tenth")[1] == 3
    assert Fraction(0.1) * 2 == Fraction(0.2)
    assert Fraction(0.1) * 3 != Fraction(0.1 * 3)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("%r = add %i, %one", ("1 + p",)),
        ("%m = sub %i, %one\n%r = mul %m, %m", ("1 - 2*p + p*p",)),
        ("%q = mul %i, %i\n%r = mul %q, %i", None),  # a cube
        ("%r = add %i, %x", None),
        ("%r = div %i, %two", None),  # not followed
        ("%w = broadcast %i {shape = [N x 2]}\n%r = slice %w {start = 1, stop = 2}", ("p",)),
        ("%w = broadcast %one {shape = [1 x 1]}\n%r = broadcast %w {shape = [N x 2]}", ("1", "1")),
        ("%r = convert %i {to = i64}", ("p",)),
        ("%h = constant {type = f64[1], values = [0.5]}\n%m = mul %i, %h\n%r = convert %m {to = i64}", None),
        ("%a = iota {type = f64[N x 3]}\n%r = mul %a, %i", ("0", "p", "2*p")),
    ],
)
def test_polynomials_follow_exact_arithmetic(body, expected):
    found = polynomials(body)
    assert (found and found[0]) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("0.0, 0.0, 2.0, -1.0, 4.0, -4.0, 6.0, -9.0", ("2*p", "-p*p")),
        ("0.0, 0.0, 2.0, -1.0, 4.0, -4.0, 6.000000000000001, -9.0", None),  # one ulp beside
        ("0.0, 0.0, 2.0, -1.0, 4.0, -4.0, 6.0, -inf", None),
    ],
)
def test_a_written_table_is_recognised(values, expected):
    found = polynomials(f"%r = constant {{type = f64[4 x 2], values = [{values}]}}", rows="4")
    assert (found and found[0]) == expected


def test_a_slice_of_positions_begins_later():
    found = polynomials("%r = slice %i {start = 3, stop = 5, axis = 0}", rows="9")
    assert found[0] == ("3 + p",)


coefficients = st.integers(-9, 9).map(lambda n: Fraction(n, 4))


@given(st.builds(Polynomial, coefficients, coefficients, coefficients), st.integers(0, 40))
def test_polynomials_compute(p, at):
    assert p.shifted(3)(at) == p(at + 3)
    assert (p + p)(at) == 2 * p(at)
    assert fitted([p(n) for n in range(6)]) == p
    assert p.is_integral == all(p(n).denominator == 1 for n in range(4))
    assert p.negative_below(at) == all(p(n) < 0 for n in range(at))
    product = p.times(p)
    assert product is None or product(at) == p(at) ** 2


@given(
    st.builds(Polynomial, coefficients, coefficients, coefficients), st.sampled_from([DType.F16, DType.BF16])
)
def test_exactness_bounds_hold_and_are_used_up(p, dtype):
    bound = exact_below(p, dtype)

    def exact(value):
        return Fraction(float(to_float64(from_float64(float(value), dtype), dtype))) == value

    assert all(exact(p(n)) for n in range(min(bound, 2500)))


# A value, and whether its rows are the same all along, and in every call.
@pytest.mark.parametrize(
    ("body", "along", "always"),
    [
        ("%r = broadcast %head {shape = [N x 2]}", True, False),
        ("%b = broadcast %head {shape = [N x 2]}\n%r = mul %b, %two", True, False),
        ("%b = broadcast %head {shape = [N x 2]}\n%r = mul %b, %i", False, False),
        ("%r = neg %x", False, False),
        ("%r = iota {type = f64[N x 2]}", True, True),
        ("%r = iota {type = f64[N x 2], axis = 0}", False, True),
        ("%r = constant {type = f64[N x 2], values = [7.0]}", True, True),
        ("%r = constant {type = f64[2 x 2], values = [1, 2, 1, 2]}", True, True),
        ("%r = constant {type = f64[2 x 2], values = [1, 2, 1, 2.0000000000000004]}", False, True),
        ("%r = constant {type = f64[2 x 2], values = [1, 0.0, 1, -0.0]}", False, True),  # 1 / x would differ
        ("%b = broadcast %head {shape = [N x 2]}\n%r = concat %b, %b", True, False),
        ("%a = constant {type = f64[2 x 2], values = [1]}\n%r = concat %a, %a {axis = 0}", False, True),
    ],
)  # fmt: skip
def test_rows_that_never_vary(body, along, always):
    facts, value = sequence(body)
    assert (facts.get(value, SteadyFact) is not None) is along
    assert (facts.get(value, FixedFact) is not None) is always
