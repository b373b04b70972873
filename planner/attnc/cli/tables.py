"""Plans, statistics and measurements as tables: rich's on a terminal, aligned text elsewhere."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from attnc.cli.console import draw, on_terminal, out, safe, say

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from attnc.machine import Machine
    from attnc.manager import PassRecord
    from attnc.plan import CachePlan, NodePlan, Plan


@dataclass(frozen=True)
class Table:
    """Rows of text under `columns`. Columns named in `right` are numbers."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    right: frozenset[str] = frozenset()

    def plain(self) -> str:
        """Aligned text, a line for each row.

        >>> print(Table(("pass", "times"), (("cse", "12"),), right=frozenset({"times"})).plain())
        pass  times
        cse      12
        """
        lines = [self.columns, *self.rows]
        widths = [max(len(line[n]) for line in lines) for n in range(len(self.columns))]
        aligned = [
            "  ".join(
                text.rjust(width) if name in self.right else text.ljust(width)
                for text, width, name in zip(line, widths, self.columns, strict=True)
            ).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *aligned] if self.title else aligned)

    def rich(self) -> RenderableType:
        """The same with rules and colours."""
        from rich import box
        from rich.table import Table as RichTable

        table = RichTable(
            box=box.SIMPLE_HEAD, title=safe(self.title) or None, title_justify="left", title_style="bold"
        )
        for name in self.columns:
            number = name in self.right
            table.add_column(name, justify="right" if number else "left", no_wrap=number, overflow="fold")
        for row in self.rows:
            table.add_row(*map(_text, row))
        return table


def show(table: Table) -> None:
    """A table that is the result of a command, on stdout."""
    if on_terminal():
        draw(table.rich())
    else:
        out(table.plain())


def report(table: Table) -> None:
    """A table beside the result, on stderr; as comments off a terminal, so that dumps around it parse."""
    if on_terminal(sys.stderr):
        draw(table.rich(), sys.stderr)
    else:
        say("\n".join(f"// {line}" for line in table.plain().split("\n")))


def _text(text: str, style: str = "") -> Text:
    from rich.text import Text

    return Text(safe(text), style=style)


# --- passes -------------------------------------------------------------------------------------------------


def statistics(records: Iterable[PassRecord]) -> Table:
    """What each pass decided, in order of the pipeline; counts of a pass that ran twice are added."""
    counts: dict[tuple[str, str], int] = {}
    for record in records:
        for decision, count in sorted(record.statistics.items()):
            counts[record.name, decision] = counts.get((record.name, decision), 0) + count
    rows = tuple((name, decision, str(count)) for (name, decision), count in counts.items())
    return Table(
        ("pass", "decision", "times"),
        rows or (("-", "nothing was changed", "0"),),
        right=frozenset({"times"}),
    )


def timings(records: Sequence[PassRecord]) -> Table:
    """How long each pass took, and the share of it, in order of the pipeline."""
    from attnc.plan import human

    total = sum(record.seconds for record in records)
    rows = [
        (
            record.name,
            "changed" if record.changed else "unchanged",
            human(record.seconds * 1e9),
            f"{100 * record.seconds / total:.0f} %",
        )
        for record in records
    ]
    rows.append(("total", "", human(total * 1e9), "100 %"))
    return Table(("pass", "module", "time", "share"), tuple(rows), right=frozenset({"time", "share"}))


def passes() -> str:
    """Every pass that a pipeline can name, its first sentence and its options; then the default pipeline."""
    from attnc.passes import registered_passes
    from attnc.passes.base import options_of, sizes_field
    from attnc.pipeline import DEFAULT_PIPELINE

    lines = []
    for name, cls in sorted(registered_passes().items()):
        sentence = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split()).split(". ")[0].rstrip(".")
        lines.append(f"{name}\n    {sentence}.")
        lines += [f"    {key}=... {kind.expects}" for key, (_, kind) in options_of(cls).items()]
        lines += ["    N=... the size of dimension or cache N, and so on"] if sizes_field(cls) else []
    return "\n".join([*lines, "", f"default pipeline: {DEFAULT_PIPELINE}"])


# --- plans --------------------------------------------------------------------------------------------------


