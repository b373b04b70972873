"""`narrow-keys`: leave out columns of query and key that cannot change which key wins.

Hard-max looks at the order of the scores of one row only. So these columns may go:

- a key column that is zero, or a query column that is zero: it adds nothing
- a key column that is the same in every row, against a finite query column: it adds the same to all scores
- a column that repeats another one, up to sign, where the other side's two columns are integers whose sum or
  difference is exact: `q_1 k + q_2 k = (q_1 + q_2) k`

Nodes of width 2 that were written wider reach the hull in this way, nodes of width 1 the running extremum,
and where nothing is left all keys tie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from attnc.facts import Column, Facts, analyze, columns
from attnc.facts.polynomial import exact_integers
from attnc.passes.base import Context, IntOption, Pass, option, register_pass
from attnc.passes.rewrite import Rewriter
from attnc.strategies.grounds import constant_scores
from attnc_ir.attributes.normalizer import Hardmax
from attnc_ir.graph import Graph
from attnc_ir.ops import Add, Attend, Broadcast, Concat, Constant, Mul, Slice, Sub
from attnc_ir.types import MAX_DIM, DType, TensorType
from attnc_ir.values import Value


@register_pass
@dataclass(frozen=True)
class NarrowKeys(Pass):
    """Drop and merge columns of hard-max nodes of `attend`, exactly.

    Steps are left alone: a cache's rows may come from elsewhere. So are nodes with a log-sum-exp, which sees
    the scores themselves, and those with a softcap before a bias, which sees their size. `max-width` is the
    largest width that is worth it: copies of query and key are made, and wide keys are scanned anyway.

    A zero column against numbers that may be infinite or NaN makes a score NaN, and it still does: zero
    times such a column is added to one that stays.

    >>> from attnc.passes.rewrite import run_on_text
    >>> text = '''graph @g(%q: f64[N x 2], %k: f64[N x 1], %v: f64[N x 4]) {
    ...     %none = constant {type = f64[N x 1], values = [0.0]}
    ...     %wide = concat %k, %none
    ...     %o = attend %q, %wide, %v {normalizer = hardmax(last), mask = causal}
    ...     return %o
    ... }'''
    >>> graph = run_on_text(NarrowKeys(), text)
    >>> graph.ops[-1].geometry.key_width
    1
    """

    name: ClassVar[str] = "narrow-keys"
    max_width: int = option(IntOption(1, MAX_DIM), 12)

    def run(self, graph: Graph, context: Context) -> Graph:
        facts = analyze(graph)
        rewriter = Rewriter(graph)
        for op in graph.ops:
            if isinstance(op, Attend) and isinstance(op.normalizer, Hardmax):
                rewriter.add(self._narrowed(op, facts, rewriter, context))
            else:
                rewriter.add(op)
        return rewriter.finish()

    def _narrowed(self, node: Attend, facts: Facts, rewriter: Rewriter, context: Context) -> Attend:
        query, key = columns(node.query, facts), columns(node.key, facts)
        if len(query) < 2 or len(key) != len(query):
            return node  # one column is as narrow as keys get
        if node.strategy is not None or node.keys or constant_scores(node, facts) is not None:
            return node  # a strategy or promise speaks of keys as they are, or nothing can be better
        plan = _planned(query, key, node.key_type.dtype)
        if len(plan.kept) == len(key):
            return node
        if node.with_lse or node.scale == 0 or (node.softcap is not None and node.bias):
            context.count("kept-seen-score")
            return node
        if len(plan.kept) > self.max_width:
            context.count("kept-wide-key")
            return node
        context.count("dropped-column", plan.dropped)
        context.count("merged-column", plan.merged)
        left = f"width {len(plan.kept)}" if plan.kept else "nothing that tells keys apart"
        context.note(
            rewriter.graph, node, f"keys of width {len(key)} have {left}: " + "; ".join(plan.reasons)
        )
        return dataclasses.replace(
            node,
            query=_rebuilt(node.query, plan.kept, plan.query, rewriter),
            key=_rebuilt(node.key, plan.kept, plan.key, rewriter),
        )


@dataclass
class _Side:
    """What becomes of the columns of a query or key."""

    added: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """By a column that stays: columns that are added to it, each with its sign."""
    watched: list[int] = field(default_factory=list)
    """Columns that are left out but, where they are not finite, still have to make scores NaN."""


@dataclass
class _Plan:
    kept: list[int]
    query: _Side = field(default_factory=_Side)
    key: _Side = field(default_factory=_Side)
    dropped: int = 0
    merged: int = 0
    reasons: list[str] = field(default_factory=list)


def _planned(query: Sequence[Column], key: Sequence[Column], dtype: DType) -> _Plan:
    """Which columns stay, and what the others leave behind."""
    plan = _Plan([])
    for c, (q, k) in enumerate(zip(query, key, strict=True)):
        if k.constant == 0:
            plan.reasons.append(f"column {c} of the keys is zero")
            if not q.finite:
                plan.query.watched.append(c)
        elif q.constant == 0:
            plan.reasons.append(f"column {c} of the queries is zero")
            if not k.finite:
                plan.key.watched.append(c)
        elif k.steady and k.finite and q.finite:
            plan.reasons.append(f"column {c} of the keys is the same in every row")
        else:
            plan.kept.append(c)
            continue
        plan.dropped += 1
    for name, same, other, side in (("keys", key, query, plan.query), ("queries", query, key, plan.key)):
        _merge(plan, name, same, other, side, dtype)
    return plan


def _merge(
    plan: _Plan, name: str, same: Sequence[Column], other: Sequence[Column], side: _Side, dtype: DType
) -> None:
    """Add columns of `side` (`other` describes it) whose counterparts in `same` repeat one another."""
    by_source: dict[str, int] = {}
    reach: dict[int, int] = {}
    touched = {c for group in (plan.query.added, plan.key.added) for c in group}
    for c in tuple(plan.kept):
        span = other[c].integers
        if span is None or not same[c].finite or c in touched:
            continue
        size = max(-span[0], span[1])
        first = by_source.setdefault(same[c].source, c)
        if first == c:
            reach[c] = size
        elif reach[first] + size <= exact_integers(dtype):
            reach[first] += size
            side.added.setdefault(first, []).append((c, same[c].sign * same[first].sign))
            plan.kept.remove(c)
            plan.merged += 1
            sign = "" if same[c].sign == same[first].sign else "the negative of "
            plan.reasons.append(f"column {c} of the {name} is {sign}column {first}")


# --- the rewritten operands ---------------------------------------------------------------------------------


def _rebuilt(value: Value, kept: Sequence[int], side: _Side, rewriter: Rewriter) -> Value:
    """The columns that stay, with what is added to them; one of zeros where none stays."""
    parts = [_summed(value, c, side, rewriter) for c in kept] or [_zeros(value, rewriter)]
    if side.watched:
        zero = rewriter.insert(
            Constant(type=TensorType(value.tensor.dtype, (1,)), values=(0.0,)), f"{value.name}_zero"
        )
        for c in side.watched:
            nothing = rewriter.insert(
                Mul(left=_column(value, c, rewriter), right=zero), f"{value.name}_{c}_watched"
            )
            parts[0] = rewriter.insert(Add(left=parts[0], right=nothing), f"{value.name}_watched")
    if len(parts) == 1:
        return parts[0]
    return rewriter.insert(Concat(parts=tuple(parts), axis=-1), f"{value.name}_narrow")


def _column(value: Value, column: int, rewriter: Rewriter) -> Value:
    return rewriter.insert(Slice(x=value, start=column, stop=column + 1, axis=-1), f"{value.name}_{column}")


def _summed(value: Value, column: int, side: _Side, rewriter: Rewriter) -> Value:
    total = _column(value, column, rewriter)
    for other, sign in side.added.get(column, ()):
        more = _column(value, other, rewriter)
        make = Add(left=total, right=more) if sign > 0 else Sub(left=total, right=more)
        total = rewriter.insert(make, f"{value.name}_{column}_and_{other}")
    return total


def _zeros(value: Value, rewriter: Rewriter) -> Value:
    zero = rewriter.insert(
        Constant(type=TensorType(value.tensor.dtype, (1,)), values=(0.0,)), f"{value.name}_zero"
    )
    return rewriter.insert(Broadcast(x=zero, shape=(*value.tensor.shape[:-1], 1)), f"{value.name}_zeros")
