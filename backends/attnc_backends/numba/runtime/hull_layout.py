"""Where everything lies inside a hull region: header, directories, blocks, groups, next-links.

A region is one run of bytes that refers to itself only by offsets and indices, so it may be copied, moved or
written to disk as it is. Sections are sized by capacity; what a structure has not used yet is never touched.

    header       counts, extremes, section offsets
    directories  one per half: a sorted array of entries (x and y of the block's first vertex, block, count)
    blocks       HULL_BLOCK vertex records each, shared by both halves
    groups       aggregates of tied keys; the first three are the two end columns and all keys
    next-links   with means only: one int32 per position and list kind
"""

from numba import njit

from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    load_i64,
    store_f64,
    store_i64,
)

# Positions, groups and blocks are int32 where they are stored in bulk.
HULL_MAX_CAPACITY = (1 << 31) - 64

# The two halves. The lower one stores its keys with y negated and is then an upper hull too. The numbers
# double as the kinds of next-link, followed by those of the columns.
HULL_UPPER = 0
HULL_LOWER = 1
HULL_LEFT = 2
HULL_RIGHT = 3
HULL_WHOLE = 4  # needs no links: its members are all positions
HULL_LINK_KINDS = 4

HULL_COUNT = 0
HULL_CAPACITY = 8
HULL_WIDTH = 16
HULL_WITH_MEAN = 24
HULL_GROUP_BYTES = 32
HULL_EXTREME = 40  # three doubles, one per fixed group
HULL_GROUPS_USED = 64
HULL_GROUPS_FREE = 72
HULL_BLOCKS_USED = 80
HULL_BLOCKS_FREE = 88
HULL_BLOCKS_AT = 96
HULL_GROUPS_AT = 104
HULL_LINKS_AT = 112
HULL_DIRECTORY_AT = 120  # two: upper, lower
HULL_DIRECTORY_COUNT = 136  # two: upper, lower
HULL_HEADER_BYTES = 152

HULL_BLOCK_SHIFT = 7
HULL_BLOCK = 1 << HULL_BLOCK_SHIFT
HULL_BLOCK_MASK = HULL_BLOCK - 1

# Vertices and directory entries both begin with a point.
HULL_POINT_X = 0
HULL_POINT_Y = 8

# A vertex: its point, the first position there, the group of keys that coincide with it (-1: none besides
# that position) and the group of keys strictly inside the edge to the next vertex (-1: none).
HULL_VERTEX_POSITION = 16
HULL_VERTEX_GROUP = 24
HULL_VERTEX_EDGE = 28
HULL_VERTEX_BYTES = 32
HULL_BLOCK_BYTES = HULL_BLOCK * HULL_VERTEX_BYTES

# A directory entry: the point of its block's first vertex, the block and its count of vertices.
HULL_ENTRY_BLOCK = 16
HULL_ENTRY_COUNT = 20
HULL_ENTRY_BYTES = 24

# A group: first and last position; with means also the count, the ends of the linked list and, per value
# column, the sum as two doubles.
HULL_GROUP_FIRST = 0
HULL_GROUP_LAST = 8
HULL_GROUP_COUNT = 16
HULL_GROUP_HEAD = 24
HULL_GROUP_TAIL = 32
HULL_GROUP_SUMS = 40
HULL_PLAIN_GROUP_BYTES = 16

# The fixed groups, in the order of their kinds: group g holds lists of kind HULL_LEFT + g. Each is the set of
# keys at the extreme of one function of the key: -x, x, and a constant.
HULL_LEFT_GROUP = 0
HULL_RIGHT_GROUP = 1
HULL_WHOLE_GROUP = 2
HULL_FIXED_GROUPS = 3


