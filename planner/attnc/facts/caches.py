"""Facts about caches: they speak of the keys of every row, whatever was appended when."""

from __future__ import annotations

from attnc.facts.kinds import Facts, FixedFact, SameKeyFact, ZeroFact
from attnc_ir.graph import Graph
from attnc_ir.ops import Append


def transfer_caches(graph: Graph, facts: Facts) -> None:
    """State for each version of a cache what is known of all keys that any step appends to it.

    It holds for rows that this graph appended. A snapshot that is restored may bring rows of another graph,
    so code that relies on these facts checks the rows that it reads.
    """
    roots = graph.cache_roots()
    for cache in graph.caches:
        (own,) = cache.results
        appends = [op for op in graph.ops if isinstance(op, Append) and roots[op.cache.name] is cache]
        keys = tuple(dict.fromkeys(op.key for op in appends))
        versions = (own, *(op.results[0] for op in appends))
        if keys and all(facts.get(key, ZeroFact) for key in keys):
            for version in versions:
                facts.add(ZeroFact(version, "holds zero keys only", keys))
        if len(keys) == 1 and facts.get(keys[0], FixedFact):
            for version in versions:
                facts.add(SameKeyFact(version, "holds one key again and again", keys))
