"""Loops in explicit vectors, for `calibrate`: what the inner loops of softmax do, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from attnc_backends.numba import vectors
from attnc_backends.numba.runtime.vector import (
    vec_add,
    vec_f32,
    vec_f64,
    vec_fill,
    vec_load,
    vec_muladd,
)
from attnc_backends.numba.runtime.vector_exp import vec_power
from attnc_backends.numba.runtime.vector_lanes import vec_sum


def _witness(dtype: type[np.floating[Any]]) -> tuple[Any, int]:
    """What makes vectors of `dtype`, and how many lanes this machine has."""
    itemsize = np.dtype(dtype).itemsize
    return (vec_f64 if itemsize == 8 else vec_f32), vectors.native_bytes() // itemsize


def multiply_adds(dtype: type[np.floating[Any]]) -> tuple[Callable[[int, float], Any], int]:
    """A loop of eight multiply-adds that do not wait for each other, and its operations in one round."""
    make, lanes = _witness(dtype)

    @njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # numba has no types
    def loop(count: int, x: float) -> Any:
        like = make(lanes)
        a, b = vec_fill(x, like), vec_fill(x / 2, like)
        s0, s1, s2, s3, s4, s5, s6, s7 = a, a, a, a, a, a, a, a
        for _ in range(count):
            s0, s1 = vec_muladd(s0, b, a), vec_muladd(s1, b, a)
            s2, s3 = vec_muladd(s2, b, a), vec_muladd(s3, b, a)
            s4, s5 = vec_muladd(s4, b, a), vec_muladd(s5, b, a)
            s6, s7 = vec_muladd(s6, b, a), vec_muladd(s7, b, a)
        s0, s2 = vec_add(vec_add(s0, s1), vec_add(s2, s3)), vec_add(vec_add(s4, s5), vec_add(s6, s7))
        return vec_sum(vec_add(s0, s2))

    return loop, 16 * lanes


def weights(dtype: type[np.floating[Any]]) -> Any:
    """A loop over `(address, count, times)` that adds up powers of two of `count` numbers, whole vectors."""
    make, lanes = _witness(dtype)
    step = np.dtype(dtype).itemsize

    @njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]  # numba has no types
    def loop(address: int, count: int, times: int) -> Any:
        like = make(lanes)
        factor, total = vec_fill(1.5, like), vec_fill(0.0, like)
        for _ in range(times):
            for x in range(0, count, lanes):
                total = vec_add(total, vec_power(vec_load(address + x * step, like), factor))
        return vec_sum(total)

    return loop
