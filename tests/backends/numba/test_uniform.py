"""Scores that are provably equal: the compiled range follower against the reference and the dense scan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from running_cases import assert_same, columns, drive, everywhere

# Three rules, three value types, three kinds of proof; masks drawn per compiled spec.
SPEC = """graph @g(%x: f32[B x 4 x N x 2], %y: f32[B x 2 x M x 2], %row: f32[B x 2 x 1 x 2], %p: i64[B],
               %v: f64[B x 2 x M x 2], %w: f32[B x 2 x M x 3], %z: f16[B x 2 x M x 1]) {
  %zero = constant {type = f32[1], values = [0.0]}
  %none = broadcast %zero {shape = [B x 4 x N x 2]}
  %same = broadcast %row {shape = [B x 2 x M x 2]}
  %a = attend %none, %y, %v {normalizer = hardmax(mean), mask = causal(bottom_right) & window(2, 1, 0)}
  %b = attend %x, %same, %w {normalizer = hardmax(last), mask = causal(-1)}
  %c = attend %x, %same, %z {normalizer = hardmax(mean), mask = prefix(%p) & causal(1), scale = -0.5}
  %d = attend %x, %y, %v {normalizer = hardmax(first), mask = window(1, 1, 0), scale = 0.0}
  %e = attend %x, %same, %v {normalizer = hardmax(mean)}
  return %a, %b, %c, %d, %e
}"""


@pytest.fixture(scope="module")
def programs():
    return everywhere(SPEC, "uniform")


@settings(max_examples=60)
@given(st.data())
def test_uniform_scores_answer_like_the_reference(programs, data):
    draw = data.draw
    b, n, m = draw(st.integers(1, 2)), draw(st.integers(0, 5)), draw(st.integers(0, 6))
    wild = draw(st.booleans())  # with infinities and NaN, which the dense scan has to answer
    arrays = {
        "x": columns(draw, (b, 4, n, 2), "f4", wild=wild),
        "y": columns(draw, (b, 2, m, 2), "f4", wild=wild),
        "row": columns(draw, (b, 2, 1, 2), "f4", wild=wild),
        "p": np.array(draw(st.lists(st.integers(0, m), min_size=b, max_size=b)), np.int64),
        "v": columns(draw, (b, 2, m, 2), "f8", wild=True),
        "w": columns(draw, (b, 2, m, 3), "f4", wild=True),
        "z": columns(draw, (b, 2, m, 1), "f2", wild=True),
    }
    assert_same(programs, arrays)


def test_the_mean_of_many_is_the_exact_sum_rounded_once(programs):
    # In doubles, 1e16 swallows each 1.0 that is added to it.
    count = 2000
    values = np.ones((1, 2, count, 2))
    values[:, :, 0] = 1e16
    values[:, :, -1] = -1e16
    arrays = {
        "x": np.zeros((1, 4, 1, 2), "f4"), "y": np.ones((1, 2, count, 2), "f4"),
        "row": np.ones((1, 2, 1, 2), "f4"), "p": np.array([count]), "v": values,
        "w": np.zeros((1, 2, count, 3), "f4"), "z": np.zeros((1, 2, count, 1), "f2"),
    }  # fmt: skip
    outputs = programs["uniform"].run("g", arrays)
    np.testing.assert_array_equal(outputs[4], np.full((1, 4, 1, 2), (count - 2) / count))


STEP = """graph @g(%x: f64[4 x 2], %y: f64[2 x 2], %v: f32[2 x 2]) {
  %key = constant {type = f64[2 x 2], values = [1.0, 2.0, -3.0, 0.5]}
  %zero = constant {type = f64[1], values = [0.0]}
  %none = broadcast %zero {shape = [4 x 2]}
  %c = cache {heads = [2], key = f64[2], value = f32[2]}
  %d = append %c, %key, %v
  %e = cache {heads = [2], key = f64[2], value = f32[2]}
  %s = attend.step %none, %e {normalizer = hardmax(last)}
  %f = append %e, %y, %v
  %o = attend.step %x, %d {normalizer = hardmax(mean), mask = window(2, 0)}
  %p = attend.step %x, %d {normalizer = hardmax(first), mask = window(1, 0)}
  %r = attend.step %none, %f {normalizer = hardmax(mean)}
  return %o, %p, %r, %s
}"""


@pytest.fixture(scope="module")
def steppers():
    return everywhere(STEP, "uniform")


def rows(draw, steps, *, wild=False):
    return {
        "x": columns(draw, (steps, 4, 2), "f8", wild=wild),
        "y": columns(draw, (steps, 2, 2), "f8"),
        "v": columns(draw, (steps, 2, 2), "f4", wild=True),
    }


@settings(max_examples=40)
@given(st.data())
def test_uniform_steps_under_truncation_forks_and_snapshots(steppers, data):
    drive(steppers, lambda steps: rows(data.draw, steps, wild=True), data.draw)


def test_rows_of_another_graph_are_noticed(steppers, tmp_path):
    # A snapshot may hold keys that this graph would never append. The proof does not cover them; the code checks.
    text = STEP.replace("append %c, %key", "append %c, %y")
    other = attnc.compile(text, backend="numpy", pipeline="infer")  # or else the two caches become one
    state = other.state()
    draw = np.random.default_rng(3)
    other.extend(
        state,
        x=draw.integers(-2, 3, (5, 4, 2)).astype("f8"),
        y=draw.integers(-2, 3, (5, 2, 2)).astype("f8"),
        v=draw.integers(-2, 3, (5, 2, 2)).astype("f4"),
    )
    state.save(tmp_path / "rows")
    more = {"x": np.ones((3, 4, 2)), "y": np.ones((3, 2, 2)), "v": np.ones((3, 2, 2), "f4")}
    answers = [p.extend(p.load_state(tmp_path / "rows"), **more) for p in steppers.values()]
    for outputs in answers[1:]:
        for one, two in zip(answers[0], outputs, strict=True):
            np.testing.assert_array_equal(one, two)
