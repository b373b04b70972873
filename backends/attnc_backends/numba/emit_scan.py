"""The vector scan: hard-max and top-k by one read of the keys at the speed of memory, for any width.

A unit of work is a key head and a few query rows that share every block of keys while it is in the cache. A
block whose best score cannot reach the best so far, whatever the rounding, is done after one look; of the
others the keys that may win are compared, in bulk where sums are provably exact, else by the node's exact
comparison. Rows that meet a number that is not finite, and keys whose elements do not lie side by side, are
left to the dense rows, which every scan node carries along.
"""

from __future__ import annotations

from attnc_backends.numba import vectors
from attnc_backends.numba.access import DTYPE_CODES, load_double, store
from attnc_backends.numba.emit_fallback import emit_fallback_rows
from attnc_backends.numba.emit_held import emit_held
from attnc_backends.numba.emit_row import (
    batch_row,
    row_of_head,
    rows_of_head,
    scan_row,
    skip_empty,
    turned,
    write_copy,
)
from attnc_backends.numba.emit_scan_topk import emit_order, emit_topk_visit, emit_topk_write, held_bytes
from attnc_backends.numba.node import OK, Node
from attnc_backends.numba.scan_records import (
    SCAN_BEST,
    SCAN_BOUND,
    SCAN_FROM,
    SCAN_HELD,
    SCAN_HI,
    SCAN_LEFT,
    SCAN_LO,
    SCAN_LOWEST,
    SCAN_NORM,
    SCAN_RECORD,
    SCAN_SCORE,
    SCAN_TILE,
    scan_itemsize,
    scan_witness,
)
from attnc_backends.numba.source import Function
from attnc_ir.attributes.normalizer import NORMALIZER, Hardmax, Tie, TopK

NOTE = "rows that meet a number that is not finite, and keys with gaps between elements, are answered by the dense scan"


def emit_scan_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over tiles of query rows, `blocks()`, `scratch()`, and helpers."""
    dense = emit_fallback_rows(node, with_compare=True)
    if isinstance(node.op.normalizer, TopK):
        own = [emit_order(node), *emit_held(node, "order", with_write=False), emit_topk_visit(node)]
        own.append(emit_topk_write(node))
    else:
        own = [_visit(node), _write(node)]
    return [*dense, _blocks(node), _scratch(node), *own, _rows(node)]


def _tie(node: Node) -> Tie | None:
    """The tie rule of a hard-max; None for a top-k, which holds records instead of a winner."""
    return node.op.normalizer.tie if isinstance(node.op.normalizer, Hardmax) else None


def _rule(node: Node) -> str:
    """The normaliser, for a docstring."""
    return NORMALIZER.write(node.op.normalizer)


def _marks_bytes(node: Node, f: Function) -> str:
    """Bytes beside a row's record: marks of the positions that tie, or the records that a top-k holds."""
    if isinstance(node.op.normalizer, TopK):
        return held_bytes(node, f)
    return f"8 * ({node.sizes(f).nk} // 64 + 2)" if _tie(node) is Tie.MEAN else "0"


def _blocks(node: Node) -> str:
    f = node.function("blocks", doc=f"units of work: {SCAN_TILE} query rows of one key head each")
    s = node.sizes(f)
    f.line(f"return {s.b} * {s.hk} * (({rows_of_head(node, f)} + {SCAN_TILE - 1}) // {SCAN_TILE})")
    return f.text()


def _scratch(node: Node) -> str:
    f = node.function(
        "scratch", doc="bytes of scratch per worker: dense rows, then records, queries, scores, marks"
    )
    s = node.sizes(f)
    f.line(
        f"size = {node.dense.call('scratch')} + {SCAN_TILE * SCAN_RECORD} + {SCAN_TILE} * 16 * ({s.d} + KEY_SCAN_PAD)"
    )
    f.line(f"size += 8 * (key_scan_block({s.d}, {scan_itemsize(node)}) + KEY_SCAN_PAD)")
    f.line(f"size += {SCAN_TILE} * {_marks_bytes(node, f)}")
    f.line("return size")
    return f.text()


