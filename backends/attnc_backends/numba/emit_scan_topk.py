"""Top-k by the vector scan: a block of keys that cannot reach the worst of the k held ones is done after one look.

Which keys are held is decided as in the dense rows, by exact comparison; a score that is exact, or an equal key,
saves it. The softmax over what is held is that of the dense rows, so the two agree bit for bit.
"""

from __future__ import annotations

from attnc_backends.numba import vectors
from attnc_backends.numba.node import Node
from attnc_backends.numba.scan_records import (
    SCAN_HELD,
    SCAN_LEFT,
    SCAN_LOWEST,
    SCAN_NORM,
    scan_itemsize,
    scan_witness,
)
from attnc_backends.numba.source import Function
from attnc_ir.attributes.normalizer import TopK


def _most(node: Node, f: Function) -> str:
    """How many keys a row may hold."""
    assert isinstance(node.op.normalizer, TopK)
    return f"min({node.op.normalizer.k}, {node.sizes(f).nk})"


def held_bytes(node: Node, f: Function) -> str:
    """Bytes of a row's records, one more than it may hold, and of its sums."""
    return f"(24 * ({_most(node, f)} + 1) + 8 * {node.sizes(f).dv})"


def emit_order(node: Node) -> str:
    """`order(b, h, i, j1, s1, e1, kind1, j2, s2, e2, kind2, acc)`: the sign of the score of key `j1` less that
    of `j2`, both real numbers; `s` and `e` are what the vectors found and how far that may be off.
    """
    f = node.function(
        "order", "b", "h", "i", "j1", "s1", "e1", "kind1", "j2", "s2", "e2", "kind2", "acc",
        doc="sign of score j1 less score j2: by doubles, as equal keys, exactly",
    )  # fmt: skip
    s = node.sizes(f)
    f.line("gap = 1.5 * (e1 + e2)")
    with f.block("if s1 - s2 > gap"):
        f.line("return 1")
    with f.block("if s2 - s1 > gap"):
        f.line("return -1")
    with f.block("if gap == 0.0"):
        f.line("return 0")
    keys, step, _ = node.keys_at(f)
    f.line(f"hk = h // {node.group(f)}\nkeys = {keys}")
    with f.block(f"if key_scan_same(keys + j1 * {step}, keys + j2 * {step}, {s.d}, {scan_itemsize(node)})"):
        f.line("return 0")
    f.line(f"return {node.dense.call('compare', 'b', 'h', 'i', 'j1', 'j2', 'acc')}")
    return f.text()


def emit_topk_visit(node: Node) -> str:
    """`visit(b, h, i, record, keys, step, at, count, wide, narrow, scores, held, acc)`: what `count` keys from
    position `at` on do to what a row holds.
    """
    itemsize = scan_itemsize(node)
    f = node.function(
        "visit", "b", "h", "i", "record", "keys", "step", "at", "count", "wide", "narrow", "scores", "held", "acc",
        doc="one row and one block of keys",
    )  # fmt: skip
    s = node.sizes(f)
    like, part = scan_witness(node, itemsize)
    wide, wide_part = scan_witness(node, 8)
    f.line(f"key = keys + at * step\nmost = {_most(node, f)}\nsize = load_i64(record + {SCAN_HELD})")
    f.line(f"norm = load_f64(record + {SCAN_NORM})")
    with f.block(f"if count >= {vectors.native_bytes() // itemsize}"):
        f.line(f"top, largest, fault = key_scan_top(key, step, {s.d}, count, narrow, {like}, {part})")
        with f.block("if fault"):
            f.line(f"store_i64(record + {SCAN_LEFT}, 1)\nreturn 0")
        # Sums and differences round by less than the bounds have to spare.
        with f.block(
            f"if size == most and top + key_scan_bound({s.d}, norm, largest, {itemsize}) < load_f64(held + 8) - load_f64(held + 16)"
        ):
            f.line("return 0")
    f.line(
        f"top, largest, fault = key_scan_scores(scores, key, step, {s.d}, count, wide, {wide}, {wide_part})"
    )
    with f.block("if fault"):
        f.line(f"store_i64(record + {SCAN_LEFT}, 1)\nreturn 0")
    f.line(f"own = key_scan_bound({s.d}, norm, largest, 8)")
    f.line(f"unit = key_scan_unit(norm, load_i64(record + {SCAN_LOWEST}), largest)")
    with f.block(
        f"if norm == 0.0 or (unit > 0.0 and key_scan_multiples(key, step, {s.d}, count, unit, {wide}, {wide_part}))"
    ):
        f.line("own = 0.0")
    worst = "load_f64(held + 8) - 1.5 * (load_f64(held + 16) + own)"
    f.line(f"least = {worst} if size == most else -math.inf")
    f.line(f"place = key_scan_next(scores, 0, count, least, {wide})")
    with f.block("while place < count"):
        f.line("hold(held + 24 * most, at + place, load_f64(scores + 8 * place), own, 0)")
        f.line(f"size = {node.call('take', 'b', 'h', 'i', 'held', 'size', 'most', 'acc')}")
        with f.block("if size == most"):
            f.line(f"least = {worst}")
        f.line(f"place = key_scan_next(scores, place + 1, count, least, {wide})")
    f.line(f"store_i64(record + {SCAN_HELD}, size)\nreturn 0")
    return f.text()


def emit_topk_write(node: Node) -> str:
    """`write(b, h, hk, i, record, held, acc)`: the output row of what is held."""
    f = node.function(
        "write", "b", "h", "hk", "i", "record", "held", "acc", doc="the output row of what is held"
    )
    f.line(f"size = load_i64(record + {SCAN_HELD})")
    if node.op.argmax is not None:
        f.line(node.call("rank", "b", "h", "i", "held", "size", "acc"))
    f.line(f"sums = held + 24 * ({_most(node, f)} + 1)")
    f.line(f"return {node.dense.call('write', 'b', 'h', 'hk', 'i', 'held', 'size', 'sums', 'acc')}")
    return f.text()
