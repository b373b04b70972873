"""Making a hierarchy: the hull of all keys, what lies on it, and graphs of fewer and fewer vertices."""

import math

from numba import njit

from attnc_backends.numba.runtime.hierarchy_hull import hull_grow
from attnc_backends.numba.runtime.hierarchy_layout import (
    FACET_FACE,
    FACET_LIST,
    FACET_NEAR,
    FACET_SLOT,
    HIER_BOX_SHIFT,
    HIER_BOXES,
    HIER_CORNERS,
    HIER_COUNT,
    HIER_CROWD,
    HIER_CROWDS_AT,
    HIER_EDGE_AT,
    HIER_EDGE_OF_AT,
    HIER_EDGES,
    HIER_FACE_AT,
    HIER_FACE_OF_AT,
    HIER_FRESH_AT,
    HIER_LEVEL_OFFSETS,
    HIER_LEVELS,
    HIER_LOCAL_AT,
    HIER_NEAR_AT,
    HIER_NEXT_AT,
    HIER_OFFSETS_AT,
    HIER_ORDER_AT,
    HIER_OWNER_AT,
    HIER_PLACES_AT,
    HIER_PLAIN,
    HIER_POINT_BYTES,
    HIER_POSITION_AT,
    HIER_RIM_AT,
    HIER_SIZE,
    HIER_SLOTS,
    HIER_STACK_AT,
    HIER_TOP,
    HIER_USED,
    HIER_VERTEX_AT,
    HOME_FIRST,
    HOME_LAST,
    HOME_LIST,
    HOME_START,
    OWNER_LIES,
    OWNER_STRICT,
    OWNER_VERTEX,
    hier_box,
    hier_corner,
    hier_facet,
    hier_home,
    hier_home_reach,
    hier_home_start,
    hier_lay,
    hier_level_size,
    hier_number,
    hier_point,
    hier_put,
)
from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    load_element,
    load_f64,
    load_i32,
    load_i64,
    store_f64,
    store_i32,
    store_i64,
)
from attnc_backends.numba.runtime.solid import solid_side, solid_within

_TOP = 24
"""A level of so many vertices or fewer has no graph."""
_PLAIN_BITS = 15
_PLAIN_RANGE = 300


# --- keys ---


@njit(nogil=True, error_model="numpy")
def _hier_shuffle(r: int, count: int) -> None:
    """Write which position each point is to come from: an order that depends on their number alone."""
    for p in range(count):
        hier_put(r, HIER_POSITION_AT, p, p)
        hier_put(r, HIER_ORDER_AT, p, p)
    state = 0x2545F4914F6CDD1D
    for p in range(count - 1, 0, -1):
        # Marsaglia's xorshift.
        state ^= state << 13
        state ^= (state >> 7) & ((1 << 57) - 1)
        state ^= state << 17
        other = ((state >> 20) & 0xFFFFFFFF) * (p + 1) >> 32
        position = hier_number(r, HIER_POSITION_AT, other)
        hier_put(r, HIER_POSITION_AT, other, hier_number(r, HIER_POSITION_AT, p))
        hier_put(r, HIER_POSITION_AT, p, position)


@njit(nogil=True, error_model="numpy")
def _hier_read(r: int, count: int, keys: int, stride: int, step: int, kdtype: int) -> bool:
    """Copy the keys, in the order of points; whether all are finite."""
    size = 0.0
    for p in range(count):
        point = hier_point(r, p)
        key = keys + hier_number(r, HIER_POSITION_AT, p) * stride
        for c in range(3):
            x = load_element(key + c * step, kdtype)
            if not math.isfinite(x):
                return False
            store_f64(point + 8 * c, x)
            size = max(size, abs(x))
    store_f64(r + HIER_SIZE, size)
    store_i64(r + HIER_PLAIN, 0)
    exponent = math.frexp(size)[1]
    if size == 0.0 or abs(exponent) > _PLAIN_RANGE:
        return True
    # Multiples of a unit, 2**15 of them at most: differences are below 2**17, and the sum that a side test
    # adds up is below 48 * 2**45 units cubed.
    unit = math.ldexp(1.0, _PLAIN_BITS - exponent)
    for p in range(count):
        point = hier_point(r, p)
        for c in range(3):
            x = load_f64(point + 8 * c)
            # A number so small that the product is 0 is no multiple either.
            if x * unit != math.floor(x * unit) or (x * unit == 0.0 and x != 0.0):
                return True
    store_i64(r + HIER_PLAIN, 1)
    return True


