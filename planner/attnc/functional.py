"""`attnc.attention`: attention on arrays, compiled once per kind of call."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from typing import Any


from attnc.arguments import Array, Bias, Lowering, Mask, TopK, as_array, as_bias, as_mask, dtype_of, pattern
from attnc.program import Program, compile_spec
from attnc_ir.attributes.mask import Everything
from attnc_ir.attributes.normalizer import Cut, Hardmax, Mean, Normalizer, Softmax, Tie
from attnc_ir.attributes.normalizer import TopK as IrTopK
from attnc_ir.builder import GraphBuilder
from attnc_ir.errors import ArgumentError
from attnc_ir.graph import Module
from attnc_ir.kinds import suggest
from attnc_ir.ops import Attend
from attnc_ir.types import Dim, Symbol, TensorType

MAX_PROGRAMS = 256
"""Kinds of calls that are remembered; the one unused longest goes first (its code stays on disk)."""

_programs: OrderedDict[tuple[Any, ...], tuple[Program, tuple[str, ...]]] = OrderedDict()
_lock = threading.Lock()

_TIES = [t.value for t in Tie]


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    normalizer: str | TopK = "softmax",
    tie: str | None = None,
    mask: Mask | Array | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    bias: Bias | Array | None = None,
    sinks: Array | None = None,
    return_lse: bool = False,
    strategy: str | None = None,
    threads: int | None = None,
) -> Any:
    """Attention of `q` `[B, Hq, N, D]` to keys `k` `[B, Hkv, M, D]` and values `v` `[B, Hkv, M, Dv]`.

    Query head `h` reads key head `h // (Hq / Hkv)`. The first call of a kind (element types, widths, options) compiles or
    loads code; every length is served by the same.

    Args:
        q: queries, f64, f32, f16 or bf16.
        k: keys, of the queries' element type.
        v: values.
        normalizer: `"softmax"`, `"hardmax"`, `"mean"` or `attnc.topk(k)`.
        tie: for hard-max `"first"`, `"last"` or `"mean"`, for top-k `"first"` or `"last"`; required there.
        mask: a mask such as `attnc.causal("bottom_right") & attnc.window(256, 0)`, or a boolean array that broadcasts to
            `[B, Hq, N, M]`, true where allowed.
        scale: factor of the dot products; default `1 / sqrt(D)`.
        softcap: `softcap * tanh(score / softcap)` is applied to scaled scores.
        bias: added to scores: a float array that broadcasts to `[B, Hq, N, M]`, `attnc.alibi(slopes)`, a sum of such.
        sinks: one logit per query head that joins softmax's denominator, `[Hq]`.
        return_lse: also return log-sum-exp, `[B, Hq, N]`.
        strategy: force a strategy by keyword.
        threads: how many threads may be used; default one per processor.

    Returns:
        The output `[B, Hq, N, Dv]` in the values' element type; with `return_lse` a pair.

    Raises:
        ArgumentError: an argument does not fit; the message says which and why.
        PlanError: the forced strategy is not legal; the message has every reason.

    >>> import numpy as np
    >>> x = np.array([[0.0, 1.0], [1.0, 0.0]]).reshape(1, 1, 2, 2)
    >>> attention(x, x, x, normalizer="hardmax", tie="last")[0, 0]
    array([[0., 1.],
           [1., 0.]])
    """
    from attnc_backends.numba.threads import resolve_threads

    arrays = [as_array(x, name) for x, name in ((q, "q"), (k, "k"), (v, "v"))]
    q, k, v = arrays
    for name, array in zip("qkv", arrays, strict=True):
        if array.ndim != 4:
            raise ArgumentError(f"{name} has shape {array.shape}; give [batch, heads, positions, width]")
    if scale is None:
        scale = 1.0 / math.sqrt(q.shape[-1]) if q.shape[-1] else 1.0
    used_mask = None if mask is None else as_mask(mask)
    used_bias = None if bias is None else as_bias(bias)
    used_sinks = None if sinks is None else as_array(sinks, "sinks")
    rule = _normalizer(normalizer, tie)
    one_length = q.shape[2] == k.shape[2] and used_mask is not None and used_mask.needs_one_length
    same_heads = q.shape[1] == k.shape[1]
    key = (
        *(x.dtype.name for x in arrays), q.shape[3], k.shape[3], v.shape[3], same_heads, one_length, rule, float(scale), softcap,
        None if used_mask is None else used_mask.key, None if used_bias is None else used_bias.key,
        None if used_sinks is None else pattern(used_sinks), bool(return_lse), strategy,
    )  # fmt: skip
    builder = GraphBuilder("attention")
    lowering = Lowering(builder)
    length = Symbol("N")
    keys = length if one_length else Symbol("M")
    heads = Symbol("H")
    key_heads = heads if same_heads else Symbol("G")
    # First of all inputs, so that a mask or bias that does not fit is the one that is blamed.
    inputs = [
        builder.input(name, TensorType(dtype_of(x), (Symbol("B"), h, n, x.shape[3])))
        for name, x, h, n in zip("qkv", arrays, (heads, key_heads, key_heads), (length, keys, keys), strict=True)
    ]
    options = {
        "normalizer": rule, "scale": float(scale), "softcap": softcap,
        "mask": Everything() if used_mask is None else used_mask.lower(_Renamed(lowering, one_length)),
        "bias": () if used_bias is None else used_bias.lower(_Renamed(lowering, one_length)),
        "sinks": None if used_sinks is None else lowering.input("sinks", used_sinks, (heads,) * used_sinks.ndim),
    }  # fmt: skip
    with _lock:
        found = _programs.get(key)
        if found is not None:
            _programs.move_to_end(key)
    if found is None:
        results = builder.op(Attend, *inputs, results=2 if return_lse else 1, **options)
        graph = builder.build(*(results if isinstance(results, tuple) else (results,)))
        found = compile_spec(Module((graph,)), strategy=strategy), tuple(lowering.arrays)
        with _lock:
            _programs[key] = found
            if len(_programs) > MAX_PROGRAMS:
                _programs.popitem(last=False)
    program, _ = found
    results = program._executable.run("attention", {**lowering.arrays, "q": q, "k": k, "v": v}, resolve_threads(threads))
    return results[0] if len(results) == 1 else results


class _Renamed(Lowering):
    """A lowering in which keys and queries have one length: `M` is `N`."""

    def __init__(self, inner: Lowering, one_length: bool) -> None:
        super().__init__(inner.builder, inner.arrays)
        self.one_length = one_length

    def input(self, stem: str, array: Array, shape: tuple[Dim, ...]) -> Any:
        if self.one_length:
            shape = tuple(Symbol("N") if d == Symbol("M") else d for d in shape)
        return super().input(stem, array, shape)


def _normalizer(normalizer: str | TopK, tie: str | None) -> Normalizer:
    """The IR's normaliser; a tie rule is required where it matters, and refused where it means nothing."""
    if isinstance(normalizer, TopK):
        if tie not in ("first", "last"):
            raise ArgumentError(f"topk needs tie='first' or tie='last' (which of equal scores are taken at the cut), got {tie!r:.60}")
        return IrTopK(normalizer.k, Cut(tie))
    if normalizer == "hardmax":
        if tie not in _TIES:
            raise ArgumentError(
                f"hardmax needs a tie rule, one of {', '.join(map(repr, _TIES))}, got {tie!r:.60}: "
                "which of equal scores win changes what a model can express, so there is no default"
            )
        return Hardmax(Tie(tie))
    simple: dict[str, Normalizer] = {"softmax": Softmax(), "mean": Mean()}
    if not isinstance(normalizer, str) or normalizer not in simple:
        help = suggest(str(normalizer), ["softmax", "hardmax", "mean", "attnc.topk(k)"])
        raise ArgumentError(f"no normalizer {normalizer!r:.60}; {help}")
    if tie is not None:
        raise ArgumentError(f"{normalizer} has no ties to break; leave tie out")
    return simple[normalizer]


__all__ = ["attention"]
