"""Winners known from positions: the compiled look-up against the reference and the dense scan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc_ir.attributes.strategy import Position
from attnc_ir.ops import Attend
from running_cases import assert_same, columns, everywhere

# Keys (j, -j^2) and queries (2 i + n, 1): the vertex stands at i + n / 2, for n = -2, 1, 0.5 and 1.5.
SPEC = """graph @g(%v: f64[2 x M x 2], %w: f16[2 x M x 3], %q: i64[N], %p: i64[]) {
  %i = iota {type = f64[N x 1], axis = 0}
  %j = iota {type = f64[M x 1], axis = 0}
  %one = constant {type = f64[N x 1], values = [1.0]}
  %shifts = constant {type = f64[4], values = [-2.0, 1.0, 0.5, 1.5]}
  %square = mul %j, %j
  %down = neg %square
  %flat = concat %j, %down
  %keys = broadcast %flat {shape = [2 x M x 2]}
  %twice = add %i, %i
  %s0 = slice %shifts {start = 0, stop = 1}
  %s1 = slice %shifts {start = 1, stop = 2}
  %s2 = slice %shifts {start = 2, stop = 3}
  %s3 = slice %shifts {start = 3, stop = 4}
  %x0 = add %twice, %s0
  %x1 = add %twice, %s1
  %x2 = add %twice, %s2
  %x3 = add %twice, %s3
  %q0 = concat %x0, %one
  %q1 = concat %x1, %one
  %q2 = concat %x2, %one
  %q3 = concat %x3, %one
  %a0 = broadcast %q0 {shape = [4 x N x 2]}
  %a1 = broadcast %q1 {shape = [4 x N x 2]}
  %a2 = broadcast %q2 {shape = [4 x N x 2]}
  %a3 = broadcast %q3 {shape = [4 x N x 2]}
  %a = attend %a0, %keys, %w {normalizer = hardmax(last), mask = causal(top_left)}
  %b = attend %a1, %keys, %v {normalizer = hardmax(mean), mask = window(2, 1, -1)}
  %c = attend %a1, %keys, %w {normalizer = hardmax(first)}
  %d = attend %a1, %keys, %w {normalizer = hardmax(last), mask = prefix(%p)}
  %e = attend %a2, %keys, %v {normalizer = hardmax(mean), mask = causal(bottom_right), scale = 0.25}
  %f = attend %a3, %keys, %v {normalizer = hardmax(mean)}
  // Scores that rise along the keys: the latest wins.
  %up = broadcast %j {shape = [2 x M x 1]}
  %always = constant {type = f64[4 x N x 1], values = [3.0]}
  %g = attend %always, %up, %v {normalizer = hardmax(mean), mask = window(1, 1, 0)}
  %h = attend %always, %up, %v {normalizer = hardmax(first), scale = -1.0}
  return %a, %b, %c, %d, %e, %f, %g, %h
}"""


@pytest.fixture(scope="module")
def programs():
    return everywhere(SPEC, "position")


@pytest.mark.thorough
def test_each_node_reads_at_its_own_distance(programs):
    nodes = [op for op in programs["position"].module["g"].ops if isinstance(op, Attend)]
    square = 94906266  # beyond, j * j is no longer exact
    far = 2**40  # no sequence is as long: the last of all, and no bound
    assert [(op.strategy.offset, op.strategy.tied) for op in nodes] == [
        (-1, 0), (0, 1), (0, 1), (0, 1), (0, 0), (1, 0), (far, 0), (-far, 0)
    ]  # fmt: skip
    assert {op.strategy.bound for op in nodes[:6]} == {square}
    assert all(op.strategy.bound == far for op in nodes[6:])
    notes = programs["position"].plan.node("a").notes
    assert f"the proof holds below position {square}; rows beyond are answered by the dense scan" in notes
    assert not any("proof" in note for note in programs["position"].plan.node("g").notes)


@pytest.mark.thorough
@settings(max_examples=60)
@given(st.data())
def test_positions_answer_like_the_reference(programs, data):
    draw = data.draw
    n, m = draw(st.integers(0, 7)), draw(st.integers(0, 8))
    arrays = {
        "v": columns(draw, (2, m, 2), "f8", wild=True),
        "w": columns(draw, (2, m, 3), "f2", wild=True),
        "q": np.zeros(n, np.int64),
        "p": np.array(draw(st.integers(0, m))),
    }
    assert_same(programs, arrays)


HALVES = """graph @g(%v: f64[M x 1], %q: i64[N]) {
  %i = iota {type = f16[N x 1], axis = 0}
  %j = iota {type = f16[M x 1], axis = 0}
  %one = constant {type = f16[N x 1], values = [1.0]}
  %square = mul %j, %j
  %down = neg %square
  %keys = concat %j, %down
  %twice = add %i, %i
  %queries = concat %twice, %one
  %a = attend %queries, %keys, %v {normalizer = hardmax(mean), mask = causal(2)}
  %b = attend %queries, %keys, %v {normalizer = hardmax(first), mask = window(0, 70, 0)}
  return %a, %b
}"""


def test_where_storage_rounds_the_keys_the_scan_takes_over():
    # f16 has 11 bits, so squares are exact up to 45 * 45 = 2025 < 2048; above, keys leave the parabola.
    programs = everywhere(HALVES, "position")
    (strategy, _) = (op.strategy for op in programs["position"].module["g"].ops if isinstance(op, Attend))
    assert strategy == Position(0, 46)
    for n, m in ((46, 46), (60, 48), (60, 60), (3, 70)):
        assert_same(programs, {"v": np.arange(m, dtype="f8").reshape(m, 1), "q": np.zeros(n, np.int64)})
    # It is the scan's answer, not the formula's, for some row does not read itself.
    outputs = programs["position"].run(
        "g", {"v": np.arange(60.0).reshape(60, 1), "q": np.zeros(60, np.int64)}
    )
    assert np.flatnonzero(outputs[0][:, 0] != np.arange(60.0)).min() >= 44
