"""Cuts a file into graphs and statements, and blanks its comments.

Every statement is parsed on its own, so a fault in one leaves the others readable. Where a statement begins
is decided by brackets and, because brackets may be what is broken, by how a line begins: `%name =`, `return`
and `graph @` begin a statement at the start of a line even where a bracket is still open.

`//` begins a comment, except within parentheses inside braces, behind an operand on the same line: there it
divides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from attnc_ir.diagnostics import Report, quoted
from attnc_ir.text.source import Source

MAX_NESTING = 64
"""How deep brackets may nest. With the limit on the depth of expressions it keeps recursive walks safe."""


@dataclass(frozen=True)
class Chunk:
    """One header or statement: `clean[start:end]`. A `broken` one is reported; only its names are of use."""

    start: int
    end: int
    broken: bool = False


@dataclass
class GraphOutline:
    """Where a graph's header and statements stand."""

    header: Chunk
    statements: list[Chunk] = field(default_factory=list)


@dataclass(frozen=True)
class Outline:
    """A file cut up. `clean` is its text with blanks for comments, offset by offset the same."""

    clean: str
    graphs: list[GraphOutline]


_NAME = r"%\w+"  # the grammar is stricter, and says what is wrong with %0
_WORD = r"[A-Za-z_][A-Za-z0-9_.]*"
_ONE_RESULT = rf"{_NAME}[ \t]*(?::[^=%\n]*)?"
_RESULTS = rf"{_ONE_RESULT}(?:,[ \t]*{_ONE_RESULT})*=(?!=)"
_GRAPH = r"graph[ \t]*@"
_RESYNC = rf"^[ \t]*(?P<begin>{_RESULTS}|return\b|{_GRAPH})"

_NEXT_GRAPH = re.compile(rf"^[ \t]*(?={_GRAPH})", re.MULTILINE)
_VISIBLE = re.compile(r"\S+")
_IN_HEADER = re.compile(rf"(?P<comment>//)|(?P<brace>[{{}}])|{_RESYNC}", re.MULTILINE)
_IN_BODY = re.compile(rf"(?P<comment>//)|(?P<bracket>[()\[\]{{}}])|(?P<name>{_NAME})|(?P<word>{_WORD})|[,=:]")
_IN_BRACKETS = re.compile(rf"(?P<comment>//)|(?P<bracket>[()\[\]{{}}])|{_RESYNC}", re.MULTILINE)
_BEGIN = re.compile(_RESULTS)
_GRAPH_HERE = re.compile(_GRAPH)
_OPERAND_END = re.compile(r"[A-Za-z0-9_.)\]]")
_CLOSER = {"(": ")", "[": "]", "{": "}"}


