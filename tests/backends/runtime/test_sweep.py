"""The sweep's pieces against what they stand for: a sort against NumPy's, winners against rational scores."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc_backends.numba.runtime import sweep, sweep_chain, sweep_layout, sweep_sort
from hull_keys import FAMILIES, families, keys_of, queries_of

MANY = settings(max_examples=max(250, settings.default.max_examples))
TIES = (sweep_layout.SWEEP_FIRST, sweep_layout.SWEEP_LAST, sweep_layout.SWEEP_MEAN)


def swept(keys, queries, values, tie):
    """One output row for each query, and the sweep's result."""
    out = np.full((len(queries), values.shape[1]), 77.0)
    region = np.full(sweep_layout.sweep_bytes(len(keys), len(queries), values.shape[1]) + 8, 0xEE, np.uint8)
    at = region.ctypes.data + 3  # unaligned on purpose
    front = {
        sweep_layout.SWEEP_COUNT: len(keys), sweep_layout.SWEEP_KEYS: keys.ctypes.data, sweep_layout.SWEEP_KEY_STEP: keys.strides[0],
        sweep_layout.SWEEP_KEY_ELEMENT: keys.strides[1], sweep_layout.SWEEP_KEY_DTYPE: 0, sweep_layout.SWEEP_HEADS: 1,
        sweep_layout.SWEEP_ROWS: len(queries), sweep_layout.SWEEP_QUERIES: queries.ctypes.data, sweep_layout.SWEEP_QUERY_HEAD: 0,
        sweep_layout.SWEEP_QUERY_ROW: queries.strides[0], sweep_layout.SWEEP_QUERY_ELEMENT: queries.strides[1],
        sweep_layout.SWEEP_REVERSED: 0, sweep_layout.SWEEP_VALUES: values.ctypes.data, sweep_layout.SWEEP_VALUE_STEP: values.strides[0],
        sweep_layout.SWEEP_VALUE_ELEMENT: values.strides[1], sweep_layout.SWEEP_VALUE_DTYPE: 0,
        sweep_layout.SWEEP_VALUE_WIDTH: values.shape[1], sweep_layout.SWEEP_OUT: out.ctypes.data, sweep_layout.SWEEP_OUT_HEAD: 0,
        sweep_layout.SWEEP_OUT_ROW: out.strides[0], sweep_layout.SWEEP_OUT_ELEMENT: out.strides[1], sweep_layout.SWEEP_TIE: tie,
    }  # fmt: skip
    for offset, number in front.items():
        region[3 + offset : 11 + offset] = np.frombuffer(np.int64(number).tobytes(), np.uint8)
    return sweep.sweep(at), out


def expected_rows(keys, queries, values, tie):
    """By rational scores of all keys."""
    points = [tuple(map(Fraction, key)) for key in keys.tolist()]
    rows = []
    for query in queries.tolist():
        a, b = map(Fraction, query)
        scores = [a * x + b * y for x, y in points]
        best = [j for j, score in enumerate(scores) if score == max(scores)]
        chosen = {0: best[:1], 1: best[-1:], 2: best}[tie]
        rows.append(values[chosen].sum(axis=0) / len(chosen))  # eighths: sums are exact
    return np.array(rows)


@MANY
@given(
    family=families,
    seed=st.integers(0, 2**32 - 1),
    count=st.sampled_from([1, 2, 3, 7, 20, 64, 90, 200]),
    tie=st.sampled_from(TIES),
)
def test_winners_are_those_of_rational_scores(family, seed, count, tie):
    rng = np.random.default_rng(seed)
    keys = np.nan_to_num(keys_of(family, rng, (count,)))
    queries = queries_of(rng, keys, (9,))
    values = rng.integers(-9, 10, (count, 2)) / 8
    left, out = swept(keys, queries, values, tie)
    assert left == 0
    np.testing.assert_array_equal(out, expected_rows(keys, queries, values, tie))


