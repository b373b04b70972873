"""Dense softmax attention against the machine's multiply-add peak and against other libraries.

    python benchmarks/dense.py [--counts 512,4096] [--widths 64] [--threads 1,2] [--dtypes f32,f64,bf16]
        [--batch 1] [--heads 8] [--vector-bytes 32] [--rounds 7] [--plot dense.svg]

As many keys as queries. Every line first checks the last head against doubles. Then the candidates run in
turn in one process: attnc; NumPy, two matrix products per head; PyTorch and ONNX Runtime, where they can be
imported; for bf16, attnc in f32. What is printed is GFLOP/s of the median and of the best round, where a
causal row counts half the work, and attnc's ratios to the others, of medians and of best rounds. `of peak`
compares best rounds with those of a loop of nothing but multiply-adds in registers, run in the same turn on
as many threads. `--vector-bytes 32` is the code for processors with 8 lanes of f32, on this one. The plot
has the lines of one thread, f32, full.
"""

from __future__ import annotations

import importlib.util
import os

# Before any library makes its threads: each line says how many it uses.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from harness import alternate
from numba import njit

import attnc
from attnc_backends.numba import emit_dense, vectors
from attnc_backends.numba.runtime.vector import vec_add, vec_f32, vec_f64, vec_fill, vec_fma
from attnc_backends.numba.runtime.vector_lanes import vec_sum
from attnc_backends.numba.threads import run_workers
from attnc_ir.storage import from_float64, to_float64
from attnc_ir.types import DType

if HAS_TORCH := importlib.util.find_spec("torch") is not None:
    import torch

LANES = vectors.native_bytes() // 4
GOAL = 0.85
GOALS = {
    ("torch", "full"): 2.3, ("onnx", "full"): 1.15, ("torch", "causal"): 2.6, ("onnx", "causal"): 2.3,
}  # fmt: skip
HALF_GOALS = {("torch", "full"): 1.2, ("torch", "causal"): 1.35}
"""With vectors of half the width, on a processor that has whole ones."""
TOLERANCE = {"f32": 2e-5, "f64": 1e-13, "bf16": 3e-2}

SPEC = """graph @dense(%q: {t}[B x H x N x {width}], %k: {t}[B x H x N x {width}],
    %v: {t}[B x H x N x {width}]) {{
  %o = attend %q, %k, %v {{normalizer = softmax, mask = {mask}, scale = {scale!r}, strategy = dense}}
  return %o
}}"""
MASKS = {"full": "everything", "causal": "causal(top_left)"}
PEAK_STEPS = 20_000


def peak_loop(witness: Callable[[int], object], lanes: int) -> Callable[[int, float], float]:
    """A loop of nothing but multiply-adds of such vectors."""

    @njit(nogil=True, error_model="numpy")
    def multiply_adds(count: int, x: float) -> float:
        like = witness(lanes)
        a, b = vec_fill(x, like), vec_fill(x / 2, like)
        s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11 = a, a, a, a, a, a, a, a, a, a, a, a
        # Twelve that do not wait for each other.
        for _ in range(count):
            s0, s1, s2, s3 = vec_fma(s0, b, a), vec_fma(s1, b, a), vec_fma(s2, b, a), vec_fma(s3, b, a)
            s4, s5, s6, s7 = vec_fma(s4, b, a), vec_fma(s5, b, a), vec_fma(s6, b, a), vec_fma(s7, b, a)
            s8, s9, s10, s11 = vec_fma(s8, b, a), vec_fma(s9, b, a), vec_fma(s10, b, a), vec_fma(s11, b, a)
        s0, s4, s8 = vec_add(s0, s1), vec_add(s4, s5), vec_add(s8, s9)
        s2, s6, s10 = vec_add(s2, s3), vec_add(s6, s7), vec_add(s10, s11)
        return vec_sum(vec_add(vec_add(vec_add(s0, s2), vec_add(s4, s6)), vec_add(s8, s10)))

    multiply_adds(1, 0.5)
    return multiply_adds


@cache
def peak(dtype: str, vector_bytes: int) -> tuple[Callable[[int, int], int], int]:
    """One worker's share of a run at the peak, and the operations in it."""
    size = 8 if dtype == "f64" else 4
    lanes = vector_bytes // size
    loop = peak_loop(vec_f64 if size == 8 else vec_f32, lanes)

    def busy(worker: int, workers: int) -> int:
        loop(PEAK_STEPS, (1 + worker) / (1 + workers))
        return 0

    return busy, 24 * lanes * PEAK_STEPS


