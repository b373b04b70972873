"""Attention, one output row at a time, as `attnc_ir.ops.attend` defines it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cmp_to_key

import numpy as np

from attnc_ir.attributes.empty import EmptyDefault, EmptyError
from attnc_ir.attributes.normalizer import Cut, Hardmax, Mean, Softmax, Tie, TopK
from attnc_ir.errors import EmptyRowError
from attnc_ir.ops import AttentionOp
from attnc_ir.reference import extended
from attnc_ir.reference.node import Node, sum_of
from attnc_ir.reference.scores import Score, compare
from attnc_ir.storage import NUMPY, Array, from_float64


@dataclass(frozen=True)
class Row:
    """One output row `[Dv]` as stored, its log-sum-exp as a double, and the positions selected for it.

    These are one under `hardmax(first)` and `hardmax(last)`, up to `k` in descending order of score under a
    top-k, none otherwise, and none for an empty row or one with a NaN score.
    """

    output: Array
    lse: float
    positions: tuple[int, ...] = ()


def attend(node: Node) -> tuple[Array, ...]:
    """All rows of a node, as its results ask: outputs as stored, `[... x Dv]`, log-sum-exp in the op's
    accumulator type, selected positions as int64.
    """
    op = node.op
    output = np.zeros((node.batch, node.heads, node.queries, node.value_width), NUMPY[op.value_type.dtype])
    lse = np.zeros(output.shape[:-1], NUMPY[op.accumulator])
    selected = np.full(
        (*lse.shape, op.normalizer.k if isinstance(op.normalizer, TopK) else 1) if op.with_argmax else (0,),
        -1,
        np.int64,
    )
    for b, h, i in np.ndindex(node.batch, node.heads, node.queries):
        row = attend_row(node, b, h, i)
        output[b, h, i] = row.output
        lse[b, h, i] = from_float64(row.lse, op.accumulator)
        if op.with_argmax:
            selected[b, h, i, : len(row.positions)] = row.positions
    results = [output.reshape(*node.lead, node.value_width)]
    if op.with_lse:
        results.append(lse.reshape(node.lead))
    if op.with_argmax:
        each = selected.shape[-1:] if isinstance(op.normalizer, TopK) else ()
        results.append(selected.reshape(*node.lead, *each))
    return tuple(results)


def attend_row(node: Node, b: int, h: int, i: int) -> Row:
    """Output row `i` of query head `h` in batch `b`. Raises `EmptyRowError` where the node says so."""
    op = node.op
    visible = node.visible(b, h, i)
    if not visible:
        return _empty_row(node, b, h, i)
    sink = node.element(op.sinks, h) if op.sinks is not None else None
    if op.normalizer.is_exact:
        scores = {j: node.exact_score(b, h, i, j, bias) for j, bias in visible.items()}
        doubles = {j: score.to_float() for j, score in scores.items()}
        nan = any(score.is_nan for score in scores.values())
    else:
        scores = {}
        doubles = {j: node.double_score(b, h, i, j, float(bias)) for j, bias in visible.items()}
        nan = any(s != s for s in doubles.values())
    lse = log_sum_exp([*doubles.values()] if sink is None else [*doubles.values(), sink])
    if nan:
        return Row(_stored(node, np.full(node.value_width, math.nan)), math.nan)
    positions: tuple[int, ...] = ()
    rows = node.rows[b, node.key_head(h)]
    numbers = node.value_rows(b, h)
    match op.normalizer:
        case Softmax():
            output = _stored(node, _softmax(doubles, numbers, sink))
        case Hardmax(Tie.MEAN):
            output = _stored(node, exact_mean(numbers[best(scores)]))
        case Hardmax(tie):
            # Copied, not computed: a NaN keeps its bits and a zero its sign.
            positions = (best(scores)[0 if tie is Tie.FIRST else -1],)
            output = rows[positions[0]].copy()
        case TopK(k, tie):
            positions = tuple(ranked(scores, k, tie))
            output = _stored(node, _softmax({j: doubles[j] for j in sorted(positions)}, numbers, None))
        case Mean():
            output = _stored(node, exact_mean(numbers[list(visible)]))
        case _:
            raise AssertionError(op.normalizer)
    return Row(output, lse, positions)


def _stored(node: Node, row: Array) -> Array:
    return from_float64(row, node.op.value_type.dtype)


def _empty_row(node: Node, b: int, h: int, i: int) -> Row:
    empty = node.op.empty
    if isinstance(empty, EmptyError):
        raise EmptyRowError(
            f"{node.where}batch {b}, head {h}, row {i} may see no key; "
            f"allow one, or give the node empty = zero or default(%row)"
        )
    if isinstance(empty, EmptyDefault):
        row = node.values[empty.row.name]
        return Row((row[h] if row.ndim == 2 else row).copy(), -math.inf)
    return Row(np.zeros(node.value_width, NUMPY[node.op.value_type.dtype]), -math.inf)


# --- normalisers --------------------------------------------------------------------------------------------


def _softmax(scores: dict[int, float], numbers: Array, sink: float | None) -> Array:
    """`sum_j exp(s[j] - m) / l * v[j]`, with the sink in `m` and `l`; NaN where IEEE arithmetic gives it."""
    logits = [*scores.values()] if sink is None else [*scores.values(), sink]
    if any(s != s for s in logits) or math.isinf(max(logits)):
        return np.full(numbers.shape[1], math.nan)  # inf - inf
    m = max(logits)
    parts = [math.exp(s - m) for s in logits]
    l = math.fsum(parts)  # noqa: E741 - the name in the papers
    # zip leaves the sink out: it is the last part and has no position.
    weights = {j: part / l for j, part in zip(scores, parts, strict=False)}
    columns = range(numbers.shape[1])
    return np.array(
        [sum_of([w * float(numbers[j, d]) for j, w in weights.items()]) for d in columns], np.float64
    )


def log_sum_exp(scores: list[float]) -> float:
    """`ln sum exp(s)` of at least one score: NaN if one is NaN, infinite as the sum is."""
    if any(s != s for s in scores):
        return math.nan
    m = max(scores)
    if math.isinf(m):
        return m
    return m + math.log(math.fsum(math.exp(s - m) for s in scores))


def best(scores: Mapping[int, Score]) -> list[int]:
    """`M`: the positions whose score is largest, in order. No score is NaN."""
    winners: list[int] = []
    for j in scores:
        order = compare(scores[j], scores[winners[0]]) if winners else 0
        if order > 0:
            winners = []
        if order >= 0:
            winners.append(j)
    return winners


def ranked(scores: Mapping[int, Score], k: int, tie: Cut) -> list[int]:
    """The positions of the `k` largest scores (all, if there are fewer), the largest first, equal ones in the
    order that `tie` prefers. No score is NaN.
    """

    def better(a: int, b: int) -> int:
        order = compare(scores[b], scores[a])
        return order or (a - b if tie is Cut.FIRST else b - a)

    return sorted(scores, key=cmp_to_key(better))[:k]


def exact_mean(rows: Array) -> Array:
    """The mean of value rows `[n x Dv]`: each column's exact sum, rounded to a double, over `n`."""
    columns = [[float(x) for x in rows[:, d]] for d in range(rows.shape[1])]
    return np.array([_exact_sum(column) / len(column) for column in columns], np.float64)


