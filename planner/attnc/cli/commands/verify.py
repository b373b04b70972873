"""`attnc verify`: every fault of every file."""

from __future__ import annotations

from typing import Any

import click

from attnc.cli.boundary import AT_FAULT
from attnc.cli.console import complain, out, out_json
from attnc.cli.files import read_modules, shown
from attnc.cli.options import JSON, examples
from attnc_ir.diagnostics import Diagnostic
from attnc_ir.errors import AttncError, SpecError


@click.command(
    "verify",
    short_help="Check specs and list every fault.",
    epilog=examples(
        "attnc verify examples/*.attn",
        "attnc verify --json prefill.attn",
        "generate-spec | attnc verify -",
    ),
)
@click.argument("specs", nargs=-1, required=True, type=click.Path(allow_dash=True), metavar="SPEC...")
@JSON
def command(specs: tuple[str, ...], as_json: bool) -> None:
    """Check specs and list every fault of every file, with its place and what to do about it.

    Exits with 1 if there is any. A file may hold several modules, parted by lines `// -----`.
    """
    files: list[dict[str, Any]] = []
    for path in specs:
        graphs: list[str] = []
        diagnostics: list[dict[str, Any]] = []
        try:
            graphs = [name for module in read_modules(path) for name in module.names]
        except AttncError as error:
            diagnostics = _described(error, path)
            if not as_json:
                complain(str(error))
        else:
            if not as_json:
                out(f"{shown(path)}: ok, {', '.join(f'@{name}' for name in graphs)}")
        files.append(
            {"file": shown(path), "ok": not diagnostics, "graphs": graphs, "diagnostics": diagnostics}
        )
    ok = all(file["ok"] for file in files)
    if as_json:
        out_json({"ok": ok, "files": files})
    if not ok:
        raise click.exceptions.Exit(AT_FAULT)


def _described(error: AttncError, path: str) -> list[dict[str, Any]]:
    """The faults of a file as data; a file that cannot be read has one, without a place."""
    found = error.diagnostics if isinstance(error, SpecError) else (Diagnostic(str(error)),)
    return [
        {
            "file": d.location.filename if d.location else shown(path),
            "line": d.location.line if d.location else None,
            "column": d.location.column if d.location else None,
            "end": d.location.end if d.location else None,
            "severity": d.severity,
            "message": d.message,
            "help": d.help,
        }
        for d in found
    ]