# --- faces, and strict vertices ---


@njit(nogil=True, error_model="numpy")
def _hier_faces(r: int) -> int:
    """Number the faces: facets in one plane that hang together. How many there are."""
    used = load_i64(r + HIER_USED)
    for facet in range(used):
        store_i32(hier_facet(r, facet) + FACET_FACE, -1)
    faces = 0
    for first in range(used):
        f = hier_facet(r, first)
        if load_i32(f) < 0 or load_i32(f + FACET_FACE) >= 0:
            continue
        store_i32(f + FACET_FACE, faces)
        hier_put(r, HIER_STACK_AT, 0, first)
        waiting = 1
        while waiting > 0:
            waiting -= 1
            facet = hier_number(r, HIER_STACK_AT, waiting)
            f = hier_facet(r, facet)
            for i in range(3):
                other = load_i32(f + FACET_NEAR + 4 * i)
                g = hier_facet(r, other)
                if load_i32(g + FACET_FACE) >= 0:
                    continue
                # The vertex that the two do not share.
                start = load_i32(f + 4 * i)
                k = 0
                while load_i32(g + 4 * k) != start:
                    k += 1
                far = load_i32(g + 4 * ((k + 1) % 3))
                if solid_side(r, first, hier_point(r, far)) == 0:
                    store_i32(g + FACET_FACE, faces)
                    hier_put(r, HIER_STACK_AT, waiting, other)
                    waiting += 1
        faces += 1
    return faces


@njit(nogil=True, error_model="numpy")
def _hier_strict(r: int, count: int) -> tuple[int, int]:
    """Bring the order's strict vertices, which three faces meet at, to the front, and the other points of
    the surface behind them; how many there are of each. The order among them stays.
    """
    used = load_i64(r + HIER_USED)
    for facet in range(used):
        f = hier_facet(r, facet)
        if load_i32(f) >= 0:
            for i in range(3):
                hier_put(r, HIER_LOCAL_AT, load_i32(f + 4 * i), -1)
                hier_put(r, HIER_FRESH_AT, load_i32(f + 4 * i), -1)
    for facet in range(used):
        f = hier_facet(r, facet)
        if load_i32(f) < 0:
            continue
        face = load_i32(f + FACET_FACE)
        for i in range(3):
            p = load_i32(f + 4 * i)
            one = hier_number(r, HIER_LOCAL_AT, p)
            two = hier_number(r, HIER_FRESH_AT, p)
            if one < 0:
                hier_put(r, HIER_LOCAL_AT, p, face)
            elif one != face and two < 0:
                hier_put(r, HIER_FRESH_AT, p, face)
            elif one != face and two != face:
                hier_put(r, HIER_OWNER_AT, p, OWNER_STRICT)
    strict = 0
    others = 0
    for place in range(count):
        p = hier_number(r, HIER_ORDER_AT, place)
        owner = hier_number(r, HIER_OWNER_AT, p)
        if owner == OWNER_STRICT:
            hier_put(r, HIER_ORDER_AT, strict, p)
            strict += 1
        elif owner == OWNER_VERTEX or owner <= OWNER_LIES:
            hier_put(r, HIER_STACK_AT, others, p)
            others += 1
    for place in range(others):
        hier_put(r, HIER_ORDER_AT, strict + place, hier_number(r, HIER_STACK_AT, place))
    return strict, others


# --- graphs ---


