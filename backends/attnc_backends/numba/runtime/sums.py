"""Running sums of value columns: exact, and able to let go of what was added.

A column's sum is two doubles (hi, lo) that add up to it exactly, hi being the sum rounded once, while two
doubles suffice; from then on a super-accumulator. Values that are not finite are counted instead of added,
so that they can leave again. Both ways of keeping a sum are exact, so neither the order of additions nor the
moment of the change shows in a result.

A region holds the sums of the value rows at positions [from, upto); `sums_reach` moves these bounds. It
refers to itself by offsets only, so it may be copied as it is.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.exact import ACC_BYTES, acc_add, acc_clear, acc_round, two_sum
from attnc_backends.numba.runtime.memory import (
    load_element,
    load_f64,
    load_i64,
    store_f64,
    store_i64,
)

_SUMS_WIDTH = 0
_SUMS_FROM = 8
_SUMS_UPTO = 16
_SUMS_HEADER_BYTES = 24

# A column: the sum, whether the accumulator has it, how many NaN, infinities above and below are in it.
_SUMS_HI = 0
_SUMS_LO = 8
_SUMS_SPILLED = 16
_SUMS_NAN = 24
_SUMS_ABOVE = 32
_SUMS_BELOW = 40
_SUMS_ACC = 48
_SUMS_COLUMN_BYTES = _SUMS_ACC + ACC_BYTES


@njit(nogil=True, error_model="numpy")
def sums_bytes(width: int) -> int:
    """Bytes of a region for value rows of `width` elements."""
    return _SUMS_HEADER_BYTES + width * _SUMS_COLUMN_BYTES


@njit(nogil=True, error_model="numpy")
def sums_start(s: int, width: int) -> None:
    """Sums of nothing, at position 0. O(width); accumulators are not touched."""
    store_i64(s + _SUMS_WIDTH, width)
    store_i64(s + _SUMS_FROM, 0)
    store_i64(s + _SUMS_UPTO, 0)
    sums_clear(s)


@njit(nogil=True, error_model="numpy")
def sums_clear(s: int) -> None:
    """Let every sum be that of nothing."""
    for c in range(load_i64(s + _SUMS_WIDTH)):
        column = s + _SUMS_HEADER_BYTES + c * _SUMS_COLUMN_BYTES
        store_f64(column + _SUMS_HI, 0.0)
        store_f64(column + _SUMS_LO, 0.0)
        store_i64(column + _SUMS_SPILLED, 0)
        store_i64(column + _SUMS_NAN, 0)
        store_i64(column + _SUMS_ABOVE, 0)
        store_i64(column + _SUMS_BELOW, 0)


@njit(nogil=True, error_model="numpy")
def _sums_count(at: int, by: int) -> None:
    store_i64(at, load_i64(at) + by)


@njit(nogil=True, error_model="numpy")
def _sums_add_number(column: int, x: float) -> None:
    """Add a finite number to a column."""
    if load_i64(column + _SUMS_SPILLED) == 0:
        lo = load_f64(column + _SUMS_LO)
        s, e = two_sum(load_f64(column + _SUMS_HI), x)
        t, t_tail = two_sum(e, lo)
        hi, rest = two_sum(s, t)
        # An overflow makes a tail NaN, which is not 0 either.
        if t_tail == 0.0 and rest == rest:
            store_f64(column + _SUMS_HI, hi)
            store_f64(column + _SUMS_LO, rest)
            return
        acc_clear(column + _SUMS_ACC)
        acc_add(column + _SUMS_ACC, load_f64(column + _SUMS_HI))
        acc_add(column + _SUMS_ACC, lo)
        store_i64(column + _SUMS_SPILLED, 1)
    acc_add(column + _SUMS_ACC, x)


@njit(nogil=True, error_model="numpy")
def sums_add(s: int, row: int, step: int, vdtype: int, sign: int) -> None:
    """Add the value row at address `row`, its elements `step` bytes apart (`sign` 1), or take it away (-1).

    O(width) while two doubles hold a sum, and while the accumulator's limbs stay in place.
    """
    for c in range(load_i64(s + _SUMS_WIDTH)):
        column = s + _SUMS_HEADER_BYTES + c * _SUMS_COLUMN_BYTES
        x = load_element(row + c * step, vdtype)
        if math.isfinite(x):
            _sums_add_number(column, x if sign > 0 else -x)
        elif x != x:
            _sums_count(column + _SUMS_NAN, sign)
        elif x > 0.0:
            _sums_count(column + _SUMS_ABOVE, sign)
        else:
            _sums_count(column + _SUMS_BELOW, sign)


@njit(nogil=True, error_model="numpy")
def sums_reach(s: int, low: int, high: int, vals: int, stride: int, step: int, vdtype: int) -> None:
    """Let the sums be those of the value rows at positions [low, high). Row j begins at `vals + j * stride`.

    O(width) for each row that enters or leaves; bounds that only grow pay for each row twice at most.
    """
    start = load_i64(s + _SUMS_FROM)
    end = load_i64(s + _SUMS_UPTO)
    # Starting anew is cheaper than taking away more than will stay.
    if low < start or high < end or low - start > high - low:
        sums_clear(s)
        start = low
        end = low
    for position in range(start, low):
        sums_add(s, vals + position * stride, step, vdtype, -1)
    for position in range(end, high):
        sums_add(s, vals + position * stride, step, vdtype, 1)
    store_i64(s + _SUMS_FROM, low)
    store_i64(s + _SUMS_UPTO, high)


@njit(nogil=True, error_model="numpy")
def sums_mean(s: int, count: int, out: int) -> None:
    """Write each sum, rounded once, over `count` as doubles to `out`; a zero sum is +0.0.

    A NaN among the values, or infinities of both signs, give NaN; infinities of one sign give that one.
    """
    for c in range(load_i64(s + _SUMS_WIDTH)):
        column = s + _SUMS_HEADER_BYTES + c * _SUMS_COLUMN_BYTES
        above = load_i64(column + _SUMS_ABOVE) > 0
        below = load_i64(column + _SUMS_BELOW) > 0
        if load_i64(column + _SUMS_NAN) > 0 or (above and below):
            total = math.nan
        elif above:
            total = math.inf
        elif below:
            total = -math.inf
        elif load_i64(column + _SUMS_SPILLED) != 0:
            total = acc_round(column + _SUMS_ACC)
        else:
            total = load_f64(column + _SUMS_HI)
        if total == 0.0:
            total = 0.0  # not -0.0
        store_f64(out + 8 * c, total / count)


@njit(nogil=True, error_model="numpy")
def equal_keys_start(e: int) -> None:
    """A record of 16 bytes: how many keys were compared with key 0, and the first that differs (or -1)."""
    store_i64(e, 0)
    store_i64(e + 8, -1)


@njit(nogil=True, error_model="numpy")
def equal_keys(e: int, high: int, keys: int, stride: int, step: int, width: int, kdtype: int) -> int:
    """Whether the keys at positions [0, high) are equal numbers, column by column: 1 or 0.

    O(width) for each key not looked at before. A NaN differs from everything.
    """
    place = load_i64(e)
    while place < high and load_i64(e + 8) < 0:
        for c in range(width):
            if load_element(keys + place * stride + c * step, kdtype) != load_element(
                keys + c * step, kdtype
            ):
                store_i64(e + 8, place)
        place += 1
    store_i64(e, max(place, load_i64(e)))
    differs = load_i64(e + 8)
    return 1 if differs < 0 or differs >= high else 0
