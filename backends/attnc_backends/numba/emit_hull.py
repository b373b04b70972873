"""Hull attention: hard-max over two-dimensional keys by the convex hull of the keys.

In batch, one hull per key head is built in scratch, in key order where the mask is causal, and answers the
whole group of query heads. In a step, `append` keeps the hull beside the cached keys. Keys and queries that
are not finite have no place on a hull; the rows they touch are answered by the dense scan, which every hull
node carries along.
"""

from __future__ import annotations

from dataclasses import replace

from attnc_backends.numba.access import DTYPE_CODES, copy_element, load_double, store
from attnc_backends.numba.emit_documents import documents_of
from attnc_backends.numba.emit_fallback import emit_fallback_rows
from attnc_backends.numba.emit_hull_ranges import NOTE as DOCUMENTS_NOTE
from attnc_backends.numba.emit_hull_ranges import emit_ranged_hull, has_moving_start
from attnc_backends.numba.emit_hull_window import (
    emit_windowed_hull,
    is_windowed,
    window_scratch,
    window_structure,
)
from attnc_backends.numba.emit_row import (
    answer_or_scan,
    batch_row,
    group_of,
    key_head,
    read_plane_query,
    scan_rows,
    skip_empty,
    step_row,
    write_copy,
    write_doubles,
)
from attnc_backends.numba.node import OK, Node, tie_of
from attnc_backends.numba.runtime.hull_header import HULL_COUNT
from attnc_backends.numba.runtime.hull_layout import HULL_MEANS, HULL_NO_LOWER, HULL_NO_UPPER
from attnc_backends.numba.structures import Structure, slot_of
from attnc_ir.attributes.mask import Causal, Everything
from attnc_ir.attributes.normalizer import Tie
from attnc_ir.attributes.strategy import Hull, Monotone
from attnc_ir.ops import AttendStep, AttentionOp

NOTE = "rows that meet a query or key that is not finite are answered by the dense scan"
STEP_NOTE = "a query that is not finite is answered by the dense scan"


def hull_notes(node: Node) -> tuple[str, ...]:
    """What the plan has to say about rows that the hull does not answer."""
    own = STEP_NOTE if node.cache is not None else NOTE
    return (own, DOCUMENTS_NOTE) if documents_of(node.op) is not None else (own,)


