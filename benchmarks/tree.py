"""The tree against the scan and NumPy: a grid of sizes, widths and distributions.

    python benchmarks/tree.py [--counts 1e3,1e6] [--widths 3,16] [--queries 4096] [--plot tree.svg]

`--queries` queries over n keys of width d, tie last; where that takes long, times come from some of them.
Every line first checks that tree and scan pick the same keys. Times are those that the thread itself ran, the
least of some runs; those of `build` and `tree` are of the kernels alone:

    build     arranging the keys, per key
    tree      one query over a tree that is there
    scan      one query of a call with many, which share what they read
    numpy     `argmax(k @ q)` for one query
    gain      numpy / tree; `known` is that of a prototype on another machine, where there is one
    all       a whole call by the tree, which is `build` and `tree` for each query, over one by the scan

In width 3 a second table holds the hierarchy against the tree and NumPy. Its times are of whole calls, the
two strategies in turn: `build` is one of a single query, `query` what each further one adds, `gain` NumPy's
over that, and `tree / hierarchy` the tree's whole call over the hierarchy's, with so many queries a key.

`plan` is what `attnc plan` takes for the call, and `off` how many times longer that is than the better one.
`--plot docs/images/tree.svg` draws `gain` over n for each width and distribution, if matplotlib is there.
"""

from __future__ import annotations

import os

# Before NumPy is imported: threads of its BLAS would spin beside the runs that follow.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from harness import alternate
from numba import njit

import attnc
from attnc_backends.numba.runtime.memory import store_i64
from attnc_backends.numba.runtime.tree import (
    TREE_LAST,
    tree_best,
    tree_bytes,
    tree_fill,
    tree_scratch_bytes,
    tree_start,
)

COUNTS = (10**3, 10**4, 10**5, 10**6)
WIDTHS = (3, 4, 6, 8, 12, 16)
FAMILIES = ("gaussian", "clustered", "sphere")
KNOWN = {
    ("gaussian", 10**5): {3: 477, 4: 176, 6: 48, 8: 16, 12: 3.3},
    ("gaussian", 10**6): {3: 8305, 4: 2107, 6: 538, 8: 104, 12: 15},
    ("clustered", 10**5): {3: 286, 4: 87, 6: 33, 8: 21, 12: 7.7, 16: 6.2},
    ("sphere", 10**5): {3: 25, 4: 26, 6: 6.7, 8: 2.8},
}
"""Brute force over tree, as others measured it."""
_SECONDS = 0.5
"""About how long one timed run of searches may take."""

SPEC = """graph @grid(%q: f64[N x {width}], %k: f64[M x {width}], %v: f64[M x 1]) {{
  %o = attend %q, %k, %v {{normalizer = hardmax(last){strategy}}}
  return %o
}}"""


@dataclass(frozen=True)
class Line:
    """One point of the grid; times in nanoseconds."""

    family: str
    width: int
    count: int
    build: float
    tree: float
    scan: float
    numpy: float
    tree_call: float
    scan_call: float
    chosen: str

    @property
    def off(self) -> float:
        """How many times longer the planned strategy takes than the better one; 1 for a third one."""
        taken = {"tree": self.tree_call, "scan": self.scan_call}
        return taken.get(self.chosen, min(taken.values())) / min(taken.values())

    def text(self) -> str:
        """As it is printed."""
        known = KNOWN.get((self.family, self.count), {}).get(self.width)
        return (
            f"{self.family:9} {self.width:3} {self.count:9} {self.build / self.count:9.0f} "
            f"{self.tree / 1e3:9.2f} {self.scan / 1e3:9.2f} {self.numpy / 1e3:9.1f} "
            f"{self.numpy / self.tree:7.1f} {known or '-':>6} {self.tree_call / self.scan_call:7.2f}  "
            f"{self.chosen:5} {self.off:5.2f}"
        )


def keys_of(family: str, count: int, width: int, draw: np.random.Generator) -> np.ndarray:
    """Keys of a family: normal, a hundred narrow clusters, or normal ones brought to length 1."""
    if family == "clustered":
        centres = draw.standard_normal((100, width))
        return centres[draw.integers(0, 100, count)] + 0.1 * draw.standard_normal((count, width))
    keys = draw.standard_normal((count, width))
    return keys / np.linalg.norm(keys, axis=1)[:, None] if family == "sphere" else keys


