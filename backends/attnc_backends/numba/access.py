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

    def function(self, name: str, *params: str, doc: str = "") -> Function:
        """A function of this graph; its name is made unique by the graph's number."""
        return Function(self.layout, f"g{self.index}_{name}", "t", *params, doc=doc)

    def address(self, f: Function, value: Value) -> str:
        """A local variable with the address of `value`'s first element (in this step)."""
        name = f"v_{value.name}"
        base = f.slot(name, f"%{value.name}: {value.type}")
        if not self.stateful:
            return base
        return f.derived(f"now_{value.name}", f"{base} + t * {f.slot(f't_{value.name}')}")

    def stride(self, f: Function, value: Value, axis: int) -> str:
        """A local variable with the byte stride of `value` along `axis`."""
        return f.slot(f"s{axis}_{value.name}")

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
