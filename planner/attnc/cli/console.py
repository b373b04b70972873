"""What reaches the user: text on two streams, tables and colours on a terminal only.

Everything goes through [`safe`][attnc.cli.console.safe], because names of files and pieces of specs end up in
messages, and an escape sequence among them must not steer the terminal.
"""

from __future__ import annotations

import json
import math
import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

from attnc_ir.diagnostics import printable
from attnc_ir.errors import ArgumentError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_UNUSUAL = re.compile(r"[^ -~\n\t]+")


def safe(text: str) -> str:
    r"""`text` with control characters escaped; line breaks and tabs stay.

    >>> print(safe("a\x1b[31m.attn: × 2"))
    a\x1b[31m.attn: × 2
    """
    return _UNUSUAL.sub(lambda match: printable(match[0]), text)


def out(text: str) -> None:
    """Write `text` and a line break, if it does not end in one, to stdout."""
    _write(sys.stdout, _ended(safe(text)), "standard output")


def say(text: str) -> None:
    """The same to stderr: what is not the result of the command."""
    _write(sys.stderr, _ended(safe(text)), "standard error")


def complain(text: str) -> None:
    """Write an error message to stderr; on a terminal its parts are coloured, its words are the same."""
    if not on_terminal(sys.stderr):
        say(text)
        return
    from rich.text import Text

    shown = Text(safe(text).rstrip("\n"))
    shown.highlight_regex(r"(?m)\berror:", "bold red")
    shown.highlight_regex(r"(?m)^help:", "bold cyan")
    shown.highlight_regex(r"(?m)^ *\^+$", "red")
    draw(shown, sys.stderr)


def out_json(document: Any) -> None:
    """Write one JSON document to stdout; nan, inf and -inf, which JSON does not have, become words."""
    out(json.dumps(_with_words(document), indent=2, allow_nan=False))


def _with_words(document: Any) -> Any:
    match document:
        case float() if not math.isfinite(document):
            return str(document)
        case dict():
            return {str(key): _with_words(value) for key, value in document.items()}
        case list() | tuple():
            return [_with_words(value) for value in document]
        case _:
            return document


def on_terminal(stream: TextIO | None = None) -> bool:
    """Whether a person looks at `stream` (stdout, when none is given) as it is written."""
    shown = sys.stdout if stream is None else stream
    return shown is not None and shown.isatty()


def draw(renderable: RenderableType, stream: TextIO | None = None) -> None:
    """Show something of rich's on a stream (stdout, when none is given) that is a terminal."""
    shown = sys.stdout if stream is None else stream
    console = terminal(shown)
    with console.capture() as captured:
        # A message is not cut into lines: whoever copies it gets it whole.
        console.print(renderable, soft_wrap=stream is sys.stderr)
    _write(shown, captured.get(), "the terminal")


def terminal(stream: TextIO) -> Console:
    """A console that draws on a terminal; `NO_COLOR` and `TERM=dumb` take its colours away."""
    from rich.console import Console

    return Console(file=stream, force_terminal=True, highlight=False, markup=False, emoji=False)


def _ended(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


def _write(stream: TextIO | None, text: str, name: str) -> None:
    if stream is None:
        raise ArgumentError(f"cannot write to {name}: it is closed")
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ArgumentError(f"cannot write to {name}: {error.strerror or error}") from None