def _visit(node: Node) -> str:
    """`visit(b, h, i, record, keys, step, at, count, wide, narrow, scores, marks, acc)`: what `count` keys from
    position `at` on do to a row's record. `wide` is the query in doubles, `narrow` in the keys' type.
    """
    tie, itemsize = _tie(node), scan_itemsize(node)
    assert tie is not None
    f = node.function(
        "visit", "b", "h", "i", "record", "keys", "step", "at", "count", "wide", "narrow", "scores", "marks", "acc",
        doc="one row and one block of keys",
    )  # fmt: skip
    s = node.sizes(f)
    like, part = scan_witness(node, itemsize)
    wide, wide_part = scan_witness(node, 8)
    lanes = vectors.native_bytes() // itemsize
    f.line(f"key = keys + at * step\nbest = load_i64(record + {SCAN_BEST})")
    f.line(f"score, bound = load_f64(record + {SCAN_SCORE}), load_f64(record + {SCAN_BOUND})")
    f.line(f"norm = load_f64(record + {SCAN_NORM})")
    with f.block(f"if count >= {lanes}"):
        f.line(f"top, size, fault = key_scan_top(key, step, {s.d}, count, narrow, {like}, {part})")
        with f.block("if fault"):
            f.line(f"store_i64(record + {SCAN_LEFT}, 1)\nreturn 0")
        # Nothing in the block reaches the best so far. Sums and differences round by less than the bounds
        # have to spare.
        with f.block(f"if best >= 0 and top + key_scan_bound({s.d}, norm, size, {itemsize}) < score - bound"):
            f.line("return 0")
    f.line(f"top, size, fault = key_scan_scores(scores, key, step, {s.d}, count, wide, {wide}, {wide_part})")
    with f.block("if fault"):
        f.line(f"store_i64(record + {SCAN_LEFT}, 1)\nreturn 0")
    f.line(f"own = key_scan_bound({s.d}, norm, size, 8)")
    f.line(f"unit = key_scan_unit(norm, load_i64(record + {SCAN_LOWEST}), size)")
    # A query of zeros has only exact scores, and so have few bits times few bits.
    with f.block(
        f"if norm == 0.0 or (unit > 0.0 and key_scan_multiples(key, step, {s.d}, count, unit, {wide}, {wide_part}))"
    ):
        f.line("own = 0.0")
    with f.block("if own == 0.0 and (best < 0 or bound == 0.0)"):
        _exact_block(f, tie, wide)
    with f.block(
        f"elif best >= 0 and key_scan_all_same(key, step, {s.d}, count, {wide}, {wide_part}) and key_scan_same(key, keys + best * step, {s.d}, {itemsize})"
    ):
        # A block of nothing but the best key again: each ties.
        if tie is Tie.LAST:
            f.line(f"store_i64(record + {SCAN_BEST}, at + count - 1)")
        elif tie is Tie.MEAN:
            f.line(f"key_scan_mark_all(marks, at, scores, count, -1.7976931348623157e308, {wide})")
    with f.block("else"):
        _near_ties(node, f, tie, wide)
    f.line("return 0")
    return f.text()


def _exact_block(f: Function, tie: Tie, wide: str) -> None:
    """Scores of the block and the best so far are the real scores: comparing doubles decides."""
    with f.block("if best >= 0 and top < score"):
        f.line("return 0")
    first = f"at + key_scan_next(scores, 0, count, top, {wide})"
    if tie is Tie.LAST:
        f.line(f"store_i64(record + {SCAN_BEST}, at + key_scan_last(scores, count, top))")
    with f.block("if best < 0 or top > score"):
        f.line(f"store_f64(record + {SCAN_SCORE}, top)\nstore_f64(record + {SCAN_BOUND}, 0.0)")
        if tie is not Tie.LAST:
            f.line(f"best = {first}\nstore_i64(record + {SCAN_BEST}, best)")
        if tie is Tie.MEAN:
            f.line(f"store_i64(record + {SCAN_FROM}, best)")
    if tie is Tie.MEAN:
        f.line(f"key_scan_mark_all(marks, at, scores, count, top, {wide})")


