"""`cse`: compute equal things once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnc.passes.base import Context, Pass, register_pass
from attnc.passes.rewrite import Rewriter
from attnc_ir.graph import Graph


@register_pass
@dataclass(frozen=True)
class CommonSubexpressions(Pass):
    """An op that computes what an earlier one computes is replaced by it.

    Ops are compared by text, so `0.0` and `-0.0` stay apart. Caches and appends are state, not values: two
    of them are never one, however equal they look.

    >>> from attnc.passes.rewrite import run_on_text
    >>> graph = run_on_text(
    ...     CommonSubexpressions(),
    ...     "graph @g(%x: f64[2]) { %a = neg %x  %b = neg %x  %c = add %a, %b  return %c }",
    ... )
    >>> [op.results[0].name for op in graph.ops]
    ['a', 'c']
    """

    name: ClassVar[str] = "cse"

    def run(self, graph: Graph, context: Context) -> Graph:
        rewriter = Rewriter(graph)
        first: dict[tuple[str, ...], int] = {}
        for old in graph.ops:
            op = rewriter.current(old)
            key = op.fingerprint()
            earlier = first.setdefault(key, len(rewriter.ops)) if op.pure else len(rewriter.ops)
            if earlier == len(rewriter.ops):
                rewriter.add(op)
                continue
            kept = rewriter.ops[earlier]
            context.count("merged-op")
            for result, value in zip(op.results, kept.results, strict=True):
                rewriter.replace(result, value)
                context.move_notes(graph, result.name, value.name)
        return rewriter.finish()