class Scanner:
    """Reads a source once, from start to end. Faults of brackets and of the outer form go to `report`."""

    def __init__(self, source: Source, report: Report) -> None:
        self._source = source
        self._text = source.text
        self._report = report
        self._at = 0
        self._kept: list[str] = []
        self._kept_to = 0
        self._graphs: list[GraphOutline] = []

    def scan(self) -> Outline:
        """The outline of the whole text."""
        if self._text.startswith("\ufeff"):
            self._blank(0, 1)
            self._at = 1
        self._top()
        self._kept.append(self._text[self._kept_to :])
        return Outline("".join(self._kept), self._graphs)

    def _blank(self, start: int, end: int) -> None:
        self._kept += [self._text[self._kept_to : start], " " * (end - start)]
        self._kept_to = end

    def _comment(self, start: int) -> int:
        """Blank the comment at `start`; the offset of the line's end."""
        end = self._text.find("\n", start)
        end = len(self._text) if end < 0 else end
        self._blank(start, end)
        return end

    def _line_begins(self, offset: int) -> bool:
        """Whether only blanks stand before `offset` on its line."""
        return self._before(offset) == ""

    def _before(self, offset: int) -> str:
        """The last visible character before `offset` on its line, or nothing."""
        at = offset - 1
        while at >= 0 and self._text[at] in " \t":
            at -= 1
        return "" if at < 0 or self._text[at] == "\n" else self._text[at]

    # --- between graphs ---

    def _top(self) -> None:
        while (found := _VISIBLE.search(self._text, self._at)) is not None:
            start = found.start()
            if self._text.startswith("//", start):
                self._at = self._comment(start)
            elif re.match(r"graph\b", found[0]):
                self._graph(start)
            else:
                ahead = _NEXT_GRAPH.search(self._text, start)
                self._report.error(
                    f"expected a graph, got {quoted(found[0], 20)}",
                    self._source.place(start, found.end()),
                    help="a file is a list of graphs: graph @f(%x: f64[N]) { ... }; is a } above too many?",
                )
                self._at = ahead.end() if ahead else len(self._text)

    def _graph(self, start: int) -> None:
        self._at = start + len("graph")
        while True:
            found = _IN_HEADER.search(self._text, self._at)
            if found is None:
                self._graphs.append(GraphOutline(Chunk(start, len(self._text))))
                self._at = len(self._text)
                return
            if found["comment"]:
                self._at = self._comment(found.start())
                continue
            if found["brace"] == "{":
                self._at = found.end()
                outline = GraphOutline(Chunk(start, self._at))
                self._graphs.append(outline)
                self._body(outline)
                return
            # A brace is missing. What follows is read as the body, unless it is the next graph.
            self._at = found.start("begin") if found["begin"] else found.start()
            outline = GraphOutline(Chunk(start, self._at))
            self._graphs.append(outline)
            if not _GRAPH_HERE.match(self._text, self._at):
                self._body(outline)
            return

    # --- within a graph ---

    def _body(self, outline: GraphOutline) -> None:
        """Cut the statements of a graph apart, from behind its opening brace to behind its closing one."""
        start = self._at
        broken = False
        last, after_word = "", False  # the token before: what a name means depends on it

        def cut(end: int) -> None:
            nonlocal start, broken
            if broken or not self._blank_between(start, end):
                outline.statements.append(Chunk(start, end, broken))
            start, broken = end, False

        while (found := _IN_BODY.search(self._text, self._at)) is not None:
            at = found.start()
            self._at = found.end()
            if found["comment"]:
                self._at = self._comment(at)
                continue
            if (bracket := found["bracket"]) == "}":
                cut(at)
                return
            if bracket and bracket in ")]":
                if not broken:
                    self._report.error(f"'{bracket}' closes nothing", self._source.place(at, at + 1))
                broken = True
            elif bracket:
                broken |= not self._brackets(at)
            elif found["word"]:
                fresh = self._line_begins(at)
                if fresh and _GRAPH_HERE.match(self._text, at):
                    cut(at)
                    self._at = at
                    self._unclosed(outline)
                    return
                if last not in ("=", ":") and (fresh or found["word"] == "return"):
                    cut(at)
            elif found["name"]:
                continues = last in (",", "=", ":") or after_word
                fresh = self._line_begins(at)
                if (fresh and not continues) or (fresh == continues and _BEGIN.match(self._text, at)):
                    cut(at)
            last, after_word = found[0], found["word"] is not None
        cut(len(self._text))
        self._at = len(self._text)
        self._unclosed(outline)

    def _blank_between(self, start: int, end: int) -> bool:
        """Whether nothing but comments stands in `text[start:end]`."""
        found = _VISIBLE.search(self._text, start, end)
        while found is not None and self._text.startswith("//", found.start()):
            line_end = self._text.find("\n", found.start(), end)
            found = _VISIBLE.search(self._text, line_end, end) if line_end >= 0 else None
        return found is None

    def _unclosed(self, outline: GraphOutline) -> None:
        place = self._source.place(outline.header.start, outline.header.start + len("graph"))
        self._report.error("this graph is not closed", place, help="end it with }")

    def _brackets(self, start: int) -> bool:
        """Go from an opening bracket to behind its closing one; False, and a report, if they do not match."""
        stack = [start]
        deeper = 0  # brackets open beyond the limit, counted only
        sound = True
        self._at = start + 1
        while (found := _IN_BRACKETS.search(self._text, self._at)) is not None:
            at = found.start()
            self._at = found.end()
            bracket = found["bracket"]
            if found["comment"]:
                if not self._divides(at, stack):
                    self._at = self._comment(at)
            elif found["begin"]:
                self._at = at
                break
            elif bracket in _CLOSER:
                if len(stack) < MAX_NESTING:
                    stack.append(at)
                    continue
                deeper += 1
                if sound:
                    self._report.error(
                        f"brackets nest deeper than {MAX_NESTING}", self._source.place(at, at + 1)
                    )
                sound = False
            elif deeper:
                deeper -= 1
            else:
                if sound and bracket != _CLOSER[self._text[stack[-1]]]:
                    sound = False
                    self._report.error(
                        f"'{self._text[stack[-1]]}' is closed by '{bracket}'",
                        self._source.place(at, at + 1),
                        help=f"it was opened on line {self._source.place(stack[-1], stack[-1] + 1).line}",
                    )
                if any(bracket == _CLOSER[self._text[opening]] for opening in stack):
                    while bracket != _CLOSER[self._text[stack.pop()]]:
                        pass
                if not stack:
                    return sound
        else:
            self._at = len(self._text)
        if sound:
            place = self._source.place(stack[-1], stack[-1] + 1)
            self._report.error(f"'{self._text[stack[-1]]}' is not closed", place)
        return False

    def _divides(self, at: int, stack: list[int]) -> bool:
        """Whether the `//` at an offset is the operator."""
        in_parentheses = self._text[stack[0]] == "{" and any(self._text[opening] == "(" for opening in stack)
        return in_parentheses and _OPERAND_END.match(self._before(at)) is not None
