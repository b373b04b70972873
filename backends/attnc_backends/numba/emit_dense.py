"""`dense`: which code computes a node: exact scans, vectors along query rows, vectors along keys, or simple
tiles.

Where the number of query rows is open, both sorts of vectors are emitted, and a call's sizes decide.
"""

from __future__ import annotations

from collections.abc import Callable

from attnc_backends.numba import vectors
from attnc_backends.numba.emit_decode import (
    decode_blocks,
    decode_merge_rows,
    decode_parts_bytes,
    decode_piece,
    decode_rows,
    decode_scratch,
)
from attnc_backends.numba.emit_exact import emit_exact_rows
from attnc_backends.numba.emit_flash import flash_blocks, flash_rows, flash_scratch, query_rows
from attnc_backends.numba.emit_softmax import emit_softmax_rows, position_functions
from attnc_backends.numba.node import OK, Node
from attnc_backends.numba.score_range import score_type
from attnc_backends.numba.source import Function
from attnc_ir.attributes.normalizer import Softmax

_MODIFIER_NOTE = "the modifier is asked for each score, one by one: vectors compute only the products"


def why_not_vectors(node: Node) -> tuple[str, ...]:
    """Reasons why a dense node is left to the simple tiles."""
    op = node.op
    reasons = []
    if not isinstance(op.normalizer, Softmax):
        reasons.append(f"the normaliser is {op.normalizer.keyword}")
    if score_type(node) is not op.accumulator:
        reasons.append("scale, softcap, modifier or bias reach beyond what an f32 holds")
    if op.scale == 0.0:
        reasons.append("the scale is 0")
    return tuple(reasons)


def few_rows(node: Node) -> int:
    """Up to how many query rows for one key head vectors along keys are the faster ones.

    Vectors along query rows take as long for one row as for a vector full. The others overtake them below three
    quarters of one: at 12 rows with 16 lanes, at 6 to 8 with 8, measured for widths of 64 and 128.
    """
    return max(1, 3 * (vectors.native_bytes() // node.op.accumulator.itemsize) // 4)


def is_few(node: Node) -> bool | None:
    """Whether a node has so few query rows; None where calls differ."""
    if node.cache is not None:
        return True
    g = node.op.geometry
    if g.query_heads == g.key_heads:
        group: int | None = 1
    elif isinstance(g.query_heads, int) and isinstance(g.key_heads, int):
        group = max(g.query_heads // max(g.key_heads, 1), 1)
    else:
        group = None
    least = group or 1
    if isinstance(g.queries, int):
        if group is not None:
            return g.queries * group <= few_rows(node)
        least *= g.queries
    return False if least > few_rows(node) else None


def dense_notes(node: Node) -> tuple[str, ...]:
    """What a plan says of a dense node: nothing where vectors lie along query rows and compute all of it."""
    if node.op.normalizer.is_exact:
        return ()
    if reasons := why_not_vectors(node):
        return (f"simple tiles compute it, not vectors: {'; '.join(reasons)}",)
    notes = {
        True: ("vectors lie along keys, for there are few query rows",),
        None: ("vectors lie along query rows, or along keys in a call of few rows",),
        False: (),
    }[is_few(node)]
    return notes if node.op.modifier is None else (*notes, _MODIFIER_NOTE)


def shares_parts(node: Node) -> bool:
    """Whether workers leave parts that have to be merged when all are done."""
    is_vectors = not node.op.normalizer.is_exact and not why_not_vectors(node)
    return is_vectors and node.cache is None and is_few(node) is not False


def emit_dense_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)`, `blocks()` and `scratch()`; where parts are shared, `merge(parts,
    scratch)` and `parts_bytes()`, 0 in a call that has nothing to merge.
    """
    if node.op.normalizer.is_exact:
        return emit_exact_rows(node)
    if why_not_vectors(node):
        return emit_softmax_rows(node)
    parts = position_functions(node)
    if is_few(node) is not False:
        parts.append(decode_piece(node))
        parts.append(_by_size(node, "merge", "parts", "scratch", few=decode_merge_rows))
    if shares_parts(node):
        parts.append(_by_size(node, "parts_bytes", few=decode_parts_bytes))
    return [
        *parts,
        _by_size(node, "rows", "first", "last", "scratch", few=decode_rows, many=flash_rows),
        _by_size(node, "blocks", few=decode_blocks, many=flash_blocks),
        _by_size(node, "scratch", few=decode_scratch, many=flash_scratch),
    ]


Lines = Callable[[Node, Function], None]


def _by_size(node: Node, part: str, *params: str, few: Lines, many: Lines | None = None) -> str:
    """A function with the statements for few query rows or for many; for both, where calls differ."""
    f = node.function(part, *params, doc=_DOCS[part])
    if (is_always := is_few(node)) is None:
        with f.block(f"if {query_rows(node, f)} <= {few_rows(node)}"):
            few(node, f)
    elif is_always:
        few(node, f)
    if not is_always:
        many(node, f) if many is not None else f.line(f"return {OK}")
    return f.text()


_DOCS = {
    "rows": "softmax, in vectors",
    "blocks": "units of work: blocks of query rows, or pieces of keys, of one key head each",
    "scratch": "bytes of scratch per worker",
    "parts_bytes": "bytes of memory that workers share",
    "merge": "make each row of its parts, one for each piece of keys",
}
