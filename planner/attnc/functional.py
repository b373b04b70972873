"""`attnc.attention`: attention on arrays, compiled once per kind of call."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attnc.arguments import Array, Bias, Lowering, Mask, TopK, as_array, as_bias, as_mask, pattern
from attnc.functions import ModifierArgument, Sizes, mask_of, score_of
from attnc.program import Program, compile_spec, strategy_keyword
from attnc.tracing.captured import fingerprint
from attnc_ir.attributes.mask import Everything
from attnc_ir.attributes.normalizer import Cut, Hardmax, Mean, Normalizer, Softmax, Tie
from attnc_ir.attributes.normalizer import TopK as IrTopK
from attnc_ir.attributes.promise import PROMISES, Promises
from attnc_ir.builder import GraphBuilder, read_attribute
from attnc_ir.errors import ArgumentError
from attnc_ir.graph import Graph, Module
from attnc_ir.kinds import suggest
from attnc_ir.ops import Attend
from attnc_ir.types import Symbol
from attnc_ir.values import Value

ScoreMod = Callable[[Any, Any, Any, Any, Any], Any]
MaskMod = Callable[[Any, Any, Any, Any], Any]

MAX_PROGRAMS = 256
"""Kinds of calls that are remembered; the one unused longest goes first (its code stays on disk)."""

_GRAPH = "attention"
_TIES = [t.value for t in Tie]

_programs: OrderedDict[tuple[Any, ...], Program] = OrderedDict()
_seen: dict[tuple[Any, ...], Program] = {}
"""Programs by `_kind`, for calls that went well."""
_lock = threading.Lock()


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
    score_mod: ScoreMod | None = None,
    mask_mod: MaskMod | None = None,
    return_lse: bool = False,
    return_argmax: bool = False,
    keys: str | None = None,
    strategy: str | None = None,
    threads: int | None = None,
) -> Any:
    """Attention of `q` `[B, Hq, N, D]` to keys `k` `[B, Hkv, M, D]` and values `v` `[B, Hkv, M, Dv]`.

    Query head `h` reads key head `h // (Hq / Hkv)`. The first call of a kind (element types, widths, options)
    compiles or loads code; every length is served by the same.

    Args:
        q: queries, f64, f32, f16 or bf16.
        k: keys, of the queries' element type.
        v: values.
        normalizer: `"softmax"`, `"hardmax"`, `"mean"` or `attnc.topk(k)`.
        tie: for hard-max `"first"`, `"last"` or `"mean"`, for top-k `"first"` or `"last"`; required there.
        mask: a mask such as `attnc.causal("bottom_right") & attnc.window(256, 0)`, or a boolean array that
            broadcasts to `[B, Hq, N, M]`, true where allowed.
        scale: factor of the dot products; default `1 / sqrt(D)`.
        softcap: `softcap * tanh(score / softcap)` is applied to scaled scores.
        bias: added to scores: a float array that broadcasts to `[B, Hq, N, M]`, `attnc.alibi(slopes)`, or a
            sum of such.
        sinks: one logit per query head, `[Hq]`, that joins the denominator of softmax.
        score_mod: `score_mod(score, b, h, q_idx, kv_idx)`, a function that gives a new score, as in
            PyTorch's FlexAttention. It gets the score under `scale` and `softcap`; `bias` is added to what it
            returns.
        mask_mod: `mask_mod(b, h, q_idx, kv_idx)`, a function that says whether a key may be seen; with
            `mask`, both have to allow it. Functions are traced: `docs/functions.md` says what they may hold.
        return_lse: also return log-sum-exp, `[B, Hq, N]`.
        return_argmax: also return the positions that were selected, as int64: of the winner `[B, Hq, N]`
            under hard-max (tie `"first"` or `"last"`), of the `k` best in descending order of score
            `[B, Hq, N, k]` under top-k. -1 stands where there is none: a row that may see no key or has a
            NaN score, and behind the last key of a top-k.
        keys: promises about the keys, such as `"integer & monotone(0)"` or `"parabola"`; they are checked.
        strategy: force a strategy by keyword.
        threads: how many threads may be used; default one per processor.

    Returns:
        The output `[B, Hq, N, Dv]` in the values' element type; with `return_lse` or
        `return_argmax` a tuple of it and what else was asked for, in this order.

    Raises:
        ArgumentError: an argument does not fit; the message says which and why.
        SpecError: arguments that do not go together, such as sinks with hard-max.
        TraceError: `score_mod` or `mask_mod` cannot be traced; the message points into its source.
        PromiseError: a key breaks a promise; the message says which.
        PlanError: the forced strategy is not legal; the message has every reason.

    >>> import numpy as np
    >>> x = np.array([[0.0, 1.0], [1.0, 0.0]]).reshape(1, 1, 2, 2)
    >>> attention(x, x, x, normalizer="hardmax", tie="last")[0, 0]
    array([[0., 1.],
           [1., 0.]])
    """
    from attnc_backends.numba.threads import resolve_threads

    kind = None
    rules = () if score_mod is None and mask_mod is None else _rules(score_mod, mask_mod)
    if threads is None and bias is None and sinks is None and rules is not None:
        kind = _kind(
            q, k, v, mask, scale, softcap, normalizer, tie, return_lse, return_argmax, keys, strategy, rules
        )
        results = None if kind is None else _again(kind, (q, k, v))
        if results is not None:
            return results[0] if len(results) == 1 else results
    workers = resolve_threads(threads)
    q, k, v = as_array(q, "q"), as_array(k, "k"), as_array(v, "v")
    for name, array in (("q", q), ("k", k), ("v", v)):
        if array.ndim != 4:
            raise ArgumentError(f"{name} has shape {array.shape}; give [batch, heads, positions, width]")
    if scale is None:
        scale = 1.0 / math.sqrt(q.shape[-1]) if q.shape[-1] else 1.0
    call = _Call(
        q, k, v,
        rule=_normalizer(normalizer, tie),
        mask=None if mask is None else as_mask(mask),
        scale=_number(scale, "scale"),
        softcap=None if softcap is None else _number(softcap, "softcap"),
        bias=None if bias is None else as_bias(bias),
        sinks=None if sinks is None else as_array(sinks, "sinks"),
        with_lse=bool(return_lse),
        with_argmax=bool(return_argmax),
        promises=_promises(keys),
    )  # fmt: skip
    if score_mod is not None or mask_mod is not None:
        call = _with_functions(call, score_mod, mask_mod)
    key = (call.key(), None if strategy is None else strategy_keyword(strategy))
    # Everything a call brings has to be named, graph or no graph; the graph itself is made once.
    inputs, options = call.lower()
    with _lock:
        program = _programs.get(key)
        if program is not None:
            _programs.move_to_end(key)
    if program is None:
        graph = _graph(inputs.values, 1 + call.with_lse + call.with_argmax, options)
        program = compile_spec(Module((graph,)), strategy=strategy)
        with _lock:
            _programs[key] = program
            if len(_programs) > MAX_PROGRAMS:
                _programs.popitem(last=False)
                _seen.clear()
    # In order, not by name: an array that a function captures may have had another name in the first call.
    names = (value.name for value in program.source_module[_GRAPH].inputs)
    arrays = dict(zip(names, inputs.arrays.values(), strict=True))
    result = program.run(_GRAPH, arrays, threads=workers)
    if kind is not None and len(arrays) == 3:
        if len(_seen) >= MAX_PROGRAMS:
            _seen.clear()
        _seen[kind] = program
    return result


_NUMBERS = (float, int, type(None))


def _kind(
    q: Any, k: Any, v: Any, mask: Any, scale: Any, softcap: Any, *others: Any
) -> tuple[Any, ...] | None:
    """Something to look a call up by that has no arrays but `q`, `k` and `v`. Two that are equal are right or
    wrong for the same reasons, and served by one program; None where there is no saying.
    """
    if not (type(q) is type(k) is type(v) is np.ndarray):
        return None
    # `True` equals 1 and is no scale, and -0.0 equals 0.0.
    if type(scale) not in _NUMBERS or type(softcap) not in _NUMBERS or scale == 0:
        return None
    if mask is not None:
        if type(mask) is not Mask:
            return None
        mask = mask.key
    return (
        q.shape, k.shape, v.shape, q.dtype.num, k.dtype.num, v.dtype.num,
        mask, scale, softcap, *others,
    )  # fmt: skip


def _rules(*functions: object) -> tuple[Any, ...] | None:
    """Something equal for functions that are traced alike; None where there is no saying, or where they look
    up in arrays.
    """
    known = [None if function is None else fingerprint(function) for function in functions]
    if any(found is not None and (found.key is None or found.arrays) for found in known):
        return None
    return tuple(None if found is None else found.key for found in known)


def _again(kind: tuple[Any, ...], arrays: tuple[Array, ...]) -> tuple[Array, ...] | None:
    """The results of a call whose kind went well before, if it does again."""
    try:
        program = _seen.get(kind)
    except TypeError:  # an argument of a sort that is refused
        return None
    return None if program is None else program.quick(_GRAPH, arrays)


@dataclass(frozen=True)
class _Call:
    """The arguments of one call, checked one by one."""

    q: Array
    k: Array
    v: Array
    rule: Normalizer
    mask: Mask | None
    scale: float
    softcap: float | None
    bias: Bias | None
    sinks: Array | None
    with_lse: bool
    with_argmax: bool
    promises: Promises
    modifier: ModifierArgument | None = None
    shared_table: bool = False
    """Whether a score function looks queries and keys up in one axis of an array."""

    @property
    def one_length(self) -> bool:
        """Whether keys and queries are as many and something depends on it; else their lengths may differ."""
        needed = self.shared_table or (self.mask is not None and self.mask.needs_one_length)
        return needed and self.q.shape[2] == self.k.shape[2]

    @property
    def same_heads(self) -> bool:
        """Whether every query head has a key head of its own."""
        return bool(self.q.shape[1] == self.k.shape[1])

    def key(self) -> tuple[Any, ...]:
        """Equal for calls that make the same graph."""
        return (
            *((x.dtype.name, x.shape[3]) for x in (self.q, self.k, self.v)),
            self.one_length,
            self.same_heads,
            self.rule,
            self.scale.hex(),
            self.softcap,
            self.mask.key if self.mask is not None else None,
            self.modifier.key if self.modifier is not None else None,
            self.bias.key if self.bias is not None else None,
            pattern(self.sinks) if self.sinks is not None else None,
            self.with_lse,
            self.with_argmax,
            self.promises,
        )

    def lower(self) -> tuple[Lowering, dict[str, Any]]:
        """The inputs of this call, `q`, `k`, `v` first, and the attributes of its one node."""
        low = Lowering(self.one_length)
        heads, queries, keys = Symbol("H"), Symbol("N"), Symbol("M")
        key_heads = heads if self.same_heads else Symbol("G")
        # First of all inputs, so that a mask or bias that does not fit is the one that is blamed.
        for name, x, h, n in (
            ("q", self.q, heads, queries),
            ("k", self.k, key_heads, keys),
            ("v", self.v, key_heads, keys),
        ):
            low.input(name, x, (Symbol("B"), h, n, x.shape[3]), numbered=False)
        return low, {
            "normalizer": self.rule,
            "mask": Everything() if self.mask is None else self.mask.lower(low),
            "with_argmax": self.with_argmax,
            "scale": self.scale,
            "softcap": self.softcap,
            "modifier": None if self.modifier is None else self.modifier.lower(low),
            "bias": () if self.bias is None else self.bias.lower(low),
            "sinks": None
            if self.sinks is None
            else low.input("sinks", self.sinks, (heads,) * self.sinks.ndim),
            "keys": self.promises,
        }


def _with_functions(call: _Call, score_mod: ScoreMod | None, mask_mod: MaskMod | None) -> _Call:
    """The call with what its functions come to."""
    sizes = Sizes(call.q.shape[0], call.q.shape[1], call.q.shape[2], call.k.shape[2])
    if mask_mod is not None:
        own = mask_of(mask_mod, sizes)
        call = replace(call, mask=own if call.mask is None else call.mask & own)
    if score_mod is None:
        return call
    parts = score_of(score_mod, sizes, normalizer=call.rule, scale=call.scale, softcap=call.softcap)
    mask, bias = call.mask, call.bias
    if parts.mask is not None:
        mask = parts.mask if mask is None else mask & parts.mask
    if parts.bias is not None:
        bias = parts.bias if bias is None else parts.bias + bias
    return replace(
        call,
        mask=mask,
        scale=parts.scale,
        softcap=parts.softcap,
        modifier=parts.modifier,
        bias=bias,
        shared_table=parts.needs_one_length,
    )


def _graph(inputs: list[Value], results: int, options: dict[str, Any]) -> Graph:
    """A graph of one attention node over its first three inputs."""
    builder = GraphBuilder(_GRAPH)
    values = [builder.input(v.name, v.tensor) for v in inputs]
    made = builder.op(Attend, *values[:3], results=results, **options)
    return builder.build(*(made if isinstance(made, tuple) else (made,)))


def _number(value: Any, what: str) -> float:
    """A Python or NumPy number as a double."""
    try:
        if isinstance(value, bool | str | bytes):
            raise TypeError
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ArgumentError(f"{what} is {value!r:.60}; give a number") from None


def _promises(text: str | None) -> Promises:
    """Promises read from their text."""
    if text is None:
        return ()
    if not isinstance(text, str):
        raise ArgumentError(f"keys is {text!r:.60}; give promises as text, such as 'integer & monotone(0)'")
    found: Promises = read_attribute("keys", PROMISES, text)
    return found


def _normalizer(normalizer: str | TopK, tie: str | None) -> Normalizer:
    """The IR's normaliser; a tie rule is required where it matters, and refused where it means nothing."""
    if isinstance(normalizer, TopK):
        if tie not in ("first", "last"):
            raise ArgumentError(
                f"topk needs tie='first' or tie='last', got {tie!r:.60}: "
                "it says which of equal scores are taken at the cut"
            )
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
