"""Modifiers in compiled code give what they give in the reference, infinities and NaN included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from attnc_backends.numba.score_range import reach
from attnc_ir.attributes.modifier import MODIFIER
from attnc_ir.builder import read_attribute
from attnc_ir.expr import ExprType, type_of
from attnc_ir.reference.expressions import Evaluator, Position
from backend_cases import compiled
from drawn_modules import floats

RULES = "where(score > %t[j], log(score), where(h == 1, 0.5 * score, where(j == 3, -inf, 1.0 / score)))"
BATCH = """graph @g(%q: {t}[2 x N x 1], %k: {t}[2 x M x 1], %v: {t}[2 x M x 2], %t: f32[M]) {{
  %o, %l = attend %q, %k, %v {{normalizer = {n}, mask = predicate(j != i), scale = -1.0, modifier = expression({m})}}
  return %o, %l
}}"""
STEP = """graph @g(%x: f64[H x 1], %t: f64[2]) {
  %c = cache {heads = [H], key = f64[1], value = f64[1]}
  %d = append %c, %x, %x
  %o = attend.step %x, %d {normalizer = softmax, modifier = expression(score * %t[j % 2] + 0.25 * (i - j) * h)}
  return %o
}"""


@pytest.mark.parametrize(("dtype", "normalizer"), [("f64", "softmax"), ("f32", "softmax"), ("f64", "mean")])
@settings(max_examples=40)
@given(data=st.data())
def test_scores_of_every_kind(dtype, normalizer, data):
    text = BATCH.format(t=dtype, n=normalizer, m=RULES)
    numbers = st.sampled_from([0.0, 1.0, -1.0, 2.0, 3.0, np.inf, -np.inf, np.nan])

    def drawn(*shape, kind=numbers, of={"f64": np.float64, "f32": np.float32}[dtype]):
        count = int(np.prod(shape))
        return np.array(data.draw(st.lists(kind, min_size=count, max_size=count)), of).reshape(shape)

    keys = data.draw(st.integers(0, 6))
    plain = st.sampled_from([0.0, 1.0, -1.0, 2.0])
    arrays = {
        "q": drawn(2, 3, 1, kind=plain), "k": drawn(2, keys, 1), "v": drawn(2, keys, 2, kind=plain),
        "t": drawn(keys, kind=plain, of=np.float32),
    }  # fmt: skip
    found = compiled(text).run("g", arrays)
    for got, wanted in zip(found, attnc.reference(text, "g", **arrays), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_steps():
    x, t = np.random.default_rng(0).normal(size=(9, 3, 1)), np.tile([0.5, -2.0], (9, 1))
    np.testing.assert_allclose(compiled(STEP)("g", x, t), attnc.reference(STEP, "g", x=x, t=t), rtol=1e-12)


def test_the_number_of_threads_changes_no_bit():
    draw = np.random.default_rng(0)
    q, k, v = (draw.normal(size=(2, 170, width)) for width in (1, 1, 2))
    arrays = {"q": q, "k": k, "v": v, "t": np.zeros(170, np.float32)}
    program = compiled(BATCH.format(t="f64", n="softmax", m=RULES))
    for got, wanted in zip(
        program.run("g", arrays, threads=5), program.run("g", arrays, threads=1), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("modifier", "note"),
    [
        ("score * score", "the modifier is asked for each score, one by one: vectors compute only the products"),
        ("exp(score)", "simple tiles compute it, not vectors: scale, softcap, modifier or bias reach beyond what an f32 holds"),
        ("1 / (1 + exp(-score))", "the modifier is asked for each score, one by one: vectors compute only the products"),
    ],
)  # fmt: skip
def test_the_plan_says_what_it_costs(modifier, note):
    text = BATCH.format(t="f32", n="softmax", m=modifier)
    plan = attnc.compile(text, threads=1).plan if "exp" not in modifier else compiled(text).plan
    assert note in plan.node("o").notes
    plain = attnc.compile(text.replace(f", modifier = expression({modifier})", ""), backend="numpy").plan
    cost, less = (dict(p.node("o").chosen.cost.terms) for p in (plan, plain))
    assert cost["modifier"] > 0
    assert "modifier" not in less


@settings(max_examples=300)
@given(expr=floats(3, False, True), at=st.tuples(*[st.integers(0, 50)] * 4), score=st.floats(-1e12, 1e12))
def test_a_range_holds_what_an_expression_gives(expr, at, score):
    low, high = reach(expr)
    value = Evaluator({}).value(expr, Position(*at, score))
    slack = 1e-12 * max(abs(low), abs(high), 1e-300)
    assert not np.isfinite(value) or low - slack <= value <= high + slack


def test_ranges():
    def found(text):
        return reach(read_attribute("modifier", MODIFIER, f"expression({text})").value)

    assert found("1 / (1 + exp(-score))") == (0.0, 1.0)
    assert found("max(min(score, 3.0), -2)") == (-2.0, 3.0)
    assert found("where(score > 0.0, 2, -inf)") == (0.0, 2.0)
    assert found("i * i * i * i") == (-(2.0**63), 2.0**63)
    assert type_of(read_attribute("modifier", MODIFIER, "expression(i * i)").value) is ExprType.INT
    assert found("1 / score") == (-np.inf, np.inf)
