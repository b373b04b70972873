"""Finding the best vertex of a half for a query: a guess in doubles, certified by exact score differences.

Two exact comparisons prove a guess, as along any strict chain (certified.py). Guesses may be off by a
rounding, never the answer; where doubles mislead (overflow, cancellation) bisection on exact comparisons
takes over.
"""

from numba import njit

from attnc_backends.numba.runtime.certified import certified
from attnc_backends.numba.runtime.exact import FILTER_BOUND, FILTER_UNDERFLOW, compare_dot2
from attnc_backends.numba.runtime.hull_header import HULL_FAN, HULL_FAN_SHIFT, HULL_NEAR
from attnc_backends.numba.runtime.hull_layout import (
    HULL_CHUNK_COUNT,
    HULL_CHUNK_LEAF,
    HULL_CHUNK_SLOPE,
    HULL_HALF_BYTES,
    HULL_LEAF_GROUP,
    HULL_LEAF_POSITION,
    HULL_LEAF_X,
    HULL_LEAF_Y,
    HULL_ONLY,
    HULL_ONLY_COUNT,
)
from attnc_backends.numba.runtime.hull_leaves import (
    hull_chunk,
    hull_chunk_leaves,
    hull_edge_group,
    hull_leaf,
    hull_own_group,
    hull_place_after,
    hull_place_before,
    hull_point,
    hull_position,
    hull_top_count,
    hull_top_slope,
)
from attnc_backends.numba.runtime.lanes import count_above, count_rising, few_certified
from attnc_backends.numba.runtime.memory import load_f64, load_i32, load_i64, out_of_line, store_i64

# How far from the guess to look before bisecting.
_HULL_WALK = 4


# --- runs: the vertices are the first positions ---


@njit(nogil=True, error_model="numpy")
def hull_search_run(keys: int, count: int, qx: float, qy: float, scratch: int) -> tuple[int, bool]:
    """The first best of `count` positions, all vertices of the half that qy points to; does the next tie?

    O(1) where keys are spaced as on a parabola, because the rise from a key to the next is then linear in
    the position; else O(log n).
    """
    out_of_line()
    if count == 1:
        return 0, False
    edges = count - 1
    last = keys + 16 * (edges - 1)
    first_rise = qx * (load_f64(keys + 16) - load_f64(keys)) + qy * (load_f64(keys + 24) - load_f64(keys + 8))
    last_rise = qx * (load_f64(last + 16) - load_f64(last)) + qy * (load_f64(last + 24) - load_f64(last + 8))
    zero = first_rise * (edges - 1) / (first_rise - last_rise) + 0.9999999
    guess = 0
    if zero >= edges or last_rise > 0.0:
        guess = edges
    elif zero >= 1.0:
        guess = int(zero)
    return certified(keys, 16, count, qx, qy, guess, scratch)


# --- all others ---


@njit(nogil=True, error_model="numpy")
def _hull_rise(
    h: int, half: int, keys: int, qx: float, qy: float, here: int, there: int, scratch: int
) -> int:
    """Sign of the score of the vertex at place `there` minus that at `here`."""
    x1, y1 = hull_point(h, half, keys, there)
    x2, y2 = hull_point(h, half, keys, here)
    return compare_dot2(qx, qy, x1, y1, x2, y2, scratch)


@njit(nogil=True, error_model="numpy")
def _hull_top_above(slopes: int, count: int, slope: float) -> int:
    """How many of the doubles at `slopes`, which decrease, are above `slope`."""
    low = 0
    while count > HULL_FAN:
        # No branch: it could not be foreseen. A few are looked at twice.
        step = count >> 1
        low += step * int(load_f64(slopes + 8 * (low + step - 1)) > slope)
        count -= step
    return low + count_above(slopes + 8 * low, count, slope)


