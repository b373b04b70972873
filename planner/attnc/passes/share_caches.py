"""`share-caches`: heads and nodes that look at the same keys share one structure.

Two caches to which every step appends the same keys become one cache, whose value rows hold the columns of both; each reader
takes its own columns back with a slice. Where the values are the same too, one of the caches is simply not needed. Two
stateless nodes that differ in their values only become one in the same way.

Wider values are given to hard-max nodes only: which position wins does not depend on the values, and every output column is
copied (or, for `tie = mean`, summed exactly) by itself, so the result is the same bit for bit. A softmax would compute columns
that it does not need, and how its sums round may depend on the width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import networkx as nx
from attnc_ir.attributes.empty import Empty, EmptyDefault
from attnc_ir.attributes.normalizer import Hardmax
from attnc_ir.graph import Graph
from attnc_ir.op import Op
from attnc_ir.ops import Append, Attend, AttendStep, Cache, Concat, Constant, Slice
from attnc_ir.types import MAX_DIM, CacheType, TensorType
from attnc_ir.values import Value

from attnc.passes.base import Context, Pass, register_pass
from attnc.passes.rewrite import Rewriter


@register_pass
@dataclass(frozen=True)
class ShareCaches(Pass):
    """Merge caches, and stateless hard-max nodes, that have their keys in common.

    >>> from attnc.passes.rewrite import run_on_text
    >>> graph = run_on_text(ShareCaches(), '''graph @g(%q: f64[2], %k: f64[2], %v: f64[1], %w: f64[3]) {
    ...     %c = cache {heads = [], key = f64[2], value = f64[1]}
    ...     %d = cache {heads = [], key = f64[2], value = f64[3]}
    ...     %c1 = append %c, %k, %v
    ...     %d1 = append %d, %k, %w
    ...     %o = attend.step %q, %c1 {normalizer = hardmax(last)}
    ...     %p = attend.step %q, %d1 {normalizer = hardmax(first)}
    ...     return %o, %p
    ... }''')
    >>> [str(cache.value) for cache in graph.caches]
    ['f64[4]']
    """

    name: ClassVar[str] = "share-caches"

    def run(self, graph: Graph, context: Context) -> Graph:
        graph = _share(graph, context, same_values=True)
        graph = _share(graph, context, same_values=False)
        return _share_nodes(graph, context)


# --- order ------------------------------------------------------------------------------------------------------------


class _Units:
    """The ops of a graph by index, some of them joined to be carried out as one.

    Edges say what must come first: a definition before its uses, and the reads of a cache version before the append that
    continues it. Joining is allowed only while there is still an order.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.order: nx.DiGraph[int] = nx.DiGraph()
        self.members: dict[int, tuple[int, ...]] = {index: (index,) for index in range(len(graph.ops))}
        self.order.add_nodes_from(self.members)
        definition: dict[str, int] = {}
        readers: dict[str, list[int]] = {}
        for index, op in enumerate(graph.ops):
            for value in op.operands:
                if value.name in definition:
                    self.order.add_edge(definition[value.name], index)
            if isinstance(op, AttendStep):
                readers.setdefault(op.cache.name, []).append(index)
            if isinstance(op, Append):
                self.order.add_edges_from((reader, index) for reader in readers.get(op.cache.name, []))
            definition.update((r.name, index) for r in op.results)

    def join(self, groups: Iterable[Sequence[int]]) -> bool:
        """Join each group of ops, all groups or none; False when nothing could then be carried out in order."""
        order, members = self.order.copy(), dict(self.members)
        for group in groups:
            first, *others = group
            for other in others:
                nx.contracted_nodes(order, first, other, self_loops=True, copy=False)
                members[first] += members.pop(other)
        if not nx.is_directed_acyclic_graph(order):
            return False
        self.order, self.members = order, members
        return True

    def in_order(self) -> Iterator[tuple[Op, ...]]:
        """Ops, joined ones together, in an order near to the old one."""
        for unit in nx.lexicographical_topological_sort(self.order, key=lambda index: max(self.members[index])):
            yield tuple(self.graph.ops[index] for index in self.members[unit])


