"""Softmax of one query row against many keys: bytes per second against what memory gives, and against
PyTorch.

    python benchmarks/decode.py [--counts 65536] [--widths 64,128] [--threads 1,2] [--heads 8] [--rounds 15]

One batch, `--heads` key heads; with a group of 4 four query heads read each of them. Every line first checks
one head against doubles. Then the candidates run in turn in one process: attnc; a loop of nothing but reads
over the same keys and values, on as many threads; attnc's simple tiles, which steps went to before; PyTorch,
where it can be imported. What is printed is GB/s of keys and values, of the median and of the best round; the
share of the reading loop is the median of the shares of single rounds, for the speed of memory changes from
round to round on a shared machine. So is the ratio to PyTorch.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
from collections.abc import Callable

import numpy as np
from dense import LANES, tiles
from harness import Timing, alternate
from numba import njit

import attnc
from attnc_backends.numba.runtime.vector import vec_add, vec_f32, vec_fill, vec_load
from attnc_backends.numba.runtime.vector_lanes import vec_sum
from attnc_backends.numba.threads import run_workers
from attnc_ir.storage import from_float64, to_float64
from attnc_ir.types import DType

if HAS_TORCH := importlib.util.find_spec("torch") is not None:
    import torch

SPEC = """graph @decode(%q: {t}[H x 1 x {width}], %k: {t}[G x M x {width}], %v: {t}[G x M x {width}]) {{
  %o = attend %q, %k, %v {{normalizer = softmax, scale = {scale!r}, strategy = dense}}
  return %o
}}"""
TOLERANCE = {"f32": 2e-5, "bf16": 2e-2}
GOALS = {"read": 0.9, "torch": 1.6}


@njit(nogil=True, error_model="numpy")
def read(start: int, size: int) -> float:
    """Load every vector of memory once."""
    like = vec_f32(LANES)
    step = 4 * LANES
    s0, s1, s2, s3 = vec_fill(0.0, like), vec_fill(0.0, like), vec_fill(0.0, like), vec_fill(0.0, like)
    for at in range(start, start + size, 4 * step):
        s0, s1 = vec_add(s0, vec_load(at, like)), vec_add(s1, vec_load(at + step, like))
        s2, s3 = vec_add(s2, vec_load(at + 2 * step, like)), vec_add(s3, vec_load(at + 3 * step, like))
    return vec_sum(vec_add(vec_add(s0, s1), vec_add(s2, s3)))


def reader(*arrays: np.ndarray) -> Callable[[int, int], int]:
    """One worker's share of reading arrays, whole kilobytes of each."""

    def share(worker: int, workers: int) -> int:
        for array in arrays:
            part = array.nbytes // workers // 1024 * 1024
            read(array.__array_interface__["data"][0] + worker * part, part)
        return 0

    return share


def right(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """One row of output in doubles."""
    scores = (k @ q[0]) / math.sqrt(len(q[0]))
    weights = np.exp(scores - scores.max())
    return (weights / weights.sum()) @ v


def torch_run(arrays: dict[str, np.ndarray], dtype: str, grouped: bool) -> Callable[[], object]:
    """PyTorch's fused attention over the same memory."""
    held = [
        torch.from_numpy(x.view(np.int16)).view(torch.bfloat16) if dtype == "bf16" else torch.from_numpy(x)
        for x in arrays.values()
    ]
    q, k, v = (x[None] for x in held)
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=grouped)


def line(
    dtype: str, count: int, width: int, heads: int, group: int, threads: int, rounds: int
) -> dict[str, Timing]:
    """Timings of each candidate and of the reading loop."""
    draw = np.random.default_rng(count)
    shapes = {"q": (heads * group, 1, width), "k": (heads, count, width), "v": (heads, count, width)}
    arrays = {
        name: from_float64(draw.standard_normal(shape, dtype=np.float32).astype(np.float64), DType(dtype))
        for name, shape in shapes.items()
    }
    text = SPEC.format(t=dtype, width=width, scale=1 / math.sqrt(width))
    program, simple = attnc.compile(text), tiles(text)
    runs: dict[str, Callable[[], object]] = {
        "attnc": lambda: program.run("decode", arrays, threads=threads),
        "tiles": lambda: simple.run("decode", arrays, threads=threads),
    }
    if HAS_TORCH:
        torch.set_num_threads(threads)
        runs["torch"] = torch_run(arrays, dtype, group > 1)
    wanted = right(*(to_float64(arrays[x][-1], DType(dtype)) for x in "qkv"))
    for name, run in runs.items():
        found = run()
        last = found[0, -1, 0].double().numpy() if name == "torch" else to_float64(found[-1, 0], DType(dtype))
        off = float(np.abs(last - wanted).max())
        assert off < TOLERANCE[dtype], f"{name} is off by {off}"
    share = reader(arrays["k"], arrays["v"])
    runs["read"] = lambda: run_workers(share, threads)
    return alternate(runs, rounds=rounds)


def main() -> None:
    """Print the table, and how many lines reach the goals."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    numbers = {"type": lambda text: [int(x) for x in text.split(",")]}
    parser.add_argument("--counts", default=[65536], **numbers)
    parser.add_argument("--widths", default=[64, 128], **numbers)
    parser.add_argument("--threads", default=[1, 2], **numbers)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    reached: dict[str, list[bool]] = {}
    print(f"{LANES} lanes; GB/s of keys and values")
    for threads in options.threads:
        for dtype in TOLERANCE:
            for width in options.widths:
                for group in (1, 4):
                    for count in options.counts:
                        found = line(dtype, count, width, options.heads, group, threads, options.rounds)
                        size = 2 * options.heads * count * width * DType(dtype).itemsize
                        own = found["attnc"]
                        shown = []
                        for name, timing in found.items():
                            ratio = statistics.median(
                                other / mine for other, mine in zip(timing.seconds, own.seconds, strict=True)
                            )
                            speeds = (
                                f"{name} {size / timing.median / 1e9:5.1f} {size / timing.best / 1e9:5.1f}"
                            )
                            shown.append(speeds if name == "attnc" else f"{speeds} ({ratio:.2f})")
                            goal = GOALS.get(name)
                            if goal is not None:
                                reached.setdefault(name, []).append(ratio >= goal)
                        what = f"{threads} threads {dtype:4} d {width:3} group {group} keys {count:6}"
                        print(f"{what}  {'  '.join(shown)}", flush=True)
    for name, lines in reached.items():
        print(f"{sum(lines)} of {len(lines)} lines reach {GOALS[name]:.2f} times {name}")


if __name__ == "__main__":
    main()
