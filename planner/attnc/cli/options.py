"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from attnc_ir.types import MAX_DIM

F = TypeVar("F", bound=Callable[..., Any])

SPEC = click.argument("spec", type=click.Path(allow_dash=True))


def _sizes(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    """`N=65536`, several times: what the cost model supposes of a dimension or of a cache's length."""
    sizes = {}
    for value in values:
        found = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]{0,127})=([0-9][0-9_]{0,18})", value)
        if not found or int(found[2]) > MAX_DIM:
            raise click.BadParameter(f"{value!r} is no size; write N=65536, at most 2**40")
        sizes[found[1]] = int(found[2])
    return sizes


STRATEGY = click.option(
    "--strategy", metavar="NAME", help="Use this strategy for every attention node, such as dense or hull."
)
PIPELINE = click.option(
    "-p",
    "--pipeline",
    metavar="PASSES",
    help="Passes to run instead of the default ones: 'canonicalize,select-strategy{machine=flat}'.",
)
SIZES = click.option(
    "--size",
    "sizes",
    callback=_sizes,
    multiple=True,
    metavar="NAME=SIZE",
    help="Suppose this size of a dimension or length of a cache; may be repeated.",
)
THREADS = click.option(
    "--threads", type=click.IntRange(1, 1024), metavar="N", help="Threads to use. [default: every processor]"
)
BACKEND = click.option(
    "--backend",
    default="numba",
    show_default=True,
    metavar="NAME",
    help="numba compiles; numpy is the reference interpreter.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Write one JSON document to stdout.")


def examples(*lines: str) -> str:
    """Commands to copy, at the end of a help text; click leaves a block behind a backspace as it is."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def output(what: str) -> Callable[[F], F]:
    """The option `-o`, for a command that writes `what`."""
    return click.option(
        "-o",
        "--output",
        type=click.Path(allow_dash=True),
        metavar="FILE",
        help=f"Write {what} to FILE, all or nothing. [default: stdout]"
        if what != "the results"
        else "Write the results to this .npz file, all or nothing, instead of a summary to stdout.",
    )
