"""Searching a tree region: branch and bound for the keys with the largest dot product.

A node is left alone when no point of its box, whatever the rounding, reaches the lower end of the best score
so far. The best child is looked at first. Scores and box bounds are rounded sums of `d` products with bounded
error (as in `key_scan.py`), so keys within reach of the best are compared exactly. Where all elements are
multiples of so large a power of two that no sum rounds, errors are 0 and comparing doubles decides.

A record holds the state of one search; ties wait in a list of runs of slots, whose values are summed exactly.
"""

import math

from numba import njit

from attnc_backends.numba.runtime.exact import ACC_BYTES
from attnc_backends.numba.runtime.key_scan import KEY_SCAN_SLACK, key_scan_query
from attnc_backends.numba.runtime.memory import load_f64, load_i64, store_f64, store_i64
from attnc_backends.numba.runtime.sums import sums_add, sums_bytes, sums_mean, sums_start
from attnc_backends.numba.runtime.tree_build import tree_fill, tree_reach
from attnc_backends.numba.runtime.tree_layout import (
    TREE_CENTRE,
    TREE_COLUMN,
    TREE_COUNT,
    TREE_DEPTH,
    TREE_EARLIEST,
    TREE_GROUP_COLUMN,
    TREE_HIGH,
    TREE_LATEST,
    TREE_LEAF,
    TREE_LEAF_SHIFT,
    TREE_LOW,
    TREE_LOWEST,
    TREE_MOST,
    TREE_NO_BIT,
    TREE_NORM,
    TREE_RADIUS,
    TREE_SIZE,
    TREE_WIDTH,
    tree_bytes,
    tree_key,
    tree_leaf,
    tree_length,
    tree_move,
    tree_node,
    tree_position,
    tree_start,
)
from attnc_backends.numba.runtime.tree_order import tree_compare
from attnc_backends.numba.runtime.vector import (
    vec_add,
    vec_f64,
    vec_fill,
    vec_load,
    vec_max,
    vec_min,
    vec_mul,
    vec_muladd,
    vec_store,
)
from attnc_backends.numba.runtime.vector_lanes import (
    vec_and,
    vec_any,
    vec_at_least,
    vec_bits,
    vec_less,
    vec_top,
)

TREE_FIRST = 0
TREE_LAST = 1
TREE_MEAN = 2

# The record of a search, at the beginning of its scratch.
_FIND_RANGE_LOW = 0
_FIND_RANGE_HIGH = 8
_FIND_TIE = 16
_FIND_BEST = 24
"""The position to answer with, -1 while nothing was found."""
_FIND_SLOT = 32
"""A slot with the best key."""
_FIND_SCORE = 40
_FIND_BOUND = 48
_FIND_LEAST = 56
"""The lower end of what the best score can be."""
_FIND_HELD = 64
"""How many runs of slots tie; -1 when every allowed key does."""
_FIND_GAMMA = 72
"""Errors are this times the one-norm of the query times the largest magnitude, plus the next."""
_FIND_TINY = 80
_FIND_NORM = 88
"""The one-norm of the query."""
_FIND_LENGTH = 96
"""At least its length."""
_FIND_BALL_GAMMA = 104
_FIND_ACC = 112
_FIND_BOUNDS = _FIND_ACC + ACC_BYTES
_FIND_SCORES = _FIND_BOUNDS + 64
_FIND_STACK = _FIND_SCORES + TREE_COLUMN
_FIND_STACK_BYTES = 16 * 8 * 12
_FIND_ENDS = _FIND_STACK + _FIND_STACK_BYTES
"""Per coordinate which end of a box is its farthest in the direction of the query."""

_TREE_LEVEL_SHIFT = 40
_TREE_RUN_SHIFT = 32
_TREE_SLOT_MASK = (1 << 32) - 1


@njit(nogil=True, error_model="numpy")
def tree_scratch_bytes(width: int) -> int:
    """Bytes of scratch for a search."""
    return _FIND_ENDS + 8 * width


