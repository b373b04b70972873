"""Softmax of few query rows over many keys, by vectors along the keys: the phases of one tile.

Keys are split into pieces of `DECODE_SPLIT` that do not look at each other. What a piece gives for a row is a
*part*: the largest score, the sum of weights relative to it, how many keys were allowed, and the weighted sum
of their values. Within a piece a tile of `DECODE_KEYS` keys is scored for all rows, scores become weights in
place, and values are added in strips that stay in the first cache. Values of positions that are not allowed
are not read.
"""

import math

import numpy as np
from numba import njit

from attnc_backends.numba.runtime.decode_rows import (
    decode_score_rows,
    decode_stored_bytes,
    decode_together,
    decode_value_columns,
    vec_wide,
)
from attnc_backends.numba.runtime.memory import (
    fill_zero,
    load_f32,
    load_f64,
    load_i64,
    load_u8,
    load_u16,
    small_code,
    store_f32,
    store_f64,
    store_i64,
    store_u16,
)
from attnc_backends.numba.runtime.vector import (
    vec_add,
    vec_element_bytes,
    vec_fill,
    vec_get,
    vec_lanes,
    vec_load,
    vec_max,
    vec_mul,
    vec_put,
    vec_store,
    vec_sub,
)
from attnc_backends.numba.runtime.vector_exp import vec_power
from attnc_backends.numba.runtime.vector_lanes import vec_all, vec_and, vec_equal, vec_sum, vec_top

DECODE_KEYS = 128
"""Keys of a tile."""

DECODE_STRIP = 32
"""Keys whose values are added for all rows in turn, summed from zero, so that rounding does not grow."""

DECODE_SPLIT = 2048
"""Keys of a piece."""

DECODE_HEAD = 64
"""Bytes of a part before its sums: largest score and sum of weights in doubles, the number of allowed keys.
"""
DECODE_TOTAL = 8
DECODE_SEEN = 16


@njit(nogil=True, error_model="numpy")
def decode_copy(out: int, source: int, step: int, element: int, count: int, width: int, part: object) -> None:
    """Rows of `width` elements that do not lie side by side, one behind the other."""
    small_code()
    size = decode_stored_bytes(part)
    for n in range(count * width):
        at = source + n // width * step + n % width * element
        if size == 8:
            store_f64(out + n * size, load_f64(at))
        elif size == 4:
            store_f32(out + n * size, load_f32(at))
        else:
            store_u16(out + n * size, load_u16(at))


