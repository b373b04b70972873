"""Which functions make a strategy into code, what a cache keeps for it, and what the plan says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attnc_backends.numba.emit_dense import dense_notes, emit_dense_rows, shares_parts
from attnc_backends.numba.emit_hierarchy import NOTE as HIERARCHY_NOTE
from attnc_backends.numba.emit_hierarchy import emit_hierarchy_rows
from attnc_backends.numba.emit_hull import emit_hull_rows, hull_notes, hull_structure
from attnc_backends.numba.emit_index import emit_index_rows, index_notes, index_structure
from attnc_backends.numba.emit_position import emit_position_rows, position_notes
from attnc_backends.numba.emit_running import (
    EXTREMUM_NOTE,
    UNIFORM_NOTE,
    emit_running_rows,
    running_structure,
)
from attnc_backends.numba.emit_scan import NOTE as SCAN_NOTE
from attnc_backends.numba.emit_scan import emit_scan_rows
from attnc_backends.numba.emit_sweep import NOTE as SWEEP_NOTE
from attnc_backends.numba.emit_sweep import emit_sweep_rows
from attnc_backends.numba.emit_tree import TREE_DENSE_NOTE, TREE_NOTE, emit_tree_rows, tree_structure
from attnc_backends.numba.node import Node
from attnc_backends.numba.structures import Structure
from attnc_ir.attributes import strategy as nouns
from attnc_ir.ops import AttendStep

Maker = Callable[[Node], list[str]]
"""Writes the functions of one attention node: `rows(first, last, scratch)`, `blocks()` and `scratch()`, and
helpers.
"""

Keeper = Callable[[AttendStep], Structure]
"""Says what a cache keeps for a step of some strategy."""

Notes = Callable[[Node], tuple[str, ...]]
"""What a plan has to say about a node beyond its strategy's name: sentences."""

UNSETTLED_NOTE = (
    "rows whose near-ties doubles cannot order (a softcap or float expression with the bias) "
    "are settled by rational arithmetic"
)


@dataclass(frozen=True)
class Making:
    """How this backend carries out a strategy. Without a keeper a cache keeps nothing but rows for it."""

    maker: Maker
    keeper: Keeper | None = None
    notes: Notes = lambda node: ()
    shares: Callable[[Node], bool] = lambda node: False
    """Whether its workers share memory, `parts_bytes()` of it, that `merge(parts, scratch)` makes results of
    when all are done.
    """


def _always(*notes: str) -> Notes:
    return lambda node: notes


MAKINGS: dict[type[nouns.Strategy], Making] = {
    nouns.Dense: Making(emit_dense_rows, notes=dense_notes, shares=shares_parts),
    nouns.Hull: Making(emit_hull_rows, hull_structure, hull_notes),
    nouns.Uniform: Making(emit_running_rows, running_structure, _always(UNIFORM_NOTE)),
    nouns.Extremum: Making(emit_running_rows, running_structure, _always(EXTREMUM_NOTE)),
    nouns.Position: Making(emit_position_rows, notes=position_notes),
    nouns.Scan: Making(emit_scan_rows, notes=_always(SCAN_NOTE)),
    nouns.Tree: Making(emit_tree_rows, tree_structure, _always(TREE_NOTE, TREE_DENSE_NOTE)),
    nouns.Index: Making(emit_index_rows, index_structure, index_notes),
    nouns.Sweep: Making(emit_sweep_rows, notes=_always(SWEEP_NOTE)),
    nouns.Hierarchy: Making(emit_hierarchy_rows, notes=_always(HIERARCHY_NOTE)),
    nouns.Monotone: Making(emit_hull_rows, hull_structure, hull_notes),
}
"""Every strategy that this backend knows. `register_maker` adds to it."""


def register_maker(
    strategy: type[nouns.Strategy], maker: Maker, keeper: Keeper | None = None, notes: Notes | None = None
) -> None:
    """Make `strategy` known to this backend; `keeper` names the structure that a step by it works with."""
    MAKINGS[strategy] = Making(maker, keeper, notes or _always())


def making_of(node: Node) -> Making:
    """How a node is carried out; one that names no strategy is dense."""
    return MAKINGS[type(node.op.strategy or nouns.Dense())]


def structure_of(op: AttendStep) -> Structure | None:
    """The structure that a step works with, if its strategy keeps one."""
    keeper = MAKINGS[type(op.strategy or nouns.Dense())].keeper
    return keeper(op) if keeper is not None else None


def notes_of(node: Node) -> tuple[str, ...]:
    """What the plan has to say about a node."""
    notes = making_of(node).notes(node)
    return (*notes, UNSETTLED_NOTE) if node.may_be_unsettled else notes
