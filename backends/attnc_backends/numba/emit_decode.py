"""Dense softmax of few query rows in explicit vectors along keys and values, which are read once for all
heads that share them.

The phases of a tile are in `runtime/decode.py`, the inner loops in `runtime/decode_rows.py`. What stands here
is where rows lie, how keys are split into pieces, and what merges the pieces of a row. A unit of work is one
piece of one key head. Pieces depend on sizes only, and are merged in their order, so that threads change
nothing.
"""

from __future__ import annotations

from attnc_backends.numba import vectors
from attnc_backends.numba.access import load, store
from attnc_backends.numba.emit_elementwise import literal
from attnc_backends.numba.emit_row import lay_out, row_of_head, rows_of_head, skip_empty
from attnc_backends.numba.emit_softmax import (
    ask_lines,
    exponent_factor,
    is_asked,
    is_rescored,
    lanes_of,
    lse_lines,
    sink_lines,
)
from attnc_backends.numba.node import OK, Node
from attnc_backends.numba.runtime.decode import (
    DECODE_HEAD,
    DECODE_KEYS,
    DECODE_SEEN,
    DECODE_SPLIT,
    DECODE_TOTAL,
)
from attnc_backends.numba.source import Function
from attnc_ir.types import DType


def parts_slot(number: int) -> str:
    """The slot with the address of the memory that the workers of op `number` share."""
    return f"parts_{number}"


def _read_as(node: Node, dtype: DType) -> DType:
    """The type in which vectors read what is stored as `dtype`; another means that a tile is converted first."""
    acc = node.op.accumulator
    halves = {DType.BF16: True, DType.F16: vectors.has_halves()}.get(dtype, False)
    return dtype if acc is DType.F32 and halves else acc


def _call(node: Node, part: str, dtype: DType, *args: str) -> str:
    """A call of the shared runtime's function for what is stored as `dtype`."""
    return f"shared_decode_{part}_{_read_as(node, dtype)}_{lanes_of(node)}(frame, {', '.join(args)})"


def _splits(node: Node, f: Function) -> str:
    """Into how many pieces keys are split."""
    return f.derived("splits", f"({node.sizes(f).nk} + {DECODE_SPLIT - 1}) // {DECODE_SPLIT}")


def _padded(node: Node, width: str) -> str:
    """Bytes of a row of `width` elements in the accumulation type, whole vectors."""
    lanes, size = lanes_of(node), node.op.accumulator.itemsize
    return f"({width} + {lanes - 1}) // {lanes} * {lanes * size}"


def _part_bytes(node: Node, f: Function) -> str:
    return f.derived("part_bytes", f"{DECODE_HEAD} + {_padded(node, node.sizes(f).dv)}")


def _parts_size(node: Node, f: Function) -> str:
    """Bytes of the parts of all rows and pieces."""
    s = node.sizes(f)
    return f"{s.b} * {s.hk} * {_splits(node, f)} * {rows_of_head(node, f)} * {_part_bytes(node, f)}"


def decode_blocks(node: Node, f: Function) -> None:
    """Statements that return how many units of work there are: pieces of the keys of one key head each."""
    s = node.sizes(f)
    f.line(f"return {s.b} * {s.hk} * {_splits(node, f)}")


def decode_parts_bytes(node: Node, f: Function) -> None:
    """Statements that return the bytes of memory that workers share; some more, to begin at a whole vector."""
    f.line(f"return 64 + {_parts_size(node, f)}")


def _layout(node: Node, f: Function) -> list[tuple[str, str]]:
    """Pieces of scratch by name, and their bytes; what vectors read begins at whole vectors."""
    s, rows, a = node.sizes(f), rows_of_head(node, f), node.op.accumulator.itemsize
    pieces = [
        ("at_score", f"{DECODE_KEYS * a} * {rows}"),
        ("at_query", f"{_padded(node, s.d)} * {rows}"),
        ("at_range", f"16 * {rows}"),
        ("at_keep", f"{DECODE_KEYS} * {rows}"),
        ("at_sum", f"{DECODE_HEAD} + 8 * {s.dv}"),
    ]
    for which, dtype, width in (("key", node.key_dtype, s.d), ("value", node.op.value_type.dtype, s.dv)):
        if _is_copied(node, dtype):
            pieces.append((f"at_{which}", f"{DECODE_KEYS * _read_as(node, dtype).itemsize} * {width}"))
    return pieces


