"""A text and the places in it."""

from __future__ import annotations

import re
from bisect import bisect_right

from attnc_ir.location import Location


class Source:
    """The text of a spec. Turns offsets into lines and columns."""

    def __init__(self, text: str, filename: str) -> None:
        self.text = text
        self.filename = filename
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, start: int, end: int) -> Location:
        """The span of `text[start:end]`; one that covers several lines is cut at the end of the first."""
        line = bisect_right(self._line_starts, start)
        line_start = self._line_starts[line - 1]
        line_end = self._line_starts[line] - 1 if line < len(self._line_starts) else len(self.text)
        last = max(start + 1, min(end, line_end))
        return Location(self.filename, line, start - line_start + 1, last - line_start + 1)
