"""Keys that become no vertex, told apart in O(1): they change nothing but the count and groups.

Of each half three vertices are known: the first, the last, and the highest. A key below one of the two lines
through them lies inside, whatever became of those vertices since: keys are only ever inserted. A key as high
as the highest lies on the only level edge of the half, if it is between the ends of that. On small hulls
nearly all keys are of these kinds.
"""

from numba import njit

from attnc_backends.numba.runtime.exact import FILTER_BOUND, FILTER_UNDERFLOW
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
    HULL_INNER_LEVEL,
    HULL_INNER_LEVEL_GROUP,
    HULL_INNER_RIGHT,
    HULL_INNER_TOP,
    HULL_LEFT,
    HULL_LEFT_GROUP,
    HULL_RIGHT,
    HULL_RIGHT_GROUP,
)
from attnc_backends.numba.runtime.hull_repeat import hull_repeat
from attnc_backends.numba.runtime.memory import load_f64, load_i64, store_f64, store_i64


@njit(nogil=True, error_model="numpy")
def hull_inner_note(h: int, half: int, x: float, y: float) -> None:
    """Take notice of a new vertex of a half."""
    at = h + half * HULL_INNER_BYTES
    left = load_f64(at + HULL_INNER)
    if x < left or (x == left and y > load_f64(at + HULL_INNER + 8)):
        store_f64(at + HULL_INNER, x)
        store_f64(at + HULL_INNER + 8, y)
    top = load_f64(at + HULL_INNER_TOP + 8)
    if y >= top:
        # No vertex below this height has a part in the level edge.
        store_i64(at + HULL_INNER_LEVEL_GROUP, -1)
    if y > top:
        store_f64(at + HULL_INNER_TOP, x)
        store_f64(at + HULL_INNER_TOP + 8, y)
    right = load_f64(at + HULL_INNER_RIGHT)
    if x > right or (x == right and y > load_f64(at + HULL_INNER_RIGHT + 8)):
        store_f64(at + HULL_INNER_RIGHT, x)
        store_f64(at + HULL_INNER_RIGHT + 8, y)


@njit(nogil=True, error_model="numpy", forceinline=True)
def hull_append_inside(h: int, x: float, y: float, position: int) -> bool:
    """Append the newest key, where keys are out of order, if it is seen to become no vertex; else nothing has
    changed but which groups are noted.
    """
    first = load_i64(h + HULL_HALF_FROM)
    for half in range(first, load_i64(h + HULL_HALF_UPTO)):
        height = -y if half == HULL_LOWER else y
        inner = h + half * HULL_INNER_BYTES
        # The line from the first vertex to the highest, or from there to the last.
        at = inner + HULL_INNER
        if x > load_f64(inner + HULL_INNER_TOP):
            at = inner + HULL_INNER_TOP
        ax = load_f64(at)
        ay = load_f64(at + 8)
        bx = load_f64(at + 16)
        p = (bx - ax) * (height - ay)
        r = (load_f64(at + 24) - ay) * (x - ax)
        group = -1
        if not (ax <= x <= bx and r - p > FILTER_BOUND * (abs(p) + abs(r)) + FILTER_UNDERFLOW):
            group = load_i64(inner + HULL_INNER_LEVEL_GROUP)
            left = load_f64(inner + HULL_INNER_LEVEL)
            right = load_f64(inner + HULL_INNER_LEVEL + 8)
            if group < 0 or height != load_f64(inner + HULL_INNER_TOP + 8) or not left < x < right:
                return False
        store_i64(h + HULL_REPEAT + 8 * half, group)
    inner = h + first * HULL_INNER_BYTES
    at_left = HULL_LEFT_GROUP if x == load_f64(inner + HULL_INNER) else -1
    at_right = HULL_RIGHT_GROUP if x == load_f64(inner + HULL_INNER_RIGHT) else -1
    store_i64(h + HULL_REPEAT + 8 * HULL_LEFT, at_left)
    store_i64(h + HULL_REPEAT + 8 * HULL_RIGHT, at_right)
    store_i64(h + HULL_REPEAT_READY, 1)
    store_i64(h + HULL_COUNT, position + 1)
    hull_repeat(h, position)
    return True
