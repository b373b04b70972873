"""The tree, compiled: the winners of the reference and of dense, bit for bit, in batch and in steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from running_cases import assert_same, columns, drive, equal, everywhere

MANY = settings(max_examples=max(60, settings.default.max_examples))

BATCH = """graph @g(%q: f64[B x 4 x N x 3], %k: f64[B x 2 x M x 3], %v: f64[B x 2 x M x 2], %n: i64[B], %m: i32[B]) {
  %a = attend %q, %k, %v {normalizer = hardmax(mean), mask = window(90, 3, bottom_right), scale = -0.7}
  %b = attend %q, %k, %v {normalizer = hardmax(first), mask = causal(-2)}
  %c = attend %q, %k, %v {normalizer = hardmax(last), mask = lengths(%n, %m) & prefix(900), softcap = 2.0}
  return %a, %b, %c
}"""

OTHER = """graph @g(%q: f32[H x N x 5], %k: f32[1 x M x 5], %v: bf16[1 x M x 3], %row: bf16[3]) {
  %a = attend %q, %k, %v {normalizer = hardmax(mean)}
  %b = attend %q, %k, %v {normalizer = hardmax(last), mask = causal(bottom_right), empty = default(%row)}
  return %a, %b
}"""

STEP = """graph @g(%q: f32[2 x 4 x 3], %k: f32[2 x 2 x 3], %v: f64[2 x 2 x 2]) {
  %c = cache {heads = [2 x 2], key = f32[3], value = f64[2]}
  %d = append %c, %k, %v
  %all = attend.step %q, %d {normalizer = hardmax(mean), scale = 2.0}
  %near = attend.step %q, %d {normalizer = hardmax(first), mask = window(70, 0)}
  %far = attend.step %q, %d {normalizer = hardmax(last), mask = causal(-3) & prefix(300)}
  return %all, %near, %far
}"""


@pytest.fixture(scope="module")
def programs():
    return everywhere(BATCH, "tree")


@pytest.fixture(scope="module")
def others():
    return everywhere(OTHER, "tree")


@pytest.fixture(scope="module")
def steppers():
    return everywhere(STEP, "tree")


def numbers(draw, family, shape, dtype="f8"):
    """Numbers of a family that makes ties or near-ties common."""
    small = draw.integers(-2, 3, shape)
    limits = np.finfo(dtype)
    match family:
        case "integers":
            x = small
        case "tenths":  # the same ties, but no product is exact
            x = small * 0.1
        case "equal":
            x = np.full(shape, 0.1)
        case "few":  # runs of one key
            x = draw.standard_normal((3, shape[-1]))[draw.integers(0, 3, shape[:-1])]
        case "near":  # differ in the last bits
            x = 1 + draw.integers(0, 3, shape) * limits.eps
        case "plane":  # ties under many queries, on no axis
            x = small.copy()
            x[..., 0] = 1 - x[..., 1:].sum(-1)
        case "powers":  # cancel over the whole range of exponents
            x = small * 2.0 ** draw.integers(-40, 40, shape)
        case "wide":  # one key in a hundred hides all others behind its error
            x = np.where(draw.random(shape) < 0.01, small * float(limits.max) ** 0.5, small * 0.1)
        case "tiny":
            x = small * float(limits.smallest_subnormal)
        case "huge":  # some products are beyond the largest number
            x = small * (float(limits.max) / 2)
        case "zeros":
            x = np.where(draw.random(shape) < 0.5, 0.0, -0.0)
        case "strange":
            x = np.where(draw.random(shape) < 0.005, draw.choice([np.inf, -np.inf, np.nan], shape), small)
        case "sphere":
            x = draw.standard_normal(shape)
            x /= np.linalg.norm(x, axis=-1, keepdims=True)
        case _:
            x = draw.standard_normal(shape)
    return np.asarray(x).astype(dtype)


FAMILIES = [
    "integers", "tenths", "equal", "few", "near", "plane", "powers", "wide", "tiny", "huge", "zeros", "strange",
    "sphere", "normal",
]  # fmt: skip
families = st.sampled_from(FAMILIES)


def inputs(seed, keys, queries, n, m, *, batch=1):
    draw = np.random.default_rng(seed)
    return {
        "q": numbers(draw, queries, (batch, 4, n, 3)),
        "k": numbers(draw, keys, (batch, 2, m, 3)),
        "v": draw.standard_normal((batch, 2, m, 2)),
        "n": draw.integers(0, n + 1, batch),
        "m": draw.integers(0, m + 1, batch).astype("i4"),
    }


@MANY
@given(st.integers(0, 2**32), families, families, st.integers(0, 7), st.integers(0, 140), st.integers(0, 2))
def test_a_tree_picks_what_the_reference_picks(programs, seed, keys, queries, n, m, batch):
    assert_same(programs, inputs(seed, keys, queries, n, m, batch=batch))


@pytest.mark.thorough
@MANY
@given(st.integers(0, 2**32), families, families, st.integers(1, 40), st.integers(100, 5000))
def test_a_deep_tree_picks_what_dense_picks(programs, seed, keys, queries, n, m):
    pair = {name: programs[name] for name in ("tree", "dense")}
    assert_same(pair, inputs(seed, keys, queries, n, m))


@given(st.data())
def test_narrow_keys_and_values(others, data):
    draw, wild = data.draw, data.draw(st.booleans())
    h, n, m = draw(st.integers(0, 3)), draw(st.integers(0, 5)), draw(st.integers(0, 90))
    assert_same(
        others,
        {
            "q": columns(draw, (h, n, 5), "f4", wild=wild),
            "k": columns(draw, (1, m, 5), "f4", wild=wild),
            "v": (columns(draw, (1, m, 3), "f4", wild=True).view(np.uint32) >> 16).astype(np.uint16),
            "row": np.array([1, 2, 3], np.uint16),
        },
    )


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_rows_may_lie_anywhere(programs, axis):
    arrays = inputs(axis, "integers", "normal", 30, 700)
    expected = programs["tree"].run("g", arrays)
    for name in ("q", "k", "v"):
        # Every other head, row or element of a larger array that must not be written to.
        wide = np.repeat(arrays[name], 2, axis)
        wide.flags.writeable = False
        arrays[name] = wide[(slice(None),) * axis + (slice(None, None, 2),)]
    assert equal(programs["tree"].run("g", arrays), expected)


def test_threads_change_nothing(programs):
    arrays = inputs(7, "tenths", "normal", 300, 2000, batch=3)
    one, three = (programs["tree"].run("g", arrays, threads=count) for count in (1, 3))
    assert equal(one, three)


def test_a_key_that_is_not_finite_matters_to_the_rows_that_see_it(programs):
    arrays = inputs(3, "normal", "normal", 900, 900)
    arrays["k"][0, 0, 500] = np.nan
    pair = {name: programs[name] for name in ("tree", "dense")}
    assert_same(pair, arrays)
    causal = programs["tree"].run("g", arrays)[1][0, 0]
    assert np.isfinite(causal[:502]).all()
    assert np.isnan(causal[502:]).all()


@pytest.mark.parametrize("place", [0, 1, 63, 64, 511, 512, 513, 2047, 2999])
def test_the_last_bit_of_any_key_is_seen(programs, place):
    # All keys but one tie exactly; the winner is one unit in the last place ahead.
    arrays = inputs(1, "equal", "equal", 3000, 3000)
    arrays["m"][:] = arrays["n"][:] = 3000
    arrays["k"][..., place, 1] = np.nextafter(0.1, 1)
    found = programs["tree"].run("g", arrays)[1][0, 0]
    np.testing.assert_array_equal(
        found[place + 2 :], np.broadcast_to(arrays["v"][0, 0, place], found[place + 2 :].shape)
    )
    before = found[2 : place + 2]
    np.testing.assert_array_equal(before, np.broadcast_to(arrays["v"][0, 0, 0], before.shape))


def tiny_times_huge(seed):
    """Queries whose one-norm times the rounding unit underflows, and keys at nearly right angles to it."""
    draw = np.random.default_rng(seed)
    arrays = inputs(0, "zeros", "zeros", 60, 200)
    small = draw.random(2) * 1e-310
    across = np.array([small[1], -small[0]]) / small.max()
    arrays["q"][..., :2] = small
    arrays["k"][..., :2] = draw.standard_normal(2) * 1e300 + draw.random((1, 2, 200, 1)) * 1e300 * across
    return arrays


def test_bounds_hold_where_factors_underflow(programs):
    for seed in range(12):
        assert_same({name: programs[name] for name in ("tree", "dense")}, tiny_times_huge(seed))


# --- steps ---


def rows(draw, steps, *, wild):
    return {
        "q": columns(draw, (steps, 2, 4, 3), "f4", wild=wild),
        "k": columns(draw, (steps, 2, 2, 3), "f4"),
        "v": columns(draw, (steps, 2, 2, 2), "f8", wild=True),
    }


@pytest.mark.thorough
@settings(max_examples=40)
@given(st.data())
def test_steps_under_truncation_forks_and_snapshots(steppers, data):
    drive(steppers, lambda steps: rows(data.draw, steps, wild=data.draw(st.booleans())), data.draw)


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_many_steps_pick_what_dense_picks(steppers, family):
    # 64 keys fill a leaf, 256 and 1024 are arranged anew; 256 and more move to a larger arena.
    draw = np.random.default_rng(len(family))
    steps = 1300
    arrays = {
        "q": numbers(draw, family, (steps, 2, 4, 3), "f4"),
        "k": numbers(draw, "integers" if family in ("strange", "huge") else family, (steps, 2, 2, 3), "f4"),
        "v": draw.standard_normal((steps, 2, 2, 2)),
    }
    tree, dense = (steppers[name] for name in ("tree", "dense"))
    states = [tree.state(), dense.state()]
    for first, last in ((0, 200), (200, 290), (290, steps)):
        part = {name: array[first:last] for name, array in arrays.items()}
        assert equal(tree.extend(states[0], **part), dense.extend(states[1], **part))
        if first == 200:
            for state in states:
                state.truncate(250)


def test_a_long_state_goes_on_after_a_save(steppers, tmp_path):
    # So many rows are read at once after loading that they are arranged as a whole.
    draw = np.random.default_rng(4)
    arrays = {
        "q": numbers(draw, "normal", (2500, 2, 4, 3), "f4"),
        "k": numbers(draw, "sphere", (2500, 2, 2, 3), "f4"),
        "v": draw.standard_normal((2500, 2, 2, 2)),
    }
    tree = steppers["tree"]
    state = tree.state()
    early, late = ({name: x[part] for name, x in arrays.items()} for part in (slice(2200), slice(2200, None)))
    tree.extend(state, **early)
    state.save(tmp_path / "state")
    loaded = tree.load_state(tmp_path / "state")
    forked = state.fork()
    expected = tree.extend(state, **late)
    assert equal(tree.extend(loaded, **late), expected)
    assert equal(tree.extend(forked, **late), expected)


def test_an_empty_row_is_named():
    text = "graph @g(%q: f64[N x 3], %k: f64[N x 3]) { %o = attend %q, %k, %k {normalizer = hardmax(first), mask = causal(-3), empty = error}  return %o }"
    with pytest.raises(attnc.EmptyRowError, match="row 0 may see no key"):
        attnc.compile(text, strategy="tree")("g", np.ones((5, 3)), np.ones((5, 3)))
