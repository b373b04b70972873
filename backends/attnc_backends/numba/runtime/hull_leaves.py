"""The vertices of one half: sorted leaves of up to HULL_FAN under sorted chunks under one sorted top.

A place is an int64: index of the chunk, of the leaf in it and of the vertex in that, HULL_FAN_SHIFT bits for
each of the last two; or -1 for "none". Places compare like the x of their vertices. An insertion or removal
spoils the places after it, not those before.
"""

from numba import njit

from attnc_backends.numba.runtime.hull_header import HULL_FAN, HULL_FAN_MASK, HULL_FAN_SHIFT, HULL_LOWER
from attnc_backends.numba.runtime.hull_layout import (
    HULL_CHUNK_BYTES,
    HULL_CHUNK_COUNT,
    HULL_CHUNK_LEAF,
    HULL_CHUNK_SLOPE,
    HULL_CHUNK_X,
    HULL_CHUNKS_AT,
    HULL_CHUNKS_FREE,
    HULL_CHUNKS_USED,
    HULL_HALF_BYTES,
    HULL_LEAF_BYTES,
    HULL_LEAF_GROUP,
    HULL_LEAF_POSITION,
    HULL_LEAF_X,
    HULL_LEAF_Y,
    HULL_LEAVES_AT,
    HULL_LEAVES_FREE,
    HULL_LEAVES_USED,
    HULL_ONLY,
    HULL_ONLY_COUNT,
    HULL_TOP_AT,
    HULL_TOP_CAPACITY,
    HULL_TOP_COUNT,
)
from attnc_backends.numba.runtime.lanes import count_at_most
from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    load_f64,
    load_i32,
    load_i64,
    out_of_line,
    store_f64,
    store_i32,
    store_i64,
)
from attnc_backends.numba.runtime.vector import vec_f32, vec_f64, vec_load, vec_store
from attnc_backends.numba.runtime.vector_lanes import vec_mask, vec_select

_HULL_HALF_FAN = HULL_FAN >> 1
_HULL_CHUNK_SHIFT = 2 * HULL_FAN_SHIFT


# --- where things lie ---


@njit(nogil=True, error_model="numpy")
def hull_top_count(h: int, half: int) -> int:
    """Number of chunks, none of them empty, nor any of their leaves."""
    return load_i64(h + half * HULL_HALF_BYTES + HULL_TOP_COUNT)


@njit(nogil=True, error_model="numpy")
def hull_top(h: int, half: int) -> int:
    """Address of the x of the first chunk."""
    return h + load_i64(h + half * HULL_HALF_BYTES + HULL_TOP_AT)


@njit(nogil=True, error_model="numpy")
def hull_top_slope(h: int, half: int) -> int:
    """Address of the slope of the first chunk."""
    return hull_top(h, half) + 8 * load_i64(h + half * HULL_HALF_BYTES + HULL_TOP_CAPACITY)


@njit(nogil=True, error_model="numpy")
def _hull_top_chunk(h: int, half: int, top: int) -> int:
    """Address of the number of chunk `top`."""
    return hull_top(h, half) + 16 * load_i64(h + half * HULL_HALF_BYTES + HULL_TOP_CAPACITY) + 4 * top


@njit(nogil=True, error_model="numpy")
def _hull_top_leaves(h: int, half: int, top: int) -> int:
    """Address of the count of leaves of chunk `top`."""
    return hull_top(h, half) + 20 * load_i64(h + half * HULL_HALF_BYTES + HULL_TOP_CAPACITY) + 4 * top


@njit(nogil=True, error_model="numpy")
def hull_chunk(h: int, half: int, top: int) -> int:
    """Address of chunk `top` of a half."""
    number = load_i32(_hull_top_chunk(h, half, top))
    return h + load_i64(h + HULL_CHUNKS_AT) + number * HULL_CHUNK_BYTES


@njit(nogil=True, error_model="numpy")
def hull_chunk_leaves(h: int, half: int, top: int) -> int:
    """Number of leaves of chunk `top` of a half."""
    return load_i32(_hull_top_leaves(h, half, top))


@njit(nogil=True, error_model="numpy")
def hull_leaf(h: int, leaf: int) -> int:
    """Address of leaf `leaf`, which lies in the region."""
    return h + load_i64(h + HULL_LEAVES_AT) + leaf * HULL_LEAF_BYTES


