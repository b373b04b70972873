"""Keys in order that turn strictly one way: append by one turn test, answer from where the last answer stood.

These lines are inlined where a program appends and asks. They decide what a floating filter can decide, and a
key that only repeats the one before, and leave everything else, with nothing changed, to the hull library:
the first keys, slanted lines, ties, keys out of order.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.exact import FILTER_BOUND, FILTER_UNDERFLOW
from attnc_backends.numba.runtime.hull_header import (
    HULL_COUNT,
    HULL_DISORDER,
    HULL_FAN_MASK,
    HULL_LOWER,
    HULL_NEAR,
    HULL_ORDER,
    HULL_ORDER_RUN,
    HULL_ORDER_STRICT,
    HULL_ORDER_TURNS,
    HULL_REPEAT_READY,
    HULL_TURN,
    HULL_UPPER,
)
from attnc_backends.numba.runtime.hull_repeat import hull_join, hull_repeat
from attnc_backends.numba.runtime.memory import load_f64, load_i64, store_i64

# Positions are below 2**31, so a longer way leads nowhere.
_MONOTONE_FAR = 2.0**40


@njit(nogil=True, error_model="numpy")
def _monotone_append_again(h: int, keys: int, position: int) -> bool:
    """monotone_append where keys are out of order: one equal to the newest goes where that went, if it is no
    vertex.
    """
    if load_i64(h + HULL_REPEAT_READY) == 0:
        return False
    at = keys + 16 * position
    if load_f64(at) != load_f64(at - 16) or load_f64(at + 8) != load_f64(at - 8):
        return False
    hull_repeat(h, position)
    store_i64(h + HULL_COUNT, position + 1)
    return True


@njit(nogil=True, error_model="numpy")
def _monotone_append_level(h: int, keys: int, position: int) -> bool:
    """monotone_append where not every turn was strict: a level line at the end takes no turn test."""
    order = load_i64(h + HULL_ORDER)
    if order == HULL_DISORDER:
        return _monotone_append_again(h, keys, position)
    run = load_i64(h + HULL_ORDER_RUN)
    if run < 0 or order < HULL_ORDER_TURNS:
        return False
    at = keys + 16 * position
    y = load_f64(at + 8)
    bend = keys + 16 * load_i64(h + HULL_ORDER_STRICT)
    if not (load_f64(at) > load_f64(at - 16) and y == load_f64(at - 8) and y == load_f64(bend + 8)):
        return False
    # The key before is inside the line now.
    hull_join(h, run, order - HULL_ORDER_TURNS, position - 1)
    store_i64(h + HULL_COUNT, position + 1)
    return True


@njit(nogil=True, error_model="numpy", forceinline=True)
def monotone_append(h: int, keys: int) -> bool:
    """Append the newest key to the hull at `h`, or change nothing: then hull_append has to. O(1).

    Key j is the pair of doubles at keys + 16 * j; there must be room for it.
    """
    turn = load_f64(h + HULL_TURN)
    position = load_i64(h + HULL_COUNT)
    if turn == 0.0:
        return _monotone_append_level(h, keys, position)
    if (position & HULL_FAN_MASK) == 0:
        return False
    at = keys + 16 * position
    ax = load_f64(at - 32)
    ay = load_f64(at - 24)
    bx = load_f64(at - 16)
    by = load_f64(at - 8)
    x = load_f64(at)
    y = load_f64(at + 8)
    # orient2 of the three last keys, to the side that the others turn to.
    p = (bx - ax) * (y - ay)
    r = (by - ay) * (x - ax)
    if not (x > bx and turn * (p - r) > FILTER_BOUND * (abs(p) + abs(r)) + FILTER_UNDERFLOW):
        return False
    store_i64(h + HULL_COUNT, position + 1)
    store_i64(h + HULL_ORDER_STRICT, position - 1)
    return True


@njit(nogil=True, error_model="numpy", forceinline=True)
def _monotone_rise(at: int, qx: float, qy: float) -> tuple[float, float]:
    """The score of the key at `at` minus that of the one before it, and a bound of its error."""
    p = qx * (load_f64(at) - load_f64(at - 16))
    r = qy * (load_f64(at + 8) - load_f64(at - 8))
    return p + r, FILTER_BOUND * (abs(p) + abs(r)) + FILTER_UNDERFLOW


@njit(nogil=True, error_model="numpy", forceinline=True)
def _monotone_guess(keys: int, last: int, at: int, qx: float, qy: float) -> int:
    """Where the score stops rising, if the rise from key to key changes as it does at interior position `at`;
    -1 where there is no telling.
    """
    before, _ = _monotone_rise(keys + 16 * at, qx, qy)
    after, _ = _monotone_rise(keys + 16 * at + 16, qx, qy)
    way = after / (before - after)
    if not abs(way) < _MONOTONE_FAR:
        return -1
    return min(max(at + math.ceil(way), 0), last)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _monotone_wins(keys: int, last: int, guess: int, qx: float, qy: float) -> bool:
    """Whether filters can tell that the score rises to position `guess` and falls behind it."""
    at = keys + 16 * guess
    if guess > 0:
        before, before_error = _monotone_rise(at, qx, qy)
        if not before > before_error:
            return False
    if guess < last:
        after, after_error = _monotone_rise(at + 16, qx, qy)
        return -after > after_error
    return True


@njit(nogil=True, error_model="numpy")
def _monotone_end(h: int, keys: int, last: int, qx: float, qy: float) -> int:
    """monotone_best where the query sees a line last: its far end or the first key, if one wins; else -1."""
    order = load_i64(h + HULL_ORDER)
    if order == HULL_DISORDER or qy == 0.0:
        return -1
    bend = 0
    if order == HULL_ORDER_TURNS + (HULL_UPPER if qy > 0.0 else HULL_LOWER):
        bend = load_i64(h + HULL_ORDER_STRICT)
    one = keys + 16 * last
    other = keys + 16 * bend
    p = qx * (load_f64(one) - load_f64(other))
    r = qy * (load_f64(one + 8) - load_f64(other + 8))
    error = FILTER_BOUND * (abs(p) + abs(r)) + FILTER_UNDERFLOW
    if p + r > error:
        return last
    return 0 if bend == 0 and -(p + r) > error else -1


@njit(nogil=True, error_model="numpy", forceinline=True)
def _monotone_seek(h: int, keys: int, last: int, near: int, qx: float, qy: float) -> int:
    """monotone_best where the last answer, `near`, does not win again."""
    # From the newest keys, which are at hand: a processor can begin that before it knows the last answer.
    guess = _monotone_guess(keys, last, last - 1, qx, qy)
    if guess < 0 or not _monotone_wins(keys, last, guess, qx, qy):
        # Other curves are like parabolas only nearby.
        guess = _monotone_guess(keys, last, near, qx, qy)
        if guess < 0 or not _monotone_wins(keys, last, guess, qx, qy):
            return -1
    store_i64(h + HULL_NEAR, min(max(guess, 1), last - 1))
    return guess


@njit(nogil=True, error_model="numpy", forceinline=True)
def monotone_best(h: int, keys: int, qx: float, qy: float) -> int:
    """The only key with the highest score for (qx, qy), or -1 where that takes hull_first and its like.

    On a strict chain scores rise and then fall, so two signs prove the winner. On a parabola the rise from
    key to key is linear in the position, and the two rises at any place lead to it. O(1).
    """
    last = load_i64(h + HULL_COUNT) - 1
    if not load_f64(h + HULL_TURN) * qy < 0.0:
        return _monotone_end(h, keys, last, qx, qy)
    # It has a key on either side, as a strict turn takes three.
    near = load_i64(h + HULL_NEAR)
    before, before_error = _monotone_rise(keys + 16 * near, qx, qy)
    after, after_error = _monotone_rise(keys + 16 * near + 16, qx, qy)
    if (before > before_error) & (-after > after_error):
        return near
    return _monotone_seek(h, keys, last, near, qx, qy)
