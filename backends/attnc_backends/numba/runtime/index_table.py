"""Where everything lies inside the region of an index: header, trie, keys set aside, groups, links.

A region is one run of bytes that refers to itself only by offsets, so it may be copied. Sections are sized by
capacity; what is not used yet is never touched.

Addresses are kept in a trie of nodes with 64 entries and a bitmap of those in use: a hit is one entry from
node to node, and so is the next address below or above.
"""

from numba import njit

from attnc_backends.numba.runtime.bits import leading_zeros, lowest_bit
from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    fill_zero,
    load_f64,
    load_i32,
    load_i64,
    store_f64,
    store_i32,
    store_i64,
)

# What an address keeps of its writes: the first position, the last one, or the mean of their values.
INDEX_FIRST = 0
INDEX_LAST = 1
INDEX_MEAN = 2

INDEX_COUNT = 0  # keys read
INDEX_ASIDE = 8  # of these, set aside
INDEX_CAPACITY = 16
INDEX_WIDTH = 24
INDEX_TIE = 32
_INDEX_NODES = 40  # nodes in use; the first is the root
INDEX_GROUPS = 48  # groups in use; the first is of all keys
INDEX_BOUND = 56
INDEX_LOW = 64  # smallest and largest address, as places in the trie
INDEX_HIGH = 72
INDEX_FORM = 80  # c1, c0, d2, d1, d0
INDEX_LIST_AT = 120
INDEX_KEYS_AT = 128
INDEX_ROWS_AT = 136
INDEX_GROUPS_AT = 144
INDEX_LINKS_AT = 152
INDEX_SIZE = 160  # bytes of the region
_INDEX_LEAF_PLACE = 168  # the leaf of the last write: its places without their last digit, and the node
_INDEX_LEAF = 176
INDEX_REACH = 184  # how many of the keys set aside may beat an address next to the vertex
_INDEX_HEADER = 192

# The trie: an address stands at place address + bound + 1, five digits of six bits. A node is its bitmap and
# one int32 for each digit: the node below, or in a leaf what is kept (a position plus 1, or a group); 0 none.
_INDEX_TOP = 24  # how far the root's digit is shifted
_INDEX_NODE = 264
_INDEX_ENTRIES = 8

# A group: how many, the ends of a list through the links, and per value column a sum as two doubles, hi being
# the sum rounded once; lo is NaN where two do not suffice, and then the list is walked.
INDEX_GROUP_COUNT = 0
INDEX_GROUP_HEAD = 8
INDEX_GROUP_TAIL = 16
INDEX_GROUP_SUMS = 24


@njit(nogil=True, error_model="numpy")
def _index_node_capacity(capacity: int) -> int:
    """The most nodes: on each level one for each key, but no more than there are places up to 2**27 + 1."""
    nodes = 1
    for shift in range(6, _INDEX_TOP + 1, 6):
        nodes += min(capacity, (1 << (27 - shift)) + 1)
    return nodes


@njit(nogil=True, error_model="numpy")
def _index_group_bytes(width: int, tie: int) -> int:
    return INDEX_GROUP_SUMS + 16 * width if tie == INDEX_MEAN else 0


@njit(nogil=True, error_model="numpy")
def index_bytes(capacity: int, width: int, row: int, tie: int) -> int:
    """Bytes of a region for `capacity` keys with value rows of `width` elements, `row` bytes.

    What is not used is not touched.
    """
    size = _INDEX_HEADER + _index_node_capacity(capacity) * _INDEX_NODE + 24 * capacity
    if tie == INDEX_MEAN:
        size += capacity * (row + 8) + (capacity + 1) * _index_group_bytes(width, tie)
    return (size + 63) & -64


@njit(nogil=True, error_model="numpy")
def index_start(
    r: int,
    capacity: int,
    width: int,
    row: int,
    tie: int,
    c1: float,
    c0: float,
    d2: float,
    d1: float,
    d0: float,
    bound: int,
) -> None:
    """A region that has read nothing, for the parabola (c1 a + c0, d2 a^2 + d1 a + d0), |a| <= bound."""
    store_i64(r + INDEX_CAPACITY, capacity)
    store_i64(r + INDEX_WIDTH, width)
    store_i64(r + INDEX_TIE, tie)
    store_i64(r + INDEX_BOUND, bound)
    store_f64(r + INDEX_FORM, c1)
    store_f64(r + INDEX_FORM + 8, c0)
    store_f64(r + INDEX_FORM + 16, d2)
    store_f64(r + INDEX_FORM + 24, d1)
    store_f64(r + INDEX_FORM + 32, d0)
    at = _INDEX_HEADER + _index_node_capacity(capacity) * _INDEX_NODE
    store_i64(r + INDEX_LIST_AT, at)
    store_i64(r + INDEX_KEYS_AT, at + 8 * capacity)
    at += 24 * capacity
    store_i64(r + INDEX_ROWS_AT, at)
    store_i64(r + INDEX_LINKS_AT, at + row * capacity)
    store_i64(r + INDEX_GROUPS_AT, at + (row + 8) * capacity)
    store_i64(r + INDEX_SIZE, index_bytes(capacity, width, row, tie))
    index_restart(r)


