"""The hull against the textbook structure: one append and one query per step, values fetched.

    python benchmarks/hull.py [--quick | --full] [--sizes N ...] [--json FILE] [--plot DIR]

Both step the same streams, ours in one compiled loop over steps and heads. Results are checked before
anything is timed: on generic keys both must name the same winners, or ours the better one; where keys tie,
the textbook structure makes no promise, so ours is checked against a scan in rational arithmetic on a
prefix, and only so. Times are medians of alternating runs, in processor time
of the thread; trust the ratios. The process is pinned to one core.

Printed are the goals that the project has set itself: ratios for position keys (1), for streams with over
10,000 hull vertices (2), for all others (3) and for the heads of a real model together (4), what exact
predicates cost (5), memory for each vertex and the longest append (6).
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

import attnc
from attnc_backends.numba.memory import address_of
from attnc_backends.numba.modules import import_module, write_module
from attnc_backends.numba.runtime.hull import hull_scratch_bytes
from attnc_backends.numba.runtime.hull_layout import (
    HULL_CHUNK_BYTES,
    HULL_CHUNKS_USED,
    HULL_LEAF_BYTES,
    HULL_LEAVES_USED,
    hull_bytes,
    hull_init,
)
from attnc_backends.numba.runtime.memory import DT_F64, load_f64, load_i64, prefetch, store_f64, store_i64
from attnc_backends.numba.runtime.monotone import monotone_append, monotone_best
from attnc_backends.numba.shared import LIBRARIES, library_source

WIDTH = 2
REAL = Path(__file__).parents[2] / "shared" / "data" / "transformer-vm" / "key_streams.npz"
_AHEAD = 256
"""How many bytes ahead keys, queries and values are asked for."""
MEAN, LATEST = 0, 1


def _entry(parameters: str):
    """An intrinsic that calls a shared runtime function by address, as compiled programs do."""

    def call(typingctx, address, arguments):
        def codegen(context, builder, signature, args):
            kinds = [ir.DoubleType() if letter == "d" else ir.IntType(64) for letter in parameters]
            function = ir.FunctionType(ir.IntType(64), kinds).as_pointer()
            values = [builder.extract_value(args[1], i) for i in range(len(parameters))]
            return builder.call(builder.inttoptr(args[0], function), values)

        return types.int64(types.int64, arguments), codegen

    return intrinsic(call)


_LIBRARY = next(library for library in LIBRARIES if library.name == "hull")
_FUNCTIONS = [export.name for export in _LIBRARY.exports]
_APPEND, _LAST, _MEAN = (8 * _FUNCTIONS.index(f"hull_{name}") for name in ("append", "last", "mean"))
_call_append = _entry("iii")
_call_last = _entry("iiddi")
_call_mean = _entry("iiiiiddii")


@njit(nogil=True, error_model="numpy")
def attnc_steps(table, heads, steps, keys, queries, values, out, best, regions, stride, ties, scratch):
    """The loop of `textbook_steps`. `best`, when given, gets winners, or minus the number tied."""
    row = 8 * WIDTH
    append, last, mean = load_i64(table + _APPEND), load_i64(table + _LAST), load_i64(table + _MEAN)
    for j in range(steps):
        for head in range(heads):
            # The streams of many heads are too many for the processor to foresee.
            prefetch(keys + 16 * (head * steps + j) + _AHEAD)
            prefetch(queries + 16 * (head * steps + j) + _AHEAD)
            prefetch(values + row * (head * steps + j) + _AHEAD)
            hull = regions + head * stride
            own_keys, own_values = keys + 16 * head * steps, values + row * head * steps
            # As the code of a step does: the short way, inlined, and where that does not do the library.
            if not monotone_append(hull, own_keys):
                _call_append(append, (hull, own_keys, scratch))
            query = queries + 16 * (head * steps + j)
            qx, qy = load_f64(query), load_f64(query + 8)
            to = out + row * head
            latest = load_i64(ties + 8 * head) == LATEST
            winner = monotone_best(hull, own_keys, qx, qy)
            if winner < 0 and not latest:
                winner = -_call_mean(mean, (hull, own_keys, own_values, row, DT_F64, qx, qy, to, scratch))
            else:
                if winner < 0:
                    winner = _call_last(last, (hull, own_keys, qx, qy, scratch))
                for c in range(WIDTH):
                    store_f64(to + 8 * c, load_f64(own_values + row * winner + 8 * c))
                if not latest:
                    winner = -1
            if best != 0:
                store_i64(best + 8 * (head * steps + j), winner)


@intrinsic
def _cycles(typingctx):
    """A count of processor cycles."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(64), [])
        name = "llvm.readcyclecounter"
        function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
        return builder.call(function, [])

    return types.int64(), codegen


