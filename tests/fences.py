"""The fenced code blocks of a Markdown file, and the comparison of an output with the one a page shows."""

import re
from dataclasses import dataclass
from pathlib import Path

_OPEN = re.compile(r"(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)")
_NOT_RUN = re.compile(r"<!--\s*not run:?(?P<reason>.*?)-->\s*\Z", re.DOTALL)
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")


class PageError(Exception):
    """A page is at fault; the message begins with file:line."""


@dataclass(frozen=True)
class Block:
    """One fenced block; `line` is the line of its opening fence, counted from 1."""

    path: Path
    line: int
    language: str
    text: str
    follows: bool  # nothing but blank lines lies between it and the block before it
    not_run: str | None  # the reason given for not running it

    @property
    def where(self) -> str:
        """`file:line`, as editors read it."""
        return f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A `$ ` line of a console block, with the lines that continue it and the output shown below it."""

    line: int
    text: str
    expected: str


def blocks(path: Path, shown_as: Path | None = None) -> list[Block]:
    """Return the fenced blocks of a page, top to bottom.

    Raises:
        PageError: a block is not closed, or a `not run` comment gives no reason.
    """
    shown_as = shown_as or path
    lines = path.read_text(encoding="utf-8").splitlines()
    found: list[Block] = []
    since: list[str] = []  # the lines between the block before and this one
    at = 0
    while at < len(lines):
        opening = _OPEN.fullmatch(lines[at])
        if opening is None:
            since.append(lines[at])
            at += 1
            continue
        start = at
        closing = re.compile(rf" *{opening['fence'][0]}{{{len(opening['fence'])},}} *")
        at += 1
        while at < len(lines) and not closing.fullmatch(lines[at]):
            at += 1
        if at == len(lines):
            raise PageError(f"{shown_as}:{start + 1}: this block is not closed")
        body = [re.sub(rf"^ {{0,{len(opening['indent'])}}}", "", line) for line in lines[start + 1 : at]]
        info = opening["info"].split()
        comment = _NOT_RUN.search("\n".join(since))
        if comment is not None and not comment["reason"].strip():
            raise PageError(f"{shown_as}:{start + 1}: say why it is not run: <!-- not run: reason -->")
        found.append(
            Block(
                path=shown_as,
                line=start + 1,
                language=info[0].lower() if info else "",
                text="".join(line + "\n" for line in body),
                follows=bool(found) and not "".join(since).strip(),
                not_run=comment["reason"].strip() if comment is not None else None,
            )
        )
        since = []
        at += 1
    return found


def commands(block: Block) -> list[Command]:
    """Return the commands of a console block.

    A command starts with `$ `. It goes on over a backslash at the end of a line and through a here-document; the
    prompt `> ` that a shell shows there may be written or left out.

    Raises:
        PageError: the block has no command, or shows output before the first.
    """
    found: list[Command] = []
    lines = block.text.splitlines()
    at = 0
    while at < len(lines):
        if not lines[at].startswith("$ "):
            if lines[at].strip():
                raise PageError(f"{block.path}:{block.line + 1 + at}: a command starts with '$ '")
            at += 1
            continue
        start = at
        text = [lines[at][2:]]
        at += 1
        while at < len(lines) and text[-1].endswith("\\"):
            text.append(lines[at].removeprefix("> "))
            at += 1
        heredoc = _HEREDOC.search("\n".join(text))
        if heredoc is not None:
            while at < len(lines) and text[-1].strip() != heredoc[2]:
                text.append(lines[at].removeprefix("> "))
                at += 1
        output = at
        while at < len(lines) and not lines[at].startswith("$ "):
            at += 1
        shown = "".join(line + "\n" for line in lines[output:at])
        found.append(Command(block.line + 1 + start, "\n".join(text), shown))
    if not found:
        raise PageError(f"{block.where}: no line starts with '$ ', so nothing would be run")
    return found


def _tidy(text: str) -> list[str]:
    """Split into lines, without the blanks that a page does not show."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n").split("\n")


def matches(expected: str, actual: str) -> bool:
    r"""Whether an output is the one shown; blanks at the end of a line, and empty lines at either end, do not count.

    >>> matches("a\n...\nd\n", "a\nb\nc\nd\n")
    True
    >>> matches("took ... ms", "took 3.2 ms"), matches("took ... ms", "took 3.2 s")
    (True, False)
    """
    pattern = ""
    for line in _tidy(expected):
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*?".join(re.escape(piece) for piece in line.split("...")) + r"\n"
    return re.fullmatch(pattern, "\n".join(_tidy(actual)) + "\n") is not None


def difference(expected: str, actual: str) -> str:
    """Both texts, one below the other, for a failure's message."""
    return "\n".join(
        ["shown:", *(f"  {x}" for x in _tidy(expected)), "got:", *(f"  {x}" for x in _tidy(actual))]
    )
