"""Sums of tied values as two doubles, taken from a hull that has just been asked, so that two hulls may be
joined.

`hull_mean` leaves in its scratch the parts of the tied set (groups and single positions). Their sums, where
two doubles hold them, outlive the hull; two such sums add up without rounding, or it is said that they do
not.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.hull_groups import (
    hull_group,
    hull_group_sum,
    hull_row_sum,
    hull_sum_join,
)
from attnc_backends.numba.runtime.hull_header import HULL_GROUP_COUNT
from attnc_backends.numba.runtime.hull_layout import HULL_WIDTH
from attnc_backends.numba.runtime.memory import load_f64, load_i64, store_f64

# Where a tied set lies in scratch: see runtime/hull.py.
_TIED_PARTS = 8


@njit(nogil=True, error_model="numpy")
def hull_tied_sums(
    h: int, count: int, best: int, vals: int, value_stride: int, vdtype: int, out: int, scratch: int
) -> None:
    """Write the sum of every value column over the `count` positions that `hull_mean` has just found, `best`
    one of them, as pairs of doubles (hi, lo); lo is NaN where two doubles do not suffice.
    """
    for column in range(load_i64(h + HULL_WIDTH)):
        hi, lo = hull_row_sum(best, column, vals, value_stride, vdtype)
        if count > 1:
            hi = 0.0
            lo = 0.0
            seen = 0
            at = scratch + _TIED_PARTS
            while seen < count:
                part = load_i64(at)
                if part >= 0:
                    more, rest = hull_group_sum(h, part, column, vals, value_stride, vdtype)
                    seen += load_i64(hull_group(h, part) + HULL_GROUP_COUNT)
                else:
                    more, rest = hull_row_sum(~part, column, vals, value_stride, vdtype)
                    seen += 1
                hi, lo = hull_sum_join(hi, lo, more, rest)
                at += 8
        store_f64(out + 16 * column, hi)
        store_f64(out + 16 * column + 8, lo)


@njit(nogil=True, error_model="numpy")
def hull_sums_add(width: int, into: int, other: int) -> None:
    """Add the pairs at `other` to those at `into`, by columns; lo becomes NaN where that is not exact."""
    for column in range(width):
        at = into + 16 * column
        more = other + 16 * column
        hi, lo = hull_sum_join(load_f64(at), load_f64(at + 8), load_f64(more), load_f64(more + 8))
        store_f64(at, hi)
        store_f64(at + 8, lo)


@njit(nogil=True, error_model="numpy")
def hull_sums_mean(width: int, sums: int, count: int, out: int) -> int:
    """Write the mean of `count` value rows with these column sums, as doubles; 0, or 1 when some sum is not
    known exactly.
    """
    for column in range(width):
        hi = load_f64(sums + 16 * column)
        if math.isnan(load_f64(sums + 16 * column + 8)):
            return 1
        store_f64(out + 8 * column, hi / count if hi != 0.0 else 0.0)
    return 0