def _is_copied(node: Node, dtype: DType) -> bool:
    """Whether a tile may have to be copied: to convert it, or because its elements do not lie side by side."""
    return node.cache is None or _read_as(node, dtype) is not dtype


def decode_scratch(node: Node, f: Function) -> None:
    """Statements that return the bytes of scratch that one worker needs."""
    sizes = [size for _, size in _layout(node, f)]
    if node.cache is not None:
        sizes.append(_parts_size(node, f))
    f.line(f"return 128 + {' + '.join(sizes)}")


def decode_rows(node: Node, f: Function) -> None:
    """Statements for the pieces from `first` to `last`, which call `piece`."""
    s, splits = node.sizes(f), _splits(node, f)
    per_piece = f"{rows_of_head(node, f)} * {_part_bytes(node, f)}"
    if node.cache is not None:
        # One worker does everything.
        f.line(f"parts = (scratch + {' + '.join(size for _, size in _layout(node, f))} + 127) // 64 * 64")
    else:
        f.line(f"parts = ({f.slot(parts_slot(node.number))} + 63) // 64 * 64")
    with f.block("for unit in range(first, last)"):
        f.line(f"head = unit // {splits}\nplace = parts + unit * {per_piece}")
        piece = node.call(
            "piece", f"head // {s.hk}", f"head % {s.hk}", f"unit % {splits}", "place", "scratch"
        )
        f.line(piece)
    f.line(f"return {OK if node.cache is None else node.call('merge', 'parts', 'scratch')}")


def decode_piece(node: Node) -> str:
    """`piece(b, hk, split, parts, scratch)`: the parts of all rows of a key head from one piece of keys.
    Positions that have to be asked for call `allowed` and `bias`.
    """
    op, rows_a = node.op, node.op.accumulator.itemsize
    f = node.function(
        "piece",
        "b",
        "hk",
        "split",
        "parts",
        "scratch",
        doc="what one piece of keys gives for every row of a key head",
    )
    s, rows, part_bytes = node.sizes(f), rows_of_head(node, f), _part_bytes(node, f)
    f.line("small_code()")
    lay_out(f, _layout(node, f))
    f.line(
        f"begin = split * {DECODE_SPLIT}\nbehind = min(begin + {DECODE_SPLIT}, {s.nk})\nlow, high = behind, begin"
    )
    with f.block(f"for r in range({rows})"):
        row_of_head(node, f)
        node.range_lines(f)
        f.line("lo, hi = max(lo, begin), min(hi, behind)\nseen = 0")
        with f.block("if lo < hi"):
            f.line("low, high = min(low, lo), max(high, hi)")
            if not is_asked(node):
                f.line("seen = hi - lo")
        f.line("store_i64(at_range + 16 * r, lo)\nstore_i64(at_range + 16 * r + 8, hi)")
        f.line(f"store_i64(parts + r * {part_bytes} + {DECODE_SEEN}, seen)")
    with f.block("if low >= high"):
        f.line("return")
    sign = "-" if op.scale < 0 and not is_rescored(node) else ""
    f.line(f"fill_zero(at_query, {_padded(node, s.d)} * {rows})")
    with f.block(f"for r in range({rows})"):
        row_of_head(node, f)
        f.line(
            f"part = parts + r * {part_bytes}\nstore_f64(part, -math.inf)\nstore_f64(part + {DECODE_TOTAL}, 0.0)"
        )
        f.line(f"fill_zero(part + {DECODE_HEAD}, {part_bytes} - {DECODE_HEAD})")
        query, step = node.query_row(f)
        f.line(f"query, packed = {query}, at_query + r * ({_padded(node, s.d)})")
        with f.block(f"for c in range({s.d})"):
            source = load(op.key_type.dtype, f"query + c * {step}")
            f.line(store(op.accumulator, f"packed + {rows_a} * c", f"{sign}{source}"))
    f.line("at = low")
    with f.block("while at < high"):
        f.line(f"end = min(at + {DECODE_KEYS}, high)\ncount = end - at")
        _tile(node, f)
        f.line("at = end")
    return f.text()


