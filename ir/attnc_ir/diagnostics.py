"""Findings about a spec: where, what, and what to do next.

A [`Report`][attnc_ir.diagnostics.Report] gathers all of them, so that one run shows every fault of a file. It
knows the text the module was parsed from, if any, and cuts the faulty line out of it for the carets.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from attnc_ir.errors import SpecError
from attnc_ir.location import Location

MAX_DIAGNOSTICS = 100
"""A hostile file can hold a fault on every line; past this many the rest are counted, not rendered."""

_MAX_EXCERPT = 160


def printable(text: str) -> str:
    """`text` with control characters escaped: spec text is data and must not steer the reader's terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(text: str, limit: int = 60) -> str:
    """`text` ready for a message: escaped, and cut to `limit` characters.

    >>> quoted("a" * 100, limit=8)
    "'aaaaaaaa...'"
    """
    return f"'{printable(text[:limit])}{'...' if len(text) > limit else ''}'"


@dataclass(frozen=True)
class Diagnostic:
    """One finding. `excerpt` is the source line it points into, empty when the spec was built in Python."""

    message: str
    location: Location | None = None
    help: str | None = None
    excerpt: str = ""
    severity: str = "error"

    def render(self) -> str:
        """The finding as text: `file:line:column: error: ...`, the line, carets, and a help line.

        >>> print(
        ...     Diagnostic("no such op", Location("a.attn", 3, 3, 6), "did you mean add?", "  ad %x").render()
        ... )
        a.attn:3:3: error: no such op
          ad %x
          ^^^
        help: did you mean add?
        """
        place = f"{self.location}: " if self.location else ""
        lines = [f"{place}{self.severity}: {self.message}"]
        if self.location and self.excerpt:
            lines += self._pointed_excerpt(self.location)
        if self.help:
            lines.append(f"help: {self.help}")
        return "\n".join(lines)

    def _pointed_excerpt(self, location: Location) -> list[str]:
        # A long line is cut to a stretch around the fault. A tab becomes one blank: carets stay below.
        start = max(0, location.column - 1 - _MAX_EXCERPT // 2)
        shown = "".join(c if c.isprintable() else " " for c in self.excerpt[start : start + _MAX_EXCERPT])
        column = location.column - 1 - start
        width = max(1, min(location.end - location.column, _MAX_EXCERPT - column))
        return [shown, " " * column + "^" * width]


@dataclass
class Report:
    """Collects diagnostics. `text` is the source of the module under inspection, when there is one."""

    text: str = ""
    diagnostics: list[Diagnostic] = field(default_factory=list)
    _lines: list[str] | None = None
    _noted: set[tuple[str, Location | None]] = field(default_factory=set)
    _dropped: int = 0

    def error(self, message: str, location: Location | None = None, *, help: str | None = None) -> None:
        """Note a fault at `location`; one that was noted before, at the same place, is not repeated."""
        if location is not None and (message, location) in self._noted:
            return
        if len(self.diagnostics) >= MAX_DIAGNOSTICS:
            self._dropped += 1
            return
        self._noted.add((message, location))
        self.diagnostics.append(Diagnostic(message, location, help, self._line(location)))

    def _line(self, location: Location | None) -> str:
        if location is None or not self.text:
            return ""
        if self._lines is None:
            self._lines = self.text.split("\n")
        return self._lines[location.line - 1].rstrip("\r") if 0 < location.line <= len(self._lines) else ""

    @property
    def ok(self) -> bool:
        """True as long as nothing was found."""
        return not self.diagnostics

    def raise_if_any(self) -> None:
        """Raise [`SpecError`][attnc_ir.errors.SpecError] with everything found, in source order."""
        if self.ok:
            return
        found = sorted(
            self.diagnostics, key=lambda d: (d.location.line, d.location.column) if d.location else (0, 0)
        )
        if self._dropped:
            found.append(
                Diagnostic(
                    f"{self._dropped} more faults are not shown", help="mend the first ones and run again"
                )
            )
        raise SpecError(found)