def least(run: Callable[[], object], seconds: float = 0.3) -> float:
    """Nanoseconds of the quickest of some runs, after one that is not counted."""
    run()
    best, spent = float("inf"), 0.0
    while spent < seconds:
        started = time.thread_time_ns()
        run()
        taken = time.thread_time_ns() - started
        best, spent = min(best, taken), spent + max(taken, 1000) / 1e9
    return best


@njit(nogil=True, error_model="numpy")
def arrange(region: int, keys: int, count: int, width: int) -> int:
    """A tree over `count` rows of doubles."""
    tree_start(region, count, width)
    return tree_fill(region, count, keys, 8 * width, 8, 0)


@njit(nogil=True, error_model="numpy")
def search(region: int, queries: int, some: int, count: int, width: int, scratch: int, found: int) -> None:
    """The last best position for each of some queries."""
    for i in range(some):
        place = tree_best(region, queries + 8 * width * i, 0, count, TREE_LAST, scratch, 0)
        store_i64(found + 8 * i, place)


@njit(nogil=True, error_model="numpy")
def room(count: int, width: int) -> tuple[int, int]:
    """Bytes of a tree and of the scratch of a search."""
    return tree_bytes(count, width), tree_scratch_bytes(width)


def measure(family: str, width: int, count: int, queries: int, programs: dict[str, attnc.Program]) -> Line:
    """One line, after a check that all pick the same keys."""
    draw = np.random.default_rng(count + width)
    keys = keys_of(family, count, width, draw)
    query = draw.standard_normal((queries, width))
    values = np.arange(count, dtype=np.float64)[:, None]

    def call(name: str, some: int) -> np.ndarray:
        found = programs[name].run("grid", {"q": query[:some], "k": keys, "v": values}, threads=1)
        assert isinstance(found, np.ndarray)
        return found

    region, scratch = (np.empty(size, np.uint8) for size in room(count, width))
    found = np.empty(queries, np.int64)
    build = least(lambda: arrange(region.ctypes.data, keys.ctypes.data, count, width))

    def searched(some: int) -> None:
        search(
            region.ctypes.data, query.ctypes.data, some, count, width, scratch.ctypes.data, found.ctypes.data
        )

    few = min(queries, max(32, int(3e8 / (count * width)) // 32 * 32))
    searched(few)
    picked = call("scan", few)[:, 0]
    if not (np.array_equal(call("tree", few)[:, 0], picked) and np.array_equal(found[:few], picked)):
        raise AssertionError(f"tree and scan differ: {family}, width {width}, {count} keys")
    scan = least(lambda: call("scan", few)) / few
    some = max(few, min(queries, int(few * _SECONDS / (least(lambda: searched(few), 0.0) / 1e9))))
    tree = least(lambda: searched(some)) / some
    plan = attnc.compile(
        SPEC.format(width=width, strategy=""), backend="numpy", sizes={"N": queries, "M": count}
    ).plan
    return Line(
        family, width, count, build, tree, scan, least(lambda: np.argmax(keys @ query[0])),
        build + tree * queries, scan * queries, plan.nodes[0].chosen.strategy,
    )  # fmt: skip


def in_turn(run: Callable[[str], object], rounds: int = 2) -> dict[str, float]:
    """Nanoseconds of the quickest of some runs of tree and hierarchy, in turn."""
    timings = alternate(
        {name: partial(run, name) for name in ("tree", "hierarchy")}, rounds=rounds, clock=time.thread_time
    )
    return {name: 1e9 * timing.best for name, timing in timings.items()}


def measure_hull(family: str, count: int, queries: int, programs: dict[str, attnc.Program]) -> str:
    """A line of the hierarchy, after a check that it picks the same keys as the tree."""
    draw = np.random.default_rng(count)
    keys, values = keys_of(family, count, 3, draw), np.arange(count, dtype=np.float64)[:, None]
    query = draw.standard_normal((max(queries, 2 * count), 3))

    def call(name: str, some: int) -> np.ndarray:
        found = programs[name].run("grid", {"q": query[:some], "k": keys, "v": values}, threads=1)
        assert isinstance(found, np.ndarray)
        return found

    if not np.array_equal(call("tree", queries), call("hierarchy", queries)):
        raise AssertionError(f"tree and hierarchy differ: {family}, {count} keys")
    one = in_turn(lambda name: call(name, 1))
    shares, each = [], {}
    for some in (max(count // 8, 2), count, 2 * count):
        many = in_turn(partial(call, some=some), 2 if count < 10**6 else 1)
        shares.append(many["tree"] / many["hierarchy"])
        each = {name: (many[name] - one[name]) / (some - 1) for name in one}
    brute = least(lambda: [np.argmax(keys @ query[0]) for _ in range(10)]) / 10
    return (
        f"{family:9} {count:9} {one['tree'] / count:7.0f} {one['hierarchy'] / count:9.0f} "
        f"{each['tree'] / 1e3:7.2f} {each['hierarchy'] / 1e3:9.2f} {brute / 1e3:9.1f} "
        f"{brute / each['hierarchy']:8.0f} {shares[0]:8.2f} {shares[1]:6.2f} {shares[2]:6.2f}"
    )


def draw_plot(lines: list[Line], path: Path) -> None:
    """Gain over n, log-log, one panel for each family. Does nothing where matplotlib is missing."""
    try:
        import matplotlib as mpl  # optional: pip install 'attnc[bench]'
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    mpl.use("svg")
    from matplotlib import pyplot as plt

    families = list(dict.fromkeys(line.family for line in lines))
    figure, panels = plt.subplots(
        1, len(families), figsize=(4 * len(families), 3.6), sharey=True, squeeze=False
    )
    for panel, family in zip(panels[0], families, strict=True):
        for width in dict.fromkeys(line.width for line in lines):
            points = [(x.count, x.numpy / x.tree) for x in lines if (x.family, x.width) == (family, width)]
            panel.loglog(*zip(*points, strict=True), marker="o", markersize=3, label=f"width {width}")
        panel.axhline(1.0, color="black", linewidth=0.8)
        panel.set(title=family, xlabel="keys")
        panel.grid(visible=True, alpha=0.3)
    panels[0][0].set_ylabel("brute force / tree, one query")
    panels[0][0].legend(fontsize="small")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    print(f"drawn: {path}")


def main() -> None:
    """Print the grid, and how often the plan is within 1.2 times of the better one."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--counts", type=lambda t: [int(float(x)) for x in t.split(",")], default=COUNTS)
    parser.add_argument("--widths", type=lambda t: [int(x) for x in t.split(",")], default=WIDTHS)
    parser.add_argument("--families", type=lambda t: t.split(","), default=FAMILIES)
    parser.add_argument("--queries", type=lambda t: int(float(t)), default=4096)
    parser.add_argument("--plot", type=Path, help="where to draw, an .svg file")
    options = parser.parse_args()
    lines = []
    print(
        "family      d         n     build      tree      scan     numpy    gain  known     all  plan    off"
    )
    print("                           ns/key        µs        µs        µs")
    for width in options.widths:
        programs = {
            name: attnc.compile(SPEC.format(width=width, strategy=f", strategy = {name}"))
            for name in ("tree", "scan")
        }
        for family in options.families:
            for count in options.counts:
                lines.append(measure(family, width, count, options.queries, programs))
                print(lines[-1].text(), flush=True)
    if 3 in options.widths:
        print("\nwidth 3      build ns/key: query µs:            numpy µs     gain tree / hierarchy")
        print("family            n    tree hierarchy    tree hierarchy                    1/8      1      2")
        programs = {
            name: attnc.compile(SPEC.format(width=3, strategy=f", strategy = {name}"))
            for name in ("tree", "hierarchy")
        }
        for family in options.families:
            for count in options.counts:
                print(measure_hull(family, count, options.queries, programs), flush=True)
        print()
    for family in options.families:
        own = [line.off for line in lines if line.family == family]
        near = sum(off <= 1.2 for off in own)
        print(
            f"{family}: {near} of {len(own)} plans within 1.2 times of the better, the worst {max(own):.2f}"
        )
    if options.plot:
        draw_plot(lines, options.plot)


if __name__ == "__main__":
    main()