@njit(nogil=True, error_model="numpy")
def tree_sums_bytes(value_width: int) -> int:
    """Bytes of scratch for `tree_mean`."""
    return sums_bytes(value_width)


# --- one key, or one run of equal keys, against the best so far ---


@njit(nogil=True, error_model="numpy")
def _tree_offer(
    r: int, query: int, s: int, held: int, score: float, bound: float, slot: int, run: int, position: int
) -> None:
    """Let `run` slots with one key and this score enter; `position` is the one to answer with of theirs."""
    order = 1
    if load_i64(s + _FIND_BEST) >= 0:
        best = load_f64(s + _FIND_SCORE)
        gap = 1.5 * (bound + load_f64(s + _FIND_BOUND))
        if score - best > gap:
            order = 1
        elif best - score > gap:
            return
        elif gap == 0.0:
            order = 0
        else:
            key = tree_key(r, slot)
            other = tree_key(r, load_i64(s + _FIND_SLOT))
            order = tree_compare(query, key, other, TREE_COLUMN, load_i64(r + TREE_WIDTH), s + _FIND_ACC)
            if order < 0:
                return
    tie = load_i64(s + _FIND_TIE)
    if order > 0:
        store_i64(s + _FIND_BEST, position)
        store_i64(s + _FIND_SLOT, slot)
        store_i64(s + _FIND_HELD, 0)
        store_f64(s + _FIND_SCORE, score)
        store_f64(s + _FIND_BOUND, bound)
    else:
        if tie == TREE_FIRST:
            store_i64(s + _FIND_BEST, min(position, load_i64(s + _FIND_BEST)))
        else:
            store_i64(s + _FIND_BEST, max(position, load_i64(s + _FIND_BEST)))
        # The real scores are equal, so the closer bound holds for both.
        if bound < load_f64(s + _FIND_BOUND):
            store_f64(s + _FIND_SCORE, score)
            store_f64(s + _FIND_BOUND, bound)
    store_f64(s + _FIND_LEAST, max(load_f64(s + _FIND_LEAST), score - bound))
    if tie == TREE_MEAN:
        count = load_i64(s + _FIND_HELD)
        store_i64(held + 8 * count, slot | (run << _TREE_RUN_SHIFT))
        store_i64(s + _FIND_HELD, count + 1)


# --- leaves ---


@njit(nogil=True, error_model="numpy")
def _tree_scores(keys: int, query: int, width: int, scores: int) -> float:
    """Write the scores of a leaf's slots; the largest."""
    like = vec_f64(8)
    a0, a1, a2, a3, a4, a5, a6, a7 = like, like, like, like, like, like, like, like
    for c in range(width):
        q = vec_fill(load_f64(query + 8 * c), like)
        at = keys + TREE_COLUMN * c
        a0 = vec_muladd(vec_load(at, like), q, a0)
        a1 = vec_muladd(vec_load(at + 64, like), q, a1)
        a2 = vec_muladd(vec_load(at + 128, like), q, a2)
        a3 = vec_muladd(vec_load(at + 192, like), q, a3)
        a4 = vec_muladd(vec_load(at + 256, like), q, a4)
        a5 = vec_muladd(vec_load(at + 320, like), q, a5)
        a6 = vec_muladd(vec_load(at + 384, like), q, a6)
        a7 = vec_muladd(vec_load(at + 448, like), q, a7)
    vec_store(scores, a0)
    vec_store(scores + 64, a1)
    vec_store(scores + 128, a2)
    vec_store(scores + 192, a3)
    vec_store(scores + 256, a4)
    vec_store(scores + 320, a5)
    vec_store(scores + 384, a6)
    vec_store(scores + 448, a7)
    top = vec_max(vec_max(vec_max(a0, a1), vec_max(a2, a3)), vec_max(vec_max(a4, a5), vec_max(a6, a7)))
    return vec_top(top)


