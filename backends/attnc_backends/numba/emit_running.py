"""Strategies that follow the allowed range from row to row: `uniform` and `extremum`.

In batch, one region of running structures per key head lives in scratch and serves the whole group of query
heads; in a step, the cache keeps it. Rows that meet a key or query that is not finite, and rows of a `uniform`
node whose scores turn out to differ, are answered by the dense scan, which every such node carries along.
"""

from __future__ import annotations

from attnc_backends.numba.access import DTYPE_CODES, load_double
from attnc_backends.numba.emit_fallback import emit_fallback_rows
from attnc_backends.numba.emit_row import (
    answer_or_scan,
    batch_row,
    group_of,
    key_head,
    read_finite,
    skip_empty,
    step_row,
    write_found,
)
from attnc_backends.numba.node import OK, Node, tie_of
from attnc_backends.numba.runtime.running import RUNNING_LAST, RUNNING_MEAN, RUNNING_SIDES, RUNNING_WINDOW
from attnc_backends.numba.source import Function
from attnc_backends.numba.structures import Structure, slot_of
from attnc_ir.attributes.mask import Window
from attnc_ir.attributes.normalizer import Tie
from attnc_ir.attributes.strategy import Extremum
from attnc_ir.ops import AttendStep, AttentionOp

UNIFORM_NOTE = (
    "rows that meet a query or key that is not finite, or keys that differ, are answered by the dense scan"
)
EXTREMUM_NOTE = "rows that meet a query or key that is not finite are answered by the dense scan"


def emit_running_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over key heads (over query rows in a step), `blocks()` and `scratch()`."""
    rows = _batch_rows(node) if node.cache is None else _step_rows(node)
    return [*emit_fallback_rows(node), _answer(node), rows, node.head_blocks(), _scratch(node)]


def running_structure(op: AttendStep) -> Structure:
    """What the cache of a step keeps for it. Readers with one mask and tie rule share."""
    (width,) = op.value_type.shape
    flags = running_flags(op)
    return Structure(
        name=f"running structures {flags} for {op.mask!r}",
        size=f"shared_running_bytes(frame, capacity, {width}, {flags})",
        start=f"shared_running_start(frame, at, capacity, {width}, {flags})",
        move="shared_running_move(frame, source, at, capacity)",
    )


def running_flags(op: AttentionOp) -> int:
    """What a node's region keeps (`RUNNING_*`)."""
    flags = {Tie.FIRST: 0, Tie.LAST: RUNNING_LAST, Tie.MEAN: RUNNING_MEAN}[tie_of(op)]
    if isinstance(op.strategy, Extremum):
        terms = op.mask.conjuncts
        flags |= RUNNING_SIDES | (RUNNING_WINDOW if any(isinstance(t, Window) for t in terms) else 0)
    return flags


def _scratch(node: Node) -> str:
    f = node.function("scratch", doc="bytes of scratch per worker: dense scan, a row of doubles, the region")
    s = node.sizes(f)
    f.line(f"size = {node.dense.call('scratch')} + 8 * {s.dv}")
    if node.cache is None:
        f.line(f"size += shared_running_bytes(frame, {s.nk}, {s.dv}, {running_flags(node.op)})")
    f.line("return size")
    return f.text()


