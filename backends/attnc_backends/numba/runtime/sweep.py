"""Exact hard-max of many queries over one static set of 2-D keys: a hull by sorting, then all queries.

The keys' upper hull answers queries whose second coordinate is above 0; mirrored keys answer those below 0,
and a half that nothing asks for is not built. A hull of few vertices is searched by the rounded slopes of its
edges. On a large one queries are sorted as they turn, a block at a time, and hull and queries are walked
together, best vertex by best vertex. Slopes and quotients are rounded, so they say only where to look: each
answer is certified by exact comparisons with both neighbours.

A tied set is a vertex or an edge with all keys on it, for queries along the first axis the leftmost or
rightmost column, for zero queries everything. Each is a stretch of a list of positions. Sets that follow one
another share their sums: `mean` adds up each set once, not once a query.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.certified import (
    certified,
)
from attnc_backends.numba.runtime.lanes import (
    count_above,
)
from attnc_backends.numba.runtime.memory import (
    load_element,
    load_f64,
    load_i64,
    store_f64,
    store_i64,
)
from attnc_backends.numba.runtime.sums import (
    sums_start,
)
from attnc_backends.numba.runtime.sweep_answer import (
    sweep_answer,
    sweep_axis_row,
    sweep_place,
)
from attnc_backends.numba.runtime.sweep_chain import (
    CHAIN_BYTES,
    chain_build,
    chain_candidates,
    chain_gather,
)
from attnc_backends.numba.runtime.sweep_layout import (
    SWEEP_ACC,
    SWEEP_BLOCK,
    SWEEP_COUNT,
    SWEEP_COUNTS,
    SWEEP_HEADS,
    SWEEP_KEY_DTYPE,
    SWEEP_KEY_ELEMENT,
    SWEEP_KEY_STEP,
    SWEEP_KEYS,
    SWEEP_LANES,
    SWEEP_LEFT,
    SWEEP_MEMO_SETS,
    SWEEP_MEMOS,
    SWEEP_OUT,
    SWEEP_OUT_HEAD,
    SWEEP_OUT_ROW,
    SWEEP_POLYGON,
    SWEEP_QUERIES,
    SWEEP_QUERY_ELEMENT,
    SWEEP_QUERY_HEAD,
    SWEEP_QUERY_ROW,
    SWEEP_REVERSED,
    SWEEP_ROW_BITS,
    SWEEP_ROWS,
    SWEEP_SEARCHED,
    SWEEP_VALUE_WIDTH,
    sweep_half,
    sweep_hints,
    sweep_points,
    sweep_sums,
)
from attnc_backends.numba.runtime.sweep_sort import (
    sort_key,
    sort_pairs,
)


@njit(nogil=True, error_model="numpy")
def _sweep_walk(s: int, vertices: int, half: int, pairs: int, queries: int) -> None:
    """Answer the sorted queries by the strict vertices of a half, each from the place of the one before."""
    chain, hints = sweep_half(s, half), sweep_hints(s, half)
    dtype, element = load_i64(s + SWEEP_KEY_DTYPE), load_i64(s + SWEEP_QUERY_ELEMENT)
    flip = -1.0 if load_i64(s + SWEEP_REVERSED) != 0 else 1.0
    place = 0
    for index in range(queries):
        row = load_i64(pairs + 16 * index + 8)
        at = sweep_place(
            row, load_i64(s + SWEEP_QUERIES), load_i64(s + SWEEP_QUERY_HEAD), load_i64(s + SWEEP_QUERY_ROW)
        )
        qx = flip * load_element(at, dtype)
        qy = abs(load_element(at + element, dtype))
        # Past the edges that rise by their slopes, in steps that double and then halve.
        slope = -qx / qy
        step = 1
        while place + step < vertices and load_f64(hints + 8 * (place + step - 1)) > slope:
            place += step
            step <<= 1
        while step > 1:
            step >>= 1
            if place + step < vertices and load_f64(hints + 8 * (place + step - 1)) > slope:
                place += step
        place, tied = certified(chain, CHAIN_BYTES, vertices, qx, qy, place, s + SWEEP_ACC)
        out = sweep_place(
            row, load_i64(s + SWEEP_OUT), load_i64(s + SWEEP_OUT_HEAD), load_i64(s + SWEEP_OUT_ROW)
        )
        sweep_answer(s, out, half, place, tied)


@njit(nogil=True, error_model="numpy")
def _sweep_slopes(s: int, half: int, vertices: int) -> None:
    """Write the rounded slope of every edge of a half to its hints."""
    chain = sweep_half(s, half)
    for edge in range(vertices - 1):
        at = chain + CHAIN_BYTES * edge
        across = load_f64(at + CHAIN_BYTES) - load_f64(at)
        rise = load_f64(at + CHAIN_BYTES + 8) - load_f64(at + 8)
        store_f64(sweep_hints(s, half) + 8 * edge, rise / across)


@njit(nogil=True, error_model="numpy")
def _sweep_search(s: int, upper: int, lower: int) -> None:
    """Answer the queries off the first axis as they come, each by a search among the slopes of its half, of
    `upper` or `lower` strict vertices.
    """
    dtype, element = load_i64(s + SWEEP_KEY_DTYPE), load_i64(s + SWEEP_QUERY_ELEMENT)
    flip = -1.0 if load_i64(s + SWEEP_REVERSED) != 0 else 1.0
    step, out_step = load_i64(s + SWEEP_QUERY_ROW), load_i64(s + SWEEP_OUT_ROW)
    hints, hints_apart = sweep_hints(s, 0), sweep_hints(s, 1) - sweep_hints(s, 0)
    chain, apart = sweep_half(s, 0), sweep_half(s, 1) - sweep_half(s, 0)
    for head in range(load_i64(s + SWEEP_HEADS)):
        at = load_i64(s + SWEEP_QUERIES) + head * load_i64(s + SWEEP_QUERY_HEAD)
        out = load_i64(s + SWEEP_OUT) + head * load_i64(s + SWEEP_OUT_HEAD)
        for _ in range(load_i64(s + SWEEP_ROWS)):
            qx = flip * load_element(at, dtype)
            qy = flip * load_element(at + element, dtype)
            height = abs(qy)
            # Arithmetic, not branches, chooses the half: which it is cannot be foreseen.
            half = int(qy < 0.0)
            vertices = upper + half * (lower - upper)
            if height > 0.0 and height < math.inf and abs(qx) < math.inf:
                # The best vertex comes after all edges that rise: those with a slope above the query's.
                slope = -qx / height
                place = 0
                ahead = vertices - 1
                slopes = hints + half * hints_apart
                while ahead > SWEEP_LANES:
                    skip = ahead >> 1
                    place += skip * int(load_f64(slopes + 8 * (place + skip - 1)) > slope)
                    ahead -= skip
                place += count_above(slopes + 8 * place, ahead, slope)
                place, tied = certified(
                    chain + half * apart, CHAIN_BYTES, vertices, qx, height, place, s + SWEEP_ACC
                )
                sweep_answer(s, out, half, place, tied)
            at += step
            out += out_step


@njit(nogil=True, error_model="numpy")
def _sweep_sorted(s: int, half: int, begin: int, end: int, pairs: int, spare: int) -> int:
    """Write a pair for each query of a half among rows [begin, end), counted through all heads, and sort them
    as they turn; their number.
    """
    dtype, element = load_i64(s + SWEEP_KEY_DTYPE), load_i64(s + SWEEP_QUERY_ELEMENT)
    flip = -1.0 if load_i64(s + SWEEP_REVERSED) != 0 else 1.0
    sign = 1.0 - 2.0 * half
    rows = load_i64(s + SWEEP_ROWS)
    head = begin // rows
    i = begin - head * rows
    queries = 0
    for _ in range(begin, end):
        at = load_i64(s + SWEEP_QUERIES) + head * load_i64(s + SWEEP_QUERY_HEAD)
        at += i * load_i64(s + SWEEP_QUERY_ROW)
        qx = flip * load_element(at, dtype)
        qy = sign * (flip * load_element(at + element, dtype))
        if qy > 0.0 and qy < math.inf and abs(qx) < math.inf:
            store_i64(pairs + 16 * queries, sort_key(qx / qy))
            store_i64(pairs + 16 * queries + 8, (head << SWEEP_ROW_BITS) | i)
            queries += 1
        i += 1
        if i == rows:
            i = 0
            head += 1
    sort_pairs(pairs, spare, queries, s + SWEEP_COUNTS)
    return queries


@njit(nogil=True, error_model="numpy")
def _sweep_read_keys(s: int) -> bool:
    """Copy the keys as doubles to the points; whether all are finite."""
    points = sweep_points(s)
    keys, step = load_i64(s + SWEEP_KEYS), load_i64(s + SWEEP_KEY_STEP)
    element, dtype = load_i64(s + SWEEP_KEY_ELEMENT), load_i64(s + SWEEP_KEY_DTYPE)
    # A difference with itself is 0 for finite numbers, and NaN for all others.
    off = 0.0
    for position in range(load_i64(s + SWEEP_COUNT)):
        x = load_element(keys + position * step, dtype)
        y = load_element(keys + position * step + element, dtype)
        off += (x - x) + (y - y)
        store_f64(points + 16 * position, x)
        store_f64(points + 16 * position + 8, y)
    return off == 0.0


@njit(nogil=True, error_model="numpy")
def _sweep_axis_rows(s: int, left: int) -> tuple[int, int, int]:
    """Answer the queries on the first axis, and list at `left` those that are not finite; how many those are,
    and how many lie above and below the axis.
    """
    dtype, element = load_i64(s + SWEEP_KEY_DTYPE), load_i64(s + SWEEP_QUERY_ELEMENT)
    flip = -1.0 if load_i64(s + SWEEP_REVERSED) != 0 else 1.0
    unanswered = 0
    above = 0
    below = 0
    for head in range(load_i64(s + SWEEP_HEADS)):
        at = load_i64(s + SWEEP_QUERIES) + head * load_i64(s + SWEEP_QUERY_HEAD)
        out = load_i64(s + SWEEP_OUT) + head * load_i64(s + SWEEP_OUT_HEAD)
        for i in range(load_i64(s + SWEEP_ROWS)):
            qx = flip * load_element(at, dtype)
            qy = flip * load_element(at + element, dtype)
            if not (math.isfinite(qx) and math.isfinite(qy)):
                store_i64(left + 8 * unanswered, (head << SWEEP_ROW_BITS) | i)
                unanswered += 1
            elif qy == 0.0:
                sweep_axis_row(s, out, 2 if qx == 0.0 else (0 if qx < 0.0 else 1))
            else:
                above += int(qy > 0.0)
                below += int(qy < 0.0)
            at += load_i64(s + SWEEP_QUERY_ROW)
            out += load_i64(s + SWEEP_OUT_ROW)
    return unanswered, above, below


@njit(nogil=True, error_model="numpy")
def sweep(s: int) -> int:
    """Answer every query over at least one key, as the front of the region says.

    Returns the number of rows left to the caller, because the query is not finite, listed at `SWEEP_LEFT`;
    -1 when a key is not finite and nothing was written. O((n + m) log): sorts, then one walk.
    """
    if not _sweep_read_keys(s):
        return -1
    count = load_i64(s + SWEEP_COUNT)
    points = sweep_points(s)
    pairs = points + 16 * count
    gathered = pairs + 16 * count
    asked = sweep_hints(s, 2)
    total = load_i64(s + SWEEP_HEADS) * load_i64(s + SWEEP_ROWS)
    block = min(total, SWEEP_BLOCK)
    left = asked + 32 * block
    store_i64(s + SWEEP_LEFT, left)
    sums_start(sweep_sums(s), load_i64(s + SWEEP_VALUE_WIDTH))
    for slot in range(SWEEP_MEMOS):
        store_i64(s + SWEEP_MEMO_SETS + 8 * slot, -1)
    unanswered, above, below = _sweep_axis_rows(s, left)
    if above + below == 0:
        return unanswered
    candidates = chain_candidates(points, count, pairs, s + SWEEP_POLYGON)
    sort_pairs(pairs, gathered, candidates, s + SWEEP_COUNTS)
    chain_gather(points, pairs, candidates, gathered)
    upper = 1
    lower = 1
    # Loop variables, not constants, tell the halves apart: a constant argument would make the compiler build
    # each callee once per constant.
    for half in range(2):
        if (above if half == 0 else below) > 0:
            chain = sweep_half(s, half)
            members = chain + CHAIN_BYTES * count
            sign = 1.0 - 2.0 * half
            vertices = chain_build(gathered, sign, pairs, candidates, chain, members, s + SWEEP_ACC)
            if half == 0:
                upper = vertices
            else:
                lower = vertices
    for half in range(2):
        _sweep_slopes(s, half, upper if half == 0 else lower)
    if max(upper, lower) <= SWEEP_SEARCHED:
        _sweep_search(s, upper, lower)
        return unanswered
    begin = 0
    while begin < total:
        end = min(begin + block, total)
        for half in range(2):
            queries = _sweep_sorted(s, half, begin, end, asked, asked + 16 * block)
            _sweep_walk(s, upper if half == 0 else lower, half, asked, queries)
        begin = end
    return unanswered
