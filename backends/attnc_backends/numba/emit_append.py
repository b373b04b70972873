"""Appending to a cache: check the keys of all heads, then store rows and tell structures of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attnc_backends.numba.access import GraphContext, copy_row, load_double, store
from attnc_backends.numba.emit_promise import promise_lines
from attnc_backends.numba.node import BROKEN_PROMISE, NON_FINITE_KEY, OK
from attnc_backends.numba.source import Function
from attnc_backends.numba.structures import slot_of
from attnc_ir.ops import Append
from attnc_ir.promises import promised_for_cache

if TYPE_CHECKING:
    from attnc_backends.numba.lower import CachePlan

_ROWS_AHEAD = 192
"""How many bytes ahead places for rows are asked for. Each head's is a stream of its own, and many are too
many for the processor to foresee.
"""


def emit_append(context: GraphContext, op: Append, number: int, plan: CachePlan) -> str:
    """`opN(frame, t, worker, workers, scratch)`: check all heads' keys, then store rows and tell structures."""
    f = context.function(
        f"op{number}", "worker", "workers", "scratch", doc=f"append to %{plan.op.results[0].name}"
    )
    with f.block("if workers == 0"):
        sizes = [structure.scratch for structure in plan.structures]
        f.line(f"return max({', '.join(['0', '0', *sizes])})")
    c = f"cache{plan.number}"
    f.line(f"n = load_i64({f.slot(f'{c}_count')})")
    # All keys are looked at before the first row is stored, so that a bad one leaves the cache as it was.
    with _each_head(context, plan, f) as indices:
        key = context.element(f, op.key, [*indices, "c"])
        with (
            f.block(f"for c in range({plan.key_width})"),
            f.block(f"if not math.isfinite({load_double(op.key.tensor.dtype, key)})"),
        ):
            f.line(f"store_i64(frame + {8 * context.layout.slot('fault_h')}, head)\nreturn {NON_FINITE_KEY}")
    _promises(context, op, plan, f)
    with _each_head(context, plan, f) as indices:
        f.line(f"keys = {f.slot(f'{c}_keys')} + head * {f.slot(f'{c}_key_stride')}")
        f.line(f"values = {f.slot(f'{c}_values')} + head * {f.slot(f'{c}_value_stride')}")
        f.line(f"to_key = keys + n * {plan.key_bytes}\nto_value = values + n * {plan.value_bytes}")
        for place, row_bytes in (("to_key", plan.key_bytes), ("to_value", plan.value_bytes)):
            if row_bytes < _ROWS_AHEAD:
                f.line(f"prefetch_write({place} + {_ROWS_AHEAD})")
        for value in (op.key, op.value):
            context.prefetch_next(f, value, [*indices, "0"])
        _store_key(context, op, plan, f, indices)
        row = context.element(f, op.value, [*indices, "0"])
        step = context.stride(f, op.value, op.value.tensor.rank - 1)
        size = op.value.tensor.dtype.itemsize
        copy_row(f, size, plan.value_width, ("to_value", str(size)), (row, step))
        for which, structure in enumerate(plan.structures):
            if structure.append:
                slot = slot_of(plan.number, which)
                f.line(
                    f"row = n\nat = {f.slot(slot)} + head * {f.slot(slot + '_stride')}\n{structure.append}"
                )
    f.line(f"store_i64({c}_count, n + 1)\nreturn {OK}")
    return f.text()


@contextmanager
def _each_head(context: GraphContext, plan: CachePlan, f: Function) -> Iterator[list[str]]:
    """A loop over all heads: `head` is the number among all, the list has the indices along the heads' axes."""
    sizes = [context.dim(f, size) for size in plan.op.heads]
    if len(sizes) < 2:
        with f.block(f"for head in range({sizes[0] if sizes else 1})"):
            yield ["head"][: len(sizes)]
    else:
        with f.block(f"for b in range({sizes[0]})"), f.block(f"for hk in range({sizes[1]})"):
            f.line(f"head = b * {sizes[1]} + hk")
            yield ["b", "hk"]


def _promises(context: GraphContext, op: Append, plan: CachePlan, f: Function) -> None:
    """The check of what is promised of the keys, for all heads."""
    promises = [one.promise for one in promised_for_cache(context.graph, plan.op)]
    if not promises:
        return
    c = f"cache{plan.number}"
    with _each_head(context, plan, f) as indices:
        f.line(f"keys = {f.slot(f'{c}_keys')} + head * {f.slot(f'{c}_key_stride')}")
        promise_lines(
            f,
            promises,
            plan.key_width,
            lambda at: load_double(op.key.tensor.dtype, context.element(f, op.key, [*indices, at])),
            lambda at: load_double(
                plan.key_dtype, f"keys + (n - 1) * {plan.key_bytes} + {at} * {plan.key_dtype.itemsize}"
            ),
            "n == 0",
            f"return {BROKEN_PROMISE}",
        )


def _store_key(context: GraphContext, op: Append, plan: CachePlan, f: Function, indices: list[str]) -> None:
    given, kept = op.key.tensor.dtype, plan.key_dtype
    if given is kept:
        row = context.element(f, op.key, [*indices, "0"])
        step = context.stride(f, op.key, op.key.tensor.rank - 1)
        copy_row(f, kept.itemsize, plan.key_width, ("to_key", str(kept.itemsize)), (row, step))
        return
    with f.block(f"for c in range({plan.key_width})"):
        key = context.element(f, op.key, [*indices, "c"])
        f.line(store(kept, f"to_key + c * {kept.itemsize}", load_double(given, key)))
