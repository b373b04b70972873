"""Vectors as values of compiled code: their Numba type, and how wide they are on this machine.

A vector is one LLVM value. Its type carries element type and lane count, so a kernel written over a vector
argument is compiled once for each width it is used at, and every width compiles on every machine: LLVM splits
what the hardware does not have. The operations are intrinsics in `runtime/vector.py`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import config
from numba.extending import models, register_model

ELEMENTS = {"f64": ir.DoubleType(), "f32": ir.FloatType(), "bool": ir.IntType(1)}
ELEMENT_BYTES = {"f64": 8, "f32": 4}
MAX_LANES = 64


class Vector(types.Type):  # type: ignore[misc]  # numba has no types
    """`lanes` elements `f64` or `f32`, or `bool` for the result of a comparison."""

    def __init__(self, element: str, lanes: int) -> None:
        self.element = element
        self.lanes = lanes
        super().__init__(name=f"Vector({element} x {lanes})")

    @property
    def llvm(self) -> ir.VectorType:
        """The type in LLVM."""
        return ir.VectorType(ELEMENTS[self.element], self.lanes)

    @property
    def scalar(self) -> types.Type:
        """The Numba type of one element."""
        return {"f64": types.float64, "f32": types.float32, "bool": types.boolean}[self.element]

    @property
    def mask(self) -> Vector:
        """What comparing two of these gives."""
        return Vector("bool", self.lanes)

    @property
    def suffix(self) -> str:
        """The ending of LLVM intrinsics over this type: `v8f64`."""
        return f"v{self.lanes}{'i1' if self.element == 'bool' else self.element}"


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]  # numba has no types
    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, vector.llvm)


def is_floats(*kinds: object) -> bool:
    """Whether all are vectors of one float type and lane count; an intrinsic over others does not exist."""
    return all(isinstance(kind, Vector) and kind.element != "bool" for kind in kinds) and len(set(kinds)) == 1


def is_masks(*kinds: object) -> bool:
    """Whether all are results of comparisons with one lane count."""
    return all(isinstance(kind, Vector) and kind.element == "bool" for kind in kinds) and len(set(kinds)) == 1


def lanes_of(kind: object, element: str) -> Vector | None:
    """The vector type with as many lanes as an integer written in the source says; None if it says none."""
    lanes = getattr(kind, "literal_value", None)
    powers = (1, 2, 4, 8, 16, 32, MAX_LANES)
    return Vector(element, lanes) if isinstance(lanes, int) and lanes in powers else None


def pointer(builder: ir.IRBuilder, address: ir.Value, pointee: ir.Type) -> ir.Value:
    """An integer address as a pointer."""
    return builder.inttoptr(address, pointee.as_pointer())


def call_llvm(builder: ir.IRBuilder, name: str, result: ir.Type, args: list[ir.Value]) -> ir.Value:
    """A call of the LLVM intrinsic `name`, declared where it is used first."""
    module = builder.module
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(result, [a.type for a in args]), name)
    return builder.call(function, args)


def shuffle(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, lanes: list[int]) -> ir.Value:
    """The lanes with these numbers in `a` followed by `b`."""
    kind = ir.VectorType(ir.IntType(32), len(lanes))
    return builder.shuffle_vector(a, b, ir.Constant(kind, lanes))


def spread(builder: ir.IRBuilder, value: ir.Value, lanes: int) -> ir.Value:
    """A vector with `value` in every lane."""
    kind = ir.VectorType(value.type, lanes)
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    return shuffle(builder, one, one, [0] * lanes)


def first_lanes(builder: ir.IRBuilder, count: ir.Value, lanes: int) -> ir.Value:
    """A mask that is true in the lanes before `count`."""
    kind = ir.VectorType(ir.IntType(64), lanes)
    return builder.icmp_signed("<", ir.Constant(kind, list(range(lanes))), spread(builder, count, lanes))


def load_masked(builder: ir.IRBuilder, address: ir.Value, mask: ir.Value, kind: ir.VectorType) -> ir.Value:
    """The lanes of memory where `mask` is true, zeros elsewhere; other lanes are not touched."""
    suffix = f"v{kind.count}f{64 if isinstance(kind.element, ir.DoubleType) else 32}"
    return call_llvm(
        builder,
        f"llvm.masked.load.{suffix}.p0",
        kind,
        [
            pointer(builder, address, kind),
            ir.Constant(ir.IntType(32), 1),
            mask,
            ir.Constant(kind, [0.0] * kind.count),
        ],
    )


def native_bytes() -> int:
    """Bytes of the widest vector register that compiled code may use: 64, 32 or 16."""
    features = config.CPU_FEATURES
    if features is None:
        have = {name for name, there in binding.get_host_cpu_features().items() if there}
    else:
        have = {part[1:] for part in features.split(",") if part.startswith("+")}
    if {"avx512f", "avx512dq", "avx512vl"} <= have:
        return 64
    return 32 if "avx" in have else 16


__all__ = [
    "ELEMENTS",
    "ELEMENT_BYTES",
    "Vector",
    "call_llvm",
    "first_lanes",
    "is_floats",
    "is_masks",
    "lanes_of",
    "load_masked",
    "native_bytes",
    "pointer",
    "shuffle",
    "spread",
]
