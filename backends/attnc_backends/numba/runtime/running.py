"""Running structures of one key head: what ties over a range of positions, and the extremes of narrow keys.

A region answers for the keys at positions [low, high), bounds that usually only grow: which of them has the
largest or the smallest key (keys of width 1), and the mean of the value rows that tie. It reads keys and
value rows where they lie and remembers how far it has read, so it needs no word of appends; bounds that move
back make it start anew. What a region knows follows from the rows alone.

A side is the maximum of `sign * key`, sign 1 or -1. Where the lower bound never moves, a side is its best key
and who has it; else it is a monotone queue of positions: keys that no later and larger key hides, so that the
first of the queue is best. Each position enters a queue once and leaves it once.
"""

from numba import njit

from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    load_element,
    load_f64,
    load_i64,
    store_f64,
    store_i64,
)
from attnc_backends.numba.runtime.sums import (
    equal_keys,
    equal_keys_start,
    sums_add,
    sums_bytes,
    sums_clear,
    sums_mean,
    sums_reach,
    sums_start,
)

# What a region keeps: exact sums of value rows, the two sides, queues for a lower bound that moves; and
# whether the last of several equal keys is wanted instead of the first.
RUNNING_MEAN = 1
RUNNING_SIDES = 2
RUNNING_WINDOW = 4
RUNNING_LAST = 8

_RUNNING_CAPACITY = 0
_RUNNING_WIDTH = 8
_RUNNING_FLAGS = 16
_RUNNING_EQUAL = 24
_RUNNING_SUMS = 40

# A side: the positions it has read, the ends of its queue (without a window: the first and last best position
# and the best key), and how many of the best are in its sums.
_SIDE_FROM = 0
_SIDE_UPTO = 8
_SIDE_HEAD = 16
_SIDE_TAIL = 24
_SIDE_BEST = 32
_SIDE_RUN = 40
_SIDE_SUMS = 48


@njit(nogil=True, error_model="numpy")
def _running_sums_bytes(width: int, flags: int) -> int:
    return sums_bytes(width) if (flags & RUNNING_MEAN) != 0 else 0


@njit(nogil=True, error_model="numpy")
def _running_fixed_bytes(width: int, flags: int) -> int:
    """Everything but the queues."""
    size = _RUNNING_SUMS + _running_sums_bytes(width, flags)
    if (flags & RUNNING_SIDES) != 0:
        size += 2 * (_SIDE_SUMS + _running_sums_bytes(width, flags))
    return size


@njit(nogil=True, error_model="numpy")
def _running_queue_bytes(capacity: int, flags: int) -> int:
    """One queue."""
    wanted = RUNNING_SIDES | RUNNING_WINDOW
    return 8 * capacity if (flags & wanted) == wanted else 0


@njit(nogil=True, error_model="numpy")
def running_bytes(capacity: int, width: int, flags: int) -> int:
    """Bytes of a region for `capacity` positions with value rows of `width` elements."""
    return _running_fixed_bytes(width, flags) + 2 * _running_queue_bytes(capacity, flags)


@njit(nogil=True, error_model="numpy")
def _running_side(r: int, side: int) -> int:
    """Address of side 0 (largest key) or 1 (smallest key)."""
    sums = _running_sums_bytes(load_i64(r + _RUNNING_WIDTH), load_i64(r + _RUNNING_FLAGS))
    return r + _RUNNING_SUMS + sums + side * (_SIDE_SUMS + sums)


@njit(nogil=True, error_model="numpy")
def _running_queue(r: int, side: int) -> int:
    """Address of a side's queue."""
    flags = load_i64(r + _RUNNING_FLAGS)
    queue = _running_queue_bytes(load_i64(r + _RUNNING_CAPACITY), flags)
    return r + _running_fixed_bytes(load_i64(r + _RUNNING_WIDTH), flags) + side * queue


