"""Queries whose second coordinate has a known sign: half a hull answers, alone or beside whole ones."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnc_backends.numba.runtime.hull_layout import HULL_MEANS, HULL_NO_LOWER
from hull_keys import families, keys_of
from running_cases import assert_same, drive, everywhere

STEPS = """graph @g(%a: f64[2 x 1], %k: f64[2 x 2], %v: f64[2 x 2]) {
  %up = constant {type = f64[2 x 1], values = [1.0]}
  %q = concat %a, %up
  %r = concat %a, %a
  %c = cache {heads = [2], key = f64[2], value = f64[2]}
  %d = append %c, %k, %v
  %m = attend.step %q, %d {normalizer = hardmax(mean)}
  %f, %p = attend.step %q, %d {normalizer = hardmax(first), scale = -0.5, with_argmax = true}
  %l = attend.step %q, %d {normalizer = hardmax(last)}
  %w = attend.step %r, %d {normalizer = hardmax(last)}
  return %m, %f, %p, %l, %w
}"""
BATCH = """graph @g(%a: f64[N x 1], %k: f64[N x 2], %v: f64[N x 2]) {{
  %side = constant {{type = f64[N x 1], values = [{side}]}}
  %q = concat %a, %side
  %m = attend %q, %k, %v {{normalizer = hardmax(mean), mask = causal(top_left)}}
  %f = attend %q, %k, %v {{normalizer = hardmax(first), scale = -2.0}}
  return %m, %f
}}"""


def rows_of(family, seed):
    """Inputs for some steps; each call goes on drawing."""
    rng = np.random.default_rng(seed)

    def rows(steps):
        k = keys_of(family, rng, (steps, 2))
        a = rng.choice([0.0, 1.0, -1.0, 0.5, -2.0, 1e9], (steps, 2, 1))
        return {"a": a, "k": k, "v": rng.choice([0.1, 1.0, -3.0, 2.0**60], (steps, 2, 2))}

    return rows


@pytest.fixture(scope="module")
def states():
    return everywhere(STEPS, "hull")


@given(data=st.data(), family=families, seed=st.integers(0, 2**32))
def test_states_keep_what_their_readers_need(states, data, family, seed):
    drive(states, rows_of(family, seed), data.draw)


def test_a_hull_serves_every_reader_that_needs_less(states):
    found = re.findall(r"hull_init\(frame, at, capacity, 2, (\d+)\)", states["hull"].source())
    # One reader needs the upper half with sums, which serves the one without; one needs both halves, which
    # serve the one that needs the lower.
    assert sorted(map(int, found)) == [0, HULL_NO_LOWER | HULL_MEANS]


@pytest.fixture(scope="module", params=["0.25", "-1.0"])
def batches(request):
    return everywhere(BATCH.format(side=request.param), "hull")


@given(family=families, seed=st.integers(0, 2**32), count=st.sampled_from([0, 1, 2, 5, 40]))
def test_batches_agree_with_the_reference(batches, family, seed, count):
    rng = np.random.default_rng(seed)
    a = rng.choice([0.0, 1.0, -1.0, 0.5, -2.0, np.inf], (count, 1))
    v = rng.choice([0.1, 1.0, -3.0, 2.0**60], (count, 2))
    assert_same(batches, {"a": a, "k": keys_of(family, rng, (count,)), "v": v})
