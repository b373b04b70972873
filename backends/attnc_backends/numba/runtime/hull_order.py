"""Keys that come in order: x increases, and every turn is strict and to one side, but for a line at the end.

Positions and counters do so, on parabolas and on lines. Then all keys up to the last bend are vertices of one
half, in order of position, and are read where they lie; the other half is the chord from the first key to the
last. An append is one turn test; most go through monotone_append, inlined in the program, and come here only
where its filter fails and once in each chunk. The chunks of the half are kept (24 bytes in 64 keys), so when
a key comes that breaks the order, the structure becomes a general one at once.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.exact import compare_dot2, orient2
from attnc_backends.numba.runtime.hull_groups import (
    hull_group_add,
    hull_group_copy,
    hull_group_new,
    hull_group_start,
    hull_link,
)
from attnc_backends.numba.runtime.hull_header import (
    HULL_COUNT,
    HULL_DISORDER,
    HULL_FAN_MASK,
    HULL_LOWER,
    HULL_ORDER,
    HULL_ORDER_LINE,
    HULL_ORDER_RUN,
    HULL_ORDER_STRICT,
    HULL_ORDER_TURNS,
    HULL_TURN,
    HULL_UPPER,
    HULL_WITH_MEAN,
)
from attnc_backends.numba.runtime.hull_inside import hull_inner_note
from attnc_backends.numba.runtime.hull_layout import (
    HULL_EXTREME,
    HULL_HALF_FROM,
    HULL_HALF_UPTO,
    HULL_INNER,
    HULL_INNER_BYTES,
    HULL_INNER_EDGE_GROUP,
    HULL_INNER_RIGHT,
    HULL_INNER_TOP,
    HULL_LEFT_GROUP,
    HULL_RIGHT_GROUP,
    HULL_WHOLE_GROUP,
)
from attnc_backends.numba.runtime.hull_leaves import (
    hull_note_only,
    hull_replace_between,
    hull_run_close,
    hull_run_open,
    hull_set_edge_group,
)
from attnc_backends.numba.runtime.hull_search import hull_search_run
from attnc_backends.numba.runtime.memory import (
    load_f64,
    load_i64,
    out_of_line,
    store_f64,
    store_i32,
    store_i64,
)


@njit(nogil=True, error_model="numpy")
def _hull_keeps(h: int, half: int) -> bool:
    """Whether a half is kept."""
    return load_i64(h + HULL_HALF_FROM) <= half < load_i64(h + HULL_HALF_UPTO)


@njit(nogil=True, error_model="numpy")
def _hull_strict(h: int) -> int:
    """The last position before the line at the end: where every turn was strict, the last but one, and
    nothing is noted.
    """
    if load_f64(h + HULL_TURN) != 0.0:
        return load_i64(h + HULL_COUNT) - 2
    return load_i64(h + HULL_ORDER_STRICT)


@njit(nogil=True, error_model="numpy")
def hull_append_ordered(h: int, keys: int, position: int, scratch: int) -> bool:
    """Append the newest key if the order holds; else change nothing. O(1), with means O(value width)."""
    out_of_line()
    order = load_i64(h + HULL_ORDER)
    here = keys + 16 * position
    if position >= 2:
        x = load_f64(here)
        if not x > load_f64(here - 16):
            return False
        strict = _hull_strict(h)
        run = load_i64(h + HULL_ORDER_RUN)
        bend = keys + 16 * strict
        turn = orient2(
            load_f64(bend),
            load_f64(bend + 8),
            load_f64(here - 16),
            load_f64(here - 8),
            x,
            load_f64(here + 8),
            scratch,
        )
        if turn == 0:
            if run < 0:
                store_i64(h + HULL_ORDER_RUN, hull_group_new(h, position - 1))
            else:
                half = HULL_UPPER
                if order != HULL_ORDER_LINE:
                    half = order - HULL_ORDER_TURNS
                elif load_i64(h + HULL_WITH_MEAN) != 0:
                    # The lower half has the same members and may need a list of its own.
                    store_i32(hull_link(h, HULL_LOWER, position - 2), position - 1)
                hull_group_add(h, run, half, position - 1)
        elif run >= 0:
            return False
        else:
            half = HULL_UPPER if turn < 0 else HULL_LOWER
            if order == HULL_ORDER_LINE:
                store_i64(h + HULL_ORDER, HULL_ORDER_TURNS + half)
            elif order != HULL_ORDER_TURNS + half:
                return False
            strict = position - 1
            if (position & HULL_FAN_MASK) == 0 and _hull_keeps(h, half):
                hull_run_open(h, half, keys, position)
        store_i64(h + HULL_ORDER_STRICT, strict)
    elif position == 1:
        if not load_f64(here) > load_f64(here - 16):
            return False
    else:
        for half in range(load_i64(h + HULL_HALF_FROM), load_i64(h + HULL_HALF_UPTO)):
            hull_run_open(h, half, keys, 0)
    store_i64(h + HULL_COUNT, position + 1)
    turn = 0.0
    order = load_i64(h + HULL_ORDER)
    # Answers beside the last one are looked for among four keys.
    if position >= 3 and order != HULL_ORDER_LINE and load_i64(h + HULL_ORDER_RUN) < 0:
        turn = -1.0 if order == HULL_ORDER_TURNS + HULL_UPPER else 1.0
    store_f64(h + HULL_TURN, turn)
    return True


@njit(nogil=True, error_model="numpy")
def hull_leave_order(h: int, keys: int) -> None:
    """Make an ordered structure with at least one key a general one. O(leaf)."""
    out_of_line()
    order = load_i64(h + HULL_ORDER)
    strict = _hull_strict(h)
    run = load_i64(h + HULL_ORDER_RUN)
    last = load_i64(h + HULL_COUNT) - 1
    x = load_f64(keys + 16 * last)
    store_i64(h + HULL_ORDER, HULL_DISORDER)
    store_f64(h + HULL_TURN, 0.0)
    store_f64(h + HULL_EXTREME + 8 * HULL_LEFT_GROUP, -load_f64(keys))
    store_f64(h + HULL_EXTREME + 8 * HULL_RIGHT_GROUP, x)
    for group in range(HULL_WHOLE_GROUP):
        hull_group_start(h, group, last if group == HULL_RIGHT_GROUP else 0)
    for half in range(load_i64(h + HULL_HALF_FROM), load_i64(h + HULL_HALF_UPTO)):
        # The vertices are the positions up to `bend`, then the last one.
        bend = 0
        if order == HULL_ORDER_TURNS + half:
            bend = strict
        hull_run_close(h, half, bend + 1)
        inner = h + half * HULL_INNER_BYTES
        store_f64(inner + HULL_INNER, math.inf)
        store_f64(inner + HULL_INNER_TOP + 8, -math.inf)
        store_f64(inner + HULL_INNER_RIGHT, -math.inf)
        store_i64(inner + HULL_INNER_EDGE_GROUP, -1)
        for vertex in (0, bend, last):
            at = keys + 16 * vertex
            height = load_f64(at + 8)
            if half == HULL_LOWER:
                height = -height
            hull_inner_note(h, half, load_f64(at), height)
        if last > bend:
            if run >= 0 and (order == HULL_ORDER_LINE or order == HULL_ORDER_TURNS + half):
                edge = run
                if order == HULL_ORDER_LINE and half == HULL_LOWER:
                    edge = hull_group_copy(h, run)
                hull_set_edge_group(h, half, keys, bend, edge)
            y = load_f64(keys + 16 * last + 8)
            if half == HULL_LOWER:
                y = -y
            hull_replace_between(h, half, keys, bend, -1, x, y, last, -1)
        hull_note_only(h, half)


@njit(nogil=True, error_model="numpy", forceinline=True)
def hull_search_ordered(h: int, keys: int, qx: float, qy: float, parts: int, scratch: int) -> int:
    """hull_search in an ordered structure with at least one key, for any query but (0, 0)."""
    last = load_i64(h + HULL_COUNT) - 1
    if qy == 0.0:
        return 0 if qx < 0.0 else last
    order = load_i64(h + HULL_ORDER)
    run = load_i64(h + HULL_ORDER_RUN)
    half = HULL_UPPER if qy > 0.0 else HULL_LOWER
    bend = 0
    if order == HULL_ORDER_TURNS + half:
        if run < 0:
            position, tied = hull_search_run(keys, last + 1, qx, qy, scratch)
            if not tied:
                return position
            store_i64(parts, ~position)
            store_i64(parts + 8, ~(position + 1))
            return -2
        bend = load_i64(h + HULL_ORDER_STRICT)
    elif order != HULL_ORDER_LINE:
        run = -1
    if last == 0:
        return 0
    # The last edge goes from `bend` to the last position, with `run` inside.
    a = keys + 16 * bend
    b = keys + 16 * last
    x = load_f64(b)
    y = load_f64(b + 8)
    sign = compare_dot2(qx, qy, x, y, load_f64(a), load_f64(a + 8), scratch)
    if sign > 0:
        return last
    if sign == 0:
        store_i64(parts, ~bend)
        store_i64(parts + 8, ~last)
        store_i64(parts + 16, run)
        return -3 if run >= 0 else -2
    if bend == 0:
        return 0
    position, tied = hull_search_run(keys, bend + 1, qx, qy, scratch)
    if not tied:
        return position
    store_i64(parts, ~position)
    store_i64(parts + 8, ~(position + 1))
    return -2
