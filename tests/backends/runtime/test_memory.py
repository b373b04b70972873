"""Raw memory: what is stored comes back, halves round to nearest even, block moves may overlap."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc_backends.numba.runtime import memory

# The profile makes draws the same everywhere; these are cheap, so there are more of them than usual.
MANY = settings(max_examples=max(300, settings.default.max_examples))

finite32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
finite64 = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def room():
    return np.full(256, 0xA5, np.uint8)


@pytest.mark.parametrize("offset", [0, 1, 7])
@pytest.mark.parametrize(
    ("load", "store", "size", "values"),
    [
        (memory.load_f64, memory.store_f64, 8, [1.5, -0.0, 5e-324, 1.7976931348623157e308, float("inf")]),
        (memory.load_f32, memory.store_f32, 4, [1.5, -0.0, 2.0**-149, float("-inf")]),
        (memory.load_i64, memory.store_i64, 8, [0, -1, 2**63 - 1, -(2**63)]),
        (memory.load_i32, memory.store_i32, 4, [0, -1, 2**31 - 1, -(2**31)]),
        (memory.load_u16, memory.store_u16, 2, [0, 1, 65535]),
        (memory.load_u8, memory.store_u8, 1, [0, 1, 255]),
    ],
)
def test_a_store_touches_its_bytes_only_and_a_load_returns_the_value(room, offset, load, store, size, values):
    room[:] = 0xA5
    address = room.ctypes.data + 16 + offset
    for value in values:
        store(address, value)
        got = load(address)
        assert got == value
        assert np.signbit(got) == np.signbit(value)
    outside = np.delete(room, np.s_[16 + offset : 16 + offset + size])
    assert (outside == 0xA5).all()


def test_storing_a_double_as_float32_rounds_to_nearest_even(room):
    address = room.ctypes.data
    for value in (1 + 2.0**-24, 1 + 3 * 2.0**-24, 1e-46, 0.1):
        memory.store_f32(address, value)
        assert memory.load_f32(address) == np.float32(value)


def all_halves():
    return np.arange(65536, dtype=np.uint16).view(np.float16)


def test_every_half_loads_as_its_float32(room):
    halves = all_halves()
    got = np.array([memory.load_f16(halves.ctypes.data + 2 * i) for i in range(65536)], np.float32)
    np.testing.assert_array_equal(got, halves.astype(np.float32))
    assert (np.signbit(got) == np.signbit(halves)).all()


def test_halves_their_midpoints_and_neighbours_store_rounded_to_even(room):
    halves = all_halves().astype(np.float32)
    halves = halves[np.isfinite(halves)]
    magnitudes = np.unique(np.abs(halves))
    midpoints = np.append((magnitudes[:-1] + magnitudes[1:]) / 2, np.float32(65520.0))
    above = np.nextafter(midpoints, np.float32(np.inf))
    below = np.nextafter(midpoints, np.float32(0))
    inputs = np.concatenate(
        [halves, midpoints, -midpoints, above, -above, below, [np.inf, -np.inf, 1e38, 1e-45]]
    )
    inputs = inputs.astype(np.float32)
    with np.errstate(all="ignore"):
        expected = inputs.astype(np.float16).view(np.uint16)
    got = np.zeros(len(inputs), np.uint16)
    for i, value in enumerate(inputs):
        memory.store_f16(got.ctypes.data + 2 * i, value)
    np.testing.assert_array_equal(got, expected)


def test_every_bfloat16_round_trips(room):
    address = room.ctypes.data
    source = np.arange(65536, dtype=np.uint16)
    for bits in range(65536):
        value = memory.load_bf16(source.ctypes.data + 2 * bits)
        if np.isnan(value):
            continue
        memory.store_bf16(address, value)
        assert memory.load_u16(address) == bits


@MANY
@given(finite32)
def test_bfloat16_stores_the_nearest_even_value(value):
    room = np.zeros(8, np.uint8)
    memory.store_bf16(room.ctypes.data, np.float32(value))
    bits = memory.load_u16(room.ctypes.data)
    low = int(np.float32(abs(value)).view(np.uint32)) >> 16

    def exact(candidate):
        if candidate == 0x7F80:
            return Fraction(2) ** 128  # where the next number would be if the exponent went on
        return Fraction(float(np.uint32(candidate << 16).view(np.float32)))

    target = Fraction(abs(value))
    nearest = min((low, low + 1), key=lambda c: (abs(exact(c) - target), c & 1))
    assert bits == nearest | (0x8000 if np.signbit(value) else 0)


@pytest.mark.parametrize(
    ("load", "store"), [(memory.load_bf16, memory.store_bf16), (memory.load_f16, memory.store_f16)]
)
@pytest.mark.parametrize("bits", [0x7F800001, 0xFF800001, 0x7FC00000, 0x7FFFFFFF])
def test_a_nan_stays_a_nan_in_half_width(room, load, store, bits):
    store(room.ctypes.data, np.uint32(bits).view(np.float32))
    assert np.isnan(load(room.ctypes.data))


def test_elements_of_each_storage_dtype_widen_exactly(room):
    address = room.ctypes.data + 1
    for dtype, store, size in (
        (memory.DT_F64, memory.store_f64, 8),
        (memory.DT_F32, memory.store_f32, 4),
        (memory.DT_BF16, memory.store_bf16, 2),
        (memory.DT_F16, memory.store_f16, 2),
    ):
        store(address, -1.5)
        assert memory.load_element(address, dtype) == -1.5
        assert memory.dtype_bytes(dtype) == size


@pytest.mark.parametrize(("dst", "src", "n"), [(0, 5, 60), (5, 0, 60), (3, 3, 9), (100, 0, 100), (0, 9, 0)])
def test_a_move_may_overlap(dst, src, n):
    room = np.random.default_rng(0).integers(0, 256, 256).astype(np.uint8)
    expected = room.copy()
    expected[dst : dst + n] = room[src : src + n].copy()
    memory.copy_bytes(room.ctypes.data + dst, room.ctypes.data + src, n)
    np.testing.assert_array_equal(room, expected)


def test_fill_zero_clears_exactly_n_bytes(room):
    room[:] = 7
    memory.fill_zero(room.ctypes.data + 3, 90)
    assert (room[3:93] == 0).all()
    assert (room[:3] == 7).all()
    assert (room[93:] == 7).all()


@MANY
@given(finite64, finite64, finite64)
def test_fma_rounds_once(x, y, z):
    exact = Fraction(x) * Fraction(y) + Fraction(z)
    got = memory.fma(x, y, z)
    try:
        expected = exact.numerator / exact.denominator
    except OverflowError:
        expected = float("inf") if exact > 0 else float("-inf")
    assert got == expected


@MANY
@given(st.floats())
def test_bits_of_a_double_round_trip(x):
    bits = memory.float64_bits(x)
    assert bits == int(np.float64(x).view(np.int64))
    assert memory.float64_bits(memory.float64_from_bits(bits)) == bits
