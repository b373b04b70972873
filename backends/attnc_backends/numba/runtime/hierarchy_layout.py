"""The region of a hierarchy: a header, then sections whose places follow from how many keys it has room for.

    points    keys in random order, as rows of three doubles with their positions, and room for two points
              that are made up where keys are flat
    hull      what is needed while a hull is made: an order of points, facets, lists
    corners   the strict vertices of the hull, in the order of points: coordinates, keys equal to them
    graph     for each level its vertices' neighbours, in cyclic order; level `k` has the first sixteenth of
              the vertices of level `k - 1`
    ties      on level 0: for each facet and edge what lies on it

It refers to itself by offsets only. Numbers of points, facets and slots are 32 bits wide.
"""

from numba import njit

from attnc_backends.numba.runtime.exact import ACC_BYTES
from attnc_backends.numba.runtime.memory import load_i32, load_i64, store_i32, store_i64

HIER_COUNT = 0
HIER_CORNERS = 8
"""How many strict vertices there are; 1 when all keys are equal."""
HIER_LEVELS = 16
HIER_TOP = 24
"""How many vertices the level above the last graph has; they are looked at one by one."""
HIER_PLAIN = 32
"""1 when coordinates are small multiples of one power of two, so that no side test rounds."""
HIER_SIZE = 40
"""The largest magnitude of a coordinate."""
HIER_STAMP = 48
HIER_FREE = 56
"""The first of the facets that were given back, -1 when there is none."""
HIER_USED = 64
"""Facets that were ever taken."""
HIER_EDGES = 72
"""Edges of the solid on which keys lie."""
HIER_SLOTS = 80
"""Slots of the graphs of all levels that were made, and boxes."""
HIER_BOXES = 88
HIER_KIND = 96
"""What tied in the last search: `HIER_ALL` or one of those below; the next field says which of them."""
HIER_WHICH = 104
HIER_LEVEL_OFFSETS = 112
"""For each level where its offsets begin, counted in numbers."""
HIER_MOST_LEVELS = 8

HIER_ALL = 0
HIER_VERTEX = 1
HIER_EDGE = 2
HIER_FACE = 3

_SECTIONS = HIER_LEVEL_OFFSETS + 8 * HIER_MOST_LEVELS
HIER_ACC_AT = _SECTIONS
HIER_POINTS_AT = _SECTIONS + 8
HIER_NEXT_AT = _SECTIONS + 16
"""For each point the next one in its list."""
HIER_ORDER_AT = _SECTIONS + 24
HIER_OWNER_AT = _SECTIONS + 32
HIER_LOCAL_AT = _SECTIONS + 40
"""While a hull grows, the new facet at a vertex; afterwards a vertex's number."""
HIER_FRESH_AT = _SECTIONS + 48
HIER_STACK_AT = _SECTIONS + 56
HIER_HORIZON_AT = _SECTIONS + 64
HIER_FACETS_AT = _SECTIONS + 72
HIER_PLACES_AT = _SECTIONS + 80
HIER_COORDINATES_AT = _SECTIONS + 88
HIER_VERTEX_AT = _SECTIONS + 96
HIER_OFFSETS_AT = _SECTIONS + 104
HIER_NEAR_AT = _SECTIONS + 112
HIER_FACE_OF_AT = _SECTIONS + 120
HIER_EDGE_OF_AT = _SECTIONS + 128
HIER_FACE_AT = _SECTIONS + 136
HIER_EDGE_AT = _SECTIONS + 144
HIER_RIM_AT = _SECTIONS + 152
HIER_CROWDS_AT = _SECTIONS + 160
"""Like offsets, where the boxes of a vertex with many neighbours begin; -1 for one with few."""
HIER_BOXES_AT = _SECTIONS + 168
HIER_POSITION_AT = _SECTIONS + 176
"""For each point the position of its key."""
_HIER_HEADER_BYTES = _SECTIONS + 184

HIER_POINT_BYTES = 24

# A vertex with more neighbours than this has boxes around each sixteen of them that follow one another, boxes
# around each sixteen boxes, and so on up to sixteen: together fewer than one for `HIER_BOX_SHARE` neighbours.
HIER_CROWD = 64
HIER_BOX_SHIFT = 4
HIER_BOX_SHARE = 10
HIER_BOX_BYTES = 48

# A facet: its vertices, the facets across its edges (edge i goes from vertex i to the next), its edges'
# numbers in the graph; the first point of its list, when it was last looked at, the face that it is part of;
# a normal, a point in its plane, and what a side test may be off by for each unit of distance.
FACET_NEAR = 12
FACET_SLOT = 24
FACET_LIST = 36
FACET_MARK = 40
FACET_FACE = 44
FACET_NORMAL = 48
FACET_ANCHOR = 72
FACET_ERROR = 96
FACET_BYTES = 104

# What is noted for a vertex, an edge or a face: the first of the keys that lie there and are no vertices
# (-1 when there is none), and the first and last position of keys.
HOME_LIST = 0
HOME_FIRST = 4
HOME_LAST = 8
HOME_START = 12
"""For a face, where its edges begin in the list of all faces' edges."""
HOME_BYTES = 16

# What owns a point: a facet that sees it (its number); a facet that it lies on (`OWNER_LIES` less its
# number); nothing, as it lies inside; or it is a vertex.
OWNER_INSIDE = -1
OWNER_VERTEX = -2
OWNER_STRICT = -3
OWNER_LIES = -4

_SHARE_SHIFT = 4
_MOST = 2147483647


