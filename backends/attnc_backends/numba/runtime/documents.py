"""Documents that lie side by side: the range of positions that each id has.

Ids may be any integers in any order, as long as every id has one run of neighbouring positions. The table is
sorted by id, in records of 24 bytes: id, first position, end.
"""

from numba import njit

from attnc_backends.numba.runtime.memory import load_i32, load_i64, store_i64
from attnc_backends.numba.runtime.records import sort_records


@njit(nogil=True, error_model="numpy")
def document_id(ids: int, step: int, size: int, position: int) -> int:
    """The id at a position; ids have `size` bytes and lie `step` bytes apart."""
    at = ids + position * step
    if size == 8:
        return load_i64(at)
    return load_i32(at)


@njit(nogil=True, error_model="numpy")
def document_runs(ids: int, step: int, size: int, count: int, table: int) -> int:
    """Write the table of `count` positions (room for as many records); how many records there are, or -1 when
    an id has more than one run. O(count + runs log runs).
    """
    runs = 0
    for position in range(count):
        own = document_id(ids, step, size, position)
        if runs == 0 or own != load_i64(table + 24 * (runs - 1)):
            store_i64(table + 24 * runs, own)
            store_i64(table + 24 * runs + 8, position)
            runs += 1
        store_i64(table + 24 * (runs - 1) + 16, position + 1)
    ordered = True
    for run in range(1, runs):
        ordered = ordered and load_i64(table + 24 * run) > load_i64(table + 24 * (run - 1))
    if ordered:
        return runs
    sort_records(table, runs)
    for run in range(1, runs):
        if load_i64(table + 24 * run) == load_i64(table + 24 * (run - 1)):
            return -1
    return runs


@njit(nogil=True, error_model="numpy")
def document_find(table: int, runs: int, wanted: int) -> int:
    """The address of the record of an id, 0 when it has none. O(log runs)."""
    low = 0
    high = runs - 1
    while low <= high:
        middle = (low + high) >> 1
        own = load_i64(table + 24 * middle)
        if own == wanted:
            return table + 24 * middle
        if own < wanted:
            low = middle + 1
        else:
            high = middle - 1
    return 0
