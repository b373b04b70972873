"""The hull answers as a rational scan of all keys does, after every append, for every tie rule."""

import math
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc_backends.numba.modules import import_module, write_module
from attnc_backends.numba.runtime import hull_layout, memory, monotone
from attnc_backends.numba.shared import LIBRARIES, library_source

# The profile makes draws the same everywhere; these are cheap, so there are more of them than usual.
MANY = settings(max_examples=max(250, settings.default.max_examples))

# As programs call it: compiled once for all runs, not function by function for this one.
LIBRARY = next(library for library in LIBRARIES if library.name == "hull")
MODULE = import_module(write_module(library_source(LIBRARY)))
hull = SimpleNamespace(
    **{export.name: getattr(MODULE, f"export_{export.name}").ctypes for export in LIBRARY.exports}
)

LARGEST = 1.7976931348623157e308
SMALLEST = 5e-324


def rounded(value):
    """The exact fraction rounded once to a double; integer division in Python does exactly that."""
    try:
        return value.numerator / value.denominator
    except OverflowError:
        return math.inf if value > 0 else -math.inf


class Cache:
    """One hull with the keys and values that it refers to, all in plain byte arrays."""

    stores = (memory.store_f64, memory.store_f32, memory.store_bf16, memory.store_f16)

    def __init__(self, capacity, dv=1, dtype=memory.DT_F64, with_mean=1, room=64, gap=0):
        self.dv, self.dtype, self.with_mean = dv, dtype, with_mean
        self.stride = dv * memory.dtype_bytes(dtype) + gap
        self.keys = np.zeros((room, 2))
        self.vals = np.zeros(room * self.stride + 8, np.uint8)
        self.out = np.zeros(dv + 1)
        self.scratch = np.full(hull.hull_scratch_bytes(dv), 0xEE, np.uint8)
        self.points, self.rows = [], []
        self.region = self.new_region(capacity)
        assert hull.hull_init(self.h, capacity, dv, with_mean) == 0

    def new_region(self, capacity):
        self.capacity = capacity
        size = hull.hull_bytes(capacity, self.dv, self.with_mean)
        return np.full(size + 8, 0xEE, np.uint8)

    @property
    def h(self):
        return self.region.ctypes.data + 3  # unaligned on purpose

    @property
    def values_at(self):
        return self.vals.ctypes.data, self.stride, self.dtype

    def append(self, point, row=()):
        j = len(self.points)
        self.keys[j] = point
        stored = []
        for c, value in enumerate(row):
            address = self.vals.ctypes.data + j * self.stride + c * memory.dtype_bytes(self.dtype)
            self.stores[self.dtype](address, value)
            stored.append(float(memory.load_element(address, self.dtype)))
        status = 0
        # Mostly as programs do, which make sure of room, sometimes the general way where the short one would do.
        if j % 7 == 3 or j == self.capacity or not monotone.monotone_append(self.h, self.keys.ctypes.data):
            status = hull.hull_append(self.h, self.keys.ctypes.data, self.scratch.ctypes.data)
        if status == 0:
            self.points.append(tuple(map(Fraction, point)))
            self.rows.append(stored)
        return status

    def move(self, capacity):
        target = self.new_region(capacity)
        status = hull.hull_move(self.h, target.ctypes.data + 3, capacity)
        if status == 0:
            self.region[:] = 0x11
            self.region = target
        return status

    def first(self, query):
        return hull.hull_first(self.h, self.keys.ctypes.data, *query, self.scratch.ctypes.data)

    def last(self, query):
        return hull.hull_last(self.h, self.keys.ctypes.data, *query, self.scratch.ctypes.data)

    def mean(self, query):
        out = self.out.ctypes.data
        at = (self.h, self.keys.ctypes.data, *self.values_at)
        count = hull.hull_mean(*at, *query, out, self.scratch.ctypes.data)
        return count, list(self.out[: self.dv])

    def check(self, query):
        qx, qy = map(Fraction, query)
        scores = [qx * x + qy * y for x, y in self.points]
        best = max(scores)
        tied = [j for j, score in enumerate(scores) if score == best]
        near = monotone.monotone_best(self.h, self.keys.ctypes.data, *query)
        assert near == -1 or tied == [near]
        assert self.first(query) == tied[0]
        assert self.last(query) == tied[-1]
        count, means = self.mean(query)
        assert count == len(tied)
        for column, got in enumerate(means):
            members = [self.rows[j][column] for j in tied]
            special = [v for v in members if not math.isfinite(v)]
            total = sum(special) if special else rounded(sum(map(Fraction, members)))
            expected = total / count
            assert got == expected or (math.isnan(got) and math.isnan(expected))
            assert np.signbit(got) == np.signbit(expected) or math.isnan(got)


