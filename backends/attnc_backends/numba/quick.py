"""Calls that repeat: arrays of shapes and strides that were seen before, with everything worked out already.

A call in full checks its arguments, fills a frame, asks for scratch and runs op by op: tens of microseconds
whatever is computed. Where such a call went well and is small, its frame stays as a *lane*. A later call with
arrays that lie alike takes the lane, makes new outputs, and enters compiled code once, which looks at the
array objects itself: whether they lie as those of the lane, and where. Whatever is not exactly alike, and
whatever goes wrong, is left to the call in full, which has all checks and messages: here `None` is returned,
and nothing has changed.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import call
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnc_backends.numba.emit import ALL_OPS, NOT_ALIKE, Command
from attnc_backends.numba.lower import GraphProgram
from attnc_backends.numba.memory import address_of
from attnc_backends.numba.runtime import objects
from attnc_backends.numba.source import KINDS_SLOT
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
    """Whether tuples and array objects have everything where compiled code looks for it."""
    arrays = (np.empty(3), np.empty((2, 2), np.int32)[:, 1], np.empty((0, 5), np.uint8), np.empty(()))

    def word(at: int) -> int:
        return ctypes.c_int64.from_address(at).value

    def found(array: Array) -> tuple[object, ...]:
        at = id(array)
        shape, strides = word(at + objects.ARRAY_SHAPE), word(at + objects.ARRAY_STRIDES)
        rank = ctypes.c_int32.from_address(at + objects.ARRAY_RANK).value
        if rank != array.ndim:
            return ()
        return (
            word(at + objects.OBJECT_TYPE),
            word(at + objects.ARRAY_DATA),
            word(at + objects.ARRAY_DTYPE),
            tuple(word(shape + 8 * axis) for axis in range(rank)),
            tuple(word(strides + 8 * axis) for axis in range(rank)),
        )

    items = [word(id(arrays) + objects.TUPLE_ITEMS + 8 * n) for n in range(len(arrays))]
    return (
        word(id(arrays) + objects.TUPLE_SIZE) == len(arrays)
        and items == [id(a) for a in arrays]
        and all(found(a) == (id(np.ndarray), address_of(a), id(a.dtype), a.shape, a.strides) for a in arrays)
    )


_KNOWN = _objects_as_known()


@dataclass(eq=False, slots=True)
class Lane:
    """A frame that is filled but for arguments and outputs, scratch, and what makes each of the outputs.

    `kinds` says to compiled code how arguments have to lie, `kept` are the intermediate results that the
    frame points to; in a step the lane serves states of fewer than `rows` steps.
    """

    frame: npt.NDArray[np.int64]
    scratch: npt.NDArray[np.uint8]
    kinds: npt.NDArray[np.int64]
    outputs: tuple[Callable[[], Array], ...]
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
        self.possible = program.of_objects and _KNOWN
        self.kinds_slot = slots[KINDS_SLOT] if self.possible else 0
        self.lanes: dict[Key, list[Lane]] = {}
        self.last: list[Lane] = []
        """The free lanes of the kind of the last call."""

    def _ordered(self, args: tuple[object, ...], named: Mapping[str, object]) -> tuple[object, ...] | None:
        """Arguments by name in the order of inputs; None where they are not just that."""
        if args or len(named) != len(self.names) or not all(name in named for name in self.names):
            return None
        return tuple([named[name] for name in self.names])

    def _key(self, args: tuple[Any, ...]) -> Key | None:
        """How arguments lie; None if one is no array of its element type."""
        if len(args) != len(self.names):
            return None
        key = []
        for array, dtype in zip(args, self.dtypes, strict=True):
            if type(array) is not np.ndarray or array.dtype is not dtype:
                return None
            key.append(array.shape)
            key.append(array.strides)
        return tuple(key)

    def __call__(self, args: tuple[object, ...], named: Mapping[str, object]) -> tuple[Array, ...] | None:
        """The outputs of a stateless graph, or None."""
        ordered = self._ordered(args, named) if named else args
        if ordered is None:
            return None
        # Most calls are like the last one: compiled code finds out sooner than what is written here.
        status, results = self._run(self.last, ordered)
        if status == NOT_ALIKE and self.lanes and (key := self._key(ordered)) is not None:
            self.last = self.lanes.get(key, self.last)
            status, results = self._run(self.last, ordered)
        return results if status == 0 else None

    def _run(self, free: list[Lane], args: tuple[object, ...]) -> tuple[int, tuple[Array, ...]]:
        """Status and results in one of these lanes."""
        try:
            lane = free.pop()
        except IndexError:  # there are none, or other threads use them
            return NOT_ALIKE, ()
        results = tuple(map(call, lane.outputs))
        status = self.entry(lane.at, ALL_OPS, id(args), id(results), lane.scratch_at)
        free.append(lane)
        return status, results

    def step(
        self, state: NumbaState, args: tuple[object, ...], named: Mapping[str, object]
    ) -> tuple[Array, ...] | None:
        """The outputs of one step of a state, or None, and then the state is as before."""
        ordered = self._ordered(args, named) if named else args
        if ordered is None or not state.lanes or not state.try_enter():
            return None
        try:
            before = len(state)
            try:
                status, results = self._step(state, state.lane, ordered)
                if status == NOT_ALIKE and (key := self._key(ordered)) is not None and key in state.lanes:
                    state.lane = state.lanes[key]
                    status, results = self._step(state, state.lane, ordered)
                if status == 0:
                    state.advance(1)
                    return results
            except BaseException:
                # Ctrl-C included: whatever was appended is taken back.
                state.cut(before)
                raise
            if status != NOT_ALIKE:
                state.cut(before)
            return None
        finally:
            state.__exit__()

    def _step(
        self, state: NumbaState, lane: Lane | None, args: tuple[object, ...]
    ) -> tuple[int, tuple[Array, ...]]:
        """Status and results of a step in this lane, if there is room."""
        if lane is None or len(state) >= lane.rows:
            return NOT_ALIKE, ()
        results = tuple(map(call, lane.outputs))
        return self.entry(lane.at, Command.STEPS_OF_OBJECTS, id(args), id(results), lane.scratch_at), results

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
        outputs = tuple(
            partial(np.empty, values[name].shape[lead:], values[name].dtype) for name in self.outputs
        )
        kinds = [len(self.names), id(np.ndarray)]
        for name, dtype in zip(self.names, self.dtypes, strict=True):
            array = values[name]
            kinds += [id(dtype), array.ndim - lead, *array.shape[lead:], *array.strides[lead:]]
        table = np.array(kinds, np.int64)
        frame[self.kinds_slot] = address_of(table)
        return Lane(frame, scratch, table, outputs, kept, rows, address_of(frame), address_of(scratch))

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
