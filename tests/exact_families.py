"""Keys and queries of any width on which exactness is hard: ties everywhere, and scores one rounding apart."""

import numpy as np

TINY, HUGE = 5e-324, 1.7e308


def _grid(rng, count, width):
    return rng.integers(-2, 3, (count, width)).astype(np.float64)


def _line(rng, count, width):
    place = rng.integers(-6, 7, (count, 1)).astype(np.float64)
    return place * rng.integers(-3, 4, width) + rng.integers(-2, 3, width)


def _duplicates(rng, count, width):
    return rng.normal(size=(3, width))[rng.integers(0, 3, count)]


def _one_point(rng, count, width):
    return np.broadcast_to(rng.normal(size=width), (count, width)).copy()


def _near_ties(rng, count, width):
    line = rng.integers(-4, 5, (count, 1)) * rng.normal(size=width) + 0.3
    return line * np.where(rng.random(line.shape) < 0.3, 1 + 2.0**-52, 1.0)


def _exponents(rng, count, width):
    return rng.choice(
        [0.0, -0.0, 1.0, -1.0, 1e-30, -1e300, 1e300, HUGE, TINY, 1e-160, -2e150], (count, width)
    )


def _polygon(rng, count, width):
    angle = 2 * np.pi * rng.integers(0, 24, count) / 24
    columns = [np.cos(angle), np.sin(angle)]
    return np.stack([columns[c % 2] if c < 2 else np.zeros(count) for c in range(width)], axis=-1)


def _sphere(rng, count, width):
    points = rng.integers(-3, 4, (count, width)).astype(np.float64)
    return points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1.0)


def _positions(rng, count, width):
    place = np.arange(count) + rng.integers(0, 1 << 20)
    return np.stack([2.0 * place, -1.0 * place * place, *[np.ones(count)] * width], axis=-1)[:, :width]


def _faces(rng, count, width):
    """Integers on the faces of a cube: corners, edges and faces that are taken many times."""
    keys = rng.integers(-3, 4, (count, width)).astype(np.float64)
    keys[np.arange(count), rng.integers(0, width, count)] = 3.0 * rng.choice([-1, 1], count)
    return keys


def _addresses(rng, count, width):
    place = rng.integers(0, max(count // 2, 1), count)
    return np.stack([2.0 * place, -1.0 * place * place, *[np.ones(count)] * width], axis=-1)[:, :width]


def _constant_column(rng, count, width):
    keys = rng.integers(-4, 5, (count, width)).astype(np.float64)
    keys[:, rng.integers(0, width)] = 0.7
    return keys


def _gaussian(rng, count, width):
    return rng.normal(size=(count, width))


def _huge(rng, count, width):
    """Together with tiny queries: every product is of ordinary size, and its rounding error counts."""
    return rng.normal(size=(count, width)) * 1e300


def _far(rng, count, width):
    """Large integers with a small difference, near what doubles hold exactly."""
    return (2.0**52 * rng.integers(-1, 2, (count, width))) + rng.integers(-1, 2, (count, width))


FAMILIES = {
    family.__name__.strip("_").replace("_", " "): family
    for family in (
        _grid, _line, _duplicates, _one_point, _near_ties, _exponents, _polygon, _sphere, _positions, _faces,
        _addresses, _constant_column, _gaussian, _huge, _far,
    )
}  # fmt: skip


def queries_for(rng, keys, count):
    """`[count x width]`: axes, zeros, keys, and directions in which two of the keys (nearly) tie."""
    width = keys.shape[1]
    source = keys if len(keys) else np.zeros((1, width))
    one, two, other = (source[rng.integers(0, len(source), count)] for _ in range(3))
    with np.errstate(over="ignore", invalid="ignore"):
        apart = one - two
        # Perpendicular to `apart` in a plane of two coordinates, other coordinates where that is zero.
        across = np.zeros((count, width))
        rows, a = np.arange(count), rng.integers(0, width, count)
        b = (a + 1 + rng.integers(0, max(width - 1, 1), count)) % width
        across[rows, a], across[rows, b] = apart[rows, b], -apart[rows, a]
        across = np.nan_to_num(across, posinf=1e308, neginf=-1e308)
    simple = rng.choice([-1.0, 0.0, 1.0, -0.0, 3.0], (count, width))
    kind = rng.integers(0, 6, count)[:, np.newaxis]
    choices = [across, -across, simple, other, rng.normal(size=(count, width)), across * (1 + 2.0**-52)]
    found = np.select([kind == number for number in range(6)], choices)
    return found * 2.0**-1030 if rng.random() < 0.15 else found
