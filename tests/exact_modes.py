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
        case "lengths":
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
        case "documents" | "documents, causal":
            same = arrays["ids"][b][:, np.newaxis] == arrays["key_ids"][b][np.newaxis]
            return same & (j <= i) if name != "documents" else same
        case "tensor":
            return arrays["seen"][b, 0]
        case _:
            raise AssertionError(name)


@dataclass(frozen=True)
class Mode:
    """One hard-max node, in batch or in steps over a state."""

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
            key, value = kind.replace("{} x ", "").format(), row.replace("{} x ", "")
            lines += [
                f"  %empty = cache {{heads = [G], key = {key}, value = {value}}}",
                "  %full = append %empty, %k, %v",
            ]
        outputs = [f"%o{number}" for number in range(nodes)]
        lines += [f"  {output} = {node} {{{attributes}}}" for output in outputs]
        return "\n".join([*lines, f"  return {', '.join(outputs)}", "}"]) + "\n"

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
    rng = np.random.default_rng(20)
    for group in (batch, steps):
        rng.shuffle(group)
    # One life of a state for two batches.
    return [mode for pair in zip(batch[::2], batch[1::2], itertools.cycle(steps)) for mode in pair]
