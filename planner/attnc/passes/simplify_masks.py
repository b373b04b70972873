"""`simplify-masks`: the same allowed positions, said with less.

Every causal mask and window is a band of diagonals; bands that are and-ed or or-ed become one, and a band
that covers every diagonal a node can have is everything. Prefixes merge likewise. Predicates are folded
with what is known of the sizes; where one is linear in `i` and `j` it becomes a band or a prefix, which
strategies understand, and look-ups by position become documents, tensors and prefixes.

Terms are asked from left to right, and an earlier one may guard the look-ups of a later one. So a merged
term takes the first place of those it replaces: a look-up that would have raised an error may not happen
any more, none is added.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from attnc.expressions import Box, fold, linear
from attnc.facts import ConstantFact, Facts, analyze
from attnc.masks import Band, box_of, diagonals, explicit
from attnc.passes.base import Context, Pass, register_pass
from attnc.passes.canonicalize import tidied
from attnc.passes.recognised import Change, recognised_mask
from attnc.passes.rewrite import Rewriter
from attnc_ir.attributes.mask import (
    And,
    Causal,
    Everything,
    Mask,
    Not,
    Nothing,
    Or,
    Predicate,
    Prefix,
    TensorMask,
    Window,
)
from attnc_ir.expr import Binary, BinaryOp, BoolLiteral, Expr, Unary, UnaryOp, Variable
from attnc_ir.graph import Graph
from attnc_ir.ops import AttentionOp, Constant, Maximum
from attnc_ir.types import MAX_DIM, TensorType
from attnc_ir.values import Value

Count = Callable[[str], None]


@register_pass
@dataclass(frozen=True)
class SimplifyMasks(Pass):
    """Simplify the mask of every attention node.

    >>> from attnc.passes.rewrite import run_on_text
    >>> text = '''graph @g(%q: f32[N x 4], %k: f32[N x 4], %v: f32[N x 4]) {
    ...     %o = attend %q, %k, %v {normalizer = softmax, mask = causal & window(16, 9) & predicate(j >= 0)}
    ...     return %o
    ... }'''
    >>> graph = run_on_text(SimplifyMasks(), text)
    >>> graph.ops[0].mask
    Window(left=16, right=0, alignment=<Corner.TOP_LEFT: 'top_left'>)
    """

    name: ClassVar[str] = "simplify-masks"

    def run(self, graph: Graph, context: Context) -> Graph:
        facts = analyze(graph)
        rewriter = Rewriter(graph)
        counts: dict[Value, Value] = {}

        def counted(value: Value) -> Value:
            if value not in counts:
                counts[value] = _not_negative(value, rewriter)
            return counts[value]

        for op in graph.ops:
            if isinstance(op, AttentionOp):
                mask = simplified(op, facts, context.count, counted)
                if mask != op.mask:
                    op = dataclasses.replace(op, mask=mask)
            rewriter.add(op)
        return rewriter.finish()


def _not_negative(value: Value, rewriter: Rewriter) -> Value:
    """Integers, 0 in place of those below."""
    zero = Constant(type=TensorType(value.tensor.dtype, ()), values=(0.0,))
    return rewriter.insert(Maximum(left=value, right=rewriter.insert(zero, "zero")), f"{value.name}_count")


def simplified(
    node: AttentionOp, facts: Facts, count: Count = lambda _: None, counted: Change | None = None
) -> Mask:
    """The mask of a node in its simplest form; `counted` adds ops that replace integers below 0 by 0."""
    simplifier = _Simplifier(node, facts, count, counted)
    mask = explicit(node)
    while True:
        after = tidied(simplifier.simplify(mask))
        if after == mask:
            return mask
        mask = after


@dataclass(frozen=True)
class _Simplifier:
    node: AttentionOp
    facts: Facts
    count: Count
    counted: Change | None

    @property
    def box(self) -> Box:
        return box_of(self.node)

    def simplify(self, mask: Mask) -> Mask:
        mask = mask.map_terms(self.simplify)
        match mask:
            case And(terms):
                return self._combined(terms, conjunction=True)
            case Or(terms):
                return self._combined(terms, conjunction=False)
            case Not(term):
                return self._negated(mask, term)
            case _:
                return self._leaf(mask)

    # --- leaves ---

    def _leaf(self, mask: Mask) -> Mask:
        match mask:
            case Causal() | Window():
                band = Band.of(mask)
                assert band is not None
                # A window stays as it was written, unless something simpler says the same.
                simpler = band.mask(diagonals(self.node, bottom_right=band.bottom_right))
                return self._constant(mask, simpler if not isinstance(simpler, Window) else None)
            case Prefix(count):
                return self._prefix(mask, count)
            case TensorMask(tensor):
                known = self.facts.get(tensor, ConstantFact)
                elements = set(known.elements) if known is not None else set()
                if elements == {1.0}:
                    return self._constant(mask, Everything())
                return self._constant(mask, Nothing()) if elements == {0.0} else mask
            case Predicate(condition):
                return self._predicate(mask, condition)
            case _:
                return mask

    def _constant(self, mask: Mask, simpler: Mask | None) -> Mask:
        if simpler is None or simpler == mask:
            return mask
        match simpler:
            case Everything():
                self.count("dropped-vacuous-term")
            case Nothing():
                self.count("found-impossible-term")
            case _:
                self.count("simplified-band")
        return simpler

    def _prefix(self, mask: Mask, count: int | Value) -> Mask:
        if isinstance(count, Value):
            known = self.facts.get(count, ConstantFact)
            if known is None or len(set(known.elements)) != 1 or known.elements[0] < 0:
                return mask
            self.count("read-constant-count")
            count = min(int(known.elements[0]), MAX_DIM)
            mask = Prefix(count)
        keys = self.node.geometry.keys
        if count == 0:
            return self._constant(mask, Nothing())
        return (
            self._constant(mask, Everything())
            if count >= (keys if isinstance(keys, int) else MAX_DIM)
            else mask
        )

    def _predicate(self, mask: Mask, condition: Expr) -> Mask:
        folded = fold(condition, self.box)
        if isinstance(folded, BoolLiteral):
            self.count("folded-predicate")
            return Everything() if folded.value else Nothing()
        structural = self._structural(folded)
        if structural is not None:
            self.count("recognised-predicate")
            return structural
        if folded != condition:
            self.count("folded-predicate")
            return Predicate(folded)
        return mask

    def _structural(self, condition: Expr) -> Mask | None:
        """The condition as a mask that is no predicate, at least in part; None when nothing is recognised."""
        match condition:
            case Binary(BinaryOp.AND | BinaryOp.OR as op, left, right):
                first, second = self._structural(left), self._structural(right)
                if first is None and second is None:
                    return None
                terms = (first or Predicate(left), second or Predicate(right))
                return And(terms) if op is BinaryOp.AND else Or(terms)
            case Unary(UnaryOp.NOT, operand):
                inner = self._structural(operand)
                return None if inner is None else Not(inner)
            case Binary(op, left, right):
                return self._comparison(op, left, right)
            case _:
                return recognised_mask(condition, self.node, self.counted)

    def _comparison(self, op: BinaryOp, left: Expr, right: Expr) -> Mask | None:
        if op in (BinaryOp.GT, BinaryOp.GE):
            op, left, right = (BinaryOp.LT if op is BinaryOp.GT else BinaryOp.LE), right, left
        if isinstance(left, Unary) and left.op is UnaryOp.ABS and op in (BinaryOp.LT, BinaryOp.LE):
            # abs(x) <= y is x <= y and -y <= x.
            above = self._comparison(op, left.operand, right)
            below = self._comparison(op, Unary(UnaryOp.NEG, right), left.operand)
            return None if above is None or below is None else And((above, below))
        form = linear(Binary(BinaryOp.SUB, left, right), self.box)
        if form is None or op not in (BinaryOp.LT, BinaryOp.LE, BinaryOp.EQ):
            return recognised_mask(Binary(op, left, right), self.node, self.counted)
        # a_j * j + a_i * i <= bound
        bound = -form.constant - (op is BinaryOp.LT)
        match dict(form.coefficients):
            case {Variable.KEY: 1, Variable.QUERY: -1, **rest} if not rest:
                return self._band(bound if op is BinaryOp.EQ else None, bound)
            case {Variable.KEY: -1, Variable.QUERY: 1, **rest} if not rest:
                return self._band(-bound, -bound if op is BinaryOp.EQ else None)
            case {Variable.KEY: 1, **rest} if not rest and op is not BinaryOp.EQ:
                return Prefix(min(max(0, bound + 1), MAX_DIM))
            case {Variable.KEY: -1, **rest} if not rest and op is not BinaryOp.EQ:
                return Not(Prefix(min(max(0, -bound), MAX_DIM)))
            case _:
                return None

    def _band(self, low: int | None, high: int | None) -> Mask | None:
        return Band(bottom_right=False, low=low, high=high).mask(diagonals(self.node, bottom_right=False))

    # --- combinations ---

    def _negated(self, mask: Mask, term: Mask) -> Mask:
        match term:
            case Everything():
                return self._constant(mask, Nothing())
            case Nothing():
                return self._constant(mask, Everything())
            case Not(inner):
                self.count("dropped-double-negation")
                return inner
            case And(terms) | Or(terms) if 2 * sum(isinstance(t, Not) for t in terms) >= len(terms):
                # De Morgan, where at least as many negations go as come.
                self.count("pushed-negation")
                pushed = tuple(t.term if isinstance(t, Not) else Not(t) for t in terms)
                return Or(pushed) if isinstance(term, And) else And(pushed)
            case _:
                return mask

    def _combined(self, terms: tuple[Mask, ...], *, conjunction: bool) -> Mask:
        """Terms of an `and` (`or`), each simplified already, merged with one another."""
        neutral, absorbing = (Everything(), Nothing()) if conjunction else (Nothing(), Everything())
        kept: list[Mask] = []
        for term in terms:
            if term == neutral:
                self.count("dropped-neutral-term")
            elif term not in kept:
                self._merge_into(kept, term, conjunction=conjunction)
        # A term and its negation, or a constant, decide all.
        if absorbing in kept or any(Not(t) in kept for t in kept):
            self.count("decided-by-one-term")
            return absorbing
        kept = self._absorbed(kept, conjunction=conjunction)
        if not kept:
            return neutral
        if len(kept) == 1:
            return kept[0]
        return And(tuple(kept)) if conjunction else Or(tuple(kept))

    def _merge_into(self, kept: list[Mask], term: Mask, *, conjunction: bool) -> None:
        """Add a term, or merge it with one that is there."""
        for place, other in enumerate(kept):
            merged = self._merged(other, term, conjunction=conjunction)
            if merged is not None:
                self.count("merged-terms")
                kept[place] = merged
                return
        kept.append(term)

    def _merged(self, a: Mask, b: Mask, *, conjunction: bool) -> Mask | None:
        match a, b:
            case Prefix(int() as m), Prefix(int() as n):
                return Prefix(min(m, n) if conjunction else max(m, n))
            case _:
                pass
        x, y = Band.of(a), Band.of(b)
        if x is None or y is None or x.bottom_right != y.bottom_right:
            return None
        band = x & y if conjunction else x | y
        return None if band is None else band.mask(diagonals(self.node, bottom_right=x.bottom_right))

    def _absorbed(self, kept: list[Mask], *, conjunction: bool) -> list[Mask]:
        """`a & (a | b)` is `a`, and `a | (a & b)` too; `a` moves up to where it first guards something."""
        inner: type[And | Or] = Or if conjunction else And
        left = [next((s for s in t.terms if s in kept), t) if isinstance(t, inner) else t for t in kept]
        if left != kept:
            self.count("absorbed-term")
        return list(dict.fromkeys(left))
