"""Inserting a key into one half, with its tie groups.

A half is the chain of strict vertices of an upper hull: x increases, slopes decrease. Keys are only ever
inserted, so an edge is kept as it is, extended along its line (its end vertex joins its inside) or covered
for good. Groups therefore join and disappear but never split, and the keys that tie for a query are one
vertex, or one edge with its two ends.
"""

from numba import njit

from attnc_backends.numba.runtime.exact import orient2
from attnc_backends.numba.runtime.hull_groups import (
    hull_group_add,
    hull_group_drop,
    hull_group_join,
    hull_group_new,
    hull_group_takes,
)
from attnc_backends.numba.runtime.hull_layout import HULL_FAN_MASK
from attnc_backends.numba.runtime.hull_leaves import (
    hull_edge_group,
    hull_flat_open,
    hull_is_flat,
    hull_locate,
    hull_own_group,
    hull_place_after,
    hull_place_before,
    hull_place_last,
    hull_point,
    hull_position,
    hull_replace_between,
    hull_set_edge_group,
    hull_set_own_group,
    hull_unflatten,
)
from attnc_backends.numba.runtime.memory import load_f64


@njit(nogil=True, error_model="numpy")
def _hull_join_vertex(
    h: int, half: int, edge: int, place: int, vals: int, value_stride: int, vdtype: int
) -> int:
    """Put the keys at `place`, about to go, inside an edge with group `edge` (-1: empty); its group."""
    group = hull_own_group(h, half, place)
    if edge < 0:
        return group if group >= 0 else hull_group_new(h, hull_position(h, half, place))
    if group < 0:
        position = hull_position(h, half, place)
        if hull_group_takes(h, edge, position):
            hull_group_add(h, edge, half, position, vals, value_stride, vdtype)
            return edge
        group = hull_group_new(h, position)
    hull_group_join(h, edge, group, half, vals, value_stride, vdtype)
    return edge


@njit(nogil=True, error_model="numpy")
def _hull_drop_vertex(h: int, half: int, place: int) -> None:
    """Give up the groups of a covered vertex and of the edge to its right."""
    hull_group_drop(h, hull_own_group(h, half, place))
    hull_group_drop(h, hull_edge_group(h, half, place))


@njit(nogil=True, error_model="numpy")
def _hull_turn(
    h: int, half: int, keys: int, first: int, second: int, x: float, y: float, scratch: int
) -> int:
    """Sign of the turn from the vertices at two places to the point: 1 above their line, 0 on it."""
    ax, ay = hull_point(h, half, keys, first)
    bx, by = hull_point(h, half, keys, second)
    return orient2(ax, ay, bx, by, x, y, scratch)


@njit(nogil=True, error_model="numpy")
def hull_insert_flat(h: int, half: int, keys: int, x: float, position: int, scratch: int) -> bool:
    """Append the newest key to a flat half, if it stays flat. O(1), and no memory but 24 bytes in 64 keys.

    Halves here are not flipped, so the lower one turns the other way.
    """
    if position >= 1:
        here = keys + 16 * position
        if not x > load_f64(here - 16):
            return False
        if position >= 2:
            turn = orient2(
                load_f64(here - 32),
                load_f64(here - 24),
                load_f64(here - 16),
                load_f64(here - 8),
                x,
                load_f64(here + 8),
                scratch,
            )
            if turn != 2 * half - 1:
                return False
    if (position & HULL_FAN_MASK) == 0:
        hull_flat_open(h, half, keys, position)
    return True


@njit(nogil=True, error_model="numpy")
def hull_insert(
    h: int,
    half: int,
    keys: int,
    x: float,
    y: float,
    position: int,
    newest_right: bool,
    vals: int,
    value_stride: int,
    vdtype: int,
    scratch: int,
) -> None:
    """Insert key (x, y), the newest, into a half. `scratch` is ACC_BYTES of memory.

    `newest_right` says that x is larger than that of every other key. O(log n) to find its place and O(leaf)
    to insert it; each vertex that it covers is removed once ever.
    """
    if hull_is_flat(h, half):
        if hull_insert_flat(h, half, keys, x, position, scratch):
            return
        hull_unflatten(h, half, position)
    if newest_right:
        left = hull_place_last(h, half)
        right = -1
    else:
        left = hull_locate(h, half, keys, x)
        right = hull_place_after(h, half, left)
        if left >= 0:
            left_x, top = hull_point(h, half, keys, left)
            if left_x == x:
                if y < top:
                    return  # below a key of its own column
                if y == top:
                    group = hull_own_group(h, half, left)
                    if group < 0:
                        group = hull_group_new(h, hull_position(h, half, left))
                        hull_set_own_group(h, half, keys, left, group)
                    hull_group_add(h, group, half, position, vals, value_stride, vdtype)
                    return
                _hull_drop_vertex(h, half, left)
                left = hull_place_before(h, half, left)
            elif right >= 0:
                side = _hull_turn(h, half, keys, left, right, x, y, scratch)
                if side < 0:
                    return
                if side == 0:
                    edge = hull_edge_group(h, half, left)
                    if edge < 0:
                        hull_set_edge_group(h, half, keys, left, hull_group_new(h, position))
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
        side = _hull_turn(h, half, keys, before, left, x, y, scratch)
        if side < 0:
            break
        if side == 0:
            edge = hull_edge_group(h, half, before)
            edge = _hull_join_vertex(h, half, edge, left, vals, value_stride, vdtype)
            hull_group_drop(h, hull_edge_group(h, half, left))
            left = before
            break
        _hull_drop_vertex(h, half, left)
        left = before
    if left >= 0:
        old = hull_edge_group(h, half, left)
        if old != edge:
            if edge < 0:
                hull_group_drop(h, old)
            hull_set_edge_group(h, half, keys, left, edge)

    # The same to the right; here the new edge belongs to the new vertex.
    edge = -1
    while right >= 0:
        after = hull_place_after(h, half, right)
        if after < 0:
            break
        # The line from `right` to `after` seen from the key: above it the key covers `right`.
        side = _hull_turn(h, half, keys, right, after, x, y, scratch)
        if side < 0:
            break
        if side == 0:
            edge = hull_edge_group(h, half, right)
            edge = _hull_join_vertex(h, half, edge, right, vals, value_stride, vdtype)
            right = after
            break
        _hull_drop_vertex(h, half, right)
        right = after
    hull_replace_between(h, half, keys, left, right, x, y, position, edge)
