"""Plans: what was chosen for every attention node, what lost, and why.

A plan is data. [`Plan.to_dict`][attnc.plan.Plan.to_dict] gives it to programs,
[`Plan.render`][attnc.plan.Plan.render] as plain text to people; a terminal may draw the same data as
tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from attnc_ir.location import Location

_UNITS = (("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("ns", 1.0))
_MINOR = 0.01
"""A cost term below this part of the total is left out of the text; `to_dict` keeps all."""


def human(nanoseconds: float) -> str:
    """A time with three digits and a unit that suits it.

    >>> human(2_100_000), human(11.04), human(8.59e9), human(0)
    ('2.10 ms', '11.0 ns', '8.59 s', '0 ns')
    """
    if nanoseconds == 0:
        return "0 ns"
    for unit, size in _UNITS:
        if nanoseconds >= 0.9995 * size or unit == "ns":
            return f"{_three_digits(nanoseconds / size)} {unit}"
    raise AssertionError(nanoseconds)


def _three_digits(value: float) -> str:
    for digits, limit in ((2, 9.995), (1, 99.95)):
        if value < limit:
            return f"{value:.{digits}f}"
    return f"{value:.0f}"


@dataclass(frozen=True)
class Cost:
    """What a node is expected to take, in nanoseconds, term by term.

    `terms` are the node's own; `upkeep` is what its cache asks for in addition, paid once however many
    nodes read the cache by the same strategy.
    """

    terms: tuple[tuple[str, float], ...]
    upkeep: tuple[tuple[str, float], ...] = ()

    @property
    def own(self) -> float:
        """The sum of the node's own terms."""
        return sum(nanoseconds for _, nanoseconds in self.terms)

    @property
    def shared(self) -> float:
        """The sum of the upkeep terms."""
        return sum(nanoseconds for _, nanoseconds in self.upkeep)

    @property
    def total(self) -> float:
        """Everything, for a node that has its cache to itself."""
        return self.own + self.shared

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"total_ns": self.total, "terms_ns": dict(self.terms), "upkeep_ns": dict(self.upkeep)}

    def render(self) -> str:
        """`build 1.05 ms + search 1.05 ms`, without terms too small to matter."""
        terms = [*self.terms, *self.upkeep]
        shown = [(n, t) for n, t in terms if t >= _MINOR * self.total and t > 0] or terms[:1]
        return " + ".join(f"{name} {human(t)}" for name, t in shown)


@dataclass(frozen=True)
class Candidate:
    """One strategy considered for a node: what it costs, or every reason why it may not be used."""

    strategy: str
    cost: Cost | None
    reasons: tuple[str, ...] = ()
    chosen: bool = False

    @property
    def legal(self) -> bool:
        """Whether it could have been chosen."""
        return not self.reasons

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "strategy": self.strategy,
            "legal": self.legal,
            "chosen": self.chosen,
            "reasons": list(self.reasons),
            "cost": None if self.cost is None else self.cost.to_dict(),
        }


