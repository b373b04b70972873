"""Adding a key to the groups that took in the one before it.

A key that equals the newest, where that one became no vertex, is tied with the same keys. So the groups of
the newest are noted in the header, one for each kind of next-link.
"""

from numba import njit

from attnc_backends.numba.runtime.hull_header import (
    HULL_CAPACITY,
    HULL_GROUP_BYTES,
    HULL_GROUP_COUNT,
    HULL_GROUP_LAST,
    HULL_GROUP_TAIL,
    HULL_GROUPS_AT,
    HULL_LINK_KINDS,
    HULL_LINKS_AT,
    HULL_REPEAT,
    HULL_WITH_MEAN,
)
from attnc_backends.numba.runtime.memory import load_i64, prefetch_write, store_i32, store_i64

# How many bytes ahead links are asked for: of many heads, each is a stream of its own.
_HULL_LINKS_AHEAD = 128


@njit(nogil=True, error_model="numpy")
def hull_join(h: int, group: int, kind: int, position: int) -> None:
    """Add `position`, larger than every member, to a group: hull_group_add, but that nothing is noted."""
    g = h + load_i64(h + HULL_GROUPS_AT) + group * load_i64(h + HULL_GROUP_BYTES)
    store_i64(g + HULL_GROUP_LAST, position)
    if load_i64(h + HULL_WITH_MEAN) != 0:
        place = kind * load_i64(h + HULL_CAPACITY) + load_i64(g + HULL_GROUP_TAIL)
        link = h + load_i64(h + HULL_LINKS_AT) + 4 * place
        prefetch_write(link + _HULL_LINKS_AHEAD)
        store_i32(link, position)
        store_i64(g + HULL_GROUP_TAIL, position)
        store_i64(g + HULL_GROUP_COUNT, load_i64(g + HULL_GROUP_COUNT) + 1)


@njit(nogil=True, error_model="numpy")
def hull_repeat(h: int, position: int) -> None:
    """Add `position`, the newest, to the groups that are noted."""
    for kind in range(HULL_LINK_KINDS):
        group = load_i64(h + HULL_REPEAT + 8 * kind)
        if group >= 0:
            hull_join(h, group, kind, position)