def plain(q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool) -> np.ndarray:
    """Attention of one head by two matrix products, in the type of its operands."""
    scores = (q @ k.T) * q.dtype.type(1 / math.sqrt(q.shape[1]))
    if causal:
        scores[np.triu_indices(len(q), 1, len(k))] = -np.inf
    scores -= scores.max(axis=1, keepdims=True)
    weights = np.exp(scores, out=scores)
    return (weights @ v) / weights.sum(axis=1, keepdims=True)


def tiles(text: str) -> attnc.Program:
    """The same spec without vectors."""
    kept = emit_dense.why_not_vectors
    emit_dense.why_not_vectors = lambda node: ("the benchmark compares with it",)
    try:
        return attnc.compile(text)
    finally:
        emit_dense.why_not_vectors = kept


def onnx_session(heads: int, causal: bool, threads: int) -> object | None:
    """ONNX Runtime's fused attention over `[B, N, heads * width]`; None where it is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")):
        return None
    import onnx
    import onnxruntime

    kind = onnx.TensorProto.FLOAT
    shape = ["b", "n", "w"]
    places = [onnx.helper.make_tensor_value_info(name, kind, shape) for name in "qkvo"]
    node = onnx.helper.make_node(
        "MultiHeadAttention", ["q", "k", "v"], ["o"],
        domain="com.microsoft", num_heads=heads, unidirectional=int(causal),
    )  # fmt: skip
    graph = onnx.helper.make_graph([node], "dense", places[:3], places[3:])
    versions = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    model = onnx.helper.make_model(graph, opset_imports=versions, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])


@dataclass(frozen=True)
class Case:
    """What one line measures."""

    count: int
    width: int
    mask: str
    dtype: str
    threads: int
    batch: int
    heads: int

    def __str__(self) -> str:
        return (
            f"{self.threads} threads {self.dtype:4} {self.batch} x {self.heads} heads d {self.width:3}"
            f" n {self.count:5} {self.mask:6}"
        )


Speeds = dict[str, tuple[float, float]]
"""GFLOP/s by candidate: of the median and of the best round."""


def torch_run(arrays: dict[str, np.ndarray], dtype: str, causal: bool) -> Callable[[], np.ndarray]:
    """PyTorch's fused attention over the same memory."""
    tensors = [
        torch.from_numpy(x.view(np.int16)).view(torch.bfloat16) if dtype == "bf16" else torch.from_numpy(x)
        for x in arrays.values()
    ]
    fused = torch.nn.functional.scaled_dot_product_attention

    def run() -> np.ndarray:
        out = fused(*tensors, is_causal=causal)
        return out.view(torch.int16).numpy().view(np.uint16) if dtype == "bf16" else out.numpy()

    return run


def candidates(case: Case, arrays: dict[str, np.ndarray]) -> dict[str, Callable[[], np.ndarray]]:
    """What runs in turn, attnc first; each gives the whole output."""
    causal, dtype = case.mask == "causal", DType(case.dtype)
    scale = 1 / math.sqrt(case.width)
    text = SPEC.format(t=dtype, width=case.width, mask=MASKS[case.mask], scale=scale)
    program = attnc.compile(text)
    runs: dict[str, Callable[[], np.ndarray]] = {
        "attnc": lambda: program.run("dense", arrays, threads=case.threads)
    }
    if dtype is DType.BF16:
        wide = {x: to_float64(a, dtype).astype(np.float32) for x, a in arrays.items()}
        whole = attnc.compile(text.replace("bf16", "f32"))
        runs["f32"] = lambda: whole.run("dense", wide, threads=case.threads)
    elif case.threads == 1:
        places = list(np.ndindex(case.batch, case.heads))
        runs["numpy"] = lambda: np.stack(
            [plain(*(arrays[x][place] for x in "qkv"), causal) for place in places]
        ).reshape(arrays["q"].shape)
    if HAS_TORCH:
        torch.set_num_threads(case.threads)
        runs["torch"] = torch_run(arrays, case.dtype, causal)
    session = onnx_session(case.heads, causal, case.threads) if dtype is DType.F32 else None
    if session is not None:
        rows = (case.batch, case.count, case.heads, case.width)
        flat = {x: np.ascontiguousarray(a.swapaxes(1, 2)).reshape(*rows[:2], -1) for x, a in arrays.items()}
        runs["onnx"] = lambda: session.run(None, flat)[0].reshape(rows).swapaxes(1, 2)
    return runs


