"""Positions that a top-k scan holds: records of 24 bytes, position, score, and error with the score's class.

Classes are 0 for a real score, 1 and -1 for the infinities. The class of an infinity is kept in place of the
error, as 1 or 2 below zero; real scores have errors from 0 up.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.memory import load_f64, store_f64, store_i64


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
def special_value(kind: int) -> float:
    """The value that a class other than 0 stands for."""
    if kind == 2:
        return math.nan
    return math.inf if kind == 1 else -math.inf
