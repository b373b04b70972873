"""The scan's bounds hold and its proofs of exactness are true, against rational arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from attnc_backends.numba.runtime import key_scan
from attnc_backends.numba.runtime.vector import vec_f32, vec_f64

MANY = settings(max_examples=max(200, settings.default.max_examples))


@njit(error_model="numpy")
def look(single, keys, step, width, count, narrow, wide, scores):
    """The filter's view and the doubles' view of some keys, in 8 lanes: top, size, fault of both."""
    if single:
        first = key_scan.key_scan_top(keys, step, width, count, narrow, vec_f32(8), vec_f32(8))
        return first, key_scan.key_scan_scores(scores, keys, step, width, count, wide, vec_f64(4), vec_f32(4))
    first = key_scan.key_scan_top(keys, step, width, count, wide, vec_f64(8), vec_f64(8))
    return first, key_scan.key_scan_scores(scores, keys, step, width, count, wide, vec_f64(4), vec_f64(4))


@njit(error_model="numpy")
def multiples(keys, step, width, count, unit):
    return key_scan.key_scan_multiples(keys, step, width, count, unit, vec_f64(4), vec_f64(4))


@njit(error_model="numpy")
def marked(marks, scores, count, least, position):
    key_scan.key_scan_mark_all(marks, position, scores, count, least, vec_f64(8))
    return key_scan.key_scan_next(scores, 0, count, least, vec_f64(4)), key_scan.key_scan_last(
        scores, count, least
    )


def exact(keys, query):
    return [
        sum((Fraction(float(x)) * Fraction(float(y)) for x, y in zip(k, query, strict=True)), Fraction(0))
        for k in keys
    ]


elements = st.one_of(
    st.integers(-9, 9).map(float),
    st.floats(-1e3, 1e3, width=32),
    st.sampled_from([0.1, -0.1, 2.0**-30, 2.0**30, 2.0**-149, -0.0]),
)


@st.composite
def cases(draw):
    width, count = draw(st.integers(1, 11)), draw(st.integers(8, 20))
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    numbers = draw(st.lists(elements, min_size=width * (count + 1), max_size=width * (count + 1)))
    rows = np.array(numbers).astype(dtype).reshape(count + 1, width)
    # Keys may lie apart.
    room = np.full((count, width + draw(st.integers(0, 2))), np.nan, dtype)
    room[:, :width] = rows[1:]
    return room, width, rows[0]


@MANY
@given(cases())
def test_scores_lie_within_their_bounds(case):
    room, width, query = case
    count, itemsize = len(room), room.itemsize
    wide = np.zeros(width + key_scan.KEY_SCAN_PAD)
    wide[:width] = query
    narrow = wide.astype(room.dtype)
    scores = np.zeros(count + key_scan.KEY_SCAN_PAD)
    (top, size, fault), (top_wide, size_wide, fault_wide) = look(
        itemsize == 4, room.ctypes.data, room.strides[0], width, count, narrow.ctypes.data, wide.ctypes.data, scores.ctypes.data
    )  # fmt: skip
    real = exact(room[:, :width], query)
    norm, lowest = key_scan.key_scan_query(wide.ctypes.data, width)
    assert not fault
    assert not fault_wide
    assert size == size_wide == np.abs(room[:, :width]).max()
    assert abs(Fraction(top) - max(real)) <= Fraction(key_scan.key_scan_bound(width, norm, size, itemsize))
    bound = Fraction(key_scan.key_scan_bound(width, norm, size, 8))
    assert all(abs(Fraction(s) - x) <= bound for s, x in zip(scores[:count], real, strict=True))
    assert top_wide == scores[:count].max()
    assert (scores[count:] == -np.inf).all()
    unit = key_scan.key_scan_unit(norm, lowest, size)
    if itemsize == 8 and unit > 0 and multiples(room.ctypes.data, room.strides[0], width, count, unit):
        assert [Fraction(s) for s in scores[:count]] == real


def test_small_integers_are_proved_exact_and_tenths_are_not():
    draw = np.random.default_rng(0)
    query = np.zeros(4 + key_scan.KEY_SCAN_PAD)
    query[:4] = draw.integers(-9, 10, 4)
    norm, lowest = key_scan.key_scan_query(query.ctypes.data, 4)
    for keys, proved in (
        (draw.integers(-99, 100, (50, 4)) * 1.0, True),
        (draw.integers(1, 9, (50, 4)) * 0.1, False),
    ):
        unit = key_scan.key_scan_unit(norm, lowest, np.abs(keys).max())
        assert multiples(keys.ctypes.data, keys.strides[0], 4, 50, unit) is proved


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x != 0))
def test_a_number_is_an_odd_multiple_of_its_lowest_bit(x):
    ratio = Fraction(x) / Fraction(2) ** key_scan.key_scan_lowest_bit(x)
    assert ratio.denominator == 1
    assert ratio.numerator % 2 == 1


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("place", [0, 7, 12])
@pytest.mark.parametrize("width", [2, 8, 9])
def test_a_number_that_is_not_finite_is_a_fault(bad, place, width):
    keys = np.ones((13, width))
    keys[place, -1] = bad
    query = np.zeros(width + key_scan.KEY_SCAN_PAD)
    scores = np.zeros(13 + key_scan.KEY_SCAN_PAD)
    first, second = look(
        False, keys.ctypes.data, keys.strides[0], width, 13, query.ctypes.data, query.ctypes.data, scores.ctypes.data
    )  # fmt: skip
    assert first[2]
    assert second[2]


@given(st.lists(st.integers(0, 2), min_size=1, max_size=90), st.integers(0, 130))
def test_marks_are_the_positions_that_reach(values, position):
    count = len(values)
    scores = np.full(count + key_scan.KEY_SCAN_PAD, -np.inf)
    scores[:count] = values
    marks = np.zeros(8, np.int64)
    first, last = marked(marks.ctypes.data, scores.ctypes.data, count, 2.0, position)
    places = [j for j, x in enumerate(values) if x == 2]
    assert (first, last) == ((places[0], places[-1]) if places else (count, -1))
    found, j = [], key_scan.key_scan_marked(marks.ctypes.data, 0, 256)
    while j < 256:
        found.append(j)
        j = key_scan.key_scan_marked(marks.ctypes.data, j + 1, 256)
    assert found == [position + j for j in places]
