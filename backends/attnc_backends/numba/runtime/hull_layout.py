"""Where everything lies inside a hull region: header, tops, chunks, leaves, groups, next-links.

A region is one run of bytes that refers to itself only by offsets and indices, so it may be copied, moved or
written to disk as it is. Sections are sized by capacity; what a structure has not used yet is never touched.

    header       counts, extremes, section offsets, one record per half
    tops         one per half: the chunks in order
    chunks       up to HULL_FAN leaves each, in order; shared by both halves, as leaves are
    leaves       up to HULL_FAN vertices each
    groups       aggregates of tied keys; the first three are the two end columns and all keys
    next-links   with means only: one int32 per position and list kind
"""

import math

from numba import njit

from attnc_backends.numba.runtime.hull_header import (
    HULL_CAPACITY,
    HULL_COUNT,
    HULL_FAN,
    HULL_GROUP_BYTES,
    HULL_GROUPS_AT,
    HULL_LINK_KINDS,
    HULL_LINKS_AT,
    HULL_NEAR,
    HULL_ORDER,
    HULL_ORDER_LINE,
    HULL_ORDER_RUN,
    HULL_ORDER_STRICT,
    HULL_REPEAT,
    HULL_REPEAT_READY,
    HULL_TURN,
    HULL_WITH_MEAN,
)
from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    load_i64,
    store_f64,
    store_i64,
)

# Positions, groups, chunks and leaves are int32 where they are stored in bulk.
HULL_MAX_CAPACITY = (1 << 31) - 64

# The kinds of next-link after those of the halves: the columns and all keys.
HULL_LEFT = 2
HULL_RIGHT = 3
HULL_WHOLE = 4  # needs no links: its members are all positions

# The halves that are kept: from the first of these up to, not including, the second.
HULL_HALF_FROM = 128
HULL_HALF_UPTO = 136

HULL_EXTREME = 144  # two doubles, one per end column: the largest -x and the largest x

# For each half while keys are out of order (hull_inside): three vertices, the first, the highest known and
# the last; and an edge: the vertex at its left, the way from there to the vertex at its right, the x of that,
# and the group of the keys inside it (-1: no edge is known).
HULL_INNER = 160
HULL_INNER_BYTES = 96
HULL_INNER_TOP = HULL_INNER + 16
HULL_INNER_RIGHT = HULL_INNER + 32
HULL_INNER_EDGE = HULL_INNER + 48
HULL_INNER_EDGE_GROUP = HULL_INNER + 88

# The record of a half: where its top lies, how many chunks it has and may have. When the half is one leaf
# with memory, HULL_ONLY and HULL_ONLY_COUNT are the offsets of the leaf and of its count of vertices, else 0.
HULL_HALF = 352
HULL_HALF_BYTES = 40
HULL_TOP_AT = HULL_HALF
HULL_TOP_COUNT = HULL_HALF + 8
HULL_TOP_CAPACITY = HULL_HALF + 16
HULL_ONLY = HULL_HALF + 24
HULL_ONLY_COUNT = HULL_HALF + 32

HULL_WIDTH = 432
HULL_GROUPS_USED = 440
HULL_GROUPS_FREE = 448
HULL_LEAVES_USED = 456
HULL_LEAVES_FREE = 464
HULL_CHUNKS_USED = 472
HULL_CHUNKS_FREE = 480
HULL_LEAVES_AT = 488
HULL_CHUNKS_AT = 496
HULL_HEADER_BYTES = 512

# What hull_init may be told beside the sizes: keep means; leave a half out, which then nobody may ask for.
HULL_MEANS = 1
HULL_NO_UPPER = 2
HULL_NO_LOWER = 4


# A leaf: columns of HULL_FAN entries. Per vertex its point, the first position there, the group of keys that
# coincide with it (-1: none besides that position) and the group of keys strictly inside the edge to the
# next vertex (-1: none).
HULL_LEAF_X = 0
HULL_LEAF_Y = 8 * HULL_FAN
HULL_LEAF_POSITION = 16 * HULL_FAN
HULL_LEAF_GROUP = 20 * HULL_FAN  # group and edge alternate
HULL_LEAF_BYTES = 28 * HULL_FAN

