"""`dense`: which code computes a node: exact scans, vectors along query rows, vectors along keys, or simple
tiles.

Vectors lie along keys where a graph says that query rows are few. Where it leaves their number open they lie along
query rows: code for both takes more than twice as long to compile, in every program.
"""

from __future__ import annotations

from collections.abc import Callable

from attnc_backends.numba.emit_decode import (
    decode_blocks,
    decode_merge_rows,
    decode_parts_bytes,
    decode_piece,
    decode_rows,
    decode_scratch,
)
from attnc_backends.numba.emit_exact import emit_exact_rows
from attnc_backends.numba.emit_flash import flash_blocks, flash_rows, flash_scratch
from attnc_backends.numba.emit_softmax import emit_softmax_rows, lanes_of, position_functions
from attnc_backends.numba.node import Node
from attnc_backends.numba.score_range import score_type
from attnc_backends.numba.source import Function
from attnc_ir.attributes.normalizer import Softmax

_OPEN_GROUP = 4
"""Query heads that are taken to share a key head where a graph leaves their number open."""
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
    return max(1, 3 * lanes_of(node) // 4)


def is_few(node: Node) -> bool:
    """Whether a node is known to have so few query rows."""
    if node.cache is not None:
        return True
    g = node.op.geometry
    if not isinstance(g.queries, int):
        return False
    group = _OPEN_GROUP
    if g.query_heads == g.key_heads:
        group = 1
    elif isinstance(g.query_heads, int) and isinstance(g.key_heads, int):
        group = max(g.query_heads // max(g.key_heads, 1), 1)
    return g.queries * group <= few_rows(node)


def dense_notes(node: Node) -> tuple[str, ...]:
    """What a plan says of a dense node: nothing where vectors lie along query rows and compute all of it."""
    if node.op.normalizer.is_exact:
        return ()
    if reasons := why_not_vectors(node):
        return (f"simple tiles compute it, not vectors: {'; '.join(reasons)}",)
    notes = ["vectors lie along keys, for there are few query rows"] if is_few(node) else []
    if node.op.modifier is not None:
        notes.append(_MODIFIER_NOTE)
    return tuple(notes)


def shares_parts(node: Node) -> bool:
    """Whether workers leave parts that have to be merged when all are done."""
    is_vectors = not node.op.normalizer.is_exact and not why_not_vectors(node)
    return is_vectors and node.cache is None and is_few(node)


def emit_dense_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)`, `blocks()` and `scratch()`; where parts are shared, `merge(parts,
    scratch)` and `parts_bytes()`.
    """
    if node.op.normalizer.is_exact:
        return emit_exact_rows(node)
    if why_not_vectors(node):
        return emit_softmax_rows(node)
    parts = position_functions(node)
    if not is_few(node):
        own: dict[str, Lines] = {"rows": flash_rows, "blocks": flash_blocks, "scratch": flash_scratch}
    else:
        parts.append(decode_piece(node))
        own = {
            "merge": decode_merge_rows,
            "rows": decode_rows,
            "blocks": decode_blocks,
            "scratch": decode_scratch,
        }
        if shares_parts(node):
            own["parts_bytes"] = decode_parts_bytes
    for part, lines in own.items():
        doc, params = _PARTS[part]
        f = node.function(part, *params, doc=doc)
        lines(node, f)
        parts.append(f.text())
    return parts


Lines = Callable[[Node, Function], None]

_PARTS = {
    "rows": ("softmax, in vectors", ("first", "last", "scratch")),
    "blocks": ("units of work: blocks of query rows, or pieces of keys, of one key head each", ()),
    "scratch": ("bytes of scratch per worker", ()),
    "parts_bytes": ("bytes of memory that workers share", ()),
    "merge": ("make each row of its parts, one for each piece of keys", ("parts", "scratch")),
}
