"""Keys on a parabola of integer addresses: tables of addresses against the reference and the dense scan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from running_cases import assert_same, columns, everywhere

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
