"""Dense softmax of batches in explicit vectors: query rows in the lanes, keys and values read where they lie.

The phases of a tile are in `runtime/flash.py`, the inner loop in `runtime/flash_outer.py`. What stands here
is which rows form a block, which keys it looks at and how: tiles that every row sees entirely run without a
mask, tiles that no row sees are not visited, and the others are masked.
"""

from __future__ import annotations

from attnc_backends.numba.access import load, load_double, store
from attnc_backends.numba.emit_documents import documents_of, find_runs, narrow, table_bytes
from attnc_backends.numba.emit_elementwise import literal
from attnc_backends.numba.emit_row import lay_out, row_of_head, rows_of_head
from attnc_backends.numba.emit_softmax import (
    ask_lines,
    exponent_factor,
    is_rescored,
    lanes_of,
    lse_lines,
    sink_lines,
)
from attnc_backends.numba.node import OK, Node
from attnc_backends.numba.runtime.flash import (
    FLASH_KEYS,
    FLASH_SHRINK,
    FLASH_SPARE,
    FLASH_STATE,
    FLASH_TILES,
    FLASH_TOP,
    FLASH_TOTAL,
)
from attnc_backends.numba.runtime.flash_outer import FLASH_VECTORS
from attnc_backends.numba.source import Function
from attnc_ir.attributes.mask import Everything
from attnc_ir.types import DType

_MARGIN = 8
"""Rows of output behind the last: a register tile writes whole."""


def _call(node: Node, part: str, *args: str) -> str:
    """A call of the shared runtime's function for the node's vectors."""
    return f"shared_flash_{part}_{node.op.accumulator}_{lanes_of(node)}(frame, {', '.join(args)})"


def _block_rows(node: Node) -> int:
    return FLASH_VECTORS * lanes_of(node)


def _is_asked(node: Node) -> bool:
    """Whether positions are looked at one by one, whatever the inputs. Documents alone are asked for only where
    they do not lie side by side.
    """
    documents = documents_of(node.op)
    return is_rescored(node) or any(term is not documents for term in node.residual)


def _is_flushed(node: Node) -> bool:
    return node.op.accumulator is DType.F32


def flash_blocks(node: Node, f: Function) -> None:
    """Statements that return how many units of work there are: blocks of query rows of one key head each."""
    s, n = node.sizes(f), _block_rows(node)
    f.line(f"return {s.b} * {s.hk} * (({rows_of_head(node, f)} + {n - 1}) // {n})")


def _layout(node: Node, f: Function) -> list[tuple[str, str]]:
    """Pieces of scratch by name, and their bytes."""
    s, rows, a = node.sizes(f), _block_rows(node), node.op.accumulator.itemsize
    row = rows * a
    pieces = [
        ("at_state", str(FLASH_STATE * row)),
        ("at_score", str(FLASH_KEYS * row)),
        ("at_query", f"{row} * {s.d}"),
        ("at_out", f"{row} * ({s.dv} + {_MARGIN})"),
        ("at_range", str(16 * rows)),
        ("at_seen", str(8 * rows)),
        ("at_rows", str(8 * rows)),
        ("at_keep", str(FLASH_KEYS * rows)),
    ]
    if _is_flushed(node):
        pieces.append(("at_wide", f"{8 * rows} * ({s.dv} + 2)"))
    if documents_of(node.op) is not None:
        pieces.append(("at_table", table_bytes(node, f)))
    if node.key_dtype is not node.op.accumulator:
        pieces.append(("at_key", f"{FLASH_KEYS * a} * {s.d}"))
    if node.op.value_type.dtype is not node.op.accumulator:
        pieces.append(("at_value", f"{FLASH_KEYS * a} * {s.dv}"))
    return pieces


def flash_scratch(node: Node, f: Function) -> None:
    """Statements that return the bytes of scratch that one worker needs."""
    f.line(f"return 64 + {' + '.join(size for _, size in _layout(node, f))}")


