"""The running structures, driven with drawn rows and bounds, against sums of fractions."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnc_backends.numba.runtime import running as r
from attnc_backends.numba.runtime.memory import DT_F64

finite = st.one_of(
    st.integers(-2, 2).map(float),
    st.sampled_from([1e308, -1e308, 5e-324, 2.0**53, 1.0 + 2.0**-52, 0.1, -0.0]),
    st.floats(allow_nan=False, allow_infinity=False),
)
values = st.one_of(finite, st.sampled_from([math.inf, -math.inf, math.nan]))
keys = st.one_of(st.integers(-1, 1).map(float), st.sampled_from([-0.0, 1.0, 1.0 + 2.0**-52, -5e-324]))
WIDTH = 2


def exact_mean(rows):
    """The exact sum rounded to a double, over the count; infinities and NaN as IEEE adds them."""
    special = [x for x in rows if not math.isfinite(x)]
    if special:
        return sum(special)
    total = sum(map(Fraction, rows), Fraction(0))
    try:
        rounded = float(total)
    except OverflowError:
        rounded = math.inf if total > 0 else -math.inf
    return rounded / len(rows)


def address(array):
    return array.__array_interface__["data"][0]


class Region:
    """A region over given rows, in memory full of garbage."""

    def __init__(self, keys, rows, flags):
        self.keys, self.rows, self.flags = np.array(keys), np.array(rows, np.float64), flags
        self.capacity = len(keys)
        self.memory = np.full(r.running_bytes(self.capacity, WIDTH, flags) + 8, 0xAB, np.uint8)
        self.at = address(self.memory)
        r.running_start(self.at, self.capacity, WIDTH, flags)
        self.out = np.empty(WIDTH)

    def move(self, room):
        """Into a larger place; the old one is overwritten."""
        target = np.full(r.running_bytes(self.capacity + room, WIDTH, self.flags) + 8, 0xCD, np.uint8)
        r.running_move(self.at, address(target), self.capacity + room)
        self.memory[:] = 0
        self.memory, self.at = target, address(target)

    def best(self, side, low, high):
        places = (address(self.keys), 8, DT_F64, address(self.rows), 8 * WIDTH, 8, DT_F64)
        return r.running_best(self.at, side, low, high, *places)

    def best_mean(self, side):
        return r.running_best_mean(self.at, side, address(self.out)), self.out.tolist()

    def mean(self, low, high):
        r.running_mean(self.at, low, high, address(self.rows), 8 * WIDTH, 8, DT_F64, address(self.out))
        return self.out.tolist()


@st.composite
def tables(draw):
    count = draw(st.integers(1, 9))
    rows = draw(st.lists(st.tuples(values, values), min_size=count, max_size=count))
    return draw(st.lists(keys, min_size=count, max_size=count)), rows


def bounds(draw, count, *, window):
    """Mostly growing bounds, as masks give them, with a jump now and then."""
    low = draw(st.integers(0, count - 1)) if window else 0
    return low, draw(st.integers(low + 1, count))


@given(st.data(), tables())
def test_means_of_any_range_are_exact(data, table):
    region = Region(*table, r.RUNNING_MEAN)
    for _ in range(data.draw(st.integers(1, 6))):
        low, high = bounds(data.draw, len(table[0]), window=True)
        if data.draw(st.booleans()):
            region.move(3)
        expected = [exact_mean([row[c] for row in table[1][low:high]]) for c in range(WIDTH)]
        np.testing.assert_array_equal(region.mean(low, high), expected)


@pytest.mark.parametrize("window", [False, True])
@pytest.mark.parametrize("tie", [0, r.RUNNING_LAST, r.RUNNING_MEAN])
@given(data=st.data(), table=tables())
def test_extremes_of_any_range_with_ties(window, tie, data, table):
    region = Region(*table, r.RUNNING_SIDES | tie | (r.RUNNING_WINDOW if window else 0))
    for _ in range(data.draw(st.integers(1, 6))):
        low, high = bounds(data.draw, len(table[0]), window=window)
        if data.draw(st.booleans()):
            region.move(2)
        side = data.draw(st.integers(0, 1))
        signed = [(1 - 2 * side) * key for key in table[0]]
        best = max(signed[low:high])
        tied = [j for j in range(low, high) if signed[j] == best]
        assert region.best(side, low, high) == (tied[-1] if tie == r.RUNNING_LAST else tied[0])
        if tie == r.RUNNING_MEAN:
            count, row = region.best_mean(side)
            assert count == len(tied)
            expected = [exact_mean([table[1][j][c] for j in tied]) for c in range(WIDTH)]
            np.testing.assert_array_equal(row, expected)


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, math.nan]), min_size=1, max_size=5), st.data())
def test_equal_keys_are_counted_once_and_remembered(keys, data):
    region = Region(keys, [(0.0, 0.0)] * len(keys), 0)
    for _ in range(4):
        high = data.draw(st.integers(0, len(keys)))
        expected = all(k == keys[0] for k in keys[:high])
        assert r.running_equal(region.at, high, address(region.keys), 8, 8, 1, DT_F64) == expected