def _tile(node: Node, f: Function) -> None:
    s, rows, a = node.sizes(f), rows_of_head(node, f), node.op.accumulator.itemsize
    _sequence(node, f, "key")
    scores = ["at_score", "at_query", _padded(node, s.d), rows, "keys", "key_step", "count", s.d]
    f.line(_call(node, "scores", node.key_dtype, *scores))
    if is_asked(node):
        f.line(f"fill_zero(at_keep, {DECODE_KEYS} * {rows})")
        with f.block(f"for r in range({rows})"):
            row_of_head(node, f)
            f.line("lo, hi = max(load_i64(at_range + 16 * r), at), min(load_i64(at_range + 16 * r + 8), end)")
            place = f"(r * {DECODE_KEYS} + j - at)"
            ask_lines(node, f, f"at_score + {a} * {place}", f"at_keep + {place}")
            f.line(f"at_seen = parts + r * {_part_bytes(node, f)} + {DECODE_SEEN}")
            f.line("store_i64(at_seen, load_i64(at_seen) + seen)")
    _sequence(node, f, "value")
    keep = "at_keep" if is_asked(node) else "0"
    join = ["at_score", keep, "at_range", "at", "count", rows, exponent_factor(node)]
    join += ["parts", _part_bytes(node, f), "values", "value_step", s.dv]
    f.line(_call(node, "join", node.op.value_type.dtype, *join))


def _sequence(node: Node, f: Function, which: str) -> None:
    """Set address and stride of a tile's keys or values; copied first where vectors cannot read them."""
    s = node.sizes(f)
    base, step, element = node.keys_at(f) if which == "key" else node.values_at(f)
    dtype, width = (node.key_dtype, s.d) if which == "key" else (node.op.value_type.dtype, s.dv)
    f.line(f"{which}s, {which}_step = {base} + at * {step}, {step}")
    if not _is_copied(node, dtype):
        return
    read = _read_as(node, dtype)
    tile = f"at_{which}"
    if read is dtype:
        with f.block(f"if {element} != {dtype.itemsize}"):
            f.line(_call(node, "copy", dtype, tile, f"{which}s", step, element, "count", width))
            f.line(f"{which}s, {which}_step = {tile}, {read.itemsize} * {width}")
        return
    with f.block("for x in range(count)"), f.block(f"for c in range({width})"):
        source = load(dtype, f"{which}s + x * {step} + c * {element}")
        f.line(store(read, f"{tile} + {read.itemsize} * (x * {width} + c)", source))
    f.line(f"{which}s, {which}_step = {tile}, {read.itemsize} * {width}")


def decode_merge_rows(node: Node, f: Function) -> None:
    """Statements that make every row of its `parts`, when all pieces are there."""
    op = node.op
    s, rows, splits, part_bytes = node.sizes(f), rows_of_head(node, f), _splits(node, f), _part_bytes(node, f)
    lay_out(f, _layout(node, f))
    out, step = node.output_row(f)
    with f.block(f"for head in range({s.b} * {s.hk})"), f.block(f"for r in range({rows})"):
        f.line(f"b = head // {s.hk}\nhk = head % {s.hk}")
        row_of_head(node, f)
        first = f"parts + (head * {splits} * {rows} + r) * {part_bytes}"
        merged = ["at_sum", first, f"{rows} * {part_bytes}", splits, exponent_factor(node), s.dv]
        f.line(_call(node, "merge", op.value_type.dtype, *merged))
        skip_empty(node, f, f"load_i64(at_sum + {DECODE_SEEN}) == 0")
        f.line(f"top, total = load_f64(at_sum), load_f64(at_sum + {DECODE_TOTAL})")
        if not is_rescored(node) and abs(op.scale) != 1.0:
            f.line(f"top *= {literal(abs(op.scale))}")
        sink_lines(node, f)
        with f.block(f"for c in range({s.dv})"):
            value = f"load_f64(at_sum + {DECODE_HEAD} + 8 * c) * shrink / total"
            f.line(store(op.value_type.dtype, f"{out} + c * {step}", value))
        lse_lines(node, f)
    f.line(f"return {OK}")
