"""Draw hard-max problems without end and hold every legal strategy against rational arithmetic.

    python tests/exact_sweep.py --cases 1000000 --workers 2

A case is one drawn query over the keys it may see. Each answer of each strategy is compared bit by bit with
integer arithmetic (exact_oracle.py), and some calls with the reference interpreter as well. The first
difference is printed with the spec and the arrays, which are also kept in a file.
"""

import argparse
import collections
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import attnc
from exact_families import FAMILIES, queries_for
from exact_modes import SCALES, Derived, allowed, modes, stored, values_for
from exact_oracle import answers, tied

REFERENCE_SHARE = 0.02
"""The share of batches that the reference interpreter answers as well; it takes a hundred times as long."""


class Difference(Exception):
    """A strategy and the oracle disagree; `arrays` is what the call was given."""

    def __init__(self, mode, what, arrays, got, wanted):
        super().__init__(f"{mode}: {what}\n{mode.text(1)}\ngot\n{got}\nwanted\n{wanted}")
        self.arrays = arrays


def check(mode, what, arrays, got, wanted):
    """Rows, and positions where there are some, bit for bit."""
    for found, expected in zip(got, wanted, strict=True):
        if found is not None and found.tobytes() != np.ascontiguousarray(expected).tobytes():
            raise Difference(mode, what, arrays, found, expected)


def outputs(mode, results):
    """Rows, and positions or None, of each node."""
    results = results if isinstance(results, tuple) else (results,)
    if mode.tie == "mean":
        return [(rows, None) for rows in results]
    return list(zip(results[::2], results[1::2], strict=True))


def batch(mode, rng):
    """One call of a batch mode; how many cases it had."""
    problem = mode.problem(rng)
    arrays, queries, keys, values = problem.arrays, problem.queries, problem.keys, problem.values
    wanted = np.zeros((*queries.shape[:-1], 2)), np.zeros(queries.shape[:-1], np.int64)
    group = queries.shape[1] // keys.shape[1]
    for at in np.ndindex(queries.shape[:2]):
        source = at[0], at[1] // group
        seen = allowed(mode.mask, arrays, at[0], queries.shape[2], keys.shape[2])
        ties = tied(queries[at], keys[source], seen, SCALES[mode.scale])
        wanted[0][at], wanted[1][at] = answers(ties, values[source], mode.tie)
    for strategy, got in zip(mode.strategies, outputs(mode, mode.program.run("g", arrays)), strict=True):
        check(mode, strategy, arrays, got, wanted)
    if isinstance(mode, Derived):
        (got,) = outputs(mode, mode.planned.run("g", arrays))
        check(mode, "the planned graph", arrays, got, wanted)
    if rng.random() < REFERENCE_SHARE:
        for got in outputs(mode, attnc.reference(mode.module, "g", **arrays)):
            check(mode, "the reference interpreter", arrays, got, wanted)
    return queries[..., 0].size


def life(mode, rng):
    """A state that grows, is cut back, copied, saved and loaded; how many cases it had."""
    heads, group = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    program, cases = mode.program, 0
    state = program.state("g", G=heads)
    keys, rows = np.zeros((0, heads, mode.width)), np.zeros((0, heads, 2))
    families = [FAMILIES[rng.choice(list(FAMILIES))] for _ in range(heads)]
    for _ in range(int(rng.integers(2, 7))):
        match rng.integers(0, 6):
            case 0:
                count = int(rng.integers(0, len(keys) + 1))
                state.truncate(count)
                keys, rows = keys[:count], rows[:count]
            case 1:
                other = state.fork()
                state, other = (state, other) if rng.random() < 0.5 else (other, state)
            case 2 if rng.random() < 0.3:
                with tempfile.TemporaryDirectory() as folder:
                    state.save(f"{folder}/state")
                    state = program.load_state(f"{folder}/state", "g")
            case _:
                steps = int(rng.choice([1, 1, 2, 5, 30, 70]))
                fresh = [f(rng, steps, mode.width) for f in families]
                fresh = stored(np.stack(fresh, axis=1), mode.dtype)
                queries = np.stack(
                    [
                        queries_for(rng, np.concatenate([keys, fresh])[:, h // group].astype("f8"), steps)
                        for h in range(heads * group)
                    ],
                    axis=1,
                )
                arrays = {
                    "q": stored(queries, mode.dtype),
                    "k": fresh,
                    "v": values_for(rng, (steps, heads, 2)),
                }
                before = len(keys)
                keys, rows = np.concatenate([keys, fresh]), np.concatenate([rows, arrays["v"]])
                results = outputs(mode, program.extend(state, **arrays))
                seen = allowed(mode.mask, {}, 0, steps, len(keys), first=before)
                seen &= np.arange(len(keys)) <= np.arange(before, before + steps)[:, np.newaxis]
                wanted = (
                    np.zeros((steps, heads * group, 2)),
                    np.zeros((steps, heads * group), np.int64),
                )
                for h in range(heads * group):
                    ties = tied(
                        arrays["q"][:, h].astype("f8"),
                        keys[:, h // group].astype("f8"),
                        seen,
                        SCALES[mode.scale],
                    )
                    found = answers(ties, rows[:, h // group], mode.tie)
                    wanted[0][:, h], wanted[1][:, h] = found
                for strategy, got in zip(mode.strategies, results, strict=True):
                    check(mode, strategy, {**arrays, "past": keys[:before]}, got, wanted)
                cases += steps * heads * group
    return cases


def sweep(chosen, seed, cases, report=None):
    """At least so many cases, spread over the chosen modes; counts by mode and by strategy."""
    rng = np.random.default_rng(seed)
    by_mode, by_strategy, done = collections.Counter(), collections.Counter(), 0
    turn = 0
    while done < cases:
        # Some calls of one mode after the other, so that few programs are in use at a time.
        mode = chosen[turn // 4 % len(chosen)]
        turn += 1
        count = (life if mode.step else batch)(mode, rng)
        done += count
        by_mode[str(mode)] += count  # not the mode, which holds a program
        for strategy in mode.strategies:
            by_strategy[f"{strategy.keyword}, {'steps' if mode.step else 'batch'}"] += count
        if report is not None and turn % 200 == 0:
            report(done)
    return by_mode, by_strategy


def _work(job):
    chosen, seed, cases = job
    try:
        return sweep(chosen, seed, cases, lambda done: print(f"  {done:,} of {cases:,}", flush=True))
    except Difference as difference:
        path = Path(tempfile.gettempdir()) / f"attnc-difference-{seed}.npz"
        np.savez(path, **difference.arrays)
        return f"{difference}\nThe arrays are in {path}"


def main(arguments):
    """Exit status 1 when anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--modes", type=int, default=160, help="how many specs are compiled")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    chosen = modes()[: options.modes]
    started = time.perf_counter()
    jobs = [
        (chosen[w :: options.workers], options.seed + w, -(-options.cases // options.workers))
        for w in range(options.workers)
    ]
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        found = pool.map(_work, jobs, chunksize=1)
    failures = [text for text in found if isinstance(text, str)]
    for text in failures:
        print(text)
    by_mode, by_strategy = collections.Counter(), collections.Counter()
    for counts in found:
        if not isinstance(counts, str):
            by_mode.update(counts[0])
            by_strategy.update(counts[1])
    for strategy, count in sorted(by_strategy.items()):
        print(f"{count:>12,}  {strategy}")
    print(
        f"{by_mode.total():,} cases in {len(by_mode)} modes, {len(FAMILIES)} families of keys, "
        f"{len(failures)} differences, {time.perf_counter() - started:,.0f} s"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