@njit(nogil=True, error_model="numpy")
def running_start(r: int, capacity: int, width: int, flags: int) -> None:
    """A region that has read nothing. O(width)."""
    store_i64(r + _RUNNING_CAPACITY, capacity)
    store_i64(r + _RUNNING_WIDTH, width)
    store_i64(r + _RUNNING_FLAGS, flags)
    equal_keys_start(r + _RUNNING_EQUAL)
    if (flags & RUNNING_MEAN) != 0:
        sums_start(r + _RUNNING_SUMS, width)
    if (flags & RUNNING_SIDES) != 0:
        for side in range(2):
            s = _running_side(r, side)
            store_i64(s + _SIDE_UPTO, 0)
            if (flags & RUNNING_MEAN) != 0:
                sums_start(s + _SIDE_SUMS, width)
            _side_restart(s, 0, flags)


@njit(nogil=True, error_model="numpy")
def running_move(source: int, r: int, capacity: int) -> None:
    """Copy the region at `source` to `r`, which has room for `capacity` positions, no fewer than before."""
    width = load_i64(source + _RUNNING_WIDTH)
    flags = load_i64(source + _RUNNING_FLAGS)
    copy_bytes(r, source, _running_fixed_bytes(width, flags))
    store_i64(r + _RUNNING_CAPACITY, capacity)
    if _running_queue_bytes(1, flags) > 0:
        for side in range(2):
            used = 8 * load_i64(_running_side(r, side) + _SIDE_TAIL)
            copy_bytes(_running_queue(r, side), _running_queue(source, side), used)


@njit(nogil=True, error_model="numpy")
def running_equal(r: int, high: int, keys: int, stride: int, step: int, width: int, kdtype: int) -> int:
    """1 if the keys at positions [0, high) are equal numbers, else 0. Amortised O(key width)."""
    return equal_keys(r + _RUNNING_EQUAL, high, keys, stride, step, width, kdtype)


@njit(nogil=True, error_model="numpy")
def _side_restart(s: int, low: int, flags: int) -> None:
    """Forget what was read; go on from position `low`."""
    store_i64(s + _SIDE_FROM, low)
    store_i64(s + _SIDE_UPTO, low)
    store_i64(s + _SIDE_HEAD, 0)
    store_i64(s + _SIDE_TAIL, 0)
    store_i64(s + _SIDE_RUN, 0)
    if (flags & RUNNING_MEAN) != 0:
        sums_clear(s + _SIDE_SUMS)


@njit(nogil=True, error_model="numpy")
def _side_extend(
    r: int,
    s: int,
    sign: float,
    high: int,
    keys: int,
    stride: int,
    kdtype: int,
    vals: int,
    value_stride: int,
    value_step: int,
    vdtype: int,
) -> None:
    """Read on up to position `high` where the lower bound stays: a best key and who has it."""
    mean = (load_i64(r + _RUNNING_FLAGS) & RUNNING_MEAN) != 0
    for position in range(load_i64(s + _SIDE_UPTO), high):
        x = sign * load_element(keys + position * stride, kdtype)
        run = load_i64(s + _SIDE_RUN)
        best = load_f64(s + _SIDE_BEST)
        if run > 0 and x < best:
            continue
        if run == 0 or x > best:
            store_f64(s + _SIDE_BEST, x)
            store_i64(s + _SIDE_HEAD, position)
            run = 0
            if mean:
                sums_clear(s + _SIDE_SUMS)
        store_i64(s + _SIDE_TAIL, position)
        store_i64(s + _SIDE_RUN, run + 1)
        if mean:
            sums_add(s + _SIDE_SUMS, vals + position * value_stride, value_step, vdtype, 1)
    store_i64(s + _SIDE_UPTO, high)


