"""Exact hard-max over 2-D keys: append a key, ask which keys score highest for a query.

The keys that maximise q.k are a vertex of the convex hull, an edge with everything on it, an end column
(qy = 0) or all keys (q = 0). One structure keeps both halves of the hull with a tie group at each of these,
so a query is one search by slope plus a look at no more than three groups. Every comparison is exact, hence
so are the ties: first, last and mean mean what they say on any finite doubles.

Keys and values stay outside, in position order: key j is the pair of doubles at keys + 16 * j, value row j
starts at vals + j * value_stride. Queries for means may write to the region, so one runs at a time.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.exact import ACC_BYTES, acc_add, acc_clear, acc_round
from attnc_backends.numba.runtime.hull_groups import (
    hull_group,
    hull_group_is_summed,
    hull_group_next,
    hull_group_reach,
    hull_group_sum,
    hull_row_sum,
    hull_sum_join,
)
from attnc_backends.numba.runtime.hull_header import (
    HULL_CAPACITY,
    HULL_COUNT,
    HULL_DISORDER,
    HULL_GROUP_COUNT,
    HULL_GROUP_LAST,
    HULL_LOWER,
    HULL_ORDER,
    HULL_UPPER,
    HULL_WITH_MEAN,
)
from attnc_backends.numba.runtime.hull_insert import hull_insert
from attnc_backends.numba.runtime.hull_inside import hull_append_inside
from attnc_backends.numba.runtime.hull_layout import (
    HULL_GROUP_FIRST,
    HULL_GROUP_HEAD,
    HULL_LEFT,
    HULL_LEFT_GROUP,
    HULL_RIGHT_GROUP,
    HULL_WHOLE,
    HULL_WHOLE_GROUP,
    HULL_WIDTH,
)
from attnc_backends.numba.runtime.hull_order import (
    hull_append_ordered,
    hull_leave_order,
    hull_search_ordered,
)
from attnc_backends.numba.runtime.hull_search import hull_search, hull_search_near
from attnc_backends.numba.runtime.memory import (
    dtype_bytes,
    load_element,
    load_f64,
    load_i64,
    out_of_line,
    store_f64,
    store_i64,
)

# A tied set in scratch: the list kind of its groups, then its parts, at most an edge and its two ends. A part
# is a group, or ~p for the single position p. The accumulator follows.
_HULL_TIES_KIND = 0
_HULL_TIES_PART = 8
_HULL_TIES_BYTES = 32


@njit(nogil=True, error_model="numpy")
def hull_scratch_bytes(dv: int) -> int:
    """Bytes of scratch memory that every function here needs; their content is never read on entry."""
    return _HULL_TIES_BYTES + ACC_BYTES


@njit(nogil=True, error_model="numpy")
def hull_append(h: int, keys: int, scratch: int) -> int:
    """Add the position after the last; its key, finite, is already stored outside.

    Returns 0, or 1 when the region is full and nothing was changed. Amortised O(log n) plus one move within
    a block.
    """
    position = load_i64(h + HULL_COUNT)
    if position >= load_i64(h + HULL_CAPACITY):
        return 1
    if load_i64(h + HULL_ORDER) != HULL_DISORDER:
        if hull_append_ordered(h, keys, position, scratch):
            return 0
        hull_leave_order(h, keys)
    x = load_f64(keys + 16 * position)
    y = load_f64(keys + 16 * position + 8)
    halves = hull_append_inside(h, x, y, position)
    if halves != 0:
        hull_insert(h, keys, x, y, position, halves, scratch)
    return 0


@njit(nogil=True, error_model="numpy")
def _hull_ties_special(h: int, keys: int, qx: float, qy: float, scratch: int) -> int:
    """_hull_ties where keys are in order or qy is 0."""
    out_of_line()
    parts = scratch + _HULL_TIES_PART
    if qy == 0.0:
        if qx == 0.0:
            # The first and the last of all, which a mean does not ask for.
            store_i64(parts, ~0)
            store_i64(parts + 8, ~(load_i64(h + HULL_COUNT) - 1))
            return -2
        if load_i64(h + HULL_ORDER) == HULL_DISORDER:
            group = HULL_LEFT_GROUP if qx < 0.0 else HULL_RIGHT_GROUP
            store_i64(scratch + _HULL_TIES_KIND, HULL_LEFT + group)
            store_i64(parts, group)
            return -1
    store_i64(scratch + _HULL_TIES_KIND, HULL_UPPER if qy > 0.0 else HULL_LOWER)
    return hull_search_ordered(h, keys, qx, qy, parts, scratch + _HULL_TIES_BYTES)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _hull_ties(h: int, keys: int, qx: float, qy: float, scratch: int) -> int:
    """The set of all keys with the highest score for (qx, qy): the position of a single one, or else the
    negative number of parts that were written to scratch. There must be at least one key.
    """
    if (qy == 0.0) | (load_i64(h + HULL_ORDER) != HULL_DISORDER):
        return _hull_ties_special(h, keys, qx, qy, scratch)
    half = HULL_LOWER * int(qy < 0.0)
    store_i64(scratch + _HULL_TIES_KIND, half)
    parts = scratch + _HULL_TIES_PART
    return hull_search(h, half, keys, qx, abs(qy), parts, scratch + _HULL_TIES_BYTES)


@njit(nogil=True, error_model="numpy")
def hull_first(h: int, keys: int, qx: float, qy: float, scratch: int) -> int:
    """The smallest position among the keys with the highest score, or -1 when there are none. O(log n)."""
    if load_i64(h + HULL_COUNT) == 0:
        return -1
    best = _hull_ties(h, keys, qx, qy, scratch)
    if best >= 0:
        return best
    parts = -best
    best = load_i64(h + HULL_COUNT)
    for index in range(parts):
        part = load_i64(scratch + _HULL_TIES_PART + 8 * index)
        best = min(best, load_i64(hull_group(h, part) + HULL_GROUP_FIRST) if part >= 0 else ~part)
    return best


@njit(nogil=True, error_model="numpy")
def hull_last(h: int, keys: int, qx: float, qy: float, scratch: int) -> int:
    """The largest position among the keys with the highest score, or -1 when there are none. O(log n)."""
    near, found = hull_search_near(h, qx, qy)
    if found:
        return load_i64(hull_group(h, near) + HULL_GROUP_LAST) if near >= 0 else ~near
    if load_i64(h + HULL_COUNT) == 0:
        return -1
    best = _hull_ties(h, keys, qx, qy, scratch)
    if best >= 0:
        return best
    parts = -best
    best = -1
    for index in range(parts):
        part = load_i64(scratch + _HULL_TIES_PART + 8 * index)
        best = max(best, load_i64(hull_group(h, part) + HULL_GROUP_LAST) if part >= 0 else ~part)
    return best


@njit(nogil=True, error_model="numpy", forceinline=True)
def _hull_ties_count(h: int, parts: int, scratch: int) -> int:
    """How many keys the tied set has."""
    total = 0
    for index in range(parts):
        part = load_i64(scratch + _HULL_TIES_PART + 8 * index)
        total += load_i64(hull_group(h, part) + HULL_GROUP_COUNT) if part >= 0 else 1
    return total


@njit(nogil=True, error_model="numpy", forceinline=True)
def _hull_ties_cached_sum(
    h: int, parts: int, column: int, vals: int, value_stride: int, vdtype: int, scratch: int
) -> tuple[float, float]:
    """The sum of a value column over the tied set from the groups' sums; lo is NaN when it is not exact."""
    hi = 0.0
    lo = 0.0
    for index in range(parts):
        part = load_i64(scratch + _HULL_TIES_PART + 8 * index)
        if part >= 0:
            b_hi, b_lo = hull_group_sum(h, part, column, vals, value_stride, vdtype)
        else:
            b_hi, b_lo = hull_row_sum(~part, column, vals, value_stride, vdtype)
        if index == 0:
            hi = b_hi
            lo = b_lo
        else:
            hi, lo = hull_sum_join(hi, lo, b_hi, b_lo)
    return hi, lo


