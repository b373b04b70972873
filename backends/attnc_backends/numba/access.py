"""How generated code reaches values: addresses, byte strides and sizes in the frame, loads and stores by
element type.

Slots of a graph's frame: `v_NAME` the address of a value, `t_NAME` its byte stride from one step to the next
(stateful graphs), `sK_NAME` its byte stride along axis K, `d_NAME` the size of a symbolic dimension. What
varies stands in front, so that no name of a value, whatever its ending, can meet another slot.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnc_backends.numba.source import FrameLayout, Function
from attnc_ir.graph import Graph
from attnc_ir.types import Dim, DType, Symbol
from attnc_ir.values import Value

_LOADS = {
    DType.F64: "load_f64({})",
    DType.F32: "load_f32({})",
    DType.F16: "load_f16({})",
    DType.BF16: "load_bf16({})",
    DType.I64: "load_i64({})",
    DType.I32: "load_i32({})",
    DType.BOOL: "(load_u8({}) != 0)",
}
_STORES = {
    DType.F64: "store_f64({}, np.float64({}))",
    DType.F32: "store_f32({}, np.float32({}))",
    DType.F16: "store_f16({}, narrow_to_odd({}))",
    DType.BF16: "store_bf16({}, narrow_to_odd({}))",
    DType.I64: "store_i64({}, np.int64({}))",
    DType.I32: "store_i32({}, np.int64({}))",
    DType.BOOL: "store_u8({}, np.int64({}))",
}
DTYPE_CODES = {DType.F64: 0, DType.F32: 1, DType.BF16: 2, DType.F16: 3}
"""The codes by which runtime pieces name storage types (`DT_*` in `runtime/memory.py`)."""


def load(dtype: DType, address: str) -> str:
    """An expression for the element at `address`: f32 for narrow floats, int64 for integers, a bool for
    bool.
    """
    return _LOADS[dtype].format(address)


def load_double(dtype: DType, address: str) -> str:
    """The element at `address` widened exactly to a double."""
    text = load(dtype, address)
    return text if dtype is DType.F64 else f"np.float64({text})"


def store(dtype: DType, address: str, value: str) -> str:
    """A statement that stores `value` at `address`, rounded to `dtype`."""
    return _STORES[dtype].format(address, value)


def copy_element(itemsize: int, target: str, source: str) -> str:
    """A statement that copies one element bit for bit."""
    suffix = {8: "i64", 4: "i32", 2: "u16", 1: "u8"}[itemsize]
    return f"store_{suffix}({target}, load_{suffix}({source}))"


Run = tuple[str, str]
"""Elements one after the other: the address of the first, and the byte stride."""

_LINE = 64
"""Bytes of a cache line."""


def copy_row(f: Function, itemsize: int, count: int | str, target: Run, source: Run) -> None:
    """Statements that copy `count` elements bit for bit: at once, where the number is known and they lie side
    by side, else one by one.
    """
    element = copy_element(itemsize, f"{target[0]} + c * {target[1]}", f"{source[0]} + c * {source[1]}")
    apart = [step for _, step in (target, source) if step != str(itemsize)]
    known = isinstance(count, int) or count.isdigit()
    at_once = f"copy_bytes({target[0]}, {source[0]}, {int(count) * itemsize if known else ''})"
    if known and not apart:
        f.line(at_once)
    elif known and not any(step.isdigit() for step in apart):
        with f.block(f"if {' and '.join(f'{step} == {itemsize}' for step in apart)}"):
            f.line(at_once)
        with f.block("else"), f.block(f"for c in range({count})"):
            f.line(element)
    else:
        with f.block(f"for c in range({count})"):
            f.line(element)


@dataclass(frozen=True)
class GraphContext:
    """What emitting any op of one graph needs to know."""

    graph: Graph
    layout: FrameLayout
    index: int

    @property
    def stateful(self) -> bool:
        """Whether functions of this graph take a step number `t` and addresses move with it."""
        return self.graph.is_stateful

    def function(self, name: str, *params: str, doc: str = "", inline: bool = False) -> Function:
        """A function of this graph; its name is made unique by the graph's number."""
        return Function(self.layout, f"g{self.index}_{name}", "t", *params, doc=doc, inline=inline)

    def address(self, f: Function, value: Value) -> str:
        """A local variable with the address of `value`'s first element (in this step)."""
        name = f"v_{value.name}"
        base = f.slot(name, f"%{value.name}: {value.type}")
        if not self.stateful:
            return base
        return f.derived(f"now_{value.name}", f"{base} + t * {f.slot(f't_{value.name}')}")

    def stride(self, f: Function, value: Value, axis: int) -> str:
        """The byte stride of `value` along `axis`: a local variable, or a number for the last axis of arrays
        that a call makes itself.
        """
        if axis == value.tensor.rank - 1 and value not in self.graph.inputs:
            return str(value.tensor.dtype.itemsize)
        return f.slot(f"s{axis}_{value.name}")

    def prefetch_next(self, f: Function, value: Value, indices: list[str]) -> None:
        """A statement that asks for a row of `value` as it will be two steps on. Nothing for long rows, which
        the processor foresees itself, and where values are made in each step.
        """
        width = value.tensor.shape[-1] if value.tensor.rank else None
        if not isinstance(width, int) or width * value.tensor.dtype.itemsize > _LINE:
            return
        if value in self.graph.inputs:
            f.line(f"prefetch({self.element(f, value, indices)} + 2 * {f.slot(f't_{value.name}')})")

    def dim(self, f: Function, dim: Dim) -> str:
        """An expression for a size."""
        return f.slot(f"d_{dim.name}") if isinstance(dim, Symbol) else str(dim)

    def dim_of(self, f: Function, value: Value, axis: int) -> str:
        """An expression for the size of `value` along `axis`."""
        return self.dim(f, value.tensor.shape[axis])

    def element(self, f: Function, value: Value, indices: list[str]) -> str:
        """The address of an element. `indices` has one expression per axis, counted from the last when fewer
        are needed.

        Axes of size 1 do not move, which is how operands broadcast.
        """
        shape = value.tensor.shape
        used = indices[len(indices) - len(shape) :] if shape else []
        terms = [self.address(f, value)]
        terms += [
            f"{index} * {self.stride(f, value, axis)}"
            for axis, index in enumerate(used)
            if shape[axis] != 1 and index != "0"
        ]
        return " + ".join(terms)
