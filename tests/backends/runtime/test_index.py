"""The table of addresses by itself: against rational arithmetic, on parabolas of many shapes."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc_backends.numba.runtime.index import (
    INDEX_FOUND_OPEN,
    index_best,
    index_extend,
    index_mean,
    index_scratch_bytes,
    index_versus,
)
from attnc_backends.numba.runtime.index_table import (
    INDEX_FIRST,
    INDEX_LAST,
    INDEX_MEAN,
    index_bytes,
    index_move,
    index_start,
)

FORMS = [
    (2.0, 0.0, -1.0, 0.0, 0.0, 2**26),
    (-3.0, 5.0, 2.0, 1.0, -7.0, 2**25),
    (1.0, 0.25, -0.5, 2.0**19, 3.0, 2**24),
    (2.0**-60, 0.0, -(2.0**60), 0.0, 0.0, 2**20),
]
CODES = {"first": INDEX_FIRST, "last": INDEX_LAST, "mean": INDEX_MEAN}


class Table:
    """A region with room for `capacity` keys, the keys it reads, and one value each."""

    def __init__(self, form, tie, keys, values, capacity=None):
        self.form, self.tie, self.keys, self.values = form, tie, keys, values
        self.capacity = capacity or len(keys)
        self.memory = self._region(self.capacity)
        self.scratch = np.full(index_scratch_bytes(), 0x5A, np.uint8)
        index_start(self.at, self.capacity, 1, 8, CODES[tie], *form)

    def _region(self, capacity):
        size = index_bytes(capacity, 1, 8, CODES[self.tie])
        self.guard = np.full(size + 64, 0xA5, np.uint8)
        return self.guard[:size]

    @property
    def at(self):
        return self.memory.ctypes.data

    def extend(self, upto):
        return index_extend(self.at, upto, self.keys.ctypes.data, 16, 8, 0, self.values.ctypes.data, 8, 8, 0)

    def move(self, capacity):
        old = self.memory
        self.memory = self._region(capacity)
        index_move(old.ctypes.data, self.at, capacity, 8)

    def answer(self, q):
        """Position, or mean; None where no key is on the parabola."""
        best = index_best(self.at, *q, self.scratch.ctypes.data)
        if best < 0 or self.tie != "mean":
            return None if best < 0 else best
        out = np.zeros(1)
        index_mean(self.at, 0, self.values.ctypes.data, 8, 8, 0, out.ctypes.data, self.scratch.ctypes.data)
        return out[0]


def point(form, a):
    return form[0] * a + form[1], (form[2] * a + form[3]) * a + form[4]


def score(q, key):
    return Fraction(q[0]) * Fraction(key[0]) + Fraction(q[1]) * Fraction(key[1])


def expected(tie, q, keys, values, on):
    scores = [score(q, key) for key in keys]
    best = max((s for s, x in zip(scores, on, strict=True) if x), default=None)
    tied = [j for j, (s, x) in enumerate(zip(scores, on, strict=True)) if x and s == best]
    if not tied:
        return None
    if tie == "mean":
        return float(sum(Fraction(values[j]) for j in tied)) / len(tied)
    return tied[0] if tie == "first" else tied[-1]


numbers = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, 2.0, -3.0, 0.5, 0.1, 7.0, 33.0, 2.0**26, 5e-324, -1e-310, 1e-200, 1.7e308, -1e250]
)


@settings(max_examples=300)
@given(st.data())
def test_the_best_address_is_that_of_rational_arithmetic(data):
    draw = data.draw
    form, tie = draw(st.sampled_from(FORMS)), draw(st.sampled_from(list(CODES)))
    near = draw(st.sampled_from([3, 70, 5000, form[5]]))
    addresses = draw(st.lists(st.integers(-near, near), min_size=1, max_size=24))
    keys = np.array([point(form, float(a)) for a in addresses])
    on = [draw(st.integers(0, 9)) > 0 for _ in addresses]
    for j, x in enumerate(on):
        keys[j, draw(st.integers(0, 1))] += (
            0.0 if x else draw(st.sampled_from([0.125, -0.75, -1.5, 1.5, -1e300, 1e300]))
        )
    # A key that was moved may have come to rest on another address.
    on = [(x, y) in {point(form, float(a)) for a in _near(form, x)} for x, y in keys]
    values = np.array(draw(st.lists(numbers.filter(lambda v: abs(v) < 1e100), min_size=24, max_size=24)))
    table = Table(form, tie, keys, values, capacity=len(keys))
    known = 0
    for _ in range(draw(st.integers(1, 3))):
        known = draw(st.integers(0, len(keys)))  # fewer than before are read anew
        assert table.extend(known) == known - sum(on[:known])
        if draw(st.booleans()):
            table.move(table.capacity + draw(st.integers(0, 9)))
    for _ in range(8):
        q = draw(numbers), draw(numbers)
        if draw(st.booleans()) and len(addresses) > 1:
            # The vertex halfway between two addresses, or upon one.
            a, b = draw(st.sampled_from(addresses)), draw(st.sampled_from(addresses))
            q = -(form[2] * (a + b) + form[3]) * (1.0 / form[0]), draw(st.sampled_from([1.0, -1.0]))
        if q == (0.0, 0.0):
            continue
        want = expected(tie, q, keys[:known], values, on[:known])
        assert table.answer(q) == want, (form, addresses, q)
        strays = [key for key, x in zip(keys[:known], on[:known], strict=True) if not x]
        for number, key in enumerate(strays if want is not None else ()):
            best = max(score(q, k) for k, x in zip(keys[:known], on[:known], strict=True) if x)
            sign = (score(q, key) > best) - (score(q, key) < best)
            assert index_versus(table.at, *q, number, table.scratch.ctypes.data) == sign
            # Where a query need not look at them, none is as good.
            assert sign < 0 or table.scratch[INDEX_FOUND_OPEN : INDEX_FOUND_OPEN + 8].any()
    assert (table.guard[-64:] == 0xA5).all()


def _near(form, x):
    a = (Fraction(x) - Fraction(form[1])) / Fraction(form[0])
    return [b for b in (math.floor(a), math.ceil(a)) if abs(b) <= form[5]]


@pytest.mark.parametrize("spread", [60, 4000, 2**26])
def test_neighbours_are_found_across_nodes(spread):
    draw = np.random.default_rng(spread)
    form = FORMS[0]
    addresses = draw.integers(-spread, spread + 1, 500)
    keys = np.array([point(form, float(a)) for a in addresses])
    table = Table(form, "last", keys, np.zeros(len(keys)))
    written: dict[int, int] = {}
    for j, a in enumerate(addresses.tolist()):
        assert table.extend(j + 1) == 0
        written[a] = j
        x = draw.integers(-2 * spread, 2 * spread + 1) / 2
        distance = min(abs(b - x) for b in written)
        assert table.answer((x, 1.0)) == max(at for b, at in written.items() if abs(b - x) == distance)
        assert table.answer((1.0, 0.0)) == written[max(written)]
        far = max(abs(b + x) for b in written)
        assert table.answer((x, -1.0)) == max(at for b, at in written.items() if abs(b + x) == far)