def _near_ties(node: Node, f: Function, tie: Tie, wide: str) -> None:
    """Key by key over those that may be as large as the best."""
    s = node.sizes(f)
    f.line("least = max(top - 2.5 * own, score - 1.5 * bound - 1.5 * own) if best >= 0 else top - 2.5 * own")
    f.line(f"place = key_scan_next(scores, 0, count, least, {wide})")
    with f.block("while place < count"):
        f.line("found, j, order = load_f64(scores + 8 * place), at + place, 1")
        with f.block("if best >= 0"):
            f.line("gap = 1.5 * (own + bound)")
            with f.block("if found - score > gap"):
                f.line("order = 1")
            with f.block("elif score - found > gap"):
                f.line("order = -1")
            with f.block("elif own == 0.0 and bound == 0.0"):
                f.line("order = 0")
            with f.block(
                f"elif key_scan_same(keys + j * step, keys + best * step, {s.d}, {scan_itemsize(node)})"
            ):
                f.line("order = 0")
            with f.block("else"):
                f.line(f"order = {node.dense.call('compare', 'b', 'h', 'i', 'j', 'best', 'acc')}")
        with f.block("if order > 0"):
            f.line("best, score, bound = j, found, own")
            if tie is Tie.MEAN:
                f.line(f"store_i64(record + {SCAN_FROM}, j)")
        with f.block("elif order == 0"):
            if tie is Tie.LAST:
                f.line("best = j")
            # The real scores are equal, so the closer bound holds for both.
            with f.block("if own < bound"):
                f.line("score, bound = found, own")
        if tie is Tie.MEAN:
            with f.block("if order >= 0"):
                f.line("key_scan_mark(marks, j, 1)")
        f.line(f"place = key_scan_next(scores, place + 1, count, least, {wide})")
    f.line(
        f"store_i64(record + {SCAN_BEST}, best)\nstore_f64(record + {SCAN_SCORE}, score)\nstore_f64(record + {SCAN_BOUND}, bound)"
    )


def _write(node: Node) -> str:
    """`write(b, h, i, record, marks, acc)`: the output row, from the best position or the marked ones."""
    f = node.function(
        "write", "b", "h", "hk", "i", "record", "marks", "acc", doc="the output row of a record"
    )
    s = node.sizes(f)
    dtype = node.op.value_type.dtype
    out, out_step = node.output_row(f)
    values, value_step, element = node.values_at(f)
    target = f"{out} + c * {out_step}"
    f.line(f"values = {values}\nbest = load_i64(record + {SCAN_BEST})")
    if _tie(node) is not Tie.MEAN:
        node.write_position(f, "best")
        write_copy(node, f, (out, out_step), f"values + best * {value_step}", element)
        f.line("return 0")
        return f.text()
    f.line(f"first, end = load_i64(record + {SCAN_FROM}), load_i64(record + {SCAN_HI})")
    with f.block(f"for c in range({s.dv})"):
        f.line(
            f"total, exact, ties = key_scan_sum(values + c * {element}, {value_step}, {DTYPE_CODES[dtype]}, marks, first, end)"
        )
        with f.block("if not exact"):
            f.line("shared_acc_clear(frame, acc)\nkind = 0\nj = key_scan_marked(marks, first, end)")
            with f.block("while j < end"):
                f.line(f"x = {load_double(dtype, f'values + j * {value_step} + c * {element}')}")
                f.line("kind = sum_class(kind, value_class(x))")
                with f.block("if kind == 0"):
                    f.line("shared_acc_add(frame, acc, x)")
                f.line("j = key_scan_marked(marks, j + 1, end)")
            f.line("total = special_value(kind) if kind != 0 else shared_acc_round(frame, acc)")
        f.line(store(dtype, target, "(total / np.float64(ties))"))
    f.line("return 0")
    return f.text()


