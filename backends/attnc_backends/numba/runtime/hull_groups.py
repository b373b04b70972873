"""Groups: aggregates of keys that tie together, with the exact sum of their values.

A group knows its first and last position. With means it also keeps its count, a linked list of its members
and, per value column, the sum as two doubles (hi, lo) that add up to it exactly, hi being the sum rounded
once; lo is NaN where two doubles do not suffice or a value is not finite, and then the sum is taken by
walking the list. The sums are of the first members of the list, and are brought up to all of them when a
query asks: lists only grow at their end. A group of one member stores no sums: its value row is the sum.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.exact import two_sum
from attnc_backends.numba.runtime.hull_header import (
    HULL_CAPACITY,
    HULL_GROUP_BYTES,
    HULL_GROUP_COUNT,
    HULL_GROUP_LAST,
    HULL_GROUP_TAIL,
    HULL_GROUPS_AT,
    HULL_LINKS_AT,
    HULL_REPEAT,
    HULL_WITH_MEAN,
)
from attnc_backends.numba.runtime.hull_layout import (
    HULL_GROUP_FIRST,
    HULL_GROUP_HEAD,
    HULL_GROUP_SUMMED,
    HULL_GROUP_SUMS,
    HULL_GROUP_UPTO,
    HULL_GROUPS_FREE,
    HULL_GROUPS_USED,
    HULL_WHOLE,
    HULL_WIDTH,
)
from attnc_backends.numba.runtime.hull_repeat import hull_join
from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    dtype_bytes,
    load_element,
    load_f64,
    load_i32,
    load_i64,
    out_of_line,
    store_f64,
    store_i32,
    store_i64,
)


@njit(nogil=True, error_model="numpy", forceinline=True)
def hull_group(h: int, group: int) -> int:
    """Address of group `group`."""
    return h + load_i64(h + HULL_GROUPS_AT) + group * load_i64(h + HULL_GROUP_BYTES)


@njit(nogil=True, error_model="numpy", forceinline=True)
def hull_link(h: int, kind: int, position: int) -> int:
    """Address of the int32 link from `position` to the next member of its list of that kind."""
    return h + load_i64(h + HULL_LINKS_AT) + 4 * (kind * load_i64(h + HULL_CAPACITY) + position)


@njit(nogil=True, error_model="numpy")
def hull_group_start(h: int, group: int, position: int) -> None:
    """Make `position` the only member. O(1)."""
    g = hull_group(h, group)
    store_i64(g + HULL_GROUP_FIRST, position)
    store_i64(g + HULL_GROUP_LAST, position)
    if load_i64(h + HULL_WITH_MEAN) != 0:
        store_i64(g + HULL_GROUP_COUNT, 1)
        store_i64(g + HULL_GROUP_HEAD, position)
        store_i64(g + HULL_GROUP_TAIL, position)
        store_i64(g + HULL_GROUP_SUMMED, 0)


@njit(nogil=True, error_model="numpy")
def hull_group_new(h: int, position: int) -> int:
    """A fresh group whose only member is `position`."""
    out_of_line()
    group = load_i64(h + HULL_GROUPS_FREE)
    if group >= 0:
        store_i64(h + HULL_GROUPS_FREE, load_i64(hull_group(h, group)))
    else:
        group = load_i64(h + HULL_GROUPS_USED)
        store_i64(h + HULL_GROUPS_USED, group + 1)
    hull_group_start(h, group, position)
    return group


@njit(nogil=True, error_model="numpy", forceinline=True)
def hull_group_drop(h: int, group: int) -> None:
    """Return a group to the free list; -1 is no group."""
    if group >= 0:
        store_i64(hull_group(h, group), load_i64(h + HULL_GROUPS_FREE))
        store_i64(h + HULL_GROUPS_FREE, group)


@njit(nogil=True, error_model="numpy", forceinline=True)
def hull_row_sum(
    position: int, column: int, vals: int, value_stride: int, vdtype: int
) -> tuple[float, float]:
    """One value as a sum (hi, lo)."""
    value = load_element(vals + position * value_stride + column * dtype_bytes(vdtype), vdtype)
    return value, (0.0 if math.isfinite(value) else math.nan)


@njit(nogil=True, error_model="numpy", forceinline=True)
def hull_group_sum(
    h: int, group: int, column: int, vals: int, value_stride: int, vdtype: int
) -> tuple[float, float]:
    """The cached sum (hi, lo) of a group's value column."""
    g = hull_group(h, group)
    if load_i64(g + HULL_GROUP_COUNT) == 1:
        return hull_row_sum(load_i64(g + HULL_GROUP_FIRST), column, vals, value_stride, vdtype)
    at = g + HULL_GROUP_SUMS + 16 * column
    return load_f64(at), load_f64(at + 8)