@njit(nogil=True, error_model="numpy")
def _hier_boxes(r: int, first: int, end: int) -> int:
    """Boxes around the neighbours in a vertex's many slots, and boxes around these; the first's number."""
    start = load_i64(r + HIER_BOXES)
    inner = -1
    begin, stop = first, end
    while True:
        outer = load_i64(r + HIER_BOXES)
        at = begin
        while at < stop:
            box = hier_box(r, load_i64(r + HIER_BOXES))
            store_i64(r + HIER_BOXES, load_i64(r + HIER_BOXES) + 1)
            for c in range(3):
                low = math.inf
                high = -math.inf
                for place in range(at, min(at + (1 << HIER_BOX_SHIFT), stop)):
                    if inner >= 0:
                        low = min(low, load_f64(hier_box(r, place) + 8 * c))
                        high = max(high, load_f64(hier_box(r, place) + 24 + 8 * c))
                    elif hier_number(r, HIER_NEAR_AT, place) >= 0:
                        x = load_f64(hier_corner(r, hier_number(r, HIER_NEAR_AT, place)) + 8 * c)
                        low = min(low, x)
                        high = max(high, x)
                store_f64(box + 8 * c, low)
                store_f64(box + 24 + 8 * c, high)
            at += 1 << HIER_BOX_SHIFT
        inner = outer
        begin, stop = outer, load_i64(r + HIER_BOXES)
        if stop - begin <= 1 << HIER_BOX_SHIFT:
            return start


@njit(nogil=True, error_model="numpy")
def _hier_graph(r: int, level: int, size: int) -> None:
    """Write the neighbours of each of the first `size` vertices in cyclic order; -1 for made-up ones. On
    level 0 also the face between a neighbour and the next one.
    """
    used = load_i64(r + HIER_USED)
    for number in range(2):
        hier_put(r, HIER_LOCAL_AT, load_i64(r + HIER_COUNT) + number, -1)
    for v in range(size):
        hier_put(r, HIER_LOCAL_AT, hier_number(r, HIER_PLACES_AT, v), v)
    for facet in range(used):
        f = hier_facet(r, facet)
        if load_i32(f) >= 0:
            for i in range(3):
                v = hier_number(r, HIER_LOCAL_AT, load_i32(f + 4 * i))
                if v >= 0:
                    hier_put(r, HIER_STACK_AT, v, facet)
    offsets = 0
    for below in range(level):
        offsets += hier_level_size(load_i64(r + HIER_CORNERS), below) + 1
    store_i64(r + HIER_LEVEL_OFFSETS + 8 * level, offsets)
    slot = load_i64(r + HIER_SLOTS)
    for v in range(size):
        hier_put(r, HIER_OFFSETS_AT, offsets + v, slot)
        p = hier_number(r, HIER_PLACES_AT, v)
        start = hier_number(r, HIER_STACK_AT, v)
        facet = start
        while True:
            f = hier_facet(r, facet)
            i = 0
            while load_i32(f + 4 * i) != p:
                i += 1
            near = hier_number(r, HIER_LOCAL_AT, load_i32(f + 4 * ((i + 1) % 3)))
            hier_put(r, HIER_NEAR_AT, slot, near)
            if level == 0:
                hier_put(r, HIER_FACE_OF_AT, slot, load_i32(f + FACET_FACE))
                hier_put(r, HIER_EDGE_OF_AT, slot, -1)
                store_i32(f + FACET_SLOT + 4 * i, slot)
            slot += 1
            facet = load_i32(f + FACET_NEAR + 4 * ((i + 2) % 3))
            if facet == start:
                break
        first = hier_number(r, HIER_OFFSETS_AT, offsets + v)
        boxes = _hier_boxes(r, first, slot) if slot - first > HIER_CROWD else -1
        hier_put(r, HIER_CROWDS_AT, offsets + v, boxes)
    hier_put(r, HIER_OFFSETS_AT, offsets + size, slot)
    store_i64(r + HIER_SLOTS, slot)


# --- what ties ---


