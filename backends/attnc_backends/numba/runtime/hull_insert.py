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
    hull_group_start,
    hull_group_takes,
)
from attnc_backends.numba.runtime.hull_header import (
    HULL_COUNT,
    HULL_FAN,
    HULL_LINK_KINDS,
    HULL_REPEAT,
    HULL_REPEAT_READY,
    HULL_UPPER,
)
from attnc_backends.numba.runtime.hull_inside import hull_inner_note, hull_inner_note_edge
from attnc_backends.numba.runtime.hull_layout import (
    HULL_CHUNK_COUNT,
    HULL_CHUNK_LEAF,
    HULL_CHUNK_X,
    HULL_EXTREME,
    HULL_HALF_BYTES,
    HULL_HALF_FROM,
    HULL_HALF_UPTO,
    HULL_LEAF_GROUP,
    HULL_LEAF_POSITION,
    HULL_LEAF_X,
    HULL_LEAF_Y,
    HULL_LEFT,
    HULL_ONLY,
    HULL_ONLY_COUNT,
    HULL_RIGHT_GROUP,
    HULL_WHOLE_GROUP,
)
from attnc_backends.numba.runtime.hull_leaves import (
    hull_chunk,
    hull_chunk_leaves,
    hull_edge_group,
    hull_entry_refresh,
    hull_leaf,
    hull_leaf_open,
    hull_leaf_shift,
    hull_locate,
    hull_note_only,
    hull_own_group,
    hull_place_after,
    hull_place_before,
    hull_place_last,
    hull_point,
    hull_position,
    hull_replace_between,
    hull_set_edge_group,
    hull_set_own_group,
    hull_top,
    hull_top_at_most,
    hull_top_count,
)
from attnc_backends.numba.runtime.lanes import count_at_most
from attnc_backends.numba.runtime.memory import (
    load_f64,
    load_i32,
    load_i64,
    out_of_line,
    store_f64,
    store_i32,
    store_i64,
)


@njit(nogil=True, error_model="numpy")
def _hull_join_vertex(h: int, half: int, edge: int, group: int, position: int) -> int:
    """Put a vertex, with its own group and first position, in edge group `edge` (-1: empty); the group."""
    out_of_line()
    if edge < 0:
        return group if group >= 0 else hull_group_new(h, position)
    if group < 0:
        if hull_group_takes(h, edge, position):
            hull_group_add(h, edge, half, position)
            return edge
        group = hull_group_new(h, position)
    hull_group_join(h, edge, group, half)
    return edge


@njit(nogil=True, error_model="numpy", forceinline=True)
def _hull_leaf_turn(leaf: int, first: int, x: float, y: float, scratch: int) -> int:
    """Sign of the turn from vertices `first` and first + 1 of a leaf to the point."""
    at = leaf + HULL_LEAF_X + 8 * first
    ax = load_f64(at)
    bx = load_f64(at + 8)
    at += HULL_LEAF_Y - HULL_LEAF_X
    return orient2(ax, load_f64(at), bx, load_f64(at + 8), x, y, scratch)


