"""A state of a stateful graph: its arena, how many steps were taken, and who may use it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Self

import numpy as np
import numpy.typing as npt

from attnc_backends.numba.arena import MAX_ROWS, Arena, Entry, Section, first_arena
from attnc_backends.numba.emit import Command
from attnc_backends.numba.lower import CachePlan, GraphProgram
from attnc_backends.numba.memory import Frames, address_of
from attnc_backends.numba.quick import Key, Lane
from attnc_backends.numba.structures import slot_of
from attnc_ir.errors import ArgumentError, StateError
from attnc_ir.ops import Append
from attnc_ir.snapshot import CacheRows, Snapshot, check_snapshot
from attnc_ir.storage import NUMPY, Array, convert
from attnc_ir.types import DType, Symbol


class NumbaState:
    """A state of a stateful graph: an arena and the number of steps taken. One call at a time."""

    def __init__(self, frames: Frames, entry: Entry, dims: Mapping[str, int]) -> None:
        self.program = frames.program
        self.entry = entry
        self.dims = dict(dims)
        self.frames = frames
        self.appends = _appends_per_step(frames.program)
        self._length = 0
        self._busy = threading.Lock()
        self.lanes: dict[Key, Lane] = {}
        """What quick steps need, by how their arguments lie."""
        self.lane: Lane | None = None
        """That of the last quick step."""
        self.large = False
        """Whether steps have come to need more scratch than is kept for quick ones."""
        self.arena = first_arena(frames, entry, dims)
        self._start(self.arena)

    def __len__(self) -> int:
        return self._length

    # --- exclusive use ---

    def try_enter(self) -> bool:
        """Use it, unless somebody does; `__exit__` ends that."""
        return self._busy.acquire(blocking=False)

    def __enter__(self) -> Self:
        if not self.try_enter():
            raise StateError(
                "this state is in use by another thread; give each thread a state of its own (state.fork())"
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._busy.release()

    # --- frames ---

    def place(self, frame: npt.NDArray[np.int64], arena: Arena | None = None) -> None:
        """Fill the slots of a frame that point into the arena."""
        arena = arena or self.arena
        slots = self.program.context.layout.slots
        base = address_of(arena.memory)
        for plan, section in zip(self.program.caches, arena.sections, strict=True):
            places = {
                "count": base + section.count, "keys": base + section.keys, "key_stride": section.key_stride,
                "values": base + section.values, "value_stride": section.value_stride,
            }  # fmt: skip
            named = {f"cache{plan.number}_{name}": value for name, value in places.items()}
            for number, (offset, stride) in enumerate(section.structures):
                named[slot_of(plan.number, number)] = base + offset
                named[f"{slot_of(plan.number, number)}_stride"] = stride
            for name, value in named.items():
                if name in slots:
                    frame[slots[name]] = value

    def _frame(self, arena: Arena) -> npt.NDArray[np.int64]:
        frame = self.frames.blank()
        slots = self.program.context.layout.slots
        for name, size in self.dims.items():
            if f"d_{name}" in slots:
                frame[slots[f"d_{name}"]] = size
        self.place(frame, arena)
        return frame

    def _start(self, arena: Arena) -> None:
        """Empty structures for every cache."""
        frame = self._frame(arena)
        for plan in self.program.caches:
            for number in self._structures(plan):
                self.entry(address_of(frame), Command.STRUCTURE_START, arena.capacity, number, 0)

    def _structures(self, plan: CachePlan) -> list[int]:
        """The program's numbers of a cache's structures."""
        return [n for n, (owner, _) in enumerate(self.program.structures) if owner is plan]

    # --- length ---

    def reserve(self, steps: int) -> None:
        """Make room for `steps` more."""
        most = max(self.appends, default=0)
        needed = (self._length + steps) * most
        if needed > MAX_ROWS:
            raise StateError(
                f"a state holds at most {MAX_ROWS:,} positions per head; {needed:,} are asked for"
            )
        if needed <= self.arena.capacity:
            return
        # Half as much again than asked for, so that a long extend is not followed by a growth at the very
        # next step.
        capacity = min(max(needed + needed // 2, 2 * self.arena.capacity), MAX_ROWS)
        larger = Arena(self.frames, self.entry, self.dims, capacity)
        self._copy_rows(larger)
        self.arena = larger
        self.lanes.clear()
        self.lane = None

    def _copy_rows(self, target: Arena) -> None:
        """Everything this state holds, into an arena with room for it."""
        frame = self._frame(target)
        slots = self.program.context.layout.slots
        source = self.arena
        for plan, old, new in zip(self.program.caches, source.sections, target.sections, strict=True):
            count = source.count(old)
            target.set_count(new, count)
            for head in range(old.heads):
                for which, row in (("keys", plan.key_bytes), ("values", plan.value_bytes)):
                    target.rows(new, head, which, row, count)[:] = source.rows(old, head, which, row, count)
            for number, (offset, stride) in zip(self._structures(plan), old.structures, strict=True):
                frame[slots["move_from"]] = address_of(source.memory) + offset
                frame[slots["move_stride"]] = stride
                self.entry(address_of(frame), Command.STRUCTURE_MOVE, target.capacity, number, 0)

    def advance(self, steps: int) -> None:
        """Note that `steps` more were taken."""
        self._length += steps

    def truncate(self, length: int) -> None:
        """Forget every step from `length` on. Structures are built anew from the rows that stay."""
        if isinstance(length, bool) or not isinstance(length, int) or length < 0:
            raise ArgumentError(f"cannot truncate to {length!r:.60}; give a number of steps from 0 up")
        with self:
            if length < self._length:
                self.cut(length)

    def cut(self, length: int) -> None:
        """`truncate` by the holder of the state; also undoes a step that stopped halfway."""
        frame = self._frame(self.arena)
        for plan, section, appends in zip(
            self.program.caches, self.arena.sections, self.appends, strict=True
        ):
            count = length * appends
            if self.arena.count(section) != count:
                self._refill(plan, section, count, frame)
        self._length = length

    def _refill(self, plan: CachePlan, section: Section, count: int, frame: npt.NDArray[np.int64]) -> None:
        """Let a cache hold its first `count` stored rows, and build its structures from them."""
        self.arena.set_count(section, count)
        if not plan.structures:
            return
        scratch = np.empty(self._refill_scratch(frame), np.uint8)
        for number in self._structures(plan):
            at = address_of(frame)
            self.entry(at, Command.STRUCTURE_START, self.arena.capacity, number, 0)
            self.entry(at, Command.STRUCTURE_REFILL, count, number, address_of(scratch))

    def _refill_scratch(self, frame: npt.NDArray[np.int64]) -> int:
        return (
            max(
                (
                    self.entry(address_of(frame), Command.SCRATCH, number, -1, 0)
                    for number in range(len(self.program.ops))
                ),
                default=0,
            )
            + 1
        )

    def snapshot(self) -> Snapshot:
        """The rows of every cache, as they were appended."""
        with self:
            caches = []
            for plan, section in zip(self.program.caches, self.arena.sections, strict=True):
                keys = self._stored(plan, section, "keys", plan.key_dtype, plan.key_bytes)
                values = self._stored(plan, section, "values", plan.op.value.dtype, plan.value_bytes)
                caches.append(CacheRows(convert(keys, plan.key_dtype, plan.op.key.dtype), values))
            return Snapshot(dict(self.dims), self._length, tuple(caches))

    def _stored(self, plan: CachePlan, section: Section, which: str, dtype: DType, row_bytes: int) -> Array:
        """All rows of a cache as an array `[heads..., rows, width]`, copied."""
        count = self.arena.count(section)
        heads = tuple(self.dims[d.name] if isinstance(d, Symbol) else d for d in plan.op.heads)
        stored = np.empty((section.heads, count * row_bytes), np.uint8)
        for head in range(section.heads):
            stored[head] = self.arena.rows(section, head, which, row_bytes, count)
        return stored.reshape(-1).view(NUMPY[dtype]).reshape(*heads, count, row_bytes // dtype.itemsize)

    def restore(self, snapshot: Snapshot) -> None:
        """Become the state that `snapshot` was taken of. Structures are built anew from its rows."""
        check_snapshot(self.program.graph, snapshot)
        with self:
            self.cut(0)
            self.reserve(snapshot.length)
            frame = self._frame(self.arena)
            for plan, section, rows in zip(
                self.program.caches, self.arena.sections, snapshot.caches, strict=True
            ):
                count = rows.keys.shape[-2]
                parts = (
                    ("keys", plan.key_bytes, convert(rows.keys, plan.op.key.dtype, plan.key_dtype)),
                    ("values", plan.value_bytes, rows.values),
                )
                for which, row_bytes, array in parts:
                    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(section.heads, -1)
                    for head in range(section.heads):
                        self.arena.rows(section, head, which, row_bytes, count)[:] = flat[head]
                self._refill(plan, section, count, frame)
            self._length = snapshot.length

    def fork(self) -> NumbaState:
        """An independent copy. Memory is shared by nothing but the system's untouched pages."""
        with self:
            other = NumbaState(self.frames, self.entry, self.dims)
            if other.arena.capacity < self.arena.capacity:
                other.arena = Arena(self.frames, self.entry, self.dims, self.arena.capacity)
            self._copy_rows(other.arena)
            other.advance(self._length)
            return other


def _appends_per_step(program: GraphProgram) -> list[int]:
    """How many rows one step adds to each cache."""
    roots = program.graph.cache_roots()
    appended = [roots[op.cache.name] for op in program.graph.ops if isinstance(op, Append)]
    return [sum(root is plan.op for root in appended) for plan in program.caches]
