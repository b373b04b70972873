"""Hull attention over ranges of keys that move: windows, documents, and what is and-ed with them.

A hull only grows, so keys cannot leave it. But let row `i` see keys `[lo, hi)` with both ends non-decreasing,
and cut at a pivot that the ranges of a run of rows all touch. Each range is then a piece that ends at the pivot
and one that begins there. The pieces behind the pivot grow from row to row: one hull, rows in order. Those
before it grow from row to row backwards: another hull, fed from the pivot towards the first key, rows in
reverse order. The better one of two winners wins, and the tie rule decides between equals. Then comes the next
run of rows with a pivot of its own. A key enters at most one hull of each kind.

Nothing here relies on the order of ranges: where an end falls, a run of rows ends, too.
"""

from __future__ import annotations

from attnc_backends.numba.access import DTYPE_CODES, copy_element, load_double
from attnc_backends.numba.emit_documents import documents_of, find_runs, narrow, table_bytes
from attnc_backends.numba.emit_row import (
    batch_row,
    group_of,
    key_head,
    read_plane_query,
    scan_row,
    scan_rows,
    write_copy,
    write_doubles,
)
from attnc_backends.numba.node import OK, Node, tie_of
from attnc_backends.numba.source import Function
from attnc_ir.attributes import mask as masks
from attnc_ir.attributes.normalizer import Tie
from attnc_ir.ops import Attend, AttentionOp

NOTE = "heads whose documents do not lie side by side are answered by the dense scan"

_ALONE, _ONE, _OTHER = range(3)
"""What `answer` is asked for: all of a row's range, its first piece, or the second one, to be joined."""


def has_moving_start(op: AttentionOp) -> bool:
    """Whether rows of a batch node may see ranges that do not begin at key 0."""
    return isinstance(op, Attend) and any(
        isinstance(t, masks.Window | masks.Documents) for t in op.mask.conjuncts
    )


