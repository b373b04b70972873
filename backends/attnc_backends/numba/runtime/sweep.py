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

import numpy as np
from numba import njit

from attnc_backends.numba.runtime.exact import ACC_BYTES, compare_dot2
from attnc_backends.numba.runtime.lanes import count_above
from attnc_backends.numba.runtime.memory import (
    DT_BF16,
    DT_F32,
    DT_F64,
    dtype_bytes,
    load_element,
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
from attnc_backends.numba.runtime.scan import narrow_to_odd
from attnc_backends.numba.runtime.sums import sums_add, sums_bytes, sums_clear, sums_mean, sums_start
from attnc_backends.numba.runtime.sweep_chain import (
    CHAIN_BYTES,
    CHAIN_EDGE_FIRST,
    CHAIN_EDGE_LAST,
    CHAIN_FIRST,
    CHAIN_FROM,
    CHAIN_LAST,
    CHAIN_UPTO,
    POLYGON_BYTES,
    chain_build,
    chain_candidates,
    chain_gather,
)
from attnc_backends.numba.runtime.sweep_sort import SORT_COUNTS_BYTES, sort_key, sort_pairs

# What the caller writes at the front of the region: where things lie. Strides are in bytes. Query `h` of `i`
# lies at SWEEP_QUERIES + h * SWEEP_QUERY_HEAD + i * SWEEP_QUERY_ROW, and so does its output.
SWEEP_COUNT = 0  # keys
SWEEP_KEYS = 8
SWEEP_KEY_STEP = 16
SWEEP_KEY_ELEMENT = 24
SWEEP_KEY_DTYPE = 32  # of queries, too
SWEEP_HEADS = 40
SWEEP_ROWS = 48  # per head
SWEEP_QUERIES = 56
SWEEP_QUERY_HEAD = 64
SWEEP_QUERY_ROW = 72
SWEEP_QUERY_ELEMENT = 80
SWEEP_REVERSED = 88  # 1 where the smallest product wins
SWEEP_VALUES = 96
SWEEP_VALUE_STEP = 104
SWEEP_VALUE_ELEMENT = 112
SWEEP_VALUE_DTYPE = 120
SWEEP_VALUE_WIDTH = 128
SWEEP_OUT = 136
SWEEP_OUT_HEAD = 144
SWEEP_OUT_ROW = 152
SWEEP_OUT_ELEMENT = 160
SWEEP_TIE = 168  # SWEEP_FIRST, SWEEP_LAST or SWEEP_MEAN
SWEEP_LEFT = 176
"""Where `sweep` leaves the address of a list of the rows that it did not answer, as `h << 40 | i`."""
_SWEEP_HEADER_BYTES = 192

SWEEP_FIRST = 0
SWEEP_LAST = 1
SWEEP_MEAN = 2

_SWEEP_ROW_BITS = 40
_SWEEP_ROW_MASK = (1 << _SWEEP_ROW_BITS) - 1

# Means that are remembered, of each half: neighbouring vertices and edges have neighbouring numbers, and so
# lie in different slots; then those of left column, right column, all keys.
_SWEEP_RECENT = 4
_SWEEP_MEMOS = 2 * _SWEEP_RECENT + 3

# Up to so many vertices their slopes fit the nearest cache, and to search them costs less than to sort the
# queries.
_SWEEP_SEARCHED = 4096

# So many queries are sorted at a time: few enough that they and their outputs stay in a cache while they are
# answered out of order, and enough that neighbours on the hull share cache lines.
_SWEEP_BLOCK = 65536

_SWEEP_LANES = 64  # as many slopes as are compared at once

# Offsets behind the header of what has a fixed size.
_SWEEP_ACC = _SWEEP_HEADER_BYTES
_SWEEP_POLYGON = _SWEEP_ACC + ACC_BYTES
_SWEEP_COUNTS = _SWEEP_POLYGON + POLYGON_BYTES
_SWEEP_MEMO_SETS = _SWEEP_COUNTS + SORT_COUNTS_BYTES
_SWEEP_FIXED_BYTES = _SWEEP_MEMO_SETS + 8 * _SWEEP_MEMOS


@njit(nogil=True, error_model="numpy")
def sweep_bytes(keys: int, queries: int, width: int) -> int:
    """Bytes of a region for up to so many keys and queries (rows of all heads) and values of `width`."""
    # Points, pairs, their points; for each half vertices, members, hints.
    per_key = 3 * 16 + 2 * (CHAIN_BYTES + 8 + 8)
    asked = 2 * 16 * min(queries, _SWEEP_BLOCK)  # pairs of a block, and their spare
    rows = 8 * width * _SWEEP_MEMOS + sums_bytes(width)
    slack = 2 * 8 * _SWEEP_LANES
    return _SWEEP_FIXED_BYTES + rows + per_key * keys + slack + asked + 8 * queries


@njit(nogil=True, error_model="numpy")
def _sweep_sums(s: int) -> int:
    """The address of the sums."""
    return s + _SWEEP_FIXED_BYTES + 8 * load_i64(s + SWEEP_VALUE_WIDTH) * _SWEEP_MEMOS


@njit(nogil=True, error_model="numpy")
def _sweep_points(s: int) -> int:
    """The address of the points: all that grows with the number of keys begins here."""
    return _sweep_sums(s) + sums_bytes(load_i64(s + SWEEP_VALUE_WIDTH))


@njit(nogil=True, error_model="numpy")
def _sweep_half(s: int, half: int) -> int:
    """The address of the vertices of a half; their members follow those there is room for."""
    count = load_i64(s + SWEEP_COUNT)
    return _sweep_points(s) + (3 * 16 + half * (CHAIN_BYTES + 8)) * count


@njit(nogil=True, error_model="numpy")
def _sweep_hints(s: int, half: int) -> int:
    """The address of the rounded slopes of a half's edges; as many as are compared at once may be read."""
    return _sweep_half(s, 2) + half * 8 * (load_i64(s + SWEEP_COUNT) + _SWEEP_LANES)


@njit(nogil=True, error_model="numpy")
def _sweep_place(row: int, base: int, head_step: int, row_step: int) -> int:
    """The address of a row `h << 40 | i`."""
    return base + (row >> _SWEEP_ROW_BITS) * head_step + (row & _SWEEP_ROW_MASK) * row_step


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
def _sweep_memo(s: int, number: int) -> int:
    """The address of a remembered mean, a row of doubles."""
    return s + _SWEEP_FIXED_BYTES + 8 * load_i64(s + SWEEP_VALUE_WIDTH) * number


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
    sums_add(_sweep_sums(s), at, element, dtype, 1)


@njit(nogil=True, error_model="numpy")
def _sweep_axis_row(s: int, out: int, side: int) -> None:
    """Answer a query along the first axis, for the left column (`side` 0) or the right one (1), or a zero
    query, for all keys (2).
    """
    count = load_i64(s + SWEEP_COUNT)
    points = _sweep_points(s)
    slot = 2 * _SWEEP_RECENT + side
    known = s + _SWEEP_MEMO_SETS + 8 * slot
    mean = load_i64(s + SWEEP_TIE) == SWEEP_MEAN
    if load_i64(known) < 0:
        # What is remembered is the position that wins; for a mean, that there is one.
        extreme = -math.inf
        best = 0
        members = 0
        if mean:
            sums_clear(_sweep_sums(s))
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
                    sums_clear(_sweep_sums(s))
            if x == extreme:
                members += 1
                if mean:
                    _sweep_add(s, position)
                elif load_i64(s + SWEEP_TIE) == SWEEP_LAST:
                    best = position
        store_i64(known, best)
        if mean:
            sums_mean(_sweep_sums(s), members, _sweep_memo(s, slot))
    if mean:
        _sweep_store_mean(s, out, _sweep_memo(s, slot))
    else:
        _sweep_copy(s, out, load_i64(known))


@njit(nogil=True, error_model="numpy")
def _sweep_answer(s: int, out: int, half: int, place: int, tied: bool) -> None:
    """Answer a query whose leftmost best vertex of a half is at `place`, and with it, where `tied`, the edge
    to the right.
    """
    chain = _sweep_half(s, half)
    vertex = chain + CHAIN_BYTES * place
    tie = load_i64(s + SWEEP_TIE)
    if tie == SWEEP_FIRST:
        _sweep_copy(s, out, load_i64(vertex + (CHAIN_EDGE_FIRST if tied else CHAIN_FIRST)))
        return
    if tie == SWEEP_LAST:
        _sweep_copy(s, out, load_i64(vertex + (CHAIN_EDGE_LAST if tied else CHAIN_LAST)))
        return
    number = 2 * place + (1 if tied else 0)
    slot = half * _SWEEP_RECENT + (number & (_SWEEP_RECENT - 1))
    known = s + _SWEEP_MEMO_SETS + 8 * slot
    if load_i64(known) != number:
        members = chain + CHAIN_BYTES * load_i64(s + SWEEP_COUNT)
        begin = load_i64(vertex + CHAIN_FROM)
        end = load_i64(vertex + (CHAIN_BYTES + CHAIN_UPTO if tied else CHAIN_UPTO))
        sums_clear(_sweep_sums(s))
        for index in range(begin, end):
            _sweep_add(s, load_i64(members + 8 * index))
        sums_mean(_sweep_sums(s), end - begin, _sweep_memo(s, slot))
        store_i64(known, number)
    _sweep_store_mean(s, out, _sweep_memo(s, slot))


@njit(nogil=True, error_model="numpy")
def _sweep_rise(chain: int, edge: int, qx: float, qy: float, scratch: int) -> int:
    """Sign of the score of vertex edge + 1 minus that of vertex `edge`."""
    at = chain + CHAIN_BYTES * edge
    x = load_f64(at + CHAIN_BYTES)
    y = load_f64(at + CHAIN_BYTES + 8)
    return compare_dot2(qx, qy, x, y, load_f64(at), load_f64(at + 8), scratch)


@njit(nogil=True, error_model="numpy")
def _sweep_gallop(chain: int, count: int, place: int, qx: float, qy: float, scratch: int) -> tuple[int, bool]:
    """The leftmost best vertex, looked for from `place` on, and whether the next one ties."""
    # The edge right of `low` rises (-1: there is none), the one right of `high` does not.
    low = -1
    high = count - 1
    level = False
    probe = place
    step = 1
    while 0 <= probe < count - 1:
        sign = _sweep_rise(chain, probe, qx, qy, scratch)
        if sign > 0:
            low = probe
            if high < count - 1:
                break
            probe += step
        else:
            high = probe
            level = sign == 0
            if low >= 0:
                break
            probe -= step
        step <<= 1
    while high - low > 1:
        middle = (low + high) >> 1
        sign = _sweep_rise(chain, middle, qx, qy, scratch)
        if sign > 0:
            low = middle
        else:
            high = middle
            level = sign == 0
    return high, level


@njit(nogil=True, error_model="numpy", forceinline=True)
def _sweep_certified(
    chain: int, count: int, place: int, qx: float, qy: float, scratch: int
) -> tuple[int, bool]:
    """The leftmost best vertex, supposed to be at `place`, and whether the next one ties."""
    rise = -1
    if place < count - 1:
        rise = _sweep_rise(chain, place, qx, qy, scratch)
    if rise <= 0 and (place == 0 or _sweep_rise(chain, place - 1, qx, qy, scratch) > 0):
        return place, rise == 0
    # Where the last vertex loses, the search begins at the edge before it.
    return _sweep_gallop(chain, count, min(place, count - 2), qx, qy, scratch)


@njit(nogil=True, error_model="numpy")
def _sweep_walk(s: int, vertices: int, half: int, pairs: int, queries: int) -> None:
    """Answer the sorted queries by the strict vertices of a half, each from the place of the one before."""
    chain, hints = _sweep_half(s, half), _sweep_hints(s, half)
    dtype, element = load_i64(s + SWEEP_KEY_DTYPE), load_i64(s + SWEEP_QUERY_ELEMENT)
    flip = -1.0 if load_i64(s + SWEEP_REVERSED) != 0 else 1.0
    place = 0
    for index in range(queries):
        row = load_i64(pairs + 16 * index + 8)
        at = _sweep_place(
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
        place, tied = _sweep_certified(chain, vertices, place, qx, qy, s + _SWEEP_ACC)
        out = _sweep_place(
            row, load_i64(s + SWEEP_OUT), load_i64(s + SWEEP_OUT_HEAD), load_i64(s + SWEEP_OUT_ROW)
        )
        _sweep_answer(s, out, half, place, tied)


@njit(nogil=True, error_model="numpy")
def _sweep_slopes(s: int, half: int, vertices: int) -> None:
    """Write the rounded slope of every edge of a half to its hints."""
    chain = _sweep_half(s, half)
    for edge in range(vertices - 1):
        at = chain + CHAIN_BYTES * edge
        across = load_f64(at + CHAIN_BYTES) - load_f64(at)
        rise = load_f64(at + CHAIN_BYTES + 8) - load_f64(at + 8)
        store_f64(_sweep_hints(s, half) + 8 * edge, rise / across)


@njit(nogil=True, error_model="numpy")
def _sweep_search(s: int, upper: int, lower: int) -> None:
    """Answer the queries off the first axis as they come, each by a search among the slopes of its half, of
    `upper` or `lower` strict vertices.
    """
    dtype, element = load_i64(s + SWEEP_KEY_DTYPE), load_i64(s + SWEEP_QUERY_ELEMENT)
    flip = -1.0 if load_i64(s + SWEEP_REVERSED) != 0 else 1.0
    step, out_step = load_i64(s + SWEEP_QUERY_ROW), load_i64(s + SWEEP_OUT_ROW)
    hints, hints_apart = _sweep_hints(s, 0), _sweep_hints(s, 1) - _sweep_hints(s, 0)
    chain, apart = _sweep_half(s, 0), _sweep_half(s, 1) - _sweep_half(s, 0)
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
                while ahead > _SWEEP_LANES:
                    skip = ahead >> 1
                    place += skip * int(load_f64(slopes + 8 * (place + skip - 1)) > slope)
                    ahead -= skip
                place += count_above(slopes + 8 * place, ahead, slope)
                place, tied = _sweep_certified(
                    chain + half * apart, vertices, place, qx, height, s + _SWEEP_ACC
                )
                _sweep_answer(s, out, half, place, tied)
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
            store_i64(pairs + 16 * queries + 8, (head << _SWEEP_ROW_BITS) | i)
            queries += 1
        i += 1
        if i == rows:
            i = 0
            head += 1
    sort_pairs(pairs, spare, queries, s + _SWEEP_COUNTS)
    return queries


@njit(nogil=True, error_model="numpy")
def _sweep_read_keys(s: int) -> bool:
    """Copy the keys as doubles to the points; whether all are finite."""
    points = _sweep_points(s)
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
                store_i64(left + 8 * unanswered, (head << _SWEEP_ROW_BITS) | i)
                unanswered += 1
            elif qy == 0.0:
                _sweep_axis_row(s, out, 2 if qx == 0.0 else (0 if qx < 0.0 else 1))
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
    points = _sweep_points(s)
    pairs = points + 16 * count
    gathered = pairs + 16 * count
    asked = _sweep_hints(s, 2)
    total = load_i64(s + SWEEP_HEADS) * load_i64(s + SWEEP_ROWS)
    block = min(total, _SWEEP_BLOCK)
    left = asked + 32 * block
    store_i64(s + SWEEP_LEFT, left)
    sums_start(_sweep_sums(s), load_i64(s + SWEEP_VALUE_WIDTH))
    for slot in range(_SWEEP_MEMOS):
        store_i64(s + _SWEEP_MEMO_SETS + 8 * slot, -1)
    unanswered, above, below = _sweep_axis_rows(s, left)
    if above + below == 0:
        return unanswered
    candidates = chain_candidates(points, count, pairs, s + _SWEEP_POLYGON)
    sort_pairs(pairs, gathered, candidates, s + _SWEEP_COUNTS)
    chain_gather(points, pairs, candidates, gathered)
    upper = 1
    lower = 1
    # Loop variables, not constants, tell the halves apart: a constant argument would make the compiler build
    # each callee once per constant.
    for half in range(2):
        if (above if half == 0 else below) > 0:
            chain = _sweep_half(s, half)
            members = chain + CHAIN_BYTES * count
            sign = 1.0 - 2.0 * half
            vertices = chain_build(gathered, sign, pairs, candidates, chain, members, s + _SWEEP_ACC)
            if half == 0:
                upper = vertices
            else:
                lower = vertices
    for half in range(2):
        _sweep_slopes(s, half, upper if half == 0 else lower)
    if max(upper, lower) <= _SWEEP_SEARCHED:
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