@njit(nogil=True, error_model="numpy")
def _hull_insert_in_leaf(
    h: int,
    half: int,
    leaf: int,
    count_at: int,
    right: int,
    is_first: bool,
    is_last: bool,
    x: float,
    y: float,
    position: int,
    scratch: int,
) -> int:
    """hull_insert of a vertex where one leaf is all it takes; -1, and nothing done, where it is not.

    `right` is the number of vertices whose x is at most `x`. Returns 1 when the leaf's first vertex is new.
    """
    out_of_line()
    count = load_i32(count_at)
    left = right - 1
    if left >= 0 and load_f64(leaf + HULL_LEAF_X + 8 * left) == x:
        left -= 1  # above a key of its own column, which it covers
    if (left < 0 and not is_first) or (right == count and not is_last):
        return -1
    # Look how far the key covers before anything is changed.
    low = left
    left_side = -1
    while low >= 0:
        if low == 0:
            if not is_first:
                return -1
            break
        side = _hull_leaf_turn(leaf, low - 1, x, y, scratch)
        if side <= 0:
            left_side = side
            break
        low -= 1
    high = right
    right_side = -1
    while high < count:
        if high == count - 1:
            if not is_last:
                return -1
            break
        side = _hull_leaf_turn(leaf, high, x, y, scratch)
        if side <= 0:
            right_side = side
            break
        high += 1
    at = low if left_side == 0 else low + 1
    rest = high + 1 if right_side == 0 else high
    if at + 1 + count - rest > HULL_FAN:
        return -1
    groups = leaf + HULL_LEAF_GROUP
    for covered in range(low + 1, high):
        hull_group_drop(h, load_i32(groups + 8 * covered))
        hull_group_drop(h, load_i32(groups + 8 * covered + 4))
    if low >= 0:
        edge = -1
        if left_side == 0:
            edge = _hull_join_vertex(
                h,
                half,
                load_i32(groups + 8 * low - 4),
                load_i32(groups + 8 * low),
                load_i32(leaf + HULL_LEAF_POSITION + 4 * low),
            )
        hull_group_drop(h, load_i32(groups + 8 * low + 4))
        store_i32(groups + 8 * at - 4, edge)
    edge = -1
    if right_side == 0:
        edge = _hull_join_vertex(
            h,
            half,
            load_i32(groups + 8 * high + 4),
            load_i32(groups + 8 * high),
            load_i32(leaf + HULL_LEAF_POSITION + 4 * high),
        )
    if rest != at + 1:
        if rest == at:
            hull_leaf_open(leaf, at, count)
        elif rest < count:
            hull_leaf_shift(leaf, at + 1, rest, count, leaf)
        store_i32(count_at, count + at + 1 - rest)
    store_f64(leaf + HULL_LEAF_X + 8 * at, x)
    store_f64(leaf + HULL_LEAF_Y + 8 * at, y)
    store_i32(leaf + HULL_LEAF_POSITION + 4 * at, position)
    store_i32(groups + 8 * at, -1)
    store_i32(groups + 8 * at + 4, edge)
    return 1 if at == 0 else 0


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
def _hull_insert_across(
    h: int,
    half: int,
    keys: int,
    x: float,
    y: float,
    position: int,
    newest_right: bool,
    scratch: int,
) -> bool:
    """hull_insert in general, over leaves of any kind."""
    out_of_line()
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
                    return False  # below a key of its own column
                if y == top:
                    group = hull_own_group(h, half, left)
                    if group < 0:
                        group = hull_group_new(h, hull_position(h, half, left))
                        hull_set_own_group(h, half, keys, left, group)
                    hull_group_add(h, group, half, position)
                    return False
                _hull_drop_vertex(h, half, left)
                left = hull_place_before(h, half, left)
            elif right >= 0:
                side = _hull_turn(h, half, keys, left, right, x, y, scratch)
                if side < 0:
                    return False
                if side == 0:
                    edge = hull_edge_group(h, half, left)
                    if edge < 0:
                        hull_set_edge_group(h, half, keys, left, hull_group_new(h, position))
                        return True  # no group to note
                    hull_group_add(h, edge, half, position)
                    return False

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
            group = hull_own_group(h, half, left)
            edge = _hull_join_vertex(h, half, edge, group, hull_position(h, half, left))
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
            group = hull_own_group(h, half, right)
            edge = _hull_join_vertex(h, half, edge, group, hull_position(h, half, right))
            right = after
            break
        _hull_drop_vertex(h, half, right)
        right = after
    hull_replace_between(h, half, keys, left, right, x, y, position, edge)
    hull_inner_note(h, half, x, y)
    return True


