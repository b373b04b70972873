"""The vertices of one half: a sorted list in blocks of up to HULL_BLOCK under a sorted directory.

A place is an int64: directory index << HULL_BLOCK_SHIFT | index in the block, or -1 for "none". Places
compare like the x of their vertices. An insertion or removal spoils the places after it, not those before.
"""

from numba import njit

from attnc_backends.numba.runtime.hull_layout import (
    HULL_BLOCK,
    HULL_BLOCK_BYTES,
    HULL_BLOCK_MASK,
    HULL_BLOCK_SHIFT,
    HULL_BLOCKS_AT,
    HULL_BLOCKS_FREE,
    HULL_BLOCKS_USED,
    HULL_DIRECTORY_AT,
    HULL_DIRECTORY_COUNT,
    HULL_ENTRY_BLOCK,
    HULL_ENTRY_BYTES,
    HULL_ENTRY_COUNT,
    HULL_POINT_X,
    HULL_POINT_Y,
    HULL_VERTEX_BYTES,
    HULL_VERTEX_EDGE,
    HULL_VERTEX_GROUP,
    HULL_VERTEX_POSITION,
)
from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    load_f64,
    load_i32,
    load_i64,
    store_f64,
    store_i32,
    store_i64,
)


@njit(nogil=True, error_model="numpy")
def hull_directory(h: int, half: int) -> int:
    """Address of the first directory entry."""
    return h + load_i64(h + HULL_DIRECTORY_AT + 8 * half)


@njit(nogil=True, error_model="numpy")
def hull_directory_count(h: int, half: int) -> int:
    """Number of live blocks, none of them empty."""
    return load_i64(h + HULL_DIRECTORY_COUNT + 8 * half)


@njit(nogil=True, error_model="numpy")
def hull_block(h: int, block: int) -> int:
    """Address of the first vertex of block `block`."""
    return h + load_i64(h + HULL_BLOCKS_AT) + block * HULL_BLOCK_BYTES


@njit(nogil=True, error_model="numpy")
def hull_vertex(h: int, half: int, place: int) -> int:
    """Address of the vertex at `place`."""
    entry = hull_directory(h, half) + (place >> HULL_BLOCK_SHIFT) * HULL_ENTRY_BYTES
    block = hull_block(h, load_i32(entry + HULL_ENTRY_BLOCK))
    return block + (place & HULL_BLOCK_MASK) * HULL_VERTEX_BYTES


@njit(nogil=True, error_model="numpy")
def hull_place_after(h: int, half: int, place: int) -> int:
    """The next place to the right, or -1. The place after -1 is the first."""
    if place < 0:
        return 0 if hull_directory_count(h, half) > 0 else -1
    index = place >> HULL_BLOCK_SHIFT
    entry = hull_directory(h, half) + index * HULL_ENTRY_BYTES
    if (place & HULL_BLOCK_MASK) + 1 < load_i32(entry + HULL_ENTRY_COUNT):
        return place + 1
    return (index + 1) << HULL_BLOCK_SHIFT if index + 1 < hull_directory_count(h, half) else -1


@njit(nogil=True, error_model="numpy")
def hull_place_before(h: int, half: int, place: int) -> int:
    """The next place to the left, or -1."""
    if (place & HULL_BLOCK_MASK) != 0 or place <= 0:
        return place - 1 if place > 0 else -1
    index = (place >> HULL_BLOCK_SHIFT) - 1
    entry = hull_directory(h, half) + index * HULL_ENTRY_BYTES
    return (index << HULL_BLOCK_SHIFT) + load_i32(entry + HULL_ENTRY_COUNT) - 1


