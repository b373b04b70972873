"""Keys on a parabola of integer addresses: tables of addresses against the reference and the dense scan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from attnc_backends.numba import arena as state_memory
from running_cases import assert_same, columns, drive, everywhere

# Addresses are computed in the graph; %z moves single keys off the parabola.
SPEC = """graph @g(%x: f64[4 x N x 2], %i: i32[2 x M x 1], %z: f64[2 x M x 1], %v: f64[2 x M x 2], %w: bf16[2 x M x 3]) {
  %a = convert %i {to = f64}
  %two = constant {type = f64[1], values = [2]}
  %line = mul %a, %two
  %square = mul %a, %a
  %curve = sub %z, %square
  %k = concat %line, %curve
  %o = attend %x, %k, %v {normalizer = hardmax(mean), mask = causal(bottom_right)}
  %p = attend %x, %k, %w {normalizer = hardmax(first), mask = causal(-2) & prefix(7), scale = -0.5}
  %r = attend %x, %k, %w {normalizer = hardmax(last), mask = causal(1)}
  %s = attend %x, %k, %v {normalizer = hardmax(mean)}
  return %o, %p, %r, %s
}"""
FAR = 2**26
ADDRESSES = (0, 1, -1, 2, 3, 5, 64, -65, 4096, FAR, -FAR, FAR + 1, -(2**31))
NUMBERS = (
    0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -2.0, 3.0, 2.5, 1.0 + 2.0**-52, 0.5 - 2.0**-54, 5e-324, 1e-300, -1.7e308, 2.0**26, 33.0,
)  # fmt: skip
OFF = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1e30, -1.0, 1.0, 2.0**-30)


@pytest.fixture(scope="module")
def programs():
    return everywhere(SPEC, "index")


def addresses(draw, shape):
    low, high = draw(st.sampled_from([(0, 3), (-4, 5), (0, 200)]))
    some = st.integers(low, high) | st.sampled_from(ADDRESSES)
    count = int(np.prod(shape))
    drawn = draw(st.lists(some, min_size=min(count, 16), max_size=min(count, 16)))
    return np.resize(np.array(drawn, "i4"), shape)


@settings(max_examples=120)
@given(st.data())
def test_the_table_answers_like_the_reference(programs, data):
    draw = data.draw
    n, m = draw(st.integers(0, 6)), draw(st.integers(0, 9))
    wild = draw(st.booleans())
    assert_same(
        programs,
        {
            "x": columns(draw, (4, n, 2), "f8", wild=wild, numbers=NUMBERS),
            "i": addresses(draw, (2, m, 1)),
            "z": columns(draw, (2, m, 1), "f8", wild=wild, numbers=OFF),
            "v": columns(draw, (2, m, 2), "f8", wild=True),
            "w": (columns(draw, (2, m, 3), "f4").view(np.uint32) >> 16).astype(np.uint16),
        },
    )


@pytest.mark.thorough
@pytest.mark.parametrize("spread", [3, 300, 2**20])
def test_many_keys(programs, spread):
    draw = np.random.default_rng(spread)
    n, m = 60, 400
    near = draw.integers(-2 * spread, 2 * spread, (4, n)) / 2
    arrays = {
        "x": np.stack([near, np.ones((4, n))], axis=-1) * draw.choice([1.0, -0.1, 3e-200, 1e300], (4, n, 1)),
        "i": draw.integers(-spread, spread, (2, m, 1)).astype("i4"),
        "z": draw.choice([0.0] * 30 + [-1e30, -4.0], (2, m, 1)),
        "v": draw.integers(-9, 10, (2, m, 2)) / 8,
        "w": draw.integers(0, 2**14, (2, m, 3)).astype(np.uint16),
    }
    one, two = (programs[name].run("g", arrays) for name in ("index", "dense"))
    for x, y in zip(one, two, strict=True):
        np.testing.assert_array_equal(x, y)


# Coordinates swapped, shifted and scaled; a node that looks into the past; two heads of queries for one of keys.
STEP = """graph @g(%x: f32[2 x 4 x 2], %i: i64[2 x 2 x 1], %z: f32[2 x 2 x 1], %v: f64[2 x 2 x 2]) {
  %c = cache {heads = [2 x 2], key = f32[2], value = f64[2]}
  %a = convert %i {to = f32}
  %three = constant {type = f32[1], values = [3]}
  %far = add %a, %three
  %square = mul %far, %a
  %curve = add %square, %z
  %line = mul %a, %three
  %k = concat %curve, %line
  %d = append %c, %k, %v
  %o = attend.step %x, %d {normalizer = hardmax(mean)}
  %p = attend.step %x, %d {normalizer = hardmax(first), mask = causal(-1), scale = -2.0}
  %r = attend.step %x, %d {normalizer = hardmax(last)}
  return %o, %p, %r
}"""


@pytest.fixture(scope="module")
def steppers():
    return everywhere(STEP, "index")


def rows(draw, steps):
    return {
        "x": columns(draw, (steps, 2, 4, 2), "f4", wild=draw(st.booleans()), numbers=NUMBERS[:11]),
        "i": addresses(draw, (steps, 2, 2, 1)).astype("i8"),
        "z": columns(draw, (steps, 2, 2, 1), "f4", numbers=OFF),
        "v": columns(draw, (steps, 2, 2, 2), "f8", wild=True),
    }


@settings(max_examples=50)
@given(st.data())
def test_steps_under_truncation_forks_and_snapshots(steppers, data):
    drive(steppers, lambda steps: rows(data.draw, steps), data.draw)


PROMISE = """graph @g(%x: f64[4 x 2], %k: f64[2 x 2], %v: f64[2 x 2]) {
  %c = cache {heads = [2], key = f64[2], value = f64[2]}
  %d = append %c, %k, %v
  %o = attend.step %x, %d {normalizer = hardmax(mean), keys = parabola}
  %p = attend.step %x, %d {normalizer = hardmax(first)}
  return %o, %p
}
graph @batch(%x: f64[4 x N x 2], %k: f64[2 x M x 2], %v: f64[2 x M x 2]) {
  %o = attend %x, %k, %v {normalizer = hardmax(mean), keys = parabola, mask = causal(bottom_right)}
  return %o
}"""


@pytest.fixture(scope="module")
def promised():
    return everywhere(PROMISE, "index")


def on_the_parabola(a):
    a = np.asarray(a, "f8")
    return np.stack([2.0 * a, -a * a], axis=-1)


@settings(max_examples=30)
@given(st.data())
def test_promised_keys(promised, data):
    draw = data.draw

    def rows(steps):
        return {
            "x": columns(draw, (steps, 4, 2), "f8", wild=draw(st.booleans()), numbers=NUMBERS),
            "k": on_the_parabola(np.clip(addresses(draw, (steps, 2)), -FAR, FAR)),
            "v": columns(draw, (steps, 2, 2), "f8", wild=True),
        }

    drive(promised, rows, draw)
    n, m = draw(st.integers(0, 5)), draw(st.integers(0, 9))
    arrays = {
        # Strided, read-only and backwards.
        "x": columns(draw, (4, n, 4), "f8", wild=True, numbers=NUMBERS)[..., ::2],
        "k": np.flip(on_the_parabola(np.clip(addresses(draw, (2, m)), -FAR, FAR)), axis=1),
        "v": np.asfortranarray(columns(draw, (2, m, 2), "f8", wild=True)),
    }
    for array in arrays.values():
        array.flags.writeable = False
    answers = [program.run("batch", arrays) for program in promised.values()]
    for other in answers[1:]:
        np.testing.assert_array_equal(other[0], answers[0][0])


@pytest.mark.thorough
def test_growth_takes_the_table_along(steppers, promised, monkeypatch):
    # A state that cannot reserve memory starts with room for 256 rows and moves.
    monkeypatch.setattr(state_memory, "RESERVED_BYTES", 0)
    draw = np.random.default_rng(1)
    steps = 700
    for programs, extra in (
        (
            steppers,
            {
                "x": draw.integers(-9, 10, (steps, 2, 4, 2)).astype("f4"),
                "i": draw.integers(-50, 50, (steps, 2, 2, 1)),
                "z": draw.choice([0.0] * 20 + [-4e9], (steps, 2, 2, 1)).astype("f4"),
                "v": draw.integers(-9, 10, (steps, 2, 2, 2)).astype("f8"),
            },
        ),
        (
            promised,
            {
                "x": draw.integers(-9, 10, (steps, 4, 2)).astype("f8"),
                "k": on_the_parabola(draw.integers(-3000, 3000, (steps, 2))),
                "v": draw.integers(-9, 10, (steps, 2, 2)).astype("f8"),
            },
        ),
    ):
        fast, dense = (programs[name] for name in ("index", "dense"))
        one, two = (program.state("g") for program in (fast, dense))
        for start, stop in ((0, 200), (200, 300), (300, 700)):
            part = {name: array[start:stop] for name, array in extra.items()}
            if start == 200:
                one = one.fork()
            for x, y in zip(fast.extend(one, **part), dense.extend(two, **part), strict=True):
                np.testing.assert_array_equal(x, y)


def test_rows_of_another_program_are_read_with_care(promised, tmp_path):
    # Without the promise the same cache may hold anything; with it, such rows are refused.
    free = attnc.compile(PROMISE.replace(", keys = parabola", ""), backend="numpy")
    state = free.state("g")
    keys = on_the_parabola([[1, 2], [3, 4]])
    rows = {"x": np.ones((2, 4, 2)), "k": keys, "v": np.arange(8.0).reshape(2, 2, 2)}
    free.extend(state, **rows)
    state.save(tmp_path / "good")
    loaded = promised["index"].load_state(tmp_path / "good", "g")
    assert len(loaded) == 2
    free.extend(state, **(rows | {"k": keys + 1}))
    state.save(tmp_path / "bad")
    with pytest.raises(attnc.PromiseError, match="position 2"):
        promised["index"].load_state(tmp_path / "bad", "g")