# --- drawn streams ----------------------------------------------------------------------------------------

small = st.integers(-3, 3).map(float)
extreme = st.sampled_from([0.0, -0.0, SMALLEST, -SMALLEST, LARGEST, -LARGEST, 1e308, 2.0**-1022, 1.0, -3.0])
pythagorean = st.sampled_from(
    [
        (float(sx * a), float(sy * b))
        for a, b in ((3, 4), (4, 3), (5, 0), (0, 5))
        for sx in (1, -1)
        for sy in (1, -1)
    ]
    + [(3.5, 3.5), (4.5, 1.5), (0.0, 0.0)]
)


def on_a_line(step):
    return st.integers(-5, 5).map(lambda t: (float(t * step[0]), float(t * step[1])))


def nearly_on_a_line(pair):
    t, direction = pair
    x = t / 7
    return x, math.nextafter(0.3 * x + 0.1, direction)


@st.composite
def ordered_then_anything(draw):
    """Keys in order of x, bent to one side or on a line, with at most a few at the end that break the order."""
    bend = draw(st.sampled_from([-1, 0, 1]))
    strict = draw(st.integers(0, 8))
    points = [(2.0 * t, float(bend * t * t)) for t in range(strict)]
    dx, dy = draw(st.sampled_from([(2.0, 0.0), (1.0, 3.0), (2.0, -40.0), (2.0, 40.0)]))
    for _ in range(draw(st.integers(0, 6))):
        x, y = points[-1] if points else (0.0, 0.0)
        points.append((x + dx, y + dy))
    near = st.sampled_from(points) if points else st.just((0.0, 0.0))
    away = st.sampled_from([-2.0, -1.0, 0.0, 0.0, 1.0, 2.0])
    for _ in range(draw(st.integers(0 if points else 1, 5))):
        (x, y), ax, ay = draw(near), draw(away), draw(away)
        points.append((x + ax, y + ay))
    return points


