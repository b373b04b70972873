"""`canonicalize`: one way to write each thing.

- alignments of causal masks and windows are written out, double negations in masks go, no mask term stands
  twice
- ops that return their operand go: a slice of everything, a concat of one, `x * 1`, `x + -0.0`, two negations
- slices of slices, slices of concats, concats of concats and broadcasts of broadcasts become one op
- elementwise arithmetic on small constants is done, where its result is exact
- a log-sum-exp that nobody reads is not asked for
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from attnc.masks import explicit
from attnc.passes.base import Context, Pass, register_pass
from attnc.passes.constants import folded
from attnc.passes.rewrite import Rewriter, uses
from attnc_ir.attributes.mask import And, Mask, Not, Or
from attnc_ir.graph import Graph
from attnc_ir.op import Op
from attnc_ir.ops import (
    Add,
    AttentionOp,
    Broadcast,
    Concat,
    Constant,
    Convert,
    Div,
    Mul,
    Neg,
    Select,
    Slice,
    Sub,
)
from attnc_ir.types import DType, TensorType
from attnc_ir.values import Value

O = TypeVar("O", bound=Op)  # noqa: E741 - the op type, short as in attnc_ir.op


@register_pass
@dataclass(frozen=True)
class Canonicalize(Pass):
    """Bring a graph into canonical form. Running it twice changes nothing more.

    >>> from attnc.passes.rewrite import run_on_text
    >>> text = "graph @g(%x: f64[4]) { %y = slice %x {start = 0, stop = 4}  %z = neg %y  return %z }"
    >>> graph = run_on_text(Canonicalize(), text)
    >>> [str(v) for v in graph.ops[-1].operands]
    ['%x']
    """

    name: ClassVar[str] = "canonicalize"

    def run(self, graph: Graph, context: Context) -> Graph:
        while True:
            after = _sweep(graph, context)
            if after is graph:
                return graph
            graph = after


def _sweep(graph: Graph, context: Context) -> Graph:
    rewriter = Rewriter(graph)
    read = uses(graph)
    for old in graph.ops:
        op = rewriter.current(old)
        if isinstance(op, AttentionOp):
            rewriter.add(_attention(op, read, context))
            continue
        for decision, rule in _RULES:
            outcome = rule(op, rewriter.definitions)
            if isinstance(outcome, Value) and outcome.type == op.results[0].type:
                context.count(decision)
                rewriter.replace(op.results[0], outcome)  # nothing reads the op any more, so it is left out
                break
            if isinstance(outcome, Op):
                context.count(decision)
                rewriter.add(dataclasses.replace(outcome, results=op.results, location=op.location))
                break
        else:
            rewriter.add(op)
    return rewriter.finish()


# --- attention ----------------------------------------------------------------------------------------------


def _attention(op: AttentionOp, read: Mapping[str, int], context: Context) -> AttentionOp:
    if op.lse is not None and not read.get(op.lse.name):
        context.count("dropped-unread-lse")
        op = dataclasses.replace(op, with_lse=False, results=(op.output, *op.results[2:]))
    if op.argmax is not None and not read.get(op.argmax.name):
        context.count("dropped-unread-argmax")
        op = dataclasses.replace(op, with_argmax=False, results=op.results[:-1])
    mask = explicit(op)
    if mask != op.mask:
        context.count("wrote-out-alignment")
    tidy = tidied(mask)
    if tidy != mask:
        context.count("tidied-mask")
    return dataclasses.replace(op, mask=tidy) if tidy != op.mask else op


def tidied(mask: Mask) -> Mask:
    """The mask without double negations and without repeated terms.

    The first of equal terms stays: an earlier term may guard the look-ups of a later one.

    >>> from attnc_ir.attributes.mask import Causal, Prefix
    >>> tidied(~~Causal(1) & Prefix(3) & Causal(1)) == Causal(1) & Prefix(3)
    True
    """
    mask = mask.map_terms(tidied)
    match mask:
        case Not(Not(inner)):
            return inner
        case And(terms) | Or(terms):
            distinct = tuple(dict.fromkeys(terms))
            return distinct[0] if len(distinct) == 1 else type(mask)(distinct)
        case _:
            return mask


# --- rules for everything else ------------------------------------------------------------------------------

Definitions = Mapping[str, Op]
Rule = Callable[[Op, Definitions], "Op | Value | None"]
"""What stands for an op: an op in its place, an older value, or None for no change."""


def _defined(value: Value, definitions: Definitions, cls: type[O]) -> O | None:
    op = definitions.get(value.name)
    return op if isinstance(op, cls) else None


def _identity(op: Op, definitions: Definitions) -> Value | None:
    match op:
        case Slice(x=x) | Broadcast(x=x) if x.type == op.results[0].type:
            # A slice keeps its operand's type only if it takes everything.
            return x
        case Concat(parts=(x,)):
            return x
        case Convert(x=x, to=to) if x.tensor.dtype is to:
            return x
        case Select(then=x, otherwise=y) if x == y:
            return x
        case Add(left=x, right=y):
            # x + 0.0 is not x where x is -0.0; x + -0.0 always is.
            zero = -0.0 if x.tensor.dtype.is_float else 0.0
            return x if _splat(y, definitions, zero) else y if _splat(x, definitions, zero) else None
        case Sub(left=x, right=y) if _splat(y, definitions, 0.0):
            return x
        case Mul(left=x, right=y):
            return x if _splat(y, definitions, 1.0) else y if _splat(x, definitions, 1.0) else None
        case Div(left=x, right=y) if _splat(y, definitions, 1.0):
            return x
        case _:
            return None


def _splat(value: Value, definitions: Definitions, wanted: float) -> bool:
    """Whether a value is a constant whose elements are all `wanted`, the sign of zero included."""
    constant = _defined(value, definitions, Constant)
    if constant is None or not constant.values:
        return False
    return all(v == wanted and math.copysign(1.0, v) == math.copysign(1.0, wanted) for v in constant.values)


def _double_negation(op: Op, definitions: Definitions) -> Value | None:
    inner = _defined(op.x, definitions, Neg) if isinstance(op, Neg) else None
    return inner.x if inner is not None else None


# Every element of the first type is an element of the second: widening and coming back gives it unchanged.
_HOLDS = {
    (DType.F16, DType.F32), (DType.F16, DType.F64), (DType.BF16, DType.F32), (DType.BF16, DType.F64),
    (DType.F32, DType.F64), (DType.I32, DType.I64), (DType.I32, DType.F64), *((DType.BOOL, d) for d in DType),
}  # fmt: skip


def _round_trip(op: Op, definitions: Definitions) -> Value | None:
    if isinstance(op, Convert):
        inner = _defined(op.x, definitions, Convert)
        if inner is not None and inner.x.tensor.dtype is op.to and (op.to, inner.to) in _HOLDS:
            return inner.x
    return None


def _chosen(op: Op, definitions: Definitions) -> Value | None:
    """A select whose condition is known."""
    if isinstance(op, Select):
        if _splat(op.condition, definitions, 1.0):
            return op.then
        if _splat(op.condition, definitions, 0.0):
            return op.otherwise
    return None


def _nested(op: Op, definitions: Definitions) -> Op | Value | None:
    """Two ops that move elements, as one."""
    match op:
        case Slice():
            return _nested_slice(op, definitions)
        case Concat(parts=parts):
            flat: list[Value] = []
            for part in parts:
                inner = _defined(part, definitions, Concat)
                same = inner is not None and _axis(inner) == _axis(op)
                flat += inner.parts if same and inner is not None else (part,)
            return dataclasses.replace(op, parts=tuple(flat)) if len(flat) != len(parts) else None
        case Broadcast(x=x):
            inner_broadcast = _defined(x, definitions, Broadcast)
            return dataclasses.replace(op, x=inner_broadcast.x) if inner_broadcast is not None else None
        case _:
            return None


def _axis(op: Concat | Slice) -> int:
    kind = op.results[0].tensor
    return op.axis % kind.rank


def _nested_slice(op: Slice, definitions: Definitions) -> Op | Value | None:
    inner = _defined(op.x, definitions, Slice)
    if inner is not None and _axis(inner) == _axis(op):
        return dataclasses.replace(op, x=inner.x, start=inner.start + op.start, stop=inner.start + op.stop)
    whole = _defined(op.x, definitions, Concat)
    if whole is None or _axis(whole) != _axis(op):
        return None
    start = 0
    for part in whole.parts:
        size = part.tensor.shape[_axis(op)]
        assert isinstance(size, int), "concat adds up numbers"
        if start <= op.start and op.stop <= start + size:
            if op.stop - op.start == size:
                return part
            return dataclasses.replace(op, x=part, start=op.start - start, stop=op.stop - start)
        start += size
    return None


def _constant(op: Op, definitions: Definitions) -> Op | None:
    sources = [_defined(v, definitions, Constant) for v in op.operands]
    if not sources or isinstance(op, Constant):
        return None
    known = [s for s in sources if s is not None]
    if len(known) != len(sources):
        return None
    kind = op.results[0].type
    values = folded(op, known) if isinstance(kind, TensorType) else None
    return None if values is None or not isinstance(kind, TensorType) else Constant(type=kind, values=values)


_RULES: tuple[tuple[str, Rule], ...] = (
    ("dropped-identity", _identity),
    ("dropped-double-negation", _double_negation),
    ("dropped-round-trip", _round_trip),
    ("took-known-branch", _chosen),
    ("merged-movement", _nested),
    ("folded-constant", _constant),
)
