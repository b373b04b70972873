"""What surrounds the work: short sequences, the cost of one call, compilation, memory.

    python benchmarks/calls.py [--rounds 21] [--skip-compile]

1. A batch of 32 short sequences, `attnc.attention` and PyTorch in turn, one thread, results checked.
2. One call with next to nothing to compute, for `attnc.attention`, for a compiled graph and for one step of
   a state; the median over rounds of many calls.
3. New processes with an empty cache, then with a filled one: seconds from the end of the imports to the end
   of the first call, on the wall, and of the processors in the first. What Numba imports when it is first
   asked for anything counts as imports.
4. Memory of a process in long prefill, over what it had before with its inputs and outputs made.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable

import numpy as np
from harness import alternate, human

import attnc

if HAS_TORCH := importlib.util.find_spec("torch") is not None:
    import torch

SHORT_GOAL = 1.0
CALL_GOALS = {"attnc.attention": 5e-6, "compiled graph": 1e-6}
COLD_GOAL, WARM_GOAL = 3.0, 0.060
CALLS = 2000

GRAPH = """graph @g(%q: f32[H x N x 64], %k: f32[H x N x 64], %v: f32[H x N x 64]) {
  %o = attend %q, %k, %v {normalizer = NORMALIZER, mask = MASK}
  return %o
}"""
KERNELS = {
    "softmax": ("softmax", "everything"),
    "softmax, causal": ("softmax", "causal(top_left)"),
    "hardmax": ("hardmax(last)", "causal(top_left)"),
}
STEP = """graph @g(%q: f32[H x 2], %k: f32[H x 2], %v: f32[H x 2]) {
  %c = cache {heads = [H], key = f32[2], value = f32[2]}
  %n = append %c, %k, %v
  %o = attend.step %q, %n {normalizer = hardmax(last)}
  return %o
}"""

CHILD = """
import json, sys, time
import numpy as np
import attnc
import attnc.functional, attnc_backends.numba.backend, attnc_backends.numba.executable
from numba.core.registry import cpu_target
cpu_target.typing_context.refresh()
cpu_target.target_context.refresh()
started, busy = time.perf_counter(), time.process_time()
program = attnc.compile(sys.argv[1])
q, k, v = np.random.default_rng(0).standard_normal((3, 2, 100, 64), dtype=np.float32)
program("g", q, k, v)
print(json.dumps([time.perf_counter() - started, time.process_time() - busy]))
"""
MEMORY = """
import resource, sys
import numpy as np
import attnc
count = int(sys.argv[2])
program = attnc.compile(sys.argv[1])
q, k, v, room = np.random.default_rng(0).standard_normal((4, 2, count, 64), dtype=np.float32)
program.run("g", dict(q=q[:, :256], k=k[:, :256], v=v[:, :256]), threads=2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
program.run("g", dict(q=q, k=k, v=v), threads=2)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024 - q.nbytes)
"""


def short(rounds: int) -> list[bool]:
    """Batches of short sequences."""
    return [ok for count in (1, 4, 16, 33, 64) for ok in short_line(count, rounds)]


def short_line(count: int, rounds: int) -> list[bool]:
    """One length."""
    q, k, v = np.random.default_rng(count).standard_normal((3, 32, 8, count, 64), dtype=np.float32)
    runs: dict[str, Callable[[], object]] = {"attnc": lambda: attnc.attention(q, k, v, threads=1)}
    if HAS_TORCH:
        torch.set_num_threads(1)
        tensors = [torch.from_numpy(x) for x in (q, k, v)]
        runs["torch"] = lambda: torch.nn.functional.scaled_dot_product_attention(*tensors)
        off = float(np.abs(np.asarray(runs["torch"]()) - np.asarray(runs["attnc"]())).max())
        assert off < 2e-5, off
    found = alternate(runs, rounds=rounds)
    text = "  ".join(f"{name} {human(t.median)}" for name, t in found.items())
    reached = []
    if HAS_TORCH:
        ratio = found["torch"].median / found["attnc"].median
        reached.append(ratio >= SHORT_GOAL)
        text += f"  torch / attnc {ratio:.2f} (goal {SHORT_GOAL:.1f})"
    print(f"batch 32, 8 heads, d 64, n {count:2}  {text}", flush=True)
    return reached


def overhead(rounds: int) -> list[bool]:
    """Calls with next to nothing to compute."""
    q = np.ones((1, 1, 1, 8), np.float32)
    wide = np.ones((1, 1, 64), np.float32)
    row = np.ones((1, 2), np.float32)
    program = attnc.compile(GRAPH.replace("NORMALIZER", "softmax").replace("MASK", "everything"))
    stepped = attnc.compile(STEP)
    state = stepped.state("g", H=1)
    calls: dict[str, Callable[[], object]] = {
        "attnc.attention": lambda: attnc.attention(q, q, q),
        "compiled graph": lambda: program("g", wide, wide, wide),
        "step of a state": lambda: stepped.step(state, row, row, row),
    }
    if HAS_TORCH:
        torch.set_num_threads(1)
        tensor = torch.from_numpy(q)
        calls["torch"] = lambda: torch.nn.functional.scaled_dot_product_attention(tensor, tensor, tensor)

    def many(call: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            for _ in range(CALLS):
                call()

        return run

    reached = []
    for name, timing in alternate({n: many(c) for n, c in calls.items()}, rounds=rounds).items():
        seconds = timing.median / CALLS
        goal = CALL_GOALS.get(name)
        text = "" if goal is None else f"  (goal {human(goal)})"
        if goal is not None:
            reached.append(seconds <= goal)
        print(f"one call, {name:16} {human(seconds)}{text}", flush=True)
    return reached


def in_process(code: str, *arguments: str, cache: str) -> str:
    """What a new process prints."""
    command = [sys.executable, "-c", code, *arguments]
    environment = os.environ | {"ATTNC_CACHE_DIR": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # bytecode of generated modules is part of the cache
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def compilation(rounds: int) -> list[bool]:
    """First calls in new processes."""
    reached = []
    for name, (normalizer, mask) in KERNELS.items():
        spec = GRAPH.replace("NORMALIZER", normalizer).replace("MASK", mask)
        with tempfile.TemporaryDirectory() as cache:
            wall, busy = json.loads(in_process(CHILD, spec, cache=cache))
            again = [json.loads(in_process(CHILD, spec, cache=cache))[0] for _ in range(rounds)]
        warm = statistics.median(again)
        reached += [wall <= COLD_GOAL, warm <= WARM_GOAL]
        print(
            f"first call, {name:16} cold {wall:.2f} s, {busy:.2f} s of processor (goal {COLD_GOAL:.0f} s)"
            f"  from the cache {warm * 1e3:.0f} ms (goal {WARM_GOAL * 1e3:.0f} ms)",
            flush=True,
        )
    return reached


def memory() -> None:
    """Memory beside inputs and outputs."""
    spec = GRAPH.replace("NORMALIZER", "softmax").replace("MASK", "everything")
    with tempfile.TemporaryDirectory() as cache:
        for count in (2048, 8192, 32768):
            extra = int(in_process(MEMORY, spec, str(count), cache=cache))
            print(
                f"2 heads, n {count:5}, 2 threads: {extra / 1024:.0f} KiB beside inputs and outputs",
                flush=True,
            )


def main() -> None:
    """Print all parts, and how many goals are reached."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--skip-compile", action="store_true")
    options = parser.parse_args()
    reached = short(options.rounds) + overhead(options.rounds)
    if not options.skip_compile:
        reached += compilation(min(options.rounds, 5))
        memory()
    print(f"{sum(reached)} of {len(reached)} goals reached")


if __name__ == "__main__":
    main()
