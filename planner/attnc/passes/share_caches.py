"""`share-caches`: heads and nodes that look at the same keys share one structure.

Two caches to which every step appends the same keys become one cache, whose value rows hold the columns of
both; each reader takes its own columns back with a slice. Where the values are the same too, one of the
caches is simply not needed. Two stateless nodes that differ in their values only become one in the same
way.

Wider values are given to hard-max nodes only: which position wins does not depend on the values, and every
output column is copied (or, for `tie = mean`, summed exactly) by itself, so the result is the same bit for
bit. A softmax would compute columns that it does not need, and how its sums round may depend on the width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import networkx as nx

from attnc.passes.base import Context, Pass, register_pass
from attnc.passes.rewrite import Rewriter
from attnc_ir.attributes.empty import Empty, EmptyDefault
from attnc_ir.attributes.normalizer import Hardmax
from attnc_ir.graph import Graph
from attnc_ir.graphview import to_networkx
from attnc_ir.op import Op
from attnc_ir.ops import Append, Attend, AttendStep, Cache, Concat, Constant, Slice
from attnc_ir.types import CacheType, TensorType
from attnc_ir.values import Value


@register_pass
@dataclass(frozen=True)
class ShareCaches(Pass):
    """Merge caches, and stateless hard-max nodes, that have their keys in common.

    >>> from attnc.passes.rewrite import run_on_text
    >>> text = '''graph @g(%q: f64[2], %k: f64[2], %v: f64[1], %w: f64[3]) {
    ...     %c = cache {heads = [], key = f64[2], value = f64[1]}
    ...     %d = cache {heads = [], key = f64[2], value = f64[3]}
    ...     %c1 = append %c, %k, %v
    ...     %d1 = append %d, %k, %w
    ...     %o = attend.step %q, %c1 {normalizer = hardmax(last)}
    ...     %p = attend.step %q, %d1 {normalizer = hardmax(first)}
    ...     return %o, %p
    ... }'''
    >>> graph = run_on_text(ShareCaches(), text)
    >>> [str(cache.value) for cache in graph.caches]
    ['f64[4]']
    """

    name: ClassVar[str] = "share-caches"

    def run(self, graph: Graph, context: Context) -> Graph:
        graph = _share(graph, context, same_values=True)
        graph = _share(graph, context, same_values=False)
        return _share_nodes(graph, context)


# --- order --------------------------------------------------------------------------------------------------


class _Units:
    """The ops of a graph by index, some of them joined to be carried out as one.

    Edges say what must come first: a definition before its uses, and the reads of a cache version before
    the append that continues it. Joining is allowed only while there is still an order.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.order: nx.DiGraph[int] = nx.DiGraph()
        self.members: dict[int, tuple[int, ...]] = {index: (index,) for index in range(len(graph.ops))}
        self.order.add_nodes_from(self.members)
        index = {str(op.results[0]): n for n, op in enumerate(graph.ops)}
        edges = to_networkx(graph).edges()
        self.order.add_edges_from((index[a], index[b]) for a, b in edges if a in index and b in index)

    def join(self, groups: Iterable[Sequence[int]]) -> bool:
        """Join each group of ops, all groups or none; False when nothing could then be carried out in
        order.
        """
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
        for unit in nx.lexicographical_topological_sort(
            self.order, key=lambda index: max(self.members[index])
        ):
            yield tuple(self.graph.ops[index] for index in self.members[unit])


# --- caches -------------------------------------------------------------------------------------------------


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


def _share(graph: Graph, context: Context, *, same_values: bool) -> Graph:
    """Merge caches whose appends give the same keys, and the same values too if `same_values`."""
    units = _Units(graph)
    groups: dict[tuple[object, ...], list[str]] = {}
    chains = _chains(graph)
    for name, chain in chains.items():
        if not chain.appends or not _widens(graph, chain, same_values=same_values):
            continue
        members = groups.setdefault(_in_common(graph, chain, same_values=same_values), [])
        if members and not units.join(_pairs(chains[members[0]], chain)):
            context.count("kept-ordered-caches")
            continue
        members.append(name)
    merged = [names for names in groups.values() if len(names) > 1]
    if not merged:
        return graph
    context.count("shared-cache", sum(len(names) - 1 for names in merged))
    layout: dict[str, _Columns] = {}
    for names in merged:
        layout |= _layout(graph, chains, names, same_values=same_values)
    return _Emitter(graph, context, layout).run(units)