@njit(nogil=True, error_model="numpy")
def hier_number(r: int, section: int, index: int) -> int:
    """Number `index` of a section of 32-bit numbers."""
    return load_i32(r + load_i64(r + section) + 4 * index)


@njit(nogil=True, error_model="numpy")
def hier_put(r: int, section: int, index: int, number: int) -> None:
    """Write a number of such a section."""
    store_i32(r + load_i64(r + section) + 4 * index, number)


@njit(nogil=True, error_model="numpy")
def hier_point(r: int, index: int) -> int:
    """Address of a point."""
    return r + load_i64(r + HIER_POINTS_AT) + HIER_POINT_BYTES * index


@njit(nogil=True, error_model="numpy")
def hier_corner(r: int, index: int) -> int:
    """Address of a vertex's coordinates."""
    return r + load_i64(r + HIER_COORDINATES_AT) + HIER_POINT_BYTES * index


@njit(nogil=True, error_model="numpy")
def hier_facet(r: int, index: int) -> int:
    """Address of a facet."""
    return r + load_i64(r + HIER_FACETS_AT) + FACET_BYTES * index


@njit(nogil=True, error_model="numpy")
def hier_box(r: int, index: int) -> int:
    """Address of a box: its low end, its high end."""
    return r + load_i64(r + HIER_BOXES_AT) + HIER_BOX_BYTES * index


@njit(nogil=True, error_model="numpy")
def hier_home(r: int, section: int, index: int) -> int:
    """Address of what is noted for a vertex, an edge or a face."""
    return r + load_i64(r + section) + HOME_BYTES * index


@njit(nogil=True, error_model="numpy")
def hier_level_size(corners: int, level: int) -> int:
    """How many vertices a level has."""
    return ((corners - 1) >> (_SHARE_SHIFT * level)) + 1


@njit(nogil=True, error_model="numpy")
def _hier_section(r: int, field: int, at: int, count: int, size: int) -> int:
    """Note where a section of so many elements begins, when there is a region; where it ends."""
    if r != 0:
        store_i64(r + field, at)
    return at + ((count * size + 7) & -8)


@njit(nogil=True, error_model="numpy")
def hier_lay(r: int, capacity: int) -> int:
    """Lay a region out for so many keys (at address 0: only say how many bytes that takes)."""
    points = capacity + 2
    # All levels together have a fifteenth more vertices than the first, and each may round up by one.
    vertices = points + points // 15 + 4 * HIER_MOST_LEVELS
    at = _hier_section(r, HIER_ACC_AT, _HIER_HEADER_BYTES, 1, ACC_BYTES)
    at = _hier_section(r, HIER_POINTS_AT, at, points, HIER_POINT_BYTES)
    at = _hier_section(r, HIER_POSITION_AT, at, points, 4)
    at = _hier_section(r, HIER_NEXT_AT, at, points, 4)
    at = _hier_section(r, HIER_ORDER_AT, at, points, 4)
    at = _hier_section(r, HIER_OWNER_AT, at, points, 4)
    at = _hier_section(r, HIER_LOCAL_AT, at, points, 4)
    at = _hier_section(r, HIER_FRESH_AT, at, points, 4)
    at = _hier_section(r, HIER_STACK_AT, at, 2 * points, 4)
    at = _hier_section(r, HIER_HORIZON_AT, at, points, 8)
    at = _hier_section(r, HIER_FACETS_AT, at, 3 * points, FACET_BYTES)
    at = _hier_section(r, HIER_PLACES_AT, at, points, 4)
    at = _hier_section(r, HIER_COORDINATES_AT, at, points, HIER_POINT_BYTES)
    at = _hier_section(r, HIER_VERTEX_AT, at, points, HOME_BYTES)
    at = _hier_section(r, HIER_OFFSETS_AT, at, vertices + HIER_MOST_LEVELS, 4)
    at = _hier_section(r, HIER_NEAR_AT, at, 6 * vertices, 4)
    at = _hier_section(r, HIER_FACE_OF_AT, at, 6 * points, 4)
    at = _hier_section(r, HIER_EDGE_OF_AT, at, 6 * points, 4)
    at = _hier_section(r, HIER_FACE_AT, at, 2 * points + 1, HOME_BYTES)
    at = _hier_section(r, HIER_EDGE_AT, at, 3 * points, HOME_BYTES)
    at = _hier_section(r, HIER_RIM_AT, at, 6 * points, 4)
    at = _hier_section(r, HIER_CROWDS_AT, at, vertices + HIER_MOST_LEVELS, 4)
    return _hier_section(r, HIER_BOXES_AT, at, 6 * vertices // HIER_BOX_SHARE, HIER_BOX_BYTES)


@njit(nogil=True, error_model="numpy")
def hierarchy_bytes(capacity: int) -> int:
    """Bytes of a region for so many keys: 550 for each. Only what the hull needs of it is touched."""
    return hier_lay(0, capacity)


@njit(nogil=True, error_model="numpy")
def hier_home_start(home: int) -> None:
    """Nothing lies there."""
    store_i32(home + HOME_LIST, -1)
    store_i32(home + HOME_FIRST, _MOST)
    store_i32(home + HOME_LAST, -1)


@njit(nogil=True, error_model="numpy")
def hier_home_reach(home: int, first: int, last: int) -> None:
    """Keys from position `first` to `last` lie there, too."""
    store_i32(home + HOME_FIRST, min(first, load_i32(home + HOME_FIRST)))
    store_i32(home + HOME_LAST, max(last, load_i32(home + HOME_LAST)))