# A chunk: columns, too. Per leaf the x of its first vertex, a hint: the rounded slope of the edge that leads
# to that vertex from the leaf before, the leaf, and its count of vertices. Leaf ~p stands for the vertices
# that are the positions from p on, which needs no memory: they are read where the keys lie.
HULL_CHUNK_X = 0
HULL_CHUNK_SLOPE = 8 * HULL_FAN
HULL_CHUNK_LEAF = 16 * HULL_FAN
HULL_CHUNK_COUNT = 20 * HULL_FAN
HULL_CHUNK_BYTES = 24 * HULL_FAN

# A top: columns of as many entries as there may be chunks; x and slope of the first leaf, the chunk, and its
# count of leaves.
HULL_TOP_ENTRY_BYTES = 24

# A group: first and last position; with means also the count, the ends of the linked list, how
# many of its members are summed and up to which, and, per value column, the sum as two doubles.
HULL_GROUP_FIRST = 0
HULL_GROUP_HEAD = 24
HULL_GROUP_SUMMED = 40
HULL_GROUP_UPTO = 48
HULL_GROUP_SUMS = 56
HULL_PLAIN_GROUP_BYTES = 16

# The fixed groups, in the order of their kinds: group g holds lists of kind HULL_LEFT + g. Each is the set of
# keys at the extreme of one function of the key: -x, x, and a constant.
HULL_LEFT_GROUP = 0
HULL_RIGHT_GROUP = 1
HULL_WHOLE_GROUP = 2
HULL_FIXED_GROUPS = 3


