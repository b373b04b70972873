"""The specs whose answers are held against rational arithmetic: every width, mask, tie rule and legal strategy.

A mode is one hard-max over given inputs, written once for each strategy that may carry it out. Which ones may is
asked of their judges, so a strategy that is added is drawn from then on.
"""

import dataclasses
import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import attnc
from attnc.facts import analyze
from attnc.strategies import judges
from attnc_ir.graph import Module
from attnc_ir.text import parse
from exact_families import FAMILIES, queries_for

TIES = ("first", "last", "mean")
DTYPES = {"f64": np.float64, "f32": np.float32}
SCALES = {"1.0": 1, "-0.75": -1, "0.1": 1, "0.0": 0}

# Each mask: its text, the inputs it needs, and which keys row i may see.
MASKS = {
    "everything": ("everything", ""),
    "causal": ("causal(top_left)", ""),
    "causal to the end": ("causal(bottom_right)", ""),
    "causal, the newest hidden": ("causal(-3)", ""),
    "causal, ahead": ("causal(2)", ""),
    "window": ("window(4, 0, top_left)", ""),
    "window around": ("window(3, 2, bottom_right)", ""),
    "window and causal": ("window(6, 6, top_left) & causal(-1)", ""),
    "prefix": ("prefix(%count)", ", %count: i64[B]"),
    "lengths": ("lengths(%nq, %nk) & causal(1)", ", %nq: i32[B], %nk: i32[B]"),
    "ragged": ("lengths(%nq, %nk)", ", %nq: i32[B], %nk: i32[B]"),
    "documents": ("documents(%ids, %key_ids)", ", %ids: i32[B x N], %key_ids: i32[B x M]"),
    "documents, causal": (
        "documents(%ids, %key_ids) & causal(top_left)",
        ", %ids: i32[B x N], %key_ids: i32[B x M]",
    ),
    "tensor": ("tensor(%seen)", ", %seen: bool[B x 1 x N x M]"),
}
STEP_MASKS = ("everything", "causal, the newest hidden", "window")


def mask_arrays(name, rng, sizes):
    """What a mask reads beside the sizes."""
    b, n, m = sizes["B"], sizes["N"], sizes["M"]
    match name:
        case "prefix":
            return {"count": rng.integers(0, m + 2, b)}
        case "lengths" | "ragged":
            high = np.array([[n], [m]]) + 1
            return dict(zip(("nq", "nk"), rng.integers(0, high, (2, b)).astype(np.int32), strict=True))
        case "documents" | "documents, causal":
            ids, key_ids = rng.integers(0, 4, (b, n)), rng.integers(0, 4, (b, m))
            if rng.random() < 0.7:  # as packed sequences have them
                ids, key_ids = np.sort(ids, axis=-1), np.sort(key_ids, axis=-1)
            return {"ids": ids.astype(np.int32), "key_ids": key_ids.astype(np.int32)}
        case "tensor":
            return {"seen": rng.random((b, 1, n, m)) < 0.7}
        case _:
            return {}


def allowed(name, arrays, b, n, m, first=0):
    """`[n x m]` which keys each query of batch `b` may see; query 0 stands at position `first`."""
    i, j = np.arange(first, first + n)[:, np.newaxis], np.arange(m)[np.newaxis]
    end = i + (m - n)
    match name:
        case "everything":
            return np.ones((n, m), bool)
        case "causal":
            return j <= i
        case "causal to the end":
            return j <= end
        case "causal, the newest hidden":
            return j <= i - 3
        case "causal, ahead":
            return j <= i + 2
        case "window":
            return (j >= i - 4) & (j <= i)
        case "window around":
            return (j >= end - 3) & (j <= end + 2)
        case "window and causal":
            return (j >= i - 6) & (j <= i - 1)
        case "prefix":
            return np.broadcast_to(j < arrays["count"][b], (n, m))
        case "lengths":
            return (i < arrays["nq"][b]) & (j < arrays["nk"][b]) & (j <= i + 1)
        case "ragged":
            return (i < arrays["nq"][b]) & (j < arrays["nk"][b])
        case "documents" | "documents, causal":
            same = arrays["ids"][b][:, np.newaxis] == arrays["key_ids"][b][np.newaxis]
            return same & (j <= i) if name != "documents" else same
        case "tensor":
            return arrays["seen"][b, 0]
        case _:
            raise AssertionError(name)