def _answer(node: Node) -> str:
    """`answer(b, h, hk, i, lo, hi, region, row)`: one query row over finite keys `[lo, hi)`, not none."""
    op = node.op
    f = node.function(
        "answer", "b", "h", "hk", "i", "lo", "hi", "region", "row",
        doc="one query row; -1 when the dense scan has to answer it",
    )  # fmt: skip
    s = node.sizes(f)
    query, step = node.query_row(f)
    keys, key_step, key_element = node.keys_at(f)
    values, value_step, value_element = node.values_at(f)
    dtype = op.value_type.dtype
    rows = f"values, {value_step}, {value_element}, {DTYPE_CODES[dtype]}"
    f.line(
        f"q_row = {query}\nkeys = {keys}\nvalues = {values}\nside, tied = 0, True  # side 0 looks for the largest key, 1 for the smallest"
    )
    with f.block(f"for c in range({s.d})"):
        f.line(f"q = {load_double(op.key_type.dtype, f'q_row + c * {step}')}")
        with f.block("if not math.isfinite(q)"):
            f.line("return -1")
        if op.scale != 0.0:
            f.line("tied = tied and q == 0.0")
            if isinstance(op.strategy, Extremum):
                f.line(f"side = 0 if q {'>' if op.scale > 0 else '<'} 0.0 else 1")
    if isinstance(op.strategy, Extremum):
        with f.block("if tied"):
            _write_tied(node, f, rows)
        with f.block("else"):
            f.line(
                f"best = shared_running_best(frame, region, side, lo, hi, keys, {key_step}, {DTYPE_CODES[node.key_dtype]}, {rows})"
            )
            if tie_of(op) is Tie.MEAN:
                f.line("shared_running_best_mean(frame, region, side, row)")
    else:
        with (
            f.block("if not tied"),
            f.block(
                f"if shared_running_equal(frame, region, hi, keys, {key_step}, {key_element}, {s.d}, {DTYPE_CODES[node.key_dtype]}) == 0"
            ),
        ):
            f.line("return -1")
        _write_tied(node, f, rows)
    out, out_step = node.output_row(f)
    f.line(f"out = {out}")
    node.write_position(f, "best")
    write_found(node, f, ("out", out_step), f"values + best * {value_step}", value_element, mean="row")
    f.line("return 0")
    return f.text()


def _write_tied(node: Node, f: Function, rows: str) -> None:
    """All of `[lo, hi)` ties."""
    match tie_of(node.op):
        case Tie.FIRST:
            f.line("best = lo")
        case Tie.LAST:
            f.line("best = hi - 1")
        case Tie.MEAN:
            f.line(f"best = shared_running_mean(frame, region, lo, hi, {rows}, row)")


def _row_lines(node: Node, f: Function, ready: str, row: str) -> None:
    """One row `b, h, hk, i` with its range `lo, hi`: empty, answered where `ready`, or scanned."""
    skip_empty(node, f)
    answer = node.call("answer", "b", "h", "hk", "i", "lo", "hi", "region", "own")
    answer_or_scan(node, f, ready, answer, row)


def _step_rows(node: Node) -> str:
    assert node.structure is not None, "a step's region lies in its cache"
    assert node.cache is not None
    f = node.function("rows", "first", "last", "scratch", doc="running structures of the cache")
    s = node.sizes(f)
    f.line(f"own = scratch + {node.dense.call('scratch')}")
    slot = slot_of(node.cache, node.structure)
    with f.block("for unit in range(first, last)"):
        step_row(node, f)
        f.line(f"region = {f.slot(slot)} + (b * {s.hk} + hk) * {f.slot(slot + '_stride')}")
        node.range_lines(f)
        _row_lines(node, f, "True", "unit")
    f.line(f"return {OK}")
    return f.text()


def _batch_rows(node: Node) -> str:
    f = node.function("rows", "first", "last", "scratch", doc="running structures, one key head at a time")
    s, g = node.sizes(f), node.group(f)
    f.line(f"own = scratch + {node.dense.call('scratch')}\nregion = own + 8 * {s.dv}")
    with f.block("for unit in range(first, last)"):
        key_head(node, f)
        keys, _, _ = node.keys_at(f)
        f.line(
            f"keys = {keys}\nshared_running_start(frame, region, {s.nk}, {s.dv}, {running_flags(node.op)})"
        )
        f.line("finite, whole = 0, True  # how many keys from the first on are known to be finite")
        with f.block(f"for i in range({s.nq})"):
            f.line(f"h = hk * {g}")
            node.range_lines(f)
            read_finite(node, f)
            with f.block(f"for h in {group_of(node, f)}"):
                _row_lines(node, f, "finite >= hi", batch_row(node, f))
    f.line(f"return {OK}")
    return f.text()
