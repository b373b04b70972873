"""The vector layer: loads, arithmetic, comparisons and reductions over LLVM vectors.

A vector argument called `like` is a witness: only its type counts, and it decides element type and lane count
of the result. So a kernel is written once and compiled for every width that its callers pass; `vec_f64(8)`
and `vec_f32(16)` make the first witness. Memory need not be aligned. Comparisons, masks, reductions and moves
between lanes are in `vector_lanes.py`.
"""

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from attnc_backends.numba.runtime.memory import load_f32, load_f64, store_f32, store_f64
from attnc_backends.numba.vectors import (
    ELEMENT_BYTES,
    Vector,
    call_llvm,
    first_lanes,
    is_floats,
    lanes_of,
    load_masked,
    pointer,
    spread,
)


@intrinsic(prefer_literal=True)
def vec_f64(typingctx: object, lanes: types.Type) -> tuple[object, object] | None:
    """Zeros: the witness of a vector of `lanes` f64. `lanes` is a number in the source, or a global."""
    if not (vector := lanes_of(lanes, "f64")):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return ir.Constant(vector.llvm, [0.0] * vector.lanes)

    return vector(lanes), codegen


@intrinsic(prefer_literal=True)
def vec_f32(typingctx: object, lanes: types.Type) -> tuple[object, object] | None:
    """Zeros: the witness of a vector of `lanes` f32. `lanes` is a number in the source, or a global."""
    if not (vector := lanes_of(lanes, "f32")):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return ir.Constant(vector.llvm, [0.0] * vector.lanes)

    return vector(lanes), codegen


@intrinsic
def _vec_lanes(typingctx: object, like: types.Type) -> tuple[object, object] | None:
    if not isinstance(like, Vector):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return ir.Constant(ir.IntType(64), like.lanes)

    return types.int64(like), codegen


@njit(nogil=True, error_model="numpy")
def vec_lanes(like: object) -> int:
    """How many lanes; a constant of the compiled code."""
    return _vec_lanes(like)


@intrinsic
def _vec_element_bytes(typingctx: object, like: types.Type) -> tuple[object, object] | None:
    if not is_floats(like):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return ir.Constant(ir.IntType(64), ELEMENT_BYTES[like.element])

    return types.int64(like), codegen


@njit(nogil=True, error_model="numpy")
def vec_element_bytes(like: object) -> int:
    """Bytes of one element; a constant of the compiled code."""
    return _vec_element_bytes(like)


@njit(nogil=True, error_model="numpy")
def vec_get(at: int, like: object) -> float:
    """The one element at `at`, as a double."""
    if vec_element_bytes(like) == 8:
        return load_f64(at)
    return np.float64(load_f32(at))


@njit(nogil=True, error_model="numpy")
def vec_put(at: int, value: float, like: object) -> None:
    """Store a double as one element."""
    if vec_element_bytes(like) == 8:
        store_f64(at, value)
    else:
        store_f32(at, np.float32(value))


@intrinsic
def _vec_load(typingctx: object, address: types.Type, like: types.Type) -> tuple[object, object] | None:
    if not is_floats(like):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.load(pointer(builder, args[0], like.llvm), align=1)

    return like(types.int64, like), codegen


@njit(nogil=True, error_model="numpy")
def vec_load(address: int, like: object) -> object:
    """The elements at `address`."""
    return _vec_load(address, like)


@intrinsic
def _vec_load_first(
    typingctx: object, address: types.Type, count: types.Type, like: types.Type
) -> tuple[object, object] | None:
    if not is_floats(like):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return load_masked(builder, args[0], first_lanes(builder, args[1], like.lanes), like.llvm)

    return like(types.int64, types.int64, like), codegen


@njit(nogil=True, error_model="numpy")
def vec_load_first(address: int, count: int, like: object) -> object:
    """The first `count` elements at `address`, then zeros; memory behind them is not touched."""
    return _vec_load_first(address, count, like)