@njit(nogil=True, error_model="numpy")
def _hier_lay_down(r: int, home: int, p: int) -> None:
    """Let a key that is no vertex lie at a vertex, on an edge or on a face."""
    hier_put(r, HIER_NEXT_AT, p, load_i32(home + HOME_LIST))
    store_i32(home + HOME_LIST, p)
    position = hier_number(r, HIER_POSITION_AT, p)
    hier_home_reach(home, position, position)


@njit(nogil=True, error_model="numpy")
def _hier_across(r: int, facet: int, i: int) -> int:
    """Address of what a facet notes of its edge `i` in the facet across: its place there, times four."""
    f = hier_facet(r, facet)
    g = hier_facet(r, load_i32(f + FACET_NEAR + 4 * i))
    end = load_i32(f + 4 * ((i + 1) % 3))
    k = 0
    while load_i32(g + 4 * k) != end:
        k += 1
    return g + 4 * k


@njit(nogil=True, error_model="numpy")
def _hier_edge(r: int, facet: int, i: int) -> int:
    """Address of what is noted for an edge; it is there from now on."""
    f = hier_facet(r, facet)
    slot = load_i32(f + FACET_SLOT + 4 * i)
    edge = hier_number(r, HIER_EDGE_OF_AT, slot)
    if edge < 0:
        edge = load_i64(r + HIER_EDGES)
        store_i64(r + HIER_EDGES, edge + 1)
        hier_home_start(hier_home(r, HIER_EDGE_AT, edge))
        hier_put(r, HIER_EDGE_OF_AT, slot, edge)
        hier_put(r, HIER_EDGE_OF_AT, load_i32(_hier_across(r, facet, i) + FACET_SLOT), edge)
    return hier_home(r, HIER_EDGE_AT, edge)


@njit(nogil=True, error_model="numpy")
def _hier_house(r: int, facet: int) -> None:
    """Let the keys of a facet's list lie at its vertices, on its edges or on its face."""
    f = hier_facet(r, facet)
    p = load_i32(f + FACET_LIST)
    while p >= 0:
        after = hier_number(r, HIER_NEXT_AT, p)
        on = solid_within(r, facet, hier_point(r, p))
        home = hier_home(r, HIER_FACE_AT, load_i32(f + FACET_FACE))
        if on == 3 or on == 5 or on == 6:
            # Edges 0 and 1 meet at vertex 1, edges 0 and 2 at vertex 0, edges 1 and 2 at vertex 2.
            i = 1 if on == 3 else (0 if on == 5 else 2)
            v = hier_number(r, HIER_LOCAL_AT, load_i32(f + 4 * i))
            home = hier_home(r, HIER_VERTEX_AT, v)
        elif on != 0:
            i = on >> 1
            other = load_i32(hier_facet(r, load_i32(f + FACET_NEAR + 4 * i)) + FACET_FACE)
            # An edge within a face is none.
            if other != load_i32(f + FACET_FACE):
                home = _hier_edge(r, facet, i)
        _hier_lay_down(r, home, p)
        p = after


@njit(nogil=True, error_model="numpy")
def _hier_rims(r: int, faces: int) -> None:
    """List the edges around each face, as slots, and let faces reach as far as what lies around them."""
    used = load_i64(r + HIER_USED)
    for face in range(faces + 1):
        store_i32(hier_home(r, HIER_FACE_AT, face) + HOME_START, 0)
    # First how many edges the faces up to each one have, then, filled from the back, where its own begin.
    for turn in range(2):
        for facet in range(used):
            f = hier_facet(r, facet)
            if load_i32(f) < 0:
                continue
            face = load_i32(f + FACET_FACE)
            home = hier_home(r, HIER_FACE_AT, face)
            real = True
            for i in range(3):
                if hier_number(r, HIER_LOCAL_AT, load_i32(f + 4 * i)) < 0:
                    real = False
            if not real:
                continue
            for i in range(3):
                if load_i32(hier_facet(r, load_i32(f + FACET_NEAR + 4 * i)) + FACET_FACE) == face:
                    continue
                if turn == 0:
                    store_i32(home + HOME_START, load_i32(home + HOME_START) + 1)
                    continue
                place = load_i32(home + HOME_START) - 1
                store_i32(home + HOME_START, place)
                slot = load_i32(f + FACET_SLOT + 4 * i)
                hier_put(r, HIER_RIM_AT, place, slot)
                v = hier_number(r, HIER_LOCAL_AT, load_i32(f + 4 * i))
                at = hier_home(r, HIER_VERTEX_AT, v)
                hier_home_reach(home, load_i32(at + HOME_FIRST), load_i32(at + HOME_LAST))
                edge = hier_number(r, HIER_EDGE_OF_AT, slot)
                if edge >= 0:
                    at = hier_home(r, HIER_EDGE_AT, edge)
                    hier_home_reach(home, load_i32(at + HOME_FIRST), load_i32(at + HOME_LAST))
        if turn == 0:
            total = 0
            for face in range(faces + 1):
                home = hier_home(r, HIER_FACE_AT, face)
                total += load_i32(home + HOME_START)
                store_i32(home + HOME_START, total)