@njit(nogil=True, error_model="numpy")
def _hull_last_at_most(points: int, stride: int, count: int, x: float) -> int:
    """Index of the last of `count` points, sorted by x and `stride` bytes apart, with x at most `x`.

    The first one must be such a point. The last is tried first: keys often arrive in order of x.
    """
    high = count - 1
    if load_f64(points + high * stride + HULL_POINT_X) <= x:
        return high
    low = 0
    while high - low > 1:
        middle = (low + high) >> 1
        if load_f64(points + middle * stride + HULL_POINT_X) <= x:
            low = middle
        else:
            high = middle
    return low


@njit(nogil=True, error_model="numpy")
def hull_locate(h: int, half: int, x: float) -> int:
    """The place of the last vertex whose x is at most `x`, or -1. O(log n); O(1) at the right end."""
    count = hull_directory_count(h, half)
    directory = hull_directory(h, half)
    if count == 0 or x < load_f64(directory + HULL_POINT_X):
        return -1
    index = _hull_last_at_most(directory, HULL_ENTRY_BYTES, count, x)
    entry = directory + index * HULL_ENTRY_BYTES
    vertices = hull_block(h, load_i32(entry + HULL_ENTRY_BLOCK))
    within = _hull_last_at_most(vertices, HULL_VERTEX_BYTES, load_i32(entry + HULL_ENTRY_COUNT), x)
    return (index << HULL_BLOCK_SHIFT) + within


@njit(nogil=True, error_model="numpy")
def _hull_block_new(h: int) -> int:
    """A block from the free list, or the next unused one. A free block's first word names the next free."""
    block = load_i64(h + HULL_BLOCKS_FREE)
    if block >= 0:
        store_i64(h + HULL_BLOCKS_FREE, load_i64(hull_block(h, block)))
    else:
        block = load_i64(h + HULL_BLOCKS_USED)
        store_i64(h + HULL_BLOCKS_USED, block + 1)
    return block


@njit(nogil=True, error_model="numpy")
def _hull_block_drop(h: int, block: int) -> None:
    """Return a block to the free list."""
    store_i64(hull_block(h, block), load_i64(h + HULL_BLOCKS_FREE))
    store_i64(h + HULL_BLOCKS_FREE, block)


@njit(nogil=True, error_model="numpy")
def _hull_entry_refresh(h: int, entry: int, count: int) -> None:
    """Record a block's new vertex count and copy its first vertex into its entry."""
    vertices = hull_block(h, load_i32(entry + HULL_ENTRY_BLOCK))
    store_i32(entry + HULL_ENTRY_COUNT, count)
    if count > 0:
        store_f64(entry + HULL_POINT_X, load_f64(vertices + HULL_POINT_X))
        store_f64(entry + HULL_POINT_Y, load_f64(vertices + HULL_POINT_Y))


@njit(nogil=True, error_model="numpy")
def _hull_entry_open(h: int, half: int, index: int) -> int:
    """Insert a directory entry with a new, still empty block at `index`; the address of the entry.

    Moves the entries after it: 24 bytes per block, once in at least 64 insertions.
    """
    count = hull_directory_count(h, half)
    entry = hull_directory(h, half) + index * HULL_ENTRY_BYTES
    copy_bytes(entry + HULL_ENTRY_BYTES, entry, (count - index) * HULL_ENTRY_BYTES)
    store_i32(entry + HULL_ENTRY_BLOCK, _hull_block_new(h))
    store_i32(entry + HULL_ENTRY_COUNT, 0)
    store_i64(h + HULL_DIRECTORY_COUNT + 8 * half, count + 1)
    return entry


