"""Calls that repeat: arrays of shapes and strides that were seen before, with everything worked out already.

A call in full checks its arguments, fills a frame, asks for scratch and runs op by op: tens of microseconds
whatever is computed. Where such a call went well and is small, its frame stays as a *lane*. A later call with
arrays that lie alike takes the lane, makes new outputs, and enters compiled code once, which reads where
arrays lie from the array objects. Whatever is not exactly alike, and whatever goes wrong, is left to the call
in full, which has all checks and messages: here `None` is returned, and nothing has changed.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnc_backends.numba.emit import ALL_OPS, ARRAY_DATA, Command
from attnc_backends.numba.lower import GraphProgram
from attnc_backends.numba.memory import address_of
from attnc_ir.storage import NUMPY, Array

if TYPE_CHECKING:
    from attnc_backends.numba.arena import Entry
    from attnc_backends.numba.state import NumbaState

Key = tuple[tuple[int, ...], ...]
"""Shapes and strides of all arguments."""

LANE_BYTES = 1 << 20
"""Scratch and intermediate results that a lane may hold."""
_KEYS = 64
"""Kinds of calls that are remembered; then all are forgotten."""
_LANES = 2
"""Lanes of one kind: as many threads at once are served quickly."""


def _objects_as_known() -> bool:
    """Whether array objects keep the address of their elements where compiled code looks for it."""
    arrays = (np.empty(3), np.empty((2, 2), np.int32)[:, 1], np.empty(0, np.uint8))
    return all(ctypes.c_int64.from_address(id(a) + ARRAY_DATA).value == address_of(a) for a in arrays)


_KNOWN = _objects_as_known()


@dataclass(eq=False, slots=True)
class Lane:
    """A frame that is filled but for arguments and outputs, scratch, and the outputs' shapes and dtypes.

    `kept` are the intermediate results that the frame points to; in a step the lane serves states of fewer
    than `rows` steps.
    """

    frame: memoryview
    scratch: npt.NDArray[np.uint8]
    outputs: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]
    kept: tuple[Array, ...]
    rows: int
    at: int
    scratch_at: int


class Quick:
    """The quick calls of one graph."""

    def __init__(self, program: GraphProgram, entry: Entry) -> None:
        graph, slots = program.graph, program.context.layout.slots
        self.entry = entry
        self.names = tuple(v.name for v in graph.inputs)
        self.dtypes = tuple(np.dtype(NUMPY[v.tensor.dtype]) for v in graph.inputs)
        self.outputs = tuple(v.name for v in graph.outputs)
        self.made = tuple(r.name for op in program.ops for r in op.results if r.name not in self.outputs)
        self.possible = bool(program.objects) and _KNOWN
        first = slots[f"o_{program.objects[0].name}"] if self.possible else 0
        self.offset = 8 * first
        self.pack = struct.Struct(f"={len(program.objects)}q").pack_into
        self.lanes: dict[Key, list[Lane]] = {}

    def _alike(self, args: Sequence[object], named: Mapping[str, object]) -> tuple[Sequence[Any], Key] | None:
        """The arguments in order, and how they lie; None if one is no array of its element type."""
        if named:
            if args or len(named) != len(self.names):
                return None
            try:
                args = [named[name] for name in self.names]
            except KeyError:
                return None
        elif len(args) != len(self.names):
            return None
        key = []
        for array, dtype in zip(args, self.dtypes, strict=True):
            if type(array) is not np.ndarray or array.dtype is not dtype:
                return None
            key.append(array.shape)
            key.append(array.strides)
        return args, tuple(key)

    def __call__(self, args: Sequence[object], named: Mapping[str, object]) -> tuple[Array, ...] | None:
        """The outputs of a stateless graph, or None."""
        if not self.lanes or (found := self._alike(args, named)) is None:
            return None
        given, key = found
        free = self.lanes.get(key)
        if not free:
            return None
        try:
            lane = free.pop()
        except IndexError:  # another thread was quicker
            return None
        results = tuple([np.empty(shape, dtype) for shape, dtype in lane.outputs])
        self.pack(lane.frame, self.offset, *map(id, given), *map(id, results))
        status = self.entry(lane.at, ALL_OPS, 0, 1, lane.scratch_at)
        free.append(lane)
        return results if status == 0 else None

    def step(
        self, state: NumbaState, args: Sequence[object], named: Mapping[str, object]
    ) -> tuple[Array, ...] | None:
        """The outputs of one step of a state, or None, and then the state is as before."""
        if not state.lanes or (found := self._alike(args, named)) is None or not state.try_enter():
            return None
        given, key = found
        try:
            before = len(state)
            lane = state.lanes.get(key)
            if lane is None or before >= lane.rows:
                return None
            results = tuple([np.empty(shape, dtype) for shape, dtype in lane.outputs])
            try:
                self.pack(lane.frame, self.offset, *map(id, given), *map(id, results))
                status = self.entry(lane.at, Command.STEPS_OF_OBJECTS, 0, 1, lane.scratch_at)
                if status == 0:
                    state.advance(1)
                    return results
            except BaseException:
                # Ctrl-C included: whatever was appended is taken back.
                state.cut(before)
                raise
            state.cut(before)
            return None
        finally:
            state.__exit__()

    # --- learning ---

    def _lane(
        self,
        frame: npt.NDArray[np.int64],
        values: Mapping[str, Array],
        scratch: npt.NDArray[np.uint8],
        lead: int,
        rows: int = 0,
    ) -> Lane | None:
        kept = tuple(values[name] for name in self.made if name in values)
        if scratch.nbytes + sum(array.nbytes for array in kept) > LANE_BYTES:
            return None
        outputs = tuple((values[name].shape[lead:], values[name].dtype) for name in self.outputs)
        places = frame.data.cast("B")
        return Lane(places, scratch, outputs, kept, rows, address_of(frame), address_of(scratch))

    def _key_of(self, values: Mapping[str, Array], lead: int) -> Key:
        return tuple(
            part for name in self.names for part in (values[name].shape[lead:], values[name].strides[lead:])
        )

    def learn(
        self, frame: npt.NDArray[np.int64], values: Mapping[str, Array], scratch: npt.NDArray[np.uint8]
    ) -> None:
        """Keep what a call in full has worked out; its ops ran one by one on one thread, in `scratch`."""
        key = self._key_of(values, 0)
        free = self.lanes.setdefault(key, [])
        lane = self._lane(frame, values, scratch, 0) if len(free) < _LANES else None
        if lane is not None:
            free.append(lane)
        if len(self.lanes) > _KEYS:
            self.lanes.clear()

    def learn_step(
        self,
        state: NumbaState,
        frame: npt.NDArray[np.int64],
        values: Mapping[str, Array],
        scratch: npt.NDArray[np.uint8],
        rows: int,
    ) -> bool:
        """Keep what a step in full has worked out; `scratch` does for states of up to `rows` steps. False
        where that is too much to keep.
        """
        lane = self._lane(frame, values, scratch, 1, rows)
        if lane is None:
            return False
        if len(state.lanes) >= _KEYS:
            state.lanes.clear()
        state.lanes[self._key_of(values, 1)] = lane
        return True
