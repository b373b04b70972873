"""Predicates in three dimensions, exact over the full range of the double: on which side of a facet does a
point lie, does it lie in a triangle, which of two keys does a query prefer?

A facet carries its normal, computed once with a bound of its error, so that a side test is one dot product.
What that leaves open is decided by the accumulator. Points are rows of three doubles.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.exact import (
    FILTER_BOUND,
    FILTER_UNDERFLOW,
    acc_add_product3,
    acc_clear,
    acc_sign,
    orient2,
)
from attnc_backends.numba.runtime.hierarchy_layout import (
    FACET_ANCHOR,
    FACET_ERROR,
    FACET_NORMAL,
    HIER_ACC_AT,
    HIER_PLAIN,
    hier_facet,
    hier_point,
)
from attnc_backends.numba.runtime.memory import load_f64, load_i32, load_i64, out_of_line, store_f64
from attnc_backends.numba.runtime.tree_order import tree_compare

# With u = 2**-53: a difference is off by u of itself, so an element of the normal by 5u of the sum of its two
# products' magnitudes, and the sum over three elements by 5u more; 16u leaves room for higher orders and for
# rounding the bound. Underflow adds at most 2**-1073 for each unit of distance, and 2**-1073.
_SIDE_BOUND = 16.0 * 2.0**-53
_SIDE_UNDERFLOW = 2.0**-1070


@njit(nogil=True, error_model="numpy")
def solid_plane(r: int, facet: int) -> None:
    """Write the normal of a facet whose vertices are there; they turn left seen from where it points to."""
    f = hier_facet(r, facet)
    a = hier_point(r, load_i32(f))
    b = hier_point(r, load_i32(f + 4))
    c = hier_point(r, load_i32(f + 8))
    most = 0.0
    for i in range(3):
        j = 8 * ((i + 1) % 3)
        k = 8 * ((i + 2) % 3)
        p = (load_f64(b + j) - load_f64(a + j)) * (load_f64(c + k) - load_f64(a + k))
        q = (load_f64(b + k) - load_f64(a + k)) * (load_f64(c + j) - load_f64(a + j))
        store_f64(f + FACET_NORMAL + 8 * i, p - q)
        store_f64(f + FACET_ANCHOR + 8 * i, load_f64(a + 8 * i))
        size = abs(p) + abs(q)
        # A NaN must stay: comparisons with it fail, and the accumulator decides.
        most = most if size <= most else size
    error = most * _SIDE_BOUND + _SIDE_UNDERFLOW
    store_f64(f + FACET_ERROR, 0.0 if load_i64(r + HIER_PLAIN) != 0 else error)


@njit(nogil=True, error_model="numpy")
def _solid_add(acc: int, x: int, y: int, z: int, sign: float) -> None:
    """Add `sign` times the determinant of three points."""
    for i in range(3):
        j = 8 * ((i + 1) % 3)
        k = 8 * ((i + 2) % 3)
        u = sign * load_f64(x + 8 * i)
        acc_add_product3(acc, u, load_f64(y + j), load_f64(z + k))
        acc_add_product3(acc, -u, load_f64(y + k), load_f64(z + j))


@njit(nogil=True, error_model="numpy")
def _solid_side_exact(r: int, facet: int, p: int) -> int:
    """solid_side after its filter has failed."""
    out_of_line()
    f = hier_facet(r, facet)
    if load_f64(f + FACET_ERROR) == 0.0:
        return 0
    a = hier_point(r, load_i32(f))
    b = hier_point(r, load_i32(f + 4))
    c = hier_point(r, load_i32(f + 8))
    same_a = True
    same_b = True
    same_c = True
    for i in range(3):
        x = load_f64(p + 8 * i)
        in_a = x == load_f64(a + 8 * i)
        in_b = x == load_f64(b + 8 * i)
        in_c = x == load_f64(c + 8 * i)
        # All four in one plane of equal coordinates: the faces of a box.
        if in_a and in_b and in_c:
            return 0
        same_a = same_a and in_a
        same_b = same_b and in_b
        same_c = same_c and in_c
    if same_a or same_b or same_c:
        return 0
    acc = r + load_i64(r + HIER_ACC_AT)
    acc_clear(acc)
    _solid_add(acc, b, c, p, 1.0)
    _solid_add(acc, a, c, p, -1.0)
    _solid_add(acc, a, b, p, 1.0)
    _solid_add(acc, a, b, c, -1.0)
    return acc_sign(acc)


@njit(nogil=True, error_model="numpy")
def solid_side(r: int, facet: int, p: int) -> int:
    """1 when the point at `p` lies where the facet's normal points to, -1 behind it, 0 in its plane."""
    f = hier_facet(r, facet)
    x = load_f64(p) - load_f64(f + FACET_ANCHOR)
    y = load_f64(p + 8) - load_f64(f + FACET_ANCHOR + 8)
    z = load_f64(p + 16) - load_f64(f + FACET_ANCHOR + 16)
    s = load_f64(f + FACET_NORMAL) * x
    s += load_f64(f + FACET_NORMAL + 8) * y
    s += load_f64(f + FACET_NORMAL + 16) * z
    bound = load_f64(f + FACET_ERROR) * (abs(x) + abs(y) + abs(z)) + _SIDE_UNDERFLOW
    # An infinite sum may be that of a product that overflows and another that would have undone it.
    if abs(s) > bound and abs(s) < math.inf:
        return 1 if s > 0.0 else -1
    return _solid_side_exact(r, facet, p)