def stored(rows, dtype):
    """Doubles as a node stores them: rounded to its type, and finite."""
    kind = DTYPES[dtype]
    with np.errstate(over="ignore"):
        return np.clip(rows, -np.finfo(kind).max, np.finfo(kind).max).astype(kind)


def values_for(rng, shape):
    """Value rows whose sums are hard to round, or small integers."""
    match rng.integers(0, 3):
        case 0:
            return rng.integers(-5, 6, shape).astype(np.float64)
        case 1:
            return rng.normal(size=shape)
        case _:
            return rng.choice([1e16, 1.0, -1e16, 1e-16, 3.0, -0.0, 2.0**-1074, 1e300], shape)


@dataclass(frozen=True)
class Problem:
    """What one call is given, and the queries `[B x H x N x D]` and keys `[B x G x M x D]` that it compares."""

    arrays: dict
    queries: np.ndarray
    keys: np.ndarray

    @property
    def values(self):
        """Value rows `[B x G x M x 2]`."""
        return self.arrays["v"].reshape(*self.keys.shape[:-1], 2)


class Node:
    """A hard-max node as text, and the ways to carry it out."""

    @cached_property
    def strategies(self):
        """Every strategy that may carry it out."""
        graph = parse(self.text(1))["g"]
        facts = analyze(graph)
        node = next(op for op in graph.ops if op.results[0].name == "o0")
        return tuple(judge.choose(node, facts) for judge in judges() if not judge.why_not(node, facts))

    @cached_property
    def module(self):
        """The graph with its strategies set."""
        module = parse(self.text(len(self.strategies)))
        named = {f"o{number}": strategy for number, strategy in enumerate(self.strategies)}
        ops = tuple(
            dataclasses.replace(op, strategy=named[op.results[0].name]) if op.results[0].name in named else op
            for op in module["g"].ops
        )
        return Module((dataclasses.replace(module["g"], ops=ops),))

    @cached_property
    def program(self):
        """The compiled graph; one output for each of `strategies`."""
        return attnc.compile(self.module, pipeline="select-strategy", threads=1)

    @cached_property
    def planned(self):
        """The node as a user compiles it, after all passes."""
        return attnc.compile(self.text(1), threads=1)


@dataclass(frozen=True)
class Mode(Node):
    """One hard-max over keys and queries that are given, in batch or in steps over a state."""

    width: int
    dtype: str
    tie: str
    mask: str
    scale: str
    step: bool

    def __str__(self):
        how = "steps" if self.step else "batch"
        return f"width {self.width} {self.dtype} {self.tie}, {self.mask}, scale {self.scale}, {how}"

    def text(self, nodes):
        """The graph `@g`, with so many nodes that mean the same, `%o0` and so on."""
        mask, inputs = MASKS[self.mask]
        attributes = f"normalizer = hardmax({self.tie}), scale = {self.scale}"
        if self.mask != "everything":
            attributes += f", mask = {mask}"
        kind, row = f"{self.dtype}[{{}} x {self.width}]", "f64[{} x 2]"
        node, own = ("attend.step %q, %full", "H") if self.step else ("attend %q, %k, %v", "B x H x N")
        keys = "G" if self.step else "B x G x M"
        lines = [
            f"graph @g(%q: {kind.format(own)}, %k: {kind.format(keys)}, %v: {row.format(keys)}{inputs}) {{"
        ]
        if self.step:
            lines += [
                f"  %empty = cache {{heads = [G], key = {self.dtype}[{self.width}], value = f64[2]}}",
                "  %full = append %empty, %k, %v",
            ]
        return _finished(lines, node, attributes, nodes)

    def problem(self, rng):
        """A batch."""
        group = int(rng.integers(1, 4))
        sizes = {
            "B": int(rng.integers(1, 4)), "G": int(rng.integers(1, 3)),
            "N": int(rng.choice([0, 1, 2, 7, 16, 23])), "M": int(rng.choice([0, 1, 2, 3, 9, 17, 40, 70])),
        }  # fmt: skip
        b, g, n, m = sizes.values()
        keys, queries = np.zeros((b, g, m, self.width)), np.zeros((b, g * group, n, self.width))
        for at in np.ndindex(b, g):
            keys[at] = stored(FAMILIES[rng.choice(list(FAMILIES))](rng, m, self.width), self.dtype)
            for h in range(at[1] * group, (at[1] + 1) * group):
                queries[at[0], h] = queries_for(rng, keys[at], n)
        arrays = {
            "q": stored(queries, self.dtype),
            "k": stored(keys, self.dtype),
            "v": values_for(rng, (b, g, m, 2)),
        } | mask_arrays(self.mask, rng, sizes)
        return Problem(arrays, arrays["q"].astype("f8"), arrays["k"].astype("f8"))


