"""Vectors as values of compiled code: their Numba type, and how wide they are on this machine.

A vector is one LLVM value. Its type carries element type and lane count, so a kernel written over a vector
argument is compiled once for each width it is used at, and every width compiles on every machine: LLVM splits
what the hardware does not have. The operations are intrinsics in `runtime/vector.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import config
from numba.extending import models, register_model

ELEMENTS = {
    "f64": ir.DoubleType(),
    "f32": ir.FloatType(),
    "bool": ir.IntType(1),
    "bf16": ir.IntType(16),
    "f16": ir.IntType(16),
}
ELEMENT_BYTES = {"f64": 8, "f32": 4, "bf16": 2, "f16": 2}
MAX_LANES = 64


class Vector(types.Type):  # type: ignore[misc]  # numba has no types
    """`lanes` elements `f64` or `f32`, or `bool` for the result of a comparison; `bf16` and `f16` are numbers
    as they lie in memory, which arithmetic does not know.
    """

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
    def wide(self) -> Vector:
        """What numbers stored as these are computed in: as many f32 for 16 bits."""
        return Vector("f32", self.lanes) if ELEMENT_BYTES[self.element] == 2 else self

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
    return is_stored(*kinds) and all(kind == kind.wide for kind in kinds)  # type: ignore[attr-defined]


def is_stored(*kinds: object) -> bool:
    """The same, where 16 bits will do."""
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
    element = {ir.DoubleType(): "f64", ir.FloatType(): "f32", ir.IntType(16): "i16"}[kind.element]
    suffix = f"v{kind.count}{element}"
    return call_llvm(
        builder,
        f"llvm.masked.load.{suffix}.p0",
        kind,
        [
            pointer(builder, address, kind),
            ir.Constant(ir.IntType(32), 1),
            mask,
            ir.Constant(kind, [0 if element == "i16" else 0.0] * kind.count),
        ],
    )


def load_wide(builder: ir.IRBuilder, address: ir.Value, stored: Vector, mask: ir.Value | None) -> ir.Value:
    """A vector of memory in the type that it is computed in; only the lanes of `mask`, if given."""
    if mask is None:
        value = builder.load(pointer(builder, address, stored.llvm), align=1)
    else:
        value = load_masked(builder, address, mask, stored.llvm)
    if stored.element == "bf16":
        bits = ir.VectorType(ir.IntType(32), stored.lanes)
        value = builder.shl(builder.zext(value, bits), ir.Constant(bits, [16] * stored.lanes))
        return builder.bitcast(value, stored.wide.llvm)
    if stored.element == "f16":
        value = builder.bitcast(value, ir.VectorType(ir.HalfType(), stored.lanes))
        return builder.fpext(value, stored.wide.llvm)
    return value


def carried_loop(
    builder: ir.IRBuilder,
    first: ir.Value,
    end: ir.Value,
    step: int,
    values: list[ir.Value],
    body: Callable[[ir.Value, list[ir.Value]], list[ir.Value]],
) -> list[ir.Value]:
    """A loop from `first` to `end`, not entered where nothing is left. `body` makes the values that one round
    hands to the next; the last are returned.
    """
    kind, before = ir.IntType(64), builder.block
    loop, after = builder.append_basic_block("loop"), builder.append_basic_block("end")
    builder.cbranch(builder.icmp_signed("<", first, end), loop, after)
    builder.position_at_end(loop)
    at = builder.phi(kind)
    carried = [builder.phi(x.type) for x in values]
    grown = body(at, carried)
    following, last = builder.add(at, ir.Constant(kind, step)), builder.block
    builder.cbranch(builder.icmp_signed("<", following, end), loop, after)
    at.add_incoming(first, before)
    at.add_incoming(following, last)
    builder.position_at_end(after)
    results = []
    for start, phi, more in zip(values, carried, grown, strict=True):
        phi.add_incoming(start, before)
        phi.add_incoming(more, last)
        results.append(builder.phi(start.type))
        results[-1].add_incoming(start, before)
        results[-1].add_incoming(more, last)
    return results


def _features() -> set[str]:
    """What the processor that code is compiled for can do."""
    features = config.CPU_FEATURES
    if features is None:
        return {name for name, there in binding.get_host_cpu_features().items() if there}
    return {part[1:] for part in features.split(",") if part.startswith("+")}


def has_halves() -> bool:
    """Whether compiled code may turn IEEE halves into f32 in vectors."""
    return bool({"f16c", "neon"} & _features())


def native_bytes() -> int:
    """Bytes of the widest vector register that compiled code may use: 64, 32 or 16."""
    have = _features()
    if {"avx512f", "avx512dq", "avx512vl"} <= have:
        return 64
    return 32 if "avx" in have else 16


__all__ = [
    "ELEMENTS",
    "ELEMENT_BYTES",
    "Vector",
    "call_llvm",
    "carried_loop",
    "first_lanes",
    "has_halves",
    "is_floats",
    "is_masks",
    "is_stored",
    "lanes_of",
    "load_masked",
    "load_wide",
    "native_bytes",
    "pointer",
    "shuffle",
    "spread",
]