@njit(nogil=True, error_model="numpy")
def _hull_ties_walked_sum(
    h: int, parts: int, column: int, vals: int, value_stride: int, vdtype: int, scratch: int
) -> float:
    """The sum of a value column over the tied set, rounded once, by visiting every member.

    A NaN, or infinities of both signs, make it NaN; else infinities of one sign are the sum.
    """
    out_of_line()
    accumulator = scratch + _HULL_TIES_BYTES
    acc_clear(accumulator)
    special = 0.0
    kind = load_i64(scratch + _HULL_TIES_KIND)
    for index in range(parts):
        part = load_i64(scratch + _HULL_TIES_PART + 8 * index)
        position = ~part
        members = 1
        if part >= 0:
            position = load_i64(hull_group(h, part) + HULL_GROUP_HEAD)
            members = load_i64(hull_group(h, part) + HULL_GROUP_COUNT)
        for member in range(members):
            if member > 0:
                position = hull_group_next(h, kind, position)
            value = load_element(vals + position * value_stride + column * dtype_bytes(vdtype), vdtype)
            if math.isfinite(value):
                acc_add(accumulator, value)
            else:
                special += value  # inf + -inf and anything + NaN are NaN
    return acc_round(accumulator) if special == 0.0 else special


@njit(nogil=True, error_model="numpy")
def hull_mean(
    h: int,
    keys: int,
    vals: int,
    value_stride: int,
    vdtype: int,
    qx: float,
    qy: float,
    out: int,
    scratch: int,
) -> int:
    """Write the mean value row of all keys with the highest score, as doubles, to `out`; their count.

    Each result is the exact sum rounded once to a double, then divided by the count; a zero sum is +0.0.
    Without keys the row is zero and the count 0; a structure without means returns -1 and writes nothing.
    O(log n + value width), amortised, while the tied sums fit two doubles, else also O(tied keys) for such a
    column.
    """
    if load_i64(h + HULL_WITH_MEAN) == 0:
        return -1
    width = load_i64(h + HULL_WIDTH)
    if load_i64(h + HULL_COUNT) == 0:
        for column in range(width):
            store_f64(out + 8 * column, 0.0)
        return 0
    if qx == 0.0 and qy == 0.0:
        whole = hull_group(h, HULL_WHOLE_GROUP)
        store_i64(whole + HULL_GROUP_HEAD, 0)
        store_i64(whole + HULL_GROUP_FIRST, 0)
        store_i64(whole + HULL_GROUP_COUNT, load_i64(h + HULL_COUNT))
        store_i64(scratch + _HULL_TIES_KIND, HULL_WHOLE)
        store_i64(scratch + _HULL_TIES_PART, HULL_WHOLE_GROUP)
        only = -1
    else:
        near, found = hull_search_near(h, qx, qy)
        if found:
            store_i64(scratch + _HULL_TIES_KIND, HULL_UPPER if qy > 0.0 else HULL_LOWER)
            store_i64(scratch + _HULL_TIES_PART, near)
            only = -1 if near >= 0 else ~near
        else:
            only = _hull_ties(h, keys, qx, qy, scratch)
    if only >= 0:
        for column in range(width):
            total = load_element(vals + only * value_stride + column * dtype_bytes(vdtype), vdtype)
            store_f64(out + 8 * column, 0.0 if total == 0.0 else total)  # not -0.0
        return 1
    parts = -only
    kind = load_i64(scratch + _HULL_TIES_KIND)
    for index in range(parts):
        part = load_i64(scratch + _HULL_TIES_PART + 8 * index)
        if part >= 0 and not hull_group_is_summed(h, part):
            hull_group_reach(h, part, kind, vals, value_stride, vdtype)
    count = _hull_ties_count(h, parts, scratch)
    for column in range(width):
        total, rest = _hull_ties_cached_sum(h, parts, column, vals, value_stride, vdtype, scratch)
        if math.isnan(rest):
            total = _hull_ties_walked_sum(h, parts, column, vals, value_stride, vdtype, scratch)
        if total == 0.0:
            total = 0.0  # not -0.0
        store_f64(out + 8 * column, total / count)
    return count