@njit(nogil=True, error_model="numpy")
def _hull_place_leaf(h: int, half: int, place: int) -> int:
    """The leaf of a place: its number, or ~p for the positions from p on."""
    entry = (place >> HULL_FAN_SHIFT) & HULL_FAN_MASK
    return load_i32(hull_chunk(h, half, place >> _HULL_CHUNK_SHIFT) + HULL_CHUNK_LEAF + 4 * entry)


@njit(nogil=True, error_model="numpy")
def _hull_place_count(h: int, half: int, place: int) -> int:
    """The count of vertices of a place's leaf."""
    entry = (place >> HULL_FAN_SHIFT) & HULL_FAN_MASK
    return load_i32(hull_chunk(h, half, place >> _HULL_CHUNK_SHIFT) + HULL_CHUNK_COUNT + 4 * entry)


@njit(nogil=True, error_model="numpy")
def _hull_set_count(h: int, half: int, place: int, count: int) -> None:
    """Set the count of vertices of a place's leaf."""
    entry = (place >> HULL_FAN_SHIFT) & HULL_FAN_MASK
    store_i32(hull_chunk(h, half, place >> _HULL_CHUNK_SHIFT) + HULL_CHUNK_COUNT + 4 * entry, count)


@njit(nogil=True, error_model="numpy")
def hull_point(h: int, half: int, keys: int, place: int) -> tuple[float, float]:
    """The vertex at `place`, in the coordinates of the half."""
    leaf = _hull_place_leaf(h, half, place)
    within = place & HULL_FAN_MASK
    if leaf >= 0:
        at = hull_leaf(h, leaf) + 8 * within
        return load_f64(at + HULL_LEAF_X), load_f64(at + HULL_LEAF_Y)
    at = keys + 16 * (~leaf + within)
    y = load_f64(at + 8)
    return load_f64(at), (-y if half == HULL_LOWER else y)


@njit(nogil=True, error_model="numpy")
def hull_position(h: int, half: int, place: int) -> int:
    """The first position of the vertex at `place`."""
    leaf = _hull_place_leaf(h, half, place)
    within = place & HULL_FAN_MASK
    if leaf < 0:
        return ~leaf + within
    return load_i32(hull_leaf(h, leaf) + HULL_LEAF_POSITION + 4 * within)


@njit(nogil=True, error_model="numpy")
def hull_own_group(h: int, half: int, place: int) -> int:
    """The group of the keys that coincide with the vertex at `place`, or -1."""
    leaf = _hull_place_leaf(h, half, place)
    if leaf < 0:
        return -1
    return load_i32(hull_leaf(h, leaf) + HULL_LEAF_GROUP + 8 * (place & HULL_FAN_MASK))


@njit(nogil=True, error_model="numpy")
def hull_edge_group(h: int, half: int, place: int) -> int:
    """The group of the keys inside the edge from `place` to the next, or -1."""
    leaf = _hull_place_leaf(h, half, place)
    if leaf < 0:
        return -1
    return load_i32(hull_leaf(h, leaf) + HULL_LEAF_GROUP + 8 * (place & HULL_FAN_MASK) + 4)


@njit(nogil=True, error_model="numpy")
def hull_place_after(h: int, half: int, place: int) -> int:
    """The next place to the right, or -1. The place after -1 is the first."""
    if place < 0:
        return 0 if hull_top_count(h, half) > 0 else -1
    if (place & HULL_FAN_MASK) + 1 < _hull_place_count(h, half, place):
        return place + 1
    return _hull_leaf_after(h, half, place)


@njit(nogil=True, error_model="numpy")
def _hull_leaf_after(h: int, half: int, place: int) -> int:
    """The first place of the leaf after that of `place`, or -1."""
    top = place >> _HULL_CHUNK_SHIFT
    entry = (place >> HULL_FAN_SHIFT) & HULL_FAN_MASK
    if entry + 1 < hull_chunk_leaves(h, half, top):
        return (top << _HULL_CHUNK_SHIFT) + ((entry + 1) << HULL_FAN_SHIFT)
    return (top + 1) << _HULL_CHUNK_SHIFT if top + 1 < hull_top_count(h, half) else -1


