"""Parsers whose tables are kept between processes: to make them takes longer than to compile most specs."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys

import lark
from lark import Lark

from attnc_ir.kept import cache_dir, write_whole


def parser_of(grammar: str, *, start: tuple[str, ...] = ("start",), placeholders: bool = True) -> Lark:
    """The LALR parser of a lark grammar, which gives places.

    With `placeholders`, `None` stands where `[...]` is absent.
    """
    means = f"{lark.__version__} {sys.version_info[:2]} {start} {placeholders}\n{grammar}"
    path = cache_dir() / f"grammar_{hashlib.sha256(means.encode()).hexdigest()[:40]}.pickle"
    try:
        with path.open("rb") as file:
            return Lark.load(file)
    except Exception:  # what was kept is not there or cannot be read, whatever the reason
        made = Lark(
            grammar,
            parser="lalr",
            lexer="contextual",
            start=list(start),
            propagate_positions=True,
            maybe_placeholders=placeholders,
        )
    tables = io.BytesIO()
    made.save(tables)
    with contextlib.suppress(OSError):
        write_whole(path, tables.getvalue())
    return made