@njit(nogil=True, error_model="numpy")
def append_cycles(table, steps, keys, hull, scratch, spent):
    """The cycles of every single append, into `spent`, or those there if they are fewer."""
    append = load_i64(table + _APPEND)
    for j in range(steps):
        start = _cycles()
        if not monotone_append(hull, keys):
            _call_append(append, (hull, keys, scratch))
        spent[j] = min(spent[j], _cycles() - start)


@dataclass
class Streams:
    """Streams side by side: keys, queries and values are [head, step, 2]."""

    keys: np.ndarray
    queries: np.ndarray
    values: np.ndarray
    ties: np.ndarray


class Textbook:
    """`textbook.cpp`, compiled here and now."""

    def __init__(self) -> None:
        source = Path(__file__).with_name("textbook.cpp")
        self.folder = tempfile.TemporaryDirectory()
        library = Path(self.folder.name) / "textbook.so"
        command = [
            "g++",
            "-O3",
            "-march=native",
            "-std=c++17",
            "-shared",
            "-fPIC",
            str(source),
            "-o",
            str(library),
        ]
        subprocess.run(command, check=True)
        self.steps = ctypes.CDLL(str(library)).textbook_steps
        i64, pointer = ctypes.c_int64, ctypes.c_void_p
        self.steps.argtypes = [i64, i64, pointer, pointer, pointer, i64, pointer, pointer]
        self.steps.restype = i64

    def run(self, s: Streams, best: np.ndarray | None = None) -> tuple[float, int]:
        """Nanoseconds per step and head, and lines held at the end."""
        heads, steps, _ = s.keys.shape
        out = np.zeros((heads, WIDTH))
        to = address_of(best) if best is not None else None
        start = time.thread_time_ns()
        lines = self.steps(
            heads,
            steps,
            address_of(s.keys),
            address_of(s.queries),
            address_of(s.values),
            WIDTH,
            address_of(out),
            to,
        )
        return (time.thread_time_ns() - start) / (heads * steps), lines


def hull_table(source: str | None = None) -> np.ndarray:
    """The addresses of the hull library's functions, or of those of a variant of its source."""
    module = import_module(write_module(source or library_source(_LIBRARY)))
    return np.array([getattr(module, f"export_{name}").address for name in _FUNCTIONS], np.int64)