def _in_common(graph: Graph, chain: _Chain, *, same_values: bool) -> tuple[object, ...]:
    """What two caches must have in common to become one."""
    cache = graph.ops[chain.cache]
    assert isinstance(cache, Cache)
    appends = [op for index in chain.appends if isinstance(op := graph.ops[index], Append)]
    keys = tuple(op.key.name for op in appends)
    if same_values:
        return (cache.heads, cache.key, cache.value, keys, tuple(op.value.name for op in appends))
    return (cache.heads, cache.key, cache.value.dtype, keys)


def _widens(graph: Graph, chain: _Chain, *, same_values: bool) -> bool:
    """Whether the readers of a cache may be given wider values."""
    readers = [graph.ops[index] for index in chain.readers]
    return same_values or all(
        isinstance(r, AttendStep) and isinstance(r.normalizer, Hardmax) for r in readers
    )


def _pairs(a: _Chain, b: _Chain) -> list[tuple[int, int]]:
    return [(a.cache, b.cache), *zip(a.appends, b.appends, strict=True)]


@dataclass(frozen=True)
class _Columns:
    """Where the values of a cache are found in the merged one: `start` to `stop` of `width` columns."""

    start: int
    stop: int
    width: int

    @property
    def is_all(self) -> bool:
        """Nothing was added."""
        return self.stop - self.start == self.width


def _layout(
    graph: Graph, chains: dict[str, _Chain], names: list[str], *, same_values: bool
) -> dict[str, _Columns]:
    """The value columns of each of the caches that become one."""
    widths = [_width(_cache(graph, chains[name]).value) for name in names]
    if same_values:
        return {name: _Columns(0, width, width) for name, width in zip(names, widths, strict=True)}
    starts = [sum(widths[:n]) for n in range(len(widths))]
    return {
        name: _Columns(start, start + width, sum(widths))
        for name, start, width in zip(names, starts, widths, strict=True)
    }


def _cache(graph: Graph, chain: _Chain) -> Cache:
    op = graph.ops[chain.cache]
    assert isinstance(op, Cache)
    return op


def _width(kind: TensorType) -> int:
    width = kind.shape[-1]
    assert isinstance(width, int), "only values of a known width are joined"
    return width


class _Emitter:
    """Writes the graph with merged caches. `layout` speaks of the caches that take part, by name."""

    def __init__(self, graph: Graph, context: Context, layout: dict[str, _Columns]) -> None:
        self.graph = graph
        self.context = context
        self.layout = layout
        self.roots = graph.cache_roots()
        self.rewriter = Rewriter(graph)
        self.version: dict[str, Value] = {}
        """The merged cache version that stands for an old one, by name."""

    def run(self, units: _Units) -> Graph:
        for ops in units.in_order():
            match ops[0]:
                case Cache():
                    self._cache([op for op in ops if isinstance(op, Cache)])
                case Append():
                    self._append([op for op in ops if isinstance(op, Append)])
                case AttendStep() as step if self._columns(step.cache) is not None:
                    self._step(step)
                case op:
                    self.rewriter.add(self.rewriter.current(op))
        return self.rewriter.finish()

    def _columns(self, version: Value) -> _Columns | None:
        return self.layout.get(self.roots[version.name].results[0].name)

    def _cache(self, caches: list[Cache]) -> None:
        host = caches[0]
        columns = self.layout.get(host.results[0].name)
        if columns is not None:
            host = dataclasses.replace(host, value=host.value.with_shape((columns.width,)))
        self._define(host, [c.results[0] for c in caches])

    def _append(self, appends: list[Append]) -> None:
        current = [self.rewriter.current(a) for a in appends]
        host = current[0]
        columns = self._columns(host.cache)
        if columns is None:
            self.rewriter.add(host)
            return
        value = host.value
        if not columns.is_all:
            joined = Concat(parts=tuple(a.value for a in current), axis=-1, location=host.location)
            value = self.rewriter.insert(joined, f"{host.value.name}_joined")
        cache = self.version[appends[0].cache.name]
        self._define(dataclasses.replace(host, cache=cache, value=value), [a.results[0] for a in appends])

    def _define(self, op: Cache | Append, versions: list[Value]) -> None:
        """Add the op under its first name, and let it stand for all the old versions."""
        (kind,) = op.infer()
        assert isinstance(kind, CacheType)
        result = dataclasses.replace(op.results[0], type=kind)
        self.rewriter.add(dataclasses.replace(op, results=(result,)))
        self.version.update((version.name, result) for version in versions)

    def _step(self, old: AttendStep) -> None:
        columns = self._columns(old.cache)
        assert columns is not None
        op = dataclasses.replace(self.rewriter.current(old), cache=self.version[old.cache.name])
        if columns.is_all:
            self.rewriter.add(op)
            return
        op = dataclasses.replace(op, empty=_widened(op.empty, columns, self.rewriter))
        _sliced(op, [(op.output, columns)], self.rewriter, self.context)