@njit(nogil=True, error_model="numpy")
def _tree_leaf(r: int, query: int, s: int, held: int, leaf: int, bound: float, inside: int) -> None:
    """Offer the keys of a leaf that may be as large as the best; `inside` 1 when all are allowed."""
    scores = s + _FIND_SCORES
    top = _tree_scores(tree_leaf(r, leaf), query, load_i64(r + TREE_WIDTH), scores)
    if top + bound < load_f64(s + _FIND_LEAST):
        return
    cut = -math.inf
    if load_i64(s + _FIND_BEST) >= 0:
        cut = load_f64(s + _FIND_SCORE) - 1.5 * (load_f64(s + _FIND_BOUND) + bound)
    if inside != 0:
        cut = max(cut, top - 2.5 * bound)
    like = vec_f64(8)
    least = vec_fill(cut, like)
    first = leaf << TREE_LEAF_SHIFT
    count = min(load_i64(r + TREE_COUNT) - first, TREE_LEAF)
    low = load_i64(s + _FIND_RANGE_LOW)
    high = load_i64(s + _FIND_RANGE_HIGH)
    for lane in range(0, TREE_LEAF, 8):
        bits = vec_bits(vec_at_least(vec_load(scores + 8 * lane, like), least))
        place = lane
        while bits != 0:
            if bits & 1 != 0 and place < count:
                position = tree_position(r, first + place)
                if low <= position < high:
                    score = load_f64(scores + 8 * place)
                    _tree_offer(r, query, s, held, score, bound, first + place, 1, position)
            bits >>= 1
            place += 1


# --- nodes ---


@njit(nogil=True, error_model="numpy")
def _tree_open(r: int, query: int, s: int, level: int, group: int, waiting: int) -> int:
    """Put the nodes of a group that may hold the best on the stack, the best last; how many wait now."""
    width = load_i64(r + TREE_WIDTH)
    like = vec_f64(8)
    at = tree_node(r, level, 8 * group)
    reach = like
    for c in range(width):
        end = vec_load(at + load_i64(s + _FIND_ENDS + 8 * c), like)
        reach = vec_muladd(end, vec_fill(load_f64(query + 8 * c), like), reach)
        at += TREE_GROUP_COLUMN
    tiny = vec_fill(load_f64(s + _FIND_TINY), like)
    size = vec_mul(vec_load(at + TREE_MOST, like), vec_fill(load_f64(s + _FIND_NORM), like))
    reach = vec_add(reach, vec_muladd(size, vec_fill(load_f64(s + _FIND_GAMMA), like), tiny))
    # Neither is a key farther than its length, ...
    length = vec_fill(load_f64(s + _FIND_LENGTH), like)
    reach = vec_min(vec_mul(vec_load(at + TREE_NORM, like), length), reach)
    least = vec_fill(load_f64(s + _FIND_LEAST), like)
    alive = vec_and(
        vec_less(vec_load(at + TREE_EARLIEST, like), vec_fill(load_i64(s + _FIND_RANGE_HIGH), like)),
        vec_at_least(vec_load(at + TREE_LATEST, like), vec_fill(load_i64(s + _FIND_RANGE_LOW), like)),
    )
    alive = vec_and(alive, vec_at_least(reach, least))
    if not vec_any(alive):
        return waiting
    # ... nor than the ball around the centre lets it be.
    error = vec_mul(size, vec_fill(load_f64(s + _FIND_BALL_GAMMA), like))
    ball = vec_mul(vec_load(at + TREE_RADIUS, like), length)
    at = tree_node(r, level, 8 * group) + TREE_CENTRE
    for c in range(width):
        ball = vec_muladd(vec_load(at, like), vec_fill(load_f64(query + 8 * c), like), ball)
        at += TREE_GROUP_COLUMN
    reach = vec_min(vec_add(ball, error), reach)
    alive = vec_and(alive, vec_at_least(reach, least))
    bits = vec_bits(alive)
    bounds = s + _FIND_BOUNDS
    vec_store(bounds, reach)
    stack = s + _FIND_STACK
    base = waiting
    lane = 0
    while bits != 0:
        if bits & 1 != 0:
            x = load_f64(bounds + 8 * lane)
            place = waiting
            while place > base and load_f64(stack + 16 * (place - 1)) > x:
                store_f64(stack + 16 * place, load_f64(stack + 16 * (place - 1)))
                store_i64(stack + 16 * place + 8, load_i64(stack + 16 * (place - 1) + 8))
                place -= 1
            store_f64(stack + 16 * place, x)
            store_i64(stack + 16 * place + 8, (level << _TREE_LEVEL_SHIFT) | (8 * group + lane))
            waiting += 1
        bits >>= 1
        lane += 1
    return waiting


