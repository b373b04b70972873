"""Hulls under a window in steps: every key enters one small hull on each level, and a window is a few of them.

A hull cannot let keys go, but a block of keys can be forgotten whole. Level `l` cuts the positions into blocks
of `64 << l` and keeps a hull of each block that the window may still touch; the last one is growing. A range
`[lo, hi)` up to the newest key is then some single keys, up to the first multiple of 64, and the largest aligned
blocks from there on: as many searches as there are levels, and a few more. No step ever rebuilds anything.

The region of a key head: how many keys were told, the first of them, how many levels; of each level where its
ring of hulls lies, how far they are apart, and how many; then the rings.
"""

from __future__ import annotations

from attnc_backends.numba.access import DTYPE_CODES
from attnc_backends.numba.emit_row import read_plane_query, scan_rows, skip_empty, step_row, write_found
from attnc_backends.numba.node import OK, Node, tie_of
from attnc_backends.numba.source import Function
from attnc_backends.numba.structures import Structure, slot_of
from attnc_ir.attributes import mask as masks
from attnc_ir.attributes.normalizer import Tie
from attnc_ir.ops import AttendStep, AttentionOp

SHIFT = 6
"""Blocks of the lowest level have `1 << SHIFT` keys."""

_LEVEL = 24
"""Bytes of the header before those of the levels, and of each level: three numbers."""


def is_windowed(op: AttentionOp) -> bool:
    """Whether a step's mask has a window."""
    return isinstance(op, AttendStep) and masks.window_span(op.mask) is not None


def _levels(span: int) -> int:
    """How many levels a window needs: the largest block is no larger than it, the smallest is always there."""
    return max(1, span.bit_length() - SHIFT)


