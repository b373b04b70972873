"""Exact hard-max over keys on one parabola of integers: which written address is best for a query.

Let keys be (c1 a + c0, d2 a^2 + d1 a + d0) for integers a, |a| <= bound, and d2 not 0. A score is then the
quadratic

    qy d2 a^2 + (qx c1 + qy d1) a + what does not depend on a

If qy d2 < 0 it falls strictly with the distance of a from the vertex, so that the nearest written address
wins, and at most the two next to the vertex tie. If qy d2 > 0 the smallest or the largest address wins, if
qy = 0 one of them by the sign of qx c1, and under a zero query all keys tie.

Scores are compared exactly, on the coordinates that doubles hold without rounding. Keys that are not on the
parabola are set aside, in order, for another structure.

A region reads keys and value rows where they lie, in order, and remembers how many it has read.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.exact import ACC_BYTES, acc_add, acc_clear, acc_round, compare_dot2, two_sum
from attnc_backends.numba.runtime.hull_groups import hull_sum_join
from attnc_backends.numba.runtime.index_table import (
    INDEX_ASIDE,
    INDEX_BOUND,
    INDEX_COUNT,
    INDEX_FIRST,
    INDEX_FORM,
    INDEX_GROUP_COUNT,
    INDEX_GROUP_HEAD,
    INDEX_GROUP_SUMS,
    INDEX_GROUP_TAIL,
    INDEX_GROUPS,
    INDEX_GROUPS_AT,
    INDEX_HIGH,
    INDEX_KEYS_AT,
    INDEX_LAST,
    INDEX_LINKS_AT,
    INDEX_LIST_AT,
    INDEX_LOW,
    INDEX_MEAN,
    INDEX_REACH,
    INDEX_ROWS_AT,
    INDEX_TIE,
    INDEX_WIDTH,
    index_entry,
    index_kept,
    index_near,
    index_restart,
)
from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    dtype_bytes,
    load_element,
    load_f64,
    load_i32,
    load_i64,
    store_f64,
    store_i32,
    store_i64,
)

_INDEX_LARGE = 2.0**500

# What a query found, in scratch: whether a key set aside may be as good (else 0), the place of the best
# address, that of a second one that ties (or -1), and what these addresses keep; then an accumulator.
INDEX_FOUND_OPEN = 0
_FOUND_PLACE = 8
_FOUND_KEPT = 24
_FOUND_ACC = 40


@njit(nogil=True, error_model="numpy")
def index_scratch_bytes() -> int:
    """Bytes of scratch that a query needs."""
    return _FOUND_ACC + ACC_BYTES


# --- keys and values ----------------------------------------------------------------------------------------


@njit(nogil=True, error_model="numpy")
def _index_place(r: int, x: float, y: float) -> int:
    """The place of a key; -1 off the parabola."""
    c1 = load_f64(r + INDEX_FORM)
    c0 = load_f64(r + INDEX_FORM + 8)
    bound = load_i64(r + INDEX_BOUND)
    # For a key of the parabola every step here is exact.
    near = (x - c0) / c1
    if not abs(near) <= bound:
        return -1
    a = math.floor(near + 0.5)
    square = (load_f64(r + INDEX_FORM + 16) * a + load_f64(r + INDEX_FORM + 24)) * a
    if c1 * a + c0 != x or square + load_f64(r + INDEX_FORM + 32) != y:
        return -1
    return int(a) + bound + 1


@njit(nogil=True, error_model="numpy")
def _index_key(r: int, place: int) -> tuple[float, float]:
    """The key at a place."""
    a = float(place - load_i64(r + INDEX_BOUND) - 1)
    x = load_f64(r + INDEX_FORM) * a + load_f64(r + INDEX_FORM + 8)
    y = (load_f64(r + INDEX_FORM + 16) * a + load_f64(r + INDEX_FORM + 24)) * a
    return x, y + load_f64(r + INDEX_FORM + 32)


@njit(nogil=True, error_model="numpy")
def _index_group(r: int, group: int) -> int:
    """Address of a group."""
    size = INDEX_GROUP_SUMS + 16 * load_i64(r + INDEX_WIDTH)
    return r + load_i64(r + INDEX_GROUPS_AT) + group * size


@njit(nogil=True, error_model="numpy")
def _index_add(r: int, group: int, position: int, row: int, step: int, vdtype: int) -> None:
    """Add the value row at address `row`, of the newest position, to a group."""
    g = _index_group(r, group)
    count = load_i64(g + INDEX_GROUP_COUNT)
    for c in range(load_i64(r + INDEX_WIDTH)):
        at = g + INDEX_GROUP_SUMS + 16 * c
        hi = load_element(row + c * step, vdtype)
        lo = 0.0 if math.isfinite(hi) else math.nan
        if count > 0:
            old_hi = load_f64(at)
            old_lo = load_f64(at + 8)
            s, tail = two_sum(old_hi, hi)
            if old_lo == 0.0 and tail == 0.0:
                # As small integers do: the sum is a double. A value that is not finite makes the tail NaN.
                hi = s
                lo = 0.0
            else:
                hi, lo = hull_sum_join(old_hi, old_lo, hi, lo)
        store_f64(at, hi)
        store_f64(at + 8, lo)
    links = r + load_i64(r + INDEX_LINKS_AT)
    if count == 0:
        store_i64(g + INDEX_GROUP_HEAD, position)
    elif group > 0:  # all keys need no list
        store_i64(links + 8 * load_i64(g + INDEX_GROUP_TAIL), position)
    store_i64(g + INDEX_GROUP_TAIL, position)
    store_i64(g + INDEX_GROUP_COUNT, count + 1)


@njit(nogil=True, error_model="numpy")
def _index_is_deep(r: int, x: float, y: float) -> bool:
    """Whether a key lies inside the parabola, farther than |d2| from it along the second coordinate.

    Let qy d2 < 0, and let t be the address at which x would be on the parabola. The score of (x, y) is at
    least |qy d2| below that of t, which is none above the vertex; and an address whose distance from the
    vertex is e < 1 is e^2 |qy d2| below the vertex. So this key cannot be as good as such an address.
    """
    d2 = load_f64(r + INDEX_FORM + 16)
    d1 = load_f64(r + INDEX_FORM + 24)
    d0 = load_f64(r + INDEX_FORM + 32)
    t = (x - load_f64(r + INDEX_FORM + 8)) / load_f64(r + INDEX_FORM)
    depth = (d2 * t + d1) * t + d0 - y
    if d2 > 0.0:
        depth = -depth
    # Much more than rounding can be; a NaN is not deep.
    margin = 2.0**-40 * (abs(d2 * t * t) + abs(d1 * t) + abs(d0) + abs(y))
    return depth - margin >= abs(d2)


@njit(nogil=True, error_model="numpy")
def _index_set_aside(r: int, position: int, x: float, y: float, row: int, step: int, vdtype: int) -> None:
    """Note a key that is not on the parabola, with a copy of its value row where means are kept."""
    number = load_i64(r + INDEX_ASIDE)
    store_i64(r + INDEX_ASIDE, number + 1)
    store_i64(r + load_i64(r + INDEX_LIST_AT) + 8 * number, position)
    store_f64(r + load_i64(r + INDEX_KEYS_AT) + 16 * number, x)
    store_f64(r + load_i64(r + INDEX_KEYS_AT) + 16 * number + 8, y)
    if not _index_is_deep(r, x, y):
        store_i64(r + INDEX_REACH, load_i64(r + INDEX_REACH) + 1)
    if load_i64(r + INDEX_TIE) == INDEX_MEAN:
        size = dtype_bytes(vdtype)
        width = load_i64(r + INDEX_WIDTH)
        copy = r + load_i64(r + INDEX_ROWS_AT) + number * width * size
        for c in range(width):
            copy_bytes(copy + c * size, row + c * step, size)


@njit(nogil=True, error_model="numpy")
def index_extend(
    r: int,
    upto: int,
    keys: int,
    stride: int,
    across: int,
    kdtype: int,
    vals: int,
    value_stride: int,
    value_step: int,
    vdtype: int,
) -> int:
    """Let the region hold the keys at positions [0, upto), which must be finite; how many are set aside.

    Key j has its linear coordinate at `keys + j * stride` and the other one `across` bytes further. O(1) for
    each key not read before, with means O(value width); fewer keys than before are read anew.
    """
    if upto < load_i64(r + INDEX_COUNT):
        index_restart(r)
    tie = load_i64(r + INDEX_TIE)
    for position in range(load_i64(r + INDEX_COUNT), upto):
        at = keys + position * stride
        x = load_element(at, kdtype)
        y = load_element(at + across, kdtype)
        row = vals + position * value_stride
        place = _index_place(r, x, y)
        if place < 0:
            _index_set_aside(r, position, x, y, row, value_step, vdtype)
        else:
            entry = index_entry(r, place)
            if tie == INDEX_LAST:
                store_i32(entry, position + 1)
            elif load_i32(entry) == 0:
                if tie == INDEX_FIRST:
                    store_i32(entry, position + 1)
                else:
                    group = load_i64(r + INDEX_GROUPS)
                    store_i64(r + INDEX_GROUPS, group + 1)
                    store_i32(entry, group)
                    store_i64(_index_group(r, group) + INDEX_GROUP_COUNT, 0)
            if tie == INDEX_MEAN:
                _index_add(r, load_i32(entry), position, row, value_step, vdtype)
            store_i64(r + INDEX_LOW, min(place, load_i64(r + INDEX_LOW)))
            store_i64(r + INDEX_HIGH, max(place, load_i64(r + INDEX_HIGH)))
        if tie == INDEX_MEAN:
            _index_add(r, 0, position, row, value_step, vdtype)
    store_i64(r + INDEX_COUNT, upto)
    return load_i64(r + INDEX_ASIDE)


# --- queries ------------------------------------------------------------------------------------------------


@njit(nogil=True, error_model="numpy")
def _index_rise(r: int, qx: float, qy: float, here: int, there: int, scratch: int) -> int:
    """Sign of the score at place `there` minus that at `here`."""
    x1, y1 = _index_key(r, there)
    x2, y2 = _index_key(r, here)
    return compare_dot2(qx, qy, x1, y1, x2, y2, scratch + _FOUND_ACC)


@njit(nogil=True, error_model="numpy")
def _index_walk(r: int, qx: float, qy: float, guess: int, scratch: int) -> tuple[int, int]:
    """The best place, and a second one that ties or -1, where scores fall with the distance from a vertex.

    `guess` is a place near the vertex, between the smallest and the largest one written.
    """
    left = index_near(r, guess, False)
    right = index_near(r, left, True)
    while True:
        sign = -1
        if right >= 0:
            sign = _index_rise(r, qx, qy, left, right, scratch)
        if sign == 0:
            return left, right
        if sign < 0:
            before = index_near(r, left - 1, False)
            if before < 0:
                return left, -1
            sign = _index_rise(r, qx, qy, before, left, scratch)
            if sign > 0:
                return left, -1
            if sign == 0:
                return before, left
            right = left
            left = before
        else:
            after = index_near(r, right, True)
            if after < 0:
                return right, -1
            sign = _index_rise(r, qx, qy, right, after, scratch)
            if sign < 0:
                return right, -1
            if sign == 0:
                return right, after
            left = right
            right = after


@njit(nogil=True, error_model="numpy")
def index_best(r: int, qx: float, qy: float, scratch: int) -> int:
    """Find the best written addresses for a query other than (0, 0); they stay in `scratch`.

    The first or last position of their writes, as the region was told (0 with means); -1 where no key is on
    the parabola. O(1).
    """
    low = load_i64(r + INDEX_LOW)
    high = load_i64(r + INDEX_HIGH)
    if high < 0:
        return -1
    c1 = load_f64(r + INDEX_FORM)
    d2 = load_f64(r + INDEX_FORM + 16)
    best = low
    second = -1
    kept = 0
    contest = load_i64(r + INDEX_ASIDE)
    if qy == 0.0:
        if (qx > 0.0) == (c1 > 0.0):
            best = high
    elif (qy > 0.0) == (d2 > 0.0):
        if low != high:
            sign = _index_rise(r, qx, qy, low, high, scratch)
            if sign > 0:
                best = high
            elif sign == 0:
                second = high
    else:
        scale = 1.0
        size = max(abs(qx), abs(qy))
        if size > _INDEX_LARGE:
            scale = 1.0 / _INDEX_LARGE
        elif size < 1.0 / _INDEX_LARGE:
            scale = _INDEX_LARGE
        ux = qx * scale
        uy = qy * scale
        vertex = (ux * c1 + uy * load_f64(r + INDEX_FORM + 24)) / (-2.0 * (uy * d2))
        bound = load_i64(r + INDEX_BOUND)
        # The vertex is off by less than 2**-20 (coefficients see to it). So an address as near as a quarter
        # is nearer than any other, and of two neighbours with the vertex well between them one is, or both.
        if abs(vertex) < bound:
            below = math.floor(vertex)
            part = vertex - below
            best = below + bound + 1
            if part < 0.25:
                kept = index_kept(r, best)
            elif part > 0.75:
                best += 1
                kept = index_kept(r, best)
            elif index_kept(r, best) != 0 and index_kept(r, best + 1) != 0:
                sign = _index_rise(r, qx, qy, best, best + 1, scratch)
                if sign > 0:
                    best += 1
                elif sign == 0:
                    second = best + 1
                kept = index_kept(r, best)
        if kept != 0:
            contest = load_i64(r + INDEX_REACH)  # it is within three quarters of the vertex
        else:
            guess = vertex + (bound + 1)
            near = low
            if guess >= high:
                near = high
            elif guess > low:  # a NaN is not
                near = math.floor(guess)
            best, second = _index_walk(r, qx, qy, near, scratch)
    if kept == 0:
        kept = index_kept(r, best)
    store_i64(scratch + INDEX_FOUND_OPEN, contest)
    store_i64(scratch + _FOUND_PLACE, best)
    store_i64(scratch + _FOUND_PLACE + 8, second)
    store_i64(scratch + _FOUND_KEPT, kept)
    tie = load_i64(r + INDEX_TIE)
    if second >= 0:
        other = index_kept(r, second)
        store_i64(scratch + _FOUND_KEPT + 8, other)
        kept = min(kept, other) if tie == INDEX_FIRST else max(kept, other)
    return 0 if tie == INDEX_MEAN else kept - 1


@njit(nogil=True, error_model="numpy")
def index_versus(r: int, qx: float, qy: float, number: int, scratch: int) -> int:
    """Sign of the score of key `number` of those set aside minus the best one that `index_best` found."""
    x, y = _index_key(r, load_i64(scratch + _FOUND_PLACE))
    key = r + load_i64(r + INDEX_KEYS_AT) + 16 * number
    return compare_dot2(qx, qy, load_f64(key), load_f64(key + 8), x, y, scratch + _FOUND_ACC)


@njit(nogil=True, error_model="numpy")
def index_aside(r: int, what: int) -> int:
    """Where the keys set aside (0), their positions (1) and their value rows (2) are."""
    if what == 0:
        return r + load_i64(r + INDEX_KEYS_AT)
    return r + load_i64(r + (INDEX_LIST_AT if what == 1 else INDEX_ROWS_AT))


@njit(nogil=True, error_model="numpy")
def _index_walked_sum(
    r: int, first: int, second: int, column: int, vals: int, stride: int, vdtype: int, acc: int
) -> float:
    """The sum of a value column over one or two groups (`second` 0: one), member by member, rounded once."""
    acc_clear(acc)
    special = 0.0
    group = first
    while True:
        g = _index_group(r, group)
        position = load_i64(g + INDEX_GROUP_HEAD)
        for member in range(load_i64(g + INDEX_GROUP_COUNT)):
            if member > 0:
                position = (
                    position + 1 if group == 0 else load_i64(r + load_i64(r + INDEX_LINKS_AT) + 8 * position)
                )
            x = load_element(vals + position * stride + column, vdtype)
            if math.isfinite(x):
                acc_add(acc, x)
            else:
                special += x  # inf + -inf and anything + NaN are NaN
        if second == 0 or group == second:
            break
        group = second
    return acc_round(acc) if special == 0.0 else special


@njit(nogil=True, error_model="numpy")
def index_mean(
    r: int, whole: int, vals: int, stride: int, step: int, vdtype: int, out: int, scratch: int
) -> int:
    """Write the mean value row of what `index_best` found, or with `whole` 1 of all keys, as doubles; their
    number.

    Each is the exact sum, rounded once, over the number. O(value width) while two doubles hold the sums.
    """
    first = 0
    second = 0
    if whole == 0:
        first = load_i64(scratch + _FOUND_KEPT)
        if load_i64(scratch + _FOUND_PLACE + 8) >= 0:
            second = load_i64(scratch + _FOUND_KEPT + 8)
    g = _index_group(r, first)
    count = load_i64(g + INDEX_GROUP_COUNT)
    o = _index_group(r, second)
    if second > 0:
        count += load_i64(o + INDEX_GROUP_COUNT)
    for c in range(load_i64(r + INDEX_WIDTH)):
        at = INDEX_GROUP_SUMS + 16 * c
        total = load_f64(g + at)
        rest = load_f64(g + at + 8)
        if second > 0:
            total, rest = hull_sum_join(total, rest, load_f64(o + at), load_f64(o + at + 8))
        if math.isnan(rest):
            total = _index_walked_sum(r, first, second, c * step, vals, stride, vdtype, scratch + _FOUND_ACC)
        if total == 0.0:
            total = 0.0  # not -0.0
        store_f64(out + 8 * c, total / count)
    return count