@njit(nogil=True, error_model="numpy", forceinline=True)
def hull_sum_join(a_hi: float, a_lo: float, b_hi: float, b_lo: float) -> tuple[float, float]:
    """The sum of two sums: exact, with hi rounded to nearest, or with a NaN in lo.

    An overflow makes a tail NaN and is thereby recorded as inexact, as is a lo that was NaN already.
    """
    s, s_tail = two_sum(a_hi, b_hi)
    t, t_tail = two_sum(a_lo, b_lo)
    w, w_tail = two_sum(s_tail, t)
    hi, lo = two_sum(s, w)
    return hi, (lo if t_tail == 0.0 and w_tail == 0.0 else math.nan)


@njit(nogil=True, error_model="numpy")
def hull_group_add(h: int, group: int, kind: int, position: int) -> None:
    """Add `position`, larger than every member, and note the group. O(1)."""
    out_of_line()
    store_i64(h + HULL_REPEAT + 8 * kind, group)
    hull_join(h, group, kind, position)


@njit(nogil=True, error_model="numpy")
def hull_group_is_summed(h: int, group: int) -> bool:
    """Whether a group's sums are of all its members, or none are needed."""
    g = hull_group(h, group)
    count = load_i64(g + HULL_GROUP_COUNT)
    return count == load_i64(g + HULL_GROUP_SUMMED) or count == 1


@njit(nogil=True, error_model="numpy")
def hull_group_reach(h: int, group: int, kind: int, vals: int, value_stride: int, vdtype: int) -> None:
    """Bring a group's sums up to its members. O(value width) for each that they do not hold yet."""
    out_of_line()
    g = hull_group(h, group)
    count = load_i64(g + HULL_GROUP_COUNT)
    summed = load_i64(g + HULL_GROUP_SUMMED)
    width = load_i64(h + HULL_WIDTH)
    position = load_i64(g + HULL_GROUP_UPTO)
    if summed == 0:
        position = load_i64(g + HULL_GROUP_HEAD)
        for column in range(width):
            hi, lo = hull_row_sum(position, column, vals, value_stride, vdtype)
            store_f64(g + HULL_GROUP_SUMS + 16 * column, hi)
            store_f64(g + HULL_GROUP_SUMS + 16 * column + 8, lo)
        summed = 1
    while summed < count:
        position = hull_group_next(h, kind, position)
        for column in range(width):
            at = g + HULL_GROUP_SUMS + 16 * column
            hi = load_f64(at)
            lo = load_f64(at + 8)
            v, v_lo = hull_row_sum(position, column, vals, value_stride, vdtype)
            s, tail = two_sum(hi, v)
            if lo == 0.0 and tail == 0.0:
                # As small integers do: the sum is a double. A value that is not finite makes the tail NaN.
                store_f64(at, s)
            else:
                hi, lo = hull_sum_join(hi, lo, v, v_lo)
                store_f64(at, hi)
                store_f64(at + 8, lo)
        summed += 1
    store_i64(g + HULL_GROUP_SUMMED, summed)
    store_i64(g + HULL_GROUP_UPTO, position)


@njit(nogil=True, error_model="numpy")
def hull_group_takes(h: int, group: int, position: int) -> bool:
    """Whether hull_group_add may add `position`, which must be larger than every member."""
    return position > load_i64(hull_group(h, group) + HULL_GROUP_LAST)


@njit(nogil=True, error_model="numpy")
def hull_group_copy(h: int, group: int) -> int:
    """A fresh group with the same members; its list must exist already in the kind that it is used for."""
    other = hull_group_new(h, 0)
    copy_bytes(hull_group(h, other), hull_group(h, group), load_i64(h + HULL_GROUP_BYTES))
    return other


@njit(nogil=True, error_model="numpy")
def hull_group_join(h: int, group: int, other: int, kind: int) -> None:
    """Move the members of group `other` into `group` and drop it. O(1)."""
    out_of_line()
    g = hull_group(h, group)
    o = hull_group(h, other)
    if load_i64(h + HULL_WITH_MEAN) != 0:
        store_i64(g + HULL_GROUP_COUNT, load_i64(g + HULL_GROUP_COUNT) + load_i64(o + HULL_GROUP_COUNT))
        store_i32(hull_link(h, kind, load_i64(g + HULL_GROUP_TAIL)), load_i64(o + HULL_GROUP_HEAD))
        store_i64(g + HULL_GROUP_TAIL, load_i64(o + HULL_GROUP_TAIL))
    store_i64(g + HULL_GROUP_FIRST, min(load_i64(g + HULL_GROUP_FIRST), load_i64(o + HULL_GROUP_FIRST)))
    store_i64(g + HULL_GROUP_LAST, max(load_i64(g + HULL_GROUP_LAST), load_i64(o + HULL_GROUP_LAST)))
    hull_group_drop(h, other)


@njit(nogil=True, error_model="numpy")
def hull_group_next(h: int, kind: int, position: int) -> int:
    """The member after `position` in its list; for the whole set simply the next position."""
    if kind == HULL_WHOLE:
        return position + 1
    return load_i32(hull_link(h, kind, position))
