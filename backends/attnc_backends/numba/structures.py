"""Structures: what a cache keeps for every key head beside its rows, because a node that reads it asks.

A structure is a region of bytes that refers to itself by offsets only. What it knows must follow from the
cache's rows: after `truncate`, `fork`, `restore` or a step that failed, it is started anew and told of the
rows again, so no structure is ever saved.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Structure:
    """Source texts over the names given with each. Equal structures of one cache are kept once."""

    name: str
    """What it is, and for whom where two readers could not share one."""
    size: str
    """An expression for its bytes with room for `capacity` rows."""
    start: str
    """A statement that empties the structure at address `at`, with room for `capacity` rows."""
    move: str
    """A statement that takes the structure at `source` over to `at`, with room for `capacity` rows, no
    fewer.
    """
    append: str = ""
    """A statement that tells it of row `row`, already stored at `keys` and `values` (addresses of row 0);
    `scratch` is memory to work in. Empty for a structure that reads rows when it is asked.
    """
    scratch: str = "0"
    """An expression for the bytes of scratch that `append` needs."""
    wide_keys: bool = False
    """Whether the cache has to store its keys as doubles, which widens narrower ones exactly."""
    within: tuple[Structure, ...] = field(default=(), compare=False)
    """Structures that can stand in for this one; where a cache keeps one of them anyway, it does. What can
    stand in for those is among them.
    """


def kept_once(structures: Iterable[Structure]) -> tuple[Structure, ...]:
    """What a cache keeps when its readers ask for these: equal ones once, none that another stands in for."""
    wanted = dict.fromkeys(structures)
    return tuple(s for s in wanted if not any(other in wanted for other in s.within))


def slot_of(cache: int, number: int) -> str:
    """The frame slot with the address of structure `number` of a cache, for its first key head; the bytes
    from head to head are in the slot of this name with `_stride` behind.
    """
    return f"cache{cache}_x{number}"
