"""Checking promises: every backend asks here whether keys keep what a spec promises about them.

A promise speaks of all keys that a node is given: all rows of the key operand (of a ragged batch, those
within `lengths`), and all rows that are appended to the cache of a step. What a mask hides is not exempt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attnc_ir.attributes.mask import Lengths
from attnc_ir.attributes.promise import PARABOLA_REACH, PROMISE, Integer, Monotone, Parabola, Promise
from attnc_ir.errors import PromiseError
from attnc_ir.graph import Graph
from attnc_ir.ops import Append, Attend, AttendStep, AttentionOp, Cache
from attnc_ir.storage import Array, to_float64
from attnc_ir.values import Value


@dataclass(frozen=True)
class Promised:
    """A promise and the node that makes it."""

    node: AttentionOp
    promise: Promise


def promised_for_operand(graph: Graph, key: Value) -> tuple[Promised, ...]:
    """What the stateless nodes of a graph promise about the key operand `key`, in order."""
    nodes = [op for op in graph.ops if isinstance(op, Attend) and op.key == key]
    return tuple(Promised(node, promise) for node in nodes for promise in node.keys)


def promised_for_cache(graph: Graph, cache: Cache) -> tuple[Promised, ...]:
    """What the steps that read any version of `cache` promise about its keys, in order."""
    roots = graph.cache_roots()
    nodes = [op for op in graph.ops if isinstance(op, AttendStep) and roots[op.cache.name] is cache]
    return tuple(Promised(node, promise) for node in nodes for promise in node.keys)


def first_readers(graph: Graph) -> dict[str, tuple[Promised, ...]]:
    """By the name of a node's output: the promises to be checked before that node runs. A key operand is
    looked at once, before the first node that reads it.
    """
    found: dict[str, tuple[Promised, ...]] = {}
    seen = set()
    for op in graph.ops:
        if isinstance(op, Attend) and op.key not in seen:
            seen.add(op.key)
            promised = promised_for_operand(graph, op.key)
            if promised:
                found[op.output.name] = promised
    return found


def check_operand(graph: Graph, promised: Sequence[Promised], values: Mapping[str, Array]) -> None:
    """Raise `PromiseError` for the first key of a node's operand that breaks a promise. `values` are stored
    tensors by name.
    """
    for one in promised:
        node = one.node
        assert isinstance(node, Attend)
        keys = to_float64(values[node.key.name], node.key.tensor.dtype)
        kept = _kept(one.promise, keys)
        for term in node.mask.conjuncts:
            if isinstance(term, Lengths):
                counts = values[term.keys.name].reshape(-1, 1, 1)
                kept |= np.arange(keys.shape[-2]) >= (counts if keys.ndim == 4 else counts[0, 0])
        _raise_broken(f"graph @{graph.name}, {node.output}: the key {node.key}", one, keys, kept)


def check_append(
    graph: Graph, op: Append, promised: Sequence[Promised], key: Array, before: Array | None, position: int
) -> None:
    """Raise `PromiseError` if a key about to be appended at `position` breaks a promise. `key` and `before`,
    the keys one position earlier (None at 0), are `[heads..., D]` as stored.
    """
    now = to_float64(key, op.key.tensor.dtype)[..., np.newaxis, :]
    earlier = None if before is None else to_float64(before, op.key.tensor.dtype)[..., np.newaxis, :]
    keys = now if earlier is None else np.concatenate([earlier, now], axis=-2)
    for one in promised:
        kept = _kept(one.promise, keys)[..., -1:]
        what = f"graph @{graph.name}, {one.node.output}: the key {op.key} that is appended"
        _raise_broken(what, one, now, kept, position, "; the state is unchanged")


def check_rows(graph: Graph, cache: Cache, keys: Array) -> None:
    """Raise `PromiseError` if rows that a cache is to hold, `[heads..., rows, D]`, break a promise."""
    for one in promised_for_cache(graph, cache):
        rows = to_float64(keys, cache.key.dtype)
        what = f"graph @{graph.name}, {one.node.output}: the key that {cache.results[0]} is to hold"
        _raise_broken(what, one, rows, _kept(one.promise, rows))


def _kept(promise: Promise, keys: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """For each key of `[... x M x D]` whether it keeps the promise: `[... x M]`."""
    match promise:
        case Integer(low, high):
            kept = np.isfinite(keys) & (keys == np.floor(keys))
            if low is not None and high is not None:
                kept &= (keys >= low) & (keys <= high)
            return np.asarray(kept.all(axis=-1))
        case Monotone(axis):
            column = keys[..., axis]
            rises = ~np.isnan(column)
            rises[..., 1:] &= column[..., 1:] > column[..., :-1]
            return np.asarray(rises)
        case Parabola():
            address = 0.5 * keys[..., 0]
            whole = (np.abs(address) <= PARABOLA_REACH) & (address == np.floor(address))
            # Elsewhere the square may overflow, which is no news.
            return np.asarray(whole & (keys[..., 1] == -(np.where(whole, address, 0.0) ** 2)))
        case _:
            raise AssertionError(promise)


def _raise_broken(
    what: str,
    one: Promised,
    keys: npt.NDArray[np.float64],
    kept: npt.NDArray[np.bool_],
    start: int = 0,
    state: str = "",
) -> None:
    if kept.all():
        return
    *heads, row = (int(n) for n in np.argwhere(~kept)[0])
    names = ("batch", "head")[2 - len(heads) :]
    place = "".join(f"{name} {n}, " for name, n in zip(names, heads, strict=True))
    key = ", ".join(repr(float(x)) for x in keys[(*heads, row)])
    raise PromiseError(
        f"{what} for {place}position {start + row} is ({key}), which breaks the promise "
        f"keys = {PROMISE.write(one.promise)}{state}; mend the key or drop the promise"
    )
