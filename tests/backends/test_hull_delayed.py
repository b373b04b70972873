"""Steps whose mask hides recent keys: the hull runs behind the cache, through every turn a state can take."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attnc
from hull_keys import FAMILIES, families, keys_of, queries_of
from running_cases import drive, equal, everywhere

SPEC = """graph @g(%q: f32[4 x 2], %k: f32[2 x 2], %v: f64[2 x 1]) {
  %c = cache {heads = [2], key = f32[2], value = f64[1]}
  %d = append %c, %k, %v
  %a, %p = attend.step %q, %d {normalizer = hardmax(first), mask = causal(-3), with_argmax = true}
  %m = attend.step %q, %d {normalizer = hardmax(mean), mask = causal(-1) & prefix(20), scale = -2.0}
  %n = attend.step %q, %d {normalizer = hardmax(mean), mask = causal(-3)}
  %o = attend.step %q, %d {normalizer = hardmax(last)}
  return %a, %p, %m, %n, %o
}"""


@pytest.fixture(scope="module")
def programs():
    return everywhere(SPEC, "hull")


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
        return {"q": q, "k": k, "v": rng.choice([0.1, 1.0, -3.0, 2.0**60], (steps, 2, 1))}

    return rows


@pytest.mark.thorough
@given(data=st.data(), family=families, seed=st.integers(0, 2**32))
def test_every_life_of_a_state_gives_the_same_answers(programs, data, family, seed):
    drive(programs, rows_of(family, seed), data.draw)


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_long_lives_agree_with_dense(programs, family):
    arrays = rows_of(family, 7)(300)
    hull, dense = (programs[name] for name in ("hull", "dense"))
    states = [p.state() for p in (hull, dense)]
    answers = [p.extend(s, **arrays) for p, s in zip((hull, dense), states, strict=True)]
    assert equal(*answers)
    assert (answers[0][1][:3] == -1).all(), "the first rows see nothing"
    for state in states:
        state.truncate(150)
    again = [
        p.extend(s, **{n: a[150:] for n, a in arrays.items()})
        for p, s in zip((hull, dense), states, strict=True)
    ]
    assert equal(*again)
    assert equal(again[0], tuple(x[150:] for x in answers[0]))


def test_the_plan_keeps_hulls_for_each_delay(programs):
    (cache,) = programs["hull"].plan.caches
    assert "hull" in cache.keeps


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        ("window(1048576, 0)", "the window has 1048577 keys, and a cache keeps hulls for 1048576 at most"),
        ("prefix(%n)", "the prefix may shrink from step to step"),
        ("predicate(j % 2 == 0)", "does not give every row one range of keys"),
    ],
)
def test_masks_that_a_growing_hull_cannot_follow_are_refused_with_the_reason(mask, reason):
    text = f"""graph @g(%q: f64[2], %k: f64[2], %v: f64[1], %n: i64[]) {{
  %c = cache {{heads = [], key = f64[2], value = f64[1]}}
  %d = append %c, %k, %v
  %o = attend.step %q, %d {{normalizer = hardmax(last), mask = {mask}}}
  return %o
}}"""
    with pytest.raises(attnc.PlanError, match=reason):
        attnc.compile(text, strategy="hull", backend="numpy")


def test_an_empty_row_is_an_error_where_the_node_says_so():
    text = """graph @g(%q: f64[2], %k: f64[2], %v: f64[1]) {
  %c = cache {heads = [], key = f64[2], value = f64[1]}
  %d = append %c, %k, %v
  %o = attend.step %q, %d {normalizer = hardmax(last), mask = causal(-2), empty = error, strategy = hull}
  return %o
}"""
    programs = everywhere(text, "hull")
    x = np.ones((4, 2))
    errors = {type_of(p, x) for p in programs.values()}
    assert errors == {attnc.EmptyRowError}


def type_of(program, x):
    with pytest.raises(attnc.AttncError) as found:
        program.extend(program.state(), q=x, k=x, v=x[:, :1])
    return type(found.value)
