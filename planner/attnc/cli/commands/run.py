"""`attnc run`: a spec on the arrays of an `.npz` file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
import numpy as np

import attnc
from attnc.cli import tables
from attnc.cli.boundary import AT_FAULT
from attnc.cli.compare import Difference, difference, numbers, tolerances
from attnc.cli.console import complain, out, out_json, say
from attnc.cli.files import STDIN, read_arrays, read_spec, shown, write_arrays
from attnc.cli.options import BACKEND, JSON, SPEC, STRATEGY, THREADS, examples, output
from attnc_ir.errors import ArgumentError
from attnc_ir.graph import Graph, Module
from attnc_ir.kinds import suggest
from attnc_ir.storage import Array
from attnc_ir.types import TensorType

_FIRST = 6
"""How many elements of an output a summary shows."""


@click.command(
    "run",
    short_help="Run a spec on the arrays of an .npz file.",
    epilog=examples(
        "attnc run prefill.attn inputs.npz",
        "attnc run prefill.attn inputs.npz -o results.npz --threads 2",
        "attnc run memory.attn steps.npz --strategy hull --check",
    ),
)
@SPEC
@click.argument("inputs", type=click.Path(allow_dash=True), metavar="[INPUTS.npz]", required=False)
@click.option("--graph", "name", metavar="NAME", help="The graph to run. [default: the only one]")
@output("the results")
@click.option("--reference", is_flag=True, help="Run the reference interpreter and nothing else.")
@click.option(
    "--check", is_flag=True, help="Compare with the reference interpreter; exit with 1 if they differ."
)
@THREADS
@STRATEGY
@BACKEND
@JSON
def command(
    spec: str,
    inputs: str | None,
    name: str | None,
    output: str | None,
    reference: bool,
    check: bool,
    threads: int | None,
    strategy: str | None,
    backend: str,
    as_json: bool,
) -> None:
    """Run a graph on the arrays of an .npz file, which are called as its inputs are.

    The arrays of a stateful graph have a leading axis of positions: they go, one position after the other,
    through an empty state. A graph without inputs needs no file. Results are saved under the names that the
    graph returns.
    """
    if reference and check:
        raise click.UsageError("--check compares with the reference interpreter; leave --reference out")
    if spec == STDIN and inputs == STDIN:
        raise click.UsageError("the spec and the inputs cannot both come from stdin")
    if as_json and output == STDIN:
        raise click.UsageError("--json and -o - both write to stdout; give -o a file")
    module = read_spec(spec)
    graph = _chosen(module, name)
    arrays: dict[str, Any] = dict(read_arrays(inputs)) if inputs is not None else {}
    if inputs is None and graph.inputs:
        names = ", ".join(value.name for value in graph.inputs)
        raise ArgumentError(
            f"graph @{graph.name} needs the arrays {names}; name an .npz file that holds them"
        )

    wanted = _listed(attnc.reference(module, graph.name, **arrays)) if reference or check else ()
    if reference:
        results = wanted
    else:
        program = attnc.compile(module, strategy=strategy, threads=threads, backend=backend)
        results = _listed(program(graph.name, **arrays))
    names_ = _names(graph)
    kinds = [value.tensor for value in graph.outputs]
    if output is not None:
        write_arrays(output, dict(zip(names_, results, strict=True)))
    found: list[Difference] = []
    if check:
        found = [
            difference(*case) for case in zip(names_, kinds, results, wanted, tolerances(graph), strict=True)
        ]
    _tell(graph, zip(names_, kinds, results, strict=True), found, output, as_json=as_json)
    if not all(d.ok for d in found):
        raise click.exceptions.Exit(AT_FAULT)


def _chosen(module: Module, name: str | None) -> Graph:
    names = list(module.names)
    if name is None:
        if len(names) > 1:
            raise ArgumentError(
                f"which graph? there are {', '.join('@' + n for n in names)}; add --graph {names[0]}"
            )
        name = names[0]
    if name.removeprefix("@") not in names:
        raise ArgumentError(f"no graph is called {name!r:.80}; {suggest(name, names)}")
    return module[name.removeprefix("@")]


def _listed(results: Any) -> tuple[Array, ...]:
    return results if isinstance(results, tuple) else (results,)


def _names(graph: Graph) -> list[str]:
    """The names of the outputs; one that is returned twice is numbered."""
    names: list[str] = []
    for value in graph.outputs:
        name, number = value.name, 2
        while name in names:
            name, number = f"{value.name}_{number}", number + 1
        names.append(name)
    return names


def _tell(
    graph: Graph,
    results: Iterable[tuple[str, TensorType, Array]],
    found: list[Difference],
    output: str | None,
    *,
    as_json: bool,
) -> None:
    """Say what came out, and how far it is from the reference."""
    described = [_described(*result) for result in results]
    if as_json:
        checks = [
            {
                "name": d.name,
                "ok": d.ok,
                "largest": d.largest,
                "relative": d.relative,
                "misplaced": d.misplaced,
                "tolerance": d.tolerance,
            }
            for d in found
        ]
        out_json({"graph": graph.name, "outputs": described, "check": checks or None, "file": output})
        return
    if output is None:
        tables.show(tables.results(graph.name, described))
    elif output != STDIN:
        out(f"{', '.join(d['name'] for d in described)} saved in {shown(output)}")
    for d in found:
        line = (
            f"%{d.name}: largest difference from the reference {d.largest:.3g}, relative {d.relative:.3g}, "
            f"tolerance {d.tolerance:.3g}"
        )
        if d.misplaced:
            line += f"; {d.misplaced} elements are NaN or infinite in one of the two only"
        if not d.ok:
            complain(f"{line}: mismatch")
        elif output == STDIN:
            say(f"{line}: ok")
        else:
            out(f"{line}: ok")


def _described(name: str, kind: TensorType, array: Array) -> dict[str, Any]:
    """An output in short, as data."""
    elements = numbers(array, kind)
    known = elements[~np.isnan(elements)]
    return {
        "name": name,
        "dtype": str(kind.dtype),
        "shape": list(array.shape),
        "min": float(known.min()) if known.size else None,
        "max": float(known.max()) if known.size else None,
        "nan": int(elements.size - known.size),
        "first": [float(x) for x in elements.ravel()[:_FIRST]],
    }
