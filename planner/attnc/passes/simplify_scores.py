"""`simplify-scores`: leave out of a score what cannot change the answer.

Hard-max looks at the order of scores only, and the order is exact. So without a bias, and without a
log-sum-exp:

- a positive scale goes: it multiplies every score, NaN stays NaN and infinities keep their sign
- a softcap goes: it is strictly increasing, and what it makes finite (an infinite score) stays above or
  below the rest
- a negative scale becomes a negated query, which is exact, and then goes; a scale of 0 stays

Under `mean` a score matters only by being NaN or not, so any scale but 0 goes.

A bias that is the same along `j` shifts a whole row. It goes under hard-max; under softmax and top-k it
goes if it is so small that the rounding it causes lies far inside the declared tolerance, which the plan
then says. Never where it can be infinite or NaN (tensors and look-ups stay, unless they are known), nor
under softmax where a log-sum-exp or sinks would see the shift.

Modifiers and expressions say more than kernels want to know. A modifier that is `a * score + e` becomes a
scale and a bias, one that is `c * tanh(score / c)` a softcap; an expression that is a tensor, ALiBi or a
relative table becomes that.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from attnc.expressions import depends_on_key, magnitude
from attnc.facts import ConstantFact, Facts, analyze
from attnc.masks import box_of
from attnc.modifiers import as_double, split
from attnc.passes.base import Context, Pass, register_pass
from attnc.passes.constants import stored
from attnc.passes.recognised import recognised_bias
from attnc.passes.rewrite import Rewriter
from attnc_ir.attributes.bias import Alibi, BiasTerm, ExprBias, Relative, TensorBias
from attnc_ir.attributes.modifier import ExprModifier
from attnc_ir.attributes.normalizer import Hardmax, Mean
from attnc_ir.graph import Graph
from attnc_ir.ops import Attend, AttendStep, AttentionOp, Neg
from attnc_ir.values import Value

_SLACK = 8
"""A dropped shift may cost this part of the tolerance: the rest belongs to the kernel."""


@register_pass
@dataclass(frozen=True)
class SimplifyScores(Pass):
    """Drop scales, softcaps and biases that leave the weights as they are.

    >>> from attnc.passes.rewrite import run_on_text
    >>> text = '''graph @g(%q: f32[N x 4], %k: f32[M x 4], %v: f32[M x 4]) {
    ...     %o = attend %q, %k, %v {normalizer = hardmax(last), scale = -0.5, softcap = 30.0}
    ...     return %o
    ... }'''
    >>> graph = run_on_text(SimplifyScores(), text)
    >>> [type(op).__name__ for op in graph.ops], graph.ops[1].scale, graph.ops[1].softcap
    (['Neg', 'Attend'], 1.0, None)
    """

    name: ClassVar[str] = "simplify-scores"

    def run(self, graph: Graph, context: Context) -> Graph:
        facts = analyze(graph)
        rewriter = Rewriter(graph)
        for op in graph.ops:
            if isinstance(op, Attend | AttendStep):
                node = _recognised(_without_modifier(op, context, graph), rewriter, context)
                node = _without_shifts(node, facts, context, graph)
                rewriter.add(_without_factors(node, rewriter, context, graph))
            else:
                rewriter.add(op)
        return rewriter.finish()


# --- modifiers and expressions ------------------------------------------------------------------------------


def _without_modifier(node: Attend | AttendStep, context: Context, graph: Graph) -> Attend | AttendStep:
    """The node with what of its modifier is a scale, a softcap or a bias that is finite everywhere."""
    if not isinstance(node.modifier, ExprModifier):
        return node
    box = box_of(node)
    whole = node.modifier.value
    parts = split(
        whole, capped=node.softcap is not None, movable=lambda term: magnitude(term, box) is not None
    )
    scale = as_double(Fraction(node.scale) * parts.factor)
    if parts.modifier == whole or scale is None:
        return node
    context.count("split-modifier")
    if parts.factor != 1 or parts.biases:
        context.note(graph, node, "the modifier was taken apart: scores are rounded in another order")
    return dataclasses.replace(
        node,
        scale=scale,
        softcap=parts.softcap if parts.softcap is not None else node.softcap,
        modifier=None if parts.modifier is None else ExprModifier(parts.modifier),
        bias=(*map(ExprBias, parts.biases), *node.bias),
    )


def _recognised(node: Attend | AttendStep, rewriter: Rewriter, context: Context) -> Attend | AttendStep:
    """The node with expressions of its bias as what they are."""

    def negated(value: Value) -> Value:
        return rewriter.insert(Neg(x=value, location=node.location), f"{value.name}_neg")

    found = [recognised_bias(term, node, negated) for term in node.bias]
    if not any(found):
        return node
    context.count("recognised-bias")
    bias = tuple(new or old for new, old in zip(found, node.bias, strict=True))
    return dataclasses.replace(node, bias=bias)


# --- biases -------------------------------------------------------------------------------------------------


def _without_shifts(
    node: Attend | AttendStep, facts: Facts, context: Context, graph: Graph
) -> Attend | AttendStep:
    kept: list[BiasTerm] = []
    for term in node.bias:
        decision = _dropped(node, term, facts)
        if decision is None:
            kept.append(term)
            continue
        context.count(decision)
        if decision == "dropped-rounding-shift":
            context.note(
                graph,
                node,
                "a bias that is the same for all keys was left out; "
                f"that changes rounding only, within {node.effective_tolerance:g}",
            )
    return dataclasses.replace(node, bias=tuple(kept)) if len(kept) < len(node.bias) else node


def _dropped(node: AttentionOp, term: BiasTerm, facts: Facts) -> str | None:
    """Why a term may go, as a word for the statistics; None when it stays."""
    bound = _bound(node, term, facts)
    if bound is None:
        return None
    if bound == 0:
        return "dropped-zero-bias"
    if node.with_lse:
        return None
    if isinstance(node.normalizer, Mean):
        return "dropped-unused-bias"
    if _varies(term):
        return None
    if isinstance(node.normalizer, Hardmax):
        return "dropped-row-shift"
    # s + c rounds s by about |c| 2**-53, which moves a weight by as much, relatively.
    harmless = node.sinks is None and bound * 2.0**-52 * _SLACK <= node.effective_tolerance
    return "dropped-rounding-shift" if harmless else None


def _varies(term: BiasTerm) -> bool:
    """Whether a term can differ between the keys of a row."""
    match term:
        case ExprBias(value):
            return depends_on_key(value)
        case TensorBias(tensor):
            shape = tensor.tensor.shape
            return bool(shape) and shape[-1] != 1
        case _:
            return True


def _bound(node: AttentionOp, term: BiasTerm, facts: Facts) -> float | None:
    """The largest magnitude of a term; None when it is not known to be finite everywhere."""
    match term:
        case ExprBias(value):
            return magnitude(value, box_of(node))
        case TensorBias(source) | Alibi(source) | Relative(source):
            largest = _largest(source, facts)
            if largest is None or not isinstance(term, Alibi):
                return largest
            # |j - i| < 2**40
            return largest * 2.0**40 if largest < 1e200 else None
        case _:
            return None


def _largest(value: Value, facts: Facts) -> float | None:
    known = facts.get(value, ConstantFact)
    if known is None:
        return None
    elements = [abs(x) for x in stored(known.elements, value.tensor.dtype)]
    return max(elements, default=0.0) if all(math.isfinite(x) for x in elements) else None


# --- scale and softcap --------------------------------------------------------------------------------------


def _without_factors(
    node: Attend | AttendStep, rewriter: Rewriter, context: Context, graph: Graph
) -> Attend | AttendStep:
    if (
        node.bias
        or node.with_lse
        or node.modifier is not None
        or not isinstance(node.normalizer, Hardmax | Mean)
    ):
        return node
    exact = isinstance(node.normalizer, Hardmax)
    why = "it keeps the order of scores" if exact else "mean does not use scores"
    if node.softcap is not None:
        context.count("dropped-softcap")
        context.note(graph, node, f"softcap {node.softcap:g} was left out: {why}")
        node = dataclasses.replace(node, softcap=None)
    if node.scale in (0, 1):
        return node
    if node.scale < 0 and exact:
        context.count("flipped-negative-scale")
        context.note(graph, node, f"the sign of scale {node.scale:g} was moved to the query")
        query = rewriter.insert(Neg(x=node.query, location=node.location), f"{node.query.name}_neg")
        node = dataclasses.replace(node, query=query)
    else:
        context.count("dropped-scale")
        context.note(graph, node, f"scale {node.scale:g} was left out: {why}")
    return dataclasses.replace(node, scale=1.0)
