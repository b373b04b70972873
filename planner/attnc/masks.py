"""Masks in canonical form: alignments written out, and bands of diagonals."""

from __future__ import annotations

from dataclasses import dataclass

from attnc.expressions import Box
from attnc_ir.attributes.alignment import aligned
from attnc_ir.attributes.mask import Alignment, Causal, Corner, Everything, Mask, Nothing, Window
from attnc_ir.ops import AttentionOp, Geometry
from attnc_ir.types import MAX_DIM

LIMIT = MAX_DIM
"""No coordinate reaches this, and no parameter of a mask exceeds it."""


def box_of(node: AttentionOp) -> Box:
    """Where the coordinates of a node's scores lie. In a step the query stands at the last key, so `i` is
    not 0.
    """
    g = node.geometry
    if node.is_causal_cache:
        # `i` is the number of keys less one: open, like the number of keys.
        return Box(g.batch, g.query_heads, None, None)
    return Box(g.batch, g.query_heads, g.queries, g.keys)


def explicit(node: AttentionOp) -> Mask:
    """The node's mask with every alignment in its one canonical form.

    `top_left` where the offset is 0, the offset itself where it is another known number, `bottom_right`
    where it depends on the lengths. In a step, where the query stands at the last key, both corners are
    offset 0.
    """
    return _canonical(aligned(node.mask), node.geometry, node.is_causal_cache)


def _canonical(mask: Mask, geometry: Geometry, step: bool) -> Mask:
    match mask:
        case Causal(alignment):
            return Causal(canonical_alignment(alignment, geometry, step))
        case Window(left, right, alignment):
            return Window(left, right, canonical_alignment(alignment, geometry, step))
        case _:
            return mask.map_terms(lambda term: _canonical(term, geometry, step))


def canonical_alignment(alignment: Alignment | None, geometry: Geometry, step: bool) -> Alignment:
    """The one way to write an alignment for a node of this geometry."""
    if alignment in (None, Corner.TOP_LEFT, 0) or (step and alignment is Corner.BOTTOM_RIGHT):
        return Corner.TOP_LEFT
    if isinstance(alignment, int):
        return alignment
    if geometry.same_length:
        return Corner.TOP_LEFT
    if isinstance(geometry.keys, int) and isinstance(geometry.queries, int):
        return geometry.keys - geometry.queries
    return Corner.BOTTOM_RIGHT


@dataclass(frozen=True)
class Band:
    """The positions with `low <= j - i - anchor <= high`; None is no bound.

    The anchor is 0, or `n_kv - n_q` where that is not known (`bottom_right`); only bands of one anchor can
    be combined.
    """

    bottom_right: bool
    low: int | None
    high: int | None

    @classmethod
    def of(cls, mask: Mask) -> Band | None:
        """The band that a causal mask or window with a canonical alignment allows."""
        if not isinstance(mask, Causal | Window):
            return None
        at = mask.alignment
        assert at is not None, "alignments are written out"
        offset = at if isinstance(at, int) else 0
        bottom = at is Corner.BOTTOM_RIGHT
        if isinstance(mask, Causal):
            return cls(bottom, None, offset)
        return cls(bottom, offset - mask.left, offset + mask.right)

    def __and__(self, other: Band) -> Band:
        lows = [b for b in (self.low, other.low) if b is not None]
        highs = [b for b in (self.high, other.high) if b is not None]
        return Band(self.bottom_right, max(lows, default=None), min(highs, default=None))

    def __or__(self, other: Band) -> Band | None:
        """The union, where it is a band again: the two overlap or touch."""
        for a, b in ((self, other), (other, self)):
            if a.high is not None and b.low is not None and a.high + 1 < b.low:
                return None
        low = None if None in (self.low, other.low) else min(self.low, other.low)  # type: ignore[type-var]  # not None
        high = None if None in (self.high, other.high) else max(self.high, other.high)  # type: ignore[type-var]  # not None
        return Band(self.bottom_right, low, high)

    def mask(self, limits: tuple[int, int]) -> Mask | None:
        """The simplest mask for this band, given the smallest and largest `j - i - anchor` there is; None
        if no mask says it.
        """
        least, most = limits
        low = None if self.low is not None and self.low <= least else self.low
        high = None if self.high is not None and self.high >= most else self.high
        if (low is not None and (low > most or (high is not None and low > high))) or (
            high is not None and high < least
        ):
            return Nothing()
        if low is None and high is None:
            return Everything()
        if low is None:
            assert high is not None
            return self._causal(high)
        # A window needs a right edge: the last diagonal there is, or one that no length reaches.
        right = high if high is not None else max(most, low)
        if low <= 0 <= right:
            return self._window(-low, right, 0)
        return self._window(right - low, 0, right)

    def _causal(self, offset: int) -> Mask | None:
        if self.bottom_right:
            # An offset from the bottom right corner has no name of its own; as a window it has.
            if offset == 0:
                return Causal(Corner.BOTTOM_RIGHT)
            return self._window(LIMIT, offset, 0) if offset > 0 else None
        if not -LIMIT <= offset <= LIMIT:
            return None
        return Causal(Corner.TOP_LEFT if offset == 0 else offset)

    def _window(self, left: int, right: int, offset: int) -> Mask | None:
        if not (0 <= left <= LIMIT and 0 <= right <= LIMIT and -LIMIT <= offset <= LIMIT):
            return None
        if self.bottom_right:
            return Window(left, right, Corner.BOTTOM_RIGHT) if offset == 0 else None
        return Window(left, right, Corner.TOP_LEFT if offset == 0 else offset)


def diagonals(node: AttentionOp, *, bottom_right: bool) -> tuple[int, int]:
    """The smallest and largest `j - i` (or `j - i - (n_kv - n_q)`) that a node can have."""
    if node.is_causal_cache:
        return -(LIMIT - 1), 0
    g = node.geometry
    queries = max(0, g.queries - 1) if isinstance(g.queries, int) else LIMIT - 1
    keys = max(0, g.keys - 1) if isinstance(g.keys, int) else LIMIT - 1
    # With j' = n_kv - 1 - j and i' = n_q - 1 - i, the second form is i' - j'.
    return (-keys, queries) if bottom_right else (-queries, keys)