@njit(nogil=True, error_model="numpy")
def _hier_ties(r: int, size: int, faces: int) -> None:
    """Note what lies at each vertex, on each edge and face of the hull."""
    for v in range(size):
        home = hier_home(r, HIER_VERTEX_AT, v)
        position = hier_number(r, HIER_POSITION_AT, hier_number(r, HIER_PLACES_AT, v))
        hier_home_start(home)
        hier_home_reach(home, position, position)
    for face in range(faces):
        hier_home_start(hier_home(r, HIER_FACE_AT, face))
    for facet in range(load_i64(r + HIER_USED)):
        if load_i32(hier_facet(r, facet)) >= 0:
            _hier_house(r, facet)
    _hier_rims(r, faces)


# --- all of it ---


@njit(nogil=True, error_model="numpy")
def hierarchy_build(r: int, capacity: int, count: int, keys: int, stride: int, step: int, kdtype: int) -> int:
    """Make the hierarchy of the keys at positions [0, count), at least one and at most `capacity`; 1, or 0
    when one is not finite. The same keys give the same hierarchy.

    Expected O(n log n). Key `j` begins at `keys + j * stride`, its elements are `step` bytes apart.
    """
    hier_lay(r, capacity)
    store_i64(r + HIER_COUNT, count)
    store_i64(r + HIER_LEVELS, 0)
    store_i64(r + HIER_CORNERS, 1)
    store_i64(r + HIER_TOP, 1)
    store_i64(r + HIER_SLOTS, 0)
    store_i64(r + HIER_BOXES, 0)
    store_i64(r + HIER_EDGES, 0)
    _hier_shuffle(r, count)
    if not _hier_read(r, count, keys, stride, step, kdtype):
        return 0
    if not hull_grow(r, count, count):
        return 1
    faces = _hier_faces(r)
    strict, others = _hier_strict(r, count)
    # Where there are others, a hull of the strict vertices alone: from a vertex that is not the best one some
    # edge then leads upwards, while from one inside a face, seen from behind, all might be level.
    again = False
    for place in range(strict, strict + others):
        if hier_number(r, HIER_OWNER_AT, hier_number(r, HIER_ORDER_AT, place)) == OWNER_VERTEX:
            again = True
    for v in range(strict):
        p = hier_number(r, HIER_ORDER_AT, v)
        hier_put(r, HIER_PLACES_AT, v, p)
        copy_bytes(hier_corner(r, v), hier_point(r, p), HIER_POINT_BYTES)
    if again:
        hull_grow(r, strict, strict + others)
        faces = _hier_faces(r)
    store_i64(r + HIER_CORNERS, strict)
    _hier_graph(r, 0, strict)
    _hier_ties(r, strict, faces)
    level = 1
    while hier_level_size(strict, level) > _TOP:
        size = hier_level_size(strict, level)
        # The order still begins with the strict vertices, and their number is their place in it.
        hull_grow(r, size, size)
        _hier_graph(r, level, size)
        level += 1
    store_i64(r + HIER_LEVELS, level)
    store_i64(r + HIER_TOP, hier_level_size(strict, level))
    return 1
