"""One row of hard-max by a scan that compares scores exactly: what a strategy does with a row that it has no
answer for, because a key or the query is not finite, or lies where its proof does not reach.

The same code serves all programs: where things lie, and of what type they are, stands in a description of
ROW_BYTES bytes that the caller fills in. Scores are dot products times a scale, over one range of keys.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.bounded import add_bounded, mul_bounded
from attnc_backends.numba.runtime.exact import (
    ACC_BYTES,
    acc_add,
    acc_add_product3,
    acc_clear,
    acc_round,
    acc_sign,
)
from attnc_backends.numba.runtime.held import special_value
from attnc_backends.numba.runtime.memory import (
    DT_F32,
    DT_F64,
    load_element,
    load_f64,
    load_i64,
    store_f64,
    store_i64,
)
from attnc_backends.numba.runtime.scan import (
    abs_dot_f64,
    abs_dot_f64_f32,
    product_class,
    sum_class,
    value_class,
)

# What the caller writes. Addresses are those of element 0 of key 0, of the query and of value row 0.
ROW_KEYS = 0
ROW_KEY_STEP = 8
ROW_KEY_ELEMENT = 16
ROW_KEY_DTYPE = 24
ROW_QUERY = 32
ROW_QUERY_ELEMENT = 40
ROW_QUERY_DTYPE = 48
ROW_WIDTH = 56
ROW_SCALE = 64  # a double
ROW_LOW = 72  # the first key
ROW_HIGH = 80  # the one behind the last
ROW_TIE = 88  # ROW_FIRST, ROW_LAST or ROW_MEAN
ROW_VALUES = 96  # from here on for ROW_MEAN only
ROW_VALUE_STEP = 104
ROW_VALUE_ELEMENT = 112
ROW_VALUE_DTYPE = 120
ROW_VALUE_WIDTH = 128
ROW_MEAN_OUT = 136  # where the mean goes, as doubles
ROW_BYTES = 144
"""Behind the description lie the accumulator, the query as doubles, and for a mean a word for each key."""

ROW_FIRST = 0
ROW_LAST = 1
ROW_MEAN = 2

_ROW_ERROR = 2.0**-53


@njit(nogil=True, error_model="numpy")
def _row_key(row: int, j: int, c: int) -> float:
    """Element `c` of key `j`."""
    at = load_i64(row + ROW_KEYS) + j * load_i64(row + ROW_KEY_STEP) + c * load_i64(row + ROW_KEY_ELEMENT)
    return load_element(at, load_i64(row + ROW_KEY_DTYPE))


@njit(nogil=True, error_model="numpy")
def _row_class(row: int, query: int, j: int) -> int:
    """0 where the score of key `j` is a real number, 1 and -1 for the infinities, 2 for NaN."""
    kind = 0
    for c in range(load_i64(row + ROW_WIDTH)):
        kind = sum_class(kind, product_class(load_f64(query + 8 * c), _row_key(row, j, c)))
    scale = load_f64(row + ROW_SCALE)
    if kind == 0 or kind == 2:
        return kind
    if scale == 0.0:
        return 2
    return kind if scale > 0.0 else -kind


@njit(nogil=True, error_model="numpy")
def _row_score(row: int, query: int, j: int) -> tuple[float, float, int]:
    """The score of key `j` in doubles, a bound of its error, and its class."""
    width = load_i64(row + ROW_WIDTH)
    element = load_i64(row + ROW_KEY_ELEMENT)
    dtype = load_i64(row + ROW_KEY_DTYPE)
    key = load_i64(row + ROW_KEYS) + j * load_i64(row + ROW_KEY_STEP)
    if dtype == DT_F64 and element == 8:
        dot, size = abs_dot_f64(query, key, width)
    elif dtype == DT_F32 and element == 4:
        dot, size = abs_dot_f64_f32(query, key, width)
    else:
        dot, size = 0.0, 0.0
        for c in range(width):
            product = load_f64(query + 8 * c) * load_element(key + c * element, dtype)
            dot += product
            size += abs(product)
    scale = load_f64(row + ROW_SCALE)
    dot *= scale
    size *= abs(scale)
    # Any order of n additions of rounded products is off by at most (n + 1) u times the sum of magnitudes, to
    # first order; the slack covers the rest, and the last term what underflow can take away.
    error = (width + 8) * _ROW_ERROR * size + (width + 1) * (max(1.0, abs(scale)) * 2e-323)
    if math.isfinite(dot) and math.isfinite(error):
        return dot, error, 0
    # A real number too large for a double: nothing is known of it until it is compared exactly.
    return 0.0, math.inf, _row_class(row, query, j)


@njit(nogil=True, error_model="numpy")
def _row_exact(row: int, query: int, j: int) -> tuple[float, bool]:
    """The score of key `j` by error-free transforms, and whether the double is all of it."""
    s, es = 0.0, 0.0
    for c in range(load_i64(row + ROW_WIDTH)):
        p, ep = mul_bounded(load_f64(query + 8 * c), 0.0, _row_key(row, j, c), 0.0)
        s, es = add_bounded(s, es, p, ep)
    scale = load_f64(row + ROW_SCALE)
    if scale != 1.0:
        s, es = mul_bounded(s, es, scale, 0.0)
    return s, es == 0.0 and math.isfinite(s)


@njit(nogil=True, error_model="numpy")
def _row_compare(row: int, query: int, j: int, other: int, acc: int) -> int:
    """Sign of the score of key `j` less that of key `other`, both real."""
    s, whole = _row_exact(row, query, j)
    t, all_of_it = _row_exact(row, query, other)
    if whole and all_of_it:
        return 1 if s > t else (-1 if s < t else 0)
    acc_clear(acc)
    scale = load_f64(row + ROW_SCALE)
    for c in range(load_i64(row + ROW_WIDTH)):
        q = load_f64(query + 8 * c)
        acc_add_product3(acc, scale, q, _row_key(row, j, c))
        acc_add_product3(acc, -scale, q, _row_key(row, other, c))
    return acc_sign(acc)


@njit(nogil=True, error_model="numpy")
def _row_start(row: int, query: int) -> None:
    """Write the query as doubles."""
    for c in range(load_i64(row + ROW_WIDTH)):
        at = load_i64(row + ROW_QUERY) + c * load_i64(row + ROW_QUERY_ELEMENT)
        store_f64(query + 8 * c, load_element(at, load_i64(row + ROW_QUERY_DTYPE)))


@njit(nogil=True, error_model="numpy")
def hardmax_compare(row: int, j: int, other: int) -> int:
    """Sign of the score of key `j` less that of key `other`, both real numbers."""
    query = row + ROW_BYTES + ACC_BYTES
    _row_start(row, query)
    return _row_compare(row, query, j, other, row + ROW_BYTES)


@njit(nogil=True, error_model="numpy")
def _row_mean(row: int, held: int, ties: int, acc: int) -> None:
    """The mean of the value rows at `ties` positions: each column's exact sum, rounded once, over `ties`."""
    dtype = load_i64(row + ROW_VALUE_DTYPE)
    step = load_i64(row + ROW_VALUE_STEP)
    out = load_i64(row + ROW_MEAN_OUT)
    for c in range(load_i64(row + ROW_VALUE_WIDTH)):
        column = load_i64(row + ROW_VALUES) + c * load_i64(row + ROW_VALUE_ELEMENT)
        acc_clear(acc)
        kind = 0
        for place in range(ties):
            x = load_element(column + load_i64(held + 8 * place) * step, dtype)
            kind = sum_class(kind, value_class(x))
            if kind == 0:
                acc_add(acc, x)
        store_f64(out + 8 * c, special_value(kind) if kind != 0 else acc_round(acc) / ties)


