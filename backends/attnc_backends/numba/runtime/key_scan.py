"""Scanning keys block by block for the largest dot product with one query.

Every block is first scored by vectors in its own precision, which gives an upper end of what any of its keys
can reach: the largest score met and, from the largest magnitude met, a bound of all errors. Only a block that
can matter is scored again, in doubles, and looked at key by key.

The bound: a sum of `d` products in any order, with or without fused multiply-adds, is off by at most
`d u / (1 - d u)` times the sum of the products' magnitudes (Higham, "Accuracy and Stability", section 3.1),
and those sum to at most `|q|_1` times the largest `|k|`. What underflow takes away is below the smallest
subnormal for each term.
"""

import math

import numpy as np
from numba import njit

from attnc_backends.numba.runtime.exact import two_sum
from attnc_backends.numba.runtime.memory import (
    float64_bits,
    load_element,
    load_f32,
    load_f64,
    load_i64,
    store_f64,
    store_i64,
)
from attnc_backends.numba.runtime.vector import (
    vec_abs,
    vec_add,
    vec_element_bytes,
    vec_fill,
    vec_lanes,
    vec_load,
    vec_max,
    vec_muladd,
    vec_store,
    vec_sub,
)
from attnc_backends.numba.runtime.vector_lanes import (
    vec_all,
    vec_at_least,
    vec_bits,
    vec_equal,
    vec_sum,
    vec_top,
)
from attnc_backends.numba.runtime.vector_rows import (
    vec_load_as,
    vec_load_first_as,
    vec_packed_products,
    vec_row,
    vec_row_products,
    vec_tree,
)

KEY_SCAN_BLOCK_BYTES = 16384
KEY_SCAN_SLACK = 1.0000001
"""Swallows the rounding of the bound's own few operations and of `|q|_1`."""
KEY_SCAN_PAD = 64
"""Zeros behind a query, in elements: no vector is longer."""


