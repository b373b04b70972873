"""The arena of a state: every cache's rows and structures in one block of memory, addressed by offsets.

The layout is a pure function of the number of rows there is room for. Memory that was never written costs no
pages, so a state reserves address space for millions of rows at once and never has to move. Where the system
refuses that, or the space is used up, a larger arena takes over rows by copying, structures by moving.

To give a page takes the system as long as tens of steps. So the pages of a state that is gone stay for the
next one of the same graph and sizes, unless they are many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from attnc_backends.numba.emit import Command
from attnc_backends.numba.memory import Frames, address_of, allocate, reserve
from attnc_backends.numba.runtime.hull_layout import HULL_MAX_CAPACITY
from attnc_ir.types import Symbol

FIRST_CAPACITY = 256
MAX_ROWS = HULL_MAX_CAPACITY
"""Rows per head that a hull can number."""
RESERVED_BYTES = 1 << 36
"""Address space that a state asks for."""
SPARE_BYTES = 1 << 26
"""Memory that a graph keeps of states that are gone, at most."""
_ALIGN = 64
_PAGE = 4096

Entry = Callable[[int, int, int, int, int], int]


@dataclass(frozen=True)
class Section:
    """Where one cache lies in the arena: offsets and strides in bytes; strides are from head to head."""

    count: int
    keys: int
    key_stride: int
    values: int
    value_stride: int
    heads: int
    key_bytes: int
    value_bytes: int
    structures: tuple[tuple[int, int], ...] = ()
    """Offset and stride of each structure."""


@dataclass(eq=False)
class Spare:
    """Memory of a state that is gone: reserved for `capacity` rows per head under `dims`, of which about
    `touched` bytes were written.
    """

    dims: Mapping[str, int]
    capacity: int
    memory: npt.NDArray[np.uint8]
    touched: int


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _stride(size: int) -> int:
    """From head to head. Not a multiple of a page: the same rows of all heads would share cache lines. Pages
    are an odd number: what knows where pages lie is a cache, too, and not one of powers of two.
    """
    return _aligned(size) if size < _PAGE else (-(-size // _PAGE) | 1) * _PAGE + 5 * _ALIGN


def first_arena(frames: Frames, entry: Entry, dims: Mapping[str, int]) -> Arena:
    """An arena with as much room as may be reserved."""
    for spare in list(frames.spares):
        if spare.dims == dims:
            try:
                frames.spares.remove(spare)
            except ValueError:  # another thread was quicker
                continue
            return Arena(frames, entry, dims, spare.capacity, spare=spare)
    capacity = MAX_ROWS
    while capacity > FIRST_CAPACITY:
        arena = Arena(frames, entry, dims, capacity, reserved=True)
        if arena.size <= RESERVED_BYTES:
            if arena.memory.size > 0:
                return arena
            break
        capacity >>= 1
    return Arena(frames, entry, dims, FIRST_CAPACITY)


class Arena:
    """The memory of a state with room for `capacity` rows per head.

    A reserved one may end up without memory: when it is larger than RESERVED_BYTES, or the system refuses.
    One that is made of a spare begins with what that held last.
    """

    def __init__(
        self,
        frames: Frames,
        entry: Entry,
        dims: Mapping[str, int],
        capacity: int,
        *,
        reserved: bool = False,
        spare: Spare | None = None,
    ) -> None:
        program = frames.program
        self.capacity = capacity
        self.frames = frames
        self.dims = dict(dims)
        self.reserved = False
        self.most = 0
        """The most rows per head that there were whenever the number was set."""
        self.sections: list[Section] = []
        offset = 0
        scratch_frame = frames.blank()
        sizes = [
            _stride(entry(address_of(scratch_frame), Command.STRUCTURE_BYTES, capacity, number, 0))
            for number in range(len(program.structures))
        ]
        for plan in program.caches:
            heads = math.prod(dims[d.name] if isinstance(d, Symbol) else d for d in plan.op.heads)
            key_stride, value_stride = (
                _stride(capacity * plan.key_bytes),
                _stride(capacity * plan.value_bytes),
            )
            count = offset
            keys = count + _ALIGN
            values = keys + heads * key_stride
            offset = values + heads * value_stride
            structures = []
            for _ in plan.structures:
                structures.append((offset, sizes.pop(0)))
                offset += heads * structures[-1][1]
            section = Section(
                count, keys, key_stride, values, value_stride, heads, plan.key_bytes, plan.value_bytes,
                tuple(structures),
            )  # fmt: skip
            self.sections.append(section)
        self.size = max(offset, 1)
        self.memory: npt.NDArray[np.uint8] = np.empty(0, np.uint8)
        if spare is not None or reserved:
            memory = spare.memory if spare is not None else self._reserve()
            if memory is None:
                return
            self.memory, self.reserved = memory, True
        else:
            what = f"graph @{program.graph.name}: a state with room for {capacity:,} positions"
            self.memory = allocate((self.size,), np.dtype(np.uint8), what)
        for section in self.sections:
            self.set_count(section, 0)
        self.most = 0

    def _reserve(self) -> npt.NDArray[np.uint8] | None:
        return reserve(self.size) if self.size <= RESERVED_BYTES else None

    def __del__(self) -> None:
        """Leave the memory to the next state, if it was reserved and holds little."""
        if not self.reserved:
            return
        # Structures are seldom larger than what they are about.
        row = sum(section.heads * (section.key_bytes + section.value_bytes) for section in self.sections)
        touched = 2 * row * max(self.most, *(self.count(section) for section in self.sections))
        if touched > SPARE_BYTES:
            return
        spares = self.frames.spares
        spares.append(Spare(self.dims, self.capacity, self.memory, touched))
        while sum(spare.touched for spare in list(spares)) > SPARE_BYTES:
            spares.pop(0)

    def set_count(self, section: Section, count: int) -> None:
        """Set how many rows a cache holds."""
        self.most = max(self.most, self.count(section))
        self.memory[section.count : section.count + 8].view(np.int64)[0] = count

    def count(self, section: Section) -> int:
        """How many rows a cache holds."""
        return int(self.memory[section.count : section.count + 8].view(np.int64)[0])

    def rows(
        self, section: Section, head: int, which: str, row_bytes: int, count: int
    ) -> npt.NDArray[np.uint8]:
        """The first rows of one head as bytes, a view."""
        base, stride = (
            (section.keys, section.key_stride) if which == "keys" else (section.values, section.value_stride)
        )
        start = base + head * stride
        return self.memory[start : start + count * row_bytes]