def flash_rows(node: Node, f: Function) -> None:
    """Statements for the blocks from `first` to `last`. Positions that have to be asked for call `allowed`
    and `bias`.
    """
    op, rows = node.op, _block_rows(node)
    s = node.sizes(f)
    f.line("small_code()")
    # Names begin with `at_`, as no slot of the frame does.
    lay_out(f, _layout(node, f))
    f.line(f"tiles = ({rows_of_head(node, f)} + {rows - 1}) // {rows}")
    documents = documents_of(op)
    if documents is not None:
        f.line("runs, runs_of = 0, -1")
    with f.block("for unit in range(first, last)"):
        f.line(f"head = unit // tiles\nhk = head % {s.hk}\nb = head // {s.hk}\nplace = unit % tiles")
        if documents is not None:
            with f.block("if b != runs_of"):
                find_runs(node, f, documents, "at_table")
                f.line("runs_of = b")
        if op.empty.keyword != "error":
            # From both ends in turn, so that equal numbers of blocks are equal work under a causal mask.
            f.line("place = place // 2 if place % 2 == 0 else tiles - 1 - place // 2")
        f.line(f"start = place * {rows}\nrows = min({rows}, {rows_of_head(node, f)} - start)")
        f.line(f"used = (rows + {lanes_of(node) - 1}) // {lanes_of(node)}")
        _start(node, f)
        f.line("at, tile = low, 0")
        if _is_flushed(node):
            f.line("flushed = 0")
        with f.block("while at < high"):
            if documents is not None:
                _skip_gap(f)
            _tile(node, f)
            f.line("at = end")
        _finish(node, f)
    f.line(f"return {OK}")


def _start(node: Node, f: Function) -> None:
    """Ranges of the rows, queries packed."""
    op, s, rows = node.op, node.sizes(f), _block_rows(node)
    acc, a = op.accumulator, op.accumulator.itemsize
    f.line(f"low, high, full_from, full_to = {s.nk}, 0, 0, {s.nk}")
    with f.block(f"if rows < {rows}"):
        f.line(f"fill_zero(at_query, {a * rows} * {s.d})")
    with f.block("for r in range(rows)"):
        row_of_head(node, f, "(start + r)")
        node.range_lines(f)
        seen = "0" if _is_asked(node) else "hi - lo"
        if (documents := documents_of(op)) is not None:
            with f.block("if runs >= 0"):
                narrow(node, f, documents, "at_table")
            seen = "0" if _is_asked(node) else "hi - lo if runs >= 0 else 0"
        with f.block("if lo < hi"):
            f.line("low, high = min(low, lo), max(high, hi)")
        f.line("full_from, full_to = max(full_from, lo), min(full_to, hi)")
        f.line("store_i64(at_range + 16 * r, lo)\nstore_i64(at_range + 16 * r + 8, hi)")
        f.line(f"store_i64(at_seen + 8 * r, {seen})")
        query, step = node.query_row(f)
        f.line(f"store_i64(at_rows + 8 * r, {query})")
        if op.key_type.dtype is not acc:
            with f.block(f"for c in range({s.d})"):
                source = load(op.key_type.dtype, f"{query} + c * {step}")
                f.line(store(acc, f"at_query + {a} * (c * {rows} + r)", source))
    with f.block(f"for r in range(rows, {rows})"):
        f.line("store_i64(at_range + 16 * r, 0)\nstore_i64(at_range + 16 * r + 8, 0)")
    packed = "rows" if op.key_type.dtype is acc else "0"
    begin = ["at_state", "at_out", s.dv, "at_rows", packed, step, s.d, "at_query"]
    f.line(_call(node, "begin", *begin))
    if op.scale < 0 and not is_rescored(node):
        f.line(_call(node, "pack_negated", "at_query", s.d))


def _sequence(node: Node, f: Function, which: str) -> tuple[str, str, str]:
    """Address, stride and element stride of a tile's keys or values; converted first where they are not of
    the accumulation type.
    """
    s, acc = node.sizes(f), node.op.accumulator
    base, step, element = node.keys_at(f) if which == "key" else node.values_at(f)
    dtype, width = (node.key_dtype, s.d) if which == "key" else (node.op.value_type.dtype, s.dv)
    f.line(f"{which}s = {base} + at * {step}")
    if dtype is acc:
        return f"{which}s", step, element
    a = acc.itemsize
    with f.block("for x in range(count)"), f.block(f"for c in range({width})"):
        source = load(dtype, f"{which}s + x * {step} + c * {element}")
        f.line(store(acc, f"at_{which} + {a} * (x * {width} + c)", source))
    return f"at_{which}", f"{a} * {width}", str(a)


