"""Keys that become no vertex, told apart in O(1): they change nothing but the count and groups.

Of each half three vertices are known: the first, the last, and the highest. A key below one of the two lines
through them lies inside, whatever became of those vertices since: keys are only ever inserted. And one edge
is known, on which a key was seen to lie: a key on it, as rounding errors that are all known show, joins its
group. On small hulls nearly all keys are of these kinds.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.exact import (
    FILTER_BOUND,
    FILTER_FLOOR,
    FILTER_UNDERFLOW,
    two_prod,
    two_sum,
)
from attnc_backends.numba.runtime.hull_header import (
    HULL_COUNT,
    HULL_LOWER,
    HULL_REPEAT,
    HULL_REPEAT_READY,
)
from attnc_backends.numba.runtime.hull_layout import (
    HULL_HALF_FROM,
    HULL_HALF_UPTO,
    HULL_INNER,
    HULL_INNER_BYTES,
    HULL_INNER_EDGE,
    HULL_INNER_EDGE_GROUP,
    HULL_INNER_RIGHT,
    HULL_INNER_TOP,
    HULL_LEFT,
    HULL_LEFT_GROUP,
    HULL_RIGHT,
    HULL_RIGHT_GROUP,
)
from attnc_backends.numba.runtime.hull_repeat import hull_repeat
from attnc_backends.numba.runtime.memory import load_f64, load_i64, store_f64, store_i64

_INNER_INFINITY = math.inf


@njit(nogil=True, error_model="numpy")
def hull_inner_note(h: int, half: int, x: float, y: float) -> None:
    """Take notice of a new vertex of a half."""
    at = h + half * HULL_INNER_BYTES
    left = load_f64(at + HULL_INNER)
    if x < left or (x == left and y > load_f64(at + HULL_INNER + 8)):
        store_f64(at + HULL_INNER, x)
        store_f64(at + HULL_INNER + 8, y)
    if y > load_f64(at + HULL_INNER_TOP + 8):
        store_f64(at + HULL_INNER_TOP, x)
        store_f64(at + HULL_INNER_TOP + 8, y)
    right = load_f64(at + HULL_INNER_RIGHT)
    if x > right or (x == right and y > load_f64(at + HULL_INNER_RIGHT + 8)):
        store_f64(at + HULL_INNER_RIGHT, x)
        store_f64(at + HULL_INNER_RIGHT + 8, y)
    # No vertex below its height has a part in the level edge; of other edges that is harder to say.
    edge = at + HULL_INNER_EDGE
    if load_f64(edge + 24) != 0.0 or y >= load_f64(edge + 8):
        store_i64(at + HULL_INNER_EDGE_GROUP, -1)


@njit(nogil=True, error_model="numpy")
def hull_inner_note_edge(h: int, half: int, ax: float, ay: float, bx: float, by: float, group: int) -> None:
    """Take notice of the edge from vertex a to vertex b, inside which is `group`.

    The level edge stays while it lasts, and a way whose coordinates are no doubles is of no use.
    """
    at = h + half * HULL_INNER_BYTES
    edge = at + HULL_INNER_EDGE
    dx, dx_tail = two_sum(bx, -ax)
    dy, dy_tail = two_sum(by, -ay)
    kept = load_i64(at + HULL_INNER_EDGE_GROUP) >= 0 and load_f64(edge + 24) == 0.0
    if dy != 0.0 and (kept or dx_tail != 0.0 or dy_tail != 0.0):
        return
    store_f64(edge, ax)
    store_f64(edge + 8, ay)
    store_f64(edge + 16, dx)
    store_f64(edge + 24, dy)
    store_f64(edge + 32, bx)
    store_i64(at + HULL_INNER_EDGE_GROUP, group)
    if dy == 0.0:
        # The highest so far may be one that is known from keys in order, and lower.
        store_f64(at + HULL_INNER_TOP, ax)
        store_f64(at + HULL_INNER_TOP + 8, ay)


@njit(nogil=True, error_model="numpy", forceinline=True)
def _hull_inner_group(at: int, x: float, y: float) -> int:
    """The group of the edge that is known, if the key is seen to lie strictly inside it; else -1."""
    group = load_i64(at + HULL_INNER_EDGE_GROUP)
    if group < 0:
        return -1
    edge = at + HULL_INNER_EDGE
    ax = load_f64(edge)
    dx = load_f64(edge + 16)
    dy = load_f64(edge + 24)
    wx, wx_tail = two_sum(x, -ax)
    wy, wy_tail = two_sum(y, -load_f64(edge + 8))
    p, p_tail = two_prod(dx, wy)
    r, r_tail = two_prod(dy, wx)
    # Equal products with equal errors are equal numbers, where the errors are exact: neither over- nor
    # underflow may have had a part.
    size = abs(p)
    same = (p == r) & (p_tail == r_tail) & (wx_tail == 0.0) & (wy_tail == 0.0)
    slanted = same & (size > FILTER_FLOOR) & (size < _INNER_INFINITY)
    level = (dy == 0.0) & (wy == 0.0)
    if (slanted | level) & (ax < x) & (x < load_f64(edge + 32)):
        return group
    return -1


@njit(nogil=True, error_model="numpy", forceinline=True)
def hull_append_inside(h: int, x: float, y: float, position: int) -> int:
    """Append the newest key, where keys are out of order, if it is seen to become no vertex.

    Else nothing has changed but which groups are noted, for the halves in which it is seen: the others are
    returned, a bit for each, and for them none is noted.
    """
    first = load_i64(h + HULL_HALF_FROM)
    halves = 0
    for half in range(first, load_i64(h + HULL_HALF_UPTO)):
        height = -y if half == HULL_LOWER else y
        inner = h + half * HULL_INNER_BYTES
        # The line from the first vertex to the highest, or from there to the last: no branch, as it could not
        # be foreseen.
        at = inner + HULL_INNER + (HULL_INNER_TOP - HULL_INNER) * int(x > load_f64(inner + HULL_INNER_TOP))
        ax = load_f64(at)
        ay = load_f64(at + 8)
        bx = load_f64(at + 16)
        p = (bx - ax) * (height - ay)
        r = (load_f64(at + 24) - ay) * (x - ax)
        group = -1
        below = r - p > FILTER_BOUND * (abs(p) + abs(r)) + FILTER_UNDERFLOW
        if not (below & (ax <= x) & (x <= bx)):
            group = _hull_inner_group(inner, x, height)
            if group < 0:
                halves |= 1 << half
        store_i64(h + HULL_REPEAT + 8 * half, group)
    if halves != 0:
        return halves
    inner = h + first * HULL_INNER_BYTES
    at_left = HULL_LEFT_GROUP if x == load_f64(inner + HULL_INNER) else -1
    at_right = HULL_RIGHT_GROUP if x == load_f64(inner + HULL_INNER_RIGHT) else -1
    store_i64(h + HULL_REPEAT + 8 * HULL_LEFT, at_left)
    store_i64(h + HULL_REPEAT + 8 * HULL_RIGHT, at_right)
    store_i64(h + HULL_REPEAT_READY, 1)
    store_i64(h + HULL_COUNT, position + 1)
    hull_repeat(h, position)
    return 0