@intrinsic
def _vec_store(typingctx: object, address: types.Type, x: types.Type) -> tuple[object, object] | None:
    if not is_floats(x):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        builder.store(args[1], pointer(builder, args[0], x.llvm), align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(types.int64, x), codegen


@njit(nogil=True, error_model="numpy")
def vec_store(address: int, x: object) -> None:
    """Write all lanes."""
    _vec_store(address, x)


@intrinsic
def _vec_fill(typingctx: object, value: types.Type, like: types.Type) -> tuple[object, object] | None:
    if not is_floats(like):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return spread(builder, args[0], like.lanes)

    return like(like.scalar, like), codegen


@njit(nogil=True, error_model="numpy")
def vec_fill(value: float, like: object) -> object:
    """`value` in every lane, rounded to the element type."""
    return _vec_fill(value, like)


@intrinsic
def _vec_add(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not is_floats(x, y):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.fadd(args[0], args[1])

    return x(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_add(x: object, y: object) -> object:
    """`x + y`."""
    return _vec_add(x, y)


@intrinsic
def _vec_sub(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not is_floats(x, y):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.fsub(args[0], args[1])

    return x(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_sub(x: object, y: object) -> object:
    """`x - y`."""
    return _vec_sub(x, y)


@intrinsic
def _vec_mul(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not is_floats(x, y):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.fmul(args[0], args[1])

    return x(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_mul(x: object, y: object) -> object:
    """`x * y`."""
    return _vec_mul(x, y)


@intrinsic
def _vec_fma(typingctx: object, x: types.Type, y: types.Type, z: types.Type) -> tuple[object, object] | None:
    if not is_floats(x, y, z):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return call_llvm(builder, f"llvm.fma.{x.suffix}", x.llvm, args)

    return x(x, y, z), codegen


@njit(nogil=True, error_model="numpy")
def vec_fma(x: object, y: object, z: object) -> object:
    """`x * y + z`, rounded once; slow where the machine cannot."""
    return _vec_fma(x, y, z)


@intrinsic
def _vec_muladd(
    typingctx: object, x: types.Type, y: types.Type, z: types.Type
) -> tuple[object, object] | None:
    if not is_floats(x, y, z):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return call_llvm(builder, f"llvm.fmuladd.{x.suffix}", x.llvm, args)

    return x(x, y, z), codegen


@njit(nogil=True, error_model="numpy")
def vec_muladd(x: object, y: object, z: object) -> object:
    """`x * y + z`, rounded once or twice, whichever is faster."""
    return _vec_muladd(x, y, z)


@intrinsic
def _vec_min(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not is_floats(x, y):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.select(builder.fcmp_ordered("<", args[0], args[1]), args[0], args[1])

    return x(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_min(x: object, y: object) -> object:
    """The smaller one in each lane; `y` where either is NaN."""
    return _vec_min(x, y)


@intrinsic
def _vec_max(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not is_floats(x, y):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[0], args[1])

    return x(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_max(x: object, y: object) -> object:
    """The larger one in each lane; `y` where either is NaN."""
    return _vec_max(x, y)


@intrinsic
def _vec_abs(typingctx: object, x: types.Type) -> tuple[object, object] | None:
    if not is_floats(x):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return call_llvm(builder, f"llvm.fabs.{x.suffix}", x.llvm, args)

    return x(x), codegen


@njit(nogil=True, error_model="numpy")
def vec_abs(x: object) -> object:
    """Magnitudes."""
    return _vec_abs(x)


@intrinsic
def _vec_widen(typingctx: object, x: types.Type) -> tuple[object, object] | None:
    if not (isinstance(x, Vector) and x.element == "f32"):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.fpext(args[0], Vector("f64", x.lanes).llvm)

    return Vector("f64", x.lanes)(x), codegen


@njit(nogil=True, error_model="numpy")
def vec_widen(x: object) -> object:
    """Floats of 32 bits as doubles in as many lanes."""
    return _vec_widen(x)
