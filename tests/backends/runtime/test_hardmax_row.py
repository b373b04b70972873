"""The scan that all programs share, against extended rational arithmetic: infinities, NaN and huge numbers too."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnc_backends.numba.runtime import hardmax_row as row
from attnc_backends.numba.runtime.bounded import mul_bounded
from attnc_backends.numba.runtime.exact import ACC_BYTES
from exact_oracle import exact_sum

TIES = {"first": row.ROW_FIRST, "last": row.ROW_LAST, "mean": row.ROW_MEAN}
DTYPES = (np.float64, np.float32, None, np.float16)  # in the order of their codes; bf16 is not drawn

numbers = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, math.inf, -math.inf, math.nan]),
    st.sampled_from([0.0, 1.0, 1e200, -1e200, 5e-324, 1e-300, 1.0 + 2**-52]),
    st.integers(-3, 3).map(float),
)


def described(keys, query, values, scale, low, high, tie):
    """What the caller writes, with room behind it, and the address of the mean."""
    width = keys.shape[1]
    words = np.zeros((row.ROW_BYTES + ACC_BYTES) // 8 + width + len(keys) + values.shape[1] + 1, np.int64)
    mean = words.ctypes.data + row.ROW_BYTES + ACC_BYTES + 8 * (width + len(keys))
    codes = {np.dtype(d).itemsize: code for code, d in enumerate(DTYPES) if d is not None}
    for place, word in {
        row.ROW_KEYS: keys.ctypes.data, row.ROW_KEY_STEP: keys.strides[0], row.ROW_KEY_ELEMENT: keys.strides[1],
        row.ROW_KEY_DTYPE: codes[keys.itemsize], row.ROW_QUERY: query.ctypes.data, row.ROW_QUERY_ELEMENT: query.strides[0],
        row.ROW_QUERY_DTYPE: codes[query.itemsize], row.ROW_WIDTH: width, row.ROW_LOW: low, row.ROW_HIGH: high,
        row.ROW_TIE: TIES[tie], row.ROW_VALUES: values.ctypes.data, row.ROW_VALUE_STEP: values.strides[0],
        row.ROW_VALUE_ELEMENT: values.strides[1], row.ROW_VALUE_DTYPE: codes[values.itemsize],
        row.ROW_VALUE_WIDTH: values.shape[1], row.ROW_MEAN_OUT: mean,
    }.items():  # fmt: skip
        words[place // 8] = word
    words.view(np.float64)[row.ROW_SCALE // 8] = scale
    return words, slice((mean - words.ctypes.data) // 8, (mean - words.ctypes.data) // 8 + values.shape[1])


def score(key, query, scale):
    """A rational number, an infinity or NaN."""
    products = [
        Fraction(x) * Fraction(y) if math.isfinite(x) and math.isfinite(y) else x * y
        for x, y in zip(key, query, strict=True)
    ]
    odd = [p for p in products if not isinstance(p, Fraction)]
    return sum(odd) * scale if odd else sum(products, Fraction()) * Fraction(scale)


def drawn(data, shape, dtype):
    flat = data.draw(st.lists(numbers, min_size=math.prod(shape), max_size=math.prod(shape)))
    with np.errstate(over="ignore"):
        return np.array(flat).astype(dtype).reshape(shape)


@given(
    data=st.data(), tie=st.sampled_from(list(TIES)), scale=st.sampled_from([1.0, 0.125, -3.0, 0.0, 1e-300])
)
def test_a_row_is_that_of_extended_arithmetic(data, tie, scale):
    count, width = data.draw(st.integers(1, 7)), data.draw(st.integers(0, 4))
    dtype = data.draw(st.sampled_from([d for d in DTYPES if d is not None]))
    keys = drawn(data, (count, 2 * width), dtype)[:, :: data.draw(st.sampled_from([2, -2]))]
    query = drawn(data, (width,), dtype)
    values = drawn(data, (count, 2), dtype)
    low = data.draw(st.integers(0, count - 1))
    high = data.draw(st.integers(low + 1, count))
    words, mean = described(keys, query, values, scale, low, high, tie)
    best = row.hardmax_row(words.ctypes.data)
    scores = [score(key, query.tolist(), scale) for key in keys[low:high].tolist()]
    if any(s != s for s in scores):
        assert best == -1
        return
    tied = [low + j for j, s in enumerate(scores) if s == max(scores)]
    assert best == (tied[-1] if tie == "last" else tied[0])
    if tie == "mean":
        columns = values[tied].astype(np.float64).T.tolist()
        wanted = [
            exact_sum(c) / len(tied) if all(map(math.isfinite, c)) else sum(c) / len(tied) for c in columns
        ]
        np.testing.assert_array_equal(words.view(np.float64)[mean], wanted)


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_doubles_that_tie_are_told_apart(scale):
    keys = np.array([(0.0, 0.0), (1169713601280381.0, -1881826492714166.0)])
    query = np.array([6554730440190525.0, 4074316829049964.0])
    words, _ = described(keys, query, np.zeros((2, 1)), scale, 0, 2, "first")
    assert row.hardmax_row(words.ctypes.data) == (1 if scale > 0 else 0)
    assert row.hardmax_compare(words.ctypes.data, 1, 0) == scale


def test_an_error_that_underflows_under_the_scale_is_still_one():
    """A product below the smallest double, times a scale below 1, is not zero."""
    keys = np.array([(1e300, 5e-324), (0.0, 0.0), (-0.0, 0.0)])
    query = np.array([0.0, -0.0147758811])
    words, mean = described(keys, query, np.array([[6.0], [2.0], [3.0]]), 0.1, 0, 3, "mean")
    assert row.hardmax_row(words.ctypes.data) == 1
    assert words.view(np.float64)[mean].tolist() == [2.5]
    assert row.hardmax_compare(words.ctypes.data, 0, 1) == -1


@pytest.mark.parametrize(("factor", "known"), [(0.1, False), (0.0, True)])
def test_products_of_what_is_not_exact(factor, known):
    tiny, error = mul_bounded(0.5, 0.0, 5e-324, 0.0)
    assert (tiny, error != 0.0) == (0.0, True)
    product, error = mul_bounded(tiny, error, factor, 0.0)
    assert (product, error == 0.0) == (0.0, known)