key_streams = st.one_of(
    ordered_then_anything(),
    st.lists(st.tuples(small, small), min_size=1, max_size=14),
    st.lists(st.tuples(st.sampled_from([0.0, -0.0, 1.0]), small), min_size=1, max_size=12),
    st.tuples(st.integers(-3, 3), st.integers(-3, 3)).flatmap(
        lambda step: st.lists(on_a_line(step), min_size=1, max_size=12)
    ),
    st.lists(pythagorean, min_size=1, max_size=14),
    st.lists(
        st.integers(0, 11).map(lambda t: (math.cos(math.pi * t / 6), math.sin(math.pi * t / 6))),
        min_size=1,
        max_size=14,
    ),
    st.lists(
        st.tuples(st.integers(-9, 9), st.sampled_from([-math.inf, 0.4, math.inf])).map(nearly_on_a_line),
        min_size=1,
        max_size=12,
    ),
    st.lists(st.integers(-6, 6).map(lambda t: (2.0 * t, -float(t * t))), min_size=1, max_size=12),
    st.lists(st.tuples(extreme, extreme), min_size=1, max_size=10),
    st.sampled_from([500, -500, -1070, 1018]).flatmap(
        lambda e: st.lists(
            st.tuples(small.map(lambda m: math.ldexp(m, e)), small.map(lambda m: math.ldexp(m, -e // 2))),
            min_size=1,
            max_size=10,
        )
    ),
)

value = st.one_of(
    st.integers(-9, 9).map(float),
    st.floats(-100, 100),
    st.sampled_from([1e300, -1e300, 1e-300, SMALLEST, LARGEST, -LARGEST, 0.0, -0.0, 1.0]),
    st.sampled_from([math.inf, -math.inf, math.nan, 1.0, 2.0, 3.0]),
)


@st.composite
def queries(draw, points):
    """Directions that tie: across a pair of keys, along the axes, zero; and some that need not."""
    kind = draw(st.integers(0, 4))
    if kind <= 1:
        (ax, ay), (bx, by) = draw(st.sampled_from(points)), draw(st.sampled_from(points))
        query = (ay - by, bx - ax) if kind == 0 else (by - ay, ax - bx)
        if all(map(math.isfinite, query)):
            return query
    if kind == 2:
        return draw(
            st.sampled_from([(0.0, 0.0), (-0.0, 0.0), (1.0, 0.0), (-2.0, -0.0), (0.0, 1.0), (0.0, -1.0)])
        )
    if kind == 3:
        return draw(st.tuples(extreme, extreme))
    return draw(st.tuples(small, small))


def test_a_level_edge_above_the_highest_vertex_known_from_keys_in_order():
    # Of an ordered hull the ends and the last bend are known, not the peak: here 6 at 2 and 3. The keys that come
    # then lie on that edge, below it at the height of the bend, again on it, and above it.
    points = [(0.0, 0.0), (1.0, 4.0), (2.0, 6.0), (3.0, 6.0), (4.0, 4.0), (5.0, 0.0)]
    points += [
        (2.5, 6.0),
        (2.25, 6.0),
        (2.5, 4.0),
        (2.5, 4.0),
        (2.75, 6.0),
        (2.5, 6.0),
        (2.5, 7.0),
        (2.5, 6.0),
    ]
    for flip in (1.0, -1.0):
        cache = Cache(len(points))
        for n, (x, y) in enumerate(points):
            assert cache.append((x, flip * y), [float(n)]) == 0
            for query in ((0.0, flip), (0.0, -flip), (1.0, flip), (-1.0, flip)):
                cache.check(query)


@MANY
@given(st.data())
def test_every_answer_after_every_append_is_that_of_the_rational_scan(data):
    points = data.draw(key_streams)
    dv = data.draw(st.integers(0, 2))
    dtype = data.draw(st.sampled_from([memory.DT_F64, memory.DT_F32]))
    capacity = data.draw(st.integers(1, len(points)))
    cache = Cache(capacity, dv, dtype, gap=data.draw(st.sampled_from([0, 4])))
    for n, point in enumerate(points):
        row = [data.draw(value) for _ in range(dv)]
        if dtype == memory.DT_F32:
            row = [v if not math.isfinite(v) or abs(v) < 1e38 else 7.0 for v in row]
        if n == capacity:
            assert cache.append(point, row) == 1
            capacity = n + data.draw(st.integers(1, 5))
            assert cache.move(capacity) == 0
        assert cache.append(point, row) == 0
        for query in data.draw(st.lists(queries(points[: n + 1]), min_size=1, max_size=2)):
            cache.check(query)


# --- known hard cases -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "values", "query", "first", "last", "mean"),
    [
        pytest.param(
            [(0, 0), (2, 0), (1, 0)], [0, 30, 3], (0, 1), 0, 2, 11.0, id="middle-of-an-edge-comes-last"
        ),
        pytest.param([(-1, 0), (0, 0), (1, 0)], [1, 2, 6], (0, 1), 0, 2, 3.0, id="middle-of-an-edge"),
        pytest.param([(4, 0), (1, -3), (-1, -5)], [1, 2, 6], (3, -3), 0, 2, 3.0, id="query-across-an-edge"),
        pytest.param(
            [(0, 0), (1169713601280381, -1881826492714166)],
            [1, 2],
            (6554730440190525, 4074316829049964),
            1,
            1,
            2.0,
            id="products-past-53-bits",
        ),
        pytest.param(
            [(0.8660254037844387, 0.49999999999999994), (1, 0)],
            [1, 2],
            (1.8660254037844388, 0.49999999999999994),
            0,
            0,
            1.0,
            id="regular-polygon",
        ),
        pytest.param(
            [(84, -1e30), (62, -1e30)], [1, 2], (20, 1), 0, 0, 1.0, id="one-coordinate-drowns-the-other"
        ),
    ],
)
def test_known_counterexamples(points, values, query, first, last, mean):
    cache = Cache(8)
    for point, v in zip(points, values, strict=True):
        cache.append(point, [float(v)])
    query = tuple(map(float, query))
    assert cache.first(query) == first
    assert cache.last(query) == last
    assert cache.mean(query)[1] == [mean]
    cache.check(query)


def test_an_empty_structure_has_no_winner():
    cache = Cache(4, dv=2)
    cache.out[:] = 5.0
    assert cache.first((1.0, 1.0)) == -1
    assert cache.last((0.0, 0.0)) == -1
    assert cache.mean((1.0, 1.0)) == (0, [0.0, 0.0])


def test_a_structure_without_means_still_answers_first_and_last():
    cache = Cache(16, dv=0, with_mean=0)
    for point in [(0, 0), (2, 0), (1, 0), (1, 1), (3, -1), (2, 0)]:
        cache.append(point)
    assert (cache.first((1.0, 1.0)), cache.last((1.0, 1.0))) == (1, 5)
    assert (cache.first((0.0, 0.0)), cache.last((0.0, 0.0))) == (0, 5)
    assert cache.mean((1.0, 1.0))[0] == -1


def test_a_key_on_the_lines_of_both_its_neighbours_joins_their_edges_to_its_own():
    cache = Cache(16)
    # A roof with a flat top; (0, 0) completes both slopes, swallows their upper ends and covers the top.
    slopes = [(-4, -4), (-2, -2), (-3, -3), (2, -2), (0, -2), (4, -4), (3, -3), (3, -3), (2, -2)]
    for n, point in enumerate([*slopes, (0, 0), (1, -1), (-1, -1), (-6, -6), (7, -7), (0, 0)]):
        cache.append(point, [float(1 << n)])
        for query in ((-1.0, 1.0), (1.0, 1.0), (0.0, 1.0), (0.0, -1.0)):
            cache.check(query)
    assert cache.mean((-1.0, 1.0))[0] == 7
    assert cache.mean((1.0, 1.0))[0] == 9


@pytest.mark.parametrize("exponent", [0, -470, -490, -540, -1060, 490, 520, 1015])
@pytest.mark.parametrize("slope", [3.0, -3.0, 0.0])
def test_keys_on_a_known_edge_and_an_ulp_beside_it(exponent, slope):
    # The second key on the edge meets an edge that is known; products of its differences may over- and underflow.
    unit = 2.0**exponent
    cache = Cache(64, with_mean=1)

    def on(t):
        return t * unit, slope * t * unit

    ask = [(-slope, 1.0), (slope, -1.0), (1.0, 0.25), (-1.0, -0.25), (0.0, 1.0), (0.0, -1.0)]

    def put(point):
        cache.append(point, (float(len(cache.points)),))
        for query in ask:
            cache.check(query)

    for t in (16.0, 0.0, 4.0, 6.0, 6.0, 10.0):
        put(on(t))
    x, y = on(8.0)
    for away in (-math.inf, math.inf):
        # One beside the edge becomes a vertex of one half; then the other halves of it are edges.
        put((x, math.nextafter(y, away)))
        put(on(2.0))
        put(on(12.0))
        put((math.nextafter(x, away), y))
        put(on(8.0))
        put(on(6.0))


def test_keys_on_a_known_edge_whose_differences_round():
    # x - ax rounds to what it would be on the edge: the key is beside it.
    cache = Cache(64, with_mean=1)
    for point in [
        (8.0, 8.0),
        (-8.0, -8.0),
        (0.0, 0.0),
        (1.0, 1.0),
        (2.0**-60, 0.0),
        (0.0, 2.0**-60),
        (2.0, 2.0),
    ]:
        cache.append(point, (float(len(cache.points)),))
        for query in [(-1.0, 1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, -1.0)]:
            cache.check(query)


@pytest.mark.parametrize("exponent", [0, -530, 530])
def test_queries_that_tie_on_an_edge_and_an_ulp_beside_them(exponent):
    # A few vertices are judged all at once, if the filter sees every sign; here one of them it does not see.
    unit = 2.0**exponent
    points = [
        (0.0, 0.0),
        (7.0, 1.0),
        (3.0, 8.0),
        (-5.0, 6.0),
        (-6.0, -2.0),
        (1.0, -4.0),
        (6.0, 5.0),
        (-1.0, 8.0),
    ]
    points += [
        (8.0, 3.0),
        (-7.0, 1.0),
        (5.0, 7.0),
        (-4.0, 7.0),
        (4.0, -3.0),
        (2.0, 9.0),
        (-2.0, -4.0),
        (3.0, 8.0),
    ]
    cache = Cache(64)
    for n, (x, y) in enumerate(points):
        cache.append((x * unit, y * unit), [float(n)])
        for ax, ay in points[:n]:
            for flip in (1.0, -1.0):
                across, up = (ay - y) * flip, (x - ax) * flip
                for size in (1.0, 2.0**-540, 2.0**480):
                    cache.check((across * size, up * size))
                    cache.check((across * size, math.nextafter(up * size, math.inf)))


@pytest.mark.parametrize("dtype", [memory.DT_F64, memory.DT_F32, memory.DT_BF16, memory.DT_F16])
def test_values_of_every_storage_dtype_are_averaged_exactly(dtype):
    cache = Cache(8, dv=3, dtype=dtype, gap=1)
    for n in range(5):
        cache.append((1.0, 2.0), [0.1 * n, -1.0, 3.0 + n])
        cache.check((1.0, 1.0))


def test_values_that_no_pair_of_doubles_sums_exactly_are_averaged_by_walking():
    cache = Cache(8, dv=1)
    for v in (1e300, 1.0, 1e-300, -1e300, LARGEST, LARGEST, -LARGEST):
        cache.append((1.0, 2.0), [v])
        for query in ((1.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0), (0.0, 0.0)):
            cache.check(query)


def test_a_region_may_be_copied_byte_for_byte():
    cache = Cache(32)
    for n in range(20):
        cache.append((float(n % 5), float(n % 3)), [float(n)])
    copy = cache.region.copy()
    cache.region[:] = 0
    cache.region = copy
    for query in ((1.0, 2.0), (0.0, 1.0), (-1.0, 0.0), (0.0, 0.0)):
        cache.check(query)


def test_moving_below_the_count_is_refused_and_a_tight_region_suffices():
    cache = Cache(50)
    for n in range(30):
        cache.append((2.0 * n, -float(n * n)), [float(n)])
    assert cache.move(29) == 1
    assert cache.move(30) == 0
    assert cache.append((0.0, 0.0), [0.0]) == 1
    assert cache.move(40) == 0
    cache.append((60.0, -900.0), [1.0])
    for n in range(31):
        cache.check((float(n), 1.0))


def test_sizes_out_of_range_are_refused():
    assert hull.hull_bytes(-1, 1, 1) == -1
    assert hull.hull_bytes(1, -1, 1) == -1
    assert hull.hull_bytes(hull_layout.HULL_MAX_CAPACITY + 1, 1, 1) == -1
    assert hull.hull_bytes(0, 0, 0) > 0
    assert hull.hull_init(0, -1, 1, 1) == 1


def test_keys_in_order_take_no_memory_beside_themselves():
    cache = Cache(1000, dv=0, with_mean=0, room=1000)
    for n in range(1000):
        cache.append((2.0 * n, -float(n * n)))
    assert memory.load_i64(cache.h + hull_layout.HULL_LEAVES_USED) == 0
    assert cache.move(1000) == 0
    assert [cache.last((float(n), 1.0)) for n in range(0, 1000, 7)] == list(range(0, 1000, 7))
    assert [cache.first((n + 0.5, 1.0)) for n in range(0, 1000, 7)] == list(range(0, 1000, 7))
    # One key among them gives memory to the leaf that it meets, not to the others.
    assert cache.move(1001) == 0
    cache.keys = np.append(cache.keys, [[1000.0, -250000.0]], 0)
    cache.append((1000.0, -250000.0))
    assert memory.load_i64(cache.h + hull_layout.HULL_LEAVES_USED) <= 3
    assert (cache.first((500.0, 1.0)), cache.last((500.0, 1.0))) == (500, 1000)
    assert [cache.last((float(n), 1.0)) for n in range(0, 500, 7)] == list(range(0, 500, 7))


# --- many blocks ------------------------------------------------------------------------------------------


def rings(radii, per_ring, rng):
    """Circles of integer points, each covering all before it when radii grow."""
    angles = rng.random((len(radii), per_ring)) * 2 * np.pi
    circles = np.stack([np.cos(angles), np.sin(angles)], -1) * np.asarray(radii)[:, None, None]
    return np.rint(circles).astype(np.int64).reshape(-1, 2)


def parabola(t):
    return np.stack([2 * t, -t * t], 1)


def long_streams():
    rng = np.random.default_rng(7)
    t = np.arange(1500)
    yield "parabola-in-order", parabola(t)
    yield "parabola-reversed", parabola(t)[::-1]
    yield "parabola-shuffled", parabola(rng.permutation(t))
    yield "parabola-rewritten", parabola(rng.integers(0, 400, 2000))
    yield "circle", rings([1 << 20], 2000, rng)
    yield "growing-circles", rings([1 << s for s in range(10, 20)], 300, rng)
    order = parabola(t[:700])
    yield "order-broken-inside", np.concatenate([order, np.add(parabola(rng.permutation(t[:700])), [0, 1])])
    yield "order-rewritten", np.concatenate([order, parabola(rng.integers(0, 700, 700))])
    yield (
        "order-covered",
        np.concatenate([order, [[1400, 1 << 20], [-5, 1 << 21]], np.add(order, [0, 1 << 22])]),
    )
    yield "order-upwards", np.concatenate([-order[::-1], order[300:500], -order]) * [[1, -1]]
    straight = np.stack([2 * t, np.minimum(t, 1)], 1)
    yield "line-after-a-bend", np.concatenate([straight, np.add(straight[::-3], [1, 0]), parabola(t[:300])])
    yield "line-left", np.concatenate([np.stack([t, 3 * t], 1), parabola(rng.permutation(t))])
    yield "grid", rng.integers(-40, 41, (1500, 2))
    on_line = rng.permutation(t)
    yield "line-shuffled", np.stack([on_line, 3 * on_line], 1)
    # A chain of many blocks, then keys above it that cover most of it at once, then a chain again.
    covered = np.concatenate([parabola(rng.permutation(t)) + np.array([0, k * 2**20]) for k in range(3)])
    yield "covered-again-and-again", covered
    # Chords of three collinear keys: each middle key meets an edge or is swallowed by one.
    corners = parabola(16 * rng.permutation(500))
    between = (corners[:, None] * [[2], [1]] + np.roll(corners, 1, 0)[:, None] * [[0], [1]]) // [[2], [2]]
    yield "edges-with-insides", between.reshape(-1, 2)


@pytest.mark.parametrize(("name", "points"), [pytest.param(*s, id=s[0]) for s in long_streams()])
def test_long_streams_agree_with_an_integer_scan(name, points):
    rng = np.random.default_rng(11)
    n = len(points)
    cache = Cache(n // 3, dv=1, room=n)
    values = rng.integers(-99, 100, n)
    for j, point in enumerate(points):
        if j == n // 3:
            assert cache.move(n) == 0
        assert cache.append(tuple(map(float, point)), [float(values[j])]) == 0
        seen = points[: j + 1]
        a, b = seen[rng.integers(j + 1)], seen[rng.integers(max(0, j - 3), j + 1)]
        across = np.array([a[1] - b[1], b[0] - a[0]])
        for query in (across, rng.integers(-2000, 2001, 2), np.array([rng.integers(0, 1500), 1])):
            scores = seen @ query
            tied = np.flatnonzero(scores == scores.max())
            as_doubles = tuple(map(float, query))
            assert cache.first(as_doubles) == tied[0]
            assert cache.last(as_doubles) == tied[-1]
            assert cache.mean(as_doubles) == (len(tied), [values[tied].sum() / len(tied)])
    assert memory.load_i64(cache.h + hull_layout.HULL_LEAVES_USED) <= 2 * (n // 32 + 8)
