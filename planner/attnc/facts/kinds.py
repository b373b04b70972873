"""The kinds of facts, and the table that holds what is known of a graph's values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from attnc.facts.polynomial import Polynomial
from attnc_ir.storage import from_float64, to_float64
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

    @property
    def stored(self) -> tuple[float, ...]:
        """The elements as they are stored: rounded to the value's type, then as doubles again."""
        dtype = self.value.tensor.dtype
        if not dtype.is_float:
            return self.elements
        return tuple(map(float, to_float64(np.atleast_1d(from_float64(list(self.elements), dtype)), dtype)))


@dataclass(frozen=True)
class FiniteFact(Fact):
    """Every element is a finite number."""


@dataclass(frozen=True)
class ZeroFact(Fact):
    """Every element is zero, of either sign."""


@dataclass(frozen=True)
class IntegerFact(Fact):
    """Every element is an integer from `low` to `high`, ends included."""

    low: int = 0
    high: int = 0


@dataclass(frozen=True)
class FixedFact(Fact):
    """The value depends on no input and no cache: it is the same in every call and in every step."""


@dataclass(frozen=True)
class SteadyFact(Fact):
    """All rows along the sequence (the last axis but one) are equal; heads and batches may differ."""


@dataclass(frozen=True)
class SameKeyFact(Fact):
    """All keys that a cache holds for one head are equal, whatever was appended when."""


@dataclass(frozen=True)
class PolynomialFact(Fact):
    """Each element of a row is a polynomial in the row's position, whatever head and batch.

    `elements` has one polynomial per element of the last axis. Stored elements equal them exactly at
    positions `0 <= p < bound`; beyond, rounding may have changed them.
    """

    elements: tuple[Polynomial, ...] = ()
    bound: int = 0


_NOTHING = Polynomial()


@dataclass(frozen=True)
class MonotoneFact(Fact):
    """Rows below position `bound` strictly increase along coordinate `axis`; a bound of `MAX_DIM` is none."""

    axis: int = 0
    bound: int = 0


@dataclass(frozen=True)
class ParabolaFact(Fact):
    """Rows have two elements: coordinate `axis` is `linear(a)`, the other one `square(a)`, for an integer `a`
    that varies from row to row.

    That is what the elements are without rounding. Stored elements are known to be that, with `|a| <= bound`,
    only where it is `proved`; otherwise some rows may lie elsewhere, and code that relies on the form has to
    check. Up to `bound`, doubles evaluate both polynomials without rounding, step by step (Horner).
    """

    axis: int = 0
    linear: Polynomial = _NOTHING
    square: Polynomial = _NOTHING
    bound: int = 0
    proved: bool = False


@dataclass(frozen=True)
class Column:
    """What is known of one element of every row. Columns of one `source` hold equal numbers, place by place,
    where their signs agree, and opposite ones where not.
    """

    source: str
    sign: int = 1
    constant: float | None = None
    """The finite number that stands in every row of every head."""
    steady: bool = False
    """Whether all rows along the sequence have the same number."""
    finite: bool = False
    integers: tuple[int, int] | None = None
    """A range that holds all numbers, which are integers."""


@dataclass(frozen=True)
class ColumnsFact(Fact):
    """What is known of each element of a row, one by one."""

    columns: tuple[Column, ...] = ()


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
        reasons, queue, seen = [f"{fact.value} {fact.reason}"], [(v, type(fact)) for v in fact.because], set()
        while queue:
            value, kind = queue.pop(0)
            behind = self._behind(value, kind)
            if behind is None or (value.name, type(behind)) in seen:
                continue
            seen.add((value.name, type(behind)))
            reasons.append(f"{behind.value} {behind.reason}")
            queue += [(v, type(behind)) for v in behind.because]
        return tuple(dict.fromkeys(reasons))

    def _behind(self, value: Value, kind: type[Fact]) -> Fact | None:
        """What a fact of type `kind` rests on in one of the values it follows from."""
        # A zero product needs one zero factor and one finite one, so another type may be what counted.
        for wanted in (kind, ConstantFact, FixedFact, FiniteFact):
            found = self.get(value, wanted)
            if found is not None:
                return found
        return None
