"""Strategies as nouns: what `select-strategy` decided for a node.

Here stands only what planner and backend both have to name. Why a strategy may be used and what it costs is
judged in the planner; how it is made into code is the backend's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.attributes.promise import PARABOLA_REACH
from attnc_ir.kinds import FLOAT, Attribute, FamilyKind, IntKind, attribute
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
    """Keep the convex hull of two-dimensional keys; the best key of a query is one of its vertices.

    `half` says what is known of the query's second coordinate, times the scale: never negative (1), never
    positive (-1) or nothing (0); the half of the hull that is then not needed is not kept.
    """

    keyword: ClassVar[str] = "hull"
    half: int = attribute(IntKind(-1, 1), default=0)


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
class Tree(Strategy):
    """Branch and bound over a tree of boxes: a box whose best point cannot win is not looked into."""

    keyword: ClassVar[str] = "tree"


@STRATEGY.register
@dataclass(frozen=True)
class Index(Strategy):
    """Keys on a parabola of integer addresses `a`: look the best address up in a table.

    Coordinate `axis` of a key is `c1 a + c0`, the other one `d2 a^2 + d1 a + d0`, with `|a| <= bound`. Other
    keys are kept aside in a hull where `strays` is 1; where it is 0, none are expected.
    """

    keyword: ClassVar[str] = "index"
    axis: int = attribute(IntKind(0, 1))
    c1: float = attribute(FLOAT)
    c0: float = attribute(FLOAT)
    d2: float = attribute(FLOAT)
    d1: float = attribute(FLOAT)
    d0: float = attribute(FLOAT)
    bound: int = attribute(IntKind(1, PARABOLA_REACH))
    strays: int = attribute(IntKind(0, 1), default=0)


@STRATEGY.register
@dataclass(frozen=True)
class Sweep(Strategy):
    """Sort two-dimensional keys and the queries by angle, and walk the keys' hull once for all queries."""

    keyword: ClassVar[str] = "sweep"


@STRATEGY.register
@dataclass(frozen=True)
class Hierarchy(Strategy):
    """Make the hull of three-dimensional keys, and coarser ones of it; go up their edges to the best key."""

    keyword: ClassVar[str] = "hierarchy"


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
