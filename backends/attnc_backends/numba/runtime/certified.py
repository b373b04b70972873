"""The best vertex of a strict chain near a guess: exact score differences say whether the guess is right, and
where to go if it is not.

Along a strict chain the score rises, is level on at most one edge, then falls: the winner is the first vertex
whose edge to the right does not rise. Vertices are pairs of doubles, `step` bytes apart.
"""

from numba import njit

from attnc_backends.numba.runtime.exact import compare_dot2
from attnc_backends.numba.runtime.memory import load_f64, out_of_line


@njit(nogil=True, error_model="numpy", forceinline=True)
def _certified_rise(vertices: int, step: int, qx: float, qy: float, edge: int, scratch: int) -> int:
    """Sign of the score of vertex edge + 1 minus that of vertex `edge`."""
    at = vertices + step * edge
    x = load_f64(at + step)
    y = load_f64(at + step + 8)
    return compare_dot2(qx, qy, x, y, load_f64(at), load_f64(at + 8), scratch)


@njit(nogil=True, error_model="numpy")
def _certified_gallop(
    vertices: int, step: int, count: int, qx: float, qy: float, guess: int, scratch: int
) -> tuple[int, bool]:
    """`certified` for a guess that turned out wrong, an edge: O(log distance)."""
    out_of_line()
    # The winner lies right of `low` and not right of `high`; `level` says whether the edge after `high` is.
    low = -1
    high = count - 1
    level = False
    probe = guess
    stride = 1
    while 0 <= probe < count - 1:
        sign = _certified_rise(vertices, step, qx, qy, probe, scratch)
        if sign > 0:
            low = probe
            if high < count - 1:
                break
            probe += stride
        else:
            high = probe
            level = sign == 0
            if low >= 0:
                break
            probe -= stride
        stride <<= 1
    while high - low > 1:
        middle = (low + high) >> 1
        sign = _certified_rise(vertices, step, qx, qy, middle, scratch)
        if sign > 0:
            low = middle
        else:
            high = middle
            level = sign == 0
    return high, level


@njit(nogil=True, error_model="numpy", forceinline=True)
def certified(
    vertices: int, step: int, count: int, qx: float, qy: float, guess: int, scratch: int
) -> tuple[int, bool]:
    """The leftmost best of `count` vertices, supposed to be number `guess`, and whether the next one ties.

    `scratch` is memory of the exact comparison.
    """
    sign = -1
    if guess < count - 1:
        sign = _certified_rise(vertices, step, qx, qy, guess, scratch)
    if sign <= 0 and (guess == 0 or _certified_rise(vertices, step, qx, qy, guess - 1, scratch) > 0):
        return guess, sign == 0
    # Where the last vertex loses, the search begins at the edge before it.
    return _certified_gallop(vertices, step, count, qx, qy, min(guess, count - 2), scratch)
