"""The `attnc` command: a group of commands, and the boundary at which errors end."""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any

import click

import attnc
from attnc.cli.boundary import INTERRUPTED, OK, exit_code, finished
from attnc.cli.console import complain
from attnc.cli.options import examples
from attnc_ir.errors import ArgumentError

_COMMANDS = ("compile", "opt", "plan", "run", "verify", "calibrate")


class Application(click.Group):
    """A group whose commands are modules of `attnc.cli.commands`, and whose errors become exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"attnc.cli.commands.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            raise click.exceptions.Exit(exit_code(error)) from error

    def main(self, *args: Any, **options: Any) -> Any:
        if not options.get("standalone_mode", True):
            return super().main(*args, **options)
        try:
            code = super().main(*args, **options | {"standalone_mode": False})
        except click.ClickException as error:
            # Shown here and not by click, which writes file names to the terminal as they are.
            text = io.StringIO()
            error.show(text)
            complain(text.getvalue())
            code = error.exit_code
        except click.Abort:
            code = INTERRUPTED
        except OSError as error:
            # A command's own errors end in `invoke`; what is left is help that could not be written.
            code = exit_code(ArgumentError(f"cannot write to standard output: {error.strerror or error}"))
        except Exception as error:
            code = exit_code(error)
        sys.exit(finished(code if isinstance(code, int) else OK))


@click.group(
    cls=Application,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        "attnc verify prefill.attn                       is it right?",
        "attnc plan prefill.attn --size N=65536          which strategy, and why not the others?",
        "attnc run prefill.attn inputs.npz -o out.npz    run it on arrays",
    )
    + "\n\nEvery SPEC may be - for standard input. Exit codes: 0 done, 1 the input is at fault, 2 usage, "
    "70 a fault of attnc itself.",
)
@click.version_option(attnc.__version__, message="attnc %(version)s")
def app() -> None:
    """The attention compiler: check a spec, see the plan, compile it, run it."""


def main() -> None:
    """Run the command with the arguments of this process, and exit."""
    for stream in (sys.stdout, sys.stderr):
        # Under a locale without, say, µ, the rest of a table is still worth reading.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app(prog_name="attnc")
