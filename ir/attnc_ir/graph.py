"""Graphs and modules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from attnc_ir.location import Location
from attnc_ir.op import Op
from attnc_ir.ops import Append, Cache
from attnc_ir.types import Symbol, TensorType
from attnc_ir.values import Value, check_name


@dataclass(frozen=True)
class Graph:
    """A named function in SSA form: typed inputs, ops in order, outputs.

    A graph with a `cache` is stateful: it describes one step, and its inputs and outputs are those of one
    position.
    """

    name: str
    inputs: tuple[Value, ...]
    ops: tuple[Op, ...]
    outputs: tuple[Value, ...]
    location: Location | None = field(default=None, compare=False, repr=False)
    declared: tuple[TensorType, ...] | None = field(default=None, compare=False, repr=False)
    """The result types that the text states, checked by the verifier; None where it states none."""

    def __post_init__(self) -> None:
        check_name(self.name, "graph name")

    @property
    def caches(self) -> tuple[Cache, ...]:
        """The caches the graph owns, in order."""
        return tuple(op for op in self.ops if isinstance(op, Cache))

    @property
    def is_stateful(self) -> bool:
        """Whether the graph describes a step over caches."""
        return any(isinstance(op, Cache) for op in self.ops)

    def cache_roots(self) -> dict[str, Cache]:
        """For every cache version, by value name, the `cache` op whose rows it continues."""
        roots: dict[str, Cache] = {}
        for op in self.ops:
            if isinstance(op, Cache):
                roots[op.results[0].name] = op
            elif isinstance(op, Append):
                roots[op.results[0].name] = roots[op.cache.name]
        return roots

    def values(self) -> Iterator[Value]:
        """Every value, inputs first, in order of definition."""
        yield from self.inputs
        for op in self.ops:
            yield from op.results

    def symbols(self) -> tuple[Symbol, ...]:
        """The symbolic dimensions of the inputs and caches, in order of first appearance."""
        shapes = [v.type.shape for v in self.inputs if isinstance(v.type, TensorType)]
        shapes += [cache.heads for cache in self.caches]
        return tuple(dict.fromkeys(d for shape in shapes for d in shape if isinstance(d, Symbol)))


@dataclass(frozen=True)
class Module:
    """Graphs by name, and the text they were parsed from (for diagnostics; not part of equality)."""

    graphs: tuple[Graph, ...]
    text: str = field(default="", compare=False, repr=False)
    filename: str = field(default="<module>", compare=False, repr=False)

    def __iter__(self) -> Iterator[Graph]:
        return iter(self.graphs)

    def __getitem__(self, name: str) -> Graph:
        for graph in self.graphs:
            if graph.name == name:
                return graph
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The graphs' names, in order."""
        return tuple(graph.name for graph in self.graphs)
