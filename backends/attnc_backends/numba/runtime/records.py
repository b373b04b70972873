"""Records of three words: exchanged, and sorted by their first word."""

from numba import njit

from attnc_backends.numba.runtime.memory import load_i64, store_i64


@njit(nogil=True, error_model="numpy")
def swap_records(x: int, y: int) -> None:
    """Exchange two records."""
    for byte in range(0, 24, 8):
        word = load_i64(x + byte)
        store_i64(x + byte, load_i64(y + byte))
        store_i64(y + byte, word)


@njit(nogil=True, error_model="numpy")
def sort_records(records: int, size: int) -> None:
    """By increasing first word (heap sort)."""
    for start in range(size // 2 - 1, -1, -1):
        _sift_record(records, start, size)
    for end in range(size - 1, 0, -1):
        swap_records(records, records + 24 * end)
        _sift_record(records, 0, end)


@njit(nogil=True, error_model="numpy")
def _sift_record(records: int, node: int, size: int) -> None:
    """Record `node` sinks below larger ones."""
    while 2 * node + 1 < size:
        child = 2 * node + 1
        if child + 1 < size and load_i64(records + 24 * (child + 1)) > load_i64(records + 24 * child):
            child += 1
        if load_i64(records + 24 * child) <= load_i64(records + 24 * node):
            return
        swap_records(records + 24 * node, records + 24 * child)
        node = child
