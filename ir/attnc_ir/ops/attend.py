"""Attention: each query row becomes a weighted sum of the value rows it may see.

The meaning, step by step, for query head `h`, query position `i` and key position `j`, with `g = Hq / Hkv`:

1. `s = scale * dot(q[b,h,i], k[b,h // g,j])`
2. `s = softcap * tanh(s / softcap)` when a softcap is given
3. `s = modifier(s, b, h, i, j)` when a modifier is given
4. `s = s + bias(b,h,i,j)`; a bias term of -inf removes `j`
5. positions the mask does not allow are removed
6. the normaliser turns the scores that are left into weights
7. the output row is the weighted sum of value rows
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.kinds import operand
from attnc_ir.op import TypeRuleError, register_op
from attnc_ir.ops.attention import AttentionOp, Geometry
from attnc_ir.ops.elementwise import tensor_type
from attnc_ir.ops.state import cache_type
from attnc_ir.types import Dim, DType, TensorType, Type, format_shape, may_equal, resolve
from attnc_ir.values import Value


def _groups(query_heads: Dim, key_heads: Dim, query: Value, key: str) -> None:
    """`TypeRuleError` unless query heads can be an integer multiple of key heads."""
    if may_equal(query_heads, key_heads):
        return
    if (
        isinstance(query_heads, int)
        and isinstance(key_heads, int)
        and (key_heads == 0 or query_heads % key_heads)
    ):
        raise TypeRuleError(
            f"query {query} has {query_heads} heads, {key} has {key_heads}",
            at="query",
            help="query heads must be a multiple of key heads",
        )


def _unified(a: Dim, b: Dim, what: str, left: str, right: str, at: str, help: str | None = None) -> Dim:
    if not may_equal(a, b):
        raise TypeRuleError(f"{left} has {what} {a}, {right} has {b}", at=at, help=help)
    return resolve(a, b)


def _float_operand(value: Value, at: str) -> TensorType:
    kind = tensor_type(value, at)
    if not kind.dtype.is_float:
        raise TypeRuleError(
            f"{at} {value} is {kind.dtype}",
            at=at,
            help="attention runs on f64, f32, f16 and bf16; convert it",
        )
    return kind


def _same_score_type(query: Value, kind: TensorType, key: str, key_dtype: DType) -> None:
    if kind.dtype is not key_dtype:
        raise TypeRuleError(
            f"query {query} is {kind.dtype}, {key} is {key_dtype}",
            at="query",
            help="a score is a dot product; give both one type",
        )


@register_op
@dataclass(frozen=True, kw_only=True)
class Attend(AttentionOp):
    """Attention over whole sequences: `[B x H x N x D]`, or without batch, or without batch and heads."""

    mnemonic: ClassVar[str] = "attend"
    query: Value = operand()
    key: Value = operand()
    value: Value = operand()

    @property
    def key_type(self) -> TensorType:
        return self.key.tensor

    @property
    def value_type(self) -> TensorType:
        return self.value.tensor

    @property
    def geometry(self) -> Geometry:
        q, k, v = (
            _float_operand(x, at)
            for x, at in ((self.query, "query"), (self.key, "key"), (self.value, "value"))
        )
        query, key, value = f"query {self.query}", f"key {self.key}", f"value {self.value}"
        if not 2 <= q.rank <= 4 or not q.rank == k.rank == v.rank:
            raise TypeRuleError(
                f"{query}, {key} and {value} have ranks {q.rank}, {k.rank} and {v.rank}",
                help="give all three [N x D], [H x N x D] or [B x H x N x D]",
            )
        _same_score_type(self.query, q, key, k.dtype)
        score = "a score is a dot product; give both the same width"
        width = _unified(q.shape[-1], k.shape[-1], "width", query, key, "key", score)
        length = _unified(
            k.shape[-2], v.shape[-2], "length", key, value, "value", "every key needs its value"
        )
        batch = query_heads = key_heads = 1
        if q.rank >= 3:
            key_heads = _unified(k.shape[-3], v.shape[-3], "head count", key, value, "value")  # type: ignore[assignment]  # a Dim
            query_heads = q.shape[-3]  # type: ignore[assignment]  # a Dim
            _groups(query_heads, key_heads, self.query, key)
        if q.rank == 4:
            batch = _unified(q.shape[0], k.shape[0], "batch", query, key, "key")  # type: ignore[assignment]  # a Dim
            batch = _unified(batch, v.shape[0], "batch", query, value, "value")  # type: ignore[assignment]  # a Dim
        return Geometry(batch, query_heads, key_heads, q.shape[-2], length, width, v.shape[-1])

    def infer(self) -> tuple[Type, ...]:
        g = self.geometry
        shape = self.query.tensor.shape[:-1]
        return self._result_types((g.batch, *shape[1:]) if len(shape) == 3 else shape, g.value_width)


@register_op
@dataclass(frozen=True, kw_only=True)
class AttendStep(AttentionOp):
    """Attention of one new query per head to everything its cache holds: `[B x H x D]`, or without batch, or
    without both.

    The query stands at the last key, so for masks `i` is the number of keys less one.
    """

    mnemonic: ClassVar[str] = "attend.step"
    query: Value = operand()
    cache: Value = operand()

    @property
    def key_type(self) -> TensorType:
        return self.cache.cache.key

    @property
    def value_type(self) -> TensorType:
        return self.cache.cache.value

    @property
    def is_causal_cache(self) -> bool:
        return True

    @property
    def geometry(self) -> Geometry:
        q = _float_operand(self.query, "query")
        kind = cache_type(self.cache)
        query, cache = f"query {self.query}", f"cache {self.cache}"
        heads = q.shape[:-1]
        if q.rank == 0 or len(heads) != len(kind.heads):
            raise TypeRuleError(
                f"{query} is {q}, the cache has heads {format_shape(kind.heads)}",
                at="query",
                help="a query has the cache's head dimensions, then its width",
            )
        _same_score_type(self.query, q, cache, kind.key.dtype)
        score = "a score is a dot product; give both the same width"
        width = _unified(q.shape[-1], kind.key.shape[0], "width", query, cache, "query", score)
        batch = query_heads = key_heads = 1
        if heads:
            query_heads, key_heads = heads[-1], kind.heads[-1]  # type: ignore[assignment]  # Dims
            _groups(query_heads, key_heads, self.query, cache)
        if len(heads) == 2:
            batch = _unified(heads[0], kind.heads[0], "batch", query, cache, "query")  # type: ignore[assignment]  # a Dim
        return Geometry(batch, query_heads, key_heads, 1, None, width, kind.value.shape[0])

    def infer(self) -> tuple[Type, ...]:
        return self._result_types(self.query.tensor.shape[:-1], self.geometry.value_width)
