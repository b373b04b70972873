"""The hierarchy's kernels: what they say ties is what ties in integer arithmetic, however degenerate the keys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc_backends.numba.modules import import_module, write_module
from attnc_backends.numba.shared import LIBRARIES, library_source
from exact_families import FAMILIES, queries_for
from exact_oracle import tied

MANY = settings(max_examples=max(60, settings.default.max_examples), deadline=None)
FIRST, LAST, MEAN = 0, 1, 2


@pytest.fixture(scope="module")
def kernels():
    """The library's functions, callable from Python; compiled once per machine."""
    (library,) = (x for x in LIBRARIES if x.name == "hierarchy")
    module = import_module(write_module(library_source(library)))
    return lambda name, *args: getattr(module, f"export_{name}").ctypes(*args)


class Made:
    """A hierarchy of some keys in memory that held something else before."""

    def __init__(self, kernels, keys, room=0):
        self.kernels, self.keys = kernels, np.ascontiguousarray(keys, np.float64)
        capacity = len(keys) + room
        self.memory = np.full(kernels("hierarchy_bytes", capacity) + 64, 0xA5, np.uint8)
        self.at = self.memory.ctypes.data
        self.made = kernels("hierarchy_build", self.at, capacity, len(keys), self.keys.ctypes.data, 24, 8, 0)
        assert (self.memory[-64:] == 0xA5).all()

    def best(self, query, tie):
        query = np.ascontiguousarray(query, np.float64)
        return self.kernels("hierarchy_best", self.at, query.ctypes.data, tie)

    def mean(self, values):
        """The mean of what tied in the search before."""
        out = np.empty(1)
        sums = np.empty(self.kernels("hierarchy_sums_bytes", 1), np.uint8)
        self.kernels(
            "hierarchy_mean", self.at, sums.ctypes.data, values.ctypes.data, 8, 8, 0, 1, out.ctypes.data
        )
        return out[0]

    def check(self, queries):
        """Every answer against integer arithmetic."""
        # Sums of different powers of two: a wrong set has a wrong sum.
        values = 2.0 ** (np.arange(len(self.keys)) % 40)
        all_of_them = np.ones((len(queries), len(self.keys)), bool)
        for query, ties in zip(queries, tied(queries, self.keys, all_of_them, 1), strict=True):
            where = np.flatnonzero(ties)
            assert self.best(query, FIRST) == where[0]
            assert self.best(query, LAST) == where[-1]
            assert self.best(query, MEAN) in where
            assert self.mean(values) == values[where].sum() / len(where)


def _circle(count, scale=1.0):
    angle = 2 * np.pi * np.arange(count) / max(count, 1)
    return np.stack([np.cos(angle), np.sin(angle), np.zeros(count)], axis=-1) * scale


def _box(rng, count):
    """Random points on the faces of a cube: thousands of coplanar keys, few of them in special places."""
    keys = rng.random((count, 3))
    keys[np.arange(count), rng.integers(0, 3, count)] = rng.integers(0, 2, count)
    return keys


def _lattice_box(rng, count):
    """Small integers on the faces of a cube: its corners, edges and faces, all many times."""
    keys = rng.integers(-3, 4, (count, 3)).astype(float)
    keys[np.arange(count), rng.integers(0, 3, count)] = 3 * rng.choice([-1, 1], count)
    return keys


def _prism(rng, count):
    keys = _circle(12)[rng.integers(0, 12, count)]
    keys[:, 2] = rng.integers(0, 2, count)
    return keys


def _cones(rng, count):
    """A circle below and above a few points, which have it as their neighbours."""
    keys, tips = _circle(count), min(count, int(rng.integers(1, 6)))
    keys[:tips] = rng.integers(-1, 2, (tips, 3)) * 1e-3
    keys[:tips, 2] = rng.choice([-1, 1], tips)
    return keys


def _moments(rng, count):
    """On this curve each key is a vertex, and two of them have all others as their neighbours."""
    place = np.arange(count) - float(rng.integers(0, count))
    return np.stack([place, place**2, place**3], axis=-1)


def _paraboloid(rng, count):
    place = rng.integers(-4, 5, (count, 2)).astype(float)
    return np.concatenate([2 * place, -(place**2).sum(axis=1, keepdims=True)], axis=1)


def _octahedra(rng, count):
    keys = np.concatenate([np.eye(3), -np.eye(3)])[rng.integers(0, 6, count)]
    return keys * rng.integers(1, 4, (count, 1))


def _slanted(rng, count):
    """In one plane that no three coordinates describe exactly in doubles, but integers do."""
    place = rng.integers(-5, 6, (count, 2)).astype(float)
    return np.stack([place[:, 0], place[:, 1], 3 * place[:, 0] - 7 * place[:, 1]], axis=-1) * 0.5


SOLIDS = {
    **{name: (lambda rng, count, make=make: make(rng, count, 3)) for name, make in FAMILIES.items()},
    **{
        make.__name__.strip("_").replace("_", " "): make
        for make in (
            _box, _lattice_box, _prism, _cones, _moments, _paraboloid, _octahedra, _slanted,
        )
    },
}  # fmt: skip


