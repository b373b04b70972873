"""Two-dimensional keys and queries with many ties, exact and almost; and five cases that other engines got wrong."""

import numpy as np
from hypothesis import strategies as st

FAMILIES = ["grid", "collinear", "duplicates", "near ties", "exponents", "circle", "column", "one point"]

families = st.sampled_from(FAMILIES)


def keys_of(family, rng, shape):
    """Keys `[..., 2]` of a family."""
    if family == "grid":
        return rng.integers(-2, 3, (*shape, 2)).astype(np.float64)
    if family == "collinear":
        place = rng.integers(-6, 7, shape).astype(np.float64)
        direction = rng.integers(-3, 4, 2)
        return place[..., np.newaxis] * direction + rng.integers(-2, 3, 2)
    if family == "duplicates":
        return rng.normal(size=(3, 2))[rng.integers(0, 3, shape)]
    if family == "near ties":
        place = rng.integers(-4, 5, shape).astype(np.float64)
        line = np.stack([place * 0.1, 0.3 - place * 0.7], axis=-1)
        return line * np.where(rng.random(line.shape) < 0.3, 1 + 2.0**-52, 1.0)
    if family == "exponents":
        return rng.choice(
            [0.0, 1.0, -1.0, 1e-30, -1e300, 1e300, 1.7e308, 5e-324, 1e-160, -2e150], (*shape, 2)
        )
    if family == "circle":
        angle = 2 * np.pi * rng.integers(0, 24, shape) / 24
        return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    if family == "column":
        return np.stack([np.full(shape, 0.7), rng.integers(-3, 4, shape).astype(np.float64)], axis=-1)
    return np.broadcast_to(rng.normal(size=2), (*shape, 2)).copy()


def queries_of(rng, keys, shape):
    """Queries `[..., 2]`: axes, zeros, directions perpendicular to a difference of two keys, keys themselves."""
    flat = keys.reshape(-1, 2) if keys.size else np.zeros((1, 2))
    one, two, three = (flat[rng.integers(0, len(flat), shape)] for _ in range(3))
    with np.errstate(over="ignore", invalid="ignore"):
        along = one - two
    across = np.nan_to_num(np.stack([along[..., 1], -along[..., 0]], axis=-1), posinf=1e308, neginf=-1e308)
    simple = rng.choice([-1.0, 0.0, 1.0, 0.0, 3.0], (*shape, 2))
    kind = rng.integers(0, 4, shape)[..., np.newaxis]
    return np.where(kind == 0, across, np.where(kind == 1, -across, np.where(kind == 2, simple, three)))


COUNTEREXAMPLES = {
    # keys, one value each, query, and the output by tie rule
    "a tie in the middle of an edge": (
        [(0, 0), (2, 0), (1, 0)], [0, 30, 3], (0, 1), {"mean": 11, "first": 0, "last": 3},
    ),
    "a tie across an edge": (
        [(4, 0), (1, -3), (-1, -5)], [1, 2, 6], (3, -3), {"mean": 3, "first": 1, "last": 6},
    ),
    "scores 0 and 1 that doubles cannot tell apart": (
        [(0, 0), (1169713601280381, -1881826492714166)], [1, 2], (6554730440190525, 4074316829049964),
        {"mean": 2, "first": 2, "last": 2},
    ),
    "a margin of 3.5e-17": (
        [(0.8660254037844387, 0.49999999999999994), (1, 0)], [1, 2], (1.8660254037844388, 0.49999999999999994),
        {"mean": 1, "first": 1, "last": 1},
    ),
    "a margin below the rounding of a large term": (
        [(84, -1e30), (62, -1e30)], [1, 2], (20, 1), {"mean": 1, "first": 1, "last": 1},
    ),
}  # fmt: skip
