"""Normalisers: how the scores of one row become weights."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.kinds import Attribute, EnumKind, FamilyKind, IntKind, attribute

_WHY_TIE = "which of equal scores wins changes what a model can express, so it has no default"


class Tie(enum.Enum):
    """Which of several equally good positions wins. There is no default: the choice changes what a model can
    express.
    """

    FIRST = "first"
    LAST = "last"
    MEAN = "mean"


class Cut(enum.Enum):
    """Which of several equal scores are taken when only some fit into the k largest."""

    FIRST = "first"
    LAST = "last"


@dataclass(frozen=True)
class Normalizer(Attribute):
    """Turns the scores of the allowed positions into weights."""

    @property
    def is_exact(self) -> bool:
        """True where positions are selected by exact comparison of scores."""
        return False


NORMALIZER: FamilyKind[Normalizer] = FamilyKind("normaliser")


@NORMALIZER.register
@dataclass(frozen=True)
class Softmax(Normalizer):
    """`exp(s - m) / sum`."""

    keyword: ClassVar[str] = "softmax"


@NORMALIZER.register
@dataclass(frozen=True)
class Hardmax(Normalizer):
    """All weight on the positions with the largest score, decided in exact arithmetic, ties by rule."""

    keyword: ClassVar[str] = "hardmax"
    tie: Tie = attribute(EnumKind(Tie), why=_WHY_TIE)

    @property
    def is_exact(self) -> bool:
        return True


@NORMALIZER.register
@dataclass(frozen=True)
class TopK(Normalizer):
    """Softmax over the `k` largest scores, chosen in exact arithmetic; `tie` orders equal scores at the
    cut.
    """

    keyword: ClassVar[str] = "topk"
    k: int = attribute(IntKind(1, 2**31 - 1))
    tie: Cut = attribute(EnumKind(Cut), why=_WHY_TIE)

    @property
    def is_exact(self) -> bool:
        return True


@NORMALIZER.register
@dataclass(frozen=True)
class Mean(Normalizer):
    """Equal weight on every allowed position; scores are not used."""

    keyword: ClassVar[str] = "mean"