def _tile(node: Node, f: Function) -> None:
    s, row = node.sizes(f), _block_rows(node) * node.op.accumulator.itemsize
    masked = _is_asked(node) or node.mask != Everything()
    if _is_asked(node):
        f.line(f"end = min(at + {FLASH_KEYS}, high)\nfull = False")
    else:
        known = "runs >= 0 and " if documents_of(node.op) is not None else ""
        f.line(f"full = {known}full_from <= at < full_to")
        f.line("stop = full_to if full else (full_from if at < full_from < full_to else high)")
        f.line(f"end = min(at + {FLASH_KEYS}, stop)")
    f.line("count = end - at")
    if _is_flushed(node):
        with f.block(f"if tile == {FLASH_TILES}"):
            f.line(
                _call(node, "flush", "at_wide", "at_out", s.dv, "at_state", exponent_factor(node), "flushed")
            )
            f.line("flushed, tile = 1, 0")
        f.line("tile += 1")
    keys, step, element = _sequence(node, f, "key")
    # Of a tile with a mask the maximum is looked for later.
    top = f"at_state + ({row * FLASH_TOP} if full else {row * FLASH_SPARE})"
    f.line(_call(node, "scores", "at_score", keys, step, element, "count", "at_query", s.d, top, "used"))
    if _is_asked(node):
        _ask(node, f)
    elif masked:
        ranges = _call(node, "range_mask", "at_keep", "at_range", "at", "count", "at_state", "used")
        with f.block("if not full"):
            if documents_of(node.op) is not None:
                with f.block("if runs < 0"):
                    _ask(node, f)
                with f.block("else"):
                    f.line(ranges)
            else:
                f.line(ranges)
    values, step, element = _sequence(node, f, "value")
    keep = "0 if full else at_keep" if masked else "0"
    tile = ["at_score", keep, "count", "at_state", exponent_factor(node), "used"]
    f.line(_call(node, "join", *tile, "at_out", values, step, element, s.dv))


def _skip_gap(f: Function) -> None:
    """Statements that go on to the next key that a row sees: documents of a block's rows may lie far apart."""
    f.line("near = high")
    with f.block("for r in range(rows)"), f.block("if load_i64(at_range + 16 * r + 8) > at"):
        f.line("near = min(near, max(load_i64(at_range + 16 * r), at))")
    f.line("at = near")
    with f.block("if at >= high"):
        f.line("break")


def _ask(node: Node, f: Function) -> None:
    """Position by position: allowed or not, and the score under softcap, modifier and bias."""
    rows, a = _block_rows(node), node.op.accumulator.itemsize
    f.line(f"fill_zero(at_keep, count * {rows})")
    with f.block("for r in range(rows)"):
        row_of_head(node, f, "(start + r)")
        f.line("lo, hi = max(load_i64(at_range + 16 * r), at), min(load_i64(at_range + 16 * r + 8), end)")
        place = f"((j - at) * {rows} + r)"
        ask_lines(node, f, f"at_score + {a} * {place}", f"at_keep + {place}")
        f.line("store_i64(at_seen + 8 * r, load_i64(at_seen + 8 * r) + seen)")


def _finish(node: Node, f: Function) -> None:
    """Divide the rows and store them."""
    op, s, rows = node.op, node.sizes(f), _block_rows(node)
    acc, a = op.accumulator, op.accumulator.itemsize
    row = rows * a
    if _is_flushed(node):
        with f.block("if flushed > 0"):
            f.line(
                _call(node, "flush", "at_wide", "at_out", s.dv, "at_state", exponent_factor(node), "flushed")
            )
            f.line(_call(node, "restore", "at_wide", "at_out", s.dv))
    with f.block("for r in range(rows)"):
        row_of_head(node, f, "(start + r)")
        f.line(f"top = {load_double(acc, f'at_state + {row * FLASH_TOP} + {a} * r')}")
        f.line(f"total = {load_double(acc, f'at_state + {row * FLASH_TOTAL} + {a} * r')}")
        if _is_flushed(node):
            with f.block("if flushed > 0"):
                f.line(f"total = load_f64(at_wide + {8 * rows} * ({s.dv} + 1) + 8 * r)")
        if not is_rescored(node) and abs(op.scale) != 1.0:
            f.line(f"top *= {literal(abs(op.scale))}")
        # Only a NaN score makes the sum NaN beside such a maximum; no sink hides it.
        f.line("top = top if total == total or top == math.inf else math.nan")
        sink_lines(node, f)
        f.line(store(acc, f"at_state + {row * FLASH_SHRINK} + {a} * r", "shrink / total"))
        lse_lines(node, f)
    out, step = node.output_row(f)
    direct = op.value_type.dtype is acc
    if direct:
        with f.block("for r in range(rows)"):
            row_of_head(node, f, "(start + r)")
            f.line(f"store_i64(at_rows + 8 * r, {out})")
    unpacked = "rows" if direct else "0"
    f.line(_call(node, "end", "at_out", s.dv, f"at_state + {row * FLASH_SHRINK}", "at_rows", unpacked, step))
    with f.block("for r in range(rows)"):
        with f.block("if load_i64(at_seen + 8 * r) <= 0"):
            row_of_head(node, f, "(start + r)")
            node.empty_lines(f)
            if op.empty.keyword != "error" and not direct:
                f.line("continue")
        if not direct:
            row_of_head(node, f, "(start + r)")
            with f.block(f"for c in range({s.dv})"):
                value = load(acc, f"at_out + {a} * (c * {rows} + r)")
                f.line(store(op.value_type.dtype, f"{out} + c * {step}", value))
