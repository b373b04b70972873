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
from attnc_backends.numba.runtime.memory import load_f64, load_i64, out_of_line, store_i64
from attnc_backends.numba.runtime.vector import (
    vec_abs,
    vec_add,
    vec_f64,
    vec_fill,
    vec_load,
    vec_mul,
    vec_muladd,
    vec_sub,
)
from attnc_backends.numba.runtime.vector_lanes import (
    vec_bits,
    vec_lane,
    vec_less,
    vec_next,
    vec_zip_even,
    vec_zip_odd,
)

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


# The two filters below compare a sum p + r of products with its error without |p| + |r|. Where p and r
# differ in sign, that is |p - r|. Where they do not, the sum has the sign of both, and needs no other
# proof once it is clear of underflow.


@njit(nogil=True, error_model="numpy", forceinline=True)
def _monotone_turns(at: int, turn: float) -> bool:
    """Whether filters can tell that the last three keys, the newest at `at`, turn to the side `turn`."""
    like = vec_f64(2)
    first = vec_load(at - 32, like)
    along = vec_sub(vec_load(at - 16, like), first)
    across = vec_sub(vec_load(at, like), first)
    # orient2: x of one difference times y of the other, less the same the other way round.
    products = vec_mul(along, vec_next(across, across))
    p = vec_lane(products, 0)
    r = vec_lane(products, 1)
    return turn * (p - r) > abs(p + r) * FILTER_BOUND + FILTER_UNDERFLOW


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
    x = load_f64(at)
    if not (x > load_f64(at - 16) and _monotone_turns(at, turn)):
        return False
    store_i64(h + HULL_COUNT, position + 1)
    return True


@njit(nogil=True, error_model="numpy", forceinline=True)
def _monotone_peaks(at: int, qx: float, qy: float) -> int:
    """What filters can tell of the scores next to two keys, the one at `at` and the one after it. Bit 0 says
    that the score rises to the first, bit 1 that it falls behind it; bits 2 and 3 say so of the second.

    All four at once: a vector of differences to the keys before and after, x and y of each.
    """
    like = vec_f64(4)
    here = vec_load(at, like)
    rise = vec_sub(here, vec_load(at - 16, like))
    fall = vec_sub(here, vec_load(at + 16, like))
    p = vec_mul(vec_zip_even(rise, fall), vec_fill(qx, like))
    r = vec_mul(vec_zip_odd(rise, fall), vec_fill(qy, like))
    size = vec_abs(vec_sub(p, r))
    error = vec_muladd(size, vec_fill(FILTER_BOUND, like), vec_fill(FILTER_UNDERFLOW, like))
    return vec_bits(vec_less(error, vec_add(p, r)))


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


@njit(nogil=True, error_model="numpy")
def _monotone_far(h: int, keys: int, last: int, near: int, qx: float, qy: float) -> int:
    """monotone_best where neither what is near the last answer wins nor what the newest keys point to."""
    out_of_line()
    guess = _monotone_guess(keys, last, last - 1, qx, qy)
    if guess < 0 or not _monotone_wins(keys, last, guess, qx, qy):
        # Other curves are like parabolas only nearby.
        guess = _monotone_guess(keys, last, near, qx, qy)
        if guess < 0 or not _monotone_wins(keys, last, guess, qx, qy):
            return -1
    store_i64(h + HULL_NEAR, min(max(guess, 1), last - 1))
    return guess


@njit(nogil=True, error_model="numpy", forceinline=True)
def _monotone_seek(h: int, keys: int, last: int, near: int, qx: float, qy: float) -> int:
    """monotone_best where what is near the last answer, `near`, does not win."""
    # From the newest keys, which are at hand: a processor can begin that before it knows the last answer.
    like = vec_f64(2)
    at = keys + 16 * last
    here = vec_load(at - 16, like)
    before = vec_sub(here, vec_load(at - 32, like))
    after = vec_sub(vec_load(at, like), here)
    across = vec_mul(vec_zip_even(before, after), vec_fill(qx, like))
    rises = vec_muladd(vec_zip_odd(before, after), vec_fill(qy, like), across)
    way = vec_lane(rises, 1) / (vec_lane(rises, 0) - vec_lane(rises, 1))
    if abs(way) < _MONOTONE_FAR:
        guess = min(max(last - 1 + int(way), 1), last - 2)
        bits = _monotone_peaks(keys + 16 * guess, qx, qy)
        if (bits & 3) == 3:
            store_i64(h + HULL_NEAR, guess)
            return guess
        if (bits & 12) == 12:
            store_i64(h + HULL_NEAR, guess + 1)
            return guess + 1
    return _monotone_far(h, keys, last, near, qx, qy)


@njit(nogil=True, error_model="numpy", forceinline=True)
def monotone_best(h: int, keys: int, qx: float, qy: float) -> int:
    """The only key with the highest score for (qx, qy), or -1 where that takes hull_first and its like.

    On a strict chain scores rise and then fall, so two signs prove the winner. On a parabola the rise from
    key to key is linear in the position, and the two rises at any place lead to it. O(1).
    """
    last = load_i64(h + HULL_COUNT) - 1
    if not load_f64(h + HULL_TURN) * qy < 0.0:
        return _monotone_end(h, keys, last, qx, qy)
    # Of the four keys or more, one lies before and two behind `near`.
    near = min(load_i64(h + HULL_NEAR), last - 2)
    bits = _monotone_peaks(keys + 16 * near, qx, qy)
    if (bits & 3) == 3:
        return near
    if (bits & 12) == 12:
        store_i64(h + HULL_NEAR, near + 1)
        return near + 1
    return _monotone_seek(h, keys, last, near, qx, qy)
