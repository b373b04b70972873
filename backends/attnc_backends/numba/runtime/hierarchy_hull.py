"""The convex hull of points in three dimensions, by inserting one after the other in random order.

Each point that is still outside is kept by one facet that sees it (has it strictly on its outer side). To
insert a point, all facets that see it are taken away, and a fan of new ones closes the hole; points whose
facet is gone look for one among the new ones, and where none sees them they have come to lie inside or on the
hull. A point that lies on a new facet stays with that facet: it is no vertex, but it may tie with those that
are.

A facet in whose plane a point lies does not see it. So every facet has an area, however many points lie in
one plane or on one line, and a plane's facets together are one face of the hull. Points that span fewer than
three dimensions get company: one or two points that are made up off their plane or line.
"""

from numba import njit

from attnc_backends.numba.runtime.hierarchy_layout import (
    FACET_ANCHOR,
    FACET_FACE,
    FACET_LIST,
    FACET_MARK,
    FACET_NEAR,
    FACET_NORMAL,
    HIER_COUNT,
    HIER_FREE,
    HIER_FRESH_AT,
    HIER_HORIZON_AT,
    HIER_LOCAL_AT,
    HIER_NEXT_AT,
    HIER_ORDER_AT,
    HIER_OWNER_AT,
    HIER_SIZE,
    HIER_STACK_AT,
    HIER_STAMP,
    HIER_USED,
    OWNER_INSIDE,
    OWNER_LIES,
    OWNER_VERTEX,
    hier_facet,
    hier_number,
    hier_point,
    hier_put,
)
from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    load_f64,
    load_i32,
    load_i64,
    out_of_line,
    store_f64,
    store_i32,
    store_i64,
)
from attnc_backends.numba.runtime.solid import solid_axis, solid_plane, solid_side, solid_within

_FEW = 16
"""So many new facets are asked one after the other."""
_ACROSS = -2
"""The neighbour of a facet that is gone, at the edge of a new one: this less the number of the new one."""

# --- facets ---


@njit(nogil=True, error_model="numpy")
def _hull_take(r: int, a: int, b: int, c: int) -> int:
    """A facet with these vertices and an empty list; its neighbours are still to be set."""
    out_of_line()
    facet = load_i64(r + HIER_FREE)
    if facet >= 0:
        store_i64(r + HIER_FREE, load_i32(hier_facet(r, facet) + FACET_LIST))
    else:
        facet = load_i64(r + HIER_USED)
        store_i64(r + HIER_USED, facet + 1)
    f = hier_facet(r, facet)
    store_i32(f, a)
    store_i32(f + 4, b)
    store_i32(f + 8, c)
    store_i32(f + FACET_LIST, -1)
    store_i32(f + FACET_MARK, 0)
    store_i32(f + FACET_FACE, -1)
    solid_plane(r, facet)
    return facet


@njit(nogil=True, error_model="numpy")
def _hull_join(r: int, facet: int, first: int, second: int, third: int) -> None:
    """Set the facets across its edges."""
    f = hier_facet(r, facet) + FACET_NEAR
    store_i32(f, first)
    store_i32(f + 4, second)
    store_i32(f + 8, third)


@njit(nogil=True, error_model="numpy")
def _hull_try(r: int, p: int, facet: int) -> bool:
    """Give a point to a facet that sees it or has it in itself; whether it does."""
    out_of_line()
    point = hier_point(r, p)
    side = solid_side(r, facet, point)
    if side < 0 or (side == 0 and solid_within(r, facet, point) < 0):
        return False
    f = hier_facet(r, facet)
    hier_put(r, HIER_NEXT_AT, p, load_i32(f + FACET_LIST))
    store_i32(f + FACET_LIST, p)
    hier_put(r, HIER_OWNER_AT, p, facet if side > 0 else OWNER_LIES - facet)
    return True