def _finished(lines, node, attributes, nodes):
    """The graph's text; where one key wins, its position is a result, too."""
    if "hardmax(mean)" in attributes:
        outputs = [f"%o{number}" for number in range(nodes)]
    else:
        outputs = [f"%o{number}, %at{number}" for number in range(nodes)]
        attributes += ", with_argmax = true"
    lines += [f"  {output} = {node} {{{attributes}}}" for output in outputs]
    return "\n".join([*lines, f"  return {', '.join(outputs)}", "}"]) + "\n"


# Keys and queries that the graph makes, so that something can be proved of them. Each: the inputs beside
# values, the lines that make %q and %k, and the same in NumPy from the inputs and numbers of queries and keys.
_PARABOLA = """
  %p = iota {type = f64[M x 1], axis = 0}
  %two = constant {type = f64[1], values = [2.0]}
  %x = mul %p, %two
  %y = mul %p, %p
  %down = neg %y
  %k = concat %x, %down
  %i = iota {type = f64[N x 1], axis = 0}
  %one = constant {type = f64[N x 1], values = [1.0]}
"""


def _parabola(count):
    p = np.arange(count, dtype=np.float64)[:, np.newaxis]
    return np.concatenate([2 * p, -p * p], axis=-1)


def _beside(column, rest):
    return np.concatenate([column, np.broadcast_to(rest, column.shape)], axis=-1)


DERIVED = {
    "the position before": (
        "%unused: f64[N x 2]",
        _PARABOLA + "  %back = sub %i, %one\n  %q = concat %back, %one",
        lambda rng, n, m: {},
        lambda a, n, m: (_beside(np.arange(n)[:, np.newaxis] - 1.0, 1.0), _parabola(m)),
    ),
    "between two positions": (
        "%unused: f64[N x 2]",
        _PARABOLA
        + "  %h = constant {type = f64[1], values = [2.5]}\n  %back = sub %i, %h\n  %q = concat %back, %one",
        lambda rng, n, m: {},
        lambda a, n, m: (_beside(np.arange(n)[:, np.newaxis] - 2.5, 1.0), _parabola(m)),
    ),
    "positions asked for freely": (
        "%a: f64[N x 2]",
        _PARABOLA + "  %q = min %a, %a",
        lambda rng, n, m: {"a": rng.integers(-2, m + 2, (n, 2)) / rng.integers(1, 3, (n, 1))},
        lambda a, n, m: (a["a"], _parabola(m)),
    ),
    "the upper half of a hull": (
        "%k: f64[M x 2], %a: f64[N x 1]",
        "  %one = constant {type = f64[N x 1], values = [1.0]}\n  %q = concat %a, %one",
        lambda rng, n, m: {
            "k": rng.integers(-4, 5, (m, 2)).astype("f8"),
            "a": rng.integers(-3, 4, (n, 1)) / 2.0,
        },
        lambda a, n, m: (_beside(a["a"], 1.0), a["k"]),
    ),
    "the lower half of a hull": (
        "%k: f64[M x 2], %a: f64[N x 1]",
        "  %down = constant {type = f64[N x 1], values = [-0.75]}\n  %q = concat %a, %down",
        lambda rng, n, m: {"k": rng.normal(size=(m, 2)), "a": rng.normal(size=(n, 1))},
        lambda a, n, m: (_beside(a["a"], -0.75), a["k"]),
    ),
    "queries that are zero": (
        "%k: f64[M x 3], %unused: f64[N x 2]",
        "  %z = constant {type = f64[1], values = [0.0]}\n  %q = broadcast %z {shape = [N x 3]}",
        lambda rng, n, m: {"k": rng.integers(-2, 3, (m, 3)).astype("f8")},
        lambda a, n, m: (np.zeros((n, 3)), a["k"]),
    ),
    "one key": (
        "%q: f64[N x 2], %row: f64[1 x 2]",
        "  %k = broadcast %row {shape = [M x 2]}",
        lambda rng, n, m: {"q": rng.normal(size=(n, 2)), "row": rng.normal(size=(1, 2))},
        lambda a, n, m: (a["q"], np.broadcast_to(a["row"], (m, 2))),
    ),
    "a constant column": (
        "%x: f64[M x 2], %q: f64[N x 3]",
        "  %c = constant {type = f64[M x 1], values = [0.7]}\n  %k = concat %x, %c",
        lambda rng, n, m: {
            "x": rng.integers(-2, 3, (m, 2)).astype("f8"),
            "q": rng.integers(-2, 3, (n, 3)).astype("f8"),
        },
        lambda a, n, m: (a["q"], np.concatenate([a["x"], np.full((m, 1), 0.7)], axis=-1)),
    ),
    "a column twice": (
        "%x: f64[M x 2], %q: f64[N x 3]",
        "  %c = slice %x {axis = 1, start = 0, stop = 1}\n  %k = concat %x, %c",
        lambda rng, n, m: {
            "x": rng.integers(-2, 3, (m, 2)).astype("f8"),
            "q": rng.choice([-1.0, 1.0, 1 + 2.0**-52, 0.1, 2.0**60], (n, 3)),
        },
        lambda a, n, m: (a["q"], a["x"][:, [0, 1, 0]]),
    ),
}
FREE_MASKS = ("everything", "causal", "causal, the newest hidden", "window", "window and causal")