@njit(nogil=True, error_model="numpy")
def _hull_bisect(h: int, half: int, keys: int, qx: float, qy: float, scratch: int) -> tuple[int, bool]:
    """_hull_walk by exact comparisons alone, first over chunks, then leaves, then vertices."""
    out_of_line()
    place = 0
    low = 0
    high = hull_top_count(h, half) - 1
    while low < high:
        middle = (low + high + 1) >> 1
        there = middle << (2 * HULL_FAN_SHIFT)
        if _hull_rise(h, half, keys, qx, qy, hull_place_before(h, half, there), there, scratch) > 0:
            low = middle
        else:
            high = middle - 1
    place = low << (2 * HULL_FAN_SHIFT)
    chunk = hull_chunk(h, half, low)
    high = hull_chunk_leaves(h, half, low) - 1
    low = 0
    while low < high:
        middle = (low + high + 1) >> 1
        there = place + (middle << HULL_FAN_SHIFT)
        if _hull_rise(h, half, keys, qx, qy, hull_place_before(h, half, there), there, scratch) > 0:
            low = middle
        else:
            high = middle - 1
    place += low << HULL_FAN_SHIFT
    high = load_i32(chunk + HULL_CHUNK_COUNT + 4 * low) - 1
    low = 0
    while low < high:
        middle = (low + high + 1) >> 1
        if _hull_rise(h, half, keys, qx, qy, place + middle - 1, place + middle, scratch) > 0:
            low = middle
        else:
            high = middle - 1
    place += low
    after = hull_place_after(h, half, place)
    return place, after >= 0 and _hull_rise(h, half, keys, qx, qy, place, after, scratch) == 0


@njit(nogil=True, error_model="numpy")
def _hull_part(h: int, half: int, place: int) -> int:
    """The part of a tied set that one vertex makes."""
    group = hull_own_group(h, half, place)
    return group if group >= 0 else ~hull_position(h, half, place)


@njit(nogil=True, error_model="numpy")
def _hull_walk(
    h: int, half: int, keys: int, qx: float, qy: float, place: int, scratch: int
) -> tuple[int, bool]:
    """The place of the leftmost best vertex, near a guess of it, and whether the next vertex ties."""
    out_of_line()
    walked = 0
    sign = 1
    while walked < _HULL_WALK:
        after = hull_place_after(h, half, place)
        sign = -1
        if after >= 0:
            sign = _hull_rise(h, half, keys, qx, qy, place, after, scratch)
        if sign <= 0:
            break
        place = after
        walked += 1
    if walked > 0 and sign <= 0:
        return place, sign == 0
    while walked < _HULL_WALK:
        before = hull_place_before(h, half, place)
        rise = 1
        if before >= 0:
            rise = _hull_rise(h, half, keys, qx, qy, before, place, scratch)
        if rise > 0:
            return place, sign == 0
        sign = rise
        place = before
        walked += 1
    return _hull_bisect(h, half, keys, qx, qy, scratch)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _hull_leaf_rise(leaf: int, qx: float, qy: float, within: int, scratch: int) -> int:
    """Sign of the score of vertex within + 1 of a leaf minus that of vertex `within`."""
    xs = leaf + HULL_LEAF_X + 8 * within
    ys = leaf + HULL_LEAF_Y + 8 * within
    x1 = load_f64(xs + 8)
    y1 = load_f64(ys + 8)
    return compare_dot2(qx, qy, x1, y1, load_f64(xs), load_f64(ys), scratch)


@njit(nogil=True, error_model="numpy", forceinline=True)
def hull_search_near(h: int, qx: float, qy: float) -> tuple[int, bool]:
    """The part that one vertex makes, and whether filters can tell that it alone wins. O(1).

    Only where the keys are out of order and the half is one leaf. Of up to eight vertices all are looked at,
    of more the one that was the last answer.
    """
    half = h + HULL_HALF_BYTES * int(qy < 0.0)
    only = load_i64(half + HULL_ONLY)
    if only == 0 or qy == 0.0:
        return 0, False
    leaf = h + only
    count = load_i32(h + load_i64(half + HULL_ONLY_COUNT))
    within = 0
    if 1 < count <= 8:
        within = few_certified(leaf + HULL_LEAF_X, leaf + HULL_LEAF_Y, count, qx, abs(qy))
        if within < 0:
            return 0, False
    elif count > 8:
        within = min(load_i64(h + HULL_NEAR), count - 1)
        xs = leaf + HULL_LEAF_X + 8 * within
        ys = leaf + HULL_LEAF_Y + 8 * within
        x = load_f64(xs)
        y = load_f64(ys)
        # What is read of the vertices beside it does not matter where there are none.
        p = qx * (x - load_f64(xs - 8))
        r = abs(qy) * (y - load_f64(ys - 8))
        rises = p + r > FILTER_BOUND * (abs(p) + abs(r)) + FILTER_UNDERFLOW
        p = qx * (x - load_f64(xs + 8))
        r = abs(qy) * (y - load_f64(ys + 8))
        falls = p + r > FILTER_BOUND * (abs(p) + abs(r)) + FILTER_UNDERFLOW
        if not ((rises | (within == 0)) & (falls | (within == count - 1))):
            return 0, False
    group = load_i32(leaf + HULL_LEAF_GROUP + 8 * within)
    return (group if group >= 0 else ~load_i32(leaf + HULL_LEAF_POSITION + 4 * within)), True


