"""Sliding windows in steps: a window is put together from hulls of blocks, through every turn a state can take."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hull_keys import FAMILIES, families, keys_of, queries_of
from running_cases import drive, equal, everywhere

SPEC = """graph @g(%q: f32[4 x 2], %k: f32[2 x 2], %v: f64[2 x 2]) {
  %c = cache {heads = [2], key = f32[2], value = f64[2]}
  %d = append %c, %k, %v
  %a, %p = attend.step %q, %d {normalizer = hardmax(first), mask = window(130, 0), with_argmax = true}
  %b, %r = attend.step %q, %d {normalizer = hardmax(last), mask = window(300, 0) & causal(-2), scale = -2.0, with_argmax = true}
  %m = attend.step %q, %d {normalizer = hardmax(mean), mask = window(90, 3, -1)}
  return %a, %p, %b, %r, %m
}"""


@pytest.fixture(scope="module")
def programs():
    found = everywhere(SPEC, "hull")
    assert {node.chosen.strategy for node in found["hull"].plan.nodes} == {"hull"}
    return found


def rows_of(family, seed):
    """Inputs for some steps; each call goes on drawing."""
    rng = np.random.default_rng(seed)

    def rows(steps):
        k = keys_of(family, rng, (steps, 2))
        q = queries_of(rng, k, (steps, 4))
        if steps and rng.random() < 0.1:
            q[rng.integers(0, steps), 1, 0] = np.nan
        with np.errstate(over="ignore"):
            k, q = (np.clip(x, -3e38, 3e38).astype(np.float32) for x in (k, q))
        return {"q": q, "k": k, "v": rng.choice([0.1, 1.0, -3.0, 2.0**60, 2.0**-60], (steps, 2, 2))}

    return rows


@pytest.mark.thorough
@settings(max_examples=max(15, settings.default.max_examples // 4))
@given(data=st.data(), family=families, seed=st.integers(0, 2**32))
def test_every_life_of_a_state_gives_the_same_answers(programs, data, family, seed):
    drive(programs, rows_of(family, seed), data.draw)


def same_steps(programs, states, arrays):
    answers = [p.extend(s, **arrays) for p, s in zip(programs, states, strict=True)]
    assert equal(*answers)


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_long_lives_agree_with_dense(programs, family):
    pair = [programs[name] for name in ("hull", "dense")]
    states = [p.state() for p in pair]
    rows = rows_of(family, 11)
    same_steps(pair, states, rows(700))
    for length in (640, 333, 64, 0):
        for state in states:
            state.truncate(length)
        same_steps(pair, states, rows(150))
        states = [state.fork() for state in states]
        same_steps(pair, states, rows(70))


@pytest.mark.thorough
def test_a_state_read_from_a_file_goes_on(programs, tmp_path):
    pair = [programs[name] for name in ("hull", "dense")]
    states = [p.state() for p in pair]
    rows = rows_of("grid", 5)
    same_steps(pair, states, rows(500))
    loaded = []
    for n, (program, state) in enumerate(zip(pair, states, strict=True)):
        state.save(tmp_path / str(n))
        loaded.append(program.load_state(tmp_path / str(n)))
    same_steps(pair, loaded, rows(200))
