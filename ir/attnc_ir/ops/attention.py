"""What batch attention and the step of a stateful one have in common: attributes, sizes, rules."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attnc_ir.attributes.alignment import ALIGNMENT_HELP, alignment_faults
from attnc_ir.attributes.bias import BIAS, Alibi, Bias, ExprBias, Relative, TensorBias
from attnc_ir.attributes.empty import EMPTY, Empty, EmptyDefault, EmptyZero
from attnc_ir.attributes.mask import (
    MASK,
    Documents,
    Everything,
    Lengths,
    Mask,
    Predicate,
    Prefix,
    TensorMask,
)
from attnc_ir.attributes.modifier import MODIFIER, ExprModifier, Modifier
from attnc_ir.attributes.normalizer import NORMALIZER, Hardmax, Normalizer, Softmax, Tie, TopK
from attnc_ir.attributes.promise import PROMISES, Monotone, Parabola, Promises
from attnc_ir.attributes.strategy import STRATEGY, Strategy
from attnc_ir.expr import Expr, ExprError, ExprType, Score, Unary, type_of
from attnc_ir.kinds import BOOL, FLOAT, VALUE, OptionalKind, attribute
from attnc_ir.op import Op, OpReport, TypeRuleError
from attnc_ir.types import UNKNOWN, Dim, DType, Shape, Symbol, TensorType, Type, format_shape, may_equal
from attnc_ir.values import Value


@dataclass(frozen=True)
class Geometry:
    """The sizes of an attention node. Dimensions that its operands do not have are 1.

    In a step, `queries` is 1 and `keys` is None: it grows.
    """

    batch: Dim
    query_heads: Dim
    key_heads: Dim
    queries: Dim
    keys: Dim | None
    key_width: Dim
    value_width: Dim

    @property
    def group(self) -> int | None:
        """Query heads per key head, when it is known: head `h` reads key head `h // group`."""
        if self.query_heads == self.key_heads:
            return 1
        if isinstance(self.query_heads, int) and isinstance(self.key_heads, int) and self.key_heads:
            return self.query_heads // self.key_heads
        return None

    @property
    def same_length(self) -> bool:
        """Queries and keys are provably equally many."""
        return self.queries == self.keys


@dataclass(frozen=True, kw_only=True)
class AttentionOp(Op):
    """What batch attention and the step of a stateful one have in common.

    Results are the output rows, log-sum-exp if it is named, and with `with_argmax` the positions that were
    selected; `with_lse` follows from the number of results.
    """

    normalizer: Normalizer = attribute(NORMALIZER)
    mask: Mask = attribute(MASK, default=Everything())
    scale: float = attribute(FLOAT, default=1.0)
    softcap: float | None = attribute(OptionalKind(FLOAT), default=None)
    modifier: Modifier | None = attribute(OptionalKind(MODIFIER), default=None)
    bias: Bias = attribute(BIAS, default=())
    sinks: Value | None = attribute(OptionalKind(VALUE), default=None)
    empty: Empty = attribute(EMPTY, default=EmptyZero())
    tolerance: float | None = attribute(OptionalKind(FLOAT), default=None)
    keys: Promises = attribute(PROMISES, default=())
    strategy: Strategy | None = attribute(OptionalKind(STRATEGY), default=None)
    with_argmax: bool = attribute(BOOL, default=False)
    with_lse: bool = False

    # --- the view that analyses, strategies and backends share ---

    @property
    def geometry(self) -> Geometry:
        """The node's sizes; `TypeRuleError` when operands do not fit each other."""
        raise NotImplementedError  # abstract: both kinds of attention define it

    @property
    def key_type(self) -> TensorType:
        """Element type and shape of the keys (one row of them in a step)."""
        raise NotImplementedError  # abstract: both kinds of attention define it

    @property
    def value_type(self) -> TensorType:
        """Element type and shape of the values (one row of them in a step)."""
        raise NotImplementedError  # abstract: both kinds of attention define it

    @property
    def output(self) -> Value:
        """The result that holds the rows."""
        return self.results[0]

    @property
    def lse(self) -> Value | None:
        """The result that holds log-sum-exp, if asked for."""
        return self.results[1] if self.with_lse else None

    @property
    def argmax(self) -> Value | None:
        """The result that holds the selected positions, if asked for: i64, one per row under a hard-max, `k`
        per row in descending order of score under a top-k. -1 stands where there is none: in rows without
        keys, in rows with a NaN score, behind the last key of a top-k.
        """
        return self.results[-1] if self.with_argmax else None

    @property
    def effective_tolerance(self) -> float:
        """The relative tolerance that holds for this node."""
        return self.key_type.dtype.default_tolerance if self.tolerance is None else self.tolerance

    @property
    def accumulator(self) -> DType:
        """What scores and sums run in: f64 if keys or values are f64, else f32."""
        return DType.F64 if DType.F64 in (self.key_type.dtype, self.value_type.dtype) else DType.F32

    @property
    def is_causal_cache(self) -> bool:
        """True for a step: its query stands at the last key."""
        return False

    @classmethod
    def result_fields(cls, written: int, given: Mapping[str, Any]) -> dict[str, Any]:
        positions = int(bool(given.get("with_argmax")))
        if written - positions not in (1, 2):
            wanted = "a log-sum-exp, then the positions of with_argmax" if positions else "a log-sum-exp"
            named = f"{written} result{' is' if written == 1 else 's are'} named"
            raise TypeRuleError(
                f"{cls.mnemonic} gives an output and, if wanted, {wanted}; {named}",
                help=None if positions else "for the positions of the winners write with_argmax = true",
            )
        return {"with_lse": written - positions == 2}

    def _result_types(self, row_shape: Shape, value_width: Dim) -> tuple[Type, ...]:
        types = [TensorType(self.value_type.dtype, (*row_shape, value_width))]
        if self.with_lse:
            types.append(TensorType(self.accumulator, row_shape))
        if self.with_argmax:
            each = (self.normalizer.k,) if isinstance(self.normalizer, TopK) else ()
            types.append(TensorType(DType.I64, (*row_shape, *each)))
        return tuple(types)

    def verify(self, report: OpReport) -> None:
        self._verify_numbers(report)
        self._verify_argmax(report)
        self._verify_sinks(report)
        self._verify_empty(report)
        for mask in self.mask.walk():
            self._verify_mask(mask, report)
        for fault in alignment_faults(self.mask, self.geometry.same_length or self.is_causal_cache):
            report.error(fault, at="mask", help=ALIGNMENT_HELP)
        self._verify_modifier(report)
        for term in self.bias:
            self._verify_bias(term, report)
        self._verify_promises(report)

    def _verify_promises(self, report: OpReport) -> None:
        width = self.geometry.key_width
        for promise in self.keys:
            match promise:
                case Monotone() | Parabola() if isinstance(width, Symbol) and width != UNKNOWN:
                    report.error(
                        f"{promise.keyword} speaks of coordinates, and keys have width {width}",
                        at="keys",
                        help="give the width as a number",
                    )
                case Monotone(axis) if isinstance(width, int) and axis >= width:
                    report.error(
                        f"monotone({axis}), and keys have width {width}",
                        at="keys",
                        help=f"coordinates are counted from 0; the last is {width - 1}",
                    )
                case Parabola() if isinstance(width, int) and width != 2:
                    report.error(
                        f"parabola, and keys have width {width}",
                        at="keys",
                        help="keys on the parabola are (2a, -a*a), so their width is 2",
                    )
                case _:
                    pass

    def _verify_numbers(self, report: OpReport) -> None:
        if not math.isfinite(self.scale):
            report.error(f"scale {self.scale} is not finite", at="scale")
        if self.softcap is not None and not (math.isfinite(self.softcap) and self.softcap > 0):
            report.error(
                f"softcap {self.softcap} is not a positive number", at="softcap", help="leave it out for none"
            )
        if self.tolerance is not None and not (math.isfinite(self.tolerance) and self.tolerance >= 0):
            report.error(f"tolerance {self.tolerance} is not a number from 0 up", at="tolerance")

    def _verify_argmax(self, report: OpReport) -> None:
        if not self.with_argmax:
            return
        if not self.normalizer.is_exact:
            report.error(
                f"with_argmax with {self.normalizer.keyword}",
                at="with_argmax",
                help="only hardmax(first), hardmax(last) and topk select positions",
            )
        elif isinstance(self.normalizer, Hardmax) and self.normalizer.tie is Tie.MEAN:
            report.error(
                "with_argmax with hardmax(mean)",
                at="with_argmax",
                help="a mean may be of several positions; hardmax(first) and hardmax(last) select one",
            )

    def _verify_sinks(self, report: OpReport) -> None:
        if self.sinks is None:
            return
        if not isinstance(self.normalizer, Softmax):
            report.error(
                f"sinks with {self.normalizer.keyword}",
                at="sinks",
                help="only softmax has a denominator for a sink to join",
            )
        self._expect(report, "sinks", self.sinks, [(self.geometry.query_heads,)], "one logit per query head")

    def _verify_empty(self, report: OpReport) -> None:
        if isinstance(self.empty, EmptyDefault):
            g = self.geometry
            shapes = [(g.value_width,), (g.query_heads, g.value_width)]
            self._expect(report, "empty", self.empty.row, shapes, "one row, or one per query head")
            row = self.empty.row.type
            if isinstance(row, TensorType) and row.dtype is not self.value_type.dtype:
                report.error(
                    f"default row {self.empty.row} is {row.dtype}, values are {self.value_type.dtype}",
                    at="empty",
                )

    def _expect(
        self,
        report: OpReport,
        at: str,
        value: Value,
        shapes: list[Shape],
        what: str,
        *,
        integer: bool = False,
    ) -> None:
        """Report unless `value` is a tensor of floats (or integers) with one of `shapes`."""
        kind = value.type
        if not isinstance(kind, TensorType):
            report.error(f"{value} is a cache, not a tensor", at=at)
            return
        if not (kind.dtype.is_int if integer else kind.dtype.is_float):
            report.error(
                f"{value} is {kind.dtype}",
                at=at,
                help=f"expected {'integers' if integer else 'floats'}: {what}",
            )
        if not any(len(s) == kind.rank and all(map(may_equal, s, kind.shape)) for s in shapes):
            wanted = " or ".join(format_shape(s) for s in shapes)
            report.error(f"{value} has shape {format_shape(kind.shape)}, expected {wanted}", at=at, help=what)

    def _score_shape(self) -> Shape:
        """`[B, Hq, N, M]`, what mask and bias tensors broadcast to."""
        g = self.geometry
        assert g.keys is not None
        return (g.batch, g.query_heads, g.queries, g.keys)

    def _verify_score_tensor(self, report: OpReport, at: str, value: Value, *, boolean: bool) -> None:
        kind = value.type
        if not isinstance(kind, TensorType):
            report.error(f"{value} is a cache, not a tensor", at=at)
            return
        if boolean != (kind.dtype is DType.BOOL) or not (boolean or kind.dtype.is_float):
            wanted = "bool" if boolean else "floats"
            report.error(f"{at} {value} is {kind.dtype}, expected {wanted}", at=at)
        if self.geometry.keys is None:
            report.error(
                f"a tensor {at} in a step",
                at=at,
                help="the number of keys grows; use window, prefix or an expression over j",
            )
            return
        shape = self._score_shape()
        fits = kind.rank <= 4 and all(
            d == 1 or may_equal(d, s) for d, s in zip(kind.shape[::-1], shape[::-1], strict=False)
        )
        if not fits:
            report.error(
                f"{at} {value} has shape {format_shape(kind.shape)}, "
                f"which does not broadcast to {format_shape(shape)}",
                at=at,
                help="trailing dimensions must agree or be 1",
            )

    def _verify_mask(self, mask: Mask, report: OpReport) -> None:
        g = self.geometry
        match mask:
            case Documents(ids, key_ids):
                if self.is_causal_cache:
                    report.error("documents in a step", at="mask", help="keep one state per document")
                    return
                if key_ids is None and not g.same_length:
                    report.error(
                        f"documents needs key ids: queries {g.queries}, keys {g.keys}",
                        at="mask",
                        help="write documents(%ids, %key_ids)",
                    )
                for value, length in ((ids, g.queries), (key_ids, g.keys)):
                    if value is not None and length is not None:
                        shapes: list[Shape] = [(length,), (g.batch, length)]
                        self._expect(
                            report, "mask", value, shapes, "one document id per position", integer=True
                        )
            case Lengths(queries, keys):
                if self.is_causal_cache:
                    report.error(
                        "lengths in a step", at="mask", help="every sequence of a state has the same length"
                    )
                    return
                for value in (queries, keys):
                    self._expect(report, "mask", value, [(g.batch,)], "one length per batch", integer=True)
            case Prefix(Value() as count):
                self._expect(
                    report,
                    "mask",
                    count,
                    [(g.batch,), ()],
                    "one count per batch, or one for all",
                    integer=True,
                )
            case TensorMask(tensor):
                self._verify_score_tensor(report, "mask", tensor, boolean=True)
            case Predicate(condition):
                self._verify_expr(condition, report, "mask", want_bool=True)
            case _:
                pass

    def _verify_modifier(self, report: OpReport) -> None:
        if self.modifier is None:
            return
        if self.normalizer.is_exact:
            report.error(
                f"a modifier under {self.normalizer.keyword}",
                at="modifier",
                help="scores are compared exactly: use scale, softcap and bias",
            )
        elif isinstance(self.modifier, ExprModifier):
            self._verify_expr(self.modifier.value, report, "modifier", want_bool=False)

    def _verify_bias(self, term: object, report: OpReport) -> None:
        g = self.geometry
        match term:
            case TensorBias(tensor):
                self._verify_score_tensor(report, "bias", tensor, boolean=False)
            case Alibi(slopes):
                self._expect(report, "bias", slopes, [(g.query_heads,), (1,)], "one slope per query head")
            case Relative(table):
                kind = table.type
                if not (
                    isinstance(kind, TensorType)
                    and kind.rank == 2
                    and isinstance(kind.shape[1], int)
                    and kind.shape[1] % 2
                ):
                    report.error(
                        f"table {table} is {kind}",
                        at="bias",
                        help="a float table [H x R] with an odd number R",
                    )
                else:
                    self._expect(
                        report,
                        "bias",
                        table,
                        [(g.query_heads, kind.shape[1]), (1, kind.shape[1])],
                        "one row per query head",
                    )
            case ExprBias(value):
                self._verify_expr(value, report, "bias", want_bool=False)
            case _:
                pass

    def _verify_expr(self, expr: Expr, report: OpReport, at: str, *, want_bool: bool) -> None:
        try:
            kind = type_of(expr)
        except ExprError as error:
            report.error(str(error), at=at)
            return
        if want_bool != (kind is ExprType.BOOL):
            wanted = "a condition" if want_bool else "a number"
            report.error(f"expected {wanted}, the expression gives {kind.value}", at=at)
        if at != "modifier" and any(isinstance(node, Score) for node in expr.walk()):
            report.error(
                f"score in a {at}",
                at=at,
                help="a mask and a bias know positions only; what changes a score stands in modifier",
            )
        if self.normalizer.is_exact and not want_bool:
            for node in expr.walk():
                if isinstance(node, Unary) and node.op.is_transcendental:
                    report.error(
                        f"{node.op.value} in a bias under {self.normalizer.keyword}",
                        at=at,
                        help="scores are compared exactly: use + - * / min max abs where and look-ups",
                    )