@njit(nogil=True, error_model="numpy")
def _hull_half_leaves(capacity: int) -> int:
    """The most leaves that one half can hold live at a time.

    A leaf is made by splitting a full one evenly, or by starting a new end leaf beside a full one. Let
    T = 32 * leaves + (vertices beyond 32 in each leaf) + (up to 32 vertices of the first leaf, and of the
    last). With one leaf T <= 128. With more, an insertion raises T by at most 1, a new leaf leaves it
    unchanged or lower and so does a removal, a freed end leaf included. Each position is inserted at most
    once in a half, so 32 * leaves <= T <= capacity + 128.
    """
    return min(capacity, capacity // 32 + 8)


@njit(nogil=True, error_model="numpy")
def _hull_half_chunks(capacity: int) -> int:
    """More chunks than one half can hold live at a time: they split as leaves do, so a quarter would do."""
    leaves = _hull_half_leaves(capacity)
    return min(leaves, leaves // 8 + 16)


@njit(nogil=True, error_model="numpy")
def _hull_lines(size: int) -> int:
    """`size` rounded up to whole cache lines."""
    return (size + 63) & -64


@njit(nogil=True, error_model="numpy")
def _hull_group_capacity(capacity: int) -> int:
    """The most groups alive at a time.

    Each group holds a key that no other group of its half holds. A key lies on both halves only at the two
    end columns, or when all keys are collinear, which is one edge and its two ends: three more groups.
    """
    return HULL_FIXED_GROUPS + capacity + 8


@njit(nogil=True, error_model="numpy")
def _hull_group_bytes(dv: int, flags: int) -> int:
    """Bytes of one group."""
    return HULL_GROUP_SUMS + 16 * dv if (flags & HULL_MEANS) != 0 else HULL_PLAIN_GROUP_BYTES


@njit(nogil=True, error_model="numpy")
def hull_bytes(capacity: int, dv: int, flags: int) -> int:
    """Bytes of a region for `capacity` positions and values of width `dv`; -1 when capacity is out of range.

    Linear in capacity. Most of it stays untouched unless nearly every key becomes a hull vertex.
    """
    if capacity < 0 or capacity > HULL_MAX_CAPACITY or dv < 0:
        return -1
    size = HULL_HEADER_BYTES + 2 * _hull_lines((_hull_half_chunks(capacity) + 8) * HULL_TOP_ENTRY_BYTES)
    size += 2 * _hull_half_chunks(capacity) * HULL_CHUNK_BYTES
    size += 2 * _hull_half_leaves(capacity) * HULL_LEAF_BYTES
    size += _hull_lines(_hull_group_capacity(capacity) * _hull_group_bytes(dv, flags))
    if (flags & HULL_MEANS) != 0:
        size += 4 * HULL_LINK_KINDS * capacity
    return size


@njit(nogil=True, error_model="numpy")
def hull_init(h: int, capacity: int, dv: int, flags: int) -> int:
    """Make the hull_bytes(capacity, dv, flags) bytes at `h`, of any content, an empty structure.

    O(1). Returns 0, or 1 when the arguments are out of range.
    """
    if hull_bytes(capacity, dv, flags) < 0:
        return 1
    group_bytes = _hull_group_bytes(dv, flags)
    tops = _hull_half_chunks(capacity) + 8  # eight at a time are read
    chunks_at = HULL_HEADER_BYTES + 2 * _hull_lines(tops * HULL_TOP_ENTRY_BYTES)
    leaves_at = chunks_at + 2 * _hull_half_chunks(capacity) * HULL_CHUNK_BYTES
    groups_at = leaves_at + 2 * _hull_half_leaves(capacity) * HULL_LEAF_BYTES
    links_at = groups_at + _hull_lines(_hull_group_capacity(capacity) * group_bytes)
    store_i64(h + HULL_COUNT, 0)
    store_i64(h + HULL_CAPACITY, capacity)
    store_i64(h + HULL_WIDTH, dv)
    store_i64(h + HULL_WITH_MEAN, flags & HULL_MEANS)
    store_i64(h + HULL_GROUP_BYTES, group_bytes)
    store_f64(h + HULL_EXTREME, -math.inf)
    store_f64(h + HULL_EXTREME + 8, -math.inf)
    store_i64(h + HULL_GROUPS_USED, HULL_FIXED_GROUPS)
    store_i64(h + HULL_GROUPS_FREE, -1)
    store_i64(h + HULL_LEAVES_USED, 0)
    store_i64(h + HULL_LEAVES_FREE, -1)
    store_i64(h + HULL_CHUNKS_USED, 0)
    store_i64(h + HULL_CHUNKS_FREE, -1)
    store_i64(h + HULL_LEAVES_AT, leaves_at)
    store_i64(h + HULL_CHUNKS_AT, chunks_at)
    store_i64(h + HULL_GROUPS_AT, groups_at)
    store_i64(h + HULL_LINKS_AT, links_at)
    store_i64(h + HULL_ORDER, HULL_ORDER_LINE)
    store_i64(h + HULL_ORDER_STRICT, 0)
    store_i64(h + HULL_ORDER_RUN, -1)
    store_f64(h + HULL_TURN, 0.0)
    store_i64(h + HULL_REPEAT_READY, 0)
    # A half that is not kept never has a group to note.
    for kind in range(HULL_LINK_KINDS):
        store_i64(h + HULL_REPEAT + 8 * kind, -1)
    store_i64(h + HULL_NEAR, 1)
    store_i64(h + HULL_HALF_FROM, 1 if (flags & HULL_NO_UPPER) != 0 else 0)
    store_i64(h + HULL_HALF_UPTO, 1 if (flags & HULL_NO_LOWER) != 0 else 2)
    if (flags & HULL_MEANS) != 0:
        # The group of all keys takes them in when it is asked for.
        store_i64(h + groups_at + HULL_WHOLE_GROUP * group_bytes + HULL_GROUP_SUMMED, 0)
    for half in range(2):
        at = h + half * HULL_HALF_BYTES
        store_i64(at + HULL_TOP_AT, HULL_HEADER_BYTES + half * _hull_lines(tops * HULL_TOP_ENTRY_BYTES))
        store_i64(at + HULL_TOP_COUNT, 0)
        store_i64(at + HULL_TOP_CAPACITY, tops)
        store_i64(at + HULL_ONLY, 0)
        store_i64(at + HULL_ONLY_COUNT, 0)
    return 0


@njit(nogil=True, error_model="numpy")
def hull_move(src: int, dst: int, new_capacity: int) -> int:
    """Copy the structure at `src` into hull_bytes(new_capacity, ...) bytes at `dst`, which do not overlap it.

    Every later answer is the same. Returns 0, or 1 when new_capacity is below the count or out of range;
    new_capacity equal to the count gives the tightest region, for saving. O(bytes in use).
    """
    count = load_i64(src + HULL_COUNT)
    with_mean = load_i64(src + HULL_WITH_MEAN)
    flags = with_mean
    if load_i64(src + HULL_HALF_FROM) > 0:
        flags |= HULL_NO_UPPER
    if load_i64(src + HULL_HALF_UPTO) < 2:
        flags |= HULL_NO_LOWER
    if new_capacity < count or hull_init(dst, new_capacity, load_i64(src + HULL_WIDTH), flags) != 0:
        return 1
    # Lists of used leaves, chunks and groups never outgrow the count, so they fit even a tight region.
    copy_bytes(dst + HULL_COUNT, src + HULL_COUNT, 8)
    copy_bytes(dst + HULL_ORDER, src + HULL_ORDER, HULL_WITH_MEAN - HULL_ORDER)
    copy_bytes(dst + HULL_INNER, src + HULL_INNER, 2 * HULL_INNER_BYTES)
    copy_bytes(dst + HULL_EXTREME, src + HULL_EXTREME, 16)
    copy_bytes(dst + HULL_GROUPS_USED, src + HULL_GROUPS_USED, HULL_LEAVES_AT - HULL_GROUPS_USED)
    for half in range(2):
        src_half = src + half * HULL_HALF_BYTES
        dst_half = dst + half * HULL_HALF_BYTES
        copy_bytes(dst_half + HULL_TOP_COUNT, src_half + HULL_TOP_COUNT, 8)
        if load_i64(src_half + HULL_ONLY) != 0:
            leaf = load_i64(src_half + HULL_ONLY) - load_i64(src + HULL_LEAVES_AT)
            leaf_count = load_i64(src_half + HULL_ONLY_COUNT) - load_i64(src + HULL_CHUNKS_AT)
            store_i64(dst_half + HULL_ONLY, leaf + load_i64(dst + HULL_LEAVES_AT))
            store_i64(dst_half + HULL_ONLY_COUNT, leaf_count + load_i64(dst + HULL_CHUNKS_AT))
        tops = load_i64(src_half + HULL_TOP_COUNT)
        src_top = src + load_i64(src_half + HULL_TOP_AT)
        dst_top = dst + load_i64(dst_half + HULL_TOP_AT)
        src_tops = load_i64(src_half + HULL_TOP_CAPACITY)
        dst_tops = load_i64(dst_half + HULL_TOP_CAPACITY)
        copy_bytes(dst_top, src_top, 8 * tops)
        copy_bytes(dst_top + 8 * dst_tops, src_top + 8 * src_tops, 8 * tops)
        copy_bytes(dst_top + 16 * dst_tops, src_top + 16 * src_tops, 4 * tops)
        copy_bytes(dst_top + 20 * dst_tops, src_top + 20 * src_tops, 4 * tops)
    chunks = load_i64(src + HULL_CHUNKS_USED) * HULL_CHUNK_BYTES
    copy_bytes(dst + load_i64(dst + HULL_CHUNKS_AT), src + load_i64(src + HULL_CHUNKS_AT), chunks)
    leaves = load_i64(src + HULL_LEAVES_USED) * HULL_LEAF_BYTES
    copy_bytes(dst + load_i64(dst + HULL_LEAVES_AT), src + load_i64(src + HULL_LEAVES_AT), leaves)
    groups = load_i64(src + HULL_GROUPS_USED) * load_i64(src + HULL_GROUP_BYTES)
    copy_bytes(dst + load_i64(dst + HULL_GROUPS_AT), src + load_i64(src + HULL_GROUPS_AT), groups)
    if with_mean != 0:
        for kind in range(HULL_LINK_KINDS):
            links_to = dst + load_i64(dst + HULL_LINKS_AT) + 4 * kind * new_capacity
            links_from = src + load_i64(src + HULL_LINKS_AT) + 4 * kind * load_i64(src + HULL_CAPACITY)
            copy_bytes(links_to, links_from, 4 * count)
    return 0
