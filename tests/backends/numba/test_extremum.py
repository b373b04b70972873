"""Keys of width 1: running extremes and monotone queues against the reference and the dense scan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from running_cases import assert_same, columns, drive, everywhere

SPEC = """graph @g(%x: f64[4 x N x 1], %y: f64[2 x M x 1], %v: f64[2 x M x 2], %w: bf16[2 x M x 3]) {
  %a = attend %x, %y, %v {normalizer = hardmax(mean), mask = window(2, 1, bottom_right)}
  %b = attend %x, %y, %w {normalizer = hardmax(first), mask = window(3, 0, 1) & prefix(5), scale = -0.5}
  %c = attend %x, %y, %w {normalizer = hardmax(last), mask = window(2, 0, 0) & causal(-1)}
  %d = attend %x, %y, %v {normalizer = hardmax(mean), mask = causal(1)}
  %e = attend %x, %y, %v {normalizer = hardmax(last)}
  return %a, %b, %c, %d, %e
}"""
NEAR = (0.0, -0.0, 1.0, 1.0 + 2.0**-52, -1.0, 5e-324, -5e-324, 1.7e308)


@pytest.fixture(scope="module")
def programs():
    return everywhere(SPEC, "extremum")


@settings(max_examples=80)
@given(st.data())
def test_extremes_answer_like_the_reference(programs, data):
    draw = data.draw
    n, m = draw(st.integers(0, 7)), draw(st.integers(0, 8))
    wild = draw(st.booleans())
    assert_same(
        programs,
        {
            "x": columns(draw, (4, n, 1), "f8", wild=wild, numbers=NEAR),
            "y": columns(draw, (2, m, 1), "f8", wild=wild, numbers=NEAR),
            "v": columns(draw, (2, m, 2), "f8", wild=True),
            "w": (columns(draw, (2, m, 3), "f4").view(np.uint32) >> 16).astype(np.uint16),
        },
    )


def test_a_long_row_keeps_its_window(programs):
    # Long enough for queues to grow and to run empty many times.
    draw = np.random.default_rng(5)
    n = 120
    arrays = {
        "x": draw.integers(-1, 2, (4, n, 1)).astype("f8"),
        "y": draw.integers(-2, 3, (2, n, 1)).astype("f8"),
        "v": draw.integers(-9, 10, (2, n, 2)).astype("f8"),
        "w": draw.integers(0, 2**14, (2, n, 3)).astype(np.uint16),
    }
    assert_same(programs, arrays)


STEP = """graph @g(%x: f32[2 x 4 x 1], %y: f32[2 x 2 x 1], %v: f64[2 x 2 x 2]) {
  %c = cache {heads = [2 x 2], key = f32[1], value = f64[2]}
  %d = append %c, %y, %v
  %o = attend.step %x, %d {normalizer = hardmax(mean), mask = window(3, 0)}
  %p = attend.step %x, %d {normalizer = hardmax(mean)}
  %r = attend.step %x, %d {normalizer = hardmax(first), mask = window(2, 0)}
  %s = attend.step %x, %d {normalizer = hardmax(last)}
  return %o, %p, %r, %s
}"""


@pytest.fixture(scope="module")
def steppers():
    return everywhere(STEP, "extremum")


def rows(draw, steps, *, wild):
    return {
        "x": columns(draw, (steps, 2, 4, 1), "f4", wild=wild),
        "y": columns(draw, (steps, 2, 2, 1), "f4"),
        "v": columns(draw, (steps, 2, 2, 2), "f8", wild=True),
    }


@pytest.mark.thorough
@settings(max_examples=50)
@given(st.data())
def test_extreme_steps_under_truncation_forks_and_snapshots(steppers, data):
    drive(steppers, lambda steps: rows(data.draw, steps, wild=data.draw(st.booleans())), data.draw)


@pytest.mark.thorough
def test_growth_takes_queues_along(steppers):
    # The arena starts with room for 256 rows; in one long extend it moves twice.
    draw = np.random.default_rng(1)
    steps = 700
    arrays = {
        "x": draw.integers(-1, 2, (steps, 2, 4, 1)).astype("f4"),
        "y": draw.integers(-2, 3, (steps, 2, 2, 1)).astype("f4"),
        "v": draw.integers(-9, 10, (steps, 2, 2, 2)).astype("f8"),
    }
    fast, dense = (steppers[name] for name in ("extremum", "dense"))
    one, two = fast.state(), dense.state()
    for start, stop in ((0, 200), (200, 300), (300, 700)):
        part = {name: array[start:stop] for name, array in arrays.items()}
        for x, y in zip(fast.extend(one, **part), dense.extend(two, **part), strict=True):
            np.testing.assert_array_equal(x, y)
