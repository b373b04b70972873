"""`attnc calibrate`: measure this machine for the cost model."""

from __future__ import annotations

import sys

import click

from attnc.cli.console import on_terminal, out, out_json, terminal
from attnc.cli.options import JSON, examples
from attnc_ir.errors import ArgumentError


@click.command(
    "calibrate",
    short_help="Measure this machine, for the cost model.",
    epilog=examples(
        "attnc calibrate",
        "attnc calibrate --dry-run --json",
    ),
)
@click.option(
    "--name",
    default="host",
    show_default=True,
    metavar="NAME",
    help="Store the profile under this name; plans use 'host' unless --machine names another.",
)
@click.option("--dry-run", is_flag=True, help="Measure and show, but store nothing.")
@JSON
def command(name: str, dry_run: bool, as_json: bool) -> None:
    """Measure what an operation, a byte, a probe and a call cost on this machine, and keep the result.

    Takes some seconds. Plans made later reckon with it; until then a built-in profile serves.
    """
    from attnc.calibrate import calibrate
    from attnc.cli import tables
    from attnc.machine import BUILTIN, COEFFICIENTS, FLAT, Machine, profile_path

    # A name that cannot be stored under is refused before the work, not after.
    path = profile_path(name)
    if name in (BUILTIN.name, FLAT.name) and not dry_run:
        raise ArgumentError(f"the profile {name!r} is built in; choose another --name")

    def measured() -> Machine:
        if not on_terminal(sys.stderr):
            return calibrate(name, store=not dry_run)
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("measuring {task.description:<10}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=terminal(sys.stderr), transient=True) as bar:
            task = bar.add_task("", total=1.0)
            return calibrate(
                name,
                progress=lambda what, part: bar.update(task, description=what, completed=part),
                store=not dry_run,
            )

    machine = measured()
    coefficients = {key: float(getattr(machine, key)) for key in COEFFICIENTS}
    stored = None if dry_run else str(path)
    if as_json:
        out_json(
            {
                "name": machine.name,
                "measured": machine.measured,
                "host": machine.host,
                "coefficients_ns": coefficients,
                "path": stored,
            }
        )
        return
    tables.show(tables.coefficients(machine))
    out(f"stored in {stored}" if stored else "not stored (--dry-run)")
