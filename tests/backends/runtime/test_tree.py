"""The tree's kernels: every key is in its node's box and balls whatever came before, and comparison is exact."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc_backends.numba.modules import import_module, write_module
from attnc_backends.numba.runtime import tree_layout as layout
from attnc_backends.numba.runtime.tree_order import tree_compare
from attnc_backends.numba.shared import LIBRARIES, library_source

MANY = settings(max_examples=max(200, settings.default.max_examples), deadline=None)

doubles = st.one_of(
    st.integers(-3, 3).map(float),
    st.sampled_from([0.1, 0.2, 0.3, -0.1, -0.3, 1 + 2.0**-52, 1 - 2.0**-53, 5e-324, -1e-310, 1.7e308, -1e300, -0.0]),
    st.floats(allow_nan=False, allow_infinity=False),
)  # fmt: skip


def exact_order(q, x, y):
    total = sum(Fraction(a) * (Fraction(b) - Fraction(c)) for a, b, c in zip(q, x, y, strict=True))
    return (total > 0) - (total < 0)


@MANY
@given(
    st.integers(2, 5).flatmap(
        lambda d: st.lists(st.lists(doubles, min_size=d, max_size=d), min_size=3, max_size=3)
    )
)
def test_comparison_is_exact(rows):
    q, x, y = (np.array(row) for row in rows)
    scratch = np.empty(4096, np.uint8)
    found = tree_compare(q.ctypes.data, x.ctypes.data, y.ctypes.data, 8, len(q), scratch.ctypes.data)
    assert found == exact_order(*rows)
    # The last coordinate settles what the others leave open: nearly, and exactly.
    if q[-1] != 0 and abs(q[-1]) < 1e100:
        for other in (x[-1], np.nextafter(x[-1], 0.0)):
            near = x.copy()
            near[-1] = other
            found = tree_compare(
                q.ctypes.data, x.ctypes.data, near.ctypes.data, 8, len(q), scratch.ctypes.data
            )
            assert found == exact_order(q, x, near)


@pytest.fixture(scope="module")
def kernels():
    """The library's functions, callable from Python; compiled once per machine."""
    (library,) = (x for x in LIBRARIES if x.name == "tree")
    module = import_module(write_module(library_source(library)))
    return lambda name, *args: getattr(module, f"export_{name}").ctypes(*args)


class Region:
    """A tree and a look at what is in it."""

    def __init__(self, kernels, capacity, width):
        self.kernels, self.width = kernels, width
        self.memory = np.full(kernels("tree_bytes", capacity, width), 0xA5, np.uint8)
        kernels("tree_start", self.at, capacity, width)

    @property
    def at(self):
        return self.memory.ctypes.data

    def take(self, name, high, keys):
        return self.kernels(name, self.at, high, keys.ctypes.data, keys.strides[0], keys.strides[1], 0)

    def field(self, offset):
        return int(self.memory[offset : offset + 8].view(np.int64)[0])

    def doubles(self, at, count):
        return self.memory[at : at + 8 * count].view(np.float64)

    def check(self, keys):
        """The slots hold the keys, each once, and every node bounds what lies below it."""
        count, width = len(keys), self.width
        assert self.field(layout.TREE_COUNT) == count
        at = self.field(layout.TREE_ORDER_AT)
        order = self.memory[at : at + 4 * count].view(np.int32)
        np.testing.assert_array_equal(np.sort(order), np.arange(count))
        leaves = -(-count // layout.TREE_LEAF)
        stored = self.doubles(self.field(layout.TREE_LEAVES_AT), leaves * layout.TREE_LEAF * width)
        stored = stored.reshape(leaves, width, layout.TREE_LEAF).swapaxes(1, 2).reshape(-1, width)
        np.testing.assert_array_equal(stored[:count], keys[order])
        # Slots past the end must not reach farther than the leaf's own keys.
        last = {tuple(row) for row in stored[(leaves - 1) * layout.TREE_LEAF : count]}
        assert {tuple(row) for row in stored[count:]} <= last
        group = layout.TREE_GROUP_COLUMN // 8 * width + 40
        for level in range(self.field(layout.TREE_DEPTH)):
            size = layout.TREE_LEAF << 3 * level
            for node in range(-(-count // size)):
                slots = slice(node * size, min((node + 1) * size, count))
                base = self.field(layout.TREE_LEVELS_AT + 8 * level)
                columns = self.doubles(base + 8 * group * (node // 8), group).reshape(-1, 8)[:, node % 8]
                low, high, centre = columns[: 3 * width].reshape(width, 3).T
                most, earliest, latest, norm, radius = columns[3 * width :]
                inside, places = stored[slots], order[slots]
                assert (low == inside.min(0)).all()
                assert (high == inside.max(0)).all()
                assert most == np.abs(inside).max()
                assert (earliest, latest) == (places.min(), places.max())
                for row in inside[:: max(1, len(inside) // 50)]:
                    assert square(row) <= Fraction(norm) ** 2
                    assert radius == np.inf or square(row, centre) <= Fraction(radius) ** 2


def square(row, centre=None):
    centre = np.zeros(len(row)) if centre is None else centre
    return sum((Fraction(x) - Fraction(c)) ** 2 for x, c in zip(row.tolist(), centre.tolist(), strict=True))


def keys_of(family, count, width):
    draw = np.random.default_rng(count + width)
    match family:
        case "integers":
            return draw.integers(-2, 3, (count, width)).astype("f8")
        case "equal":
            return np.full((count, width), 0.1)
        case "tiny":
            return draw.standard_normal((count, width)) * 1e-200
        case "rising":
            return np.arange(count * width, dtype="f8").reshape(count, width)
        case _:
            return draw.standard_normal((count, width))


@pytest.mark.parametrize("family", ["integers", "equal", "tiny", "rising", "normal"])
@pytest.mark.parametrize(("count", "width"), [(1, 3), (64, 2), (65, 7), (700, 3), (5000, 4)])
def test_every_key_lies_within_its_nodes(kernels, family, count, width):
    keys = keys_of(family, count, width)
    region = Region(kernels, count, width)
    assert region.take("tree_fill", count, keys) == count
    region.check(keys)


@pytest.mark.parametrize("family", ["integers", "normal"])
def test_keys_may_come_in_any_portions_and_regions_move(kernels, family):
    keys = keys_of(family, 6000, 3)
    region, reached = Region(kernels, 1, 3), 0
    # One by one; then so many that all are arranged; then few again. Each time into a larger region.
    for portion in (1, 62, 1, 1, 192, 300, 5000, 443):
        larger = Region(kernels, reached + portion, 3)
        kernels("tree_move", region.at, larger.at, reached + portion)
        region, reached = larger, reached + portion
        assert region.take("tree_reach", reached, keys) == reached
        region.check(keys[:reached])
    for high in range(reached - 5, reached):
        assert region.take("tree_reach", high, keys) == reached  # what is there stays


def test_keys_from_the_first_that_is_not_finite_on_stay_out(kernels):
    keys = keys_of("normal", 300, 4)
    keys[70, 3] = np.inf
    for name in ("tree_fill", "tree_reach"):
        region = Region(kernels, 300, 4)
        assert region.take(name, 300, keys) == 70
        assert region.take("tree_reach", 300, keys) == 70
        region.check(keys[:70])
