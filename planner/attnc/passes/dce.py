"""`dce`: leave out what no result depends on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from attnc.passes.base import Context, Pass, register_pass
from attnc_ir.attributes.empty import EmptyError
from attnc_ir.graph import Graph
from attnc_ir.op import Op
from attnc_ir.ops import Append, AttendStep, AttentionOp, Cache


@register_pass
@dataclass(frozen=True)
class DeadCode(Pass):
    """Remove ops whose results are not needed.

    A cache lasts from step to step, so an append matters when any live step reads any version of that
    cache, above the append or below; a cache that no live step reads goes, with its appends. A node with
    `empty = error` stays: the error is what it is for. Inputs stay, they are the graph's signature.

    >>> from attnc.passes.rewrite import run_on_text
    >>> graph = run_on_text(DeadCode(), "graph @g(%x: f64[2]) { %a = neg %x  %b = neg %a  return %a }")
    >>> [op.results[0].name for op in graph.ops]
    ['a']
    """

    name: ClassVar[str] = "dce"

    def run(self, graph: Graph, context: Context) -> Graph:
        roots = graph.cache_roots()
        appends: dict[str, list[Append]] = {}
        for op in graph.ops:
            if isinstance(op, Append):
                appends.setdefault(roots[op.cache.name].results[0].name, []).append(op)

        definitions = {result.name: op for op in graph.ops for result in op.results}
        live: set[int] = set()
        queue: list[Op] = [definitions[v.name] for v in graph.outputs if v.name in definitions]
        queue += [op for op in graph.ops if isinstance(op, AttentionOp) and isinstance(op.empty, EmptyError)]
        while queue:
            op = queue.pop()
            if id(op) in live:
                continue
            live.add(id(op))
            queue += [definitions[v.name] for v in op.operands if v.name in definitions]
            if isinstance(op, AttendStep):
                queue += appends.get(roots[op.cache.name].results[0].name, [])

        kept = tuple(op for op in graph.ops if id(op) in live)
        if len(kept) == len(graph.ops):
            return graph
        gone = [op for op in graph.ops if id(op) not in live]
        context.count("removed-cache", sum(isinstance(op, Cache) for op in gone))
        context.count("removed-append", sum(isinstance(op, Append) for op in gone))
        context.count("removed-op", sum(not isinstance(op, Cache | Append) for op in gone))
        return dataclasses.replace(graph, ops=kept)
