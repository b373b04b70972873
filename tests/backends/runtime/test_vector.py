"""The vector layer: every lane count computes what NumPy computes, element for element."""

import numpy as np
import pytest
from numba import njit

from attnc_backends.numba.runtime.vector import (
    vec_abs,
    vec_add,
    vec_element_bytes,
    vec_f32,
    vec_f64,
    vec_fill,
    vec_fma,
    vec_lanes,
    vec_load,
    vec_load_first,
    vec_max,
    vec_min,
    vec_mul,
    vec_muladd,
    vec_store,
    vec_sub,
    vec_widen,
)
from attnc_backends.numba.runtime.vector_lanes import (
    vec_all,
    vec_and,
    vec_any,
    vec_at_least,
    vec_bits,
    vec_bottom,
    vec_equal,
    vec_lane,
    vec_less,
    vec_not,
    vec_or,
    vec_pair_sums,
    vec_select,
    vec_sum,
    vec_top,
    vec_zip_even,
    vec_zip_odd,
)

RESULTS = 14
"""Vectors that `elementwise` writes."""


@njit(error_model="numpy")
def elementwise(x, y, z, out, like):
    size = vec_lanes(like) * vec_element_bytes(like)
    a, b, c = vec_load(x, like), vec_load(y, like), vec_load(z, like)
    vec_store(out, vec_add(a, b))
    vec_store(out + size, vec_sub(a, b))
    vec_store(out + 2 * size, vec_mul(a, b))
    vec_store(out + 3 * size, vec_fma(a, b, c))
    vec_store(out + 4 * size, vec_muladd(a, b, c))
    vec_store(out + 5 * size, vec_min(a, b))
    vec_store(out + 6 * size, vec_max(a, b))
    vec_store(out + 7 * size, vec_abs(a))
    vec_store(out + 8 * size, vec_select(vec_less(a, b), b, c))
    vec_store(out + 9 * size, vec_fill(2.5, like))
    vec_store(out + 10 * size, vec_load_first(x, vec_lanes(like) - 1, like))
    vec_store(out + 11 * size, vec_pair_sums(a, b))
    vec_store(out + 12 * size, vec_zip_even(a, b))
    vec_store(out + 13 * size, vec_zip_odd(a, b))


@njit(error_model="numpy")
def questions(x, y, like):
    a, b = vec_load(x, like), vec_load(y, like)
    less, least = vec_less(a, b), vec_at_least(a, b)
    return (
        vec_bits(less),
        vec_bits(vec_or(less, vec_equal(a, b))),
        vec_bits(vec_and(least, vec_not(less))),
        vec_any(less),
        vec_all(less),
        vec_lane(a, vec_lanes(like) - 1),
        vec_sum(a),
        vec_top(a),
        vec_bottom(a),
    )


@njit(error_model="numpy")
def widened(x, out):
    vec_store(out, vec_widen(vec_load(x, vec_f32(8))))


# The witnesses are made in compiled code, where the number of lanes is part of the source.
@njit(error_model="numpy")
def run_f64(lanes, x, y, z, out):
    if lanes == 2:
        elementwise(x, y, z, out, vec_f64(2))
        return questions(x, y, vec_f64(2))
    if lanes == 4:
        elementwise(x, y, z, out, vec_f64(4))
        return questions(x, y, vec_f64(4))
    elementwise(x, y, z, out, vec_f64(8))
    return questions(x, y, vec_f64(8))


@njit(error_model="numpy")
def run_f32(lanes, x, y, z, out):
    if lanes == 4:
        elementwise(x, y, z, out, vec_f32(4))
        return questions(x, y, vec_f32(4))
    if lanes == 8:
        elementwise(x, y, z, out, vec_f32(8))
        return questions(x, y, vec_f32(8))
    elementwise(x, y, z, out, vec_f32(16))
    return questions(x, y, vec_f32(16))


@pytest.mark.parametrize(
    ("run", "dtype", "lanes"),
    [(run_f64, np.float64, n) for n in (2, 4, 8)] + [(run_f32, np.float32, n) for n in (4, 8, 16)],
)
def test_lanes_compute_as_elements(run, dtype, lanes):
    draw = np.random.default_rng(lanes)
    for _ in range(50):
        # One element further than aligned: no address is a multiple of the vector's size.
        room = draw.integers(-3, 4, (3, lanes + 1)).astype(dtype)
        x, y, z = room[:, 1:]
        out = np.zeros((RESULTS, lanes), dtype)
        answers = run(lanes, *(a.ctypes.data for a in (x, y, z)), out.ctypes.data)
        both = np.concatenate([x, y])
        first = np.where(np.arange(lanes) < lanes - 1, x, 0)
        zips = [np.stack([x[n::2], y[n::2]], -1).ravel() for n in (0, 1)]
        expected = [x + y, x - y, x * y, x * y + z, x * y + z, np.minimum(x, y), np.maximum(x, y), np.abs(x),
                    np.where(x < y, y, z), np.full(lanes, 2.5), first, both[::2] + both[1::2], *zips]  # fmt: skip
        np.testing.assert_array_equal(out, np.array(expected, dtype))
        bits = 1 << np.arange(lanes)
        assert answers == (
            bits[x < y].sum(), bits[x <= y].sum(), bits[x >= y].sum(), (x < y).any(), (x < y).all(),
            x[-1], x.sum(), x.max(), x.min(),
        )  # fmt: skip


def test_a_fused_product_is_rounded_once():
    x = np.full(8, 1 + 2.0**-30)
    z = np.full(8, -(1 + 2.0**-29))
    out = np.zeros((RESULTS, 8))
    run_f64(8, x.ctypes.data, x.ctypes.data, z.ctypes.data, out.ctypes.data)
    assert (out[3] == 2.0**-60).all()


def test_minimum_and_maximum_take_the_second_operand_beside_nan():
    x = np.where(np.arange(8) % 2, np.nan, 1.0)
    y = np.full(8, 2.0)
    out = np.zeros((RESULTS, 8))
    answers = run_f64(8, x.ctypes.data, y.ctypes.data, y.ctypes.data, out.ctypes.data)
    np.testing.assert_array_equal(out[5], np.where(np.isnan(x), 2.0, 1.0))
    np.testing.assert_array_equal(out[6], y)
    assert answers[0] == 0b01010101


def test_floats_widen_to_doubles():
    x = np.random.default_rng(0).standard_normal(8).astype(np.float32)
    out = np.zeros(8)
    widened(x.ctypes.data, out.ctypes.data)
    np.testing.assert_array_equal(out, x.astype(np.float64))
