"""`attnc plan`: what was chosen for each attention node, what lost, and why."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from attnc.cli.console import on_terminal, out, out_json
from attnc.cli.files import read_spec
from attnc.cli.options import BACKEND, JSON, PIPELINE, SIZES, SPEC, STRATEGY, examples


@click.command(
    "plan",
    short_help="Show the strategy chosen for each node, its cost, and why the others lost.",
    epilog=examples(
        "attnc plan examples/three_nodes.attn",
        "attnc plan prefill.attn --size N=65536 --size M=65536 --machine flat",
        "attnc plan prefill.attn --json | jq '.nodes[].chosen'",
    ),
)
@SPEC
@SIZES
@click.option(
    "--assume",
    type=click.IntRange(0, 2**40),
    metavar="N",
    help="Suppose this for every length that has no --size. [default: 1024]",
)
@click.option(
    "--machine",
    metavar="NAME",
    help="Profile to reckon with: host, builtin, flat or one stored. [default: host]",
)
@STRATEGY
@PIPELINE
@BACKEND
@JSON
def command(
    spec: str,
    sizes: dict[str, int],
    assume: int | None,
    machine: str | None,
    strategy: str | None,
    pipeline: str | None,
    backend: str,
    as_json: bool,
) -> None:
    """Show the candidates for each attention node, their costs, which one is chosen and why the others lost.

    Costs need sizes; whatever the spec leaves open and --size does not give is assumed, and the plan says so.
    """
    from attnc.cli import tables
    from attnc.manager import PassManager
    from attnc.passes import SelectStrategy
    from attnc.program import passes_for
    from attnc_backends.interface import backend as find_backend

    given: dict[str, Any] = {"assume": assume, "machine": machine}
    changes = {key: value for key, value in given.items() if value is not None}
    passes = tuple(
        dataclasses.replace(step, **changes) if isinstance(step, SelectStrategy) else step
        for step in passes_for(pipeline, strategy, sizes)
    )
    chosen_backend = find_backend(backend)
    run = PassManager.of(passes).run(read_spec(spec))
    # What the code does beyond its strategies' names belongs to the plan; to emit compiles nothing.
    plan = run.plan.with_notes(chosen_backend.emit(run.module).notes)
    if as_json:
        out_json(plan.to_dict())
    elif on_terminal():
        tables.draw_plan(plan)
    else:
        out(plan.render())
