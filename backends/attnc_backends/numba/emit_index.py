"""`index`: hard-max over keys on a parabola of integer addresses, looked up in a table of the addresses.

In batch, one region per key head lives in scratch and serves the whole group of query heads; in a step, the
cache keeps it, and it reads the rows when it is asked. Keys off the parabola go to a hull of their own beside
the table (where the plan expects such keys), and the two winners are compared exactly. What neither answers,
the dense scan does, which every such node carries along.
"""

from __future__ import annotations

from attnc_backends.numba.access import DTYPE_CODES
from attnc_backends.numba.emit_fallback import emit_fallback_rows
from attnc_backends.numba.emit_row import (
    answer_or_scan,
    batch_row,
    group_of,
    key_head,
    read_finite,
    read_plane_query,
    skip_empty,
    step_row,
    write_found,
)
from attnc_backends.numba.node import OK, Node, tie_of
from attnc_backends.numba.runtime.index import INDEX_FOUND_OPEN
from attnc_backends.numba.runtime.index_table import (
    INDEX_CAPACITY,
    INDEX_FIRST,
    INDEX_LAST,
    INDEX_MEAN,
    INDEX_SIZE,
)
from attnc_backends.numba.source import Function
from attnc_backends.numba.structures import Structure, slot_of
from attnc_ir.attributes.normalizer import Tie
from attnc_ir.attributes.strategy import Index
from attnc_ir.ops import AttendStep, AttentionOp

_STRAYS = (
    "keys off the parabola are kept aside in a hull; where such a key ties under mean, the dense scan answers"
)
_NO_STRAYS = "a head with a key off the parabola, which is not expected, is answered by the dense scan"
_FINITE = "rows that meet a query or key that is not finite are answered by the dense scan"


def index_notes(node: Node) -> tuple[str, ...]:
    """What the plan should say of the node's code."""
    return (_STRAYS if _strategy(node.op).strays else _NO_STRAYS, _FINITE)