def _widened(empty: Empty, columns: _Columns, rewriter: Rewriter) -> Empty:
    """An empty-row rule for values with more columns; those of others are cut away again: zeros."""
    if not isinstance(empty, EmptyDefault):
        return empty
    kind = empty.row.tensor
    parts = [empty.row]
    for place, count in ((0, columns.start), (2, columns.width - columns.stop)):
        if count:
            zeros = Constant(type=kind.with_shape((*kind.shape[:-1], count)), values=(0.0,))
            parts.insert(place, rewriter.insert(zeros, f"{empty.row.name}_zeros"))
    return EmptyDefault(rewriter.insert(Concat(parts=tuple(parts), axis=-1), f"{empty.row.name}_wide"))


def _sliced(
    op: Attend | AttendStep, outputs: list[tuple[Value, _Columns]], rewriter: Rewriter, context: Context
) -> None:
    """Add a node over joined values, and one slice for each of the outputs that it stands for."""
    types = op.infer()
    name = rewriter.fresh_name(f"{op.output.name}_joined")
    results = (Value(name, types[0], op.location), *op.results[1:])
    rewriter.add(dataclasses.replace(op, results=results))
    for output, columns in outputs:
        context.move_notes(rewriter.graph, output.name, name)
        cut = Slice(x=results[0], start=columns.start, stop=columns.stop, axis=-1, location=op.location)
        rewriter.add(dataclasses.replace(cut, results=(output,)))


# --- stateless nodes ----------------------------------------------------------------------------------------


def _share_nodes(graph: Graph, context: Context) -> Graph:
    """Merge stateless hard-max nodes that differ in their values only."""
    units = _Units(graph)
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, op in enumerate(graph.ops):
        key = _node_key(op)
        if key is None:
            continue
        members = groups.setdefault(key, [])
        if members and not units.join([(members[0], index)]):
            context.count("kept-ordered-nodes")
            continue
        members.append(index)
    merged = sum(len(members) - 1 for members in groups.values())
    if not merged:
        return graph
    context.count("shared-node", merged)
    rewriter = Rewriter(graph)
    for ops in units.in_order():
        if len(ops) == 1:
            rewriter.add(rewriter.current(ops[0]))
            continue
        nodes = [rewriter.current(op) for op in ops if isinstance(op, Attend)]
        value = Concat(parts=tuple(n.value for n in nodes), axis=-1, location=nodes[0].location)
        host = dataclasses.replace(nodes[0], value=rewriter.insert(value, f"{nodes[0].value.name}_joined"))
        widths = [_width(n.value.tensor) for n in nodes]
        starts = [sum(widths[:n]) for n in range(len(widths))]
        outputs = [
            (node.output, _Columns(start, start + width, sum(widths)))
            for node, start, width in zip(nodes, starts, widths, strict=True)
        ]
        _sliced(host, outputs, rewriter, context)
    return rewriter.finish()


def _node_key(op: Op) -> tuple[str, ...] | None:
    """What two nodes must have in common to become one: everything but the values; None for a node that
    stays.
    """
    if not isinstance(op, Attend) or not isinstance(op.normalizer, Hardmax):
        return None
    if op.with_lse or op.with_argmax:  # results of their own
        return None
    kind = op.value.tensor
    if isinstance(op.empty, EmptyDefault) or not isinstance(kind.shape[-1], int):
        return None
    others = dataclasses.replace(op, value=op.key).fingerprint()
    return (*others, str(kind.with_shape(kind.shape[:-1])))