def draw_plan(plan: Plan) -> None:
    """A plan as tables on the terminal: for each node its candidates, the chosen one first."""
    from rich.console import Group

    parts: list[RenderableType] = []
    for node in plan.nodes:
        parts += [_node_title(node), _candidates(node)]
        parts += [_remark("assumed", ", ".join(node.assumptions))] if node.assumptions else []
        parts += [_remark("because", sentence) for sentence in node.facts]
        parts += [_remark("note", sentence) for sentence in node.notes]
        parts.append(_text(""))
    if plan.caches:
        parts.append(_caches(plan.caches))
    parts.append(_text(f"costs for {plan.machine}" if plan else "no attention nodes", "dim"))
    draw(Group(*parts))


def _node_title(node: NodePlan) -> Text:
    title = _text(f"%{node.result}", "bold cyan")
    title.append_text(_text(f"  {node.title}", "bold"))
    title.append_text(_text(f"  @{node.graph} {node.place}", "dim"))
    return title


def _candidates(node: NodePlan) -> RenderableType:
    from rich import box
    from rich.table import Table as RichTable

    from attnc.plan import human

    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("strategy", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("why", overflow="fold")
    ranked = sorted(
        node.candidates, key=lambda c: (not c.chosen, not c.legal, c.cost.total if c.cost else 0.0)
    )
    for candidate in ranked:
        style = "bold green" if candidate.chosen else "" if candidate.legal else "dim"
        why = candidate.cost.render() if candidate.cost else ""
        reasons = [f"not legal: {reason}" for reason in candidate.reasons]
        table.add_row(
            _text("→" if candidate.chosen else "", style),
            _text(candidate.strategy, style),
            _text(human(candidate.cost.total) if candidate.cost else "-", style),
            _text("\n".join([*filter(None, [why]), *reasons]), "" if candidate.legal else "dim"),
        )
    return table


def _remark(word: str, sentence: str) -> Text:
    remark = _text(f"  {word}: ", "yellow" if word == "note" else "dim")
    return remark.append_text(_text(sentence, "" if word == "note" else "dim"))


def _caches(caches: Sequence[CachePlan]) -> RenderableType:
    rows = tuple(
        (
            f"@{cache.graph} %{cache.cache}",
            cache.title,
            ", ".join(cache.keeps),
            ", ".join(f"%{name}" for name in cache.readers) or "nobody",
        )
        for cache in caches
    )
    return Table(("cache", "rows", "keeps", "read by"), rows).rich()


# --- machines -----------------------------------------------------------------------------------------------

_MEANINGS = {
    "flop_f32": "a multiplication or addition, f32",
    "flop_f64": "the same, f64",
    "exp_f32": "an exponential, f32",
    "exp_f64": "the same, f64",
    "lane_flop_f32": "a multiplication or addition in explicit vectors, f32",
    "lane_flop_f64": "the same, f64",
    "lane_exp_f32": "an exponential in explicit vectors, f32",
    "lane_exp_f64": "the same, f64",
    "byte": "a byte from memory",
    "probe": "a step of a binary search",
    "insert": "moving a key into place",
    "compare": "a comparison of scores",
    "call": "entering a kernel",
    "thread": "starting and joining threads",
}


def coefficients(machine: Machine) -> Table:
    """A machine profile: nanoseconds by coefficient."""
    from attnc.machine import COEFFICIENTS

    rows = tuple((name, f"{getattr(machine, name):.3g}", _MEANINGS.get(name, "")) for name in COEFFICIENTS)
    return Table(("coefficient", "ns", "of"), rows, title=machine.describe(), right=frozenset({"ns"}))


# --- arrays -------------------------------------------------------------------------------------------------


def results(graph: str, described: Iterable[Mapping[str, Any]]) -> Table:
    """The outputs of a graph in short, as `attnc run --json` describes them."""
    rows = tuple(
        (
            f"%{d['name']}",
            f"{d['dtype']}[{' x '.join(map(str, d['shape']))}]",
            "-" if d["min"] is None else f"{d['min']:.6g}",
            "-" if d["max"] is None else f"{d['max']:.6g}",
            str(d["nan"]),
            " ".join(f"{x:.6g}" for x in d["first"])
            + (" ..." if math.prod(d["shape"]) > len(d["first"]) else ""),
        )
        for d in described
    )
    columns = ("output", "type", "min", "max", "nan", "first elements")
    return Table(columns, rows, title=f"@{graph}", right=frozenset({"min", "max", "nan"}))