@njit(nogil=True, error_model="numpy")
def hull_place_before(h: int, half: int, place: int) -> int:
    """The next place to the left, or -1."""
    if (place & HULL_FAN_MASK) != 0 or place <= 0:
        return place - 1 if place > 0 else -1
    top = place >> _HULL_CHUNK_SHIFT
    entry = ((place >> HULL_FAN_SHIFT) & HULL_FAN_MASK) - 1
    if entry < 0:
        top -= 1
        entry = hull_chunk_leaves(h, half, top) - 1
    place = (top << _HULL_CHUNK_SHIFT) + (entry << HULL_FAN_SHIFT)
    return place + _hull_place_count(h, half, place) - 1


@njit(nogil=True, error_model="numpy")
def hull_place_last(h: int, half: int) -> int:
    """The rightmost place, or -1."""
    top = hull_top_count(h, half) - 1
    if top < 0:
        return -1
    place = (top << _HULL_CHUNK_SHIFT) + ((hull_chunk_leaves(h, half, top) - 1) << HULL_FAN_SHIFT)
    return place + _hull_place_count(h, half, place) - 1


# --- finding a place by x ---


@njit(nogil=True, error_model="numpy")
def hull_top_at_most(xs: int, count: int, x: float) -> int:
    """How many of the sorted doubles at `xs` are at most `x`."""
    low = 0
    while count > HULL_FAN:
        # No branch: it could not be foreseen. A few are looked at twice.
        step = count >> 1
        low += step * int(load_f64(xs + 8 * (low + step)) <= x)
        count -= step
    return low + count_at_most(xs + 8 * low, count, x)


@njit(nogil=True, error_model="numpy")
def hull_locate(h: int, half: int, keys: int, x: float) -> int:
    """The place of the last vertex whose x is at most `x`, or -1. O(log n)."""
    out_of_line()
    tops = hull_top_count(h, half)
    if tops == 0:
        return -1
    top = 0
    if tops > 1:
        top = max(hull_top_at_most(hull_top(h, half), tops, x) - 1, 0)
    chunk = hull_chunk(h, half, top)
    leaves = hull_chunk_leaves(h, half, top)
    entry = 0
    if leaves > 1:
        entry = max(count_at_most(chunk + HULL_CHUNK_X, leaves, x) - 1, 0)
    leaf = load_i32(chunk + HULL_CHUNK_LEAF + 4 * entry)
    count = load_i32(chunk + HULL_CHUNK_COUNT + 4 * entry)
    place = (top << _HULL_CHUNK_SHIFT) + (entry << HULL_FAN_SHIFT)
    if leaf >= 0:
        return place + count_at_most(hull_leaf(h, leaf) + HULL_LEAF_X, count, x) - 1
    low = -1
    while count - low > 1:
        middle = (low + count) >> 1
        if load_f64(keys + 16 * (~leaf + middle)) <= x:
            low = middle
        else:
            count = middle
    return place + low


# --- memory of chunks and leaves ---


@njit(nogil=True, error_model="numpy")
def _hull_take(h: int, used: int, free: int, at: int, size: int) -> int:
    """A chunk or leaf from its free list, or the next unused one. A free one's first word names the next."""
    number = load_i64(h + free)
    if number >= 0:
        store_i64(h + free, load_i64(h + load_i64(h + at) + number * size))
    else:
        number = load_i64(h + used)
        store_i64(h + used, number + 1)
    return number


@njit(nogil=True, error_model="numpy")
def _hull_leaf_drop(h: int, leaf: int) -> None:
    """Return a leaf to the free list; one that is positions has no memory."""
    if leaf >= 0:
        store_i64(hull_leaf(h, leaf), load_i64(h + HULL_LEAVES_FREE))
        store_i64(h + HULL_LEAVES_FREE, leaf)


@njit(nogil=True, error_model="numpy")
def _hull_chunk_drop(h: int, half: int, top: int) -> None:
    """Return a chunk to the free list, without its leaves."""
    store_i64(hull_chunk(h, half, top), load_i64(h + HULL_CHUNKS_FREE))
    store_i64(h + HULL_CHUNKS_FREE, load_i32(_hull_top_chunk(h, half, top)))


@njit(nogil=True, error_model="numpy")
def _hull_top_shift(h: int, half: int, to: int, source: int) -> None:
    """Move the chunks from `source` on to index `to` of the top, and set its count to match."""
    count = hull_top_count(h, half)
    top = hull_top(h, half)
    capacity = load_i64(h + half * HULL_HALF_BYTES + HULL_TOP_CAPACITY)
    for column in range(0, 16, 8):
        at = top + column * capacity
        copy_bytes(at + 8 * to, at + 8 * source, 8 * (count - source))
    for column in range(16, 24, 4):
        at = top + column * capacity
        copy_bytes(at + 4 * to, at + 4 * source, 4 * (count - source))
    store_i64(h + half * HULL_HALF_BYTES + HULL_TOP_COUNT, count + to - source)


