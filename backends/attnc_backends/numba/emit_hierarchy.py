"""Hierarchy attention: hard-max over a hull of three-dimensional keys that are there before the first query.

One hierarchy per key head is made in scratch, over the keys that its rows see, and answers the whole group of
query heads. Rows that meet a key or query that is not finite are answered by the dense scan, which every
hierarchy node carries along.
"""

from __future__ import annotations

from attnc_backends.numba.access import DTYPE_CODES
from attnc_backends.numba.emit_fallback import emit_fallback_rows
from attnc_backends.numba.emit_row import (
    answer_or_scan,
    batch_row,
    group_of,
    key_head,
    read_query,
    skip_empty,
    write_found,
)
from attnc_backends.numba.node import OK, Node, tie_of
from attnc_backends.numba.runtime.hierarchy import HIERARCHY_FIRST, HIERARCHY_LAST, HIERARCHY_MEAN
from attnc_backends.numba.source import Function
from attnc_ir.attributes.normalizer import Tie

NOTE = "rows that meet a query or key that is not finite are answered by the dense scan"

_TIES = {Tie.FIRST: HIERARCHY_FIRST, Tie.LAST: HIERARCHY_LAST, Tie.MEAN: HIERARCHY_MEAN}


def emit_hierarchy_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over key heads, `blocks()` and `scratch()`."""
    assert node.cache is None, "a hierarchy needs all keys before the first query"
    return [*emit_fallback_rows(node), _answer(node), _rows(node), node.head_blocks(), _scratch(node)]


def _scratch(node: Node) -> str:
    f = node.function("scratch", doc="bytes of scratch per worker: dense scan, a query, sums, the hierarchy")
    s = node.sizes(f)
    f.line(f"size = {node.dense.call('scratch')} + 8 * {s.d} + shared_hierarchy_bytes(frame, {s.nk})")
    if tie_of(node.op) is Tie.MEAN:
        f.line(f"size += 8 * {s.dv} + shared_hierarchy_sums_bytes(frame, {s.dv})")
    f.line("return size")
    return f.text()


def _places(node: Node, f: Function) -> None:
    """Where things lie in the scratch of a worker: `query`, for a mean `row` and `sums`; then `region`."""
    s = node.sizes(f)
    f.line(f"query = scratch + {node.dense.call('scratch')}\nregion = query + 8 * {s.d}")
    if tie_of(node.op) is Tie.MEAN:
        f.line(f"row = region\nsums = row + 8 * {s.dv}")
        f.line(f"region = sums + shared_hierarchy_sums_bytes(frame, {s.dv})")


def _answer(node: Node) -> str:
    """`answer(b, h, hk, i, scratch)`: one query row by the hierarchy in `scratch`."""
    f = node.function(
        "answer", "b", "h", "hk", "i", "scratch", doc="one query row; -1 when the dense scan has to answer it"
    )
    s, tie = node.sizes(f), tie_of(node.op)
    dtype = node.op.value_type.dtype
    values, value_step, element = node.values_at(f)
    out, out_step = node.output_row(f)
    _places(node, f)
    read_query(node, f)
    f.line(f"best = shared_hierarchy_best(frame, region, query, {_TIES[tie]})")
    with f.block("if best < 0"):
        f.line("return -1")
    f.line(f"values = {values}\nout = {out}")
    node.write_position(f, "best")
    if tie is Tie.MEAN:
        f.line(
            f"shared_hierarchy_mean(frame, region, sums, values, {value_step}, {element}, {DTYPE_CODES[dtype]}, {s.dv}, row)"
        )
    write_found(node, f, ("out", out_step), f"values + best * {value_step}", element, mean="row")
    f.line("return 0")
    return f.text()


def _rows(node: Node) -> str:
    f = node.function(
        "rows",
        "first",
        "last",
        "scratch",
        doc=f"hierarchy, tie {tie_of(node.op).value}, one key head at a time",
    )
    s, g = node.sizes(f), node.group(f)
    _places(node, f)
    with f.block("for unit in range(first, last)"):
        key_head(node, f)
        keys, key_step, key_element = node.keys_at(f)
        f.line("most = 0  # all rows that see keys see these")
        with f.block(f"for i in range({s.nq})"):
            node.range_lines(f)
            f.line("most = max(most, hi)")
        f.line("made = 0")
        with f.block("if most > 0"):
            f.line(
                f"made = shared_hierarchy_build(frame, region, {s.nk}, most, {keys}, {key_step}, {key_element}, {DTYPE_CODES[node.key_dtype]})"
            )
        with f.block(f"for i in range({s.nq})"):
            f.line(f"h = hk * {g}")
            node.range_lines(f)
            with f.block(f"for h in {group_of(node, f)}"):
                skip_empty(node, f)
                answer = node.call("answer", "b", "h", "hk", "i", "scratch")
                answer_or_scan(node, f, "made != 0", answer, batch_row(node, f))
    f.line(f"return {OK}")
    return f.text()
