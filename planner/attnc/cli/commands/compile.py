"""`attnc compile`: a spec to code, and what became of it."""

from __future__ import annotations

import time
from typing import Any

import click

import attnc
from attnc.cli.console import out, out_json, say
from attnc.cli.files import read_spec, write_text
from attnc.cli.options import BACKEND, JSON, PIPELINE, SIZES, SPEC, STRATEGY, THREADS, examples, output
from attnc_ir.errors import ArgumentError

_EMITS = ("source", "llvm", "asm", "ir", "none")


@click.command(
    "compile",
    short_help="Compile a spec, or find it compiled; show its code.",
    epilog=examples(
        "attnc compile prefill.attn",
        "attnc compile prefill.attn --emit source -o prefill.py",
        "attnc compile memory.attn --strategy dense --emit asm | less",
        "attnc compile three_nodes.attn -p 'infer,select-strategy{N=65536}' --emit ir",
    ),
)
@SPEC
@STRATEGY
@BACKEND
@THREADS
@PIPELINE
@SIZES
@click.option(
    "--emit",
    type=click.Choice(_EMITS),
    default="none",
    show_default=True,
    help="Write generated source, LLVM IR, assembly or the planned graph.",
)
@click.option("--graph", metavar="NAME", help="The graph whose llvm or asm to write. [default: the only one]")
@output("what --emit names")
@JSON
def command(
    spec: str,
    strategy: str | None,
    backend: str,
    threads: int | None,
    pipeline: str | None,
    sizes: dict[str, int],
    emit: str,
    graph: str | None,
    output: str | None,
    as_json: bool,
) -> None:
    """Compile a spec and say what was compiled or was loaded from the cache, and where the code is.

    With --emit the text goes to stdout, or with -o to a file, and what is said goes to stderr.
    """
    to_stdout = emit != "none" and output in (None, "-")
    if emit == "none" and output is not None:
        raise click.UsageError("-o needs --emit: say what to write")
    if as_json and to_stdout:
        raise click.UsageError("--json and --emit both write to stdout; add -o FILE")
    if graph is not None and emit not in ("llvm", "asm"):
        raise click.UsageError("--graph needs --emit llvm or --emit asm")

    module = read_spec(spec)
    started = time.perf_counter()
    program = attnc.compile(
        module,
        strategy=strategy,
        threads=threads,
        backend=backend,
        pipeline=pipeline,
        sizes=sizes,
    )
    seconds = time.perf_counter() - started
    if emit != "none":
        text = _emitted(program, emit, graph)
        write_text(output, text) if output is not None else out(text)
    if as_json:
        out_json(_described(program, seconds))
    elif to_stdout:
        say(_summary(program, seconds))
    else:
        out(_summary(program, seconds))


def _emitted(program: attnc.Program, emit: str, graph: str | None) -> str:
    match emit:
        case "source":
            return program.source()
        case "ir":
            return program.ir()
        case _:
            names = program.module.names
            if graph is None and len(names) > 1:
                raise ArgumentError(
                    f"which graph? there are {', '.join('@' + n for n in names)}; add --graph {names[0]}"
                )
            return program.llvm(graph) if emit == "llvm" else program.asm(graph)


def _summary(program: attnc.Program, seconds: float) -> str:
    count = program.compilations
    if program.path is None:
        head = "nothing to compile: the graphs are interpreted"
    elif count:
        head = f"compiled {count} function{'s' if count != 1 else ''} in {seconds:.1f} s"
    else:
        head = f"loaded from the cache in {seconds:.1f} s, nothing was compiled"
    lines = [head]
    for graph in program.module:
        nodes = [node for node in program.plan.nodes if node.graph == graph.name]
        chosen = ", ".join(f"%{node.result} {node.chosen.strategy}" for node in nodes)
        lines.append(f"  @{graph.name}: {chosen or 'no attention nodes'}")
    if program.path is not None:
        lines.append(f"  code: {program.path}")
    return "\n".join(lines)


def _described(program: attnc.Program, seconds: float) -> dict[str, Any]:
    return {
        "compilations": program.compilations,
        "cached": program.path is not None and program.compilations == 0,
        "seconds": seconds,
        "path": str(program.path) if program.path is not None else None,
        "threads": program.threads,
        "graphs": [
            {
                "name": graph.name,
                "strategies": {
                    node.result: node.chosen.strategy
                    for node in program.plan.nodes
                    if node.graph == graph.name
                },
            }
            for graph in program.module
        ],
    }
