"""The positions that won, as a result of their own: those of the reference, whatever the strategy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attnc
from attnc_ir.reference import exact_winners
from backend_cases import compiled, laid_out, layouts, seeds
from hull_keys import families, keys_of, queries_of

WIDE = """graph @g(%q: f64[B x H x N x 2], %k: f64[B x G x M x 2], %v: f64[B x G x M x 1]) {
  %a, %pa = attend %q, %k, %v {normalizer = hardmax(first), mask = causal(bottom_right), scale = -0.5, strategy = dense, with_argmax = true}
  %b, %pb = attend %q, %k, %v {normalizer = hardmax(first), mask = causal(bottom_right), scale = -0.5, strategy = scan, with_argmax = true}
  %c, %pc = attend %q, %k, %v {normalizer = hardmax(first), mask = causal(bottom_right), scale = -0.5, strategy = hull, with_argmax = true}
  %d, %ld, %pd = attend %q, %k, %v {normalizer = topk(3, last), mask = causal(bottom_right), strategy = dense, with_argmax = true}
  %e, %pe = attend %q, %k, %v {normalizer = topk(40, first), softcap = 2.0, bias = expression(0.1 * (j % 3)), strategy = dense, with_argmax = true}
  return %a, %pa, %b, %pb, %c, %pc, %d, %ld, %pd, %e, %pe
}"""

NARROW = """graph @g(%q: f32[N x 1], %k: f32[N x 1], %v: f64[N x 2]) {
  %i = iota {type = f64[N x 1], axis = 0}
  %one = constant {type = f64[N x 1], values = [1.0]}
  %square = mul %i, %i
  %down = neg %square
  %twice = add %i, %i
  %place = concat %twice, %one
  %at = concat %i, %down
  %zero = constant {type = f32[1], values = [0.0]}
  %none = broadcast %zero {shape = [N x 1]}
  %a, %pa = attend %q, %k, %v {normalizer = hardmax(last), mask = window(4, 1), strategy = extremum, with_argmax = true}
  %b, %pb = attend %none, %k, %v {normalizer = hardmax(last), mask = window(4, 1), strategy = uniform, with_argmax = true}
  %c, %pc = attend %place, %at, %v {normalizer = hardmax(first), mask = causal(-1), with_argmax = true}
  return %a, %pa, %b, %pb, %c, %pc
}"""

SEARCHED = """graph @g(%q: f64[H x N x 2], %k: f64[G x N x 2], %v: f32[G x N x 3], %i: i32[G x N x 1]) {
  %z = constant {type = f64[1], values = [0.0]}
  %a = convert %i {to = f64}
  %b = add %a, %a
  %c = mul %a, %a
  %d = neg %c
  %p = concat %b, %d
  %none = broadcast %z {shape = [G x N x 1]}
  %wide = concat %k, %none
  %nothing = broadcast %z {shape = [H x N x 1]}
  %ask = concat %q, %nothing
  %s, %ps = attend %q, %k, %v {normalizer = hardmax(first), scale = -0.5, strategy = sweep, with_argmax = true}
  %t, %pt = attend %q, %k, %v {normalizer = hardmax(last), strategy = sweep, with_argmax = true}
  %u, %pu = attend %ask, %wide, %v {normalizer = hardmax(first), mask = causal(1), strategy = tree, with_argmax = true}
  %w, %pw = attend %q, %p, %v {normalizer = hardmax(last), mask = causal(-1), with_argmax = true}
  return %s, %ps, %t, %pt, %u, %pu, %w, %pw
}"""

STEP = """graph @g(%q: f64[4 x 2], %k: f64[2 x 2], %v: f64[2 x 1]) {
  %c = cache {heads = [2], key = f64[2], value = f64[1]}
  %t, %lt, %pt = attend.step %q, %c {normalizer = topk(2, first), mask = window(5, 0), with_argmax = true}
  %d = append %c, %k, %v
  %a, %pa = attend.step %q, %d {normalizer = hardmax(last), strategy = hull, with_argmax = true}
  %b, %pb = attend.step %q, %d {normalizer = hardmax(last), strategy = scan, with_argmax = true}
  return %a, %pa, %b, %pb, %t, %lt, %pt
}"""


def check(program, arrays):
    """Integers exactly, floats to a tolerance, as the reference has them; -1 exactly where NaN or nothing is."""
    found = program("g", **arrays)
    for got, expected in zip(found, attnc.reference(program.source_module, "g", **arrays), strict=True):
        assert got.dtype == expected.dtype
        if got.dtype == np.int64:
            np.testing.assert_array_equal(got, expected)
        else:
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    return found


@pytest.mark.thorough
@given(
    family=families,
    seed=seeds,
    layout=layouts,
    n=st.sampled_from([0, 1, 3, 8]),
    m=st.sampled_from([0, 1, 5, 12]),
)
def test_every_strategy_names_the_winners_of_the_reference(family, seed, layout, n, m):
    rng = np.random.default_rng(seed)
    k = keys_of(family, rng, (2, 2, m))
    q = queries_of(rng, k, (2, 4, n))
    if seed % 4 == 0 and m and n:
        k[0, 1, rng.integers(0, m)] = rng.choice([np.nan, np.inf])
        q[1, 2, rng.integers(0, n), 0] = np.nan
    with np.errstate(over="ignore"):
        k, q = np.clip(k, -1e150, 1e150), np.clip(q, -1e150, 1e150)
    arrays = {"q": q, "k": k, "v": rng.normal(size=(2, 2, m, 1))}
    check(compiled(WIDE), {name: laid_out(array, layout) for name, array in arrays.items()})


@pytest.mark.thorough
@given(seed=seeds, n=st.sampled_from([0, 1, 2, 9, 30]))
def test_strategies_without_a_search_name_positions_too(seed, n):
    rng = np.random.default_rng(seed)
    q, k = rng.integers(-1, 2, (2, n, 1)).astype(np.float32)
    if seed % 3 == 0 and n:
        k[rng.integers(0, n)] = np.nan
    program = compiled(NARROW)
    assert {node.chosen.strategy for node in program.plan.nodes} == {"extremum", "uniform", "position"}
    check(program, {"q": q, "k": k, "v": rng.normal(size=(n, 2))})


@given(seed=seeds, family=families, n=st.sampled_from([0, 1, 2, 9, 40]))
def test_strategies_that_search_cleverly_name_positions_too(seed, family, n):
    rng = np.random.default_rng(seed)
    k = np.clip(keys_of(family, rng, (2, n)), -1e150, 1e150)
    q = np.clip(queries_of(rng, k, (4, n)), -1e150, 1e150)
    if seed % 3 == 0 and n:
        q[1, rng.integers(0, n), 0] = np.nan
    program = compiled(SEARCHED)
    assert {node.chosen.strategy for node in program.plan.nodes} >= {"sweep", "tree"}
    i = rng.integers(-3, 4, (2, n, 1)).astype(np.int32)
    check(program, {"q": q, "k": k, "v": rng.normal(size=(2, n, 3)).astype(np.float32), "i": i})


@pytest.mark.thorough
def test_steps_name_positions_in_the_cache():
    rng = np.random.default_rng(4)
    k = rng.integers(-2, 3, (60, 2, 2)) * 1.0
    q = queries_of(rng, k, (60, 4))
    q[33, 1] = np.nan
    found = check(compiled(STEP), {"q": q, "k": k, "v": rng.normal(size=(60, 2, 1))})
    np.testing.assert_array_equal(found[1], found[3])
    assert found[1][33, 1] == -1
    assert found[6][0].tolist() == [[-1, -1]] * 4, "the cache before the first append is empty"


def test_positions_are_those_of_the_winners():
    rng = np.random.default_rng(8)
    program = compiled(WIDE)
    k = rng.integers(-2, 3, (1, 1, 9, 2)) * 1.0
    arrays = {"q": queries_of(rng, k, (1, 2, 6)), "k": k, "v": rng.normal(size=(1, 1, 9, 1))}
    results = program("g", **arrays)
    for op, positions in (
        (program.source_module["g"].ops[n], results[place]) for n, place in ((0, 1), (3, 8))
    ):
        for h in range(2):
            for i in range(6):
                wanted = exact_winners(op, arrays, 0, h, i)
                row = np.atleast_1d(positions[0, h, i])
                assert sorted(row[row >= 0].tolist()) == sorted(
                    wanted[:1] if len(wanted) and row.size == 1 else wanted
                )


@pytest.mark.thorough
def test_top_k_positions_fall_in_score_and_ties_stand_as_the_rule_says():
    k = np.array([3.0, 1.0, 3.0, 2.0, 3.0]).reshape(1, 1, 5, 1)
    q = np.ones((1, 1, 1, 1))
    for tie, wanted in (("first", [0, 2, 4, 3, 1, -1]), ("last", [4, 2, 0, 3, 1, -1])):
        _, positions = attnc.attention(q, k, k, normalizer=attnc.topk(6), tie=tie, return_argmax=True)
        assert positions[0, 0, 0].tolist() == wanted


def test_the_front_door_returns_what_is_asked_for_in_order():
    x = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]).reshape(1, 1, 3, 2)
    o, p = attnc.attention(x, x, x, normalizer="hardmax", tie="last", return_argmax=True)
    assert p.tolist() == [[[0, 2, 2]]]
    o2, lse, p2 = attnc.attention(
        x, x, x, normalizer="hardmax", tie="last", return_lse=True, return_argmax=True
    )
    assert lse.dtype == np.float64
    np.testing.assert_array_equal(o, o2)
    np.testing.assert_array_equal(p, p2)
    with pytest.raises(attnc.SpecError, match="with_argmax with softmax"):
        attnc.attention(x, x, x, return_argmax=True)
    with pytest.raises(attnc.SpecError, match=r"with_argmax with hardmax\(mean\)"):
        attnc.attention(x, x, x, normalizer="hardmax", tie="mean", return_argmax=True)


def test_positions_that_nobody_reads_are_not_asked_for():
    text = """graph @g(%q: f64[N x 2], %k: f64[N x 2], %v: f64[N x 1]) {
  %a, %p = attend %q, %k, %v {normalizer = hardmax(first), with_argmax = true}
  %b, %l, %r = attend %q, %k, %v {normalizer = hardmax(first), with_argmax = true}
  return %a, %b, %r
}"""
    program = attnc.compile(text, backend="numpy")
    first, second = (op for op in program.module["g"].ops if op.mnemonic == "attend")
    assert (first.with_argmax, second.with_argmax, second.with_lse) == (False, True, False)
    x = np.array([[1.0, 2.0], [3.0, -1.0]])
    a, b, r = program("g", q=x, k=x, v=x[:, :1])
    np.testing.assert_array_equal(a, b)
    assert r.tolist() == [0, 1]
