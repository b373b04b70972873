"""Searching a hierarchy: from the best of a few vertices up the hull's edges, level by level.

On every level each vertex that is not the best one has a neighbour with a larger score, so going up ends at
the best, and its neighbours prove that it is. A level has every sixteenth vertex of the one below, drawn at
random: so about fifteen vertices of that one, whatever the query, beat the best of them, and no others lie on
the way. Scores are compared exactly.

The neighbours that tie with the best tell what ties: only its own vertex, the edge to one of them, or, where
two that follow one another tie, the face between them.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.exact import FILTER_BOUND, FILTER_UNDERFLOW
from attnc_backends.numba.runtime.hierarchy_build import hierarchy_build
from attnc_backends.numba.runtime.hierarchy_layout import (
    HIER_ACC_AT,
    HIER_ALL,
    HIER_BOX_SHIFT,
    HIER_CORNERS,
    HIER_COUNT,
    HIER_CROWD,
    HIER_CROWDS_AT,
    HIER_EDGE,
    HIER_EDGE_AT,
    HIER_EDGE_OF_AT,
    HIER_FACE,
    HIER_FACE_AT,
    HIER_FACE_OF_AT,
    HIER_KIND,
    HIER_LEVEL_OFFSETS,
    HIER_LEVELS,
    HIER_NEAR_AT,
    HIER_NEXT_AT,
    HIER_OFFSETS_AT,
    HIER_PLACES_AT,
    HIER_POSITION_AT,
    HIER_RIM_AT,
    HIER_TOP,
    HIER_VERTEX,
    HIER_VERTEX_AT,
    HIER_WHICH,
    HOME_FIRST,
    HOME_LAST,
    HOME_LIST,
    HOME_START,
    hier_box,
    hier_corner,
    hier_home,
    hier_number,
    hierarchy_bytes,
)
from attnc_backends.numba.runtime.memory import load_f64, load_i32, load_i64, store_i64
from attnc_backends.numba.runtime.solid import solid_prefers
from attnc_backends.numba.runtime.sums import sums_add, sums_bytes, sums_mean, sums_start

HIERARCHY_FIRST = 0
HIERARCHY_LAST = 1
HIERARCHY_MEAN = 2


@njit(nogil=True, error_model="numpy")
def hierarchy_sums_bytes(value_width: int) -> int:
    """Bytes of scratch for `hierarchy_mean`."""
    return sums_bytes(value_width)


# --- the best vertex ---


@njit(nogil=True, error_model="numpy")
def _hier_less(query: int, box: int, at: int) -> bool:
    """Whether, whatever rounding does, every point of a box has a smaller dot product than that at `at`."""
    most = 0.0
    size = 0.0
    for c in range(3):
        q = load_f64(query + 8 * c)
        x = load_f64(at + 8 * c)
        low = q * (load_f64(box + 8 * c) - x)
        high = q * (load_f64(box + 24 + 8 * c) - x)
        most += max(low, high)
        size += abs(low) + abs(high)
    # As in `solid_prefers`; where something overflows, neither is it less.
    return -most > 2.0 * FILTER_BOUND * size + FILTER_UNDERFLOW and size < math.inf


@njit(nogil=True, error_model="numpy")
def _hier_skip(r: int, query: int, boxes: int, count: int, place: int, at: int) -> int:
    """How many of a vertex's `count` neighbours, from the one in `place` on, need not be looked at, because
    their boxes lose to the point at `at`; `place` is a multiple of sixteen.
    """
    skipped = 0
    shift = HIER_BOX_SHIFT
    while place & ((1 << shift) - 1) == 0:
        if not _hier_less(query, hier_box(r, boxes + (place >> shift)), at):
            break
        skipped = 1 << shift
        level = ((count - 1) >> shift) + 1
        if level <= 1 << HIER_BOX_SHIFT:
            break
        boxes += level
        shift += HIER_BOX_SHIFT
    return skipped


@njit(nogil=True, error_model="numpy")
def _hier_climb(r: int, query: int, level: int, v: int) -> tuple[int, int, int]:
    """The best vertex of a level, found upwards from `v`; a slot of a neighbour that ties with it and of one
    behind which a face ties with it, -1 where there is none.
    """
    offsets = load_i64(r + HIER_LEVEL_OFFSETS + 8 * level)
    acc = r + load_i64(r + HIER_ACC_AT)
    while True:
        best = v
        at = hier_corner(r, v)
        first = hier_number(r, HIER_OFFSETS_AT, offsets + v)
        end = hier_number(r, HIER_OFFSETS_AT, offsets + v + 1)
        boxes = hier_number(r, HIER_CROWDS_AT, offsets + v) if end - first > HIER_CROWD else -1
        tied = -1
        face = -1
        opened = False
        slot = first
        while slot < end:
            if boxes >= 0 and (slot - first) & ((1 << HIER_BOX_SHIFT) - 1) == 0:
                skipped = _hier_skip(r, query, boxes, end - first, slot - first, at)
                if skipped > 0:
                    slot += skipped
                    continue
            other = hier_number(r, HIER_NEAR_AT, slot)
            if other >= 0:
                place = hier_corner(r, other)
                sign = solid_prefers(query, place, at, acc)
                if sign > 0:
                    best = other
                    at = place
                elif sign == 0:
                    # Means something only where no neighbour is better than `v`.
                    if slot == first:
                        opened = True
                    elif tied == slot - 1:
                        face = tied
                    elif opened and slot == end - 1:
                        face = slot
                    tied = slot
            slot += 1
        if best == v:
            return v, tied, face
        v = best


@njit(nogil=True, error_model="numpy")
def _hier_tied(r: int, query: int) -> None:
    """Find what ties for a query that is not zero, and note it."""
    acc = r + load_i64(r + HIER_ACC_AT)
    best = 0
    for v in range(1, load_i64(r + HIER_TOP)):
        if solid_prefers(query, hier_corner(r, v), hier_corner(r, best), acc) > 0:
            best = v
    tied = -1
    face = -1
    level = load_i64(r + HIER_LEVELS) - 1
    while level >= 0:
        best, tied, face = _hier_climb(r, query, level, best)
        level -= 1
    kind = HIER_VERTEX
    which = best
    if face >= 0:
        kind = HIER_FACE
        which = hier_number(r, HIER_FACE_OF_AT, face)
    elif tied >= 0:
        # The slot and the vertex it belongs to.
        kind = HIER_EDGE
        which = (best << 32) | tied
    store_i64(r + HIER_KIND, kind)
    store_i64(r + HIER_WHICH, which)


@njit(nogil=True, error_model="numpy")
def _hier_reach(home: int, low: int, high: int) -> tuple[int, int]:
    """A range of positions widened to those that lie there."""
    return min(low, load_i32(home + HOME_FIRST)), max(high, load_i32(home + HOME_LAST))


@njit(nogil=True, error_model="numpy")
def hierarchy_best(r: int, query: int, tie: int) -> int:
    """The first (`tie` 0) or last (1) position with the largest dot product, or any of them (2); -1 when the
    query, a row of three doubles, is not finite.

    Expected O(log n) vertices are visited, each with its neighbours.
    """
    zero = True
    for c in range(3):
        x = load_f64(query + 8 * c)
        if not math.isfinite(x):
            return -1
        zero = zero and x == 0.0
    low = 0
    high = load_i64(r + HIER_COUNT) - 1
    store_i64(r + HIER_KIND, HIER_ALL)
    if not zero and load_i64(r + HIER_CORNERS) > 1:
        _hier_tied(r, query)
        kind = load_i64(r + HIER_KIND)
        which = load_i64(r + HIER_WHICH)
        if kind == HIER_FACE:
            home = hier_home(r, HIER_FACE_AT, which)
        elif kind == HIER_VERTEX:
            home = hier_home(r, HIER_VERTEX_AT, which)
        else:
            home = hier_home(r, HIER_VERTEX_AT, which >> 32)
        low = load_i32(home + HOME_FIRST)
        high = load_i32(home + HOME_LAST)
        if kind == HIER_EDGE:
            slot = which & 0xFFFFFFFF
            low, high = _hier_reach(
                hier_home(r, HIER_VERTEX_AT, hier_number(r, HIER_NEAR_AT, slot)), low, high
            )
            edge = hier_number(r, HIER_EDGE_OF_AT, slot)
            if edge >= 0:
                low, high = _hier_reach(hier_home(r, HIER_EDGE_AT, edge), low, high)
    return low if tie == HIERARCHY_FIRST else high


# --- the mean of what ties ---


@njit(nogil=True, error_model="numpy")
def _hier_add(r: int, home: int, sums: int, vals: int, stride: int, step: int, vdtype: int) -> int:
    """Add the value rows of the keys of a list; how many there are."""
    count = 0
    p = load_i32(home + HOME_LIST)
    while p >= 0:
        sums_add(sums, vals + hier_number(r, HIER_POSITION_AT, p) * stride, step, vdtype, 1)
        count += 1
        p = hier_number(r, HIER_NEXT_AT, p)
    return count


@njit(nogil=True, error_model="numpy")
def _hier_add_vertex(r: int, v: int, sums: int, vals: int, stride: int, step: int, vdtype: int) -> int:
    """Add the value rows of a vertex and of the keys equal to it; how many there are."""
    position = hier_number(r, HIER_POSITION_AT, hier_number(r, HIER_PLACES_AT, v))
    sums_add(sums, vals + position * stride, step, vdtype, 1)
    return 1 + _hier_add(r, hier_home(r, HIER_VERTEX_AT, v), sums, vals, stride, step, vdtype)


@njit(nogil=True, error_model="numpy")
def _hier_add_edge(r: int, slot: int, sums: int, vals: int, stride: int, step: int, vdtype: int) -> int:
    """Add the value rows of the neighbour in a slot and of the keys on the edge to it; how many there are."""
    count = _hier_add_vertex(r, hier_number(r, HIER_NEAR_AT, slot), sums, vals, stride, step, vdtype)
    edge = hier_number(r, HIER_EDGE_OF_AT, slot)
    if edge >= 0:
        count += _hier_add(r, hier_home(r, HIER_EDGE_AT, edge), sums, vals, stride, step, vdtype)
    return count


@njit(nogil=True, error_model="numpy")
def hierarchy_mean(
    r: int, sums: int, vals: int, stride: int, step: int, vdtype: int, width: int, out: int
) -> None:
    """Write the mean value row of all that tied in the search just made, `width` doubles, to `out`.

    Each is the exact sum, rounded once, over the number. `sums` is room for `hierarchy_sums_bytes(width)`.
    """
    sums_start(sums, width)
    kind = load_i64(r + HIER_KIND)
    which = load_i64(r + HIER_WHICH)
    count = 0
    if kind == HIER_ALL:
        count = load_i64(r + HIER_COUNT)
        for p in range(count):
            sums_add(sums, vals + p * stride, step, vdtype, 1)
    elif kind == HIER_FACE:
        home = hier_home(r, HIER_FACE_AT, which)
        count = _hier_add(r, home, sums, vals, stride, step, vdtype)
        end = load_i32(hier_home(r, HIER_FACE_AT, which + 1) + HOME_START)
        for place in range(load_i32(home + HOME_START), end):
            slot = hier_number(r, HIER_RIM_AT, place)
            count += _hier_add_edge(r, slot, sums, vals, stride, step, vdtype)
    else:
        v = which if kind == HIER_VERTEX else which >> 32
        count = _hier_add_vertex(r, v, sums, vals, stride, step, vdtype)
        if kind == HIER_EDGE:
            count += _hier_add_edge(r, which & 0xFFFFFFFF, sums, vals, stride, step, vdtype)
    sums_mean(sums, count, out)


__all__ = ["hierarchy_best", "hierarchy_build", "hierarchy_bytes", "hierarchy_mean"]
