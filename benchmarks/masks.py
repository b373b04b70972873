"""Dense softmax under masks and score modifiers, per allowed pair, against the full kernel and FlexAttention.

    python benchmarks/masks.py [--count 16384] [--width 64] [--heads 8] [--threads 1] [--only window]
        [--rounds 5] [--no-flex]

Each rule is written once, as functions in FlexAttention's convention, which attnc and PyTorch both take.
Every candidate is first checked, some rows against doubles. Then attnc, attnc without a rule, and
FlexAttention compiled for this processor, where PyTorch is installed, run in turn in one process. What is
printed is GFLOP/s for each *allowed* pair, from medians; attnc's share of its full kernel, the median of the
shares of single rounds; the ratio to FlexAttention; and what came before the first call: what it takes to
trace the functions, then with planning and building, which is short where the cache has the kernel; PyTorch's
block mask with its compilation.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from harness import alternate

import attnc
from attnc.tracing import MASK_MOD, SCORE_MOD, trace

if HAS_TORCH := importlib.util.find_spec("torch") is not None:
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

SHARE_GOAL, FLEX_GOAL = 0.75, 3.0
ROWS = 64
"""Rows of the last head that are checked."""

Function = Callable[..., object]


@dataclass(frozen=True)
class Rule:
    """A mask, a change of scores or both. `tables` names the captured arrays, which each library takes as its
    own; `make` gets them and gives `mask_mod` and `score_mod`.
    """

    make: Callable[..., tuple[Function | None, Function | None]]
    tables: tuple[str, ...] = ()
    goal: float | None = SHARE_GOAL


def _window(b, h, q, kv):  # type: ignore[no-untyped-def]
    return (q >= kv) & (q - kv < 256)


def _checkered(b, h, q, kv):  # type: ignore[no-untyped-def]
    return (q >= kv) & ((q // 512 + kv // 512) % 2 == 0)


def _documents(ids):  # type: ignore[no-untyped-def]
    return lambda b, h, q, kv: ids[q] == ids[kv]


def _alibi(slopes):  # type: ignore[no-untyped-def]
    return lambda score, b, h, q, kv: score + slopes[h] * (kv - q)


def _softcap(library):  # type: ignore[no-untyped-def]
    return lambda score, b, h, q, kv: 20.0 * library.tanh(score / 20.0)


def _squared(score, b, h, q, kv):  # type: ignore[no-untyped-def]
    return score - 1e-6 * ((q - kv) * (q - kv))


RULES = {
    "window": Rule(lambda: (_window, None)),
    "documents": Rule(lambda ids: (_documents(ids), None), ("documents",)),
    "predicate": Rule(lambda: (_checkered, None)),
    "alibi": Rule(lambda slopes: (None, _alibi(slopes)), ("slopes",), None),
    "softcap": Rule(lambda library: (None, _softcap(library)), ("library",), None),
    "modifier": Rule(lambda: (None, _squared), (), None),
}


def tables(count: int, heads: int) -> dict[str, np.ndarray]:
    """Documents of mixed length, and slopes for each head."""
    draw = np.random.default_rng(5)
    lengths = []
    while sum(lengths) < count:
        lengths.append(min(int(draw.choice([100, 300, 700, 1500, 3000])), count - sum(lengths)))
    ids = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)
    return {"documents": ids, "slopes": (2.0 ** -np.arange(1, heads + 1)).astype(np.float32)}


class Positions:
    """What a rule says of pairs, evaluated by NumPy."""

    def __init__(self, rule: Rule, count: int, heads: int) -> None:
        known = tables(count, heads) | {"library": np}
        self.mask_mod, self.score_mod = rule.make(*(known[name] for name in rule.tables))
        self.count, self.heads = count, heads

    def allowed(self, rows: np.ndarray) -> np.ndarray:
        """Whether rows may see the keys."""
        shape = (len(rows), self.count)
        if self.mask_mod is None:
            return np.ones(shape, bool)
        found = self.mask_mod(0, 0, rows[:, None], np.arange(self.count)[None, :])
        return np.broadcast_to(np.asarray(found), shape)

    def pairs(self) -> int:
        """How many pairs are allowed, for one head."""
        if self.mask_mod is None:
            return self.count**2
        parts = np.array_split(np.arange(self.count), max(1, self.count // 256))
        return sum(int(self.allowed(part).sum()) for part in parts)

    def rows_of_last_head(self, arrays: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Output rows in doubles."""
        q, k, v = (arrays[x][0, -1].astype(np.float64) for x in "qkv")
        scores = (q[rows] @ k.T) / math.sqrt(q.shape[1])
        if self.score_mod is not None:
            keys = np.arange(self.count)[None, :]
            scores = np.asarray(self.score_mod(scores, 0, self.heads - 1, rows[:, None], keys))
        scores = np.where(self.allowed(rows), scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return (weights / weights.sum(axis=1, keepdims=True)) @ v


def flex_run(
    rule: Rule, arrays: dict[str, np.ndarray], known: dict[str, np.ndarray], threads: int
) -> tuple[Callable[[], np.ndarray], float]:
    """FlexAttention compiled, and the seconds until its first call was done."""
    torch.set_num_threads(threads)
    held = {name: torch.from_numpy(table) for name, table in known.items()} | {"library": torch}
    mask_mod, score_mod = rule.make(*(held[name] for name in rule.tables))
    q, k, v = (torch.from_numpy(arrays[x]) for x in "qkv")
    started = time.perf_counter()
    count = q.shape[2]
    block_mask = (
        None if mask_mod is None else create_block_mask(mask_mod, None, None, count, count, device="cpu")
    )
    torch._dynamo.reset()
    compiled = torch.compile(flex_attention)

    def run() -> np.ndarray:
        with torch.no_grad():
            return compiled(q, k, v, score_mod=score_mod, block_mask=block_mask).numpy()

    run()
    return run, time.perf_counter() - started


def line(name: str, count: int, width: int, heads: int, threads: int, rounds: int, flex: bool) -> list[bool]:
    """Print what was found; whether each goal was reached."""
    rule, known = RULES[name], tables(count, heads)
    draw = np.random.default_rng(count)
    arrays = {x: draw.standard_normal((1, heads, count, width), dtype=np.float32) for x in "qkv"}
    q, k, v = arrays.values()
    held = known | {"library": attnc}
    started = time.perf_counter()
    mask_mod, score_mod = rule.make(*(held[table] for table in rule.tables))
    runs: dict[str, Callable[[], np.ndarray]] = {
        "attnc": lambda: attnc.attention(q, k, v, mask_mod=mask_mod, score_mod=score_mod, threads=threads),
    }
    for function, convention in ((mask_mod, MASK_MOD), (score_mod, SCORE_MOD)):
        if function is not None:
            trace(function, convention)
    traced = time.perf_counter() - started
    small = {x: a[:, :, :1] for x, a in arrays.items()}
    attnc.attention(*small.values(), mask_mod=mask_mod, score_mod=score_mod, threads=threads)
    setup = time.perf_counter() - started
    runs["full"] = lambda: attnc.attention(q, k, v, threads=threads)
    before = f"traced in {traced * 1e3:.2f} ms, built in {setup:.2f} s"
    if flex:
        runs["flex"], first = flex_run(rule, arrays, known, threads)
        before += f", FlexAttention's {first:.1f} s"
    positions = Positions(rule, count, heads)
    rows = np.sort(draw.choice(count, min(ROWS, count), replace=False))
    right = positions.rows_of_last_head(arrays, rows)
    for candidate, run in runs.items():
        if candidate != "full":
            off = float(np.abs(run()[0, -1, rows] - right).max())
            assert off < 1e-4, f"{candidate} is off by {off}"
    found = alternate(runs, rounds=rounds)
    share_of_pairs = positions.pairs() / count**2
    flops = 4 * heads * count**2 * width

    def ratio(other: str) -> float:
        pairs = zip(found["attnc"].seconds, found[other].seconds, strict=True)
        return statistics.median(theirs / own for own, theirs in pairs)

    share = ratio("full") * share_of_pairs
    shown = [
        f"{who} {flops * (1 if who == 'full' else share_of_pairs) / t.median / 1e9:6.1f}"
        for who, t in found.items()
    ]
    reached = [share >= rule.goal] if rule.goal is not None else []
    text = f"of full {share:4.0%}"
    if flex:
        text += f"  times FlexAttention {ratio('flex'):5.2f}"
        reached += [ratio("flex") >= FLEX_GOAL] if rule.goal is not None else []
    print(
        f"{threads} threads {name:9} pairs {share_of_pairs:6.1%}  {'  '.join(shown)}  {text}  {before}",
        flush=True,
    )
    return reached


def main() -> None:
    """Print the table, and how many goals are reached."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--count", type=int, default=16384)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--threads", type=lambda text: [int(x) for x in text.split(",")], default=[1])
    parser.add_argument("--only", choices=list(RULES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-flex", action="store_true")
    options = parser.parse_args()
    flex = HAS_TORCH and not options.no_flex
    print("GFLOP/s for allowed pairs")
    reached = []
    for threads in options.threads:
        for name in [options.only] if options.only else RULES:
            reached += line(name, options.count, options.width, options.heads, threads, options.rounds, flex)
    goals = f"{SHARE_GOAL:.0%} of full, {FLEX_GOAL:.0f} times FlexAttention"
    print(f"{sum(reached)} of {len(reached)} goals reached: {goals}")


if __name__ == "__main__":
    main()
