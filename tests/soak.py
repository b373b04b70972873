"""Append millions of keys, save, go on in another process: every answer must be the same.

    python tests/soak.py --keys 10000000

Then states are cut back, copied and continued at random, and held against states that are built from nothing.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import attnc

# Three heads whose keys are in order, on a circle at random, and of few different addresses.
SPEC = """graph @memory(%q: f64[3 x 2], %k: f64[3 x 2], %v: f64[3 x 2]) {
  %c = cache {heads = [3], key = f64[2], value = f64[2]}
  %d = append %c, %k, %v
  %last = attend.step %q, %d {normalizer = hardmax(last), strategy = hull}
  %mean = attend.step %q, %d {normalizer = hardmax(mean), strategy = hull}
  return %last, %mean
}"""
CHUNK = 200_000


def rows(start, stop):
    """Steps `start` to `stop` of one endless stream, whatever the stretches it is asked for in."""
    parts = []
    for block in range(start // CHUNK, -(-stop // CHUNK)):
        rng = np.random.default_rng(block)
        t = np.arange(block * CHUNK, (block + 1) * CHUNK, dtype=np.float64)
        angle = rng.integers(0, 1 << 20, CHUNK) * (2 * np.pi / (1 << 20))
        address = rng.integers(0, 5000, CHUNK).astype(np.float64)
        keys = np.stack(
            [
                np.stack(pair, -1)
                for pair in ((2 * t, -t * t), (np.cos(angle), np.sin(angle)), (2 * address, -(address**2)))
            ],
            axis=1,
        )
        ask = np.floor(rng.random(CHUNK) * (t + 1))
        queries = np.stack(
            [
                np.stack([ask, np.ones(CHUNK)], -1),
                rng.normal(size=(CHUNK, 2)),
                np.stack([rng.integers(0, 5000, CHUNK).astype(np.float64), np.ones(CHUNK)], -1),
            ],
            axis=1,
        )
        values = rng.integers(-1000, 1000, (CHUNK, 3, 2)).astype(np.float64)
        inside = slice(max(start - block * CHUNK, 0), min(stop - block * CHUNK, CHUNK))
        parts.append((queries[inside], keys[inside], values[inside]))
    return dict(zip("qkv", map(np.concatenate, zip(*parts, strict=True)), strict=True))


def digest(program, state, start, stop):
    """What the answers of some steps hash to."""
    results = program.extend(state, **rows(start, stop))
    return hashlib.sha256(b"".join(np.ascontiguousarray(r).tobytes() for r in results)).hexdigest()


def loaded(path, count, more):
    """In another process: continue a saved state."""
    program = attnc.compile(SPEC)
    state = program.load_state(path, "memory")
    assert len(state) == count, (len(state), count)
    print(digest(program, state, count, count + more))


def grow(program, keys, more):
    """Save at `keys`; continue here and in a new process."""
    state = program.state("memory")
    started = time.perf_counter()
    for start in range(0, keys, CHUNK):
        program.extend(state, **rows(start, min(start + CHUNK, keys)))
    print(f"{keys:,} steps of 3 heads in {time.perf_counter() - started:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        started = time.perf_counter()
        state.save(path)
        print(f"saved {path.stat().st_size / 2**20:,.0f} MiB in {time.perf_counter() - started:.1f} s")
        here = digest(program, state, keys, keys + more)
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, __file__, "--load", str(path), "--keys", str(keys), "--more", str(more)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        print(f"loaded and continued in a new process in {time.perf_counter() - started:.1f} s")
    there = done.stdout.strip()
    print(f"{more:,} more steps here  {here}\n{more:,} more steps there {there}")
    assert here == there, "answers differ after loading"


def interleave(program, rounds, size, seed):
    """Truncate, fork and continue at random; each state must answer as one built from nothing does."""
    rng = np.random.default_rng(seed)
    states = [program.state("memory")]
    # What each state holds, as stretches of the stream.
    held = [[]]
    for _ in range(rounds):
        at = int(rng.integers(0, len(states)))
        length = sum(b - a for a, b in held[at])
        match rng.integers(0, 3):
            case 0:
                cut = int(rng.integers(0, length + 1))
                states[at].truncate(cut)
                kept, rest = [], cut
                for a, b in held[at]:
                    kept.append((a, min(b, a + rest)))
                    rest -= kept[-1][1] - a
                held[at] = [(a, b) for a, b in kept if a < b]
            case 1 if len(states) < 4:
                states.append(states[at].fork())
                held.append(list(held[at]))
            case _:
                start = int(rng.integers(0, 50 * size))
                stop = start + int(rng.integers(1, size))
                program.extend(states[at], **rows(start, stop))
                held[at].append((start, stop))
    for state, stretches in zip(states, held, strict=True):
        fresh = program.state("memory")
        for a, b in stretches:
            program.extend(fresh, **rows(a, b))
        assert len(fresh) == len(state)
        probe = int(rng.integers(0, size))
        assert digest(program, state, probe, probe + 500) == digest(program, fresh, probe, probe + 500)
    print(f"{rounds} truncations, forks and continuations of {len(states)} states: as built from nothing")


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--more", type=int, default=100_000)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.load:
        loaded(options.load, options.keys, options.more)
        return
    program = attnc.compile(SPEC)
    grow(program, options.keys, options.more)
    for seed in range(3):
        interleave(program, 60, 5000, seed)


if __name__ == "__main__":
    main(sys.argv[1:])