@pytest.mark.parametrize("searched", [True, False])
def test_large_hulls_by_search_and_by_walk(searched):
    """Integer keys on a parabola, both halves asked, with repeats: int64 scores are exact."""
    rng = np.random.default_rng(4)
    address = rng.integers(0, 3000 if searched else 9000, 12000)
    keys = np.stack([2 * address, -(address**2)], axis=-1).astype(np.float64)
    vertices = len(np.unique(address))
    assert (vertices <= sweep_layout.SWEEP_SEARCHED) == searched
    queries = np.stack([rng.integers(-3, 10000, 600), rng.choice([1, 2, -1, 0], 600)], axis=-1).astype(float)
    values = rng.integers(-9, 10, (len(keys), 1)) / 8
    scores = queries.astype(np.int64) @ keys.astype(np.int64).T
    best = scores == scores.max(axis=1, keepdims=True)
    assert (best.sum(axis=1) > 2).any()
    backwards = len(keys) - 1 - best[:, ::-1].argmax(axis=1)
    wanted = {0: values[best.argmax(axis=1)], 1: values[backwards], 2: (best @ values) / best.sum(1)[:, None]}
    for tie in TIES:
        left, out = swept(keys, queries, values, tie)
        assert left == 0
        np.testing.assert_array_equal(out, wanted[tie])
    # More than are sorted at a time.
    left, out = swept(keys, np.tile(queries, (120, 1)), values, sweep_layout.SWEEP_LAST)
    assert len(out) > sweep_layout.SWEEP_BLOCK
    np.testing.assert_array_equal(out, np.tile(wanted[sweep_layout.SWEEP_LAST], (120, 1)))


def test_means_of_sets_that_take_turns():
    """Queries that a rounding cannot tell apart tie now on an edge, now at its ends: sums are not mixed up."""
    line = np.arange(50.0)
    keys = np.concatenate([np.stack([line, -line], axis=-1), [[-1e6, -1e7], [1e6, -1e7]]])
    values = np.arange(len(keys), dtype=float)[:, None]
    up = np.nextafter(1.0, 2.0)
    queries = np.array([[1.0, 1.0], [up, 1.0], [1.0, up]] * 7)
    left, out = swept(keys, queries, values, sweep_layout.SWEEP_MEAN)
    assert left == 0
    np.testing.assert_array_equal(out, expected_rows(keys, queries, values, 2))
    assert len(np.unique(out)) == 3


def test_numbers_that_are_not_finite_are_left_to_the_caller():
    rng = np.random.default_rng(0)
    keys, queries, values = rng.normal(size=(30, 2)), rng.normal(size=(6, 2)), rng.normal(size=(30, 1))
    clean = swept(keys, queries, values, 0)[1]
    queries[2, 0], queries[4, 1] = np.nan, -np.inf
    left, out = swept(keys, queries, values, 0)
    assert left == 2
    np.testing.assert_array_equal(out[[0, 1, 3, 5]], clean[[0, 1, 3, 5]])
    assert (out[[2, 4]] == 77.0).all()
    keys[29, 1] = np.inf
    left, out = swept(keys, queries, values, 0)
    assert left == -1
    assert (out == 77.0).all()


@pytest.mark.parametrize("family", [*FAMILIES, "square", "gaussian"])
def test_only_points_inside_the_hull_are_dropped(family):
    rng = np.random.default_rng(8)
    points = {"square": rng.random((500, 2)), "gaussian": rng.normal(size=(500, 2))}.get(family)
    if points is None:
        points = np.nan_to_num(keys_of(family, rng, (500,)))
    pairs = np.zeros((500, 2), np.int64)
    sides = np.zeros(sweep_chain.POLYGON_BYTES, np.uint8)
    kept = sweep_chain.chain_candidates(points.ctypes.data, 500, pairs.ctypes.data, sides.ctypes.data)
    dropped = sorted(set(range(500)) - set(pairs[:kept, 1].tolist()))
    assert family not in ("square", "gaussian") or len(dropped) > 300
    exact = [tuple(map(Fraction, point)) for point in points.tolist()]
    for angle in np.linspace(0, 6.28, 40):
        a, b = Fraction(float(np.cos(angle))), Fraction(float(np.sin(angle)))
        scores = [a * x + b * y for x, y in exact]
        assert max(scores) > max((scores[j] for j in dropped), default=min(scores) - 1)


@MANY
@given(
    numbers=st.lists(
        st.one_of(
            st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324, -5e-324, 1.7e308]),
            st.floats(allow_nan=False, allow_infinity=True),
        ),
        max_size=60,
    )
)
def test_sorting_is_stable_and_ignores_the_sign_of_zero(numbers):
    pairs = np.zeros((len(numbers), 2), np.int64)
    for index, number in enumerate(numbers):
        pairs[index] = sweep_sort.sort_key(number), index
    spare, counts = np.zeros_like(pairs), np.full(sweep_sort.SORT_COUNTS_BYTES, 0xEE, np.uint8)
    sweep_sort.sort_pairs(pairs.ctypes.data, spare.ctypes.data, len(numbers), counts.ctypes.data)
    assert pairs[:, 1].tolist() == np.argsort(np.array(numbers, float), kind="stable").tolist()