@njit(nogil=True, error_model="numpy")
def _hull_settle(r: int, p: int, fresh: int) -> None:
    """Give a point to one of `fresh` new facets, if one of them sees it or has it in itself."""
    for place in range(fresh):
        if _hull_try(r, p, hier_number(r, HIER_FRESH_AT, place)):
            return
    hier_put(r, HIER_OWNER_AT, p, OWNER_INSIDE)


@njit(nogil=True, error_model="numpy")
def _hull_settle_near(r: int, p: int, gone: int) -> None:
    """The same for a point that a facet saw that is gone, where new ones are many.

    A new facet sees the point, or has it in itself, only if one of the two at its outer edge saw it; and if
    some does, then one that is reached from `gone` over facets that are gone and saw the point.
    """
    out_of_line()
    point = hier_point(r, p)
    hier_put(r, HIER_STACK_AT, 0, gone)
    store_i32(hier_facet(r, gone) + FACET_FACE, p)
    waiting = 1
    while waiting > 0:
        waiting -= 1
        f = hier_facet(r, hier_number(r, HIER_STACK_AT, waiting))
        for i in range(3):
            other = load_i32(f + FACET_NEAR + 4 * i)
            if other < 0:
                if _hull_try(r, p, _ACROSS - other):
                    return
                continue
            g = hier_facet(r, other)
            if load_i32(g + FACET_FACE) != p and solid_side(r, other, point) > 0:
                store_i32(g + FACET_FACE, p)
                hier_put(r, HIER_STACK_AT, waiting, other)
                waiting += 1
    hier_put(r, HIER_OWNER_AT, p, OWNER_INSIDE)


# --- inserting a point ---


@njit(nogil=True, error_model="numpy")
def _hull_seen(r: int, p: int, facet: int) -> tuple[int, int]:
    """Put all facets that see a point on the stack, and the edges around them on the horizon: a facet that
    sees it, and which of its edges. How many there are of each.
    """
    stamp = load_i64(r + HIER_STAMP) + 2
    store_i64(r + HIER_STAMP, stamp)
    point = hier_point(r, p)
    horizon = r + load_i64(r + HIER_HORIZON_AT)
    hier_put(r, HIER_STACK_AT, 0, facet)
    store_i32(hier_facet(r, facet) + FACET_MARK, stamp)
    seen = 1
    edges = 0
    place = 0
    while place < seen:
        inner = hier_number(r, HIER_STACK_AT, place)
        f = hier_facet(r, inner)
        for i in range(3):
            other = load_i32(f + FACET_NEAR + 4 * i)
            g = hier_facet(r, other)
            mark = load_i32(g + FACET_MARK)
            if mark < stamp:
                # One that does not see it may be asked again across another edge.
                mark = stamp if solid_side(r, other, point) > 0 else stamp + 1
                store_i32(g + FACET_MARK, mark)
                if mark == stamp:
                    hier_put(r, HIER_STACK_AT, seen, other)
                    seen += 1
            if mark != stamp:
                store_i32(horizon + 8 * edges, inner)
                store_i32(horizon + 8 * edges + 4, i)
                edges += 1
        place += 1
    return seen, edges


