"""Writing what a sweep found: value rows bit for bit, or means that neighbouring queries share.

A tied set is a vertex or an edge with all keys on it, for queries along the first axis the leftmost or
rightmost column, for zero queries everything. Each is a stretch of a list of positions. Sets that follow one
another share their sums: `mean` adds up each set once, not once a query.
"""

import math

import numpy as np
from numba import njit

from attnc_backends.numba.runtime.memory import (
    DT_BF16,
    DT_F32,
    DT_F64,
    dtype_bytes,
    load_f64,
    load_i32,
    load_i64,
    load_u16,
    store_bf16,
    store_f16,
    store_f32,
    store_f64,
    store_i32,
    store_i64,
    store_u16,
)
from attnc_backends.numba.runtime.scan import (
    narrow_to_odd,
)
from attnc_backends.numba.runtime.sums import (
    sums_add,
    sums_clear,
    sums_mean,
)
from attnc_backends.numba.runtime.sweep_chain import (
    CHAIN_BYTES,
    CHAIN_EDGE_FIRST,
    CHAIN_EDGE_LAST,
    CHAIN_FIRST,
    CHAIN_FROM,
    CHAIN_LAST,
    CHAIN_UPTO,
)
from attnc_backends.numba.runtime.sweep_layout import (
    SWEEP_COUNT,
    SWEEP_FIRST,
    SWEEP_LAST,
    SWEEP_MEAN,
    SWEEP_MEMO_SETS,
    SWEEP_OUT_ELEMENT,
    SWEEP_RECENT,
    SWEEP_ROW_BITS,
    SWEEP_ROW_MASK,
    SWEEP_TIE,
    SWEEP_VALUE_DTYPE,
    SWEEP_VALUE_ELEMENT,
    SWEEP_VALUE_STEP,
    SWEEP_VALUE_WIDTH,
    SWEEP_VALUES,
    sweep_half,
    sweep_memo,
    sweep_points,
    sweep_sums,
)


@njit(nogil=True, error_model="numpy")
def sweep_place(row: int, base: int, head_step: int, row_step: int) -> int:
    """The address of a row `h << 40 | i`."""
    return base + (row >> SWEEP_ROW_BITS) * head_step + (row & SWEEP_ROW_MASK) * row_step


@njit(nogil=True, error_model="numpy")
def _sweep_copy(s: int, out: int, position: int) -> None:
    """Write the value row of one key, bit for bit."""
    step = load_i64(s + SWEEP_OUT_ELEMENT)
    at = load_i64(s + SWEEP_VALUES) + position * load_i64(s + SWEEP_VALUE_STEP)
    element = load_i64(s + SWEEP_VALUE_ELEMENT)
    size = dtype_bytes(load_i64(s + SWEEP_VALUE_DTYPE))
    for c in range(load_i64(s + SWEEP_VALUE_WIDTH)):
        if size == 8:
            store_i64(out + c * step, load_i64(at + c * element))
        elif size == 4:
            store_i32(out + c * step, load_i32(at + c * element))
        else:
            store_u16(out + c * step, load_u16(at + c * element))


@njit(nogil=True, error_model="numpy")
def _sweep_store_mean(s: int, out: int, mean: int) -> None:
    """Write a mean as the value type has it."""
    step = load_i64(s + SWEEP_OUT_ELEMENT)
    dtype = load_i64(s + SWEEP_VALUE_DTYPE)
    for c in range(load_i64(s + SWEEP_VALUE_WIDTH)):
        x = load_f64(mean + 8 * c)
        if dtype == DT_F64:
            store_f64(out + c * step, x)
        elif dtype == DT_F32:
            store_f32(out + c * step, np.float32(x))
        elif dtype == DT_BF16:
            store_bf16(out + c * step, narrow_to_odd(x))
        else:
            store_f16(out + c * step, narrow_to_odd(x))


@njit(nogil=True, error_model="numpy")
def _sweep_add(s: int, position: int) -> None:
    """Add a key's value row to the sums."""
    at = load_i64(s + SWEEP_VALUES) + position * load_i64(s + SWEEP_VALUE_STEP)
    element, dtype = load_i64(s + SWEEP_VALUE_ELEMENT), load_i64(s + SWEEP_VALUE_DTYPE)
    sums_add(sweep_sums(s), at, element, dtype, 1)


@njit(nogil=True, error_model="numpy")
def sweep_axis_row(s: int, out: int, side: int) -> None:
    """Answer a query along the first axis, for the left column (`side` 0) or the right one (1), or a zero
    query, for all keys (2).
    """
    count = load_i64(s + SWEEP_COUNT)
    points = sweep_points(s)
    slot = 2 * SWEEP_RECENT + side
    known = s + SWEEP_MEMO_SETS + 8 * slot
    mean = load_i64(s + SWEEP_TIE) == SWEEP_MEAN
    if load_i64(known) < 0:
        # What is remembered is the position that wins; for a mean, that there is one.
        extreme = -math.inf
        best = 0
        members = 0
        if mean:
            sums_clear(sweep_sums(s))
        for position in range(count):
            x = load_f64(points + 16 * position)
            if side == 0:
                x = -x
            elif side == 2:
                x = 0.0
            if x > extreme:
                extreme = x
                best = position
                members = 0
                if mean:
                    sums_clear(sweep_sums(s))
            if x == extreme:
                members += 1
                if mean:
                    _sweep_add(s, position)
                elif load_i64(s + SWEEP_TIE) == SWEEP_LAST:
                    best = position
        store_i64(known, best)
        if mean:
            sums_mean(sweep_sums(s), members, sweep_memo(s, slot))
    if mean:
        _sweep_store_mean(s, out, sweep_memo(s, slot))
    else:
        _sweep_copy(s, out, load_i64(known))


@njit(nogil=True, error_model="numpy")
def sweep_answer(s: int, out: int, half: int, place: int, tied: bool) -> None:
    """Answer a query whose leftmost best vertex of a half is at `place`, and with it, where `tied`, the edge
    to the right.
    """
    chain = sweep_half(s, half)
    vertex = chain + CHAIN_BYTES * place
    tie = load_i64(s + SWEEP_TIE)
    if tie == SWEEP_FIRST:
        _sweep_copy(s, out, load_i64(vertex + (CHAIN_EDGE_FIRST if tied else CHAIN_FIRST)))
        return
    if tie == SWEEP_LAST:
        _sweep_copy(s, out, load_i64(vertex + (CHAIN_EDGE_LAST if tied else CHAIN_LAST)))
        return
    number = 2 * place + (1 if tied else 0)
    slot = half * SWEEP_RECENT + (number & (SWEEP_RECENT - 1))
    known = s + SWEEP_MEMO_SETS + 8 * slot
    if load_i64(known) != number:
        members = chain + CHAIN_BYTES * load_i64(s + SWEEP_COUNT)
        begin = load_i64(vertex + CHAIN_FROM)
        end = load_i64(vertex + (CHAIN_BYTES + CHAIN_UPTO if tied else CHAIN_UPTO))
        sums_clear(sweep_sums(s))
        for index in range(begin, end):
            _sweep_add(s, load_i64(members + 8 * index))
        sums_mean(sweep_sums(s), end - begin, sweep_memo(s, slot))
        store_i64(known, number)
    _sweep_store_mean(s, out, sweep_memo(s, slot))