def window_structure(op: AttendStep) -> Structure:
    """What the cache keeps: rings of hulls. They read rows when they are asked; in a larger place they start
    anew, from the rows of the window.
    """
    (width,) = op.value_type.shape
    span = masks.window_span(op.mask)
    assert span is not None
    levels, mean = _levels(span), int(tie_of(op) is Tie.MEAN)
    header = -(-_LEVEL * (levels + 1) // 64) * 64

    def ring(level: int) -> str:
        return f"(min({span}, capacity) // {1 << SHIFT + level} + 2)"

    def hull(level: int) -> str:
        return f"shared_hull_bytes(frame, {1 << SHIFT + level}, {width}, {mean})"

    size = [f"{header} + {ring(0)} * {hull(0)}"]
    start = [f"store_i64(at, 0)\nstore_i64(at + 8, 0)\nstore_i64(at + 16, 1)\nw_place = {header}"]
    for level in range(levels):
        note = (
            f"store_i64(at + {_LEVEL * (level + 1)}, w_place)\n"
            f"store_i64(at + {_LEVEL * (level + 1) + 8}, {hull(level)})\n"
            f"store_i64(at + {_LEVEL * (level + 1) + 16}, {ring(level)})\n"
            f"w_place += {ring(level)} * {hull(level)}"
        )
        if level == 0:
            start.append(note)
            continue
        # A cache without room for a block of this size has no use for the level.
        wanted = f"capacity >= {1 << SHIFT + level}"
        size.append(f"({ring(level)} * {hull(level)} if {wanted} else 0)")
        lines = [f"    {line}" for line in note.split("\n")]
        start.append("\n".join([f"if {wanted}:", *lines, f"    store_i64(at + 16, {level + 1})"]))
    text = "\n".join(start)
    return Structure(
        name=f"hulls of blocks{' with sums' if mean else ''} under {op.mask!r}",
        size=" + ".join(size),
        start=text,
        move=text,
        wide_keys=True,
    )


def emit_windowed_hull(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over query heads and its helpers."""
    return [_hull_of(node), _advance(node), _answer(node), _rows(node)]


def window_scratch(node: Node, f: Function) -> str:
    """Bytes of scratch beside the dense rows: the hull's own, a row of doubles, two rows of sums."""
    s = node.sizes(f)
    return f"shared_hull_scratch_bytes(frame, {s.dv}) + 40 * {s.dv}"


def _hull_of(node: Node) -> str:
    f = node.function("hull_of", "region", "level", "key", doc="the hull of the block of a key")
    f.line(f"at = region + {_LEVEL} * (level + 1)")
    f.line(f"number = (key >> ({SHIFT} + level)) % load_i64(at + 16)")
    f.line("return region + load_i64(at) + number * load_i64(at + 8)")
    return f.text()


def _advance(node: Node) -> str:
    """`advance(region, keys, values, step, lo, hi, own)`: tell every level of the keys up to `hi`."""
    f = node.function(
        "advance", "region", "keys", "values", "step", "lo", "hi", "own", doc="tell the hulls of new keys"
    )
    s = node.sizes(f)
    mean = int(tie_of(node.op) is Tie.MEAN)
    f.line(f"told, levels = load_i64(region), load_i64(region + 16)\ntop = {1 << SHIFT} << (levels - 1)")
    # Blocks must be whole from their first key on, so a fresh start begins where blocks of all sizes do.
    with f.block("if told > hi or told < lo or load_i64(region + 8) > lo"):
        f.line("told = lo - lo % top\nstore_i64(region + 8, told)")
    with f.block("for key in range(told, hi)"), f.block("for level in range(levels)"):
        f.line(f"span = {1 << SHIFT} << level\nfirst = key - key % span")
        f.line(f"hull = {node.call('hull_of', 'region', 'level', 'key')}")
        with f.block("if key == first"):
            f.line(f"shared_hull_init(frame, hull, span, {s.dv}, {mean})")
        f.line("shared_hull_append(frame, hull, keys + 16 * first, own)")
    f.line("store_i64(region, hi)\nreturn 0")
    return f.text()


def _answer(node: Node) -> str:
    """`answer(b, h, region, keys, values, step, lo, hi, own)`: one row; -1 where the dense scan has to answer."""
    f = node.function(
        "answer", "b", "h", "region", "keys", "values", "step", "lo", "hi", "own",
        doc="the best of the window's blocks; -1 when the dense scan has to answer",
    )  # fmt: skip
    s = node.sizes(f)
    tie, dtype = tie_of(node.op), node.op.value_type.dtype
    code = DTYPE_CODES[dtype]
    read_plane_query(node, f)
    mean = tie is Tie.MEAN
    if mean:
        f.line(f"mean = own + shared_hull_scratch_bytes(frame, {s.dv})\nsums = mean + 8 * {s.dv}")
        f.line(f"piece = sums + 16 * {s.dv}\ntotal = 0")
    f.line("levels, best, key = load_i64(region + 16), -1, lo")
    with f.block("while key < hi"):
        f.line(f"level, place, end, count = 0, key, key + 1, 1\nwhole = key % {1 << SHIFT} == 0")
        with (
            f.block("if whole"),
            f.block(f"while level + 1 < levels and key % ({2 << SHIFT} << level) == 0"),
        ):
            f.line("level += 1")
        f.line(f"hull = {node.call('hull_of', 'region', 'level', 'key')}")
        which = "last" if tie is Tie.LAST else "first"
        with f.block("if whole"):
            f.line(f"place = key + shared_hull_{which}(frame, hull, keys + 16 * key, qx, qy, own)")
            if mean:
                f.line(
                    f"count = shared_hull_mean(frame, hull, keys + 16 * key, values + key * step, step, {code}, qx, qy, mean, own)"
                )
            f.line(f"end = min(key + ({1 << SHIFT} << level), hi)")
        if mean:
            # Before the comparison, which works in the same scratch.
            f.line("origin = key if whole else 0")
            f.line(
                f"shared_hull_tied_sums(frame, hull, count, place - origin, values + origin * step, step, {code}, piece, own)"
            )
        f.line("order = 1")
        with f.block("if best >= 0"):
            f.line("x, y = load_f64(keys + 16 * place), load_f64(keys + 16 * place + 8)")
            f.line("u, w = load_f64(keys + 16 * best), load_f64(keys + 16 * best + 8)")
            f.line("order = compare_dot2(qx, qy, x, y, u, w, own)")
        with f.block(f"if order {'>=' if tie is Tie.LAST else '>'} 0"):
            f.line("best = place")
            if mean:
                f.line("sums, piece, total = piece, sums, count")
        if mean:
            with f.block("elif order == 0"):
                f.line(f"shared_hull_sums_add(frame, {s.dv}, sums, piece)\ntotal += count")
        f.line("key = end")
    if mean:
        with f.block(f"if shared_hull_sums_mean(frame, {s.dv}, sums, total, mean) != 0"):
            f.line("return -1")
    out, out_step = node.output_row(f)
    f.line(f"out = {out}")
    node.write_position(f, "best")
    write_found(node, f, ("out", out_step), "values + best * step", str(dtype.itemsize), mean="mean")
    f.line("return 0")
    return f.text()


def _rows(node: Node) -> str:
    assert node.cache is not None
    assert node.structure is not None, "a step's hulls lie in its cache"
    f = node.function("rows", "first", "last", "scratch", doc="hulls of a window, one query per head")
    s = node.sizes(f)
    f.line(f"own = scratch + {node.dense.call('scratch')}")
    slot = slot_of(node.cache, node.structure)
    with f.block("for unit in range(first, last)"):
        step_row(node, f)
        node.range_lines(f)
        skip_empty(node, f, "lo >= hi")
        keys, _, _ = node.keys_at(f)
        values, value_step, _ = node.values_at(f)
        f.line(f"region = {f.slot(slot)} + (b * {s.hk} + hk) * {f.slot(slot + '_stride')}")
        f.line(f"keys, values = {keys}, {values}")
        f.line(node.call("advance", "region", "keys", "values", value_step, "lo", "hi", "own"))
        answer = node.call("answer", "b", "h", "region", "keys", "values", value_step, "lo", "hi", "own")
        with f.block(f"if {answer} != 0"):
            scan_rows(node, f, "unit", "unit + 1")
    f.line(f"return {OK}")
    return f.text()
