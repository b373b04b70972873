"""Sweep attention: hard-max of a batch of queries over one key set per key head, both sorted by angle.

The work is done by the library `sweep`, one call for each key head and its group of query heads. What is
written here says where keys, queries, values and outputs lie, fills rows without keys, and gives to the
dense scan, which every sweep node carries along, the rows that meet a key or query that is not finite.
"""

from __future__ import annotations

from attnc_backends.numba.access import DTYPE_CODES
from attnc_backends.numba.emit_fallback import emit_fallback_rows
from attnc_backends.numba.emit_row import (
    batch_row,
    group_of,
    key_head,
    scan_row,
    write_copy,
)
from attnc_backends.numba.node import OK, Node
from attnc_backends.numba.runtime import sweep_layout as layout
from attnc_backends.numba.source import Function
from attnc_ir.attributes.normalizer import Hardmax, Tie
from attnc_ir.types import DType

NOTE = "rows that meet a query or key that is not finite are answered by the dense scan"

_TIES = {Tie.FIRST: layout.SWEEP_FIRST, Tie.LAST: layout.SWEEP_LAST, Tie.MEAN: layout.SWEEP_MEAN}


def emit_sweep_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over key heads, `blocks()` and `scratch()`."""
    assert node.cache is None, "a sweep needs many queries at a time"
    return [*emit_fallback_rows(node), _rows(node), node.head_blocks(), _scratch(node)]


def _scratch(node: Node) -> str:
    f = node.function("scratch", doc="bytes of scratch per worker: dense scan, region of the sweep")
    s = node.sizes(f)
    rows = f"{node.group(f)} * {s.nq}"
    numbers = "0" if node.op.argmax is None else f"8 * {s.nk}"
    f.line(
        f"return {node.dense.call('scratch')} + {numbers} + shared_sweep_bytes(frame, {s.nk}, {rows}, {s.dv})"
    )
    return f.text()


def _found_rows(node: Node, f: Function) -> tuple[str, ...]:
    """What the sweep takes for value rows and where it writes: address, step, element, dtype and width, then
    address and element of the output.

    Where positions are a result, position `j` stands for value row `j`, as eight bytes that are copied; the
    rows themselves are fetched afterwards.
    """
    out, out_element = node.output_row(f)
    if node.op.argmax is not None:
        return "numbers", "8", "8", str(DTYPE_CODES[DType.F64]), "1", node.position_place(f), "8"
    dtype = str(DTYPE_CODES[node.op.value_type.dtype])
    return *node.values_at(f), dtype, node.sizes(f).dv, out, out_element


def _fetch(node: Node, f: Function) -> None:
    """Statements that copy the value rows of all positions that were found."""
    values, value_step, value_element = node.values_at(f)
    out, out_element = node.output_row(f)
    with f.block(f"for h in {group_of(node, f)}"), f.block("for i in range(live)"):
        f.line(f"best = load_i64({node.position_place(f)})")
        with f.block("if best >= 0"):
            write_copy(node, f, (out, out_element), f"{values} + best * {value_step}", value_element)


def _describe(node: Node, f: Function) -> None:
    """Statements that write the front of the region for key head `b, hk` with `count` keys, `live` rows."""
    g = node.group(f)
    keys, key_step, key_element = node.keys_at(f)
    query, query_element = node.query_row(f)
    values, value_step, value_element, dtype, width, out, out_element = _found_rows(node, f)
    assert isinstance(node.op.normalizer, Hardmax)

    def put(offset: int, value: str) -> None:
        f.line(f"store_i64(region + {offset}, {value})")

    # Addresses of the first row, of the next row and of the next head give the strides.
    for at, text in (("query", query), ("out", out)):
        f.line(f"h, i = hk * {g}, 0\n{at} = {text}")
        f.line(f"i = 1\n{at}_row = {text} - {at}")
        f.line(f"h, i = hk * {g} + 1, 0\n{at}_head = {text} - {at}")
    put(layout.SWEEP_COUNT, "count")
    put(layout.SWEEP_KEYS, keys)
    put(layout.SWEEP_KEY_STEP, key_step)
    put(layout.SWEEP_KEY_ELEMENT, key_element)
    put(layout.SWEEP_KEY_DTYPE, str(DTYPE_CODES[node.key_dtype]))
    put(layout.SWEEP_HEADS, g)
    put(layout.SWEEP_ROWS, "live")
    put(layout.SWEEP_QUERIES, "query")
    put(layout.SWEEP_QUERY_HEAD, "query_head")
    put(layout.SWEEP_QUERY_ROW, "query_row")
    put(layout.SWEEP_QUERY_ELEMENT, query_element)
    put(layout.SWEEP_REVERSED, str(int(node.op.scale < 0)))
    put(layout.SWEEP_VALUES, values)
    put(layout.SWEEP_VALUE_STEP, value_step)
    put(layout.SWEEP_VALUE_ELEMENT, value_element)
    put(layout.SWEEP_VALUE_DTYPE, dtype)
    put(layout.SWEEP_VALUE_WIDTH, width)
    put(layout.SWEEP_OUT, "out")
    put(layout.SWEEP_OUT_HEAD, "out_head")
    put(layout.SWEEP_OUT_ROW, "out_row")
    put(layout.SWEEP_OUT_ELEMENT, out_element)
    put(layout.SWEEP_TIE, str(_TIES[node.op.normalizer.tie]))


def _rows(node: Node) -> str:
    f = node.function("rows", "first", "last", "scratch", doc="sorted sweep, one key head at a time")
    s, g = node.sizes(f), node.group(f)
    f.line(f"region = scratch + {node.dense.call('scratch')}")
    if node.op.argmax is not None:
        f.line(f"numbers = region\nregion += 8 * {s.nk}")
    with f.block("for unit in range(first, last)"):
        # The rows that see keys are the first ones, and all see the same.
        key_head(node, f)
        f.line("count, live = 0, 0")
        with f.block(f"for i in range({s.nq})"):
            f.line(f"h = hk * {g}")
            node.range_lines(f)
            with f.block("if hi > 0"):
                f.line("count = hi\nlive = i + 1")
            with f.block("else"), f.block(f"for h in {group_of(node, f)}"):
                node.empty_lines(f)
        with f.block("if live == 0"):
            f.line("continue")
        if node.op.argmax is not None:
            with f.block("for j in range(count)"):
                f.line("store_i64(numbers + 8 * j, j)")
            with f.block(f"for h in {group_of(node, f)}"), f.block("for i in range(live)"):
                node.write_position(f, "-1")
        _describe(node, f)
        f.line("left = shared_sweep(frame, region)")
        if node.op.argmax is not None:
            _fetch(node, f)
        with (
            f.block("if left < 0"),
            f.block(f"for h in {group_of(node, f)}"),
            f.block("for i in range(live)"),
        ):
            scan_row(node, f, batch_row(node, f))
        with f.block("for index in range(left)"):
            f.line(f"code = load_i64(load_i64(region + {layout.SWEEP_LEFT}) + 8 * index)")
            f.line(f"h = hk * {g} + (code >> 40)\ni = code & {2**40 - 1}")
            scan_row(node, f, batch_row(node, f))
    f.line(f"return {OK}")
    return f.text()