@njit(nogil=True, error_model="numpy")
def solid_turn(r: int, a: int, b: int, c: int, axis: int) -> int:
    """Which way three points turn, seen along an axis: 1 left, -1 right, 0 when they lie on a line there."""
    out_of_line()
    i = 8 * ((axis + 1) % 3)
    j = 8 * ((axis + 2) % 3)
    return orient2(
        load_f64(a + i), load_f64(a + j), load_f64(b + i), load_f64(b + j), load_f64(c + i), load_f64(c + j),
        r + load_i64(r + HIER_ACC_AT),
    )  # fmt: skip


@njit(nogil=True, error_model="numpy")
def solid_axis(r: int, a: int, b: int, c: int) -> int:
    """An axis along which three points are seen to turn; 3 when they lie on a line."""
    for axis in range(3):
        if solid_turn(r, a, b, c, axis) != 0:
            return axis
    return 3


@njit(nogil=True, error_model="numpy")
def solid_within(r: int, facet: int, p: int) -> int:
    """Of a point in the plane of a facet: -1 when it lies outside, else the sum of `2**i` over the edges `i`
    that it lies on: 0 for inside, two edges at a vertex.
    """
    out_of_line()
    f = hier_facet(r, facet)
    axis = solid_axis(
        r, hier_point(r, load_i32(f)), hier_point(r, load_i32(f + 4)), hier_point(r, load_i32(f + 8))
    )
    found = 0
    turned = 0
    for i in range(3):
        a = hier_point(r, load_i32(f + 4 * i))
        b = hier_point(r, load_i32(f + 4 * ((i + 1) % 3)))
        turn = solid_turn(r, a, b, p, axis)
        if turn == 0:
            found |= 1 << i
        elif turned != 0 and turn != turned:
            return -1
        else:
            turned = turn
    return found


@njit(nogil=True, error_model="numpy")
def _solid_prefers_exact(query: int, x: int, y: int, acc: int) -> int:
    """solid_prefers after its filter has failed."""
    out_of_line()
    return tree_compare(query, x, y, 8, 3, acc)


@njit(nogil=True, error_model="numpy")
def solid_prefers(query: int, x: int, y: int, acc: int) -> int:
    """Sign of q.(x - y) in exact arithmetic, for any finite doubles; `acc` is ACC_BYTES of memory."""
    a = load_f64(query) * (load_f64(x) - load_f64(y))
    b = load_f64(query + 8) * (load_f64(x + 8) - load_f64(y + 8))
    c = load_f64(query + 16) * (load_f64(x + 16) - load_f64(y + 16))
    s = a + b + c
    # Each product is off by 2u of itself, and two sums by u each.
    bound = 2.0 * FILTER_BOUND * (abs(a) + abs(b) + abs(c)) + FILTER_UNDERFLOW
    if abs(s) > bound:
        return 1 if s > 0.0 else -1
    return _solid_prefers_exact(query, x, y, acc)