def emit_ranged_hull(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over key heads, `blocks()`, `scratch()` and helpers; the dense rows are
    made by the caller.
    """
    return [_ranges(node), _answer(node), _run(node), _rows(node), node.head_blocks(), _scratch(node)]


def _record(node: Node, f: Function) -> str:
    """Bytes kept of a row between the answers of its two pieces: the winner; for means how many there are and
    their sums.
    """
    return f"(16 + 16 * {node.sizes(f).dv})" if tie_of(node.op) is Tie.MEAN else "8"


def _parts(node: Node, f: Function) -> list[tuple[str, str]]:
    """The parts of a worker's scratch, in order, and their bytes."""
    s = node.sizes(f)
    mean = int(tie_of(node.op) is Tie.MEAN)
    itemsize = node.op.value_type.dtype.itemsize
    hull = f"shared_hull_bytes(frame, max({s.nk}, 1), {s.dv}, {mean})"
    parts = [
        ("dense", f"{node.dense.call('scratch')} + 63 & -64"),
        ("own", f"shared_hull_scratch_bytes(frame, {s.dv}) + 8 * {s.dv} + 16 * {s.dv}"),
        ("ranges", f"16 * {s.nq}"),
        ("records", f"{_record(node, f)} * {s.nq} * {node.group(f)}"),
        ("hull_keys", f"16 * {s.nk}"),
        ("back_keys", f"16 * {s.nk}"),
    ]
    if documents_of(node.op) is not None:
        parts.append(("table", table_bytes(node, f)))
    if mean:
        parts.append(("packed", f"{itemsize} * {s.nk} * {s.dv} + 63 & -64"))
    return [*parts, ("front", hull), ("back", hull)]


def _places(node: Node, f: Function) -> None:
    """Names for the parts of scratch."""
    at = "scratch"
    for name, size in _parts(node, f):
        if name != "dense":
            f.line(f"{name} = {at}")
        f.line(f"size_{name} = {size}")
        at = f"{'scratch' if name == 'dense' else name} + size_{name}"


def _scratch(node: Node) -> str:
    f = node.function("scratch", doc="bytes of scratch per worker: dense scan, ranges, keys, two hulls")
    f.line("size = 0")
    for _, size in _parts(node, f):
        f.line(f"size += {size}")
    f.line("return size")
    return f.text()


def _ranges(node: Node) -> str:
    """`find_ranges(b, hk, ranges, table)`: each row's range; rows that see nothing are answered at once and get
    the range [-1, -1). 0, -1 where documents do not lie side by side, or a status.
    """
    f = node.function("find_ranges", "b", "hk", "ranges", "table", doc="the keys that each row sees")
    s, g = node.sizes(f), node.group(f)
    documents = documents_of(node.op)
    if documents is not None:
        find_runs(node, f, documents, "table")
        with f.block("if runs < 0"):
            f.line("return -1")
    with f.block(f"for i in range({s.nq})"):
        f.line(f"h = hk * {g}")
        node.range_lines(f)
        if documents is not None:
            narrow(node, f, documents, "table")
        with f.block("if lo >= hi"):
            f.line("lo = -1\nhi = -1")
            with f.block(f"for h in {group_of(node, f)}"):
                node.empty_lines(f)
        f.line("store_i64(ranges + 16 * i, lo)\nstore_i64(ranges + 16 * i + 8, hi)")
    f.line("return 0")
    return f.text()


def _answer(node: Node) -> str:
    """`answer(b, h, i, part, hull, keys, rows_at, row_step, base, sense, all_keys, record, own)`: one row from
    a hull whose key `n` stands at position `base + sense * n`; -1 where the dense scan has to answer.
    """
    f = node.function(
        "answer", "b", "h", "i", "part", "hull", "keys", "rows_at", "row_step", "base", "sense", "all_keys", "record", "own",
        doc="one piece of a row's range; -1 when the dense scan has to answer the row",
    )  # fmt: skip
    read_plane_query(node, f)
    if tie_of(node.op) is Tie.MEAN:
        _answer_mean(node, f)
    else:
        _answer_one(node, f)
    f.line("return 0")
    return f.text()


def _compare(f: Function) -> None:
    """Sets `order`: the sign of the score of `best` less that of `other`."""
    f.line("x, y = load_f64(all_keys + 16 * best), load_f64(all_keys + 16 * best + 8)")
    f.line("u, w = load_f64(all_keys + 16 * other), load_f64(all_keys + 16 * other + 8)")
    f.line("order = compare_dot2(qx, qy, x, y, u, w, own)")


def _answer_one(node: Node, f: Function) -> None:
    hk = f"h // {node.group(f)}"
    first = tie_of(node.op) is Tie.FIRST
    # What comes first in a hull that was fed backwards stands last.
    with f.block(f"if sense {'>' if first else '<'} 0"):
        f.line("best = base + sense * shared_hull_first(frame, hull, keys, qx, qy, own)")
    with f.block("else"):
        f.line("best = base + sense * shared_hull_last(frame, hull, keys, qx, qy, own)")
    with f.block(f"if part == {_OTHER}"):
        f.line("other = load_i64(record)")
        _compare(f)
        with f.block(f"if order < 0 or (order == 0 and other {'<' if first else '>'} best)"):
            f.line("best = other")
    with f.block(f"if part == {_ONE}"):
        f.line("store_i64(record, best)\nreturn 0")
    out, out_step = node.output_row(f)
    f.line(f"hk = {hk}")
    values, value_step, element = node.values_at(f)
    node.write_position(f, "best")
    f.line(f"values, out = {values} + best * {value_step}, {out}")
    write_copy(node, f, ("out", out_step), "values", element)


def _answer_mean(node: Node, f: Function) -> None:
    s = node.sizes(f)
    dtype = node.op.value_type.dtype
    code = DTYPE_CODES[dtype]
    out, out_step = node.output_row(f)
    f.line(f"mean = own + shared_hull_scratch_bytes(frame, {s.dv})\nsums = mean + 8 * {s.dv}\nplace = 0")
    with f.block(f"if part != {_ALONE}"):
        f.line("place = shared_hull_first(frame, hull, keys, qx, qy, own)")
    f.line(f"count = shared_hull_mean(frame, hull, keys, rows_at, row_step, {code}, qx, qy, mean, own)")
    with f.block(f"if part == {_ONE}"):
        f.line("store_i64(record, base + sense * place)\nstore_i64(record + 8, count)")
        f.line(
            f"shared_hull_tied_sums(frame, hull, count, place, rows_at, row_step, {code}, record + 16, own)"
        )
    with f.block(f"if part == {_OTHER}"):
        f.line("best = base + sense * place\nother = load_i64(record)")
        # The parts of the tied set lie in scratch only until the comparison.
        f.line(f"shared_hull_tied_sums(frame, hull, count, place, rows_at, row_step, {code}, sums, own)")
        _compare(f)
        with f.block("if order < 0"):
            f.line("return 0  # the first piece has written the row")
        with f.block("if order == 0"):
            f.line(f"shared_hull_sums_add(frame, {s.dv}, sums, record + 16)\ncount += load_i64(record + 8)")
            with f.block(f"if shared_hull_sums_mean(frame, {s.dv}, sums, count, mean) != 0"):
                f.line("return -1")
    f.line(f"out = {out}")
    write_doubles(node, f, ("out", out_step), "mean")


def _run(node: Node) -> str:
    """`run_end(ranges, start)`: the end of the run of rows that begins with row `start`, and its pivot."""
    f = node.function("run_end", "ranges", "start", doc="the rows that share a pivot")
    s = node.sizes(f)
    f.line("low, pivot = load_i64(ranges + 16 * start), load_i64(ranges + 16 * start + 8)")
    f.line("high, end, first = pivot, start + 1, low")
    with f.block(f"while end < {s.nq}"):
        f.line("lo, hi = load_i64(ranges + 16 * end), load_i64(ranges + 16 * end + 8)")
        with f.block("if lo >= 0"):
            with f.block("if lo != low or hi < high"):
                f.line("break")
            f.line("high = hi")
        f.line("end += 1")
    # Ranges with one beginning, and nothing of them is seen later: no key has to leave.
    with f.block(f"if end == {s.nq} or load_i64(ranges + 16 * end) >= high"):
        f.line("return end, low")
    with f.block(f"while end < {s.nq}"):
        f.line("lo, hi = load_i64(ranges + 16 * end), load_i64(ranges + 16 * end + 8)")
        with f.block("if lo >= 0"):
            with f.block("if lo < low or lo > pivot or hi < high"):
                f.line("break")
            f.line("low, high = lo, hi")
        f.line("end += 1")
    f.line("return end, pivot")
    return f.text()


def _load_head(node: Node, f: Function) -> None:
    """Keys of `b, hk` as doubles in both directions, values side by side, and `finite`."""
    s = node.sizes(f)
    itemsize = node.op.value_type.dtype.itemsize
    keys, key_step, key_element = node.keys_at(f)
    values, value_step, value_element = node.values_at(f)
    f.line(f"keys, rows_at, row_step, finite = {keys}, {values}, {value_step}, True")
    with f.block(f"for j in range({s.nk})"):
        for axis, name in enumerate("xy"):
            key = load_double(node.key_dtype, f"keys + j * {key_step} + {axis} * {key_element}")
            f.line(f"{name} = {key}\nstore_f64(hull_keys + 16 * j + {8 * axis}, {name})")
            f.line(f"store_f64(back_keys + 16 * ({s.nk} - 1 - j) + {8 * axis}, {name})")
        f.line("finite = finite and math.isfinite(x) and math.isfinite(y)")
    if tie_of(node.op) is Tie.MEAN:
        with f.block(f"if {value_element} != {itemsize}"):
            with f.block(f"for j in range({s.nk})"), f.block(f"for c in range({s.dv})"):
                target = f"packed + {itemsize} * (j * {s.dv} + c)"
                source = f"rows_at + j * {value_step} + c * {value_element}"
                f.line(copy_element(itemsize, target, source))
            f.line(f"rows_at, row_step = packed, {itemsize} * {s.dv}")


def _rows(node: Node) -> str:
    mean = int(tie_of(node.op) is Tie.MEAN)
    code = DTYPE_CODES[node.op.value_type.dtype]
    f = node.function(
        "rows",
        "first",
        "last",
        "scratch",
        doc=f"two hulls, tie {tie_of(node.op).value}, one key head at a time",
    )
    s = node.sizes(f)
    _places(node, f)
    table = "table" if documents_of(node.op) is not None else "0"
    with f.block("for unit in range(first, last)"):
        key_head(node, f)
        f.line(f"status = {node.call('find_ranges', 'b', 'hk', 'ranges', table)}")
        with f.block("if status > 0"):
            f.line("return status")
        _load_head(node, f)
        with f.block("if status < 0 or not finite"):
            with f.block(f"for h in {group_of(node, f)}"):
                f.line(f"row = (b * {s.hq} + h) * {s.nq}")
                scan_rows(node, f, "row", f"row + {s.nq}")
            f.line("continue")
        f.line("start = 0")
        with f.block(f"while start < {s.nq}"):
            with f.block("if load_i64(ranges + 16 * start) < 0"):
                f.line("start += 1\ncontinue")
            f.line(f"end, pivot = {node.call('run_end', 'ranges', 'start')}")
            for front in (True, False):
                _pass(node, f, front=front, mean=mean, code=code)
            f.line("start = end")
    f.line(f"return {OK}")
    return f.text()


def _pass(node: Node, f: Function, *, front: bool, mean: int, code: int) -> None:
    """One hull of a run: the keys from the pivot on, rows in order, or those before it, rows in reverse order."""
    s, g = node.sizes(f), node.group(f)
    f.line("kept = 0")
    if front:
        f.line("own_keys, own_rows, own_step = hull_keys + 16 * pivot, rows_at + pivot * row_step, row_step")
        order, hull, base, sense, far = "start, end", "front", "pivot", "1", "hi - pivot"
    else:
        f.line(f"own_keys, own_rows = back_keys + 16 * ({s.nk} - pivot), rows_at + (pivot - 1) * row_step")
        f.line("own_step = -row_step")
        order, hull, base, sense, far = "end - 1, start - 1, -1", "back", "pivot - 1", "-1", "pivot - lo"
    # A run needs no more room than its keys, and small regions stay in the cache.
    room = f"{s.nk} - pivot" if front else "pivot"
    f.line(f"shared_hull_init(frame, {hull}, max({room}, 1), {s.dv}, {mean})")
    with f.block(f"for i in range({order})"):
        f.line("lo, hi = load_i64(ranges + 16 * i), load_i64(ranges + 16 * i + 8)")
        with f.block(f"if lo < 0 or {far} <= 0"):
            f.line("continue")
        with f.block(f"while kept < {far}"):
            f.line(f"shared_hull_append(frame, {hull}, own_keys, own)\nkept += 1")
        f.line(f"part = {_ALONE} if lo >= pivot or hi <= pivot else {_ONE if front else _OTHER}")
        with f.block(f"for h in {group_of(node, f)}"):
            f.line(f"record = records + {_record(node, f)} * (i * {g} + h - hk * {g})")
            answer = node.call(
                "answer", "b", "h", "i", "part", hull, "own_keys", "own_rows", "own_step", base, sense, "hull_keys", "record", "own",
            )  # fmt: skip
            f.line(f"answered = {answer}")
            # A row of two pieces is scanned once, after the second.
            with f.block(f"if answered != 0 and part != {_ONE}"):
                scan_row(node, f, batch_row(node, f))