# --- caches -----------------------------------------------------------------------------------------------------------


@dataclass
class _Chain:
    """A cache with its appends and readers, by index into the ops."""

    cache: int
    appends: list[int] = field(default_factory=list)
    readers: list[int] = field(default_factory=list)


def _chains(graph: Graph) -> dict[str, _Chain]:
    """By the name of each cache, what happens to it."""
    roots = graph.cache_roots()
    chains: dict[str, _Chain] = {}
    for index, op in enumerate(graph.ops):
        if isinstance(op, Cache):
            chains[op.results[0].name] = _Chain(index)
        elif isinstance(op, Append):
            chains[roots[op.cache.name].results[0].name].appends.append(index)
        elif isinstance(op, AttendStep):
            chains[roots[op.cache.name].results[0].name].readers.append(index)
    return chains


@dataclass(frozen=True)
class _Columns:
    """Where a cache version is found now: the version that holds it, and which value columns; None is all of them."""

    version: Value
    columns: tuple[int, int] | None


def _share(graph: Graph, context: Context, *, same_values: bool) -> Graph:
    """Merge caches whose appends give the same keys, and the same values too if `same_values`."""
    units = _Units(graph)
    groups: dict[tuple[object, ...], list[str]] = {}
    chains = _chains(graph)
    for name, chain in chains.items():
        leader = _host(graph, chain, groups, context, same_values=same_values)
        hosts = groups.setdefault(leader, [])
        if not chain.appends or not _widens(graph, chain, same_values):
            continue
        if hosts and not units.join(_pairs(chains[hosts[0]], chain)):
            context.count("kept-ordered-caches")
            continue
        hosts.append(name)
    merged = [names for names in groups.values() if len(names) > 1]
    if not merged:
        return graph
    context.count("shared-cache", sum(len(names) - 1 for names in merged))
    layout = {name: _layout(graph, chains, names, same_values=same_values) for names in merged for name in names}
    return _Emitter(graph, context, layout).run(units)


def _host(
    graph: Graph, chain: _Chain, groups: dict[tuple[object, ...], list[str]], context: Context, *, same_values: bool
) -> tuple[object, ...]:
    """What two caches must have in common to become one."""
    cache = graph.ops[chain.cache]
    assert isinstance(cache, Cache)
    appends = [op for index in chain.appends if isinstance(op := graph.ops[index], Append)]
    keys = tuple(op.key.name for op in appends)
    if same_values:
        return (cache.heads, cache.key, cache.value, keys, tuple(op.value.name for op in appends))
    return (cache.heads, cache.key, cache.value.dtype, keys)


def _widens(graph: Graph, chain: _Chain, same_values: bool) -> bool:
    """Whether the readers of a cache may be given wider values."""
    readers = [graph.ops[index] for index in chain.readers]
    return same_values or all(isinstance(r, AttendStep) and isinstance(r.normalizer, Hardmax) for r in readers)


def _pairs(a: _Chain, b: _Chain) -> list[tuple[int, int]]:
    return [(a.cache, b.cache), *zip(a.appends, b.appends, strict=True)]


def _layout(
    graph: Graph, chains: dict[str, _Chain], names: list[str], *, same_values: bool
) -> dict[str, tuple[int, int] | None]:
    """The value columns of each of the merged caches."""
    layout: dict[str, tuple[int, int] | None] = {}
    start = 0
    for name in names:
        cache = graph.ops[chains[name].cache]
        assert isinstance(cache, Cache)
        width = cache.value.shape[0]
        assert isinstance(width, int), "the verifier asks for a number"
        layout[name] = None if same_values else (start, start + width)
        start += width
    return layout