@dataclass(frozen=True)
class Derived(Node):
    """One hard-max over keys and queries that the graph makes."""

    name: str
    tie: str
    mask: str
    scale: str = "1.0"
    step: bool = False

    def __str__(self):
        return f"{self.name}, {self.tie}, {self.mask}"

    def text(self, nodes):
        """The graph `@g`, with so many nodes that mean the same, `%o0` and so on."""
        inputs, body, _, _ = DERIVED[self.name]
        attributes = f"normalizer = hardmax({self.tie}), mask = {MASKS[self.mask][0]}"
        lines = [f"graph @g(%v: f64[M x 2], {inputs}) {{", body.strip("\n")]
        return _finished(lines, "attend %q, %k, %v", attributes, nodes)

    def problem(self, rng):
        """A batch of one head."""
        n, m = int(rng.choice([0, 1, 7, 30])), int(rng.choice([0, 1, 2, 9, 40, 300]))
        inputs, _, draw, compute = DERIVED[self.name]
        arrays = draw(rng, n, m) | {"v": values_for(rng, (m, 2))}
        if "%unused" in inputs:
            arrays["unused"] = np.zeros((n, 2))
        queries, keys = compute(arrays, n, m)
        return Problem(arrays, queries[np.newaxis, np.newaxis], keys[np.newaxis, np.newaxis])


def modes():
    """Every combination, in an order in which each stretch of them has something of everything."""
    batch = [
        Mode(width, dtype, tie, mask, scale, step=False)
        for width, dtype, tie, mask, scale in itertools.product(
            (1, 2, 3, 4, 6, 9), DTYPES, TIES, MASKS, SCALES
        )
    ]
    steps = [
        Mode(width, dtype, tie, mask, scale, step=True)
        for width, dtype, tie, mask, scale in itertools.product(
            (1, 2, 3, 5), DTYPES, TIES, STEP_MASKS, SCALES
        )
    ]
    derived = [Derived(name, tie, mask) for name, tie, mask in itertools.product(DERIVED, TIES, FREE_MASKS)]
    rng = np.random.default_rng(20)
    for group in (batch, steps, derived):
        rng.shuffle(group)
    quadruples = zip(batch[::2], batch[1::2], itertools.cycle(steps), itertools.cycle(derived))
    return [mode for four in quadruples for mode in four]
