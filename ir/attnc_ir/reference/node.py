"""One attention node with its arrays: which keys a row may see, and how they score."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from attnc_ir.arguments import check_counts
from attnc_ir.attributes.alignment import aligned
from attnc_ir.attributes.bias import Alibi, BiasTerm, ExprBias, Relative, TensorBias
from attnc_ir.attributes.modifier import ExprModifier
from attnc_ir.errors import ArgumentError
from attnc_ir.ops import Attend, AttendStep, AttentionOp
from attnc_ir.reference import extended
from attnc_ir.reference.expressions import Evaluator, Position
from attnc_ir.reference.extended import Extended
from attnc_ir.reference.masks import MaskReader
from attnc_ir.reference.scores import CappedScore, PlainScore, Score
from attnc_ir.storage import Array, to_float64
from attnc_ir.types import DType
from attnc_ir.values import Value


class Node:
    """An attention op over given arrays, seen as `[B x H x N x D]` whatever rank it was written in.

    `values` are stored tensors by value name. For a step, `keys` and `rows` are what its cache holds, under
    the cache's head dimensions: `[... x M x D]` and `[... x M x Dv]`. For batch attention they are the op's
    operands. Raises `ArgumentError` where sizes or counts do not fit each other.
    """

    def __init__(
        self,
        op: AttentionOp,
        values: Mapping[str, Array],
        *,
        keys: Array | None = None,
        rows: Array | None = None,
        graph: str = "",
    ) -> None:
        self.op = op
        self.where = (f"graph @{graph}: " if graph else "") + f"{op.output}: "
        self.values = values
        self.step = isinstance(op, AttendStep)
        if isinstance(op, Attend):
            query, keys, rows = values[op.query.name], values[op.key.name], values[op.value.name]
            self.lead = query.shape[:-1]
        else:
            assert isinstance(op, AttendStep)
            assert keys is not None, "a step reads the keys of its cache: pass keys="
            assert rows is not None, "a step reads the value rows of its cache: pass rows="
            query = values[op.query.name]
            self.lead = query.shape[:-1]
            query = query[..., np.newaxis, :]
        self.query, self.keys, self.rows = _four(query), _four(keys), _four(rows)
        self._check_sizes()
        self.batch, self.heads, self.queries, _ = self.query.shape
        _, self.key_heads, self.length, self.value_width = self.rows.shape
        check_counts(self.where, op, values, queries=self.queries, keys=self.length)
        self.mask = aligned(op.mask)
        shape = (self.batch, self.heads, self.queries, self.length)
        self.masks = MaskReader(values, shape, step=self.step, where=self.where)
        self.evaluator = Evaluator(values, exact=op.normalizer.is_exact, where=self.where)
        self.scale = extended.exact(op.scale)
        self._doubles: dict[tuple[str, int, int], npt.NDArray[np.float64]] = {}
        self._vectors: dict[tuple[str, int, int, int], _Vector] = {}

    def _check_sizes(self) -> None:
        q, k, v = self.query.shape, self.keys.shape, self.rows.shape
        if q[0] != k[0] or k[:3] != v[:3] or q[3] != k[3]:
            raise ArgumentError(
                f"{self.where}queries {q}, keys {k} and values {v} do not fit; "
                f"expected [B x H x N x D], [B x Hkv x M x D] and [B x Hkv x M x Dv]"
            )
        if q[1] != k[1] and (k[1] == 0 or q[1] % k[1]):
            raise ArgumentError(
                f"{self.where}{q[1]} query heads, {k[1]} key heads; give a multiple of key heads"
            )

    def key_head(self, h: int) -> int:
        """The key head that query head `h` reads."""
        return h // int(self.heads // self.key_heads)

    def position(self, i: int) -> int:
        """Where query `i` stands among the query positions; the query of a step stands at the last key."""
        return self.length - 1 if self.step else i

    def element(self, value: Value, *index: int) -> float:
        """An element of a float tensor of the op."""
        return float(to_float64(np.asarray(self.values[value.name][index]), value.tensor.dtype))

    def value_rows(self, b: int, h: int) -> npt.NDArray[np.float64]:
        """The value rows that query head `h` reads, as doubles `[M x Dv]`."""
        return self._matrix("value", self.rows, self.op.value_type.dtype, b, self.key_head(h))

    def _query(self, b: int, h: int) -> npt.NDArray[np.float64]:
        return self._matrix("query", self.query, self.op.key_type.dtype, b, h)

    def _keys(self, b: int, h: int) -> npt.NDArray[np.float64]:
        return self._matrix("key", self.keys, self.op.key_type.dtype, b, self.key_head(h))

    def _matrix(self, name: str, source: Array, dtype: DType, b: int, h: int) -> npt.NDArray[np.float64]:
        # Widened head by head and kept: one row of one head should not cost a copy of everything.
        if (name, b, h) not in self._doubles:
            self._doubles[name, b, h] = to_float64(source[b, h], dtype)
        return self._doubles[name, b, h]

    # --- steps 4 and 5: bias and mask ---

    def visible(self, b: int, h: int, i: int) -> dict[int, Extended]:
        """`A(i)`: the positions that mask and bias allow, in order, each with the sum of its bias terms."""
        found: dict[int, Extended] = {}
        for j in range(self.length):
            if self.masks.allowed(self.mask, b, h, self.position(i), j):
                terms = [self._bias(term, Position(b, h, self.position(i), j), i) for term in self.op.bias]
                if -math.inf not in terms:
                    found[j] = self._sum(terms)
        return found

    def _sum(self, terms: Iterable[Extended]) -> Extended:
        return extended.total(terms) if self.op.normalizer.is_exact else sum(map(float, terms), 0.0)

    def _bias(self, term: BiasTerm, at: Position, row: int) -> Extended:
        match term:
            case TensorBias(tensor):
                shape = (self.batch, self.heads, self.queries, self.length)
                element = np.broadcast_to(self.values[tensor.name], shape)[at.b, at.h, row, at.j]
                return self._number(float(to_float64(np.asarray(element), tensor.tensor.dtype)))
            case Alibi(slopes):
                slope = self._number(self.element(slopes, self._per_head(slopes, at.h)))
                return self._product(slope, self.evaluator.number(at.j - at.i))
            case Relative(table):
                reach = self.values[table.name].shape[1] // 2
                column = min(max(at.j - at.i, -reach), reach) + reach
                return self._number(self.element(table, self._per_head(table, at.h), column))
            case ExprBias(value):
                return self.evaluator.number(self.evaluator.value(value, at))
            case _:
                raise AssertionError(term)

    def _per_head(self, value: Value, h: int) -> int:
        return h if len(self.values[value.name]) > 1 else 0

    def _number(self, value: float) -> Extended:
        return extended.exact(float(value)) if self.op.normalizer.is_exact else float(value)

    def _product(self, x: Extended, y: Extended) -> Extended:
        return extended.mul(x, y) if self.op.normalizer.is_exact else float(x) * float(y)

    # --- steps 1 to 4: scores ---

    def exact_score(self, b: int, h: int, i: int, j: int, bias: Extended) -> Score:
        """The score of key `j`, without rounding; `bias` is the exact sum of its bias terms."""
        query = self._vector("query", self._query(b, h), b, h, i)
        key = self._vector("key", self._keys(b, h), b, self.key_head(h), j)
        x = extended.mul(self.scale, query.dot(key))
        if self.op.softcap is None:
            return PlainScore(extended.add(x, bias))
        return CappedScore(x, bias, Fraction(self.op.softcap))

    def _vector(self, name: str, source: npt.NDArray[np.float64], b: int, h: int, at: int) -> _Vector:
        place = (name, b, h, at)
        if place not in self._vectors:
            self._vectors[place] = _Vector(source[at].tolist())
        return self._vectors[place]

    def double_score(self, b: int, h: int, i: int, j: int, bias: float) -> float:
        """The score of key `j`, in doubles."""
        with np.errstate(all="ignore"):
            products = self._query(b, h)[i] * self._keys(b, h)[j]
        s = self.op.scale * sum_of(products.tolist())
        if self.op.softcap is not None:
            s = self.op.softcap * math.tanh(s / self.op.softcap)
        if isinstance(self.op.modifier, ExprModifier):
            at = Position(b, h, self.position(i), j, s)
            s = float(self.evaluator.number(self.evaluator.value(self.op.modifier.value, at)))
        return s + bias


class _Vector:
    """A row of doubles as integers over one common denominator, so that dot products need integer arithmetic
    only.
    """

    def __init__(self, row: list[float]) -> None:
        self.row = row
        self.finite = all(map(math.isfinite, row))
        if self.finite:
            ratios = [x.as_integer_ratio() for x in row]
            # Every denominator is a power of two, so the largest is a multiple of all.
            self.denominator = max((d for _, d in ratios), default=1)
            self.numerators = [n * (self.denominator // d) for n, d in ratios]

    def dot(self, other: _Vector) -> Extended:
        """The exact dot product; with infinities or NaN as IEEE has it."""
        if self.finite and other.finite:
            total = sum(x * y for x, y in zip(self.numerators, other.numerators, strict=True))
            return Fraction(total, self.denominator * other.denominator)
        pairs = zip(self.row, other.row, strict=True)
        return extended.total(extended.mul(extended.exact(x), extended.exact(y)) for x, y in pairs)


def sum_of(terms: list[float]) -> float:
    """The sum of doubles, rounded once; in doubles from left to right where it is not finite.

    >>> sum_of([0.1] * 10), sum_of([1e308, 1e308, -1e308]), sum_of([float("inf"), 1.0])
    (1.0, 1e+308, inf)
    """
    if not all(map(math.isfinite, terms)):
        return sum(terms, 0.0)
    try:
        return math.fsum(terms)
    except OverflowError:  # of a partial sum
        return extended.to_float(sum(map(Fraction, terms), Fraction(0)))


def _four(array: Array) -> Array:
    return array.reshape((1,) * (4 - array.ndim) + array.shape)