@njit(nogil=True, error_model="numpy")
def decode_scores(
    tile: int,
    queries: int,
    query_jump: int,
    rows: int,
    keys: int,
    step: int,
    count: int,
    width: int,
    part: object,
) -> None:
    """Dot products of `rows` queries, `query_jump` bytes apart, with `count` keys, `step` bytes apart; beyond
    the last they are anything.
    """
    small_code()
    wide, lanes, together = vec_wide(part), vec_lanes(part), decode_together(part)
    size = vec_element_bytes(wide)
    jump = DECODE_KEYS * size
    for x in range(0, count, lanes):
        r = 0
        while r < rows:
            out, query = tile + r * jump, queries + r * query_jump
            if r + together <= rows:
                for y in range(x, min(x + lanes, count), lanes // together):
                    key, left = keys + y * step, count - y
                    decode_score_rows(
                        out + y * size, jump, query, query_jump, key, step, left, width, part, 1
                    )
                r += together
            else:
                key, left = keys + x * step, count - x
                decode_score_rows(out + x * size, jump, query, query_jump, key, step, left, width, part, 0)
                r += 1


@njit(nogil=True, error_model="numpy")
def _decode_weights(
    scores: int, keep: int, first: int, last: int, row: int, factor: float, width: int, wide: object
) -> None:
    """Scores to weights `2**((score - top) * factor)`, in place, of one row, for positions from `first` to
    `last` that `keep` allows; its part shrinks to the new maximum.
    """
    lanes, size = vec_lanes(wide), vec_element_bytes(wide)
    for x in range(first):
        vec_put(scores + x * size, -math.inf, wide)
    end = (last + lanes - 1) // lanes * lanes
    for x in range(last, end):
        vec_put(scores + x * size, -math.inf, wide)
    if keep != 0:
        for x in range(first, last):
            if load_u8(keep + x) == 0:
                vec_put(scores + x * size, -math.inf, wide)
    most = vec_fill(-math.inf, wide)
    real = vec_equal(most, most)
    for at in range(scores, scores + end * size, lanes * size):
        score = vec_load(at, wide)
        most = vec_max(score, most)
        real = vec_and(real, vec_equal(score, score))
    old = load_f64(row)
    top = max(old, np.float64(vec_top(most)))
    if not vec_all(real) or old != old:
        top = math.nan
    base = 0.0 if top == -math.inf else top
    if old != top and old > -math.inf:
        _decode_shrink(row, math.exp((old - top) * factor * 0.6931471805599453), width, wide)
    store_f64(row, top)
    middle, scale, total = vec_fill(base, wide), vec_fill(factor, wide), vec_fill(0.0, wide)
    for at in range(scores, scores + end * size, lanes * size):
        weight = vec_power(vec_sub(vec_load(at, wide), middle), scale)
        vec_store(at, weight)
        total = vec_add(total, weight)
    store_f64(row + DECODE_TOTAL, load_f64(row + DECODE_TOTAL) + np.float64(vec_sum(total)))


@njit(nogil=True, error_model="numpy")
def _decode_shrink(row: int, shrink: float, width: int, wide: object) -> None:
    """Multiply the sums of a part."""
    lanes, size = vec_lanes(wide), vec_element_bytes(wide)
    store_f64(row + DECODE_TOTAL, load_f64(row + DECODE_TOTAL) * shrink)
    factor = vec_fill(shrink, wide)
    for c in range(0, width, lanes):
        at = row + DECODE_HEAD + c * size
        vec_store(at, vec_mul(vec_load(at, wide), factor))


@njit(nogil=True, error_model="numpy")
def _decode_add_one(
    out: int, weights: int, values: int, step: int, count: int, width: int, part: object
) -> None:
    """Add weights times values to the sums of one row."""
    wide, lanes, stored = vec_wide(part), vec_lanes(part), decode_stored_bytes(part)
    size = vec_element_bytes(wide)
    c = 0
    while c < width:
        at, value, left = out + c * size, values + c * stored, width - c
        if left >= 8 * lanes:
            decode_value_columns(at, 0, weights, 0, value, step, count, 0, part, 0, 8)
            c += 8 * lanes
        elif left >= 4 * lanes:
            decode_value_columns(at, 0, weights, 0, value, step, count, 0, part, 0, 4)
            c += 4 * lanes
        elif left >= lanes:
            decode_value_columns(at, 0, weights, 0, value, step, count, 0, part, 0, 1)
            c += lanes
        else:
            decode_value_columns(at, 0, weights, 0, value, step, count, left, part, 0, 0)
            c += lanes


@njit(nogil=True, error_model="numpy")
def _decode_add_many(
    out: int,
    jump: int,
    weights: int,
    weight_jump: int,
    values: int,
    step: int,
    count: int,
    width: int,
    part: object,
) -> None:
    """The same for as many rows as go together."""
    wide, lanes, stored = vec_wide(part), vec_lanes(part), decode_stored_bytes(part)
    size = vec_element_bytes(wide)
    c = 0
    while c < width:
        at, value, left = out + c * size, values + c * stored, width - c
        if left >= 4 * lanes:
            decode_value_columns(at, jump, weights, weight_jump, value, step, count, 0, part, 1, 4)
            c += 4 * lanes
        elif left >= lanes:
            decode_value_columns(at, jump, weights, weight_jump, value, step, count, 0, part, 1, 1)
            c += lanes
        else:
            decode_value_columns(at, jump, weights, weight_jump, value, step, count, left, part, 1, 0)
            c += lanes


@njit(nogil=True, error_model="numpy")
def _decode_is_shared(ranges: int, count: int) -> bool:
    """Whether `count` rows have one range."""
    lo, hi = load_i64(ranges), load_i64(ranges + 8)
    for n in range(16, 16 * count, 16):
        if load_i64(ranges + n) != lo or load_i64(ranges + n + 8) != hi:
            return False
    return True


@njit(nogil=True, error_model="numpy")
def decode_join(
    tile: int,
    keep: int,
    ranges: int,
    first: int,
    count: int,
    rows: int,
    factor: float,
    parts: int,
    jump: int,
    values: int,
    step: int,
    width: int,
    part: object,
) -> None:
    """What a tile of scores, that begins at key `first`, adds to the parts of all rows.

    A row's allowed keys are its range, int64 pairs at `ranges`; of those, where `keep` is not 0, the ones
    with a byte there that is not 0, `DECODE_KEYS` bytes for each row.
    """
    small_code()
    wide, together = vec_wide(part), decode_together(part)
    size = vec_element_bytes(wide)
    weight_jump = DECODE_KEYS * size
    for r in range(rows):
        lo = max(load_i64(ranges + 16 * r) - first, 0)
        hi = min(load_i64(ranges + 16 * r + 8) - first, count)
        if lo < hi:
            allowed = keep + r * DECODE_KEYS if keep != 0 else 0
            scores, row = tile + r * weight_jump, parts + r * jump
            _decode_weights(scores, allowed, lo, hi, row, factor, width, wide)
    for x in range(0, count, DECODE_STRIP):
        end = min(x + DECODE_STRIP, count)
        r = 0
        while r < rows:
            lo = max(load_i64(ranges + 16 * r) - first, x)
            hi = min(load_i64(ranges + 16 * r + 8) - first, end)
            weights, out = tile + r * weight_jump, parts + r * jump + DECODE_HEAD
            if keep == 0 and r + together <= rows and _decode_is_shared(ranges + 16 * r, together):
                if lo < hi:
                    place, value = weights + lo * size, values + lo * step
                    _decode_add_many(out, jump, place, weight_jump, value, step, hi - lo, width, part)
                r += together
                continue
            while lo < hi:
                stop = hi
                if keep != 0:
                    # One run of allowed keys after the other.
                    while lo < hi and load_u8(keep + r * DECODE_KEYS + lo) == 0:
                        lo += 1
                    stop = lo
                    while stop < hi and load_u8(keep + r * DECODE_KEYS + stop) != 0:
                        stop += 1
                if lo < stop:
                    _decode_add_one(
                        out, weights + lo * size, values + lo * step, step, stop - lo, width, part
                    )
                lo = stop
            r += 1


@njit(nogil=True, error_model="numpy")
def decode_merge(
    row: int, parts: int, jump: int, splits: int, factor: float, width: int, part: object
) -> None:
    """Merge a row's parts, `jump` bytes apart, in their order and in doubles: one part whose sums are
    doubles.
    """
    small_code()
    wide = vec_wide(part)
    size = vec_element_bytes(wide)
    fill_zero(row, DECODE_HEAD + 8 * width)
    seen, top, total = 0, -math.inf, 0.0
    for at in range(parts, parts + splits * jump, jump):
        if load_i64(at + DECODE_SEEN) > 0:
            seen += load_i64(at + DECODE_SEEN)
            here = load_f64(at)
            if here > top or here != here:
                top = here
    for at in range(parts, parts + splits * jump, jump):
        if load_i64(at + DECODE_SEEN) > 0:
            here, shrink = load_f64(at), 1.0
            if here != top:
                shrink = math.exp((here - top) * factor * 0.6931471805599453)
            total += load_f64(at + DECODE_TOTAL) * shrink
            for c in range(width):
                place, out = at + DECODE_HEAD + c * size, row + DECODE_HEAD + 8 * c
                store_f64(out, load_f64(out) + vec_get(place, wide) * shrink)
    store_f64(row, top)
    store_f64(row + DECODE_TOTAL, total if top == top else math.nan)
    store_i64(row + DECODE_SEEN, seen)
