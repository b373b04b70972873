"""Finding the best vertex of a half for a query, by bisection on exact score differences."""

from numba import njit

from attnc_backends.numba.runtime.exact import compare_dot2
from attnc_backends.numba.runtime.hull_blocks import hull_block, hull_directory, hull_directory_count
from attnc_backends.numba.runtime.hull_layout import (
    HULL_BLOCK_SHIFT,
    HULL_ENTRY_BLOCK,
    HULL_ENTRY_BYTES,
    HULL_ENTRY_COUNT,
    HULL_POINT_X,
    HULL_POINT_Y,
    HULL_VERTEX_BYTES,
)
from attnc_backends.numba.runtime.memory import load_f64, load_i32

_HULL_RISE_UNKNOWN = 2


@njit(nogil=True, error_model="numpy")
def _hull_rise(qx: float, qy: float, here: int, there: int, scratch: int) -> int:
    """Sign of the score of the point at address `there` minus that of the point at `here`."""
    return compare_dot2(
        qx,
        qy,
        load_f64(there + HULL_POINT_X),
        load_f64(there + HULL_POINT_Y),
        load_f64(here + HULL_POINT_X),
        load_f64(here + HULL_POINT_Y),
        scratch,
    )


@njit(nogil=True, error_model="numpy")
def _hull_last_rise(h: int, qx: float, qy: float, entry: int, scratch: int) -> int:
    """Sign of the score of the next block's first vertex minus that of this block's last vertex."""
    last = hull_block(h, load_i32(entry + HULL_ENTRY_BLOCK))
    last += (load_i32(entry + HULL_ENTRY_COUNT) - 1) * HULL_VERTEX_BYTES
    return _hull_rise(qx, qy, last, entry + HULL_ENTRY_BYTES, scratch)


@njit(nogil=True, error_model="numpy")
def hull_search(h: int, half: int, qx: float, qy: float, scratch: int) -> tuple[int, bool]:
    """Place of the leftmost best vertex for a query with qy > 0, and whether the next vertex ties. O(log n).

    Along a strict chain the score rises, is level on at most one edge, then falls: the winner is the first
    vertex whose edge to the right does not rise. The first vertices of the blocks are such a chain, too.
    """
    count = hull_directory_count(h, half)
    directory = hull_directory(h, half)
    low = 0
    high = count - 1
    while low < high:
        middle = (low + high) >> 1
        entry = directory + middle * HULL_ENTRY_BYTES
        if _hull_rise(qx, qy, entry, entry + HULL_ENTRY_BYTES, scratch) <= 0:
            high = middle
        else:
            low = middle + 1
    # The winner lies right of the first vertex of block low - 1 and not beyond block low.
    index = low
    rise = _HULL_RISE_UNKNOWN
    if index > 0:
        sign = _hull_last_rise(h, qx, qy, directory + (index - 1) * HULL_ENTRY_BYTES, scratch)
        if sign <= 0:
            index -= 1
            rise = sign
    entry = directory + index * HULL_ENTRY_BYTES
    vertices = hull_block(h, load_i32(entry + HULL_ENTRY_BLOCK))
    low = 0
    high = load_i32(entry + HULL_ENTRY_COUNT) - 1
    while low < high:
        middle = (low + high) >> 1
        vertex = vertices + middle * HULL_VERTEX_BYTES
        sign = _hull_rise(qx, qy, vertex, vertex + HULL_VERTEX_BYTES, scratch)
        if sign <= 0:
            high = middle
            rise = sign
        else:
            low = middle + 1
    if rise == _HULL_RISE_UNKNOWN and index + 1 < count:
        rise = _hull_last_rise(h, qx, qy, entry, scratch)
    return (index << HULL_BLOCK_SHIFT) + low, rise == 0