def emit_hull_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over key heads (over query rows in a step), `blocks()` and `scratch()`."""
    dense = emit_fallback_rows(node)
    if has_moving_start(node.op):
        return [*dense, *emit_ranged_hull(node)]
    if is_windowed(node.op):
        return [*dense, *emit_windowed_hull(node), node.head_blocks(), _scratch(node)]
    own = [_answer(node), _step_rows(node)] if node.cache is not None else [_answer(node), _batch_rows(node)]
    return [*dense, *own, node.head_blocks(), _scratch(node)]


def _is_delayed(op: AttendStep) -> bool:
    """Whether the mask of a step hides recent keys, or all but the first ones."""
    terms = op.mask.conjuncts
    return not all(
        isinstance(t, Everything)
        or (isinstance(t, Causal) and (not isinstance(t.alignment, int) or t.alignment >= 0))
        for t in terms
    )


def hull_structure(op: AttendStep) -> Structure:
    """What the cache of a step keeps for it: a hull, with sums where the step wants means. Where the mask hides
    recent keys it is a hull of its own that runs behind the rows, and reads them when it is asked.
    """
    if is_windowed(op):
        return window_structure(op)
    if _is_delayed(op):
        own = _hull_kept(op, _halves(op) | (HULL_MEANS if tie_of(op) is Tie.MEAN else 0))
        return replace(own, name=f"{own.name} under {op.mask!r}", append="", scratch="0")
    flags = _halves(op) | (HULL_MEANS if tie_of(op) is Tie.MEAN else 0)
    # Where another reader needs sums or the other half, its hull serves this one, too.
    larger = [_halves(op) | HULL_MEANS, flags & HULL_MEANS, HULL_MEANS]
    within = tuple(_hull_kept(op, other) for other in dict.fromkeys(larger) if other != flags)
    return replace(_hull_kept(op, flags), within=within)


def _axes(op: AttentionOp) -> tuple[int, int]:
    """The coordinates of a key that are x and y of the hull."""
    first = op.strategy.axis if isinstance(op.strategy, Monotone) else 0
    return first, 1 - first


def _halves(op: AttentionOp) -> int:
    """Which half the hull of a node does without (`HULL_NO_*`)."""
    half = op.strategy.half if isinstance(op.strategy, Hull | Monotone) else 0
    return {0: 0, 1: HULL_NO_LOWER, -1: HULL_NO_UPPER}[half]


def _flags(node: Node) -> int:
    """What the hull of a node keeps, as hull_init takes it."""
    return _halves(node.op) | (HULL_MEANS if tie_of(node.op) is Tie.MEAN else 0)


def _append(hull: str, keys: str, scratch: str) -> str:
    """Statements that let a hull know of its next key."""
    return (
        f"if not monotone_append({hull}, {keys}):\n    shared_hull_append(frame, {hull}, {keys}, {scratch})"
    )


def _hull_kept(op: AttendStep, flags: int) -> Structure:
    (width,) = op.value_type.shape
    assert isinstance(width, int), "rows of a cache have a known width"
    return Structure(
        name="hull with sums" if flags & HULL_MEANS else "hull",
        size=f"shared_hull_bytes(frame, capacity, {width}, {flags})",
        start=f"shared_hull_init(frame, at, capacity, {width}, {flags})",
        move="shared_hull_move(frame, source, at, capacity)",
        append=_append("at", "keys", "scratch"),
        scratch=f"shared_hull_scratch_bytes(frame, {width})",
        wide_keys=True,
    )


def _scratch(node: Node) -> str:
    f = node.function(
        "scratch",
        doc="bytes of scratch per worker: dense scan, hull, keys as doubles, value rows, a row of doubles",
    )
    s = node.sizes(f)
    if is_windowed(node.op):
        f.line(f"return {node.dense.call('scratch')} + {window_scratch(node, f)}")
        return f.text()
    f.line(f"size = {node.dense.call('scratch')} + shared_hull_scratch_bytes(frame, {s.dv}) + 8 * {s.dv}")
    if node.cache is None:
        itemsize = node.op.value_type.dtype.itemsize
        f.line(
            f"size += shared_hull_bytes(frame, max({s.nk}, 1), {s.dv}, {_flags(node)}) + 16 * {s.nk} + {itemsize} * {s.nk} * {s.dv}"
        )
    f.line("return size")
    return f.text()


def _answer(node: Node) -> str:
    """`answer(b, h, hk, i, hull, hull_keys, rows_at, row_step, scratch, dense, fits)`: one query row."""
    f = node.function(
        "answer", "b", "h", "hk", "i", "hull", "hull_keys", "rows_at", "row_step", "scratch",
        doc="one query row from the hull; -1 when the query is not finite", inline=node.cache is not None,
    )  # fmt: skip
    s = node.sizes(f)
    dtype = node.op.value_type.dtype
    out, out_step = node.output_row(f)
    read_plane_query(node, f, _axes(node.op))
    # Where keys come in order, most answers are a few steps away from the last.
    values, value_step, element = node.values_at(f)
    f.line(f"best = monotone_best(hull, hull_keys, qx, qy)\nvalues = {values}")
    if tie_of(node.op) is Tie.MEAN:
        with f.block("if best >= 0"):
            with f.block(f"for c in range({s.dv})"):
                # A mean of one is its value, but for the sign of zero.
                alone = load_double(dtype, f"values + best * {value_step} + c * {element}")
                f.line(store(dtype, f"{out} + c * {out_step}", f"{alone} + 0.0"))
            f.line("return 0")
        f.line(f"mean = scratch + shared_hull_scratch_bytes(frame, {s.dv})")
        f.line(
            f"shared_hull_mean(frame, hull, hull_keys, rows_at, row_step, {DTYPE_CODES[dtype]}, qx, qy, mean, scratch)"
        )
        write_doubles(node, f, (out, out_step), "mean")
    else:
        with f.block("if best < 0"):
            f.line(f"best = shared_hull_{tie_of(node.op).value}(frame, hull, hull_keys, qx, qy, scratch)")
        node.write_position(f, "best")
        write_copy(node, f, (out, out_step), f"values + best * {value_step}", element)
    f.line("return 0")
    return f.text()


def _step_rows(node: Node) -> str:
    assert node.cache is not None
    assert node.structure is not None, "a step's hull lies in its cache"
    f = node.function(
        "rows", "first", "last", "scratch", doc=f"hull, tie {tie_of(node.op).value}, one query per head"
    )
    s = node.sizes(f)
    f.line(f"own = scratch + {node.dense.call('scratch')}")
    with f.block("for unit in range(first, last)"):
        step_row(node, f)
        node.range_lines(f)
        skip_empty(node, f, "hi == 0")
        slot = slot_of(node.cache, node.structure)
        hull, stride = f.slot(slot), f.slot(f"{slot}_stride")
        keys, _, _ = node.keys_at(f)
        values, value_step, _ = node.values_at(f)
        f.line(f"hull = {hull} + (b * {s.hk} + hk) * {stride}")
        assert isinstance(node.op, AttendStep)
        if _is_delayed(node.op):
            # The hull runs behind the cache: keys come in when the mask lets the first query see them.
            f.line(f"n_hull = load_i64(hull + {HULL_COUNT})")
            with f.block("while n_hull < hi"):
                f.line(_append("hull", keys, "own") + "\nn_hull += 1")
        with f.block(
            f"if {node.call('answer', 'b', 'h', 'hk', 'i', 'hull', keys, values, value_step, 'own')} != 0"
        ):
            scan_rows(node, f, "unit", "unit + 1")
    f.line(f"return {OK}")
    return f.text()


def _batch_rows(node: Node) -> str:
    tie = tie_of(node.op)
    f = node.function(
        "rows", "first", "last", "scratch", doc=f"hull, tie {tie.value}, one key head at a time"
    )
    s, g = node.sizes(f), node.group(f)
    itemsize = node.op.value_type.dtype.itemsize
    f.line(
        f"own = scratch + {node.dense.call('scratch')}\nhull = own + shared_hull_scratch_bytes(frame, {s.dv}) + 8 * {s.dv}"
    )
    f.line(
        f"hull_keys = hull + shared_hull_bytes(frame, max({s.nk}, 1), {s.dv}, {_flags(node)})\npacked = hull_keys + 16 * {s.nk}"
    )
    with f.block("for unit in range(first, last)"):
        key_head(node, f)
        keys, key_step, key_element = node.keys_at(f)
        values, value_step, value_element = node.values_at(f)
        f.line(f"keys, rows_at, row_step, finite = {keys}, {values}, {value_step}, True")
        with f.block(f"for j in range({s.nk})"):
            for place, (axis, name) in enumerate(zip(_axes(node.op), "xy", strict=True)):
                f.line(
                    f"{name} = {load_double(node.key_dtype, f'keys + j * {key_step} + {axis} * {key_element}')}"
                )
                f.line(f"store_f64(hull_keys + 16 * j + {8 * place}, {name})")
            f.line("finite = finite and math.isfinite(x) and math.isfinite(y)")
        if tie is Tie.MEAN:
            # Aggregates read whole value rows; rows whose elements do not lie side by side are copied first.
            with f.block(f"if {value_element} != {itemsize}"):
                with f.block(f"for j in range({s.nk})"), f.block(f"for c in range({s.dv})"):
                    f.line(
                        copy_element(
                            itemsize,
                            f"packed + {itemsize} * (j * {s.dv} + c)",
                            f"rows_at + j * {value_step} + c * {value_element}",
                        )
                    )
                f.line(f"rows_at, row_step = packed, {itemsize} * {s.dv}")
        f.line(f"shared_hull_init(frame, hull, max({s.nk}, 1), {s.dv}, {_flags(node)})\nkept = 0")
        with f.block(f"for i in range({s.nq})"):
            f.line(f"h = hk * {g}")
            node.range_lines(f)
            with f.block("if finite"), f.block("while kept < hi"):
                f.line(_append("hull", "hull_keys", "own") + "\nkept += 1")
            with f.block(f"for h in {group_of(node, f)}"):
                skip_empty(node, f, "hi == 0")
                answer = node.call(
                    "answer", "b", "h", "hk", "i", "hull", "hull_keys", "rows_at", "row_step", "own"
                )
                answer_or_scan(node, f, "finite", answer, batch_row(node, f))
    f.line(f"return {OK}")
    return f.text()