@njit(nogil=True, error_model="numpy")
def _side_queue(
    r: int,
    s: int,
    queue: int,
    sign: float,
    low: int,
    high: int,
    keys: int,
    stride: int,
    kdtype: int,
    vals: int,
    value_stride: int,
    value_step: int,
    vdtype: int,
) -> None:
    """Read on up to position `high`, and let go of positions below `low`."""
    flags = load_i64(r + _RUNNING_FLAGS)
    mean = (flags & RUNNING_MEAN) != 0
    latest = (flags & RUNNING_LAST) != 0
    head = load_i64(s + _SIDE_HEAD)
    tail = load_i64(s + _SIDE_TAIL)
    run = load_i64(s + _SIDE_RUN)
    for position in range(load_i64(s + _SIDE_UPTO), high):
        x = sign * load_element(keys + position * stride, kdtype)
        while tail > head:
            back = sign * load_element(keys + load_i64(queue + 8 * (tail - 1)) * stride, kdtype)
            if back > x or (back == x and not latest):
                break
            tail -= 1
        if tail == head and run > 0:
            # Tied ones go together: whoever hides one of the best hides all of them.
            run = 0
            sums_clear(s + _SIDE_SUMS)
        store_i64(queue + 8 * tail, position)
        tail += 1
    while head < tail and load_i64(queue + 8 * head) < low:
        if run > 0:
            gone = load_i64(queue + 8 * head)
            sums_add(s + _SIDE_SUMS, vals + gone * value_stride, value_step, vdtype, -1)
            run -= 1
            if run == 0:
                sums_clear(s + _SIDE_SUMS)
        head += 1
    if mean and head < tail:
        best = load_element(keys + load_i64(queue + 8 * head) * stride, kdtype)
        while head + run < tail:
            position = load_i64(queue + 8 * (head + run))
            if load_element(keys + position * stride, kdtype) != best:
                break
            sums_add(s + _SIDE_SUMS, vals + position * value_stride, value_step, vdtype, 1)
            run += 1
    store_i64(s + _SIDE_FROM, low)
    store_i64(s + _SIDE_UPTO, high)
    store_i64(s + _SIDE_HEAD, head)
    store_i64(s + _SIDE_TAIL, tail)
    store_i64(s + _SIDE_RUN, run)


@njit(nogil=True, error_model="numpy")
def running_best(
    r: int,
    side: int,
    low: int,
    high: int,
    keys: int,
    stride: int,
    kdtype: int,
    vals: int,
    value_stride: int,
    value_step: int,
    vdtype: int,
) -> int:
    """The first (or, as the region was told, last) position in [low, high) with the best key of a side.

    Side 0 is the largest key, 1 the smallest; there must be a position, and keys must not be NaN. A region
    without queues serves one `low` only, which is the 0 it begins with. Amortised O(1), with means O(value
    width), while bounds only grow.
    """
    s = _running_side(r, side)
    flags = load_i64(r + _RUNNING_FLAGS)
    sign = 1.0 - 2.0 * side
    if low < load_i64(s + _SIDE_FROM) or high < load_i64(s + _SIDE_UPTO) or low > load_i64(s + _SIDE_UPTO):
        _side_restart(s, low, flags)
    if (flags & RUNNING_WINDOW) != 0:
        queue = _running_queue(r, side)
        _side_queue(
            r, s, queue, sign, low, high, keys, stride, kdtype, vals, value_stride, value_step, vdtype
        )
        return load_i64(queue + 8 * load_i64(s + _SIDE_HEAD))
    _side_extend(r, s, sign, high, keys, stride, kdtype, vals, value_stride, value_step, vdtype)
    return load_i64(s + (_SIDE_TAIL if (flags & RUNNING_LAST) != 0 else _SIDE_HEAD))


@njit(nogil=True, error_model="numpy")
def running_best_mean(r: int, side: int, out: int) -> int:
    """Write the mean value row of all positions that tie for `running_best`, just asked, as doubles; their
    number.
    """
    s = _running_side(r, side)
    run = load_i64(s + _SIDE_RUN)
    sums_mean(s + _SIDE_SUMS, run, out)
    return run


@njit(nogil=True, error_model="numpy")
def running_mean(
    r: int, low: int, high: int, vals: int, value_stride: int, value_step: int, vdtype: int, out: int
) -> int:
    """Write the mean of the value rows at positions [low, high) as doubles; their number, at least 1.

    Each is the exact sum, rounded once, over the number. Amortised O(value width) while bounds only grow.
    """
    sums_reach(r + _RUNNING_SUMS, low, high, vals, value_stride, value_step, vdtype)
    sums_mean(r + _RUNNING_SUMS, high - low, out)
    return high - low