@njit(nogil=True, error_model="numpy")
def index_restart(r: int) -> None:
    """Forget what was read."""
    store_i64(r + INDEX_COUNT, 0)
    store_i64(r + INDEX_ASIDE, 0)
    store_i64(r + INDEX_REACH, 0)
    store_i64(r + _INDEX_NODES, 1)
    store_i64(r + INDEX_GROUPS, 1)
    store_i64(r + INDEX_LOW, 1 << 40)
    store_i64(r + INDEX_HIGH, -1)
    store_i64(r + _INDEX_LEAF_PLACE, -1)
    fill_zero(r + _INDEX_HEADER, _INDEX_NODE)
    if load_i64(r + INDEX_TIE) == INDEX_MEAN:
        store_i64(r + load_i64(r + INDEX_GROUPS_AT), 0)


@njit(nogil=True, error_model="numpy")
def index_move(source: int, r: int, capacity: int, row: int) -> None:
    """Copy the region at `source` to `r`, which has room for `capacity` keys, no fewer than before."""
    width = load_i64(source + INDEX_WIDTH)
    tie = load_i64(source + INDEX_TIE)
    form = source + INDEX_FORM
    c1, c0 = load_f64(form), load_f64(form + 8)
    d2, d1, d0 = load_f64(form + 16), load_f64(form + 24), load_f64(form + 32)
    index_start(r, capacity, width, row, tie, c1, c0, d2, d1, d0, load_i64(source + INDEX_BOUND))
    copy_bytes(r, source, 16)
    copy_bytes(r + _INDEX_NODES, source + _INDEX_NODES, 16)
    copy_bytes(r + INDEX_LOW, source + INDEX_LOW, 16)
    copy_bytes(r + INDEX_REACH, source + INDEX_REACH, 8)
    copy_bytes(r + _INDEX_HEADER, source + _INDEX_HEADER, load_i64(source + _INDEX_NODES) * _INDEX_NODE)
    aside = load_i64(source + INDEX_ASIDE)
    copy_bytes(r + load_i64(r + INDEX_LIST_AT), source + load_i64(source + INDEX_LIST_AT), 8 * aside)
    copy_bytes(r + load_i64(r + INDEX_KEYS_AT), source + load_i64(source + INDEX_KEYS_AT), 16 * aside)
    if tie == INDEX_MEAN:
        count = load_i64(source + INDEX_COUNT)
        copy_bytes(r + load_i64(r + INDEX_ROWS_AT), source + load_i64(source + INDEX_ROWS_AT), row * aside)
        copy_bytes(r + load_i64(r + INDEX_LINKS_AT), source + load_i64(source + INDEX_LINKS_AT), 8 * count)
        groups = load_i64(source + INDEX_GROUPS) * _index_group_bytes(width, tie)
        copy_bytes(r + load_i64(r + INDEX_GROUPS_AT), source + load_i64(source + INDEX_GROUPS_AT), groups)


# --- the trie -----------------------------------------------------------------------------------------------


@njit(nogil=True, error_model="numpy")
def index_entry(r: int, place: int) -> int:
    """Where the entry of a place is, nodes made on the way."""
    node = r + _INDEX_HEADER
    shift = _INDEX_TOP
    if load_i64(r + _INDEX_LEAF_PLACE) == place >> 6:
        node += load_i64(r + _INDEX_LEAF) * _INDEX_NODE
        shift = 0
    while True:
        digit = (place >> shift) & 63
        entry = node + _INDEX_ENTRIES + 4 * digit
        store_i64(node, load_i64(node) | (1 << digit))
        if shift == 0:
            return entry
        below = load_i32(entry)
        if below == 0:
            below = load_i64(r + _INDEX_NODES)
            store_i64(r + _INDEX_NODES, below + 1)
            store_i32(entry, below)
            fill_zero(r + _INDEX_HEADER + below * _INDEX_NODE, _INDEX_NODE)
        node = r + _INDEX_HEADER + below * _INDEX_NODE
        shift -= 6
        if shift == 0:
            store_i64(r + _INDEX_LEAF_PLACE, place >> 6)
            store_i64(r + _INDEX_LEAF, below)


@njit(nogil=True, error_model="numpy")
def index_kept(r: int, place: int) -> int:
    """What is kept for a place; 0 where nothing was written."""
    found = 0
    for level in range(5):
        entry = r + _INDEX_HEADER + found * _INDEX_NODE + _INDEX_ENTRIES
        found = load_i32(entry + 4 * ((place >> (_INDEX_TOP - 6 * level)) & 63))
        if found == 0:
            return 0
    return found


@njit(nogil=True, error_model="numpy")
def index_near(r: int, place: int, up: bool) -> int:
    """The largest written place up to `place`, or with `up` the smallest one above it; -1 where there is
    none.
    """
    node = r + _INDEX_HEADER
    shift = _INDEX_TOP
    turn = 0  # the deepest node on the way with entries on the wanted side, these, and its shift
    aside = 0
    turn_shift = 0
    while True:
        digit = (place >> shift) & 63
        word = load_i64(node)
        lower = (1 << digit) - 1
        others = word & ~lower & ~(1 << digit) if up else word & lower
        if others != 0:
            turn = node
            aside = others
            turn_shift = shift
        if ((word >> digit) & 1) == 0:
            break
        if shift == 0:
            if not up:
                return place
            break
        node = r + _INDEX_HEADER + load_i32(node + _INDEX_ENTRIES + 4 * digit) * _INDEX_NODE
        shift -= 6
    if turn == 0:
        return -1
    found = place >> (turn_shift + 6)
    while True:
        digit = lowest_bit(aside) if up else 63 - leading_zeros(aside)
        found = (found << 6) | digit
        if turn_shift == 0:
            return found
        turn = r + _INDEX_HEADER + load_i32(turn + _INDEX_ENTRIES + 4 * digit) * _INDEX_NODE
        aside = load_i64(turn)
        turn_shift -= 6