@njit(nogil=True, error_model="numpy")
def _hull_insert(r: int, p: int, facet: int) -> None:
    """Make a point outside a vertex; `facet` sees it."""
    seen, edges = _hull_seen(r, p, facet)
    horizon = r + load_i64(r + HIER_HORIZON_AT)
    for place in range(edges):
        inner = load_i32(horizon + 8 * place)
        i = load_i32(horizon + 8 * place + 4)
        f = hier_facet(r, inner)
        u = load_i32(f + 4 * i)
        v = load_i32(f + 4 * ((i + 1) % 3))
        outer = load_i32(f + FACET_NEAR + 4 * i)
        fresh = _hull_take(r, u, v, p)
        hier_put(r, HIER_FRESH_AT, place, fresh)
        hier_put(r, HIER_LOCAL_AT, u, fresh)
        store_i32(f + FACET_NEAR + 4 * i, _ACROSS - fresh)
        store_i32(hier_facet(r, fresh) + FACET_NEAR, outer)
        g = hier_facet(r, outer)
        for k in range(3):
            if load_i32(g + 4 * k) == v:
                store_i32(g + FACET_NEAR + 4 * k, fresh)
    for place in range(edges):
        fresh = hier_number(r, HIER_FRESH_AT, place)
        after = hier_number(r, HIER_LOCAL_AT, load_i32(hier_facet(r, fresh) + 4))
        store_i32(hier_facet(r, fresh) + FACET_NEAR + 4, after)
        store_i32(hier_facet(r, after) + FACET_NEAR + 8, fresh)
    hier_put(r, HIER_OWNER_AT, p, OWNER_VERTEX)
    # What waits with facets that go becomes one chain, and these another: the stack is needed again.
    waiting = -1
    going = -1
    for place in range(seen):
        gone = hier_number(r, HIER_STACK_AT, place)
        f = hier_facet(r, gone)
        q = load_i32(f + FACET_LIST)
        while q >= 0:
            after = hier_number(r, HIER_NEXT_AT, q)
            hier_put(r, HIER_NEXT_AT, q, waiting)
            waiting = q
            q = after
        store_i32(f + FACET_LIST, going)
        going = gone
    while waiting >= 0:
        after = hier_number(r, HIER_NEXT_AT, waiting)
        owner = hier_number(r, HIER_OWNER_AT, waiting)
        if owner >= 0 and edges > _FEW:
            _hull_settle_near(r, waiting, owner)
        elif owner != OWNER_VERTEX:
            _hull_settle(r, waiting, edges)
        waiting = after
    while going >= 0:
        f = hier_facet(r, going)
        after = load_i32(f + FACET_LIST)
        store_i32(f, -1)
        store_i32(f + FACET_LIST, load_i64(r + HIER_FREE))
        store_i64(r + HIER_FREE, going)
        going = after


# --- the first tetrahedron ---


@njit(nogil=True, error_model="numpy")
def _hull_apart(r: int, a: int, b: int, p: int) -> float:
    """About how far a point is from the line through two; from the one where they are equal."""
    x = load_f64(p) - load_f64(a)
    y = load_f64(p + 8) - load_f64(a + 8)
    z = load_f64(p + 16) - load_f64(a + 16)
    if a == b:
        return abs(x) + abs(y) + abs(z)
    u = load_f64(b) - load_f64(a)
    v = load_f64(b + 8) - load_f64(a + 8)
    w = load_f64(b + 16) - load_f64(a + 16)
    return abs(y * w - z * v) + abs(z * u - x * w) + abs(x * v - y * u)


@njit(nogil=True, error_model="numpy")
def _hull_off(r: int, a: int, b: int, facet: int, p: int, rough: bool) -> float:
    """More than 0 when a point lies off a facet's plane or, where that is -1, off the line through two."""
    point = hier_point(r, p)
    if facet >= 0:
        if not rough:
            return float(abs(solid_side(r, facet, point)))
        f = hier_facet(r, facet)
        s = 0.0
        for i in range(3):
            s += load_f64(f + FACET_NORMAL + 8 * i) * (
                load_f64(point + 8 * i) - load_f64(f + FACET_ANCHOR + 8 * i)
            )
        return abs(s)
    one = hier_point(r, a)
    other = hier_point(r, b)
    if rough or a == b:
        return _hull_apart(r, one, other, point)
    return 1.0 if solid_axis(r, one, other, point) < 3 else 0.0


@njit(nogil=True, error_model="numpy")
def _hull_farthest(r: int, count: int, a: int, b: int, facet: int) -> int:
    """Of the first `count` points of the order one off a plane or line, about the farthest; -1 where all lie
    in it.
    """
    out_of_line()
    best = -1
    most = 0.0
    for place in range(count):
        p = hier_number(r, HIER_ORDER_AT, place)
        far = _hull_off(r, a, b, facet, p, True)
        if far > most:
            most = far
            best = p
    if best >= 0 and _hull_off(r, a, b, facet, best, False) > 0.0:
        return best
    # Rounding may make up a distance, and hide one.
    for place in range(count):
        p = hier_number(r, HIER_ORDER_AT, place)
        if _hull_off(r, a, b, facet, p, False) > 0.0:
            return p
    return -1