@njit(nogil=True, error_model="numpy")
def hull_remove_between(h: int, half: int, left: int, right: int) -> None:
    """Remove the vertices strictly between two places; -1 stands for the ends. `left` stays valid.

    O(block + directory entries after a removed block).
    """
    count = hull_directory_count(h, half)
    directory = hull_directory(h, half)
    first = 0 if left < 0 else left >> HULL_BLOCK_SHIFT
    first_keep = 0 if left < 0 else (left & HULL_BLOCK_MASK) + 1
    last = count if right < 0 else right >> HULL_BLOCK_SHIFT
    last_skip = 0 if right < 0 else right & HULL_BLOCK_MASK
    if last < count and (last_skip > 0 and (first < last or last_skip > first_keep)):
        # The block of `right` loses its vertices before `right`, down to those up to `left`.
        entry = directory + last * HULL_ENTRY_BYTES
        vertices = hull_block(h, load_i32(entry + HULL_ENTRY_BLOCK))
        keep = first_keep if first == last else 0
        rest = load_i32(entry + HULL_ENTRY_COUNT) - last_skip
        target = vertices + keep * HULL_VERTEX_BYTES
        copy_bytes(target, vertices + last_skip * HULL_VERTEX_BYTES, rest * HULL_VERTEX_BYTES)
        _hull_entry_refresh(h, entry, keep + rest)
    if first >= last:
        return
    if first_keep > 0:
        store_i32(directory + first * HULL_ENTRY_BYTES + HULL_ENTRY_COUNT, first_keep)
        first += 1
    if first < last:
        for index in range(first, last):
            _hull_block_drop(h, load_i32(directory + index * HULL_ENTRY_BYTES + HULL_ENTRY_BLOCK))
        moved = (count - last) * HULL_ENTRY_BYTES
        copy_bytes(directory + first * HULL_ENTRY_BYTES, directory + last * HULL_ENTRY_BYTES, moved)
        store_i64(h + HULL_DIRECTORY_COUNT + 8 * half, count - (last - first))


@njit(nogil=True, error_model="numpy")
def hull_insert_after(h: int, half: int, left: int, x: float, y: float, position: int, edge: int) -> None:
    """Insert a vertex to the right of place `left` (-1: in front), with edge group `edge` and no own group.

    O(block); a full block is split evenly, except at the two ends, where a new one is begun so that keys
    that arrive in order of x fill their blocks.
    """
    count = hull_directory_count(h, half)
    index = 0 if left < 0 else left >> HULL_BLOCK_SHIFT
    at = 0 if left < 0 else (left & HULL_BLOCK_MASK) + 1
    if count == 0:
        entry = _hull_entry_open(h, half, index)
    else:
        entry = hull_directory(h, half) + index * HULL_ENTRY_BYTES
        if load_i32(entry + HULL_ENTRY_COUNT) == HULL_BLOCK:
            if at == HULL_BLOCK and index == count - 1:
                entry = _hull_entry_open(h, half, count)
                at = 0
            elif at == 0:
                entry = _hull_entry_open(h, half, index)
            else:
                other = _hull_entry_open(h, half, index + 1)
                half_block = HULL_BLOCK >> 1
                source = hull_block(h, load_i32(entry + HULL_ENTRY_BLOCK)) + half_block * HULL_VERTEX_BYTES
                target = hull_block(h, load_i32(other + HULL_ENTRY_BLOCK))
                copy_bytes(target, source, (HULL_BLOCK - half_block) * HULL_VERTEX_BYTES)
                store_i32(entry + HULL_ENTRY_COUNT, half_block)
                _hull_entry_refresh(h, other, HULL_BLOCK - half_block)
                if at > half_block:
                    entry = other
                    at -= half_block
    used = load_i32(entry + HULL_ENTRY_COUNT)
    vertex = hull_block(h, load_i32(entry + HULL_ENTRY_BLOCK)) + at * HULL_VERTEX_BYTES
    copy_bytes(vertex + HULL_VERTEX_BYTES, vertex, (used - at) * HULL_VERTEX_BYTES)
    store_f64(vertex + HULL_POINT_X, x)
    store_f64(vertex + HULL_POINT_Y, y)
    store_i64(vertex + HULL_VERTEX_POSITION, position)
    store_i32(vertex + HULL_VERTEX_GROUP, -1)
    store_i32(vertex + HULL_VERTEX_EDGE, edge)
    _hull_entry_refresh(h, entry, used + 1)
