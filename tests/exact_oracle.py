"""Hard-max by integers: every double is an integer times a power of two, so scores are compared as integers.

Nothing here is shared with the reference interpreter or with compiled code, so that the three can be held
against each other.
"""

import math
from fractions import Fraction

import numpy as np


def as_integers(rows):
    """Finite doubles times one power of two, as Python integers."""
    mantissa, exponent = np.frexp(rows)
    whole = (mantissa * 2.0**53).astype(np.int64)
    lowest = int(exponent[whole != 0].min()) if whole.any() else 0
    shift = np.where(whole != 0, exponent - lowest, 0)
    flat = [x << s for x, s in zip(whole.ravel().tolist(), shift.ravel().tolist(), strict=True)]
    out = np.empty(rows.size, object)
    out[:] = flat
    return out.reshape(rows.shape)


def tied(queries, keys, allowed, sign):
    """`[N x M]` which keys tie for the largest score of each query among those it may see.

    `sign` is that of the scale: 1, -1, or 0 for scores that are all zero.
    """
    if sign == 0 or not allowed.any():
        return allowed.copy()
    scores = sign * np.dot(as_integers(queries), as_integers(keys).T)
    found = np.zeros(allowed.shape, bool)
    for row in range(len(queries)):
        places = np.flatnonzero(allowed[row])
        if len(places):
            seen = scores[row, places].tolist()
            top = max(seen)
            found[row, places] = [score == top for score in seen]
    return found


def answers(ties, values, tie):
    """`[N x Dv]` output rows in the type of `values`, zeros where nothing ties; and for each the position of
    the winner, -1 where there is none or ties are shared.
    """
    out = np.zeros((len(ties), values.shape[1]), values.dtype)
    positions = np.full(len(ties), -1)
    for row, among in enumerate(ties):
        places = np.flatnonzero(among)
        if len(places) == 0:
            continue
        if tie == "mean":
            out[row] = [exact_sum(column) / len(places) for column in values[places].T.tolist()]
        else:
            positions[row] = places[0 if tie == "first" else -1]
            out[row] = values[positions[row]]
    return out, positions


def exact_sum(numbers):
    """The sum of finite doubles, rounded once; a zero sum is +0.0."""
    try:
        return math.fsum(numbers) + 0.0
    except OverflowError:  # of a partial sum
        total = sum(map(Fraction, numbers), Fraction(0))
        try:
            return float(total)
        except OverflowError:
            return math.inf if total > 0 else -math.inf