@dataclass(frozen=True)
class NodePlan:
    """The decision for one attention node.

    `title` says how large it is, `assumptions` which sizes the costs suppose, `facts` what was proved that
    makes the chosen strategy legal, each with the reasons behind it, `notes` what passes did to the node on
    the way and whatever else its reader should know. `cache` names the cache that a step reads.
    """

    graph: str
    result: str
    title: str
    candidates: tuple[Candidate, ...]
    location: Location | None = None
    cache: str | None = None
    assumptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()

    @property
    def chosen(self) -> Candidate:
        """The strategy that was taken."""
        return next(c for c in self.candidates if c.chosen)

    @property
    def line(self) -> int | None:
        """Where the node stands in its file."""
        return self.location.line if self.location else None

    @property
    def place(self) -> str:
        """`lookup.attn:3`, or the graph's name when the spec has no text."""
        return f"{self.location.filename}:{self.location.line}" if self.location else f"@{self.graph}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "graph": self.graph,
            "result": self.result,
            "file": self.location.filename if self.location else None,
            "line": self.line,
            "title": self.title,
            "chosen": self.chosen.strategy,
            "cache": self.cache,
            "candidates": [c.to_dict() for c in self.candidates],
            "assumptions": list(self.assumptions),
            "facts": list(self.facts),
            "notes": list(self.notes),
        }

    def render(self) -> str:
        """Title, one line per candidate with columns aligned, then assumptions, facts and notes."""
        ranked = sorted(
            self.candidates, key=lambda c: (not c.chosen, not c.legal, c.cost.total if c.cost else 0.0)
        )
        name_width = max(len(c.strategy) for c in ranked)
        times = [human(c.cost.total) if c.cost else "-" for c in ranked]
        time_width = max(map(len, times))
        whats = [f"= {c.cost.render()}" if c.cost else f"not legal: {c.reasons[0]}" for c in ranked]
        what_width = max((len(w) for w, c in zip(whats, ranked, strict=True) if c.chosen), default=0)
        lines = [f"{self.place} %{self.result}  {self.title}"]
        for candidate, time, what in zip(ranked, times, whats, strict=True):
            head = f"  {candidate.strategy:<{name_width}}  {time:>{time_width}}  "
            lines.append(head + (f"{what:<{what_width}}  chosen" if candidate.chosen else what))
            more = candidate.reasons if candidate.cost else candidate.reasons[1:]
            lines += [" " * len(head) + f"not legal: {reason}" for reason in more]
        if self.assumptions:
            lines.append(f"  assumed: {', '.join(self.assumptions)}")
        lines += [f"  because: {sentence}" for sentence in self.facts]
        lines += [f"  note: {sentence}" for sentence in self.notes]
        return "\n".join(lines)


@dataclass(frozen=True)
class CachePlan:
    """What a cache keeps: its rows, and the structures that its readers need. `readers` are result names."""

    graph: str
    cache: str
    title: str
    keeps: tuple[str, ...]
    readers: tuple[str, ...]
    location: Location | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "graph": self.graph,
            "cache": self.cache,
            "line": self.location.line if self.location else None,
            "title": self.title,
            "keeps": list(self.keeps),
            "readers": list(self.readers),
        }

    def render(self) -> str:
        """One line."""
        place = f"{self.location.filename}:{self.location.line}" if self.location else f"@{self.graph}"
        readers = ", ".join(f"%{name}" for name in self.readers) or "nobody"
        return f"{place} %{self.cache}  {self.title}, keeps {', '.join(self.keeps)}, read by {readers}"


@dataclass(frozen=True)
class Plan:
    """The decisions for a module, and the machine they are made for."""

    nodes: tuple[NodePlan, ...] = ()
    caches: tuple[CachePlan, ...] = ()
    machine: str = ""
    """The profile that costs were computed with, in one line; empty when nothing was decided."""

    def __bool__(self) -> bool:
        return bool(self.nodes or self.caches)

    def node(self, result: str, graph: str | None = None) -> NodePlan:
        """The decision for the node whose output is called `result`; `KeyError` when there is none."""
        for node in self.nodes:
            if node.result == result and graph in (None, node.graph):
                return node
        raise KeyError(result)

    def with_notes(self, notes: Mapping[str, tuple[str, ...]]) -> Plan:
        """The plan with what a backend has to say about nodes, by `graph.result`."""
        nodes = tuple(
            replace(n, notes=(*n.notes, *notes.get(f"{n.graph}.{n.result}", ()))) for n in self.nodes
        )
        return replace(self, nodes=nodes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "machine": self.machine,
            "nodes": [n.to_dict() for n in self.nodes],
            "caches": [c.to_dict() for c in self.caches],
        }

    def render(self) -> str:
        """The whole plan as plain text."""
        if not self:
            return "no attention nodes"
        blocks = [node.render() for node in self.nodes]
        if self.caches:
            blocks.append("\n".join(cache.render() for cache in self.caches))
        if self.machine:
            blocks.append(f"costs for {self.machine}")
        return "\n\n".join(blocks)