@njit(nogil=True, error_model="numpy")
def _hull_half_blocks(capacity: int) -> int:
    """The most blocks that one half can hold live at a time.

    A block is made by splitting a full one evenly, or by starting a new end block beside a full one. Let
    T = 64 * blocks + (vertices beyond 64 in each block) + (up to 64 vertices of the first block, and of the
    last). With one block T <= 256. With more, an insertion raises T by at most 1, a new block leaves it
    unchanged or lower and so does a removal, a freed end block included. Each position is inserted at most
    once in a half, so 64 * blocks <= T <= capacity + 256.
    """
    return min(capacity, capacity // 64 + 8)


@njit(nogil=True, error_model="numpy")
def _hull_group_capacity(capacity: int) -> int:
    """The most groups alive at a time.

    Each group holds a key that no other group of its half holds. A key lies on both halves only at the two
    end columns, or when all keys are collinear, which is one edge and its two ends: three more groups.
    """
    return HULL_FIXED_GROUPS + capacity + 8


@njit(nogil=True, error_model="numpy")
def _hull_group_bytes(dv: int, with_mean: int) -> int:
    """Bytes of one group."""
    return HULL_GROUP_SUMS + 16 * dv if with_mean != 0 else HULL_PLAIN_GROUP_BYTES


@njit(nogil=True, error_model="numpy")
def hull_bytes(capacity: int, dv: int, with_mean: int) -> int:
    """Bytes of a region for `capacity` positions and values of width `dv`; -1 when capacity is out of range.

    Linear in capacity. Most of it stays untouched unless nearly every key becomes a hull vertex.
    """
    if capacity < 0 or capacity > HULL_MAX_CAPACITY or dv < 0:
        return -1
    blocks = 2 * _hull_half_blocks(capacity)
    size = HULL_HEADER_BYTES + blocks * (HULL_ENTRY_BYTES + HULL_BLOCK_BYTES)
    size += _hull_group_capacity(capacity) * _hull_group_bytes(dv, with_mean)
    if with_mean != 0:
        size += 4 * HULL_LINK_KINDS * capacity
    return size


@njit(nogil=True, error_model="numpy")
def hull_init(h: int, capacity: int, dv: int, with_mean: int) -> int:
    """Make the hull_bytes(capacity, dv, with_mean) bytes at `h`, of any content, an empty structure.

    O(1). Returns 0, or 1 when the arguments are out of range.
    """
    if hull_bytes(capacity, dv, with_mean) < 0:
        return 1
    half_blocks = _hull_half_blocks(capacity)
    group_bytes = _hull_group_bytes(dv, with_mean)
    upper_at = HULL_HEADER_BYTES
    lower_at = upper_at + half_blocks * HULL_ENTRY_BYTES
    blocks_at = lower_at + half_blocks * HULL_ENTRY_BYTES
    groups_at = blocks_at + 2 * half_blocks * HULL_BLOCK_BYTES
    links_at = groups_at + _hull_group_capacity(capacity) * group_bytes
    store_i64(h + HULL_COUNT, 0)
    store_i64(h + HULL_CAPACITY, capacity)
    store_i64(h + HULL_WIDTH, dv)
    store_i64(h + HULL_WITH_MEAN, 1 if with_mean != 0 else 0)
    store_i64(h + HULL_GROUP_BYTES, group_bytes)
    for group in range(HULL_FIXED_GROUPS):
        store_f64(h + HULL_EXTREME + 8 * group, 0.0)
    store_i64(h + HULL_GROUPS_USED, HULL_FIXED_GROUPS)
    store_i64(h + HULL_GROUPS_FREE, -1)
    store_i64(h + HULL_BLOCKS_USED, 0)
    store_i64(h + HULL_BLOCKS_FREE, -1)
    store_i64(h + HULL_BLOCKS_AT, blocks_at)
    store_i64(h + HULL_GROUPS_AT, groups_at)
    store_i64(h + HULL_LINKS_AT, links_at)
    store_i64(h + HULL_DIRECTORY_AT, upper_at)
    store_i64(h + HULL_DIRECTORY_AT + 8, lower_at)
    store_i64(h + HULL_DIRECTORY_COUNT, 0)
    store_i64(h + HULL_DIRECTORY_COUNT + 8, 0)
    return 0


@njit(nogil=True, error_model="numpy")
def hull_move(src: int, dst: int, new_capacity: int) -> int:
    """Copy the structure at `src` into hull_bytes(new_capacity, ...) bytes at `dst`, which do not overlap it.

    Every later answer is the same. Returns 0, or 1 when new_capacity is below the count or out of range;
    new_capacity equal to the count gives the tightest region, for saving. O(bytes in use).
    """
    count = load_i64(src + HULL_COUNT)
    with_mean = load_i64(src + HULL_WITH_MEAN)
    if new_capacity < count or hull_init(dst, new_capacity, load_i64(src + HULL_WIDTH), with_mean) != 0:
        return 1
    # Lists of used blocks and groups never outgrow the count, so they fit even a tight region.
    for field in (HULL_COUNT, HULL_GROUPS_USED, HULL_GROUPS_FREE):
        copy_bytes(dst + field, src + field, 8)
    for field in (HULL_BLOCKS_USED, HULL_BLOCKS_FREE, HULL_DIRECTORY_COUNT, HULL_DIRECTORY_COUNT + 8):
        copy_bytes(dst + field, src + field, 8)
    copy_bytes(dst + HULL_EXTREME, src + HULL_EXTREME, 8 * HULL_FIXED_GROUPS)
    for half in range(2):
        at = HULL_DIRECTORY_AT + 8 * half
        entries = load_i64(src + HULL_DIRECTORY_COUNT + 8 * half)
        copy_bytes(dst + load_i64(dst + at), src + load_i64(src + at), entries * HULL_ENTRY_BYTES)
    blocks = load_i64(src + HULL_BLOCKS_USED) * HULL_BLOCK_BYTES
    copy_bytes(dst + load_i64(dst + HULL_BLOCKS_AT), src + load_i64(src + HULL_BLOCKS_AT), blocks)
    groups = load_i64(src + HULL_GROUPS_USED) * load_i64(src + HULL_GROUP_BYTES)
    copy_bytes(dst + load_i64(dst + HULL_GROUPS_AT), src + load_i64(src + HULL_GROUPS_AT), groups)
    if with_mean != 0:
        for kind in range(HULL_LINK_KINDS):
            links_to = dst + load_i64(dst + HULL_LINKS_AT) + 4 * kind * new_capacity
            links_from = src + load_i64(src + HULL_LINKS_AT) + 4 * kind * load_i64(src + HULL_CAPACITY)
            copy_bytes(links_to, links_from, 4 * count)
    return 0
