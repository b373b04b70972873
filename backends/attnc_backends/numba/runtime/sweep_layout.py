"""Where everything of a sweep lies: what the caller describes, scratch, keys, both halves of their hull.

The caller writes the front of a region; everything behind it is scratch of any content.
"""

from numba import njit

from attnc_backends.numba.runtime.exact import ACC_BYTES
from attnc_backends.numba.runtime.memory import load_i64
from attnc_backends.numba.runtime.sums import sums_bytes
from attnc_backends.numba.runtime.sweep_chain import CHAIN_BYTES, POLYGON_BYTES
from attnc_backends.numba.runtime.sweep_sort import SORT_COUNTS_BYTES

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
SWEEP_HEADER_BYTES = 192

SWEEP_FIRST = 0
SWEEP_LAST = 1
SWEEP_MEAN = 2

SWEEP_ROW_BITS = 40
SWEEP_ROW_MASK = (1 << SWEEP_ROW_BITS) - 1

# Means that are remembered, of each half: neighbouring vertices and edges have neighbouring numbers, and so
# lie in different slots; then those of left column, right column, all keys.
SWEEP_RECENT = 4
SWEEP_MEMOS = 2 * SWEEP_RECENT + 3

# Up to so many vertices their slopes fit the nearest cache, and to search them costs less than to sort the
# queries.
SWEEP_SEARCHED = 4096

# So many queries are sorted at a time: few enough that they and their outputs stay in a cache while they are
# answered out of order, and enough that neighbours on the hull share cache lines.
SWEEP_BLOCK = 65536

SWEEP_LANES = 64  # as many slopes as are compared at once

# Offsets behind the header of what has a fixed size.
SWEEP_ACC = SWEEP_HEADER_BYTES
SWEEP_POLYGON = SWEEP_ACC + ACC_BYTES
SWEEP_COUNTS = SWEEP_POLYGON + POLYGON_BYTES
SWEEP_MEMO_SETS = SWEEP_COUNTS + SORT_COUNTS_BYTES
SWEEP_FIXED_BYTES = SWEEP_MEMO_SETS + 8 * SWEEP_MEMOS


@njit(nogil=True, error_model="numpy")
def sweep_bytes(keys: int, queries: int, width: int) -> int:
    """Bytes of a region for up to so many keys and queries (rows of all heads) and values of `width`."""
    # Points, pairs, their points; for each half vertices, members, hints.
    per_key = 3 * 16 + 2 * (CHAIN_BYTES + 8 + 8)
    asked = 2 * 16 * min(queries, SWEEP_BLOCK)  # pairs of a block, and their spare
    rows = 8 * width * SWEEP_MEMOS + sums_bytes(width)
    slack = 2 * 8 * SWEEP_LANES
    return SWEEP_FIXED_BYTES + rows + per_key * keys + slack + asked + 8 * queries


@njit(nogil=True, error_model="numpy")
def sweep_sums(s: int) -> int:
    """The address of the sums."""
    return s + SWEEP_FIXED_BYTES + 8 * load_i64(s + SWEEP_VALUE_WIDTH) * SWEEP_MEMOS


@njit(nogil=True, error_model="numpy")
def sweep_points(s: int) -> int:
    """The address of the points: all that grows with the number of keys begins here."""
    return sweep_sums(s) + sums_bytes(load_i64(s + SWEEP_VALUE_WIDTH))


@njit(nogil=True, error_model="numpy")
def sweep_half(s: int, half: int) -> int:
    """The address of the vertices of a half; their members follow those there is room for."""
    count = load_i64(s + SWEEP_COUNT)
    return sweep_points(s) + (3 * 16 + half * (CHAIN_BYTES + 8)) * count


@njit(nogil=True, error_model="numpy")
def sweep_hints(s: int, half: int) -> int:
    """The address of the rounded slopes of a half's edges; as many as are compared at once may be read."""
    return sweep_half(s, 2) + half * 8 * (load_i64(s + SWEEP_COUNT) + SWEEP_LANES)


@njit(nogil=True, error_model="numpy")
def sweep_memo(s: int, number: int) -> int:
    """The address of a remembered mean, a row of doubles."""
    return s + SWEEP_FIXED_BYTES + 8 * load_i64(s + SWEEP_VALUE_WIDTH) * number
