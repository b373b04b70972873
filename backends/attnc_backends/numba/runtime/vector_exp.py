"""Powers of two of vectors, and bytes as masks."""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from attnc_backends.numba.vectors import call_llvm, is_floats, pointer

# 2**x on [-1/2, 1/2], interpolated at Chebyshev's points; relative errors 2.5e-9 and 4e-18.
_EXP2_F32 = [
    1.0,
    0.6931471824645996,
    0.24022650718688965,
    0.05550327152013779,
    0.009618056938052177,
    0.0013400427997112274,
    0.00015461444854736328,
]
_EXP2_F64 = [
    1.0,
    0.6931471805599453,
    0.24022650695910158,
    0.055504108664821625,
    0.009618129107587256,
    0.001333355814640647,
    0.00015403530463724353,
    1.5252733841556773e-05,
    1.3215432535912375e-06,
    1.0178057087733941e-07,
    7.074194297288521e-09,
    4.4558179083360645e-10,
]


@intrinsic
def _vec_power(typingctx: object, x: types.Type, factor: types.Type) -> tuple[object, object] | None:
    if not is_floats(x, factor):
        return None
    double = x.element == "f64"
    fraction, bias, lowest = (52, 1023, -1020) if double else (23, 127, -124)
    whole = 1.5 * 2.0**fraction
    bits = ir.VectorType(ir.IntType(64 if double else 32), x.lanes)

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        def every(number: float) -> ir.Value:
            return ir.Constant(x.llvm, [number] * x.lanes)

        def muladd(a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
            return call_llvm(builder, f"llvm.fmuladd.{x.suffix}", x.llvm, [a, b, c])

        def integers(number: int) -> ir.Value:
            return ir.Constant(bits, [number] * x.lanes)

        # Adding 1.5 * 2**fraction rounds to a whole number, which the low bits of the sum then hold.
        shifted = muladd(args[0], args[1], every(whole))
        rest = muladd(args[0], args[1], builder.fneg(builder.fsub(shifted, every(whole))))
        terms = _EXP2_F64 if double else _EXP2_F32
        total = every(terms[-1])
        for term in terms[-2::-1]:
            total = muladd(total, rest, every(term))
        power = builder.shl(builder.bitcast(shifted, bits), integers(fraction))
        power = builder.bitcast(builder.add(power, integers(bias << fraction)), x.llvm)
        # A product, not a sum of exponents: NaN stays NaN whatever its bits say.
        result = builder.fmul(total, power)
        return builder.select(builder.fcmp_ordered("<", shifted, every(whole + lowest)), every(0.0), result)

    return x(x, factor), codegen


@njit(nogil=True, error_model="numpy")
def vec_power(x: object, factor: object) -> object:
    """`2**(x * factor)` for products of at most 0, to about one unit in the last place; 0 below 2**-124 (f64:
    2**-1020). NaN for NaN.
    """
    return _vec_power(x, factor)


@intrinsic
def _vec_mask_load(typingctx: object, address: types.Type, like: types.Type) -> tuple[object, object] | None:
    if not is_floats(like):
        return None
    kind = ir.VectorType(ir.IntType(8), like.lanes)

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        stored = builder.load(pointer(builder, args[0], kind), align=1)
        return builder.icmp_unsigned("!=", stored, ir.Constant(kind, [0] * like.lanes))

    return like.mask(types.int64, like), codegen


@njit(nogil=True, error_model="numpy")
def vec_mask_load(address: int, like: object) -> object:
    """A mask, true where a byte at `address` is not 0."""
    return _vec_mask_load(address, like)


@intrinsic
def _vec_mask_store(typingctx: object, address: types.Type, mask: types.Type) -> tuple[object, object] | None:
    if not (hasattr(mask, "element") and mask.element == "bool"):
        return None
    kind = ir.VectorType(ir.IntType(8), mask.lanes)

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        builder.store(builder.zext(args[1], kind), pointer(builder, args[0], kind), align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(types.int64, mask), codegen


@njit(nogil=True, error_model="numpy")
def vec_mask_store(address: int, mask: object) -> None:
    """One byte for each lane: 1 where the mask is true, else 0."""
    _vec_mask_store(address, mask)


@intrinsic
def _vec_negative_zero(typingctx: object, x: types.Type) -> tuple[object, object] | None:
    if not is_floats(x):
        return None
    size = 64 if x.element == "f64" else 32
    bits = ir.VectorType(ir.IntType(size), x.lanes)

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        sign = ir.Constant(bits, [1 << (size - 1)] * x.lanes)
        return builder.icmp_unsigned("==", builder.bitcast(args[0], bits), sign)

    return x.mask(x), codegen


@njit(nogil=True, error_model="numpy")
def vec_negative_zero(x: object) -> object:
    """Where a lane is `-0.0`, and not `0.0`. A mask."""
    return _vec_negative_zero(x)