@njit(nogil=True, error_model="numpy")
def hardmax_row(row: int) -> int:
    """The winner among the keys [low, high), not none, by the tie rule; -1 when a score is NaN.

    For a mean the first winner, and the mean is written.
    """
    acc = row + ROW_BYTES
    query = acc + ACC_BYTES
    held = query + 8 * load_i64(row + ROW_WIDTH)
    _row_start(row, query)
    tie = load_i64(row + ROW_TIE)
    best, best_s, best_e, best_kind, ties = -1, 0.0, 0.0, 0, 0
    for j in range(load_i64(row + ROW_LOW), load_i64(row + ROW_HIGH)):
        s, e, kind = _row_score(row, query, j)
        if kind == 2:
            return -1
        if best < 0 or kind > best_kind:
            order = 1
        elif kind < best_kind:
            order = -1
        elif kind != 0:
            order = 0
        elif s - best_s > (e + best_e) * 1.0000001:
            order = 1
        elif best_s - s > (e + best_e) * 1.0000001:
            order = -1
        else:
            order = _row_compare(row, query, j, best, acc)
        if order > 0:
            best_s, best_e, best_kind, ties = s, e, kind, 0
        if order > 0 or (order == 0 and tie == ROW_LAST):
            best = j
        if order >= 0 and tie == ROW_MEAN:
            store_i64(held + 8 * ties, j)
            ties += 1
    if tie == ROW_MEAN:
        _row_mean(row, held, ties, acc)
    return best