@njit(nogil=True, error_model="numpy")
def _tree_same(at: int, width: int) -> bool:
    """Whether all keys of a node are equal: its box is a point."""
    for c in range(width):
        end = at + TREE_GROUP_COLUMN * c
        if load_f64(end + TREE_LOW) != load_f64(end + TREE_HIGH):
            return False
    return True


@njit(nogil=True, error_model="numpy")
def _tree_visit(r: int, query: int, s: int, held: int, waiting: int) -> int:
    """Take the last node off the stack and look at it; how many wait then."""
    waiting -= 1
    reach = load_f64(s + _FIND_STACK + 16 * waiting)
    best = load_f64(s + _FIND_LEAST)
    if reach < best:
        return waiting
    code = load_i64(s + _FIND_STACK + 16 * waiting + 8)
    level = code >> _TREE_LEVEL_SHIFT
    node = code & ((1 << _TREE_LEVEL_SHIFT) - 1)
    width = load_i64(r + TREE_WIDTH)
    at = tree_node(r, level, node)
    more = at + TREE_GROUP_COLUMN * width
    first = load_f64(more + TREE_EARLIEST)
    last = load_f64(more + TREE_LATEST)
    gamma = load_f64(s + _FIND_GAMMA)
    if gamma == 0.0 and reach == best and load_i64(s + _FIND_BEST) >= 0:
        # Exact, and no better than the best: it matters only if a key of it comes before the best.
        tie = load_i64(s + _FIND_TIE)
        found = load_i64(s + _FIND_BEST)
        if (tie == TREE_FIRST and first >= found) or (tie == TREE_LAST and last <= found):
            return waiting
    inside = first >= load_i64(s + _FIND_RANGE_LOW) and last < load_i64(s + _FIND_RANGE_HIGH)
    bound = load_f64(more + TREE_MOST) * load_f64(s + _FIND_NORM) * gamma + load_f64(s + _FIND_TINY)
    if inside and _tree_same(at, width):
        slot = node << (TREE_LEAF_SHIFT + 3 * level)
        run = min(load_i64(r + TREE_COUNT) - slot, TREE_LEAF << (3 * level))
        score = 0.0
        for c in range(width):
            score += load_f64(query + 8 * c) * load_f64(at + TREE_GROUP_COLUMN * c)
        position = int(first if load_i64(s + _FIND_TIE) == TREE_FIRST else last)
        _tree_offer(r, query, s, held, score, bound, slot, run, position)
        return waiting
    if level == 0:
        _tree_leaf(r, query, s, held, node, bound, 1 if inside else 0)
        return waiting
    return _tree_open(r, query, s, level - 1, node, waiting)


# --- the whole search ---


