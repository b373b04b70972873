"""Nodes that were narrowed or lifted, compiled: the bits of the reference on the graph as it was written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from running_cases import columns, equal

# Effective widths 2, 1 and, with a bias in f32 that only doubles hold, 2; the last one is width 2 with a bias.
SPEC = """graph @g(%q: f64[2 x N x 2], %k: f64[1 x M x 2], %p: f32[N x 1], %x: f32[M x 1], %v: f64[1 x M x 2], %w: f32[M x 1]) {
  %one = constant {type = f64[1 x 1 x 1], values = [1.0]}
  %none = constant {type = f64[1 x 1 x 1], values = [0.0]}
  %ones = broadcast %one {shape = [2 x N x 1]}
  %zeros = broadcast %none {shape = [1 x M x 1]}
  %kone = broadcast %one {shape = [1 x M x 1]}
  %first = slice %k {start = 0, stop = 1}
  %qs = concat %q, %ones, %q
  %ks = concat %k, %kone, %zeros, %zeros
  %flat = attend %qs, %ks, %v {normalizer = hardmax(mean)}
  %ls = concat %first, %zeros
  %line = attend %q, %ls, %v {normalizer = hardmax(last), mask = causal(bottom_right)}
  %tilted = attend %p, %x, %w {normalizer = hardmax(first), mask = causal(1), bias = expression(0.1 * j)}
  %solid = attend %q, %k, %v {normalizer = hardmax(mean), bias = expression(-0.5 * (j - i))}
  return %flat, %line, %tilted, %solid
}"""

PROGRAM = {}


def program():
    if not PROGRAM:
        PROGRAM["one"] = attnc.compile(SPEC, sizes={"N": 10**5, "M": 10**5})
    return PROGRAM["one"]


@pytest.mark.thorough
def test_the_strategies_are_those_of_the_effective_width():
    chosen = [program().plan.node(name).chosen.strategy for name in ("flat", "line", "tilted", "solid")]
    assert chosen[:3] == ["sweep", "extremum", "hull"]
    assert chosen[3] != "dense"


@pytest.mark.thorough
@settings(max_examples=max(80, settings.default.max_examples))
@given(data=st.data(), n=st.sampled_from([0, 1, 5]), m=st.sampled_from([0, 1, 4, 9]), wild=st.booleans())
def test_bits_are_those_of_the_reference(data, n, m, wild):
    arrays = {
        "q": columns(data.draw, (2, n, 2), "f8", wild=wild),
        "k": columns(data.draw, (1, m, 2), "f8", wild=wild),
        "p": columns(data.draw, (n, 1), "f4", wild=wild),
        "x": columns(data.draw, (m, 1), "f4", wild=wild),
        "v": columns(data.draw, (1, m, 2), "f8"),
        "w": columns(data.draw, (m, 1), "f4"),
    }
    got = program().run("g", arrays)
    expected = attnc.reference(program().source_module, "g", **arrays)
    assert equal(got, expected), arrays
