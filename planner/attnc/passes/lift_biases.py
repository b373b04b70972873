"""`lift-biases`: a bias that is linear in the key position becomes one more dimension of query and key.

`s = scale * (q . k) + c * j + e` orders the keys of a row as `scale * ((q, c / scale) . (k, j))` does: `e`
does not depend on `j`, and hard-max looks at order only. A node of width 1 with ALiBi so becomes a node of
width 2 without a bias, which a hull can serve, and one of any width a node that can be scanned by vectors.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from attnc.expressions import slope_in_key
from attnc.facts import ConstantFact, Facts, analyze
from attnc.masks import box_of
from attnc.passes.base import Context, IntOption, Pass, option, register_pass
from attnc.passes.constants import representable, stored
from attnc.passes.rewrite import Rewriter
from attnc_ir.attributes.bias import Alibi, ExprBias
from attnc_ir.attributes.normalizer import Hardmax
from attnc_ir.graph import Graph
from attnc_ir.ops import Attend, Broadcast, Concat, Constant, Convert, Iota
from attnc_ir.types import MAX_DIM, DType, TensorType

# Integers up to 2**bits are exact.
_EXACT_BITS = {DType.F64: 53, DType.F32: 24, DType.F16: 11, DType.BF16: 8}


@register_pass
@dataclass(frozen=True)
class LiftBiases(Pass):
    """Lift `alibi(%slopes)` and expressions `c * j + e(b, h, i)` of hard-max nodes into an extra key
    dimension.

    Only where it is exact: `c / scale` and every `j` are elements of the key's type, or else of f64, to which
    query and key are then widened, and all of them are finite numbers that the text states (an infinite
    slope would remove keys). Steps are not lifted, nor nodes with a softcap or a log-sum-exp, which see more
    than the order. `max-width` is the largest width to lift to.

    >>> from attnc.passes.rewrite import run_on_text
    >>> text = '''graph @g(%q: f64[N x 1], %k: f64[N x 1], %v: f64[N x 4]) {
    ...     %o = attend %q, %k, %v {normalizer = hardmax(last), mask = causal, bias = expression(0.5 * j)}
    ...     return %o
    ... }'''
    >>> graph = run_on_text(LiftBiases(), text)
    >>> graph.ops[-1].bias, graph.ops[-1].geometry.key_width
    ((), 2)
    """

    name: ClassVar[str] = "lift-biases"
    max_width: int = option(IntOption(1, MAX_DIM), 128)

    def run(self, graph: Graph, context: Context) -> Graph:
        facts = analyze(graph)
        rewriter = Rewriter(graph)
        for op in graph.ops:
            if isinstance(op, Attend) and op.bias and isinstance(op.normalizer, Hardmax):
                rewriter.add(self._lifted(op, facts, rewriter, context))
            else:
                rewriter.add(op)
        return rewriter.finish()

    def _lifted(self, node: Attend, facts: Facts, rewriter: Rewriter, context: Context) -> Attend:
        width = node.geometry.key_width
        if not isinstance(width, int) or width + 1 > self.max_width:
            context.count("kept-wide-key")
            return node
        if node.softcap is not None or node.with_lse or node.scale == 0:
            context.count("kept-seen-score")
            return node
        slopes = _slopes(node, facts)
        if slopes is None:
            context.count("kept-unknown-slope")
            return node
        if all(slope == 0 for slope in slopes):
            context.count("dropped-zero-slope")
            return dataclasses.replace(node, bias=())
        if node.keys:
            # A promise speaks of the keys as they are; wider ones need not keep it.
            context.count("kept-promised-key")
            return node
        own = node.key_type.dtype
        keys = node.geometry.keys
        last = (keys if isinstance(keys, int) else MAX_DIM) - 1
        word = ""
        for dtype in dict.fromkeys((own, DType.F64)):
            if 2 ** _EXACT_BITS[dtype] < last:
                word = word or "kept-inexact-position"
                continue
            scaled = [representable(slope / Fraction(node.scale), dtype) for slope in slopes]
            exact = [value for value in scaled if value is not None]
            if len(exact) < len(scaled):
                word = "kept-inexact-scale"
                continue
            context.count("lifted-bias")
            said = f"the bias became dimension {width + 1} of query and key"
            if dtype is not own:
                context.count("widened-key")
                said += f", which were widened to {dtype} to hold it exactly"
            context.note(rewriter.graph, node, said)
            return _widened(node, exact, dtype, rewriter)
        context.count(word)
        return node


def _slopes(node: Attend, facts: Facts) -> list[Fraction] | None:
    """The factor of `j`, one for all query heads or one each; None when it is not known or a term has
    another form.
    """
    total = [Fraction(0)]
    for term in node.bias:
        match term:
            case ExprBias(value):
                slope = slope_in_key(value, box_of(node))
                parts = None if slope is None else [slope]
            case Alibi(slopes):
                known = facts.get(slopes, ConstantFact)
                elements = stored(known.elements, slopes.tensor.dtype) if known is not None else (math.nan,)
                parts = (
                    [Fraction(x) for x in elements]
                    if elements and all(map(math.isfinite, elements))
                    else None
                )
            case _:
                parts = None
        if parts is None:
            return None
        length = max(len(total), len(parts))
        pairs = zip(total * (length // len(total)), parts * (length // len(parts)), strict=True)
        total = [a + b for a, b in pairs]
    return total


def _widened(node: Attend, slopes: list[float], dtype: DType, rewriter: Rewriter) -> Attend:
    """The node over `(q, slope)` and `(k, j)` in type `dtype`, without its bias."""
    query, key = node.query.tensor, node.key.tensor
    rank = query.rank
    heads = (len(slopes), 1, 1) if len(slopes) > 1 else (1,) * min(rank, 3)
    place = node.location
    factor = rewriter.insert(
        Constant(type=TensorType(dtype, heads), values=tuple(slopes), location=place),
        f"{node.output.name}_slope",
    )
    column = rewriter.insert(
        Broadcast(x=factor, shape=(*query.shape[:-1], 1), location=place), f"{node.output.name}_slopes"
    )
    index = rewriter.insert(
        Iota(type=TensorType(dtype, (key.shape[-2], 1)), axis=-2, location=place), f"{node.output.name}_index"
    )
    indices = rewriter.insert(
        Broadcast(x=index, shape=(*key.shape[:-1], 1), location=place), f"{node.output.name}_indices"
    )
    queries, stored_keys = (
        value
        if value.tensor.dtype is dtype
        else rewriter.insert(Convert(x=value, to=dtype, location=place), f"{value.name}_{dtype}")
        for value in (node.query, node.key)
    )
    wide_query = rewriter.insert(
        Concat(parts=(queries, column), axis=-1, location=place), f"{node.query.name}_lifted"
    )
    wide_key = rewriter.insert(
        Concat(parts=(stored_keys, indices), axis=-1, location=place), f"{node.key.name}_lifted"
    )
    return dataclasses.replace(node, query=wide_query, key=wide_key, bias=())