def line(case: Case, rounds: int) -> Speeds:
    """The speeds of each candidate and of the peak."""
    causal, dtype = case.mask == "causal", DType(case.dtype)
    draw = np.random.default_rng(case.count)
    shape = (case.batch, case.heads, case.count, case.width)
    arrays = {name: from_float64(draw.standard_normal(shape), dtype) for name in "qkv"}
    runs = candidates(case, arrays)
    right = plain(*(to_float64(arrays[x][-1, -1], dtype) for x in "qkv"), causal)
    for name, run in runs.items():
        found = run()[-1, -1]
        off = float(np.abs((found if name == "f32" else to_float64(found, dtype)) - right).max())
        assert off < TOLERANCE[case.dtype], f"{name} is off by {off}"
    busy, work = peak(case.dtype, vectors.native_bytes())
    timed: dict[str, Callable[[], object]] = dict(runs)
    timed["peak"] = lambda: run_workers(busy, case.threads)
    found = alternate(timed, rounds=rounds)
    flops = 4 * case.batch * case.heads * case.count**2 * case.width / (2 if causal else 1)
    works = dict.fromkeys(runs, flops) | {"peak": work * case.threads}
    return {name: (works[name] / t.median / 1e9, works[name] / t.best / 1e9) for name, t in found.items()}


def draw_plot(found: dict[Case, Speeds], path: Path) -> None:
    """GFLOP/s against the number of positions: one thread, f32, full, by width; nothing where matplotlib is
    missing.
    """
    try:
        import matplotlib as mpl  # optional: pip install 'attnc[bench]'
    except ImportError:
        print("no plot: matplotlib is not installed")
        return
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "attnc"
    from matplotlib import pyplot as plt

    lines = {c: s for c, s in found.items() if (c.threads, c.dtype, c.mask, c.batch) == (1, "f32", "full", 1)}
    widths = sorted({case.width for case in lines})
    figure, axes = plt.subplots(1, len(widths), figsize=(5 * len(widths), 4), squeeze=False, sharey=True)
    for width, plot in zip(widths, axes[0], strict=True):
        chosen = {case.count: speeds for case, speeds in lines.items() if case.width == width}
        for name in next(iter(chosen.values())):
            style = "k--" if name == "peak" else "o-"
            plot.plot(list(chosen), [speeds[name][0] for speeds in chosen.values()], style, label=name)
        plot.set(title=f"full, d {width}, 1 thread", xlabel="positions", xscale="log", ylim=(0, None))
        plot.legend()
    axes[0][0].set_ylabel("GFLOP/s, median")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Print the table, and how many lines reach the goals."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    numbers = {"type": lambda text: [int(x) for x in text.split(",")]}
    parser.add_argument("--counts", default=[512, 1024, 2048, 4096, 8192], **numbers)
    parser.add_argument("--widths", default=[64, 128], **numbers)
    parser.add_argument("--threads", default=[1, 2], **numbers)
    parser.add_argument("--dtypes", default=["f32"], type=lambda text: text.split(","))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--vector-bytes", type=int, default=vectors.native_bytes(), choices=[16, 32, 64])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    goals = GOALS if options.vector_bytes == vectors.native_bytes() else HALF_GOALS
    vectors.native_bytes = lambda: options.vector_bytes
    found: dict[Case, Speeds] = {}
    reached: dict[str, list[bool]] = {}
    print(f"vectors of {options.vector_bytes} bytes; GFLOP/s")
    for threads, dtype, width, mask, count in itertools.product(
        options.threads, options.dtypes, options.widths, MASKS, options.counts
    ):
        case = Case(count, width, mask, dtype, threads, options.batch, options.heads)
        speeds = found[case] = line(case, options.rounds)
        (own, best), (_, most) = speeds["attnc"], speeds["peak"]
        shown = []
        for name, (median, fastest) in speeds.items():
            if name in ("attnc", "peak"):
                continue
            shown.append(f"{name} {median:6.1f} ({own / median:.2f}, {best / fastest:.2f})")
            goal = goals.get((name, mask)) if dtype == "f32" else None
            if goal is not None:
                reached.setdefault(f"{goal} times {name}, {mask}", []).append(own / median >= goal)
        if count >= 1024 and dtype != "bf16":
            reached.setdefault(f"{GOAL:.0%} of peak from n 1024, {mask}", []).append(best / most >= GOAL)
        print(
            f"{case}  attnc {own:6.1f}  best {best:6.1f}  of peak {best / most:4.0%}  {'  '.join(shown)}",
            flush=True,
        )
    for goal, lines in reached.items():
        print(f"{sum(lines)} of {len(lines)} lines reach {goal}")
    if options.plot is not None:
        draw_plot(found, options.plot)


if __name__ == "__main__":
    main()
