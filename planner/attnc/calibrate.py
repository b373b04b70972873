"""`calibrate`: measure this machine's coefficients with small loops, in a few seconds.

Each number is the best of several runs of a loop that does one kind of work, divided by how often it did
it. The best, not the mean: whatever else the machine does can only make a loop slower.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from attnc.machine import HOST, Machine, save_machine

Progress = Callable[[str, float], None]
"""Called with what is measured next, and which part of the work is done, from 0 to 1."""

_REPEATS = 7
_BUDGET = 0.4
"""Seconds for one measurement, at most; at least one run is made."""


def calibrate(name: str = HOST, *, progress: Progress | None = None, store: bool = True) -> Machine:
    """Measure the coefficients of the cost model on one core, and store them as profile `name` unless
    `store` is false.

    Takes a few seconds, most of it to compile the loops. Raises `ArgumentError` when the profile cannot be
    stored.
    """
    measurements = _measurements()
    found: dict[str, Any] = {}
    for position, (coefficient, measure) in enumerate(measurements.items()):
        if progress is not None:
            progress(coefficient, position / len(measurements))
        # A clock that is too coarse for a loop gives 0; no work is free.
        found[coefficient] = max(measure(), 1e-3)
    if progress is not None:
        progress("done", 1.0)
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    machine = Machine(name=name, measured=today, host=describe_host(), **found)
    if store:
        save_machine(machine)
    return machine


def describe_host() -> str:
    """Processor, number of cores and system, in one printable line of at most 200 characters."""
    model = platform.processor() or platform.machine()
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        found = re.search(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
        model = found.group(1).strip() if found else model
    except OSError:
        pass  # not Linux
    line = f"{model}, {os.cpu_count() or 1} cores, {platform.system()}"
    return "".join(c for c in line if c.isprintable())[:200]


def _best(run: Callable[[], object], count: int) -> float:
    """Nanoseconds for one of `count` pieces of work that `run` does."""
    run()  # compiles, and warms the caches
    best = float("inf")
    until = time.perf_counter() + _BUDGET
    for repeat in range(_REPEATS):
        if repeat and time.perf_counter() > until:
            break
        started = time.perf_counter_ns()
        run()
        best = min(best, time.perf_counter_ns() - started)
    return best / count


# --- the loops, compiled by numba; what they compute is of no interest ---


def _dots(query: npt.NDArray[Any], keys: npt.NDArray[Any], scores: npt.NDArray[Any]) -> None:
    for j in range(keys.shape[0]):
        total = query[0] * keys[j, 0]
        for d in range(1, keys.shape[1]):
            total += query[d] * keys[j, d]
        scores[j] = total


def _exponentials(scores: npt.NDArray[Any], weights: npt.NDArray[Any]) -> None:
    for j in range(scores.size):
        weights[j] = np.exp(scores[j])


def _largest(scores: npt.NDArray[Any]) -> int:
    best = 0
    for j in range(scores.size):
        if scores[j] > scores[best]:
            best = j
    return best


def _probes(table: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> int:
    found = 0
    for n in range(wanted.size):
        low, high = 0, table.size
        while high - low > 1:
            middle = (low + high) // 2
            if table[middle] <= wanted[n]:
                low = middle
            else:
                high = middle
        found += low
    return found


def _insertions(blocks: npt.NDArray[Any], places: npt.NDArray[Any]) -> None:
    # A sorted structure of small blocks: an insertion moves half a block.
    for n in range(places.shape[0]):
        block = blocks[places[n, 0]]
        for p in range(block.size - 1, places[n, 1], -1):
            block[p] = block[p - 1]
        block[places[n, 1]] = n


def _nothing(address: int, count: int) -> int:
    return address + count


def _measurements() -> dict[str, Callable[[], float]]:
    """By coefficient, what measures it. Numba is imported here, because it takes long to import."""
    from numba import njit

    from attnc.calibrate_lanes import multiply_adds, weights
    from attnc_backends.numba.memory import address_of
    from attnc_backends.numba.threads import run_workers

    dots = njit(fastmath=True)(_dots)
    exponentials = njit(fastmath=True)(_exponentials)
    largest = njit(_largest)
    probes = njit(_probes)
    insertions = njit(_insertions)
    nothing = njit(_nothing)

    draw = np.random.default_rng(7)
    count, width = 2048, 64

    def flops(dtype: type[np.floating[Any]]) -> float:
        query, keys = (
            draw.standard_normal(width).astype(dtype),
            draw.standard_normal((count, width)).astype(dtype),
        )
        scores = np.empty(count, dtype)
        return _best(lambda: dots(query, keys, scores), count * width * 2)

    def exps(dtype: type[np.floating[Any]]) -> float:
        scores, weights = draw.standard_normal(1 << 16).astype(dtype), np.empty(1 << 16, dtype)
        return _best(lambda: exponentials(scores, weights), scores.size)

    def lane_flops(dtype: type[np.floating[Any]]) -> float:
        loop, flops = multiply_adds(dtype)
        return _best(lambda: loop(1 << 14, 0.5), flops << 14)

    def lane_exps(dtype: type[np.floating[Any]]) -> float:
        scores = -np.abs(draw.standard_normal(1 << 12)).astype(dtype)
        place, loop = address_of(scores), weights(dtype)
        return _best(lambda: loop(place, scores.size, 16), scores.size * 16)

    def byte() -> float:
        # Larger than most caches; summing reads every byte once.
        block = np.ones(1 << 24, np.float32)
        return _best(block.sum, block.nbytes)

    def probe() -> float:
        table, wanted = np.sort(draw.standard_normal(1 << 17)), draw.standard_normal(1 << 14)
        return _best(lambda: probes(table, wanted), wanted.size * 17)

    def insert() -> float:
        blocks = np.zeros((1 << 12, 64))
        places = np.stack([draw.integers(0, 1 << 12, 1 << 14), draw.integers(0, 64, 1 << 14)], axis=1)
        return _best(lambda: insertions(blocks, places), len(places))

    def compare() -> float:
        scores = draw.standard_normal(1 << 16)
        return _best(lambda: largest(scores), scores.size)

    def call() -> float:
        def many() -> None:
            for _ in range(1000):
                nothing(1, 2)

        return _best(many, 1000)

    def thread() -> float:
        # What it takes to hand a share to one more worker and to wait for it.
        return _best(lambda: run_workers(nothing, 2), 1)

    return {
        "flop_f32": lambda: flops(np.float32),
        "flop_f64": lambda: flops(np.float64),
        "exp_f32": lambda: exps(np.float32),
        "exp_f64": lambda: exps(np.float64),
        "lane_flop_f32": lambda: lane_flops(np.float32),
        "lane_flop_f64": lambda: lane_flops(np.float64),
        "lane_exp_f32": lambda: lane_exps(np.float32),
        "lane_exp_f64": lambda: lane_exps(np.float64),
        "byte": byte,
        "probe": probe,
        "insert": insert,
        "compare": compare,
        "call": call,
        "thread": thread,
    }
