"""The memory of a call: frames filled with addresses and strides, outputs and intermediates allocated."""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnc_backends.numba.emit_elementwise import constant_slot
from attnc_backends.numba.lower import GraphProgram
from attnc_backends.numba.shared import shared_table
from attnc_backends.numba.source import RUNTIME_SLOT
from attnc_ir.arguments import Bound
from attnc_ir.errors import ArgumentError
from attnc_ir.ops import Constant
from attnc_ir.storage import NUMPY, Array
from attnc_ir.types import Symbol, TensorType
from attnc_ir.values import Value

if TYPE_CHECKING:
    from attnc_backends.numba.arena import Spare

MAX_BYTES = 1 << 46
"""More than any machine holds: a product of sizes beyond it is refused before it can overflow."""

_LINUX_NORESERVE = 0x4000


def address_of(array: npt.NDArray[Any]) -> int:
    """Where an array's first element lies. The caller keeps the array alive."""
    return int(array.__array_interface__["data"][0])


def allocate(shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> Array:
    """An uninitialised array; `ArgumentError` when no machine could hold it or this one does not."""
    size = math.prod(shape) * dtype.itemsize
    try:
        if size > MAX_BYTES:
            raise MemoryError
        return np.empty(shape, dtype)
    except MemoryError:
        raise ArgumentError(
            f"{what} would need {size / 2**30:,.1f} GiB for shape {list(shape)}, more than there is memory"
        ) from None


def reserve(size: int) -> npt.NDArray[np.uint8] | None:
    """`size` bytes of address space, zero, that take memory page by page as they are written; None where the
    system does not give so much.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", _LINUX_NORESERVE)
    try:
        return np.frombuffer(mmap.mmap(-1, size, flags=flags), np.uint8)
    except (OSError, ValueError, OverflowError):
        return None


class Frames:
    """Fills frames for one graph. Slot numbers are looked up once."""

    def __init__(self, program: GraphProgram) -> None:
        slots = program.context.layout.slots
        graph = program.graph
        self.program = program
        self.slots = slots
        self.stateful = program.context.stateful
        # Loaded here, so that what has to be compiled is compiled before the first call.
        self.table = shared_table(program.libraries)
        self.needs_table = bool(program.libraries)
        self.inputs = [self._places(v) for v in graph.inputs]
        made = [r for op in program.ops for r in op.results if isinstance(r.type, TensorType)]
        outputs = {v.name for v in graph.outputs}
        self.made = [self._places(v) for v in made]
        self.is_output = {v.name: v.name in outputs for v in made}
        self.dims = [(slots[f"d_{s}"], s) for s in self._symbols() if f"d_{s}" in slots]
        self.spares: list[Spare] = []
        self.constants = [(slots[constant_slot(op)], _constant_array(op)) for op in program.constants]

    def blank(self) -> npt.NDArray[np.int64]:
        """A frame that only knows where the shared runtime is."""
        frame = np.zeros(len(self.slots), np.int64)
        if self.needs_table:
            frame[RUNTIME_SLOT] = address_of(self.table)
        return frame

    def _symbols(self) -> list[str]:
        shapes = [v.type.shape for v in self.program.graph.values() if isinstance(v.type, TensorType)]
        shapes += [cache.heads for cache in self.program.graph.caches]
        return list(dict.fromkeys(d.name for shape in shapes for d in shape if isinstance(d, Symbol)))

    def _places(self, value: Value) -> tuple[Value, int | None, int | None, list[tuple[int, int]]]:
        """A value, the slots of its address and step stride, and (axis, slot) of the strides that are
        read.
        """
        slots = self.slots
        strides = [
            (axis, slots[name])
            for axis in range(value.tensor.rank)
            if (name := f"s{axis}_{value.name}") in slots
        ]
        return value, slots.get(f"v_{value.name}"), slots.get(f"t_{value.name}"), strides

    def new(self, bound: Bound) -> tuple[npt.NDArray[np.int64], dict[str, Array]]:
        """A filled frame and all arrays it points to. Outputs have a leading axis of steps in a stateful
        graph.
        """
        frame = self.blank()
        dims: Mapping[str, int] = bound.dims
        for slot, name in self.dims:
            frame[slot] = dims[name]
        arrays: dict[str, Array] = {}
        for places in self.inputs:
            self._place(frame, places, bound.arrays[places[0].name], arrays, stacked=self.stateful)
        for places in self.made:
            value = places[0]
            shape = bound.shape(value.tensor.shape)
            stacked = self.stateful and self.is_output[value.name]
            if stacked:
                shape = (bound.steps or 0, *shape)
            array = allocate(shape, NUMPY[value.tensor.dtype], f"graph @{self.program.graph.name}: {value}")
            self._place(frame, places, array, arrays, stacked=stacked)
        for slot, constant in self.constants:
            frame[slot] = address_of(constant)
        return frame, arrays

    @staticmethod
    def _place(
        frame: npt.NDArray[np.int64],
        places: tuple[Value, int | None, int | None, list[tuple[int, int]]],
        array: Array,
        arrays: dict[str, Array],
        *,
        stacked: bool,
    ) -> None:
        value, base, step, strides = places
        arrays[value.name] = array
        if base is not None:
            frame[base] = address_of(array)
        lead = 1 if stacked else 0
        if step is not None:
            frame[step] = array.strides[0] if stacked else 0
        for axis, slot in strides:
            frame[slot] = array.strides[axis + lead]

    def results(self, arrays: Mapping[str, Array]) -> tuple[Array, ...]:
        """The graph's outputs. An output that is an input, or is returned twice, is copied, so that no two
        share memory.
        """
        seen: set[str] = {v.name for v in self.program.graph.inputs}
        outputs = []
        for value in self.program.graph.outputs:
            array = arrays[value.name]
            outputs.append(array.copy() if value.name in seen else array)
            seen.add(value.name)
        return tuple(outputs)


def _constant_array(op: Constant) -> npt.NDArray[np.float64]:
    return np.array(op.values, np.float64)