def _rows(node: Node) -> str:
    f = node.function(
        "rows", "first", "last", "scratch", doc=f"vector scan, {_rule(node)}, {SCAN_TILE} rows at a time"
    )
    s, itemsize = node.sizes(f), scan_itemsize(node)
    per_head = rows_of_head(node, f)
    f.line(f"tiles = ({per_head} + {SCAN_TILE - 1}) // {SCAN_TILE}")
    f.line(f"room = {s.d} + KEY_SCAN_PAD\nblock = key_scan_block({s.d}, {itemsize})")
    f.line(f"records = scratch + {node.dense.call('scratch')}\nqueries = records + {SCAN_TILE * SCAN_RECORD}")
    f.line(f"scores = queries + {SCAN_TILE} * 16 * room\nmarks = scores + 8 * (block + KEY_SCAN_PAD)")
    f.line(f"marks_step = {_marks_bytes(node, f)}")
    with f.block("for unit in range(first, last)"):
        f.line(f"head = unit // tiles\nhk = head % {s.hk}\nb = head // {s.hk}")
        f.line(f"start = (unit % tiles) * {SCAN_TILE}\nend = min(start + {SCAN_TILE}, {per_head})")
        keys, key_step, element = node.keys_at(f)
        f.line(f"keys, step = {keys}, {key_step}\nleast, most = {s.nk}, 0")
        _start_rows(node, f, element)
        with (
            f.block("for at in range(least - least % 64, most, block)"),
            f.block("for r in range(start, end)"),
        ):
            f.line(f"record = records + {SCAN_RECORD} * (r - start)")
            f.line(
                f"low = max(at, load_i64(record + {SCAN_LO}))\nhigh = min(at + block, load_i64(record + {SCAN_HI}))"
            )
            with f.block(f"if low < high and load_i64(record + {SCAN_LEFT}) == 0"):
                row_of_head(node, f)
                f.line("wide = queries + (r - start) * 16 * room")
                visit = node.call(
                    "visit", "b", "h", "i", "record", "keys", "step", "low", "high - low", "wide",
                    "wide" if itemsize == 8 else "wide + 8 * room", "scores", "marks + (r - start) * marks_step", "scratch",
                )  # fmt: skip
                f.line(visit)
        _finish_rows(node, f)
    f.line(f"return {OK}")
    return f.text()


def _start_rows(node: Node, f: Function, element: str) -> None:
    s, itemsize = node.sizes(f), scan_itemsize(node)
    with f.block("for r in range(start, end)"):
        row_of_head(node, f)
        node.range_lines(f)
        f.line(f"record = records + {SCAN_RECORD} * (r - start)")
        f.line(
            f"store_i64(record + {SCAN_LO}, lo)\nstore_i64(record + {SCAN_HI}, hi)\nstore_i64(record + {SCAN_BEST}, -1)"
        )
        f.line(f"store_f64(record + {SCAN_SCORE}, -math.inf)\nstore_f64(record + {SCAN_BOUND}, 0.0)")
        f.line("wide = queries + (r - start) * 16 * room\nfill_zero(wide, 16 * room)")
        query, query_step = node.query_row(f)
        with f.block(f"for c in range({s.d})"):
            f.line(f"x = {turned(node)}{load_double(node.op.key_type.dtype, f'{query} + c * {query_step}')}")
            f.line("store_f64(wide + 8 * c, x)")
            if itemsize == 4:
                f.line("store_f32(wide + 8 * room + 4 * c, np.float32(x))")
        f.line(f"norm, lowest = key_scan_query(wide, {s.d})")
        f.line(f"store_f64(record + {SCAN_NORM}, norm)\nstore_i64(record + {SCAN_LOWEST}, lowest)")
        if isinstance(node.op.normalizer, TopK):
            f.line(f"store_i64(record + {SCAN_HELD}, 0)")
        f.line(
            f"store_i64(record + {SCAN_LEFT}, 0 if math.isfinite(norm) and {element} == {itemsize} else 1)"
        )
        with f.block("if lo < hi"):
            f.line("least, most = min(least, lo), max(most, hi)")
            if _tie(node) is Tie.MEAN:
                f.line(
                    "fill_zero(marks + (r - start) * marks_step + 8 * (lo >> 6), 8 * ((hi >> 6) - (lo >> 6) + 2))"
                )


def _finish_rows(node: Node, f: Function) -> None:
    s = node.sizes(f)
    with f.block("for r in range(start, end)"):
        row_of_head(node, f)
        f.line(f"record = records + {SCAN_RECORD} * (r - start)")
        skip_empty(node, f, f"load_i64(record + {SCAN_LO}) >= load_i64(record + {SCAN_HI})")
        with f.block(f"if load_i64(record + {SCAN_LEFT}) != 0"):
            scan_row(node, f, batch_row(node, f) if node.cache is None else f"b * {s.hq} + h")
            f.line("continue")
        f.line(
            node.call("write", "b", "h", "hk", "i", "record", "marks + (r - start) * marks_step", "scratch")
        )