@njit(nogil=True, error_model="numpy")
def _hull_chunk_shift(chunk: int, to: int, source: int, end: int, target: int) -> None:
    """Move entries [source, end) of a chunk to index `to` of the chunk `target`."""
    for column in range(HULL_CHUNK_X, HULL_CHUNK_LEAF, 8 * HULL_FAN):
        copy_bytes(target + column + 8 * to, chunk + column + 8 * source, 8 * (end - source))
    for column in range(HULL_CHUNK_LEAF, HULL_CHUNK_BYTES, 4 * HULL_FAN):
        copy_bytes(target + column + 4 * to, chunk + column + 4 * source, 4 * (end - source))


@njit(nogil=True, error_model="numpy", forceinline=True)
def hull_leaf_shift(leaf: int, to: int, source: int, end: int, target: int) -> None:
    """Move vertices [source, end) of the leaf at `leaf` to index `to` of the leaf at `target`."""
    count = end - source
    copy_bytes(target + HULL_LEAF_X + 8 * to, leaf + HULL_LEAF_X + 8 * source, 8 * count)
    copy_bytes(target + HULL_LEAF_Y + 8 * to, leaf + HULL_LEAF_Y + 8 * source, 8 * count)
    copy_bytes(target + HULL_LEAF_POSITION + 4 * to, leaf + HULL_LEAF_POSITION + 4 * source, 4 * count)
    copy_bytes(target + HULL_LEAF_GROUP + 8 * to, leaf + HULL_LEAF_GROUP + 8 * source, 8 * count)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _hull_column_open(entries: int, moved: int) -> None:
    """Eight doubles, where the bits of `moved` are set each replaced by the one before it."""
    like = vec_f64(8)
    taken = vec_select(vec_mask(moved, like), vec_load(entries - 8, like), vec_load(entries, like))
    vec_store(entries, taken)


@njit(nogil=True, error_model="numpy", forceinline=True)
def hull_leaf_open(leaf: int, at: int, count: int) -> None:
    """Move vertices [at, count) of a leaf with room up by one. What lies before the leaf is read."""
    like = vec_f32(8)
    first = at & -8
    index = count & -8
    while index >= first:
        moved = (-2 << at) >> index
        _hull_column_open(leaf + HULL_LEAF_X + 8 * index, moved)
        _hull_column_open(leaf + HULL_LEAF_Y + 8 * index, moved)
        _hull_column_open(leaf + HULL_LEAF_GROUP + 8 * index, moved)
        here = leaf + HULL_LEAF_POSITION + 4 * index
        taken = vec_select(vec_mask(moved, like), vec_load(here - 4, like), vec_load(here, like))
        vec_store(here, taken)
        index -= 8


@njit(nogil=True, error_model="numpy")
def _hull_top_open(h: int, half: int, top: int) -> None:
    """Insert a new, still empty chunk at index `top`."""
    _hull_top_shift(h, half, top + 1, top)
    chunk = _hull_take(h, HULL_CHUNKS_USED, HULL_CHUNKS_FREE, HULL_CHUNKS_AT, HULL_CHUNK_BYTES)
    store_i32(_hull_top_chunk(h, half, top), chunk)
    store_i32(_hull_top_leaves(h, half, top), 0)


