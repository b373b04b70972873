"""Inserting a key into one half, with its tie groups.

A half is the chain of strict vertices of an upper hull: x increases, slopes decrease. Keys are only ever
inserted, so an edge is kept as it is, extended along its line (its end vertex joins its inside) or covered
for good. Groups therefore join and disappear but never split, and the keys that tie for a query are one
vertex, or one edge with its two ends.
"""

from numba import njit

from attnc_backends.numba.runtime.exact import orient2
from attnc_backends.numba.runtime.hull_blocks import (
    hull_insert_after,
    hull_locate,
    hull_place_after,
    hull_place_before,
    hull_remove_between,
    hull_vertex,
)
from attnc_backends.numba.runtime.hull_groups import (
    hull_group_add,
    hull_group_drop,
    hull_group_join,
    hull_group_new,
)
from attnc_backends.numba.runtime.hull_layout import (
    HULL_POINT_X,
    HULL_POINT_Y,
    HULL_VERTEX_EDGE,
    HULL_VERTEX_GROUP,
    HULL_VERTEX_POSITION,
)
from attnc_backends.numba.runtime.memory import (
    load_f64,
    load_i32,
    load_i64,
    store_i32,
)


@njit(nogil=True, error_model="numpy")
def _hull_join_vertex(
    h: int, half: int, edge: int, vertex: int, vals: int, value_stride: int, vdtype: int
) -> int:
    """Put the keys at `vertex`, about to go, inside an edge with group `edge` (-1: empty); its group."""
    group = load_i32(vertex + HULL_VERTEX_GROUP)
    if edge < 0:
        return group if group >= 0 else hull_group_new(h, load_i64(vertex + HULL_VERTEX_POSITION))
    if group < 0:
        group = hull_group_new(h, load_i64(vertex + HULL_VERTEX_POSITION))
    hull_group_join(h, edge, group, half, vals, value_stride, vdtype)
    return edge


@njit(nogil=True, error_model="numpy")
def _hull_drop_vertex(h: int, vertex: int) -> None:
    """Give up the groups of a covered vertex and of the edge to its right."""
    hull_group_drop(h, load_i32(vertex + HULL_VERTEX_GROUP))
    hull_group_drop(h, load_i32(vertex + HULL_VERTEX_EDGE))


@njit(nogil=True, error_model="numpy")
def _hull_turn(h: int, half: int, left: int, right: int, x: float, y: float, scratch: int) -> int:
    """Side of (x, y) from the directed line through the vertices at two places: 1 above, 0 on, -1 below."""
    a = hull_vertex(h, half, left)
    b = hull_vertex(h, half, right)
    return orient2(
        load_f64(a + HULL_POINT_X),
        load_f64(a + HULL_POINT_Y),
        load_f64(b + HULL_POINT_X),
        load_f64(b + HULL_POINT_Y),
        x,
        y,
        scratch,
    )


@njit(nogil=True, error_model="numpy")
def hull_insert(
    h: int,
    half: int,
    x: float,
    y: float,
    position: int,
    vals: int,
    value_stride: int,
    vdtype: int,
    scratch: int,
) -> None:
    """Insert key (x, y), the newest, into a half. `scratch` is ACC_BYTES of memory.

    O(log n) to find its place and O(block) to insert it; each vertex that it covers is removed once ever.
    """
    left = hull_locate(h, half, x)
    right = hull_place_after(h, half, left)
    if left >= 0 and load_f64(hull_vertex(h, half, left) + HULL_POINT_X) == x:
        vertex = hull_vertex(h, half, left)
        top = load_f64(vertex + HULL_POINT_Y)
        if y < top:
            return  # below a key of its own column
        if y == top:
            group = load_i32(vertex + HULL_VERTEX_GROUP)
            if group < 0:
                group = hull_group_new(h, load_i64(vertex + HULL_VERTEX_POSITION))
                store_i32(vertex + HULL_VERTEX_GROUP, group)
            hull_group_add(h, group, half, position, vals, value_stride, vdtype)
            return
        _hull_drop_vertex(h, vertex)
        left = hull_place_before(h, half, left)
    elif left >= 0 and right >= 0:
        side = _hull_turn(h, half, left, right, x, y, scratch)
        if side < 0:
            return
        if side == 0:
            vertex = hull_vertex(h, half, left)
            edge = load_i32(vertex + HULL_VERTEX_EDGE)
            if edge < 0:
                store_i32(vertex + HULL_VERTEX_EDGE, hull_group_new(h, position))
            else:
                hull_group_add(h, edge, half, position, vals, value_stride, vdtype)
            return

    # The key is a vertex. Walk left over the vertices that it covers; one on the line joins the new edge,
    # and beyond it the chain turns strictly again, so the walk is over.
    edge = -1
    while left >= 0:
        before = hull_place_before(h, half, left)
        if before < 0:
            break
        side = _hull_turn(h, half, before, left, x, y, scratch)
        if side < 0:
            break
        vertex = hull_vertex(h, half, left)
        if side == 0:
            edge = load_i32(hull_vertex(h, half, before) + HULL_VERTEX_EDGE)
            edge = _hull_join_vertex(h, half, edge, vertex, vals, value_stride, vdtype)
            hull_group_drop(h, load_i32(vertex + HULL_VERTEX_EDGE))
            left = before
            break
        _hull_drop_vertex(h, vertex)
        left = before
    if left >= 0:
        vertex = hull_vertex(h, half, left)
        if edge < 0:
            hull_group_drop(h, load_i32(vertex + HULL_VERTEX_EDGE))
        store_i32(vertex + HULL_VERTEX_EDGE, edge)

    # The same to the right; here the new edge belongs to the new vertex.
    edge = -1
    while right >= 0:
        after = hull_place_after(h, half, right)
        if after < 0:
            break
        # The line from `right` to `after` seen from the key: above it the key covers `right`.
        side = _hull_turn(h, half, right, after, x, y, scratch)
        if side < 0:
            break
        vertex = hull_vertex(h, half, right)
        right = after
        if side == 0:
            edge = load_i32(vertex + HULL_VERTEX_EDGE)
            edge = _hull_join_vertex(h, half, edge, vertex, vals, value_stride, vdtype)
            break
        _hull_drop_vertex(h, vertex)
    hull_remove_between(h, half, left, right)
    hull_insert_after(h, half, left, x, y, position, edge)
