"""`attnc opt`: pipelines of passes on text."""

from __future__ import annotations

import click

import attnc
from attnc.cli.console import out, say
from attnc.cli.files import SEPARATOR, read_modules, write_text
from attnc.cli.options import examples, output


@click.command(
    "opt",
    short_help="Run passes on a spec, text to text.",
    epilog=examples(
        "attnc opt prefill.attn",
        "attnc opt -p 'canonicalize,simplify-masks' --stats prefill.attn",
        "attnc opt -p 'infer,canonicalize,dce' --print-ir-after-change memory.attn 2> dumps.attn",
        "attnc opt --list-passes",
    ),
)
@click.argument("spec", type=click.Path(allow_dash=True), default="-", metavar="[SPEC]")
@click.option(
    "-p",
    "--pipeline",
    default="",
    metavar="PASSES",
    help="Passes, such as 'canonicalize,cse'. [default: none]",
)
@click.option(
    "--print-ir-after-change",
    is_flag=True,
    help="Write the module to stderr after each pass that changed it.",
)
@click.option("--verify-each", is_flag=True, help="Check every invariant after each pass.")
@click.option("--stats", is_flag=True, help="Write what each pass decided, and how often, to stderr.")
@click.option("--timing", is_flag=True, help="Write how long each pass took to stderr.")
@click.option(
    "--list-passes", is_flag=True, help="List the passes with their options, and the default pipeline."
)
@output("the module")
def command(
    spec: str,
    pipeline: str,
    print_ir_after_change: bool,
    verify_each: bool,
    stats: bool,
    timing: bool,
    list_passes: bool,
    output: str | None,
) -> None:
    """Read a spec, run passes on it, and write it in canonical form. Without passes it is parsed and printed.

    What --print-ir-after-change writes is input again, each dump by itself or all of them as one file: a line
    `// -----` parts modules, of input and of output. Statistics are comments unless they go to a terminal.
    """
    from attnc.cli import tables
    from attnc.manager import PassManager

    if list_passes:
        out(tables.passes())
        return

    dumps = 0

    def dump(text: str) -> None:
        nonlocal dumps
        say(f"{SEPARATOR}\n{text}" if dumps else text)
        dumps += 1

    manager = PassManager.of(
        pipeline, verify_each=verify_each, print_after_change=dump if print_ir_after_change else None
    )
    runs = [manager.run(module) for module in read_modules(spec)]
    text = f"{SEPARATOR}\n".join(attnc.format(run.module) for run in runs)
    write_text(output, text) if output is not None else out(text)
    records = [record for run in runs for record in run.records]
    reports = [tables.statistics(records)] if stats else []
    reports += [tables.timings(records)] if timing else []
    for report in reports:
        tables.report(report)
