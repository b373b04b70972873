"""Bits of a word: where the lowest and the highest one set stands."""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


@intrinsic
def _lowest_bit(typingctx: object, word: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def lowest_bit(word: int) -> int:
    """The number of the lowest set bit; 64 for 0."""
    return _lowest_bit(word)


@intrinsic
def _leading_zeros(typingctx: object, word: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def leading_zeros(word: int) -> int:
    """How many bits above the highest set one are 0; 64 for 0."""
    return _leading_zeros(word)