@njit(nogil=True, error_model="numpy")
def _hull_entry_open(h: int, half: int, place: int, leaf: int) -> int:
    """Insert `leaf`, still empty, as the leaf of `place`; the first place in it.

    `place` may name the entry after the last of its chunk. A full chunk is split evenly, except at the two
    ends of the half, where a new one is begun.
    """
    out_of_line()
    top = place >> _HULL_CHUNK_SHIFT
    entry = (place >> HULL_FAN_SHIFT) & HULL_FAN_MASK
    tops = hull_top_count(h, half)
    if entry == 0 and top > 0 and (top == tops or hull_chunk_leaves(h, half, top) == HULL_FAN):
        # The entry after the last of a full chunk comes as the first of the next.
        top -= 1
        entry = HULL_FAN
    if tops == 0:
        _hull_top_open(h, half, 0)
    elif hull_chunk_leaves(h, half, top) == HULL_FAN:
        if entry == HULL_FAN and top == tops - 1:
            top += 1
            entry = 0
            _hull_top_open(h, half, top)
        elif entry == 0 and top == 0:
            _hull_top_open(h, half, 0)
        else:
            _hull_top_open(h, half, top + 1)
            _hull_chunk_shift(
                hull_chunk(h, half, top), 0, _HULL_HALF_FAN, HULL_FAN, hull_chunk(h, half, top + 1)
            )
            store_i32(_hull_top_leaves(h, half, top), _HULL_HALF_FAN)
            store_i32(_hull_top_leaves(h, half, top + 1), HULL_FAN - _HULL_HALF_FAN)
            _hull_top_refresh(h, half, top + 1)
            if entry > _HULL_HALF_FAN:
                top += 1
                entry -= _HULL_HALF_FAN
    chunk = hull_chunk(h, half, top)
    leaves = hull_chunk_leaves(h, half, top)
    _hull_chunk_shift(chunk, entry + 1, entry, leaves, chunk)
    store_i32(chunk + HULL_CHUNK_LEAF + 4 * entry, leaf)
    store_i32(chunk + HULL_CHUNK_COUNT + 4 * entry, 0)
    store_i32(_hull_top_leaves(h, half, top), leaves + 1)
    return (top << _HULL_CHUNK_SHIFT) + (entry << HULL_FAN_SHIFT)


@njit(nogil=True, error_model="numpy")
def _hull_top_refresh(h: int, half: int, top: int) -> None:
    """Copy what a chunk's first leaf has into the top."""
    chunk = hull_chunk(h, half, top)
    store_f64(hull_top(h, half) + 8 * top, load_f64(chunk + HULL_CHUNK_X))
    store_f64(hull_top_slope(h, half) + 8 * top, load_f64(chunk + HULL_CHUNK_SLOPE))


@njit(nogil=True, error_model="numpy")
def hull_entry_refresh(h: int, half: int, keys: int, place: int) -> None:
    """Record the first x of a place's leaf, and the slope that leads there from the leaf before."""
    out_of_line()
    place &= ~HULL_FAN_MASK
    top = place >> _HULL_CHUNK_SHIFT
    entry = (place >> HULL_FAN_SHIFT) & HULL_FAN_MASK
    chunk = hull_chunk(h, half, top)
    x, y = hull_point(h, half, keys, place)
    store_f64(chunk + HULL_CHUNK_X + 8 * entry, x)
    if place > 0:
        x_before, y_before = hull_point(h, half, keys, hull_place_before(h, half, place))
        store_f64(chunk + HULL_CHUNK_SLOPE + 8 * entry, (y - y_before) / (x - x_before))
    if entry == 0:
        _hull_top_refresh(h, half, top)


# --- changes ---


@njit(nogil=True, error_model="numpy")
def hull_leaf_store(h: int, half: int, keys: int, place: int) -> int:
    """Address of a place's leaf, which is given memory if it has been positions so far. O(leaf)."""
    out_of_line()
    leaf = _hull_place_leaf(h, half, place)
    if leaf >= 0:
        return hull_leaf(h, leaf)
    number = _hull_take(h, HULL_LEAVES_USED, HULL_LEAVES_FREE, HULL_LEAVES_AT, HULL_LEAF_BYTES)
    at = hull_leaf(h, number)
    for within in range(_hull_place_count(h, half, place)):
        position = ~leaf + within
        y = load_f64(keys + 16 * position + 8)
        store_f64(at + HULL_LEAF_X + 8 * within, load_f64(keys + 16 * position))
        store_f64(at + HULL_LEAF_Y + 8 * within, -y if half == HULL_LOWER else y)
        store_i32(at + HULL_LEAF_POSITION + 4 * within, position)
        store_i64(at + HULL_LEAF_GROUP + 8 * within, -1)
    entry = (place >> HULL_FAN_SHIFT) & HULL_FAN_MASK
    store_i32(hull_chunk(h, half, place >> _HULL_CHUNK_SHIFT) + HULL_CHUNK_LEAF + 4 * entry, number)
    return at


@njit(nogil=True, error_model="numpy")
def hull_set_own_group(h: int, half: int, keys: int, place: int, group: int) -> None:
    """Set the group of the keys that coincide with the vertex at `place`."""
    leaf = hull_leaf_store(h, half, keys, place)
    store_i32(leaf + HULL_LEAF_GROUP + 8 * (place & HULL_FAN_MASK), group)


