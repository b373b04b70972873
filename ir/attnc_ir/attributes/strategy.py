"""Strategies as nouns: what `select-strategy` decided for a node.

Here stands only what planner and backend both have to name. Why a strategy may be used and what it costs is
judged in the planner; how it is made into code is the backend's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.kinds import Attribute, FamilyKind, IntKind, attribute
from attnc_ir.types import MAX_DIM


@dataclass(frozen=True)
class Strategy(Attribute):
    """How a node is carried out. Never changes what it means."""


STRATEGY: FamilyKind[Strategy] = FamilyKind("strategy")


@STRATEGY.register
@dataclass(frozen=True)
class Dense(Strategy):
    """Look at every allowed key. Always legal."""

    keyword: ClassVar[str] = "dense"


@STRATEGY.register
@dataclass(frozen=True)
class Hull(Strategy):
    """Keep the convex hull of two-dimensional keys; the best key of a query is one of its vertices."""

    keyword: ClassVar[str] = "hull"


@STRATEGY.register
@dataclass(frozen=True)
class Uniform(Strategy):
    """All scores of a row are equal, so every allowed key ties: follow the allowed range."""

    keyword: ClassVar[str] = "uniform"


@STRATEGY.register
@dataclass(frozen=True)
class Extremum(Strategy):
    """Keys of width 1: the best key is the largest or the smallest allowed one, followed from row to row."""

    keyword: ClassVar[str] = "extremum"


@STRATEGY.register
@dataclass(frozen=True)
class Position(Strategy):
    """Query `i` reads key `i + offset`, or the allowed key nearest to it.

    With `tied` 1, keys `i + offset` and `i + offset + 1` tie, and otherwise the nearer one to the point
    between them is read. This holds where query and keys stand below position `bound`.
    """

    keyword: ClassVar[str] = "position"
    offset: int = attribute(IntKind(-MAX_DIM, MAX_DIM))
    bound: int = attribute(IntKind(1, MAX_DIM))
    tied: int = attribute(IntKind(0, 1), default=0)


@STRATEGY.register
@dataclass(frozen=True)
class Scan(Strategy):
    """Read the allowed keys once, by vectors with error bounds, and compare the near-ties exactly."""

    keyword: ClassVar[str] = "scan"


@STRATEGY.register
@dataclass(frozen=True)
class Monotone(Strategy):
    """A hull of two-dimensional keys that increase strictly in coordinate `axis`, as they come.

    Keys that break the order are answered exactly, only slower. `half` says what is known of the query's
    other coordinate, times the scale: never negative (1), never positive (-1) or nothing (0); the half of the
    hull that is then not needed is not kept.
    """

    keyword: ClassVar[str] = "monotone"
    axis: int = attribute(IntKind(0, 1), default=0)
    half: int = attribute(IntKind(-1, 1), default=0)