@njit(nogil=True, error_model="numpy")
def hull_search(h: int, half: int, keys: int, qx: float, qy: float, parts: int, scratch: int) -> int:
    """The keys with the highest score for a query with qy > 0, as a list of parts.

    A single key is returned as its position. Else the parts, at most three, are written to `parts` and their
    negative number is returned. A part is a group, or ~p for the single position p. O(log n).
    """
    out_of_line()
    only = load_i64(h + half * HULL_HALF_BYTES + HULL_ONLY)
    is_first = True
    is_last = True
    place = 0
    if only != 0:
        leaf = h + only
        count = load_i32(h + load_i64(h + half * HULL_HALF_BYTES + HULL_ONLY_COUNT))
    else:
        slope = -qx / qy
        tops = hull_top_count(h, half)
        top = 0
        if tops > 1:
            top = _hull_top_above(hull_top_slope(h, half) + 8, tops - 1, slope)
        chunk = hull_chunk(h, half, top)
        leaves = hull_chunk_leaves(h, half, top)
        entry = 0
        if leaves > 1:
            entry = count_above(chunk + HULL_CHUNK_SLOPE + 8, leaves - 1, slope)
        number = load_i32(chunk + HULL_CHUNK_LEAF + 4 * entry)
        count = load_i32(chunk + HULL_CHUNK_COUNT + 4 * entry)
        leaf = 0
        if number >= 0:
            leaf = hull_leaf(h, number)
        is_first = top == 0 and entry == 0
        is_last = top == tops - 1 and entry == leaves - 1
        place = ((top << HULL_FAN_SHIFT) + entry) << HULL_FAN_SHIFT
    if leaf != 0:
        within = count_rising(leaf + HULL_LEAF_X, leaf + HULL_LEAF_Y, count - 1, qx, qy)
        store_i64(h + HULL_NEAR, within)
        if (within > 0 or is_first) and (within < count - 1 or is_last):
            sign = -1
            if within < count - 1:
                sign = _hull_leaf_rise(leaf, qx, qy, within, scratch)
            if sign <= 0 and (within == 0 or _hull_leaf_rise(leaf, qx, qy, within - 1, scratch) > 0):
                at = leaf + HULL_LEAF_GROUP + 8 * within
                position = load_i32(leaf + HULL_LEAF_POSITION + 4 * within)
                group = load_i32(at)
                if sign < 0 and group < 0:
                    return position
                store_i64(parts, group if group >= 0 else ~position)
                if sign < 0:
                    return -1
                group = load_i32(at + 8)
                if group < 0:
                    group = ~load_i32(leaf + HULL_LEAF_POSITION + 4 * within + 4)
                store_i64(parts + 8, group)
                edge = load_i32(at + 4)
                if edge < 0:
                    return -2
                store_i64(parts + 16, edge)
                return -3
        place += within
    else:
        low = 0
        high = count - 1
        while low < high:
            middle = (low + high) >> 1
            here, y = hull_point(h, half, keys, place + middle)
            there, y1 = hull_point(h, half, keys, place + middle + 1)
            if qx * (there - here) + qy * (y1 - y) > 0.0:
                low = middle + 1
            else:
                high = middle
        place += low
    place, tied = _hull_walk(h, half, keys, qx, qy, place, scratch)
    store_i64(parts, _hull_part(h, half, place))
    if not tied:
        return -1
    store_i64(parts + 8, _hull_part(h, half, hull_place_after(h, half, place)))
    edge = hull_edge_group(h, half, place)
    if edge < 0:
        return -2
    store_i64(parts + 16, edge)
    return -3
