"""Positions that a top-k scan holds: records of 24 bytes, position, score, and error with the score's class.

Classes are 0 for a real score, 1 and -1 for the infinities. The class of an infinity is kept in place of the
error, as 1 or 2 below zero; real scores have errors from 0 up.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.memory import load_f64, load_i64, store_f64, store_i64


@njit(nogil=True, error_model="numpy")
def hold(record: int, position: int, score: float, error: float, kind: int) -> None:
    """Write a record."""
    store_i64(record, position)
    store_f64(record + 8, score)
    store_f64(record + 16, error if kind == 0 else (-1.0 if kind == 1 else -2.0))


@njit(nogil=True, error_model="numpy")
def held_kind(record: int) -> int:
    """The class of a record's score."""
    error = load_f64(record + 16)
    if error >= 0.0:
        return 0
    return 1 if error == -1.0 else -1


@njit(nogil=True, error_model="numpy")
def swap_held(x: int, y: int) -> None:
    """Exchange two records."""
    for byte in range(0, 24, 8):
        word = load_i64(x + byte)
        store_i64(x + byte, load_i64(y + byte))
        store_i64(y + byte, word)


@njit(nogil=True, error_model="numpy")
def sort_held(held: int, size: int) -> None:
    """Records by increasing position (heap sort), so that sums do not depend on how the heap came about."""
    for start in range(size // 2 - 1, -1, -1):
        _held_sift(held, start, size)
    for end in range(size - 1, 0, -1):
        swap_held(held, held + 24 * end)
        _held_sift(held, 0, end)


@njit(nogil=True, error_model="numpy")
def _held_sift(held: int, node: int, size: int) -> None:
    while 2 * node + 1 < size:
        child = 2 * node + 1
        if child + 1 < size and load_i64(held + 24 * (child + 1)) > load_i64(held + 24 * child):
            child += 1
        if load_i64(held + 24 * child) <= load_i64(held + 24 * node):
            return
        swap_held(held + 24 * node, held + 24 * child)
        node = child


@njit(nogil=True, error_model="numpy")
def special_value(kind: int) -> float:
    """The value that a class other than 0 stands for."""
    if kind == 2:
        return math.nan
    return math.inf if kind == 1 else -math.inf