@njit(nogil=True, error_model="numpy")
def _hull_make_up(r: int, number: int, a: int, axis: int) -> int:
    """A point that differs from another in one coordinate; `number` 0 or 1 says which of two it is."""
    p = load_i64(r + HIER_COUNT) + number
    point = hier_point(r, p)
    copy_bytes(point, hier_point(r, a), 24)
    size = load_f64(r + HIER_SIZE)
    store_f64(point + 8 * axis, -size if load_f64(point + 8 * axis) > 0.0 else size)
    return p


@njit(nogil=True, error_model="numpy")
def _hull_begin(r: int, count: int) -> bool:
    """A tetrahedron of some of the first `count` points of the order, with made-up ones where they are flat;
    false when all of them are equal.
    """
    store_i64(r + HIER_FREE, -1)
    store_i64(r + HIER_USED, 0)
    store_i64(r + HIER_STAMP, 0)
    a = hier_number(r, HIER_ORDER_AT, 0)
    b = _hull_farthest(r, count, a, a, -1)
    if b < 0:
        return False
    c = _hull_farthest(r, count, a, b, -1)
    if c < 0:
        # Some axis in which the two differ; the other two directions leave the line.
        axis = 0
        while load_f64(hier_point(r, a) + 8 * axis) == load_f64(hier_point(r, b) + 8 * axis):
            axis += 1
        c = _hull_make_up(r, 0, a, (axis + 1) % 3)
        d = _hull_make_up(r, 1, a, (axis + 2) % 3)
        first = _hull_take(r, a, b, c)
    else:
        first = _hull_take(r, a, b, c)
        d = _hull_farthest(r, count, a, b, first)
        if d < 0:
            axis = solid_axis(r, hier_point(r, a), hier_point(r, b), hier_point(r, c))
            d = _hull_make_up(r, 0, a, axis)
    if solid_side(r, first, hier_point(r, d)) > 0:
        b, c = c, b
        store_i64(r + HIER_USED, 0)
        first = _hull_take(r, a, b, c)
    _hull_take(r, b, a, d)
    _hull_take(r, c, b, d)
    _hull_take(r, a, c, d)
    _hull_join(r, 0, 1, 2, 3)
    _hull_join(r, 1, 0, 3, 2)
    _hull_join(r, 2, 0, 1, 3)
    _hull_join(r, 3, 0, 2, 1)
    for facet in range(4):
        hier_put(r, HIER_FRESH_AT, facet, facet)
    for p in (a, b, c, d):
        hier_put(r, HIER_OWNER_AT, p, OWNER_VERTEX)
    return True


# --- all points ---


@njit(nogil=True, error_model="numpy")
def hull_grow(r: int, candidates: int, count: int) -> bool:
    """The hull of the first `candidates` points of the order; of the others, up to `count`, none lies
    outside of it. False when all candidates are equal: there is none then. Expected O(count log(count)).
    """
    for place in range(count):
        hier_put(r, HIER_OWNER_AT, hier_number(r, HIER_ORDER_AT, place), OWNER_INSIDE)
    if not _hull_begin(r, candidates):
        return False
    for place in range(count):
        p = hier_number(r, HIER_ORDER_AT, place)
        if hier_number(r, HIER_OWNER_AT, p) != OWNER_VERTEX:
            _hull_settle(r, p, 4)
    for place in range(candidates):
        p = hier_number(r, HIER_ORDER_AT, place)
        facet = hier_number(r, HIER_OWNER_AT, p)
        if facet >= 0:
            _hull_insert(r, p, facet)
    return True
