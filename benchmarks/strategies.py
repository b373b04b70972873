"""The strategies of one node against each other, and dense softmax against PyTorch where it is installed.

    python benchmarks/strategies.py [--quick]

One thread. Results are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import math
from functools import partial

import numpy as np
from harness import alternate, human

import attnc

HARDMAX = """
graph @lookup(%q: f64[N x 2], %k: f64[N x 2], %v: f64[N x 4]) {
  %o = attend %q, %k, %v {normalizer = hardmax(last), mask = causal}
  return %o
}
"""


def position_keys(draw: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and keys of the look-up idiom: key `(2j, -j*j)`, query `(b, 1)` with `b` at random."""
    j = np.arange(n, dtype=np.float64)
    asked = draw.integers(0, n, n).astype(np.float64)
    return np.stack([asked, np.ones(n)], axis=1), np.stack([2 * j, -j * j], axis=1)


def gaussian_keys(draw: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and keys without structure; few keys lie on the hull."""
    return draw.standard_normal((n, 2)), draw.standard_normal((n, 2))


def compare_strategies(sizes: list[int]) -> None:
    """Hull against dense on causal hard-max of width 2."""
    programs = {s: attnc.compile(HARDMAX, strategy=s, threads=1) for s in ("hull", "dense")}
    print(f"{'keys':>10} {'family':>10} {'hull, a query':>15} {'dense, a query':>15} {'ratio':>8}")
    for n in sizes:
        for family in (position_keys, gaussian_keys):
            draw = np.random.default_rng(n)
            q, k = family(draw, n)
            v = draw.standard_normal((n, 4))
            outputs = [program.lookup(q, k, v) for program in programs.values()]
            np.testing.assert_array_equal(*outputs)
            timings = alternate(
                {name: partial(program.lookup, q, k, v) for name, program in programs.items()},
                rounds=5,
            )
            hull, dense = (timings[name].median / n for name in programs)
            name = family.__name__.removesuffix("_keys")
            print(f"{n:>10,} {name:>10} {human(hull):>15} {human(dense):>15} {dense / hull:>8.1f}")


def compare_softmax(sizes: list[int]) -> None:
    """Dense softmax, 8 heads of width 64, against PyTorch."""
    try:
        import torch
    except ImportError:
        print("\nPyTorch is not installed; pip install torch==2.13.0 for the softmax comparison")
        return
    torch.set_num_threads(1)
    print(f"\n{'length':>10} {'attnc':>12} {'torch':>12} {'ratio':>8}")
    for n in sizes:
        draw = np.random.default_rng(n)
        q, k, v = (draw.standard_normal((1, 8, n, 64), dtype=np.float32) for _ in range(3))
        tensors = [torch.from_numpy(x) for x in (q, k, v)]
        sdpa = torch.nn.functional.scaled_dot_product_attention
        np.testing.assert_allclose(
            attnc.attention(q, k, v, threads=1), sdpa(*tensors).numpy(), rtol=1e-4, atol=1e-5
        )
        timings = alternate(
            {"attnc": partial(attnc.attention, q, k, v, threads=1), "torch": partial(sdpa, *tensors)},
            rounds=5,
        )
        ours, theirs = timings["attnc"].median, timings["torch"].median
        print(f"{n:>10,} {human(ours):>12} {human(theirs):>12} {theirs / ours:>8.2f}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    largest = 1_000 if parser.parse_args().quick else 16_000
    sizes = [250 * 4**i for i in range(1 + int(math.log(largest / 250, 4)))]
    compare_strategies(sizes)
    compare_softmax([n for n in sizes if n <= 4_000])


if __name__ == "__main__":
    main()