@njit(nogil=True, error_model="numpy")
def key_scan_block(width: int, itemsize: int) -> int:
    """Keys in a block, a multiple of 64: they stay in the first cache between two looks."""
    return min(max(KEY_SCAN_BLOCK_BYTES // max(width * itemsize, 1) // 64, 1) * 64, 2048)


@njit(nogil=True, error_model="numpy")
def key_scan_bound(width: int, one_norm: float, largest: float, itemsize: int) -> float:
    """How far a score computed in floats of `itemsize` bytes may be off; infinite when nothing is known."""
    u = 2.0**-53 if itemsize == 8 else 2.0**-24
    part = (width + 2) * u
    if not part < 0.1:
        return math.inf
    tiny = 5e-324 if itemsize == 8 else 2.0**-149
    # The two norms first: a small factor times a small norm would underflow beside large keys.
    bound = one_norm * largest * (part / (1.0 - part) * KEY_SCAN_SLACK) + 2.0 * (width + 2) * tiny
    return bound if bound == bound else math.inf


@njit(nogil=True, error_model="numpy")
def key_scan_query(query: int, width: int) -> tuple[float, int]:
    """Of a query of doubles: the sum of magnitudes, not finite when an element is not, and the exponent of
    the lowest bit of any element (0 when all are 0).
    """
    total = 0.0
    lowest = 2000
    for c in range(width):
        x = load_f64(query + 8 * c)
        total += abs(x)
        if x != 0.0 and math.isfinite(x):
            lowest = min(lowest, key_scan_lowest_bit(x))
    return total, (0 if lowest == 2000 else lowest)


@njit(nogil=True, error_model="numpy")
def key_scan_lowest_bit(x: float) -> int:
    """The exponent of the last bit of a finite number that is not 0: `x` is an odd multiple of 2 to it."""
    bits = float64_bits(x)
    exponent = (bits >> 52) & 0x7FF
    significand = bits & ((1 << 52) - 1)
    if exponent == 0:
        exponent = 1
    else:
        significand |= 1 << 52
    low = np.float64(significand & -significand)
    return exponent - 1075 + math.frexp(low)[1] - 1


@njit(nogil=True, error_model="numpy")
def key_scan_unit(one_norm: float, lowest: int, largest: float) -> float:
    """A power of two such that scores of keys that are its multiples, of magnitude up to `largest`, are exact
    in doubles however they are summed; 0 when there is none.

    With a query of multiples of `2**lowest`, every partial sum is a multiple of `unit * 2**lowest` and at
    most `one_norm * largest`: it fits 53 bits when that is at most `2**53` times the unit. The test by adding
    and taking away 1.5 * 2**52 units asks for `largest` below `2**51` units as well.
    """
    total = one_norm * largest * KEY_SCAN_SLACK
    if not (math.isfinite(total) and math.isfinite(largest)):
        return 0.0
    exponent = max(math.frexp(total)[1] - 53 - lowest, math.frexp(largest)[1] - 51)
    # A subnormal total or product would break the argument; so would an overflow of the test.
    exponent = max(exponent, -1000, -1050 - lowest)
    return math.ldexp(1.0, exponent) if exponent < 900 else 0.0


@njit(nogil=True, error_model="numpy")
def key_scan_lanes(keys, step, width, short, size, like, part):  # type: ignore[no-untyped-def]  # vectors
    """Scores of as many keys as `like` has lanes, and `size` raised to the largest magnitudes met.

    `short` is the query as `vec_row` makes it, `part` the witness for a key in memory: both have room for it.
    """
    if width == vec_lanes(part) and step == width * vec_element_bytes(part):
        sums, size = vec_packed_products(keys, short, size, part)
    else:
        sums, size = vec_row_products(keys, step, width, short, size, part)
    return vec_tree(sums), size


@njit(nogil=True, error_model="numpy")
def key_scan_row(key, width, query, size, like, part):  # type: ignore[no-untyped-def]  # vectors
    """The score of one key of any width, and `size` raised as above. `query` has zeros behind its end.

    Rows are read from end to end: several at once would be more streams than memory serves at full speed.
    """
    lanes = vec_lanes(like)
    products = vec_sub(like, like)
    whole = width - width % lanes
    for c in range(0, whole, lanes):
        x = vec_load_as(key + c * vec_element_bytes(part), like, part)
        size = vec_max(vec_abs(x), size)
        products = vec_muladd(x, vec_load(query + c * vec_element_bytes(like), like), products)
    if whole < width:
        x = vec_load_first_as(key + whole * vec_element_bytes(part), width - whole, like, part)
        size = vec_max(vec_abs(x), size)
        products = vec_muladd(x, vec_load(query + whole * vec_element_bytes(like), like), products)
    return vec_sum(products), size


@njit(nogil=True, error_model="numpy")
def key_scan_top(keys, step, width, count, query, like, part):  # type: ignore[no-untyped-def]  # vectors
    """The largest score of `count` keys, at least as many as `like` has lanes, their largest magnitude, and
    whether a score was not finite (the other two then mean nothing).

    `query` holds elements of the type of `like` with `KEY_SCAN_PAD` zeros behind them; `part` is a witness
    for what lies in memory: a whole key where it has room for one, else a piece of it.
    """
    lanes = vec_lanes(like)
    zero = vec_sub(like, like)
    size = zero
    fault = zero
    top = vec_fill(-math.inf, like)
    j = 0
    if width > vec_lanes(part):
        best = -math.inf
        bad = 0.0
        while j < count:
            score, size = key_scan_row(keys + j * step, width, query, size, like, part)
            best = best if best > score else score
            bad += score * 0.0
            j += 1
        return np.float64(best), np.float64(vec_top(size)), bad != 0.0
    short = vec_row(query, width, like, part)
    while j < count:
        # The last keys are scored twice rather than one by one.
        j = min(j, count - lanes)
        scores, size = key_scan_lanes(keys + j * step, step, width, short, size, like, part)
        top = vec_max(scores, top)
        # Zero times infinity or NaN is NaN, and stays.
        fault = vec_muladd(scores, zero, fault)
        j += lanes
    return np.float64(vec_top(top)), np.float64(vec_top(size)), not vec_all(vec_equal(fault, zero))


@njit(nogil=True, error_model="numpy")
def key_scan_scores(scores, keys, step, width, count, query, like, part):  # type: ignore[no-untyped-def]  # vectors
    """Write the scores of `count` keys in doubles to `scores`, then `KEY_SCAN_PAD` times -inf. Returns the
    largest score, the largest magnitude, and whether a score was not finite. `like` has doubles.
    """
    lanes = vec_lanes(like)
    zero = vec_sub(like, like)
    size = zero
    faults = zero
    tops = vec_fill(-math.inf, like)
    j = 0
    if width <= vec_lanes(part):
        short = vec_row(query, width, like, part)
        while j + lanes <= count:
            found, size = key_scan_lanes(keys + j * step, step, width, short, size, like, part)
            tops = vec_max(found, tops)
            faults = vec_muladd(found, zero, faults)
            vec_store(scores + 8 * j, found)
            j += lanes
    top = vec_top(tops)
    fault = 0.0
    while j < count:
        score, size = key_scan_row(keys + j * step, width, query, size, like, part)
        top = top if top > score else score
        fault += score * 0.0
        store_f64(scores + 8 * j, score)
        j += 1
    for pad in range(count, count + KEY_SCAN_PAD, lanes):
        vec_store(scores + 8 * pad, vec_fill(-math.inf, like))
    return top, vec_top(size), fault != 0.0 or not vec_all(vec_equal(faults, zero))


@njit(nogil=True, error_model="numpy")
def key_scan_multiples(keys, step, width, count, unit, like, part):  # type: ignore[no-untyped-def]  # vectors
    """Whether every element of `count` keys, below `2**51 unit` in magnitude, is a multiple of `unit`."""
    itemsize = vec_element_bytes(part)
    rows, length = count, width
    if step == width * itemsize:
        rows, length = 1, count * width
    shift = vec_fill(1.5 * 2.0**52 * unit, like)
    for row in range(rows):
        at = keys + row * step
        c = 0
        while c + vec_lanes(like) <= length:
            x = vec_load_as(at + c * itemsize, like, part)
            # Adding rounds to a multiple of the unit, taking away is exact.
            if not vec_all(vec_equal(vec_sub(vec_add(x, shift), shift), x)):
                return False
            c += vec_lanes(like)
        x = vec_load_first_as(at + c * itemsize, length - c, like, part)
        if not vec_all(vec_equal(vec_sub(vec_add(x, shift), shift), x)):
            return False
    return True


@njit(nogil=True, error_model="numpy")
def key_scan_all_same(keys, step, width, count, like, part):  # type: ignore[no-untyped-def]  # vectors
    """Whether `count` keys that lie one behind the other are all equal; false when they lie apart."""
    itemsize = vec_element_bytes(part)
    if step != width * itemsize:
        return False
    length = (count - 1) * width
    for c in range(0, length, vec_lanes(like)):
        x = vec_load_first_as(keys + c * itemsize, length - c, like, part)
        y = vec_load_first_as(keys + step + c * itemsize, length - c, like, part)
        if not vec_all(vec_equal(x, y)):
            return False
    return True


@njit(nogil=True, error_model="numpy")
def key_scan_same(x: int, y: int, width: int, itemsize: int) -> bool:
    """Whether two keys are equal, element for element."""
    for c in range(width):
        if itemsize == 8:
            if load_f64(x + 8 * c) != load_f64(y + 8 * c):
                return False
        elif load_f32(x + 4 * c) != load_f32(y + 4 * c):
            return False
    return True


@njit(nogil=True, error_model="numpy")
def key_scan_next(scores, first, count, least, like):  # type: ignore[no-untyped-def]  # vectors
    """The first position from `first` on whose score is at least `least`; `count` when there is none."""
    lanes = vec_lanes(like)
    least_lanes = vec_fill(least, like)
    j = first
    while j < count:
        bits = vec_bits(vec_at_least(vec_load(scores + 8 * j, like), least_lanes))
        if bits != 0:
            while bits & 1 == 0:
                bits >>= 1
                j += 1
            return min(j, count)
        j += lanes
    return count


@njit(nogil=True, error_model="numpy")
def key_scan_last(scores: int, count: int, least: float) -> int:
    """The last position whose score is at least `least`; -1 when there is none."""
    for j in range(count - 1, -1, -1):
        if load_f64(scores + 8 * j) >= least:
            return j
    return -1


@njit(nogil=True, error_model="numpy")
def key_scan_mark(marks: int, position: int, bits: int) -> None:
    """Set the marks whose bits are set, bit 0 at `position`; at most 32 bits."""
    word = marks + 8 * (position >> 6)
    shift = position & 63
    store_i64(word, load_i64(word) | (bits << shift))
    if shift > 32:
        store_i64(word + 8, load_i64(word + 8) | (bits >> (64 - shift)))


@njit(nogil=True, error_model="numpy")
def key_scan_mark_all(marks, position, scores, count, least, like):  # type: ignore[no-untyped-def]  # vectors
    """Mark the keys whose score is at least `least`; the first of them is at `position`."""
    least_lanes = vec_fill(least, like)
    for j in range(0, count, vec_lanes(like)):
        bits = vec_bits(vec_at_least(vec_load(scores + 8 * j, like), least_lanes))
        if bits != 0:
            key_scan_mark(marks, position + j, bits)


@njit(nogil=True, error_model="numpy")
def key_scan_marked(marks: int, position: int, end: int) -> int:
    """The first marked position from `position` on; `end` when there is none before."""
    j = position
    while j < end:
        word = load_i64(marks + 8 * (j >> 6)) >> (j & 63)
        if word == 0:
            j = ((j >> 6) + 1) << 6
        elif word & 1 != 0:
            return j
        else:
            j += 1
    return end


@njit(nogil=True, error_model="numpy")
def key_scan_sum(
    column: int, step: int, dtype: int, marks: int, first: int, end: int
) -> tuple[float, bool, int]:
    """The sum of the marked elements of a column of storage dtype `DT_*`, whether no addition rounded, and
    how many there are.
    """
    total = 0.0
    lost = 0.0
    count = 0
    j = key_scan_marked(marks, first, end)
    while j < end:
        total, error = two_sum(total, load_element(column + j * step, dtype))
        lost += abs(error)
        count += 1
        j = key_scan_marked(marks, j + 1, end)
    return total, lost == 0.0, count
