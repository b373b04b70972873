"""Ranges of keys from a `documents` mask, where each document lies in one piece.

A row sees the keys of its own document. If every id has one run of neighbouring keys, that is a range like that of
a window, and narrows what the row sees by position. A table of the runs says so; ids that do not lie side by side
have none, and the positions of such rows are asked for one by one, or scanned.
"""

from __future__ import annotations

from attnc_backends.numba.node import Node
from attnc_backends.numba.source import Function
from attnc_ir.attributes import mask as masks
from attnc_ir.ops import AttentionOp
from attnc_ir.values import Value


def documents_of(op: AttentionOp) -> masks.Documents | None:
    """The node's documents, if they are a term of its mask."""
    return next((t for t in op.mask.conjuncts if isinstance(t, masks.Documents)), None)


def table_bytes(node: Node, f: Function) -> str:
    """Bytes of a table of all keys of a sequence."""
    return f"24 * {node.sizes(f).nk}"


def find_runs(node: Node, f: Function, documents: masks.Documents, table: str) -> None:
    """Statements that write the table of batch `b`; `runs` is how many there are, or -1."""
    ids = _ids(node, f, documents.key_ids or documents.ids)
    f.line(f"runs = document_runs({ids}, {node.sizes(f).nk}, {table})")


def narrow(node: Node, f: Function, documents: masks.Documents, table: str) -> None:
    """Statements that narrow `lo` and `hi` of row `b, h, i` to its document, which a table of `runs` tells."""
    f.line(f"run = document_find({table}, runs, document_id({_ids(node, f, documents.ids)}, i))")
    with f.block("if run == 0"):
        f.line("hi = lo")
    with f.block("else"):
        f.line("lo, hi = max(lo, load_i64(run + 8)), min(hi, load_i64(run + 16))")


def _ids(node: Node, f: Function, ids: Value) -> str:
    """Arguments that say where the ids of batch `b` lie: address, step, bytes."""
    at = node.context.element(f, ids, ["b", "0"])
    step = node.context.stride(f, ids, ids.tensor.rank - 1)
    return f"{at}, {step}, {ids.tensor.dtype.itemsize}"
