"""The k best keys of a row: a heap of records whose root is the worst of them, and the softmax over them.

Records are those of `runtime/held.py`. Which of two leaves first is decided by the node's exact comparison; the
dense rows and the vector scan differ only in what they try before.
"""

from __future__ import annotations

from attnc_backends.numba.access import load_double, store
from attnc_backends.numba.node import Node
from attnc_backends.numba.source import Function
from attnc_ir.attributes.normalizer import Cut, TopK


def emit_held(node: Node, order: str, *, with_write: bool = True) -> list[str]:
    """`leaves`, `take`, `sink`, unless another has it `write`, and where positions are asked for `rank`.

    `order` names the node's function `(b, h, i, j1, s1, e1, kind1, j2, s2, e2, kind2, acc)` that compares two
    scores: -1, 0, 1, or 2 where it cannot tell.
    """
    parts = [_leaves(node, order), _sink(node), _take(node)]
    if with_write:
        parts.append(_write(node))
    if node.op.argmax is not None:
        parts.append(_rank(node))
    return parts


def _rule(node: Node) -> TopK:
    assert isinstance(node.op.normalizer, TopK)
    return node.op.normalizer


def _leaves(node: Node, order: str) -> str:
    """`leaves(b, h, i, x, y, acc)`: 1 if record `x` leaves before record `y`, 0 if after it, 2 if unsettled."""
    f = node.function("leaves", "b", "h", "i", "x", "y", "acc", doc="whether record x is the worse of two")
    args = []
    for item in ("x", "y"):
        args += [
            f"load_i64({item})",
            f"load_f64({item} + 8)",
            f"abs(load_f64({item} + 16))",
            f"held_kind({item})",
        ]
    f.line(f"order = {node.call(order, 'b', 'h', 'i', *args, 'acc')}")
    sign = ">" if _rule(node).tie is Cut.FIRST else "<"
    if node.may_be_unsettled:
        with f.block("if order == 2"):
            f.line("return 2")
    f.line(f"return 1 if order < 0 or (order == 0 and load_i64(x) {sign} load_i64(y)) else 0")
    return f.text()


def _compare(node: Node, f: Function, x: str, y: str) -> None:
    """A statement that sets `leaves`; what the function returns when it is unsettled is -1."""
    f.line(f"leaves = {node.call('leaves', 'b', 'h', 'i', x, y, 'acc')}")
    if node.may_be_unsettled:
        with f.block("if leaves == 2"):
            f.line("return -1")


def _sink(node: Node) -> str:
    """`sink(b, h, i, held, size, acc)`: let the root of a heap of `size` records find its place; -1 if
    unsettled.
    """
    f = node.function("sink", "b", "h", "i", "held", "size", "acc", doc="the root of the heap to its place")
    f.line("node = 0")
    with f.block("while 2 * node + 1 < size"):
        f.line("child = 2 * node + 1")
        with f.block("if child + 1 < size"):
            _compare(node, f, "held + 24 * (child + 1)", "held + 24 * child")
            f.line("child += leaves")
        _compare(node, f, "held + 24 * child", "held + 24 * node")
        with f.block("if leaves == 0"):
            f.line("break")
        f.line("swap_records(held + 24 * node, held + 24 * child)\nnode = child")
    f.line("return 0")
    return f.text()


def _take(node: Node) -> str:
    """`take(b, h, i, held, size, most, acc)`: offer the record behind the last of `most` to the heap; how many
    are held then, -1 if unsettled.
    """
    f = node.function(
        "take", "b", "h", "i", "held", "size", "most", "acc", doc="the record at `most` joins, or not"
    )
    with f.block("if size == most"):
        _compare(node, f, "held", "held + 24 * most")
        with f.block("if leaves == 0"):
            f.line("return size")
        f.line("swap_records(held, held + 24 * most)")
        f.line(f"return size if {node.call('sink', 'b', 'h', 'i', 'held', 'size', 'acc')} == 0 else -1")
    f.line("swap_records(held + 24 * size, held + 24 * most)\nnode = size")
    with f.block("while node > 0"):
        f.line("parent = (node - 1) // 2")
        _compare(node, f, "held + 24 * node", "held + 24 * parent")
        with f.block("if leaves == 0"):
            f.line("break")
        f.line("swap_records(held + 24 * node, held + 24 * parent)\nnode = parent")
    f.line("return size + 1")
    return f.text()


def _rank(node: Node) -> str:
    """`rank(b, h, i, held, size, acc)`: records by descending score (heap sort: the worst goes to the end), and
    their positions to the node's result; -1 if unsettled.
    """
    f = node.function(
        "rank", "b", "h", "i", "held", "size", "acc", doc="positions in descending order of score"
    )
    with f.block("for end in range(size - 1, 0, -1)"):
        f.line("swap_records(held, held + 24 * end)")
        with f.block(f"if {node.call('sink', 'b', 'h', 'i', 'held', 'end', 'acc')} != 0"):
            f.line("return -1")
    node.write_positions(f, "load_i64(held + 24 * place)", "size")
    f.line("return 0")
    return f.text()


def _write(node: Node) -> str:
    """`write(b, h, hk, i, held, size, sums, acc)`: softmax over the held records, in order of position so that
    rounding does not depend on how they were found.
    """
    f = node.function(
        "write", "b", "h", "hk", "i", "held", "size", "sums", "acc", doc="the softmax of what is held"
    )
    s = node.sizes(f)
    dtype = node.op.value_type.dtype
    out, step = node.output_row(f)
    values, value_step, element = node.values_at(f)
    # By position, so that sums do not depend on how the heap came about.
    f.line(f"values = {values}\nsort_records(held, size)\ntop, total = -math.inf, 0.0")
    with f.block("for place in range(size)"):
        f.line(f"x = {node.call('float_score', 'b', 'h', 'i', 'load_i64(held + 24 * place)', 'acc')}")
        f.line("store_f64(held + 24 * place + 8, x)")
        with f.block("if x > top or x != x"):
            f.line("top = x")
    with f.block(f"for c in range({s.dv})"):
        f.line("store_f64(sums + 8 * c, 0.0)")
    with f.block("for place in range(size)"):
        f.line("weight = math.exp(load_f64(held + 24 * place + 8) - top)\ntotal += weight")
        f.line(f"row = values + load_i64(held + 24 * place) * {value_step}")
        with f.block(f"for c in range({s.dv})"):
            f.line(
                f"store_f64(sums + 8 * c, load_f64(sums + 8 * c) + weight * {load_double(dtype, f'row + c * {element}')})"
            )
    with f.block(f"for c in range({s.dv})"):
        f.line(store(dtype, f"{out} + c * {step}", "load_f64(sums + 8 * c) / total"))
    f.line("return 0")
    return f.text()
