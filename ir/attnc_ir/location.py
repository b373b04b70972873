"""Where a piece of a spec was written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Location:
    """A span on one line of a file: line and columns count from 1, `end` is the column after the last
    character.
    """

    filename: str
    line: int
    column: int
    end: int

    def __str__(self) -> str:
        return f"{self.filename}:{self.line}:{self.column}"