@njit(nogil=True, error_model="numpy")
def hull_set_edge_group(h: int, half: int, keys: int, place: int, group: int) -> None:
    """Set the group of the keys inside the edge from `place` to the next."""
    leaf = hull_leaf_store(h, half, keys, place)
    store_i32(leaf + HULL_LEAF_GROUP + 8 * (place & HULL_FAN_MASK) + 4, group)


@njit(nogil=True, error_model="numpy")
def hull_run_open(h: int, half: int, keys: int, position: int) -> None:
    """Make room at the end for `position`, a multiple of HULL_FAN, where all positions before are vertices.

    The new leaf has no memory; its count of vertices is right only after hull_run_close.
    """
    out_of_line()
    place = 0
    if position > 0:
        # All leaves are full, so places are positions.
        place = position
        _hull_set_count(h, half, place - HULL_FAN, HULL_FAN)
    place = _hull_entry_open(h, half, place, ~position)
    _hull_set_count(h, half, place, 1)
    hull_entry_refresh(h, half, keys, place)


@njit(nogil=True, error_model="numpy")
def hull_run_close(h: int, half: int, vertices: int) -> None:
    """Record the count of the last leaf of a half whose vertices are the first `vertices` positions."""
    _hull_set_count(h, half, vertices - 1, ((vertices - 1) & HULL_FAN_MASK) + 1)


@njit(nogil=True, error_model="numpy")
def _hull_remove_across(h: int, half: int, left: int, right: int) -> None:
    """Remove the vertices strictly between two places that do not share a leaf; -1 stands for the ends.

    Hints are left to the caller. O(leaf + chunk + leaves removed + chunks after a removed one).
    """
    out_of_line()
    left_top = -1
    left_entry = -1
    if left >= 0:
        left_top = left >> _HULL_CHUNK_SHIFT
        left_entry = (left >> HULL_FAN_SHIFT) & HULL_FAN_MASK
        _hull_set_count(h, half, left, (left & HULL_FAN_MASK) + 1)
    tops = hull_top_count(h, half)
    right_top = tops
    right_entry = 0
    if right >= 0:
        right_top = right >> _HULL_CHUNK_SHIFT
        right_entry = (right >> HULL_FAN_SHIFT) & HULL_FAN_MASK
        skip = right & HULL_FAN_MASK
        if skip > 0:
            leaf = _hull_place_leaf(h, half, right)
            count = _hull_place_count(h, half, right)
            if leaf >= 0:
                hull_leaf_shift(hull_leaf(h, leaf), 0, skip, count, hull_leaf(h, leaf))
            else:
                chunk = hull_chunk(h, half, right_top)
                store_i32(chunk + HULL_CHUNK_LEAF + 4 * right_entry, ~(~leaf + skip))
            _hull_set_count(h, half, right, count - skip)
    if left_top == right_top:
        if left_entry + 1 < right_entry:
            chunk = hull_chunk(h, half, left_top)
            leaves = hull_chunk_leaves(h, half, left_top)
            for entry in range(left_entry + 1, right_entry):
                _hull_leaf_drop(h, load_i32(chunk + HULL_CHUNK_LEAF + 4 * entry))
            _hull_chunk_shift(chunk, left_entry + 1, right_entry, leaves, chunk)
            store_i32(_hull_top_leaves(h, half, left_top), leaves - (right_entry - left_entry - 1))
        return
    for top in range(max(left_top, 0), min(right_top + 1, tops)):
        chunk = hull_chunk(h, half, top)
        leaves = hull_chunk_leaves(h, half, top)
        first = left_entry + 1 if top == left_top else 0
        last = right_entry if top == right_top else leaves
        for entry in range(first, last):
            _hull_leaf_drop(h, load_i32(chunk + HULL_CHUNK_LEAF + 4 * entry))
        if top == left_top:
            store_i32(_hull_top_leaves(h, half, top), left_entry + 1)
        elif top == right_top:
            if last > 0:
                _hull_chunk_shift(chunk, 0, last, leaves, chunk)
                store_i32(_hull_top_leaves(h, half, top), leaves - last)
                _hull_top_refresh(h, half, top)
        else:
            _hull_chunk_drop(h, half, top)
    if left_top + 1 < right_top:
        _hull_top_shift(h, half, left_top + 1, right_top)


