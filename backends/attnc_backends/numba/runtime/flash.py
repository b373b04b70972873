"""Dense softmax over blocks of query rows, queries in the lanes: the phases of one tile of keys.

A block is `FLASH_VECTORS` vectors wide: lane `r` of packed queries, of the tile of scores and of the output
belongs to query row `r`. So the maximum and the sum of a row run down its lane, and no step crosses lanes. A
tile holds `FLASH_KEYS` keys: its scores are computed, turned into weights in place, and multiplied with the
values. A *state* is seven rows of the block, below.

Weights of masked positions are `-0.0`. Multiplied with a finite value that adds nothing; where values are not
finite, `flash_selected_values` leaves those positions out.
"""

import math

import numpy as np
from numba import njit

from attnc_backends.numba.runtime.flash_outer import (
    FLASH_VECTORS,
    flash_rows,
    flash_score_rows,
    flash_value_rows,
)
from attnc_backends.numba.runtime.memory import (
    fill_zero,
    load_f64,
    load_i64,
    load_u8,
    small_code,
    store_f64,
)
from attnc_backends.numba.runtime.vector import (
    vec_add,
    vec_element_bytes,
    vec_fill,
    vec_get,
    vec_lanes,
    vec_load,
    vec_load_first,
    vec_max,
    vec_mul,
    vec_muladd,
    vec_put,
    vec_store,
    vec_sub,
)
from attnc_backends.numba.runtime.vector_exp import (
    vec_mask_load,
    vec_mask_store,
    vec_negative_zero,
    vec_power,
)
from attnc_backends.numba.runtime.vector_lanes import (
    vec_all,
    vec_and,
    vec_any,
    vec_at_least,
    vec_equal,
    vec_less,
    vec_select,
)

FLASH_KEYS = 128
"""Keys of a tile."""

FLASH_TILES = 64
"""Tiles that are summed in the accumulation type before the sums join those in doubles."""

FLASH_TOP = 0
"""Largest score met; NaN counts for nothing."""
FLASH_USED = 1
"""The maximum that sums and output are relative to."""
FLASH_SHRINK = 2
"""What turns sums relative to the maximum before into ones relative to this one."""
FLASH_TOTAL = 3
"""Sum of weights."""
FLASH_SPARE = 4
"""Written and not read."""
FLASH_LOW = 5
"""Where the range of allowed keys begins in the tile."""
FLASH_HIGH = 6
"""Where it ends."""
FLASH_STATE = 7
"""Rows of a state."""


@njit(nogil=True, error_model="numpy")
def flash_bytes(like: object) -> int:
    """Bytes of one row of a block."""
    return FLASH_VECTORS * vec_lanes(like) * vec_element_bytes(like)


