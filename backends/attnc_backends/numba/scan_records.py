"""What the makers of the vector scan share: the record of a query row, and the vectors it is scored with."""

from __future__ import annotations

from attnc_backends.numba import vectors
from attnc_backends.numba.node import Node
from attnc_ir.types import DType

SCAN_TILE = 32
"""Query rows of one key head that look at a block of keys while it is in the cache."""

SCAN_RECORD = 72
"""Bytes of a row's state: lo, hi, best, score and its bound, first tied position, whether it is left to the
dense rows, one-norm of the query, its lowest bit.
"""
SCAN_LO, SCAN_HI, SCAN_BEST, SCAN_SCORE, SCAN_BOUND, SCAN_FROM, SCAN_LEFT, SCAN_NORM, SCAN_LOWEST = range(
    0, SCAN_RECORD, 8
)
SCAN_HELD = SCAN_FROM
"""A top-k holds records instead of a winner: how many."""


def scan_itemsize(node: Node) -> int:
    """Bytes of an element of a key."""
    assert node.key_dtype in (DType.F64, DType.F32)
    return node.key_dtype.itemsize


def scan_witness(node: Node, itemsize: int) -> tuple[str, str]:
    """Witnesses for scores in floats of `itemsize` bytes, and for a piece of a key in memory."""
    stored = scan_itemsize(node)
    lanes = vectors.native_bytes() // itemsize
    width = node.op.geometry.key_width
    part = lanes
    if isinstance(width, int) and width <= lanes:
        part = 1 << (max(width, 1) - 1).bit_length()
    return f"vec_f{8 * itemsize}({lanes})", f"vec_f{8 * stored}({part})"