@njit(nogil=True, error_model="numpy")
def tree_best(r: int, query: int, low: int, high: int, tie: int, s: int, held: int) -> int:
    """The first (`tie` 0) or last (1) position in [low, high) with the largest dot product, or any of them
    with all in the list at `held` (2); -1 when the query is not finite or a score may overflow.

    `query` is a row of doubles, the list has eight bytes for each key. The range is not empty, and the region
    holds all keys of it. How long it takes depends on the keys: O(log n) at best, O(n width) at worst.
    """
    width = load_i64(r + TREE_WIDTH)
    norm, lowest = key_scan_query(query, width)
    size = load_f64(r + TREE_SIZE)
    if not math.isfinite(norm) or not norm * size < 2.0**1022:
        return -1
    store_i64(s + _FIND_RANGE_LOW, low)
    store_i64(s + _FIND_RANGE_HIGH, high)
    store_i64(s + _FIND_TIE, tie)
    store_i64(s + _FIND_BEST, -1)
    store_i64(s + _FIND_HELD, 0)
    store_f64(s + _FIND_LEAST, -math.inf)
    store_f64(s + _FIND_NORM, norm)
    if norm == 0.0:
        store_i64(s + _FIND_HELD, -1)
        return low if tie == TREE_FIRST else high - 1
    # Every partial sum is a multiple of 2**lowest: below 2**53 of these none is rounded, and none can be
    # smaller than the smallest double.
    part = (width + 2) * 2.0**-53
    ball_gamma = part / (1.0 - part) * KEY_SCAN_SLACK
    gamma = 0.0
    tiny = 0.0
    bit = load_i64(r + TREE_LOWEST)
    if bit != TREE_NO_BIT:
        lowest += bit
        if lowest < -1070 or norm * size * KEY_SCAN_SLACK > math.ldexp(1.0, min(53 + lowest, 1023)):
            gamma = ball_gamma
            tiny = 2.0 * (width + 2) * 5e-324
    store_f64(s + _FIND_GAMMA, gamma)
    store_f64(s + _FIND_BALL_GAMMA, ball_gamma)
    store_f64(s + _FIND_TINY, tiny)
    square = 0.0
    for c in range(width):
        square += load_f64(query + 8 * c) * load_f64(query + 8 * c)
    # Rounding a product with a length, and adding it to a sum, is within the last factor.
    store_f64(s + _FIND_LENGTH, tree_length(square, width) * (1.0 + 2.0**-50))
    for c in range(width):
        end = TREE_HIGH if load_f64(query + 8 * c) >= 0.0 else TREE_LOW
        store_i64(s + _FIND_ENDS + 8 * c, end)
    level = 0
    nodes = (load_i64(r + TREE_COUNT) - 1) >> TREE_LEAF_SHIFT
    while nodes >= 8 and level < load_i64(r + TREE_DEPTH) - 1:
        nodes >>= 3
        level += 1
    waiting = _tree_open(r, query, s, level, 0, 0)
    while waiting > 0:
        waiting = _tree_visit(r, query, s, held, waiting)
    return load_i64(s + _FIND_BEST)


@njit(nogil=True, error_model="numpy")
def tree_mean(
    r: int, s: int, held: int, sums: int, vals: int, stride: int, step: int, vdtype: int, width: int, out: int
) -> None:
    """Write the mean value row of all that tied in the search just made, `width` doubles, to `out`.

    Each is the exact sum, rounded once, over the number. `sums` is room for `tree_sums_bytes(width)`.
    """
    sums_start(sums, width)
    runs = load_i64(s + _FIND_HELD)
    count = 0
    if runs < 0:
        low = load_i64(s + _FIND_RANGE_LOW)
        count = load_i64(s + _FIND_RANGE_HIGH) - low
        for position in range(low, low + count):
            sums_add(sums, vals + position * stride, step, vdtype, 1)
    for place in range(runs):
        entry = load_i64(held + 8 * place)
        slot = entry & _TREE_SLOT_MASK
        run = entry >> _TREE_RUN_SHIFT
        for at in range(slot, slot + run):
            sums_add(sums, vals + tree_position(r, at) * stride, step, vdtype, 1)
        count += run
    sums_mean(sums, count, out)


__all__ = ["tree_best", "tree_bytes", "tree_fill", "tree_mean", "tree_move", "tree_reach", "tree_start"]