@njit(nogil=True, error_model="numpy")
def flash_start(state: int, out: int, width: int, like: object) -> None:
    """No key met yet."""
    small_code()
    row = flash_bytes(like)
    for at in range(state, state + row, row // FLASH_VECTORS):
        vec_store(at + FLASH_TOP * row, vec_fill(-math.inf, like))
        vec_store(at + FLASH_USED * row, vec_fill(-math.inf, like))
        vec_store(at + FLASH_TOTAL * row, vec_fill(0.0, like))
        vec_store(at + FLASH_SPARE * row, vec_fill(0.0, like))
    fill_zero(out, row * width)


@njit(nogil=True, error_model="numpy")
def flash_scores(
    tile: int,
    keys: int,
    step: int,
    element: int,
    count: int,
    queries: int,
    width: int,
    top: int,
    used: int,
    like: object,
) -> None:
    """Dot products of `count` keys, `step` bytes apart, with packed queries, the largest joined to `top`."""
    small_code()
    height, row = flash_rows(like), flash_bytes(like)
    for x in range(0, count, height):
        out, key, left = tile + x * row, keys + x * step, count - x
        if used == 3:
            flash_score_rows(out, key, step, element, left, queries, width, top, like, 3)
        elif used == 2:
            flash_score_rows(out, key, step, element, left, queries, width, top, like, 2)
        else:
            flash_score_rows(out, key, step, element, left, queries, width, top, like, 1)


@njit(nogil=True, error_model="numpy")
def flash_values(
    out: int,
    state: int,
    tile: int,
    values: int,
    step: int,
    element: int,
    width: int,
    count: int,
    used: int,
    like: object,
) -> None:
    """Shrink the output and add weights times values."""
    small_code()
    height, row = flash_rows(like), flash_bytes(like)
    shrink = state + FLASH_SHRINK * row
    for c in range(0, width, height):
        place, value, left = out + c * row, values + c * element, width - c
        if used == 3:
            flash_value_rows(place, shrink, tile, value, step, element, left, count, like, 3)
        elif used == 2:
            flash_value_rows(place, shrink, tile, value, step, element, left, count, like, 2)
        else:
            flash_value_rows(place, shrink, tile, value, step, element, left, count, like, 1)


@njit(nogil=True, error_model="numpy")
def _flash_base(at: int, like: object) -> object:
    """What scores are taken relative to; 0 while all are -inf: they weigh nothing beside what may come."""
    top = vec_load(at, like)
    return vec_select(vec_equal(top, vec_fill(-math.inf, like)), vec_fill(0.0, like), top)


@njit(nogil=True, error_model="numpy")
def _flash_note_nan(tile: int, keep: int, count: int, state: int, like: object) -> None:
    """Where +inf is the maximum, weights are NaN whether or not a score is; only a maximum of NaN tells later
    which it was. `keep` is 0 for a tile without a mask.
    """
    small_code()
    row, size, lanes = flash_bytes(like), vec_element_bytes(like), FLASH_VECTORS * vec_lanes(like)
    for r in range(lanes):
        at = r * size
        if vec_get(state + FLASH_TOP * row + at, like) == math.inf:
            total = vec_get(state + FLASH_TOTAL * row + at, like)
            found = total != total and vec_get(state + FLASH_USED * row + at, like) != math.inf
            for x in range(count):
                score = vec_get(tile + x * row + at, like)
                if score != score and (keep == 0 or load_u8(keep + x * lanes + r) != 0):
                    found = True
            if found:
                vec_put(state + FLASH_TOP * row + at, math.nan, like)


@njit(nogil=True, error_model="numpy")
def _flash_has_infinite(state: int, like: object) -> bool:
    """Whether the maximum of any row is +inf."""
    row, infinite = flash_bytes(like), vec_fill(math.inf, like)
    found = False
    for at in range(state + FLASH_TOP * row, state + (FLASH_TOP + 1) * row, row // FLASH_VECTORS):
        found |= vec_any(vec_equal(vec_load(at, like), infinite))
    return found


@njit(nogil=True, error_model="numpy")
def flash_weights(tile: int, count: int, state: int, factor: float, used: int, like: object) -> None:
    """Scores to weights `2**((score - top) * factor)`, in place, and their sum."""
    small_code()
    row = flash_bytes(like)
    scale = vec_fill(factor, like)
    if _flash_has_infinite(state, like):
        _flash_note_nan(tile, 0, count, state, like)
    for at in range(0, used * (row // FLASH_VECTORS), row // FLASH_VECTORS):
        top = _flash_base(state + FLASH_TOP * row + at, like)
        shrink = vec_power(vec_sub(vec_load(state + FLASH_USED * row + at, like), top), scale)
        total = vec_fill(0.0, like)
        for place in range(tile + at, tile + at + count * row, row):
            weight = vec_power(vec_sub(vec_load(place, like), top), scale)
            vec_store(place, weight)
            total = vec_add(total, weight)
        _flash_turn(state + at, row, shrink, total, like)


@njit(nogil=True, error_model="numpy")
def _flash_turn(state: int, row: int, shrink: object, total: object, like: object) -> None:
    vec_store(state + FLASH_SHRINK * row, shrink)
    vec_store(state + FLASH_USED * row, vec_load(state + FLASH_TOP * row, like))
    joined = vec_muladd(vec_load(state + FLASH_TOTAL * row, like), shrink, total)
    vec_store(state + FLASH_TOTAL * row, joined)


@njit(nogil=True, error_model="numpy")
def flash_masked_weights(
    tile: int, keep: int, count: int, state: int, factor: float, used: int, like: object
) -> None:
    """The same for a tile of which only positions with a byte in `keep` that is not 0 are allowed, and
    whose maximum has not been looked for yet.
    """
    small_code()
    row, lanes = flash_bytes(like), vec_lanes(like)
    scale, nothing, lowest = vec_fill(factor, like), vec_fill(-0.0, like), vec_fill(-math.inf, like)
    for n in range(used):
        at, mask = n * (row // FLASH_VECTORS), keep + n * lanes
        most = vec_load(state + FLASH_TOP * row + at, like)
        for x in range(count):
            score = vec_load(tile + at + x * row, like)
            allowed = vec_mask_load(mask + x * FLASH_VECTORS * lanes, like)
            most = vec_max(vec_select(allowed, score, lowest), most)
        vec_store(state + FLASH_TOP * row + at, most)
    if _flash_has_infinite(state, like):
        _flash_note_nan(tile, keep, count, state, like)
    for n in range(used):
        at, mask = n * (row // FLASH_VECTORS), keep + n * lanes
        top = _flash_base(state + FLASH_TOP * row + at, like)
        shrink = vec_power(vec_sub(vec_load(state + FLASH_USED * row + at, like), top), scale)
        total = vec_fill(0.0, like)
        for x in range(count):
            weight = vec_power(vec_sub(vec_load(tile + at + x * row, like), top), scale)
            weight = vec_select(vec_mask_load(mask + x * FLASH_VECTORS * lanes, like), weight, nothing)
            vec_store(tile + at + x * row, weight)
            total = vec_add(total, weight)
        _flash_turn(state + at, row, shrink, total, like)


@njit(nogil=True, error_model="numpy")
def flash_range_mask(
    keep: int, ranges: int, first: int, count: int, state: int, used: int, like: object
) -> None:
    """Bytes of a tile that begins at key `first`, from each row's range of keys: int64 pairs at `ranges`."""
    small_code()
    row, lanes = flash_bytes(like), vec_lanes(like)
    low, high = state + FLASH_LOW * row, state + FLASH_HIGH * row
    for r in range(FLASH_VECTORS * lanes):
        at = r * vec_element_bytes(like)
        vec_put(low + at, np.float64(min(max(load_i64(ranges + 16 * r) - first, 0), count)), like)
        vec_put(high + at, np.float64(min(max(load_i64(ranges + 16 * r + 8) - first, 0), count)), like)
    for n in range(used):
        at = n * (row // FLASH_VECTORS)
        lows, highs = vec_load(low + at, like), vec_load(high + at, like)
        for x in range(count):
            here = vec_fill(np.float64(x), like)
            allowed = vec_and(vec_at_least(here, lows), vec_less(here, highs))
            vec_mask_store(keep + (x * FLASH_VECTORS + n) * lanes, allowed)


@njit(nogil=True, error_model="numpy")
def flash_finite(values: int, step: int, element: int, width: int, count: int, like: object) -> bool:
    """Whether `count` value rows of `width` elements are all finite."""
    small_code()
    lanes, size = vec_lanes(like), vec_element_bytes(like)
    zero = vec_fill(0.0, like)
    found = zero
    for row in range(count):
        at = values + row * step
        if element == size:
            whole = width - width % lanes
            for c in range(0, whole, lanes):
                found = vec_muladd(vec_load(at + c * size, like), zero, found)
            found = vec_muladd(vec_load_first(at + whole * size, width - whole, like), zero, found)
        else:
            for c in range(width):
                found = vec_muladd(vec_fill(vec_get(at + c * element, like), like), zero, found)
    return vec_all(vec_equal(found, zero))


@njit(nogil=True, error_model="numpy")
def flash_selected_values(
    out: int,
    state: int,
    tile: int,
    values: int,
    step: int,
    element: int,
    width: int,
    count: int,
    like: object,
) -> None:
    """`flash_values` for values that are not finite: positions with the weight -0.0 are left out."""
    small_code()
    row = flash_bytes(like)
    for c in range(width):
        for at in range(0, row, row // FLASH_VECTORS):
            total = vec_fill(0.0, like)
            for x in range(count):
                weight = vec_load(tile + x * row + at, like)
                value = vec_fill(vec_get(values + x * step + c * element, like), like)
                total = vec_select(vec_negative_zero(weight), total, vec_muladd(weight, value, total))
            place = out + c * row + at
            vec_store(
                place,
                vec_muladd(vec_load(place, like), vec_load(state + FLASH_SHRINK * row + at, like), total),
            )


@njit(nogil=True, error_model="numpy")
def flash_join(
    tile: int,
    keep: int,
    count: int,
    state: int,
    factor: float,
    used: int,
    out: int,
    values: int,
    step: int,
    element: int,
    width: int,
    like: object,
) -> None:
    """What a tile of scores adds to the output. `keep` is 0, or the address of its mask."""
    if keep == 0:
        flash_weights(tile, count, state, factor, used, like)
        flash_values(out, state, tile, values, step, element, width, count, used, like)
        return
    flash_masked_weights(tile, keep, count, state, factor, used, like)
    if flash_finite(values, step, element, width, count, like):
        flash_values(out, state, tile, values, step, element, width, count, used, like)
    else:
        flash_selected_values(out, state, tile, values, step, element, width, count, like)


@njit(nogil=True, error_model="numpy")
def flash_flush(
    wide: int, out: int, width: int, state: int, factor: float, flushed: int, like: object
) -> None:
    """Move output and sum of weights into those in doubles at `wide`, so that a row's rounding does not grow
    with its length: rows of `width` columns, then of the maximum they are relative to, then of the sums.
    """
    small_code()
    row, size = flash_bytes(like), vec_element_bytes(like)
    lanes = FLASH_VECTORS * vec_lanes(like)
    tops, totals = wide + 8 * lanes * width, wide + 8 * lanes * (width + 1)
    for r in range(lanes):
        top = vec_get(state + FLASH_TOP * row + r * size, like)
        total = vec_get(state + FLASH_TOTAL * row + r * size, like)
        shrink = 0.0
        if flushed > 0:
            old = load_f64(tops + 8 * r)
            if old == top:
                shrink = 1.0
            elif not old == -math.inf:
                shrink = math.exp((old - top) * factor * 0.6931471805599453)
            total += load_f64(totals + 8 * r) * shrink
        store_f64(tops + 8 * r, top)
        store_f64(totals + 8 * r, total)
        vec_put(state + FLASH_TOTAL * row + r * size, 0.0 if total == total else math.nan, like)
        for c in range(width):
            sum_at, at = wide + 8 * (c * lanes + r), out + c * row + r * size
            found = vec_get(at, like)
            if flushed > 0:
                found += load_f64(sum_at) * shrink
            store_f64(sum_at, found)
            vec_put(at, 0.0, like)


@njit(nogil=True, error_model="numpy")
def flash_restore(wide: int, out: int, width: int, like: object) -> None:
    """The sums in doubles back into the output."""
    small_code()
    lanes, size = FLASH_VECTORS * vec_lanes(like), vec_element_bytes(like)
    for n in range(lanes * width):
        vec_put(out + n * size, load_f64(wide + 8 * n), like)


@njit(nogil=True, error_model="numpy")
def flash_divide(out: int, width: int, factors: int, like: object) -> None:
    """Multiply each row's output with its factor."""
    small_code()
    row = flash_bytes(like)
    for n in range(0, row, row // FLASH_VECTORS):
        factor = vec_load(factors + n, like)
        for at in range(out + n, out + n + width * row, row):
            vec_store(at, vec_mul(vec_load(at, like), factor))