@njit(nogil=True, error_model="numpy")
def _hull_leaf_open(h: int, half: int, place: int) -> int:
    """A new leaf with memory as the leaf of `place`; the first place in it."""
    leaf = _hull_take(h, HULL_LEAVES_USED, HULL_LEAVES_FREE, HULL_LEAVES_AT, HULL_LEAF_BYTES)
    return _hull_entry_open(h, half, place, leaf)


@njit(nogil=True, error_model="numpy")
def hull_replace_between(
    h: int, half: int, keys: int, left: int, right: int, x: float, y: float, position: int, edge: int
) -> None:
    """Put a vertex with edge group `edge` and no own group in place of all those strictly between two places.

    -1 stands for the ends. O(leaf), more when leaves are removed; a full leaf is split evenly, except at the
    two ends, where a new one is begun so that keys that arrive in order of x fill their leaves.
    """
    out_of_line()
    at = 0
    gone = 0
    if left >= 0 and right >= 0 and (left >> HULL_FAN_SHIFT) == (right >> HULL_FAN_SHIFT):
        gone = right - left - 1
    elif left >= 0 and right < 0 and _hull_leaf_after(h, half, left) < 0:
        gone = _hull_place_count(h, half, left) - (left & HULL_FAN_MASK) - 1
    elif left < 0 and right >= 0 and (right >> HULL_FAN_SHIFT) == 0:
        gone = right
    else:
        _hull_remove_across(h, half, left, right)
    place = 0
    if left >= 0:
        place = left & ~HULL_FAN_MASK
        at = (left & HULL_FAN_MASK) + 1
    if hull_top_count(h, half) == 0:
        _hull_leaf_open(h, half, 0)
    count = _hull_place_count(h, half, place)
    if count == HULL_FAN and gone == 0:
        if at == HULL_FAN and _hull_leaf_after(h, half, place) < 0:
            place = _hull_leaf_open(h, half, place + HULL_FAN)
            at = 0
        elif at == 0:
            place = _hull_leaf_open(h, half, place)
        else:
            hull_leaf_store(h, half, keys, place)
            other = _hull_leaf_open(h, half, place + HULL_FAN)
            place = hull_place_before(h, half, other) & ~HULL_FAN_MASK
            source = hull_leaf(h, _hull_place_leaf(h, half, place))
            target = hull_leaf(h, _hull_place_leaf(h, half, other))
            hull_leaf_shift(source, 0, _HULL_HALF_FAN, HULL_FAN, target)
            _hull_set_count(h, half, place, _HULL_HALF_FAN)
            _hull_set_count(h, half, other, HULL_FAN - _HULL_HALF_FAN)
            hull_entry_refresh(h, half, keys, other)
            if at > _HULL_HALF_FAN:
                place = other
                at -= _HULL_HALF_FAN
        count = _hull_place_count(h, half, place)
    leaf = hull_leaf_store(h, half, keys, place)
    if gone != 1:
        hull_leaf_shift(leaf, at + 1, at + gone, count, leaf)
        _hull_set_count(h, half, place, count + 1 - gone)
    store_f64(leaf + HULL_LEAF_X + 8 * at, x)
    store_f64(leaf + HULL_LEAF_Y + 8 * at, y)
    store_i32(leaf + HULL_LEAF_POSITION + 4 * at, position)
    store_i32(leaf + HULL_LEAF_GROUP + 8 * at, -1)
    store_i32(leaf + HULL_LEAF_GROUP + 8 * at + 4, edge)
    if at == 0:
        hull_entry_refresh(h, half, keys, place)
    if at == count - gone or (right >= 0 and (right & HULL_FAN_MASK) == 0):
        after = _hull_leaf_after(h, half, place)
        if after >= 0:
            hull_entry_refresh(h, half, keys, after)


@njit(nogil=True, error_model="numpy")
def hull_note_only(h: int, half: int) -> None:
    """Record whether the half is a single leaf with memory. To be called after any change of leaves."""
    only = 0
    count = 0
    if hull_top_count(h, half) == 1 and hull_chunk_leaves(h, half, 0) == 1:
        chunk = hull_chunk(h, half, 0)
        leaf = load_i32(chunk + HULL_CHUNK_LEAF)
        if leaf >= 0:
            only = hull_leaf(h, leaf) - h
            count = chunk + HULL_CHUNK_COUNT - h
    store_i64(h + half * HULL_HALF_BYTES + HULL_ONLY, only)
    store_i64(h + half * HULL_HALF_BYTES + HULL_ONLY_COUNT, count)
