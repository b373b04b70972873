"""Dense softmax attention against the machine's multiply-add peak and against other libraries.

    python benchmarks/dense.py [--counts 512,4096] [--widths 64] [--threads 1,2] [--heads 8] [--rounds 7]

One batch, `--heads` heads, as many keys as queries, f32. Every line first checks the last head against
doubles. Then the candidates run in turn in one process: attnc; attnc's simple tiles, which dense was before
and still is where vectors do not serve; NumPy, two matrix products per head; PyTorch and ONNX Runtime,
where they can be imported. What is printed is GFLOP/s of the median and of the best round, where a causal
row counts half the work, and attnc's ratios to the others, of medians and of best rounds. `of peak`
compares best rounds with those of a loop of nothing but multiply-adds in registers, run in the same turn on
as many threads.
"""

from __future__ import annotations

import importlib.util
import os

# Before any library makes its threads: each line says how many it uses.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import math
import statistics
from collections.abc import Callable

import numpy as np
from harness import alternate
from numba import njit

import attnc
from attnc_backends.numba import emit_dense, vectors
from attnc_backends.numba.runtime.vector import vec_add, vec_f32, vec_fill, vec_fma
from attnc_backends.numba.runtime.vector_lanes import vec_sum
from attnc_backends.numba.threads import run_workers

if HAS_TORCH := importlib.util.find_spec("torch") is not None:
    import torch

LANES = vectors.native_bytes() // 4
GOAL = 0.85

SPEC = """graph @dense(%q: f32[H x N x {width}], %k: f32[H x N x {width}], %v: f32[H x N x {width}]) {{
  %o = attend %q, %k, %v {{normalizer = softmax, mask = {mask}, scale = {scale!r}, strategy = dense}}
  return %o
}}"""
MASKS = {"full": "everything", "causal": "causal(top_left)"}
PEAK_STEPS = 20_000


@njit(nogil=True, error_model="numpy")
def multiply_adds(count: int, x: float) -> float:
    """Twelve multiply-adds that do not wait for each other, `count` times."""
    like = vec_f32(LANES)
    a, b = vec_fill(x, like), vec_fill(x / 2, like)
    s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11 = a, a, a, a, a, a, a, a, a, a, a, a
    for _ in range(count):
        s0, s1, s2, s3 = vec_fma(s0, b, a), vec_fma(s1, b, a), vec_fma(s2, b, a), vec_fma(s3, b, a)
        s4, s5, s6, s7 = vec_fma(s4, b, a), vec_fma(s5, b, a), vec_fma(s6, b, a), vec_fma(s7, b, a)
        s8, s9, s10, s11 = vec_fma(s8, b, a), vec_fma(s9, b, a), vec_fma(s10, b, a), vec_fma(s11, b, a)
    s0, s4, s8 = vec_add(s0, s1), vec_add(s4, s5), vec_add(s8, s9)
    s2, s6, s10 = vec_add(s2, s3), vec_add(s6, s7), vec_add(s10, s11)
    return vec_sum(vec_add(vec_add(vec_add(s0, s2), vec_add(s4, s6)), vec_add(s8, s10)))


def busy(worker: int, workers: int) -> int:
    """One worker's share of the peak."""
    multiply_adds(PEAK_STEPS, (1 + worker) / (1 + workers))
    return 0


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
    """ONNX Runtime's fused attention over `[1, N, heads * width]`; None where it is not installed."""
    if any(importlib.util.find_spec(name) is None for name in ("onnx", "onnxruntime")):
        return None
    import onnx
    import onnxruntime

    kind = onnx.TensorProto.FLOAT
    shape = [1, "n", "w"]
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


def line(
    count: int, width: int, mask: str, heads: int, threads: int, rounds: int
) -> dict[str, tuple[float, float]]:
    """GFLOP/s of each candidate and of the peak: median and best round."""
    causal = mask == "causal"
    draw = np.random.default_rng(count)
    arrays = {name: draw.standard_normal((heads, count, width), dtype=np.float32) for name in "qkv"}
    text = SPEC.format(width=width, mask=MASKS[mask], scale=1 / math.sqrt(width))
    program, simple = attnc.compile(text), tiles(text)
    runs: dict[str, Callable[[], np.ndarray]] = {
        "attnc": lambda: program.run("dense", arrays, threads=threads),
        "tiles": lambda: simple.run("dense", arrays, threads=threads),
    }
    if threads == 1:
        runs["numpy"] = lambda: np.stack(
            [plain(*(arrays[x][h] for x in "qkv"), causal) for h in range(heads)]
        )
    if HAS_TORCH:
        torch.set_num_threads(threads)
        tensors = [torch.from_numpy(arrays[x])[None] for x in "qkv"]
        fused = torch.nn.functional.scaled_dot_product_attention
        runs["torch"] = lambda: np.asarray(fused(*tensors, is_causal=causal)[0])
    session = onnx_session(heads, causal, threads)
    if session is not None:
        flat = {x: np.ascontiguousarray(arrays[x].swapaxes(0, 1)).reshape(1, count, -1) for x in "qkv"}
        runs["onnx"] = lambda: session.run(None, flat)[0].reshape(count, heads, width).swapaxes(0, 1)
    right = plain(*(arrays[x][-1].astype(np.float64) for x in "qkv"), causal)
    for name, run in runs.items():
        off = float(np.abs(run()[-1] - right).max())
        assert off < 2e-5, f"{name} is off by {off}"
    timed: dict[str, Callable[[], object]] = dict(runs)
    timed["peak"] = lambda: run_workers(busy, threads)
    found = alternate(timed, rounds=rounds)
    flops = 4 * heads * count * count * width / (2 if causal else 1)
    work = dict.fromkeys(runs, flops) | {"peak": 24 * LANES * PEAK_STEPS * threads}
    return {name: (work[name] / t.median / 1e9, work[name] / t.best / 1e9) for name, t in found.items()}


def main() -> None:
    """Print the table, and how many lines from n 1024 on reach the goal."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    numbers = {"type": lambda text: [int(x) for x in text.split(",")]}
    parser.add_argument("--counts", default=[512, 1024, 2048, 4096, 8192], **numbers)
    parser.add_argument("--widths", default=[64, 128], **numbers)
    parser.add_argument("--threads", default=[1, 2], **numbers)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    multiply_adds(1, 0.5)
    shares: list[tuple[int, float]] = []
    print(f"{LANES} lanes; GFLOP/s")
    for threads in options.threads:
        for width in options.widths:
            for mask in MASKS:
                for count in options.counts:
                    speeds = line(count, width, mask, options.heads, threads, options.rounds)
                    (own, best), (_, peak) = speeds.pop("attnc"), speeds.pop("peak")
                    shares.append((count, best / peak))
                    others = "  ".join(
                        f"{name} {x:6.1f} ({own / x:.2f}, {best / y:.2f})" for name, (x, y) in speeds.items()
                    )
                    print(
                        f"{threads} threads d {width:3} n {count:5} {mask:6}  attnc {own:6.1f}"
                        f"  best {best:6.1f}  peak {peak:6.1f}  of peak {best / peak:4.0%}  {others}",
                        flush=True,
                    )
    long = [share for count, share in shares if count >= 1024]
    if long:
        reached = sum(share >= GOAL for share in long)
        print(f"{reached} of {len(long)} lines from n 1024 on reach {GOAL:.0%} of peak")
        print(f"their median is {statistics.median(long):.0%} of peak")


if __name__ == "__main__":
    main()
