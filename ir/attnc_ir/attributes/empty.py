"""What a row gives whose mask allows no key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.kinds import VALUE, Attribute, FamilyKind, attribute
from attnc_ir.values import Value


@dataclass(frozen=True)
class Empty(Attribute):
    """The result of an empty row."""


EMPTY: FamilyKind[Empty] = FamilyKind("empty-row rule")


@EMPTY.register
@dataclass(frozen=True)
class EmptyZero(Empty):
    """Zeros, the default."""

    keyword: ClassVar[str] = "zero"


@EMPTY.register
@dataclass(frozen=True)
class EmptyError(Empty):
    """An error that names the row."""

    keyword: ClassVar[str] = "error"


@EMPTY.register
@dataclass(frozen=True)
class EmptyDefault(Empty):
    """A given row: `[Dv]`, or `[H x Dv]` with one per query head."""

    keyword: ClassVar[str] = "default"
    row: Value = attribute(VALUE)
