"""Python functions as masks, biases and modifiers: traced, taken apart, and given their arrays as inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from attnc.arguments import Bias, Lowering, Mask, dtype_of
from attnc.modifiers import Parts, split, without_removals
from attnc.tracing import MASK_MOD, SCORE_MOD, Trace, trace
from attnc.tracing.captured import code_of
from attnc.tracing.faults import fault_of_definition
from attnc_ir.attributes import bias as ir_bias
from attnc_ir.attributes import mask as ir_mask
from attnc_ir.attributes.modifier import ExprModifier, Modifier
from attnc_ir.attributes.normalizer import Normalizer
from attnc_ir.errors import ArgumentError
from attnc_ir.expr import EXPR, Binary, BinaryOp, Expr, Index, Lookup, Unary, Variable
from attnc_ir.op import replace_values
from attnc_ir.types import Dim, Symbol
from attnc_ir.values import Value


class Sizes(NamedTuple):
    """The sizes of a call that an axis of a table may have."""

    batch: int
    heads: int
    queries: int
    keys: int


@dataclass(frozen=True)
class ScoreParts:
    """What a `score_mod` comes to. `needs_one_length` says that some array serves queries and keys."""

    mask: Mask | None
    scale: float
    softcap: float | None
    modifier: ModifierArgument | None
    bias: Bias | None
    needs_one_length: bool


@dataclass(frozen=True)
class ModifierArgument:
    """A modifier with its arrays; `key` and `lower` as those of a mask."""

    key: tuple[Any, ...]
    lower: Callable[[Lowering], Modifier]


def mask_of(function: Any, sizes: Sizes) -> Mask:
    """The mask that a `mask_mod` describes, for a call with these sizes."""
    traced = _Traced(trace(function, MASK_MOD), sizes, "Mask")
    return traced.mask(traced.trace.expr)


def score_of(
    function: Any, sizes: Sizes, *, normalizer: Normalizer, scale: float, softcap: float | None
) -> ScoreParts:
    """What a `score_mod` comes to, beside the scale and softcap of the call, which come before it."""
    found = trace(function, SCORE_MOD)
    parts = found.once(softcap is None, lambda: parts_of(found.expr, capped=softcap is not None))
    if normalizer.is_exact:
        _check_exact(function, parts, normalizer, scale)
    traced = _Traced(found, sizes, "Score")
    mask = None
    for condition in parts.conditions:
        mask = traced.mask(condition) if mask is None else mask & traced.mask(condition)
    bias = None
    for value in parts.biases:
        bias = traced.bias(value) if bias is None else bias + traced.bias(value)
    return ScoreParts(
        mask,
        scaled(scale, parts.factor),
        parts.softcap if parts.softcap is not None else softcap,
        None if parts.modifier is None else traced.modifier(parts.modifier),
        bias,
        traced.needs_one_length,
    )


def parts_of(expr: Expr, *, capped: bool) -> Parts:
    """A traced `score_mod` in parts. -inf in place of a score removes the key, as does a term of -inf."""
    conditions, rest = without_removals(expr)
    parts = split(rest, capped=capped)
    return Parts(conditions, parts.factor, parts.softcap, parts.modifier, parts.biases)


def scaled(scale: float, factor: Fraction) -> float:
    """The scale times the factor of a function, rounded once."""
    if factor == 1:
        return scale
    try:
        return float(Fraction(scale) * factor)
    except (OverflowError, ValueError):
        return scale * float(factor)


def _check_exact(function: Any, parts: Parts, normalizer: Normalizer, scale: float) -> None:
    """Hard-max and top-k compare real numbers: what a double or a kernel cannot hold exactly is refused."""
    code, name = code_of(function), normalizer.keyword
    if parts.modifier is not None:
        raise fault_of_definition(
            code,
            f"score_mod under {name} leaves {EXPR.write(parts.modifier):.60}",
            "scores are compared as real numbers: multiply the score by a number, cap it, add what depends "
            "on the position, or remove keys",
        )
    if not _is_exact(scale, parts.factor):
        raise fault_of_definition(
            code,
            f"score_mod under {name} multiplies by {parts.factor}, and {scale!r} times that is no double",
            "scores are compared as real numbers: give the product as scale",
        )
    for node in (node for value in parts.biases for node in value.walk()):
        if isinstance(node, Unary) and node.op.is_transcendental:
            raise fault_of_definition(
                code,
                f"score_mod under {name} adds {node.op.value}(...)",
                "scores are compared as real numbers: use + - * / abs minimum maximum where and look-ups",
            )


def _is_exact(scale: float, factor: Fraction) -> bool:
    product = scaled(scale, factor)
    return not math.isfinite(product) or Fraction(scale) * factor == Fraction(product)


@dataclass
class _Traced:
    """A trace in a call with these sizes: what sizes axes of its tables have, and the tables as inputs."""

    trace: Trace
    sizes: Sizes
    stem: str
    """What the names of sizes that only tables have begin with."""

    def __post_init__(self) -> None:
        indices = self.trace.once("indices", lambda: _indices(self.trace.expr))
        self.needs_one_length = False
        self._dims = {
            table.value: tuple(
                self._dim(indices[table.value][axis], size, f"{self.stem}{place}_{axis}")
                for axis, size in enumerate(table.array.shape)
            )
            for place, table in enumerate(self.trace.tables)
        }
        self._arrays = {table.value: table for table in self.trace.tables}

    def _dim(self, indices: frozenset[Expr], size: int, name: str) -> Dim:
        """The size of an axis: that of a coordinate it is indexed by, one of its own, or a number."""
        variables = {e.variable for e in indices if isinstance(e, Index)}
        if len(variables) < len(indices):
            return size  # computed indices: what is known of the range is worth more than one compilation
        own = [(Symbol(_DIMS[v]), getattr(self.sizes, _SIZES[v])) for v in sorted(variables, key=str)]
        if any(known != size for _, known in own):
            return Symbol(name)
        if len(own) == 1:
            return own[0][0]
        if variables == {Variable.QUERY, Variable.KEY}:
            self.needs_one_length = True
            return Symbol("N")
        return Symbol(name)

    def _key(self, expr: Expr) -> tuple[Any, ...]:
        """Equal for expressions that make the same graph."""
        text, tables = self._text(expr)
        return (
            text,
            *((dtype_of(self._arrays[v].array), self._dims[v]) for v in tables if v in self._arrays),
        )

    def _text(self, expr: Expr) -> tuple[str, tuple[Value, ...]]:
        """A part of the trace as text, and its tables."""
        # The part is kept as well, so that its id is no other's.
        return self.trace.once(("text", id(expr)), lambda: (EXPR.write(expr), _tables(expr), expr))[:2]

    def _lower(self, expr: Expr, low: Lowering) -> Expr:
        """The expression over inputs; a table that several parts look up in is one input."""
        replaced = {}
        for value in self._text(expr)[1]:
            if value in self._arrays:
                place, table = (id(self), value), self._arrays[value]
                if place not in low.tables:
                    stem = f"{table.name}_" if table.name[-1].isdigit() else table.name
                    low.tables[place] = low.input(stem, table.array, self._dims[value])
                replaced[value] = low.tables[place]
        what = ("lowered", id(expr), tuple(replaced.values()))
        return self.trace.once(what, lambda: replace_values(expr, replaced))

    def mask(self, expr: Expr) -> Mask:
        """A condition as a mask."""
        return Mask(
            ("function", *self._key(expr)),
            lambda low: ir_mask.Predicate(self._lower(expr, low)),
            self.needs_one_length,
        )

    def bias(self, expr: Expr) -> Bias:
        """A number as a bias."""
        return Bias(("function", *self._key(expr)), lambda low: (ir_bias.ExprBias(self._lower(expr, low)),))

    def modifier(self, expr: Expr) -> ModifierArgument:
        """A number computed from the score."""
        return ModifierArgument(self._key(expr), lambda low: ExprModifier(self._lower(expr, low)))


_DIMS = {Variable.BATCH: "B", Variable.HEAD: "H", Variable.QUERY: "N", Variable.KEY: "M"}
_SIZES = {Variable.BATCH: "batch", Variable.HEAD: "heads", Variable.QUERY: "queries", Variable.KEY: "keys"}


def _tables(expr: Expr) -> tuple[Value, ...]:
    """The tables that an expression looks up in, in the order of its text."""
    return tuple(dict.fromkeys(node.table for node in expr.walk() if isinstance(node, Lookup)))


def _indices(expr: Expr) -> dict[Value, list[frozenset[Expr]]]:
    """By table and axis, what it is indexed by."""
    found: dict[Value, list[set[Expr]]] = {}
    for node in expr.walk():
        if isinstance(node, Lookup):
            axes = found.setdefault(node.table, [set() for _ in node.indices])
            for axis, index in zip(axes, node.indices, strict=True):
                axis.add(index)
    return {value: [frozenset(axis) for axis in axes] for value, axes in found.items()}


# --- for graphs that are built ------------------------------------------------------------------------------


def traced_mask(function: Any) -> ir_mask.Predicate:
    """A `mask_mod(b, h, q_idx, kv_idx)` as an attribute of a graph that is being built.

    Tables are values of the graph: `attnc.table(ids)[q_idx]`.

    >>> from attnc_ir.attributes.mask import MASK
    >>> MASK.write(traced_mask(lambda b, h, q_idx, kv_idx: (q_idx - kv_idx) % 4 == 0))
    'predicate((i - j) % 4 == 0)'
    """
    return ir_mask.Predicate(_without_arrays(trace(function, MASK_MOD), "traced_mask"))


def traced_score(function: Any, *, scale: float = 1.0) -> dict[str, Any]:
    """A `score_mod(score, b, h, q_idx, kv_idx)` as attributes of a graph that is being built: `scale`, and
    where it needs them `softcap`, `modifier`, `bias` and `mask`. `scale` is what dot products are multiplied
    by before.

    >>> sorted(traced_score(lambda score, b, h, q_idx, kv_idx: score / 2 + (kv_idx - q_idx)))
    ['bias', 'scale']
    """
    parts = parts_of(_without_arrays(trace(function, SCORE_MOD), "traced_score"), capped=False)
    found: dict[str, Any] = {"scale": scaled(scale, parts.factor)}
    if parts.softcap is not None:
        found["softcap"] = parts.softcap
    if parts.modifier is not None:
        found["modifier"] = ExprModifier(parts.modifier)
    if parts.biases:
        found["bias"] = tuple(map(ir_bias.ExprBias, parts.biases))
    if parts.conditions:
        condition = parts.conditions[0]
        for other in parts.conditions[1:]:
            condition = Binary(BinaryOp.AND, condition, other)
        found["mask"] = ir_mask.Predicate(condition)
    return found


def _without_arrays(found: Trace, what: str) -> Expr:
    if found.tables:
        raise ArgumentError(
            f"{what}: the function looks up in the array {found.tables[0].name}, which has no place in a "
            "graph; make it an input or a constant and look up in attnc.table(value)"
        )
    return found.expr
