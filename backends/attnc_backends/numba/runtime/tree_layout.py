"""Where everything lies inside a tree region, and the boxes of its nodes.

A region holds the keys of one head, as doubles, in *slots*. Leaves are runs of TREE_LEAF slots, and every
level above groups eight neighbours of the level below, so that node `i` of a level has the children `8 i` to
`8 i + 7` and no links are needed. Keys that lie near each other are brought into neighbouring slots by
`tree_build.py`; a box is right whatever lies in its slots.

    header    counts, largest magnitude, lowest bit, section offsets
    leaves    per leaf one column of TREE_LEAF doubles for each coordinate
    order     the position of the key in each slot, int32
    levels    per group of eight nodes: columns of eight doubles, see below
    temporary room to turn a leaf round, and a stack

A region refers to itself by offsets only. Sections are sized by capacity; what is not used is not touched.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    load_f64,
    load_i32,
    load_i64,
    store_f64,
    store_i64,
)
from attnc_backends.numba.runtime.vector import (
    vec_f64,
    vec_fill,
    vec_load,
    vec_max,
    vec_min,
    vec_muladd,
    vec_sub,
)
from attnc_backends.numba.runtime.vector_lanes import vec_bottom, vec_sum, vec_top

TREE_LEAF_SHIFT = 6
TREE_LEAF = 1 << TREE_LEAF_SHIFT
TREE_COLUMN = 8 * TREE_LEAF
"""Bytes from one coordinate of a key to the next in a leaf."""

TREE_CAPACITY = 0
TREE_WIDTH = 8
TREE_COUNT = 16
"""How many keys are in the region; they are those at the first positions."""
TREE_STOP = 24
"""The first position whose key is not finite, -1 while there is none; nothing from it on is taken in."""
TREE_SIZE = 32
"""The largest magnitude of an element."""
TREE_LOWEST = 40
"""The exponent of the lowest bit of any element, TREE_NO_BIT while all are zero."""
TREE_LEAVES_AT = 48
TREE_ORDER_AT = 56
TREE_TEMPORARY_AT = 64
TREE_DEPTH = 72
"""How many levels there are; the highest is one group."""
TREE_LEVELS_AT = 80
_TREE_HEADER_BYTES = 256

TREE_NO_BIT = 2000

# A group: columns of eight, one for each node. For each coordinate the lower ends, the upper ends and the
# centres; then largest magnitudes, smallest and largest positions, the largest distance of a key from the
# origin, and from the centre. A node that holds nothing has the box that no key is in.
TREE_LOW = 0
TREE_HIGH = 64
TREE_CENTRE = 128
TREE_GROUP_COLUMN = 192
TREE_MOST = 0
TREE_EARLIEST = 64
TREE_LATEST = 128
TREE_NORM = 192
TREE_RADIUS = 256
_TREE_GROUP_MORE = 320
_TREE_STACK_BYTES = 2048

_TREE_TINY_SQUARE = 2.0**-1000
"""Added to a sum of squares: more than underflow can have taken away."""


@njit(nogil=True, error_model="numpy")
def _tree_leaves(capacity: int) -> int:
    """Leaves that `capacity` keys need."""
    return (max(capacity, 1) + TREE_LEAF - 1) >> TREE_LEAF_SHIFT


@njit(nogil=True, error_model="numpy")
def tree_group_bytes(width: int) -> int:
    """Bytes of a group of eight nodes."""
    return TREE_GROUP_COLUMN * width + _TREE_GROUP_MORE


@njit(nogil=True, error_model="numpy")
def tree_bytes(capacity: int, width: int) -> int:
    """Bytes of a region for `capacity` keys of `width` elements."""
    leaves = _tree_leaves(capacity)
    size = _TREE_HEADER_BYTES + leaves * TREE_COLUMN * width + leaves * 4 * TREE_LEAF
    nodes = leaves
    while True:
        nodes = (nodes + 7) >> 3
        size += nodes * tree_group_bytes(width)
        if nodes == 1:
            break
    return size + TREE_COLUMN * width + _TREE_STACK_BYTES


@njit(nogil=True, error_model="numpy")
def tree_start(r: int, capacity: int, width: int) -> None:
    """An empty region. O(1)."""
    leaves = _tree_leaves(capacity)
    store_i64(r + TREE_CAPACITY, capacity)
    store_i64(r + TREE_WIDTH, width)
    store_i64(r + TREE_COUNT, 0)
    store_i64(r + TREE_STOP, -1)
    store_f64(r + TREE_SIZE, 0.0)
    store_i64(r + TREE_LOWEST, TREE_NO_BIT)
    at = _TREE_HEADER_BYTES
    store_i64(r + TREE_LEAVES_AT, at)
    at += leaves * TREE_COLUMN * width
    store_i64(r + TREE_ORDER_AT, at)
    at += leaves * 4 * TREE_LEAF
    depth = 0
    nodes = leaves
    while True:
        nodes = (nodes + 7) >> 3
        store_i64(r + TREE_LEVELS_AT + 8 * depth, at)
        at += nodes * tree_group_bytes(width)
        depth += 1
        if nodes == 1:
            break
    store_i64(r + TREE_DEPTH, depth)
    store_i64(r + TREE_TEMPORARY_AT, at)


@njit(nogil=True, error_model="numpy")
def tree_move(source: int, r: int, capacity: int) -> None:
    """Take the region at `source` over to `r`, with room for `capacity` keys, no fewer."""
    width = load_i64(source + TREE_WIDTH)
    count = load_i64(source + TREE_COUNT)
    tree_start(r, capacity, width)
    for field in (TREE_COUNT, TREE_STOP, TREE_SIZE, TREE_LOWEST):
        store_i64(r + field, load_i64(source + field))
    if count == 0:
        return
    nodes = _tree_leaves(count)
    copy_bytes(
        r + load_i64(r + TREE_LEAVES_AT),
        source + load_i64(source + TREE_LEAVES_AT),
        nodes * TREE_COLUMN * width,
    )
    copy_bytes(
        r + load_i64(r + TREE_ORDER_AT), source + load_i64(source + TREE_ORDER_AT), nodes * 4 * TREE_LEAF
    )
    depth = load_i64(source + TREE_DEPTH)
    for level in range(depth):
        nodes = (nodes + 7) >> 3
        copy_bytes(
            r + load_i64(r + TREE_LEVELS_AT + 8 * level),
            source + load_i64(source + TREE_LEVELS_AT + 8 * level),
            nodes * tree_group_bytes(width),
        )
    # The levels that only the larger region has are one node each so far.
    for level in range(depth, load_i64(r + TREE_DEPTH)):
        _tree_join(r, level, 0, 0)


@njit(nogil=True, error_model="numpy")
def tree_leaf(r: int, leaf: int) -> int:
    """Address of a leaf."""
    return r + load_i64(r + TREE_LEAVES_AT) + leaf * TREE_COLUMN * load_i64(r + TREE_WIDTH)


@njit(nogil=True, error_model="numpy")
def tree_key(r: int, slot: int) -> int:
    """Address of the first coordinate of the key in a slot; the others follow TREE_COLUMN bytes apart."""
    return tree_leaf(r, slot >> TREE_LEAF_SHIFT) + 8 * (slot & (TREE_LEAF - 1))


@njit(nogil=True, error_model="numpy")
def tree_position(r: int, slot: int) -> int:
    """The position of the key in a slot."""
    return load_i32(r + load_i64(r + TREE_ORDER_AT) + 4 * slot)


@njit(nogil=True, error_model="numpy")
def tree_node(r: int, level: int, node: int) -> int:
    """Address of a node: that of its first lower end, columns of its group being 64 bytes apart."""
    group = tree_group_bytes(load_i64(r + TREE_WIDTH))
    return r + load_i64(r + TREE_LEVELS_AT + 8 * level) + (node >> 3) * group + 8 * (node & 7)


@njit(nogil=True, error_model="numpy")
def tree_begin(r: int, level: int, node: int) -> None:
    """Let a node hold nothing. The first of a group begins for all eight."""
    width = load_i64(r + TREE_WIDTH)
    first = tree_node(r, level, node)
    for lane in range(8 if node & 7 == 0 else 1):
        at = first + 8 * lane
        for c in range(width):
            store_f64(at + TREE_GROUP_COLUMN * c + TREE_LOW, math.inf)
            store_f64(at + TREE_GROUP_COLUMN * c + TREE_HIGH, -math.inf)
            store_f64(at + TREE_GROUP_COLUMN * c + TREE_CENTRE, 0.0)
        more = at + TREE_GROUP_COLUMN * width
        store_f64(more + TREE_MOST, 0.0)
        store_f64(more + TREE_EARLIEST, math.inf)
        store_f64(more + TREE_LATEST, -math.inf)
        store_f64(more + TREE_NORM, 0.0)
        store_f64(more + TREE_RADIUS, 0.0)


@njit(nogil=True, error_model="numpy")
def tree_length(squares: float, width: int) -> float:
    """At least the square root of a sum of `width` squares, of which the rounded sum is given."""
    return math.sqrt(squares * (1.0 + (width + 8) * 2.0**-52) + _TREE_TINY_SQUARE) * (1.0 + 2.0**-50)


@njit(nogil=True, error_model="numpy")
def _tree_far(r: int, first: int, last: int, at: int) -> float:
    """The largest sum of squared distances of a key in some leaves from the centre of the node at `at`."""
    width = load_i64(r + TREE_WIDTH)
    like = vec_f64(8)
    most = like
    for leaf in range(first, last):
        keys = tree_leaf(r, leaf)
        for lane in range(0, TREE_COLUMN, 64):
            total = like
            for c in range(width):
                centre = vec_fill(load_f64(at + TREE_GROUP_COLUMN * c + TREE_CENTRE), like)
                x = vec_sub(vec_load(keys + TREE_COLUMN * c + lane, like), centre)
                total = vec_muladd(x, x, total)
            # A sum that overflows is infinite, never NaN.
            most = vec_max(most, total)
    return vec_top(most)


@njit(nogil=True, error_model="numpy")
def _tree_join(r: int, level: int, node: int, leaves: int) -> None:
    """Set a node above the leaves from its children; there are `leaves` leaves, or 0 if its radius may be
    infinite.
    """
    if node & 7 == 0:
        tree_begin(r, level, node)
    width = load_i64(r + TREE_WIDTH)
    like = vec_f64(8)
    below = tree_node(r, level - 1, 8 * node)
    at = tree_node(r, level, node)
    more = at + TREE_GROUP_COLUMN * width
    inner = below + TREE_GROUP_COLUMN * width
    children = 0
    while children < 8 and load_f64(inner + TREE_EARLIEST + 8 * children) < math.inf:
        children += 1
    for c in range(width):
        column = TREE_GROUP_COLUMN * c
        store_f64(at + column + TREE_LOW, vec_bottom(vec_load(below + column + TREE_LOW, like)))
        store_f64(at + column + TREE_HIGH, vec_top(vec_load(below + column + TREE_HIGH, like)))
        centre = 0.0
        for lane in range(children):
            centre += load_f64(below + column + TREE_CENTRE + 8 * lane) / children
        store_f64(at + column + TREE_CENTRE, centre)
    store_f64(more + TREE_MOST, vec_top(vec_load(inner + TREE_MOST, like)))
    store_f64(more + TREE_EARLIEST, vec_bottom(vec_load(inner + TREE_EARLIEST, like)))
    store_f64(more + TREE_LATEST, vec_top(vec_load(inner + TREE_LATEST, like)))
    store_f64(more + TREE_NORM, vec_top(vec_load(inner + TREE_NORM, like)))
    first = node << (3 * level)
    last = min(leaves, (node + 1) << (3 * level))
    radius = math.inf
    if leaves > 0:
        radius = tree_length(_tree_far(r, first, last, at), width)
    store_f64(more + TREE_RADIUS, radius)


@njit(nogil=True, error_model="numpy")
def _tree_close_leaf(r: int, leaf: int) -> None:
    """Set a leaf's node from its keys. Slots past the last key repeat one of the leaf's keys."""
    if leaf & 7 == 0:
        tree_begin(r, 0, leaf)
    width = load_i64(r + TREE_WIDTH)
    like = vec_f64(8)
    keys = tree_leaf(r, leaf)
    at = tree_node(r, 0, leaf)
    more = at + TREE_GROUP_COLUMN * width
    size = 0.0
    for c in range(width):
        low = vec_load(keys + TREE_COLUMN * c, like)
        high = low
        for lane in range(64, TREE_COLUMN, 64):
            x = vec_load(keys + TREE_COLUMN * c + lane, like)
            low = vec_min(low, x)
            high = vec_max(high, x)
        least = vec_bottom(low)
        most = vec_top(high)
        store_f64(at + TREE_GROUP_COLUMN * c + TREE_LOW, least)
        store_f64(at + TREE_GROUP_COLUMN * c + TREE_HIGH, most)
        store_f64(at + TREE_GROUP_COLUMN * c + TREE_CENTRE, 0.0)
        size = max(size, abs(least), abs(most))
    store_f64(more + TREE_MOST, size)
    # The centre is still the origin.
    store_f64(more + TREE_NORM, tree_length(_tree_far(r, leaf, leaf + 1, at), width))
    for c in range(width):
        total = like
        for lane in range(0, TREE_COLUMN, 64):
            x = vec_load(keys + TREE_COLUMN * c + lane, like)
            total = vec_muladd(x, vec_fill(1.0 / TREE_LEAF, like), total)
        store_f64(at + TREE_GROUP_COLUMN * c + TREE_CENTRE, vec_sum(total))
    store_f64(more + TREE_RADIUS, tree_length(_tree_far(r, leaf, leaf + 1, at), width))
    first = leaf << TREE_LEAF_SHIFT
    earliest = tree_position(r, first)
    latest = earliest
    for slot in range(first + 1, min(first + TREE_LEAF, load_i64(r + TREE_COUNT))):
        position = tree_position(r, slot)
        earliest = min(earliest, position)
        latest = max(latest, position)
    store_f64(more + TREE_EARLIEST, earliest)
    store_f64(more + TREE_LATEST, latest)


@njit(nogil=True, error_model="numpy")
def tree_close(r: int, first: int, last: int) -> None:
    """Set the nodes of the leaves from `first` up to `last`, the last there is, and of all above them."""
    leaves = last
    for leaf in range(first, last):
        _tree_close_leaf(r, leaf)
    for level in range(1, load_i64(r + TREE_DEPTH)):
        first >>= 3
        last = (last + 7) >> 3
        for node in range(first, last):
            _tree_join(r, level, node, leaves)


@njit(nogil=True, error_model="numpy")
def tree_extend(r: int, slot: int) -> None:
    """Let the nodes around the key in a slot, the last used, contain it. Its position is the slot."""
    width = load_i64(r + TREE_WIDTH)
    key = tree_key(r, slot)
    square = 0.0
    size = 0.0
    for c in range(width):
        x = load_f64(key + TREE_COLUMN * c)
        square += x * x
        size = max(size, abs(x))
    norm = tree_length(square, width)
    for level in range(load_i64(r + TREE_DEPTH)):
        node = slot >> (TREE_LEAF_SHIFT + 3 * level)
        at = tree_node(r, level, node)
        begins = slot & ((TREE_LEAF << (3 * level)) - 1) == 0
        if begins:
            tree_begin(r, level, node)
        far = 0.0
        for c in range(width):
            x = load_f64(key + TREE_COLUMN * c)
            if begins:
                store_f64(at + TREE_CENTRE, x)
            away = x - load_f64(at + TREE_CENTRE)
            far += away * away
            store_f64(at + TREE_LOW, min(load_f64(at + TREE_LOW), x))
            store_f64(at + TREE_HIGH, max(load_f64(at + TREE_HIGH), x))
            at += TREE_GROUP_COLUMN
        store_f64(at + TREE_MOST, max(load_f64(at + TREE_MOST), size))
        store_f64(at + TREE_EARLIEST, min(load_f64(at + TREE_EARLIEST), slot))
        store_f64(at + TREE_LATEST, max(load_f64(at + TREE_LATEST), slot))
        store_f64(at + TREE_NORM, max(load_f64(at + TREE_NORM), norm))
        store_f64(at + TREE_RADIUS, max(load_f64(at + TREE_RADIUS), tree_length(far, width)))
