"""Facts: what is known about the values of a graph, each with the reason why it holds.

Strategies and passes ask for facts and never look at weights or op names themselves. A fact is a typed
statement about one value; `Facts` holds at most one of each type for a value.
"""

from __future__ import annotations

from attnc.facts.caches import transfer_caches
from attnc.facts.columns import columns, transfer_columns
from attnc.facts.elements import integer_range, transfer_elements
from attnc.facts.kinds import (
    Column,
    ColumnsFact,
    ConstantFact,
    Fact,
    Facts,
    FiniteFact,
    FixedFact,
    IntegerFact,
    MonotoneFact,
    ParabolaFact,
    PolynomialFact,
    SameKeyFact,
    SteadyFact,
    ZeroFact,
)
from attnc.facts.parabola import transfer_parabolas
from attnc.facts.polynomial import Polynomial
from attnc.facts.promises import transfer_promises
from attnc.facts.sequence import steady, transfer_sequence
from attnc_ir.graph import Graph
from attnc_ir.types import TensorType


def analyze(graph: Graph) -> Facts:
    """The facts that follow from the ops of a graph, in one forward sweep (graphs have no cycles).

    >>> from attnc_ir.text import parse
    >>> graph = parse("graph @g() { %c = constant {type = f64[2], values = [3.0]}  %n = neg %c  return %n }")[
    ...     "g"
    ... ]
    >>> facts = analyze(graph)
    >>> facts.chain(facts.get(graph.outputs[0], IntegerFact))
    ('%n has integers from -3 to -3', '%c is written out: integers from 3 to 3')
    """
    facts = Facts()
    for value in graph.inputs:
        if isinstance(value.type, TensorType) and not value.type.dtype.is_float:
            facts.add(FiniteFact(value, f"is {value.type.dtype}"))
    for op in graph.ops:
        transfer_elements(op, facts)
        transfer_sequence(op, facts)
        transfer_columns(op, facts)
    transfer_parabolas(graph, facts)
    transfer_promises(graph, facts)
    transfer_caches(graph, facts)
    return facts


__all__ = [
    "Column",
    "ColumnsFact",
    "ConstantFact",
    "Fact",
    "Facts",
    "FiniteFact",
    "FixedFact",
    "IntegerFact",
    "MonotoneFact",
    "ParabolaFact",
    "Polynomial",
    "PolynomialFact",
    "SameKeyFact",
    "SteadyFact",
    "ZeroFact",
    "analyze",
    "columns",
    "integer_range",
    "steady",
]
