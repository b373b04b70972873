"""Facts: what is known about the values of a graph, each with the reason why it holds.

Strategies and passes ask for facts and never look at weights or op names themselves. A fact is a typed
statement about one value; `Facts` holds at most one of each type for a value. Today there are two: a value
written out in the text, and a value whose elements are all finite.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TypeVar

from attnc_ir.graph import Graph
from attnc_ir.op import Op
from attnc_ir.ops import Broadcast, Concat, Constant, Convert, Iota, Maximum, Minimum, Neg, Select, Slice
from attnc_ir.types import DType, TensorType
from attnc_ir.values import Value


@dataclass(frozen=True)
class Fact:
    """A statement about `value`, and why it is true: a sentence, and the values it follows from."""

    value: Value
    reason: str
    because: tuple[Value, ...] = ()


@dataclass(frozen=True)
class ConstantFact(Fact):
    """The value is known: its elements in row-major order, or one element for all."""

    elements: tuple[float, ...] = ()


@dataclass(frozen=True)
class FiniteFact(Fact):
    """Every element is a finite number."""


F = TypeVar("F", bound=Fact)


@dataclass
class Facts:
    """All facts of a graph, by value and type of fact."""

    _known: dict[tuple[str, type[Fact]], Fact] = field(default_factory=dict)

    def add(self, fact: Fact) -> None:
        """State a fact; the first one of its type stays."""
        self._known.setdefault((fact.value.name, type(fact)), fact)

    def get(self, value: Value, kind: type[F]) -> F | None:
        """The fact of type `kind` about `value`, if it is known."""
        fact = self._known.get((value.name, kind))
        return fact if isinstance(fact, kind) else None

    def of(self, value: Value) -> tuple[Fact, ...]:
        """Everything known about `value`."""
        return tuple(fact for (name, _), fact in self._known.items() if name == value.name)

    def chain(self, fact: Fact) -> tuple[str, ...]:
        """The reasons behind a fact, nearest first."""
        reasons, queue = [f"{fact.value} {fact.reason}"], list(fact.because)
        while queue:
            value = queue.pop(0)
            for behind in (self.get(value, type(fact)), self.get(value, ConstantFact)):
                if behind is not None and behind is not fact:
                    reasons.append(f"{behind.value} {behind.reason}")
                    queue.extend(behind.because)
                    break
        return tuple(dict.fromkeys(reasons))


def analyze(graph: Graph) -> Facts:
    """The facts that follow from the ops of a graph, in one forward sweep (graphs have no cycles).

    >>> from attnc_ir.text import parse
    >>> graph = parse("graph @g() { %c = constant {type = f64[2], values = [3.0]}  %n = neg %c  return %n }")[
    ...     "g"
    ... ]
    >>> facts = analyze(graph)
    >>> facts.chain(facts.get(graph.outputs[0], FiniteFact))
    ('%n moves or compares finite elements', '%c is written out and finite')
    """
    facts = Facts()
    for value in graph.inputs:
        if isinstance(value.type, TensorType) and not value.type.dtype.is_float:
            facts.add(FiniteFact(value, f"is {value.type.dtype}"))
    for op in graph.ops:
        _transfer(op, facts)
    return facts


# Their results are elements of their operands, up to sign, so finite stays finite.
_KEEPS_FINITE = (Neg, Minimum, Maximum, Broadcast, Slice, Concat)


def _transfer(op: Op, facts: Facts) -> None:
    for result in op.results:
        if isinstance(result.type, TensorType) and not result.type.dtype.is_float:
            facts.add(FiniteFact(result, f"is {result.type.dtype}"))
    match op:
        case Constant(type=kind, values=values, results=(result, *_)):
            # A literal beyond the range of a narrow type becomes infinite when it is stored.
            facts.add(ConstantFact(result, "is written out", (), values))
            if all(
                math.isfinite(v) and abs(v) <= _LARGEST[kind.dtype] for v in values if kind.dtype.is_float
            ):
                facts.add(FiniteFact(result, "is written out and finite"))
        case Iota(results=(result, *_)):
            if op.type.dtype is not DType.F16:
                facts.add(FiniteFact(result, "counts positions"))
        case Select(then=then, otherwise=otherwise, results=(result, *_)):
            if facts.get(then, FiniteFact) and facts.get(otherwise, FiniteFact):
                facts.add(FiniteFact(result, "moves or compares finite elements", (then, otherwise)))
        case Convert(x=x, to=to, results=(result, *_)):
            widens = x.tensor.dtype.itemsize <= to.itemsize and to is not DType.F16
            if to.is_float and widens and facts.get(x, FiniteFact):
                facts.add(FiniteFact(result, "widens finite elements", (x,)))
        case _ if isinstance(op, _KEEPS_FINITE) and all(facts.get(v, FiniteFact) for v in op.operands):
            facts.add(FiniteFact(op.results[0], "moves or compares finite elements", op.operands))
        case _:
            pass


_LARGEST = {
    DType.F64: math.inf,
    DType.F32: (2 - 2.0**-23) * 2.0**127,
    DType.F16: 65504.0,
    DType.BF16: (2 - 2.0**-7) * 2.0**127,
    DType.I64: math.inf,
    DType.I32: math.inf,
    DType.BOOL: math.inf,
}
