"""The vector scan against NumPy and against the read bandwidth of this machine.

    python benchmarks/scan.py [--bytes 2e9] [--widths 2,64] [--counts 1e3,1e7]

One query, n keys of width d, tie last. Every line first checks the winner: its score in doubles must be the
largest, up to what rounding explains. Then the scan, `argmax(k @ q)`, and a sum over the same bytes by
vectors (which is what this machine can read) run in turn, in one process and on one thread each; medians are
printed. `of read` is the share of the measured bandwidth that the scan reaches. No keys beyond `--bytes` are
made.
"""

from __future__ import annotations

import os

# Before NumPy is imported: threads of its BLAS would spin beside the runs that follow.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
from numba import njit

import attnc
from attnc_backends.numba.runtime.vector import vec_add, vec_f64, vec_load
from attnc_backends.numba.runtime.vector_lanes import vec_sum

WIDTHS = (2, 3, 4, 8, 16, 32, 64, 128)
COUNTS = (10**3, 10**4, 10**5, 10**6, 10**7)
CACHE_BYTES = 64 << 20
"""Keys larger than this are beyond the caches."""
GOAL = 0.85

SPEC = """graph @scan(%q: {dtype}[1 x {width}], %k: {dtype}[M x {width}], %v: {dtype}[M x 1]) {{
  %o = attend %q, %k, %v {{normalizer = hardmax(last), strategy = scan}}
  return %o
}}"""


@njit(nogil=True, error_model="numpy")
def read(address: int, count: int) -> float:
    """The sum of `count` bytes, a multiple of 256, as doubles, in four running vectors."""
    a = vec_f64(8)
    b, c, d = a, a, a
    for at in range(address, address + count, 256):
        a = vec_add(a, vec_load(at, a))
        b = vec_add(b, vec_load(at + 64, a))
        c = vec_add(c, vec_load(at + 128, a))
        d = vec_add(d, vec_load(at + 192, a))
    return vec_sum(vec_add(vec_add(a, b), vec_add(c, d)))


def paired(runs: list[Callable[[], object]], seconds: float = 0.6) -> list[float]:
    """Median seconds of each, run in turn."""
    for run in runs:
        run()
    times: list[list[float]] = [[] for _ in runs]
    until = time.perf_counter() + seconds
    while len(times[0]) < 5 or (time.perf_counter() < until and len(times[0]) < 400):
        for run, taken in zip(runs, times, strict=True):
            started = time.perf_counter()
            run()
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


def check(keys: np.ndarray, query: np.ndarray, winner: int) -> None:
    """Raise `AssertionError` unless no key can be larger than the winner."""
    scores = keys @ query
    size = np.abs(keys).max() * np.abs(query).sum()
    slack = 2 * (len(query) + 2) * np.finfo(keys.dtype).eps * size
    assert scores[winner] >= scores.max() - slack, (winner, scores[winner], scores.max())


def line(program: attnc.Program, keys: np.ndarray, query: np.ndarray) -> tuple[float, float, float]:
    """Median seconds of scan, NumPy and reading."""
    values = np.arange(len(keys), dtype=keys.dtype)[:, None]
    arrays = {"q": query[None], "k": keys, "v": values}
    check(keys, query, int(program.run("scan", arrays, threads=1)[0, 0]))
    address, count = keys.ctypes.data, keys.nbytes // 256 * 256
    scan, numpy, reading = paired(
        [
            lambda: program.run("scan", arrays, threads=1),
            lambda: int(np.argmax(keys @ query)),
            lambda: read(address, count),
        ]
    )
    return scan, numpy, reading


def main() -> None:
    """Print the table, and how many lines beyond the cache reach the goal."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bytes", type=float, default=2e9, help="the largest keys, in bytes")
    parser.add_argument("--widths", type=lambda t: [int(x) for x in t.split(",")], default=WIDTHS)
    parser.add_argument("--counts", type=lambda t: [int(float(x)) for x in t.split(",")], default=COUNTS)
    parser.add_argument("--dtypes", type=lambda t: t.split(","), default=["f64", "f32"])
    options = parser.parse_args()
    draw = np.random.default_rng(0)
    reached, beyond = 0, 0
    print("type    d         n    scan ms   GB/s   numpy ms  ratio  of read")
    for dtype in options.dtypes:
        for width in options.widths:
            program = attnc.compile(SPEC.format(dtype=dtype, width=width))
            for count in options.counts:
                kind = np.float64 if dtype == "f64" else np.float32
                if count * width * np.dtype(kind).itemsize > options.bytes:
                    continue
                keys = draw.standard_normal((count, width), dtype=kind)
                query = draw.standard_normal(width, dtype=kind)
                scan, numpy, reading = line(program, keys, query)
                if keys.nbytes > CACHE_BYTES:
                    beyond += 1
                    reached += reading / scan >= GOAL
                print(
                    f"{dtype:4} {width:4} {count:9} {scan * 1e3:10.3f} {keys.nbytes / scan / 1e9:6.1f} "
                    f"{numpy * 1e3:10.3f} {numpy / scan:6.2f} {reading / scan:8.0%}",
                    flush=True,
                )
                del keys
    print(f"{reached} of {beyond} lines beyond the cache reach {GOAL:.0%} of the read bandwidth")


if __name__ == "__main__":
    main()