def emit_index_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over key heads (over query rows in a step), `blocks()` and `scratch()`."""
    rows = _batch_rows(node) if node.cache is None else _step_rows(node)
    return [
        *emit_fallback_rows(node),
        _extend(node),
        _answer(node),
        rows,
        node.head_blocks(),
        _scratch(node),
    ]


def index_structure(op: AttendStep) -> Structure:
    """What the cache of a step keeps for it. Readers with one mask, tie rule and parabola share."""
    (width,) = op.value_type.shape
    assert isinstance(width, int)
    parts = _Region(op, str(width))
    move = f"shared_index_move(frame, source, at, capacity, {parts.row})"
    if parts.strays:
        hull = f"load_i64(source + {INDEX_SIZE})"
        move += f"\nshared_hull_move(frame, source + {hull}, at + load_i64(at + {INDEX_SIZE}), capacity)"
    return Structure(
        name=f"index {_strategy(op)} {tie_of(op).value} for {op.mask!r}",
        size=parts.size("capacity"),
        start=parts.start("at", "capacity"),
        move=move,
    )


class _Region:
    """The memory of a node for one key head: the table, and behind it the hull of strays."""

    def __init__(self, op: AttentionOp, width: str) -> None:
        strategy = _strategy(op)
        self.strays = bool(strategy.strays)
        self.width = width
        self.tie = {Tie.FIRST: INDEX_FIRST, Tie.LAST: INDEX_LAST, Tie.MEAN: INDEX_MEAN}[tie_of(op)]
        self.with_mean = int(self.tie == INDEX_MEAN)
        self.row = f"{op.value_type.dtype.itemsize} * {width}"
        form = (strategy.c1, strategy.c0, strategy.d2, strategy.d1, strategy.d0)
        self.form = ", ".join(repr(float(x)) for x in form) + f", {strategy.bound}"

    def size(self, capacity: str) -> str:
        """An expression for its bytes."""
        size = f"shared_index_bytes(frame, {capacity}, {self.width}, {self.row}, {self.tie})"
        hull = f" + shared_hull_bytes(frame, {capacity}, {self.width}, {self.with_mean})"
        return size + hull if self.strays else size

    def start(self, at: str, capacity: str) -> str:
        """Statements that empty it."""
        text = (
            f"shared_index_start(frame, {at}, {capacity}, {self.width}, {self.row}, {self.tie}, {self.form})"
        )
        if self.strays:
            text += (
                f"\nshared_hull_init(frame, {at} + load_i64({at} + {INDEX_SIZE}), "
                f"{capacity}, {self.width}, {self.with_mean})"
            )
        return text


def _strategy(op: AttentionOp) -> Index:
    assert isinstance(op.strategy, Index)
    return op.strategy


def _scratch(node: Node) -> str:
    f = node.function(
        "scratch", doc="bytes of scratch per worker: dense scan, a row of doubles, query, region"
    )
    s = node.sizes(f)
    region = _Region(node.op, s.dv)
    f.line(f"size = {node.dense.call('scratch')} + 8 * {s.dv} + {_query_scratch(region)}")
    if node.cache is None:
        f.line(f"size += 64 + {region.size(f'max({s.nk}, 1)')}")
    f.line("return size")
    return f.text()


def _query_scratch(region: _Region) -> str:
    """Bytes that a query works in: those of the table, then those of the hull."""
    hull = f" + shared_hull_scratch_bytes(frame, {region.width})" if region.strays else ""
    return f"shared_index_scratch_bytes(frame){hull}"


def _extend(node: Node) -> str:
    """`extend(b, hk, hi, region, work)`: the region reads the keys up to `hi`."""
    f = node.function(
        "extend",
        "b",
        "hk",
        "hi",
        "region",
        "work",
        doc="let the region hold the first keys; 1 when it cannot",
    )
    s = node.sizes(f)
    region, axis = _Region(node.op, s.dv), _strategy(node.op).axis
    keys, key_step, key_element = node.keys_at(f)
    values, value_step, value_element = node.values_at(f)
    code = DTYPE_CODES[node.op.value_type.dtype]
    if region.strays:
        # A table that starts anew takes its hull along.
        with f.block("if hi < load_i64(region)"):
            f.line(
                f"shared_hull_init(frame, region + load_i64(region + {INDEX_SIZE}), "
                f"load_i64(region + {INDEX_CAPACITY}), {region.width}, {region.with_mean})"
            )
    f.line(
        f"strays = shared_index_extend(frame, region, hi, {keys} + {axis} * {key_element}, {key_step}, "
        f"{1 - 2 * axis} * {key_element}, {DTYPE_CODES[node.key_dtype]}, {values}, {value_step}, {value_element}, {code})"
    )
    if region.strays:
        f.line(f"hull = region + load_i64(region + {INDEX_SIZE})")
        with f.block("while load_i64(hull) < strays"):
            f.line("shared_hull_append(frame, hull, shared_index_aside(frame, region, 0), work)")
        f.line("return 0")
    else:
        f.line("return 1 if strays > 0 else 0")
    return f.text()


def _answer(node: Node) -> str:
    """`answer(b, h, hk, i, hi, region, out_row, work)`: one query row over the keys the region holds."""
    op = node.op
    f = node.function(
        "answer", "b", "h", "hk", "i", "hi", "region", "row", "work",
        doc="one query row; -1 when the dense scan has to answer it",
    )  # fmt: skip
    s = node.sizes(f)
    region, strategy, tie = _Region(op, s.dv), _strategy(op), tie_of(op)
    values, value_step, value_element = node.values_at(f)
    dtype = op.value_type.dtype
    code = DTYPE_CODES[dtype]
    # The coordinate that is linear in the address comes first.
    read_plane_query(node, f, (strategy.axis, 1 - strategy.axis))
    f.line(f"values = {values}")
    mean = f"values, {value_step}, {value_element}, {code}, row, work"
    with f.block("if qx == 0.0 and qy == 0.0"):
        f.line(
            {
                Tie.FIRST: "best = 0",
                Tie.LAST: "best = hi - 1",
                Tie.MEAN: f"best = shared_index_mean(frame, region, 1, {mean})",
            }[tie]
        )
    with f.block("else"):
        f.line("best = shared_index_best(frame, region, qx, qy, work)")
        if region.strays:
            _strays(f, node, region)
        elif tie is Tie.MEAN:
            f.line(f"shared_index_mean(frame, region, 0, {mean})")
    node.write_position(f, "best")
    out, out_step = node.output_row(f)
    f.line(f"out = {out}")
    write_found(node, f, ("out", out_step), f"values + best * {value_step}", value_element, mean="row")
    f.line("return 0")
    return f.text()


def _strays(f: Function, node: Node, region: _Region) -> None:
    """Statements that let the best stray compete with the best address, whose position is `best`."""
    tie = tie_of(node.op)
    values, value_step, value_element = "values", node.values_at(f)[1], node.values_at(f)[2]
    code = DTYPE_CODES[node.op.value_type.dtype]
    aside = "shared_index_aside(frame, region, {})"
    hull = f"region + load_i64(region + {INDEX_SIZE})"
    f.line("order = -1")
    with f.block(f"if best < 0 or load_i64(work + {INDEX_FOUND_OPEN}) > 0"):
        # The query's finds stay where they are; the hull works behind them.
        f.line(f"other = work + shared_index_scratch_bytes(frame)\nhull, strays = {hull}, {aside.format(0)}")
        which = "last" if tie is Tie.LAST else "first"
        f.line(f"stray = shared_hull_{which}(frame, hull, strays, qx, qy, other)")
        f.line("order = 1 if best < 0 else shared_index_versus(frame, region, qx, qy, stray, work)")
    if tie is Tie.MEAN:
        with f.block("if order == 0"):
            f.line("return -1")
        with f.block("if order < 0"):
            f.line(
                f"shared_index_mean(frame, region, 0, {values}, {value_step}, {value_element}, {code}, row, work)"
            )
        with f.block("else"):
            f.line(
                f"shared_hull_mean(frame, hull, strays, {aside.format(2)}, {region.row}, {code}, qx, qy, row, other)"
            )
        return
    with f.block("if order >= 0"):
        f.line(f"position = load_i64({aside.format(1)} + 8 * stray)")
        pick = "min" if tie is Tie.FIRST else "max"
        f.line(f"best = position if order > 0 else {pick}(best, position)")


def _row_lines(node: Node, f: Function, ready: str, row: str) -> None:
    """One row `b, h, hk, i` with its keys `[0, hi)`: empty, answered where `ready`, or scanned."""
    skip_empty(node, f, "hi == 0")
    held = node.call("extend", "b", "hk", "hi", "region", "work")
    answer = node.call("answer", "b", "h", "hk", "i", "hi", "region", "own", "work")
    answer_or_scan(node, f, f"{ready} and {held} == 0", answer, row)


def _work_lines(node: Node, f: Function) -> None:
    """Where a row of doubles (`own`) and what queries work in (`work`) lie in scratch."""
    f.line(f"own = scratch + {node.dense.call('scratch')}\nwork = own + 8 * {node.sizes(f).dv}")


def _step_rows(node: Node) -> str:
    assert node.structure is not None, "a step's region lies in its cache"
    assert node.cache is not None
    f = node.function("rows", "first", "last", "scratch", doc="the cache's table of addresses")
    s = node.sizes(f)
    _work_lines(node, f)
    slot = slot_of(node.cache, node.structure)
    with f.block("for unit in range(first, last)"):
        step_row(node, f)
        f.line(f"region = {f.slot(slot)} + (b * {s.hk} + hk) * {f.slot(slot + '_stride')}")
        node.range_lines(f)
        _row_lines(node, f, "True", "unit")
    f.line(f"return {OK}")
    return f.text()


def _batch_rows(node: Node) -> str:
    f = node.function("rows", "first", "last", "scratch", doc="a table of addresses, one key head at a time")
    s, g = node.sizes(f), node.group(f)
    region = _Region(node.op, s.dv)
    _work_lines(node, f)
    keys, _, _ = node.keys_at(f)
    with f.block("for unit in range(first, last)"):
        key_head(node, f)
        f.line(f"region = (work + {_query_scratch(region)} + 63) & -64\nkeys = {keys}")
        f.line(region.start("region", f"max({s.nk}, 1)"))
        f.line("finite, whole = 0, True  # how many keys from the first on are known to be finite")
        with f.block(f"for i in range({s.nq})"):
            f.line(f"h = hk * {g}")
            node.range_lines(f)
            read_finite(node, f)
            with f.block(f"for h in {group_of(node, f)}"):
                _row_lines(node, f, "finite >= hi", batch_row(node, f))
    f.line(f"return {OK}")
    return f.text()
