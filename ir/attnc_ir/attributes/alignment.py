"""Alignments: where the diagonal of a causal mask or window runs when query and key lengths differ."""

from __future__ import annotations

from collections.abc import Iterator

from attnc_ir.attributes.mask import Alignment, And, Causal, Corner, Mask, Window

ALIGNMENT_HELP = (
    "where lengths can differ, say top_left, bottom_right or an offset, as in causal(bottom_right)"
)


def aligned(mask: Mask, inherited: Alignment | None = None) -> Mask:
    """The mask with every alignment written out.

    A window takes the alignment of the causal masks it is and-ed with; whatever is left open is `top_left`,
    which verification allows only where it makes no difference.
    """
    match mask:
        case Causal(None):
            return Causal(inherited if inherited is not None else Corner.TOP_LEFT)
        case Window(left, right, None):
            return Window(left, right, inherited if inherited is not None else Corner.TOP_LEFT)
        case And(terms):
            shared = shared_alignment(terms)
            return And(tuple(aligned(t, shared if shared is not None else inherited) for t in terms))
        case _:
            return mask.map_terms(aligned)


def shared_alignment(terms: tuple[Mask, ...]) -> Alignment | None:
    """The one alignment that the causal terms of an `and` state, or None when they state none or several."""
    stated = {t.alignment for t in terms if isinstance(t, Causal) and t.alignment is not None}
    return stated.pop() if len(stated) == 1 else None


def alignment_faults(mask: Mask, same_length: bool, inherited: bool = False) -> Iterator[str]:
    """One sentence for each mask term that leaves its alignment open where it matters."""
    if isinstance(mask, Causal | Window):
        takes_over = inherited and isinstance(mask, Window)
        if mask.alignment is None and not same_length and not takes_over:
            yield f"{mask.keyword} without an alignment, where query and key lengths can differ"
        return
    shared = isinstance(mask, And) and shared_alignment(mask.terms) is not None
    for term in mask.terms_of():
        yield from alignment_faults(term, same_length, shared)
