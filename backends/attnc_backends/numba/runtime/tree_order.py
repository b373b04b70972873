"""Exact comparison of two keys under a query, in any width."""

from numba import njit

from attnc_backends.numba.runtime.exact import (
    FILTER_FLOOR,
    acc_add_product,
    acc_clear,
    acc_sign,
    two_prod,
    two_sum,
)
from attnc_backends.numba.runtime.memory import load_f64

_TREE_LARGEST = 2.0**1000


@njit(nogil=True, error_model="numpy")
def _tree_compare_exact(query: int, x: int, y: int, step: int, width: int, acc: int) -> int:
    """tree_compare over the whole range of doubles, in the accumulator at `acc`."""
    acc_clear(acc)
    for c in range(width):
        q = load_f64(query + 8 * c)
        acc_add_product(acc, q, load_f64(x + step * c))
        acc_add_product(acc, q, -load_f64(y + step * c))
    return acc_sign(acc)


@njit(nogil=True, error_model="numpy")
def tree_compare(query: int, x: int, y: int, step: int, width: int, acc: int) -> int:
    """Sign of q.(x - y) in exact arithmetic, for finite doubles; elements of the keys are `step` bytes apart.

    The sum is carried in two doubles by error-free transforms, and what these lose is added up, too: where
    that is nothing, or less than half of the sum, the sign is proved. Else the accumulator decides.
    """
    high = 0.0
    low = 0.0
    lost = 0.0
    for c in range(width):
        q = load_f64(query + 8 * c)
        a = load_f64(x + step * c)
        b = load_f64(y + step * c)
        if q == 0.0 or a == b:
            continue
        difference, rest = two_sum(a, -b)
        # A product of the rest is below the last bits of the other; both count where the difference rounds.
        for part in range(2):
            factor = difference if part == 0 else rest
            if factor == 0.0:
                continue
            p, tail = two_prod(q, factor)
            if not (abs(p) > FILTER_FLOOR and abs(p) < _TREE_LARGEST):
                return _tree_compare_exact(query, x, y, step, width, acc)
            high, e = two_sum(high, p)
            low, f = two_sum(low, e)
            low, g = two_sum(low, tail)
            lost += abs(f) + abs(g)
    total = high + low
    if lost == 0.0 or abs(total) > 2.0 * lost:
        if total > 0.0:
            return 1
        return -1 if total < 0.0 else 0
    return _tree_compare_exact(query, x, y, step, width, acc)