def _exact_sum(terms: list[float]) -> float:
    if not all(map(math.isfinite, terms)):
        return sum(terms, 0.0)  # the infinity, or NaN
    return extended.to_float(sum(map(Fraction, terms), Fraction(0)))


# --- single rows, for other engines -------------------------------------------------------------------------


def attend_node_row(
    op: AttentionOp,
    values: Mapping[str, Array],
    b: int,
    h: int,
    i: int,
    *,
    keys: Array | None = None,
    rows: Array | None = None,
    graph: str = "",
) -> Row:
    """One output row of a node: what an engine calls for a row it cannot settle itself.

    `values` are the stored tensors that the op reads, by value name, in the shapes of their types. For an
    `attend.step` (where `i` is 0) `keys` and `rows` are what its cache holds, under the cache's head
    dimensions: `[... x M x D]` and `[... x M x Dv]`.
    """
    return attend_row(Node(op, values, keys=keys, rows=rows, graph=graph), b, h, i)


def exact_winners(
    op: AttentionOp,
    values: Mapping[str, Array],
    b: int,
    h: int,
    i: int,
    *,
    keys: Array | None = None,
    rows: Array | None = None,
) -> tuple[int, ...]:
    """The key positions that an exact normaliser selects, in order: `M` of a hard-max, the chosen `k` of a
    top-k.

    None for an empty row, and none for a row with a NaN score. Arguments as for `attend_node_row`.
    """
    node = Node(op, values, keys=keys, rows=rows)
    assert op.normalizer.is_exact, f"{op.normalizer.keyword} selects no positions"
    scores = {j: node.exact_score(b, h, i, j, bias) for j, bias in node.visible(b, h, i).items()}
    if not scores or any(score.is_nan for score in scores.values()):
        return ()
    if isinstance(op.normalizer, TopK):
        return tuple(sorted(ranked(scores, op.normalizer.k, op.normalizer.tie)))
    return tuple(best(scores))
