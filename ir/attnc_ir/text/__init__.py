"""The text form: a file is a list of graphs, a graph is a list of statements.

    // a comment
    graph @memory(%q: f64[H x 2], %k: f64[H x 2], %v: f64[H x 3]) -> f64[H x 3] {
      %c = cache {heads = [H], key = f64[2], value = f64[3]}
      %c1 = append %c, %k, %v
      %o = attend.step %q, %c1 {normalizer = hardmax(last)}
      return %o
    }

`parse` reads and verifies, `format_module` writes; `parse(format_module(m)) == m`.

- A statement is `%result, ... = op %operand, ... {attribute = value, ...}`. It may span lines, but its
results
  stand on one, and several statements may share a line. Types behind a result and behind the graph's `->` are
  checked, and may be left out.
- Names are made of up to 128 ASCII letters, digits and `_`. A dimension is a size, a name, or `?` for one
left
  open; `x` separates dimensions, so it names none, and neither do `and`, `or` and `not`.
- Operators bind as in Python, loosest first: `or`, `and`, `not`, comparisons (which do not chain), `|`, `&`,
  `+ -`, `* / // %`, and `- ~` before an operand.
- `//` begins a comment, except behind an operand within the parentheses of an attribute: there it divides. A
  comment on a line of its own is one everywhere.
- Brackets nest at most 64 deep, expressions 128; a list has at most a million items, a number 600 characters.
"""

from __future__ import annotations

import os
from pathlib import Path

from attnc_ir.diagnostics import Diagnostic, Report, printable
from attnc_ir.errors import ArgumentError, SpecError
from attnc_ir.graph import Module
from attnc_ir.location import Location
from attnc_ir.text.printer import format_attributes, format_graph, format_module, format_op
from attnc_ir.text.resolver import GraphResolver
from attnc_ir.text.scanner import Scanner
from attnc_ir.text.source import Source
from attnc_ir.verifier import verify_into

MAX_BYTES = 64 * 2**20
"""The largest file that `load` reads."""


def parse(text: str, filename: str = "<text>", *, verify: bool = True) -> Module:
    """The module that `text` spells. `filename` is what messages call it.

    With `verify=False` the text must be well formed and well typed, and no more: to show a module that is at
    fault.

    >>> parse("graph @twice(%x: f64[N]) { %y = add %x, %x return %y }")["twice"].outputs
    (Value(name='y', type=TensorType(dtype=<DType.F64: 'f64'>, shape=(Symbol(name='N'),))),)

    Raises:
        SpecError: with every fault of the text, in source order.
        ArgumentError: `text` is not a `str`.
    """
    if not isinstance(text, str):
        raise ArgumentError(
            f"parse reads text, not {type(text).__name__}; decode bytes, or give the path to load"
        )
    filename = printable(filename)
    source = Source(text, filename)
    report = Report(text)
    outline = Scanner(source, report).scan()
    found = [GraphResolver(source, outline.clean, graph, report).resolve() for graph in outline.graphs]
    resolved = [graph for graph in found if graph is not None]
    module = Module(tuple(r.graph for r in resolved), text, filename)
    if not outline.graphs and report.ok:
        report.error(
            "there is no graph in this file",
            Location(filename, 1, 1, 2),
            help="a graph is: graph @name(%x: f64[N]) { return %x }",
        )
    if verify:
        verify_into(module, report, parts=frozenset(i for i, r in enumerate(resolved) if not r.whole))
    report.raise_if_any()
    return module


def load(path: str | os.PathLike[str]) -> Module:
    """The module in the file at `path`.

    Raises:
        SpecError: the file is not UTF-8, or as for `parse`.
        ArgumentError: the file cannot be read, or is larger than 64 MiB.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentError(f"load reads a file, and needs its path, not {type(path).__name__}")
    name = str(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # a name with a NUL byte is a ValueError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ArgumentError(f"cannot read {name!r}: {reason}") from None
    if len(content) > MAX_BYTES:
        raise ArgumentError(
            f"{name!r} is larger than {MAX_BYTES // 2**20} MiB; give large tensors to the graph as inputs"
        )
    return parse(decode(content, name), name)


def decode(content: bytes, name: str) -> str:
    """The text that the bytes of a file called `name` hold; `SpecError` points at a byte that is not
    UTF-8.
    """
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        name = printable(name)
        before = content[: error.start].decode("utf-8")
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        rest = content[error.start :].split(b"\n", 1)[0].decode("utf-8", "replace")
        excerpt = before[len(before) - column + 1 :] + rest
        raise SpecError(
            [
                Diagnostic(
                    f"byte 0x{content[error.start]:02x} is not UTF-8 text",
                    Location(name, line, column, column + 1),
                    "save the file as UTF-8",
                    excerpt,
                )
            ]
        ) from None


__all__ = [
    "MAX_BYTES",
    "decode",
    "format_attributes",
    "format_graph",
    "format_module",
    "format_op",
    "load",
    "parse",
]