@njit(nogil=True, error_model="numpy")
def hull_insert(h: int, keys: int, x: float, height: float, position: int, halves: int, scratch: int) -> None:
    """Insert the newest key (x, height) where keys are out of order; `scratch` is ACC_BYTES of memory.

    It becomes no vertex of halves whose bits in `halves` are 0: there it joins the group that is noted. O(log
    n) to find its place and O(leaf) to insert it; each vertex that it covers is removed once ever. What goes
    inside or ties with keys that are there stays in this function, the rest is out of line.
    """
    out_of_line()
    store_i64(h + HULL_COUNT, position + 1)
    for kind in range(HULL_LEFT, HULL_LINK_KINDS):
        store_i64(h + HULL_REPEAT + 8 * kind, -1)
    newest_right = x > load_f64(h + HULL_EXTREME + 8)
    # Loop variables, not constants, name groups and halves: a constant argument would make the compiler
    # build each callee once per constant.
    for group in range(HULL_WHOLE_GROUP):
        side = x if group == HULL_RIGHT_GROUP else -x
        extreme = load_f64(h + HULL_EXTREME + 8 * group)
        if side > extreme:
            store_f64(h + HULL_EXTREME + 8 * group, side)
            hull_group_start(h, group, position)
        elif side == extreme:
            hull_group_add(h, group, HULL_LEFT + group, position)
    # Whether a key equal to this one will join the groups that are noted, or none.
    ready = 1
    for half in range(load_i64(h + HULL_HALF_FROM), load_i64(h + HULL_HALF_UPTO)):
        if (halves >> half) & 1 == 0:
            group = load_i64(h + HULL_REPEAT + 8 * half)
            if group >= 0:
                hull_group_add(h, group, half, position)
            continue
        y = height if half == HULL_UPPER else -height
        only = load_i64(h + half * HULL_HALF_BYTES + HULL_ONLY)
        is_first = True
        is_last = True
        if only != 0:
            leaf = h + only
            count_at = h + load_i64(h + half * HULL_HALF_BYTES + HULL_ONLY_COUNT)
        else:
            tops = hull_top_count(h, half)
            top = 0
            if newest_right:
                top = tops - 1
            elif tops > 1:
                top = max(hull_top_at_most(hull_top(h, half), tops, x) - 1, 0)
            chunk = hull_chunk(h, half, top)
            leaves = hull_chunk_leaves(h, half, top)
            entry = 0
            if newest_right:
                entry = leaves - 1
            elif leaves > 1:
                entry = max(count_at_most(chunk + HULL_CHUNK_X, leaves, x) - 1, 0)
            number = load_i32(chunk + HULL_CHUNK_LEAF + 4 * entry)
            leaf = 0
            if number >= 0:
                leaf = hull_leaf(h, number)
            count_at = chunk + HULL_CHUNK_COUNT + 4 * entry
            is_first = top == 0 and entry == 0
            is_last = top == tops - 1 and entry == leaves - 1
        if leaf != 0:
            count = load_i32(count_at)
            right = count
            if not newest_right:
                right = count_at_most(leaf + HULL_LEAF_X, count, x)
            if right > 0:
                at = leaf + 8 * (right - 1)
                ax = load_f64(at + HULL_LEAF_X)
                ay = load_f64(at + HULL_LEAF_Y)
                if ax == x:
                    if y < ay:
                        continue  # below a key of its own column
                    if y == ay:
                        group = load_i32(at + HULL_LEAF_GROUP)
                        if group < 0:
                            group = hull_group_new(h, load_i32(leaf + HULL_LEAF_POSITION + 4 * (right - 1)))
                            store_i32(at + HULL_LEAF_GROUP, group)
                        hull_group_add(h, group, half, position)
                        continue
                elif right < count:
                    by = load_f64(at + HULL_LEAF_Y + 8)
                    side = 0
                    if y != ay or y != by:
                        side = orient2(ax, ay, load_f64(at + HULL_LEAF_X + 8), by, x, y, scratch)
                    if side < 0:
                        continue
                    if side == 0:
                        edge = load_i32(at + HULL_LEAF_GROUP + 4)
                        if edge < 0:
                            store_i32(at + HULL_LEAF_GROUP + 4, hull_group_new(h, position))
                            ready = 0  # an equal key joins a group that is not noted
                            continue
                        hull_group_add(h, edge, half, position)
                        hull_inner_note_edge(h, half, ax, ay, load_f64(at + HULL_LEAF_X + 8), by, edge)
                        continue
            ready = 0
            done = _hull_insert_in_leaf(
                h, half, leaf, count_at, right, is_first, is_last, x, y, position, scratch
            )
            if done >= 0:
                hull_inner_note(h, half, x, y)
                if done > 0:
                    hull_entry_refresh(h, half, keys, 0)
                continue
        if _hull_insert_across(h, half, keys, x, y, position, newest_right, scratch):
            ready = 0
        hull_note_only(h, half)
    store_i64(h + HULL_REPEAT_READY, ready)
