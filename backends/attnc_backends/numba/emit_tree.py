"""Tree attention: hard-max by branch and bound over boxes of keys.

In batch, one tree per key head is built in scratch over all keys that some row may see, and answers the whole
group of query heads; ranges of positions are respected while searching, so one tree serves every row. In a
step, the cache keeps it. Rows that meet a key or query that is not finite, and queries so large that a score
may overflow, are answered by the dense scan, which every tree node carries along.
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
    step_row,
    write_found,
)
from attnc_backends.numba.node import OK, Node, tie_of
from attnc_backends.numba.runtime.tree import TREE_FIRST, TREE_LAST, TREE_MEAN
from attnc_backends.numba.source import Function
from attnc_backends.numba.structures import Structure, slot_of
from attnc_ir.attributes.normalizer import Tie
from attnc_ir.ops import AttendStep

TREE_NOTE = (
    "how much of the tree a query looks at depends on the keys: the cost is that of normally distributed ones"
)
TREE_DENSE_NOTE = "rows that meet a query or key that is not finite, or a score that may overflow, are answered by the dense scan"

_TIES = {Tie.FIRST: TREE_FIRST, Tie.LAST: TREE_LAST, Tie.MEAN: TREE_MEAN}


def emit_tree_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over key heads (over query rows in a step), `blocks()` and `scratch()`."""
    rows = _batch_rows(node) if node.cache is None else _step_rows(node)
    return [*emit_fallback_rows(node), _answer(node), rows, node.head_blocks(), _scratch(node)]


def tree_structure(op: AttendStep) -> Structure:
    """What the cache of a step keeps for it: one tree, whatever the mask and tie rule of its readers."""
    (width,) = op.key_type.shape
    return Structure(
        name="tree of boxes",
        size=f"shared_tree_bytes(frame, capacity, {width})",
        start=f"shared_tree_start(frame, at, capacity, {width})",
        move="shared_tree_move(frame, source, at, capacity)",
    )


def _scratch(node: Node) -> str:
    f = node.function(
        "scratch", doc="bytes of scratch per worker: dense scan, a query, a search, what ties, the tree"
    )
    s = node.sizes(f)
    f.line(f"size = {node.dense.call('scratch')} + 8 * {s.d} + shared_tree_scratch_bytes(frame, {s.d})")
    if tie_of(node.op) is Tie.MEAN:
        f.line(f"size += shared_tree_sums_bytes(frame, {s.dv}) + 8 * {s.dv} + 8 * {s.nk}")
    if node.cache is None:
        f.line(f"size += shared_tree_bytes(frame, {s.nk}, {s.d})")
    f.line("return size")
    return f.text()


def _places(node: Node, f: Function) -> None:
    """Where things lie in the scratch of a worker: `query`, `search`, and for a mean `row`, `sums`, `held`;
    `region` comes behind them.
    """
    s = node.sizes(f)
    f.line(f"query = scratch + {node.dense.call('scratch')}\nsearch = query + 8 * {s.d}")
    f.line(f"region = search + shared_tree_scratch_bytes(frame, {s.d})")
    if tie_of(node.op) is Tie.MEAN:
        f.line(f"row = region\nsums = row + 8 * {s.dv}\nheld = sums + shared_tree_sums_bytes(frame, {s.dv})")
        f.line(f"region = held + 8 * {s.nk}")


def _answer(node: Node) -> str:
    """`answer(b, h, hk, i, lo, hi, region, scratch)`: one query row over finite keys `[lo, hi)`, not none."""
    f = node.function(
        "answer", "b", "h", "hk", "i", "lo", "hi", "tree", "scratch",
        doc="one query row; -1 when the dense scan has to answer it",
    )  # fmt: skip
    s, tie = node.sizes(f), tie_of(node.op)
    dtype = node.op.value_type.dtype
    values, value_step, element = node.values_at(f)
    out, out_step = node.output_row(f)
    _places(node, f)
    read_query(node, f)
    held = "held" if tie is Tie.MEAN else "0"
    f.line(f"best = shared_tree_best(frame, tree, query, lo, hi, {_TIES[tie]}, search, {held})")
    with f.block("if best < 0"):
        f.line("return -1")
    f.line(f"values = {values}\nout = {out}")
    node.write_position(f, "best")
    if tie is Tie.MEAN:
        f.line(
            f"shared_tree_mean(frame, tree, search, held, sums, values, {value_step}, {element}, {DTYPE_CODES[dtype]}, {s.dv}, row)"
        )
    write_found(node, f, ("out", out_step), f"values + best * {value_step}", element, mean="row")
    f.line("return 0")
    return f.text()


def _row_lines(node: Node, f: Function, row: str) -> None:
    """One row `b, h, hk, i` with its range `lo, hi`: empty, answered by `tree` where that holds all of the
    range, or scanned.
    """
    skip_empty(node, f)
    answer = node.call("answer", "b", "h", "hk", "i", "lo", "hi", "tree", "scratch")
    answer_or_scan(node, f, "hi <= there", answer, row)


def _step_rows(node: Node) -> str:
    assert node.structure is not None, "a step's tree lies in its cache"
    assert node.cache is not None
    f = node.function(
        "rows", "first", "last", "scratch", doc=f"tree of the cache, tie {tie_of(node.op).value}"
    )
    s = node.sizes(f)
    slot = slot_of(node.cache, node.structure)
    with f.block("for unit in range(first, last)"):
        step_row(node, f)
        f.line(f"tree = {f.slot(slot)} + (b * {s.hk} + hk) * {f.slot(slot + '_stride')}")
        node.range_lines(f)
        keys, key_step, key_element = node.keys_at(f)
        f.line(
            f"there = shared_tree_reach(frame, tree, {s.nk}, {keys}, {key_step}, {key_element}, {DTYPE_CODES[node.key_dtype]})"
        )
        _row_lines(node, f, "unit")
    f.line(f"return {OK}")
    return f.text()


def _batch_rows(node: Node) -> str:
    f = node.function(
        "rows", "first", "last", "scratch", doc=f"tree, tie {tie_of(node.op).value}, one key head at a time"
    )
    s, g = node.sizes(f), node.group(f)
    _places(node, f)
    with f.block("for unit in range(first, last)"):
        key_head(node, f)
        keys, key_step, key_element = node.keys_at(f)
        f.line("most = 0  # no row sees a key from here on")
        with f.block(f"for i in range({s.nq})"):
            node.range_lines(f)
            with f.block("if lo < hi"):
                f.line("most = max(most, hi)")
        f.line(f"tree = region\nshared_tree_start(frame, tree, {s.nk}, {s.d})")
        f.line(
            f"there = shared_tree_fill(frame, tree, most, {keys}, {key_step}, {key_element}, {DTYPE_CODES[node.key_dtype]})"
        )
        with f.block(f"for i in range({s.nq})"):
            f.line(f"h = hk * {g}")
            node.range_lines(f)
            with f.block(f"for h in {group_of(node, f)}"):
                _row_lines(node, f, batch_row(node, f))
    f.line(f"return {OK}")
    return f.text()