class Ours:
    """Hulls of all heads in one block of memory."""

    def __init__(self, table: np.ndarray | None = None) -> None:
        self.table = hull_table() if table is None else table
        self.bytes = 0

    def run(self, s: Streams, best: np.ndarray | None = None) -> float:
        """Nanoseconds per step and head. Memory is fresh each time, as the textbook's is."""
        heads, steps, _ = s.keys.shape
        stride = -(-hull_bytes(steps, WIDTH, int(MEAN in s.ties)) // 64) * 64
        memory = np.empty(stride * heads + 64, np.uint8)
        base = -(-address_of(memory) // 64) * 64
        for head in range(heads):
            hull_init(base + head * stride, steps, WIDTH, int(s.ties[head] == MEAN))
        out = np.zeros((heads, WIDTH))
        scratch = np.empty(hull_scratch_bytes(WIDTH), np.uint8)
        to = address_of(best) if best is not None else 0
        start = time.thread_time_ns()
        attnc_steps(
            address_of(self.table), heads, steps,
            address_of(s.keys), address_of(s.queries), address_of(s.values), address_of(out),
            to, base, stride, address_of(s.ties), address_of(scratch),
        )  # fmt: skip
        spent = (time.thread_time_ns() - start) / (heads * steps)
        self.bytes = sum(
            load_i64(base + head * stride + HULL_LEAVES_USED) * HULL_LEAF_BYTES
            + load_i64(base + head * stride + HULL_CHUNKS_USED) * HULL_CHUNK_BYTES
            for head in range(heads)
        )
        return spent


# --- streams ------------------------------------------------------------------------------------------------


@dataclass
class Family:
    """A family of streams, and whether ties mislead the textbook structure."""

    name: str
    ties: bool = False


FAMILIES = (
    Family("positions, random queries"),
    Family("positions, slow queries"),
    Family("parabola, random order"),
    Family("circle, random order"),
    Family("addresses, rewritten"),
    Family("gaussian"),
    Family("all equal", ties=True),
    Family("line, in order", ties=True),
    Family("line, shuffled", ties=True),
)


def parabola(t: np.ndarray) -> np.ndarray:
    return np.stack([2 * t, -t * t], -1)


def stream(name: str, n: int, rng: np.random.Generator) -> Streams:
    """The keys, queries and values of one family."""
    t = np.arange(n, dtype=np.float64)
    upward = rng.standard_normal((n, 2))
    if name.startswith("positions"):
        keys = parabola(t)
        # Off the integers and halves, so that a query has one answer.
        ask = np.floor(rng.random(n) * (t + 1)) if "random" in name else np.floor(t / 3)
        queries = np.stack([ask + 0.25, np.ones(n)], -1)
    elif name == "parabola, random order":
        keys = parabola(rng.permutation(t))
        queries = np.stack([np.floor(rng.random(n) * n) + 0.25, np.ones(n)], -1)
    elif name == "addresses, rewritten":
        keys = parabola(np.floor(rng.random(n) * n / 4))
        queries = np.stack([np.floor(rng.random(n) * n / 4) + 0.25, np.ones(n)], -1)
    elif name == "circle, random order":
        angles = rng.random(n) * 2 * np.pi
        keys, queries = np.stack([np.cos(angles), np.sin(angles)], -1), upward
    elif name == "gaussian":
        keys, queries = rng.standard_normal((n, 2)), upward
    elif name == "all equal":
        keys, queries = np.full((n, 2), 1.5), upward
    else:
        line = np.stack([t, 3 * t], -1)
        keys, queries = (line if "in order" in name else rng.permutation(line)), upward
    values = np.rint(rng.standard_normal((n, WIDTH)) * 100)
    parts = (np.ascontiguousarray(a, np.float64)[np.newaxis] for a in (keys, queries, values))
    return Streams(*parts, np.array([LATEST], np.int64))


def real_streams(path: Path) -> Streams:
    with np.load(path) as data:
        parts = (np.ascontiguousarray(data[k], np.float64) for k in ("keys", "queries", "values"))
        return Streams(*parts, np.ascontiguousarray(data["tie_latest"], np.int64))


def some_heads(s: Streams, heads: np.ndarray) -> Streams:
    return Streams(*(np.ascontiguousarray(a[heads]) for a in (s.keys, s.queries, s.values, s.ties)))


def one_head(s: Streams, head: int) -> Streams:
    return some_heads(s, np.array([head]))


# --- checks -------------------------------------------------------------------------------------------------


def check_against_scan(s: Streams, steps: int) -> None:
    """Our winners, or counts of tied keys, on a prefix, against rational arithmetic."""
    heads = s.keys.shape[0]
    steps = min(steps, s.keys.shape[1])
    part = Streams(*(np.ascontiguousarray(a[:, :steps]) for a in (s.keys, s.queries, s.values)), s.ties)
    best = np.zeros((heads, steps), np.int64)
    Ours().run(part, best)
    for head in range(heads):
        points = [tuple(map(Fraction, p)) for p in part.keys[head].tolist()]
        for j in range(0, steps, max(1, steps // 8)):
            qx, qy = map(Fraction, part.queries[head, j].tolist())
            scores = [qx * x + qy * y for x, y in points[: j + 1]]
            top = max(scores)
            tied = [i for i, score in enumerate(scores) if score == top]
            expected = tied[-1] if s.ties[head] == LATEST else -len(tied)
            assert best[head, j] == expected, (head, j, best[head, j], expected)


def check_against_textbook(name: str, s: Streams, textbook: Textbook) -> None:
    """The same winner at every step, or a better one: the textbook structure compares rounded numbers."""
    shape = s.keys.shape[:2]
    ours, theirs = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    Ours().run(s, ours)
    textbook.run(s, theirs)
    differ = np.argwhere(ours != theirs)
    for head, j in differ[:1000]:
        q = [Fraction(v) for v in s.queries[head, j].tolist()]
        a, b = (
            sum(x * Fraction(y) for x, y in zip(q, s.keys[head, w[head, j]].tolist(), strict=True))
            for w in (ours, theirs)
        )
        assert a > b or (a == b and ours[head, j] >= theirs[head, j]), (name, head, j)
    if len(differ):
        print(
            f"  {name}: {len(differ)} of {ours.size} steps where the textbook is off by a rounding",
            file=sys.stderr,
        )


# --- running ------------------------------------------------------------------------------------------------


_ENOUGH_STEPS = 200_000
"""Steps in one timing, at least."""


@dataclass
class Line:
    """One line of the table."""

    goal: int
    family: str
    n: int
    ours: float
    textbook: float
    ratio: float
    target: float
    vertices: int
    bytes_per_vertex: float


def goal_of(name: str, n: int, vertices: int) -> tuple[int, float]:
    """The number of the goal that a stream falls under, and the ratio it asks for."""
    if name.startswith("positions") and n >= 10_000:
        return 1, 15.0
    return (2, 3.0) if vertices > 10_000 else (3, 1.0)


def compare(name: str, s: Streams, textbook: Textbook, runs: int) -> Line:
    """Medians of alternating runs. Short streams are stepped several times in each."""
    ours, mine, theirs, lines = Ours(), [], [], 0
    heads, steps, _ = s.keys.shape
    again = range(max(1, _ENOUGH_STEPS // (heads * steps)))
    for _ in range(runs):
        mine.append(statistics.mean(ours.run(s) for _ in again))
        done = [textbook.run(s) for _ in again]
        theirs.append(statistics.mean(spent for spent, _ in done))
        lines = done[0][1]
    ratio = statistics.median(b / a for a, b in zip(mine, theirs, strict=True))
    mine_, theirs_ = statistics.median(mine), statistics.median(theirs)
    goal, target = (4, 10.0) if heads > 1 else goal_of(name, steps, lines)
    return Line(goal, name, steps, mine_, theirs_, ratio, target, lines, ours.bytes / max(lines, 1))


def show(line: Line) -> None:
    verdict = "met" if line.ratio >= line.target else "MISSED"
    print(
        f"({line.goal}) {line.family:28} {line.n:>9,} {line.ours:9.1f} {line.textbook:9.1f} "
        f"{line.ratio:7.2f} >= {line.target:4.1f} {verdict:6} {line.vertices:>9,} "
        f"{line.bytes_per_vertex:6.1f}",
        flush=True,
    )


def naive_table() -> np.ndarray:
    """The shared functions again, with predicates that stop at the rounded result."""
    settled = "    return 1 if s > 0.0 else (-1 if s < 0.0 else 0)"
    exact = r"    return _(compare_dot2|orient2)_exact\(.*\)"
    source, replaced = re.subn(exact, settled, library_source(_LIBRARY))
    assert replaced == 2, replaced
    return hull_table(source)


def predicate_cost() -> tuple[float, float]:
    """Nanoseconds per step on generic keys, exact and naive, by alternating runs."""
    s = stream("gaussian", 200_000, np.random.default_rng(5))
    exact, naive = Ours(), Ours(naive_table())
    times = [(exact.run(s), naive.run(s)) for _ in range(7)]
    return statistics.median(t[0] for t in times), statistics.median(t[1] for t in times)


def longest_append(name: str, n: int) -> float:
    """Milliseconds of the longest append of a stream. What interrupts the process counts as little as may be:
    each append is measured twice, and the shorter time is its own.
    """
    s = stream(name, n, np.random.default_rng(3))
    spent = np.full(n, np.iinfo(np.int64).max)
    table, scratch = hull_table(), np.empty(hull_scratch_bytes(WIDTH), np.uint8)
    append_cycles(
        address_of(table), 0, address_of(s.keys), address_of(scratch), address_of(scratch), spent
    )  # compiled
    for _ in range(2):
        memory = np.empty(hull_bytes(n, WIDTH, 0) + 64, np.uint8)
        hull = -(-address_of(memory) // 64) * 64
        hull_init(hull, n, WIDTH, 0)
        start, cycles = time.perf_counter_ns(), _count_cycles()
        append_cycles(address_of(table), n, address_of(s.keys), hull, address_of(scratch), spent)
        rate = (_count_cycles() - cycles) / (time.perf_counter_ns() - start)
    return float(spent.max()) / rate / 1e6


@njit
def _count_cycles():
    return _cycles()


def program_steps(s: Streams, runs: int) -> tuple[float, float]:
    """Nanoseconds per step and head as users run it: a program that takes all steps in one call. By a state
    whose memory is new to the process, and by one that takes over that of another, as later ones do.
    """
    tie = "last" if s.ties[0] == LATEST else "mean"
    spec = f"""graph @g(%q: f64[H x 2], %k: f64[H x 2], %v: f64[H x {WIDTH}]) {{
      %c = cache {{heads = [H], key = f64[2], value = f64[{WIDTH}]}}
      %d = append %c, %k, %v
      %o = attend.step %q, %d {{normalizer = hardmax({tie})}}
      return %o
    }}"""
    program = attnc.compile(spec, strategy="hull")
    arrays = {
        name: np.ascontiguousarray(a.transpose(1, 0, 2))
        for name, a in (("q", s.queries), ("k", s.keys), ("v", s.values))
    }
    heads, steps, _ = s.keys.shape
    program.extend(program.state(H=heads), **{name: a[:9] for name, a in arrays.items()})  # all code loaded
    times = []
    for _ in range(runs + 1):
        state = program.state(H=heads)
        start = time.thread_time_ns()
        program.extend(state, **arrays)
        times.append((time.thread_time_ns() - start) / (heads * steps))
        del state
    return times[0], statistics.median(times[1:])


@njit(nogil=True, error_model="numpy")
def dense_steps(steps, keys, queries):
    """One query per step over all keys so far, in doubles; the sum of the winners."""
    total = 0
    for j in range(steps):
        qx, qy = load_f64(queries + 16 * j), load_f64(queries + 16 * j + 8)
        top, best = -math.inf, 0
        for i in range(j + 1):
            score = qx * load_f64(keys + 16 * i) + qy * load_f64(keys + 16 * i + 8)
            if score >= top:
                top, best = score, i
        total += best
    return total


def dense_per_key() -> float:
    """Nanoseconds for each key that a step looks at, by a plain loop; nothing exact, no values."""
    s = stream("gaussian", 10_000, np.random.default_rng(3))
    count = s.keys.shape[1]
    times = []
    for _ in range(4):
        start = time.thread_time_ns()
        dense_steps(count, address_of(s.keys), address_of(s.queries))
        times.append((time.thread_time_ns() - start) / (count * (count + 1) / 2))
    return min(times[1:])


def plot(lines: list[Line], folder: Path) -> None:
    """Time per step against n, one picture per family."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    dense = dense_per_key()
    for family in dict.fromkeys(line.family for line in lines):
        own = [line for line in lines if line.family == family]
        if len(own) < 2:
            continue
        figure, axes = plt.subplots(figsize=(5, 3.5))
        n = [line.n for line in own]
        axes.loglog(n, [line.ours for line in own], "o-", label="attnc")
        axes.loglog(n, [line.textbook for line in own], "s--", label="textbook")
        label = f"dense: {dense:.2f} ns per key, as measured at 10,000"
        axes.loglog(n, [dense * size / 2 for size in n], ":", label=label)
        axes.set_xlabel("keys")
        axes.set_ylabel("ns per append and query")
        axes.set_title(family)
        axes.legend()
        figure.tight_layout()
        figure.savefig(folder / f"hull-{family.replace(', ', '-').replace(' ', '-')}.svg")
        plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small streams only")
    parser.add_argument("--full", action="store_true", help="up to 10,000,000 keys")
    parser.add_argument("--sizes", type=int, nargs="+", help="numbers of keys")
    parser.add_argument("--families", nargs="+", help="only families whose name contains one of these")
    parser.add_argument("--real", type=Path, default=REAL, help="key_streams.npz of a real model")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path, metavar="DIR")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    sizes = options.sizes or [1000, 10_000]
    if not options.sizes and not options.quick:
        sizes += [100_000, 1_000_000, *([10_000_000] if options.full else [])]
    textbook = Textbook()
    print(f"{platform.processor() or platform.machine()}, ns per append and query; ratio is textbook / attnc")
    print(
        f"    {'stream':28} {'n':>9} {'attnc':>9} {'textbook':>9} "
        f"{'ratio':>7}    goal        {'lines':>9} B/line"
    )
    lines = []
    for family in FAMILIES:
        if options.families and not any(part in family.name for part in options.families):
            continue
        check = stream(family.name, 3000, np.random.default_rng(2))
        check_against_scan(check, 600)
        if not family.ties:
            check_against_textbook(family.name, check, textbook)
        for n in sizes:
            s = stream(family.name, n, np.random.default_rng(1))
            runs = options.runs if n <= 100_000 else min(options.runs, 3)
            lines.append(compare(family.name, s, textbook, runs))
            show(lines[-1])
    if options.real.exists() and not options.families:
        lines += real_heads(real_streams(options.real), textbook, options)
    if not options.families:
        summary(lines, max(sizes))
    if options.json:
        options.json.write_text(
            json.dumps([asdict(line) for line in lines], indent=1) + "\n", encoding="utf-8"
        )
    if options.plot:
        plot(lines, options.plot)


def real_heads(s: Streams, textbook: Textbook, options: argparse.Namespace) -> list[Line]:
    """The heads of a real model, together and each alone."""
    check_against_scan(s, 400)
    lines = [compare("real heads together", s, textbook, options.runs)]
    show(lines[0])
    for head in range(s.keys.shape[0]):
        name = f"real head {head}, {'latest' if s.ties[head] == LATEST else 'mean'}"
        lines.append(compare(name, one_head(s, head), textbook, options.runs))
        show(lines[-1])
    parts = [some_heads(s, s.ties == tie) for tie in (LATEST, MEAN)]
    times = [program_steps(p, options.runs) for p in parts]
    first, spent = (
        sum(one[which] * len(p.ties) for one, p in zip(times, parts, strict=True)) / len(s.ties)
        for which in (0, 1)
    )
    ratio = lines[0].textbook / spent
    print(
        f"(4) the same through a program, rows kept: {spent:.1f} ns, ratio {ratio:.2f} (goal >= 10); "
        f"{first:.1f} ns, {lines[0].textbook / first:.2f}, where memory is new to the process"
    )
    return lines


def summary(lines: list[Line], n: int) -> None:
    """Goals that are not ratios to the textbook."""
    exact, naive = predicate_cost()
    print(f"(5) exact predicates: {exact:.1f} ns, naive {naive:.1f}: {exact / naive:.2f} times (goal <= 1.3)")
    worst = max((line.bytes_per_vertex for line in lines if line.vertices > 10_000), default=0.0)
    print(f"(6) at most {worst:.1f} bytes for each vertex (goal <= 48)")
    for name in ("positions, random queries", "parabola, random order"):
        pause = longest_append(name, n)
        print(f"(6) longest append of {n:,}, {name.split(',')[0]}: {pause:.3f} ms (goal <= 1)", flush=True)


if __name__ == "__main__":
    main()
