"""Strategies as nouns: what `select-strategy` decided for a node.

Here stands only what planner and backend both have to name. Why a strategy may be used and what it costs is
judged in the planner; how it is made into code is the backend's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.kinds import Attribute, FamilyKind


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
class Scan(Strategy):
    """Read the allowed keys once, by vectors with error bounds, and compare the near-ties exactly."""

    keyword: ClassVar[str] = "scan"
