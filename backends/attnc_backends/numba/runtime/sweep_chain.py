"""The upper hull of a static set of points: what cannot be on it is dropped, the rest sorted and chained.

A chain is Andrew's ("Another efficient algorithm for convex hulls in two dimensions", 1979), with exact
turns, over columns of equal x; points inside an edge stay in it, so that a tied set is one run of members.
Points lie as pairs of doubles at `points + 16 * position`, all of them finite.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.exact import orient2
from attnc_backends.numba.runtime.memory import copy_bytes, load_f64, load_i64, store_f64, store_i64
from attnc_backends.numba.runtime.sweep_sort import sort_key

# A strict vertex: its point, where its members begin and end in the list of members (those of the edge to
# the next vertex follow), and first and last position of vertex and edge, ends included.
CHAIN_X = 0
CHAIN_Y = 8
CHAIN_FROM = 16
CHAIN_UPTO = 24
CHAIN_FIRST = 32
CHAIN_LAST = 40
CHAIN_EDGE_FIRST = 48
CHAIN_EDGE_LAST = 56
CHAIN_BYTES = 64

# The polygon that points inside are dropped by: for each side the line a * x + b * y + c, and how far above 0
# it must come out in doubles to be above 0.
_POLYGON_SIDES = 8
_POLYGON_SIDE_BYTES = 32
POLYGON_BYTES = _POLYGON_SIDES * _POLYGON_SIDE_BYTES
# Each of the line's two products and its constant carries at most six roundings, so 32 units of the sum of
# all magnitudes are far more than they can be off by; beyond the limit nothing is known.
_POLYGON_BOUND = 32.0 * 2.0**-53
_POLYGON_UNDERFLOW = 2.0**-1000
_POLYGON_LIMIT = 2.0**1000
_POLYGON_FEWEST = 64


@njit(nogil=True, error_model="numpy")
def _polygon(points: int, count: int, sides: int) -> None:
    """Write the lines of the polygon of eight outermost points, counter-clockwise.

    A point strictly left of every side sees the corners turn all around it, so it lies inside their hull,
    whichever points they are: it need not be right which ones are outermost.
    """
    # Corner k is the farthest along the k-th of eight directions; its position waits in the side's record.
    for k in range(_POLYGON_SIDES):
        store_f64(sides + _POLYGON_SIDE_BYTES * k, -math.inf)
        store_i64(sides + _POLYGON_SIDE_BYTES * k + 8, 0)
    widest = 0.0
    highest = 0.0
    for position in range(count):
        x = load_f64(points + 16 * position)
        y = load_f64(points + 16 * position + 8)
        widest = max(widest, abs(x))
        highest = max(highest, abs(y))
        far = x
        other = y
        for k in range(_POLYGON_SIDES):
            # Straight directions are even, slanting ones odd.
            along = far if k & 1 == 0 else far + other
            if along > load_f64(sides + _POLYGON_SIDE_BYTES * k):
                store_f64(sides + _POLYGON_SIDE_BYTES * k, along)
                store_i64(sides + _POLYGON_SIDE_BYTES * k + 8, position)
            if k & 1 == 1:
                far, other = other, -far
    start = points + 16 * load_i64(sides + 8)
    for k in range(_POLYGON_SIDES):
        at = points + 16 * load_i64(sides + _POLYGON_SIDE_BYTES * k + 8)
        if k == 0:
            start = at
        to = start
        if k + 1 < _POLYGON_SIDES:
            to = points + 16 * load_i64(sides + _POLYGON_SIDE_BYTES * (k + 1) + 8)
        ax = load_f64(at)
        ay = load_f64(at + 8)
        a = ay - load_f64(to + 8)
        b = load_f64(to) - ax
        size = abs(a) * widest + abs(b) * highest
        side = sides + _POLYGON_SIDE_BYTES * k
        store_f64(side, a)
        store_f64(side + 8, b)
        store_f64(side + 16, -(a * ax + b * ay))
        # A side from a point to itself holds nothing back.
        bound = -math.inf if at == to else math.inf
        if at != to and size < _POLYGON_LIMIT:
            bound = _POLYGON_BOUND * (size + size) + _POLYGON_UNDERFLOW
        store_f64(side + 24, bound)


@njit(nogil=True, error_model="numpy")
def chain_candidates(points: int, count: int, pairs: int, sides: int) -> int:
    """Write a pair of x and position for every point that may be on the hull, by position; their number.

    Left out are points that are strictly inside the hull. O(count), no exact test.
    """
    few = count < _POLYGON_FEWEST
    if not few:
        _polygon(points, count, sides)
        # Where all corners are one point, so are all sides.
        few = True
        for k in range(_POLYGON_SIDES):
            few = few and load_f64(sides + _POLYGON_SIDE_BYTES * k + 24) == -math.inf
    kept = 0
    for position in range(count):
        x = load_f64(points + 16 * position)
        inside = not few
        if inside:
            y = load_f64(points + 16 * position + 8)
            for k in range(_POLYGON_SIDES):
                side = sides + _POLYGON_SIDE_BYTES * k
                height = load_f64(side) * x + load_f64(side + 8) * y + load_f64(side + 16)
                if not height > load_f64(side + 24):
                    inside = False
                    break
        if not inside:
            store_i64(pairs + 16 * kept, sort_key(x))
            store_i64(pairs + 16 * kept + 8, position)
            kept += 1
    return kept


@njit(nogil=True, error_model="numpy")
def chain_gather(points: int, pairs: int, count: int, gathered: int) -> None:
    """Copy the points of sorted pairs to `gathered`, in their order."""
    for index in range(count):
        copy_bytes(gathered + 16 * index, points + 16 * load_i64(pairs + 16 * index + 8), 16)


@njit(nogil=True, error_model="numpy")
def _chain_columns(gathered: int, sign: float, count: int, chain: int, scratch: int) -> int:
    """Chain the tops of all columns; points inside an edge stay, and are marked.

    A record's CHAIN_FROM and CHAIN_UPTO are its column's, CHAIN_FIRST is 1 where it lies inside an edge.
    """
    size = 0
    index = 0
    while index < count:
        x = load_f64(gathered + 16 * index)
        top = sign * load_f64(gathered + 16 * index + 8)
        upto = index + 1
        while upto < count and load_f64(gathered + 16 * upto) == x:
            top = max(top, sign * load_f64(gathered + 16 * upto + 8))
            upto += 1
        here = chain + CHAIN_BYTES * size
        store_f64(here + CHAIN_X, x)
        store_f64(here + CHAIN_Y, top)
        while size >= 2:
            last = chain + CHAIN_BYTES * (size - 1)
            turn = orient2(
                load_f64(last - CHAIN_BYTES + CHAIN_X),
                load_f64(last - CHAIN_BYTES + CHAIN_Y),
                load_f64(last + CHAIN_X),
                load_f64(last + CHAIN_Y),
                x,
                top,
                scratch,
            )
            if turn <= 0:
                store_i64(last + CHAIN_FIRST, 1 if turn == 0 else 0)
                break
            size -= 1
            here = last
            store_f64(here + CHAIN_X, x)
            store_f64(here + CHAIN_Y, top)
        store_i64(here + CHAIN_FROM, index)
        store_i64(here + CHAIN_UPTO, upto)
        size += 1
        index = upto
    if size > 0:
        # The ends are inside nothing, whatever followed them for a while.
        store_i64(chain + CHAIN_FIRST, 0)
        store_i64(chain + CHAIN_BYTES * (size - 1) + CHAIN_FIRST, 0)
    return size


@njit(nogil=True, error_model="numpy")
def chain_build(
    gathered: int, sign: float, pairs: int, count: int, chain: int, members: int, scratch: int
) -> int:
    """The upper hull of `count` sorted points, their y times `sign` (1 or -1): its number of strict vertices.

    Writes at most `count` vertices to `chain` and positions to `members`; `scratch` is for turns. O(count).
    """
    size = _chain_columns(gathered, sign, count, chain, scratch)
    strict = 0
    listed = 0
    for index in range(size):
        record = chain + CHAIN_BYTES * index
        top = load_f64(record + CHAIN_Y)
        begin = listed
        for place in range(load_i64(record + CHAIN_FROM), load_i64(record + CHAIN_UPTO)):
            if sign * load_f64(gathered + 16 * place + 8) == top:
                store_i64(members + 8 * listed, load_i64(pairs + 16 * place + 8))
                listed += 1
        # Positions of one column rise.
        first = load_i64(members + 8 * begin)
        last = load_i64(members + 8 * (listed - 1))
        if strict > 0:
            before = chain + CHAIN_BYTES * (strict - 1)
            store_i64(before + CHAIN_EDGE_FIRST, min(load_i64(before + CHAIN_EDGE_FIRST), first))
            store_i64(before + CHAIN_EDGE_LAST, max(load_i64(before + CHAIN_EDGE_LAST), last))
        if load_i64(record + CHAIN_FIRST) != 0:
            continue
        vertex = chain + CHAIN_BYTES * strict
        copy_bytes(vertex, record, 16)
        store_i64(vertex + CHAIN_FROM, begin)
        store_i64(vertex + CHAIN_UPTO, listed)
        store_i64(vertex + CHAIN_FIRST, first)
        store_i64(vertex + CHAIN_LAST, last)
        store_i64(vertex + CHAIN_EDGE_FIRST, first)
        store_i64(vertex + CHAIN_EDGE_LAST, last)
        strict += 1
    return strict
