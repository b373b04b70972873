import math

from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.expressions import Box, exact_range, fold, linear, magnitude, slope_in_key
from attnc_ir.expr import (
    Binary,
    BinaryOp,
    BoolLiteral,
    ExprType,
    FloatLiteral,
    Index,
    IntLiteral,
    Unary,
    UnaryOp,
    Variable,
    Where,
    type_of,
)
from attnc_ir.reference.expressions import Evaluator, Position, wrap

BOX = Box(2, 3, 4, 5)
POSITIONS = [Position(b, h, i, j) for b in range(2) for h in range(3) for i in range(4) for j in range(5)]

ARITHMETIC = [BinaryOp.ADD, BinaryOp.SUB, BinaryOp.MUL, BinaryOp.MIN, BinaryOp.MAX]
COMPARISONS = [BinaryOp.LT, BinaryOp.LE, BinaryOp.GT, BinaryOp.GE, BinaryOp.EQ, BinaryOp.NE]
literals = st.integers(-4, 4) | st.sampled_from([2**62, -(2**63), 2**63 - 1])


@st.composite
def integers(draw, depth=3):
    kind = draw(st.integers(0, 5)) if depth else 0
    inner = integers(depth=depth - 1) if depth else st.nothing()
    match kind:
        case 0:
            return draw(st.sampled_from([Index(v) for v in Variable]) | literals.map(IntLiteral))
        case 1:
            return Unary(draw(st.sampled_from([UnaryOp.NEG, UnaryOp.ABS])), draw(inner))
        case 2:
            operator = draw(st.sampled_from([BinaryOp.FLOORDIV, BinaryOp.MOD]))
            return Binary(operator, draw(inner), IntLiteral(draw(st.integers(1, 4))))
        case 3:
            return Where(draw(conditions(depth=depth - 1)), draw(inner), draw(inner))
        case _:
            return Binary(draw(st.sampled_from(ARITHMETIC)), draw(inner), draw(inner))


@st.composite
def conditions(draw, depth=3):
    match draw(st.integers(0, 4)) if depth else 0:
        case 0:
            return BoolLiteral(draw(st.booleans()))
        case 1:
            return Unary(UnaryOp.NOT, draw(conditions(depth=depth - 1)))
        case 2:
            operator = draw(st.sampled_from([BinaryOp.AND, BinaryOp.OR]))
            return Binary(operator, draw(conditions(depth=depth - 1)), draw(conditions(depth=depth - 1)))
        case _:
            operator = draw(st.sampled_from(COMPARISONS))
            return Binary(operator, draw(integers(depth=depth - 1)), draw(integers(depth=depth - 1)))


@st.composite
def floats(draw, depth=3):
    kind = draw(st.integers(0, 5)) if depth else draw(st.integers(0, 1))
    inner = floats(depth=depth - 1) if depth else st.nothing()
    match kind:
        case 0:
            return draw(integers(depth=1))
        case 1:
            return FloatLiteral(draw(st.sampled_from([0.5, -2.0, 1e30, math.inf])))
        case 2:
            return Unary(draw(st.sampled_from([UnaryOp.NEG, UnaryOp.ABS])), draw(inner))
        case 3:
            return Where(draw(conditions(depth=1)), draw(inner), draw(inner))
        case _:
            return Binary(draw(st.sampled_from([*ARITHMETIC, BinaryOp.DIV])), draw(inner), draw(inner))


EVALUATOR = Evaluator({})
EXACT = Evaluator({}, exact=True)


@settings(max_examples=300)
@given(expr=integers() | conditions())
def test_folding_keeps_the_value_and_the_type(expr):
    folded = fold(expr, BOX)
    assert type_of(folded) is type_of(expr)
    for at in POSITIONS:
        assert EVALUATOR.value(expr, at) == EVALUATOR.value(folded, at)
    assert fold(folded, BOX) == folded


@settings(max_examples=200)
@given(expr=floats())
def test_folding_inside_floats_keeps_the_value_and_the_type(expr):
    folded = fold(expr, BOX)
    assert type_of(folded) is type_of(expr)
    for at in POSITIONS[::7]:
        x, y = EVALUATOR.value(expr, at), EVALUATOR.value(folded, at)
        assert x == y or (x != x and y != y)


@settings(max_examples=300)
@given(expr=integers())
def test_a_range_holds_and_says_that_nothing_wraps(expr):
    found = exact_range(expr, BOX)
    if found is None:
        return
    for at in POSITIONS:
        assert found.low <= EVALUATOR.value(expr, at) <= found.high


@settings(max_examples=300)
@given(expr=integers())
def test_a_linear_form_gives_the_same_number(expr):
    form = linear(expr, BOX)
    if form is None:
        return
    for at in POSITIONS:
        value = form.constant + sum(form.of(v) * getattr(at, v.value) for v in Variable)
        assert value == EVALUATOR.value(expr, at) == wrap(value)


@settings(max_examples=300)
@given(expr=floats())
def test_a_magnitude_bounds_the_value_in_doubles_and_in_exact_arithmetic(expr):
    bound = magnitude(expr, BOX)
    if bound is None:
        return
    for at in POSITIONS[::5]:
        for evaluator in (EVALUATOR, EXACT):
            value = evaluator.number(evaluator.value(expr, at))
            assert abs(value) <= bound


@settings(max_examples=300)
@given(expr=floats())
def test_a_slope_is_the_difference_between_neighbouring_keys(expr):
    slope = slope_in_key(expr, BOX)
    if slope is None:
        return
    for at in POSITIONS:
        if at.j:
            before = Position(at.b, at.h, at.i, at.j - 1)
            assert EXACT.number(EXACT.value(expr, at)) - EXACT.number(EXACT.value(expr, before)) == slope


def test_what_the_draws_must_reach():
    j, i = Index(Variable.KEY), Index(Variable.QUERY)
    assert fold(Binary(BinaryOp.LT, j, IntLiteral(5)), BOX) == BoolLiteral(True)
    assert fold(Binary(BinaryOp.MOD, j, IntLiteral(9)), BOX) == j
    assert fold(Binary(BinaryOp.MIN, i, IntLiteral(3)), BOX) == i
    assert fold(Where(BoolLiteral(True), IntLiteral(1), FloatLiteral(0.5)), BOX) != IntLiteral(1)
    assert type_of(fold(Where(BoolLiteral(True), IntLiteral(1), FloatLiteral(0.5)), BOX)) is ExprType.FLOAT
    assert (
        linear(Binary(BinaryOp.MUL, IntLiteral(3), Binary(BinaryOp.SUB, j, i)), BOX).of(Variable.QUERY) == -3
    )
    assert exact_range(Binary(BinaryOp.MUL, IntLiteral(2**62), j), BOX) is None
    assert magnitude(FloatLiteral(math.inf), BOX) is None
    assert slope_in_key(Binary(BinaryOp.ADD, j, FloatLiteral(math.nan)), BOX) is None