def drawn(name, seed, count):
    """Keys of a family, and queries: also such that a face of theirs ties."""
    rng = np.random.default_rng(seed)
    with np.errstate(over="ignore", invalid="ignore"):
        keys = np.clip(SOLIDS[name](rng, count), -1.79e308, 1.79e308)
        corners = keys[rng.integers(0, count, (4, 3))]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        across = np.nan_to_num(across, posinf=1e308, neginf=-1e308)
        return keys, np.concatenate([queries_for(rng, keys, 8), across, -across, np.eye(3), -np.eye(3)])


@MANY
@given(
    name=st.sampled_from(sorted(SOLIDS)),
    seed=st.integers(0, 2**32),
    count=st.sampled_from([1, 2, 3, 4, 5, 6, 8, 13, 30, 70]),
)
def test_what_ties_is_what_ties_exactly(kernels, name, seed, count):
    keys, queries = drawn(name, seed, count)
    made = Made(kernels, keys)
    assert made.made == 1
    made.check(queries)


@pytest.mark.parametrize("name", SOLIDS)
def test_several_levels(kernels, name):
    """Five hundred keys: levels, vertices with many neighbours, lists on every vertex, edge and face."""
    keys, queries = drawn(name, 7, 500)
    made = Made(kernels, keys, room=3)
    made.check(queries[::3])


@MANY
@given(
    keys=st.lists(
        st.lists(
            st.one_of(
                st.integers(-1, 1).map(float),
                st.sampled_from([5e-324, -5e-324, 1e-160, 1.7e308, -1.7e308, 1 + 2.0**-52, 0.1, 0.3]),
                st.floats(allow_nan=False, allow_infinity=False),
            ),
            min_size=3,
            max_size=3,
        ),
        min_size=1,
        max_size=9,
    ),
    seed=st.integers(0, 2**32),
)
def test_the_whole_range_of_doubles(kernels, keys, seed):
    keys = np.array(keys)
    with np.errstate(over="ignore"):
        queries = queries_for(np.random.default_rng(seed), keys, 6)
    Made(kernels, keys).check(np.clip(queries, -1.79e308, 1.79e308))


def test_a_sphere_has_every_key_as_a_vertex(kernels):
    rng = np.random.default_rng(3)
    keys = rng.normal(size=(20_000, 3))
    keys /= np.linalg.norm(keys, axis=1)[:, None]
    made = Made(kernels, keys)
    # The best key for one of them, taken as a query, is that key itself or one that rounding made longer.
    for j in range(0, 20_000, 97):
        best = made.best(keys[j], LAST)
        assert best == np.argmax(keys @ keys[j])
    for query in rng.normal(size=(300, 3)):
        assert made.best(query, LAST) == np.argmax(keys @ query)


@pytest.mark.parametrize("tiny", [5e-324, 2.0**-1000, 2.0**-200])
@pytest.mark.parametrize("huge", [2.0**290, 2.0**1000])
def test_next_to_huge_coordinates_tiny_ones_still_count(kernels, tiny, huge):
    """Keys that are in the plane of three others, or off it by the smallest amounts there are."""
    corners = huge * np.array([[1.0, 0, 0], [0, 1, 0], [-1, -1, 0], [0, 0, -1]])
    near = huge * np.array([[0.25, 0.25, 0], [0.25, 0.125, 0], [0, 0, 0]])
    keys = np.concatenate([corners, near + tiny * np.array([[0, 0, 0], [0, 0, 1], [0, 0, -1]])])
    made = Made(kernels, np.concatenate([keys, keys]))
    made.check(np.concatenate([np.eye(3), -np.eye(3), [[tiny, 0, 1], [0, -tiny, 1.0]], keys]))


def test_the_same_keys_give_the_same_bytes(kernels):
    keys, _ = drawn("lattice box", 1, 300)
    one, other = Made(kernels, keys), Made(kernels, keys)
    used = one.memory.view(np.int64)[:20]
    assert (used == other.memory.view(np.int64)[:20]).all()
    assert [one.best(q, LAST) for q in keys] == [other.best(q, LAST) for q in keys]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_left_to_others(kernels, bad):
    keys = np.eye(3)
    assert Made(kernels, np.vstack([keys, [0.0, bad, 0.0]])).made == 0
    assert Made(kernels, keys).best([1.0, 0.0, bad], FIRST) == -1


@pytest.mark.parametrize("query", [[0.0, 0.0, 0.0], [-0.0, 0.0, -0.0]])
def test_a_query_of_zeros_ties_all(kernels, query):
    made = Made(kernels, np.arange(12.0).reshape(4, 3))
    assert (made.best(query, FIRST), made.best(query, LAST)) == (0, 3)
    assert made.mean(np.array([1.0, 2.0, 4.0, 9.0])) == 4.0
