"""Raw memory: typed loads and stores at byte addresses, half-width floats, block moves, fused multiply-add.

An address is an int64 count of bytes and need not be aligned: every load and store is emitted with
alignment 1, which costs nothing on current hardware and lets regions be laid out by plain sums of bytes.
Nothing here checks bounds; the caller owns the memory.

Each instruction is an intrinsic `_name` with a compiled function `name` around it, which carries the types of
the call (an intrinsic's own definition takes a typing context instead) and is callable from Python. LLVM
inlines the wrapper.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

DT_F64 = 0
DT_F32 = 1
DT_BF16 = 2
DT_F16 = 3

_F32_ABS = 0x7FFFFFFF
_F32_INF = 0x7F800000
_F16_INF = 0x7C00
_F16_OVERFLOW_AS_F32 = 0x477FF000  # 65520, the midpoint of the largest half and 2**16: ties to infinity
_F16_NORMAL_AS_F32 = 0x38800000  # 2**-14, the smallest normal half
_F16_REBIAS_AS_F32 = 112 << 23  # (127 - 15) exponent steps
_F16_SUBNORMAL_UNIT = 2.0**-24


@intrinsic
def out_of_line(typingctx: object) -> tuple[object, object]:
    """As the first statement of a function: no caller gets a copy of it. For what is large or seldom called.

    Numba hands `forceinline` down to whatever a function calls; this undoes that.
    """

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        builder.function.attributes.discard("alwaysinline")
        builder.function.attributes.add("noinline")
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(), codegen


@intrinsic
def small_code(typingctx: object) -> tuple[object, object]:
    """As the first statement of a function: its loops are neither unrolled nor copied for special cases. That
    takes long to compile and gains nothing where the vectors are written out.
    """

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        builder.function.attributes.add("optsize")
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(), codegen


@intrinsic
def _load_f64(typingctx: object, address: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.DoubleType().as_pointer())
        return builder.load(pointer, align=1)

    return types.float64(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def load_f64(address: int) -> float:
    """The double at `address`."""
    return _load_f64(address)


@intrinsic
def _load_f32(typingctx: object, address: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.FloatType().as_pointer())
        return builder.load(pointer, align=1)

    return types.float32(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def load_f32(address: int) -> float:
    """The float32 at `address`, as a float32."""
    return _load_f32(address)


@intrinsic
def _load_i64(typingctx: object, address: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load(pointer, align=1)

    return types.int64(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def load_i64(address: int) -> int:
    """The signed 64-bit integer at `address`."""
    return _load_i64(address)


@intrinsic
def _load_i32(typingctx: object, address: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.IntType(32).as_pointer())
        return builder.sext(builder.load(pointer, align=1), ir.IntType(64))

    return types.int64(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def load_i32(address: int) -> int:
    """The signed 32-bit integer at `address`, widened to int64."""
    return _load_i32(address)


@intrinsic
def _load_u16(typingctx: object, address: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.IntType(16).as_pointer())
        return builder.zext(builder.load(pointer, align=1), ir.IntType(64))

    return types.int64(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def load_u16(address: int) -> int:
    """The unsigned 16-bit integer at `address`, widened to int64."""
    return _load_u16(address)


@intrinsic
def _load_u8(typingctx: object, address: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        return builder.zext(builder.load(pointer, align=1), ir.IntType(64))

    return types.int64(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def load_u8(address: int) -> int:
    """The byte at `address`, widened to int64. A boolean is stored as the byte 0 or 1."""
    return _load_u8(address)


@intrinsic
def _store_f64(typingctx: object, address: types.Type, value: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.DoubleType().as_pointer())
        builder.store(args[1], pointer, align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(types.int64, types.float64), codegen


@njit(nogil=True, error_model="numpy")
def store_f64(address: int, value: float) -> None:
    """Write `value` as a double."""
    _store_f64(address, value)


@intrinsic
def _store_f32(typingctx: object, address: types.Type, value: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.FloatType().as_pointer())
        builder.store(args[1], pointer, align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(types.int64, types.float32), codegen


@njit(nogil=True, error_model="numpy")
def store_f32(address: int, value: float) -> None:
    """Write `value` as a float32, rounded to nearest even when it comes as a double."""
    _store_f32(address, value)


@intrinsic
def _store_i64(typingctx: object, address: types.Type, value: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        builder.store(args[1], pointer, align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(types.int64, types.int64), codegen


@njit(nogil=True, error_model="numpy")
def store_i64(address: int, value: int) -> None:
    """Write `value` as a 64-bit integer."""
    _store_i64(address, value)


@intrinsic
def _store_i32(typingctx: object, address: types.Type, value: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.IntType(32).as_pointer())
        builder.store(builder.trunc(args[1], ir.IntType(32)), pointer, align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(types.int64, types.int64), codegen


@njit(nogil=True, error_model="numpy")
def store_i32(address: int, value: int) -> None:
    """Write the low 32 bits of `value`."""
    _store_i32(address, value)


@intrinsic
def _store_u16(typingctx: object, address: types.Type, value: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.IntType(16).as_pointer())
        builder.store(builder.trunc(args[1], ir.IntType(16)), pointer, align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(types.int64, types.int64), codegen


@njit(nogil=True, error_model="numpy")
def store_u16(address: int, value: int) -> None:
    """Write the low 16 bits of `value`."""
    _store_u16(address, value)


@intrinsic
def _store_u8(typingctx: object, address: types.Type, value: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = builder.inttoptr(args[0], ir.IntType(8).as_pointer())
        builder.store(builder.trunc(args[1], ir.IntType(8)), pointer, align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(types.int64, types.int64), codegen


@njit(nogil=True, error_model="numpy")
def store_u8(address: int, value: int) -> None:
    """Write the low 8 bits of `value`."""
    _store_u8(address, value)


@intrinsic
def _float64_bits(typingctx: object, value: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.bitcast(args[0], ir.IntType(64))

    return types.int64(types.float64), codegen


@njit(nogil=True, error_model="numpy")
def float64_bits(value: float) -> int:
    """The IEEE bits of a double, as int64."""
    return _float64_bits(value)


@intrinsic
def _float64_from_bits(typingctx: object, bits: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def float64_from_bits(bits: int) -> float:
    """The double whose IEEE bits are `bits`."""
    return _float64_from_bits(bits)


@intrinsic
def _float32_bits(typingctx: object, value: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.zext(builder.bitcast(args[0], ir.IntType(32)), ir.IntType(64))

    return types.int64(types.float32), codegen


@njit(nogil=True, error_model="numpy")
def float32_bits(value: float) -> int:
    """The IEEE bits of a float32, as a non-negative int64."""
    return _float32_bits(value)


@intrinsic
def _float32_from_bits(typingctx: object, bits: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.bitcast(builder.trunc(args[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def float32_from_bits(bits: int) -> float:
    """The float32 whose IEEE bits are the low 32 bits of `bits`."""
    return _float32_from_bits(bits)


@intrinsic
def _fma(typingctx: object, x: types.Type, y: types.Type, z: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.fma(args[0], args[1], args[2])

    return types.float64(types.float64, types.float64, types.float64), codegen


@njit(nogil=True, error_model="numpy")
def fma(x: float, y: float, z: float) -> float:
    """x * y + z over doubles, rounded once."""
    return _fma(x, y, z)


@intrinsic
def _copy_bytes(typingctx: object, dst: types.Type, src: types.Type, n: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = ir.IntType(8).as_pointer()
        move = builder.module.declare_intrinsic("llvm.memmove", [pointer, pointer, ir.IntType(64)])
        target = builder.inttoptr(args[0], pointer)
        source = builder.inttoptr(args[1], pointer)
        builder.call(move, [target, source, args[2], ir.Constant(ir.IntType(1), 0)])
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(types.int64, types.int64, types.int64), codegen


@njit(nogil=True, error_model="numpy")
def copy_bytes(dst: int, src: int, n: int) -> None:
    """Copy `n` bytes from `src` to `dst`; the two may overlap (memmove)."""
    _copy_bytes(dst, src, n)


@intrinsic
def _fill_zero(typingctx: object, dst: types.Type, n: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        pointer = ir.IntType(8).as_pointer()
        fill = builder.module.declare_intrinsic("llvm.memset", [pointer, ir.IntType(64)])
        target = builder.inttoptr(args[0], pointer)
        zero = ir.Constant(ir.IntType(8), 0)
        builder.call(fill, [target, zero, args[1], ir.Constant(ir.IntType(1), 0)])
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(types.int64, types.int64), codegen


@njit(nogil=True, error_model="numpy")
def fill_zero(dst: int, n: int) -> None:
    """Set the `n` bytes at `dst` to zero."""
    _fill_zero(dst, n)


def _asks(builder: ir.IRBuilder, address: ir.Value, write: int) -> ir.Value:
    pointer = ir.IntType(8).as_pointer()
    i32 = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer, i32, i32, i32])
    name = "llvm.prefetch.p0i8"
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    builder.call(function, [builder.inttoptr(address, pointer), i32(write), i32(3), i32(1)])
    return ir.Constant(pointer, None)  # no value


@intrinsic
def _prefetch(typingctx: object, address: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return _asks(builder, args[0], 0)

    return types.void(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def prefetch(address: int) -> None:
    """Ask for the cache line at `address`, which need not be valid."""
    _prefetch(address)


@intrinsic
def _prefetch_write(typingctx: object, address: types.Type) -> tuple[object, object]:
    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return _asks(builder, args[0], 1)

    return types.void(types.int64), codegen


@njit(nogil=True, error_model="numpy")
def prefetch_write(address: int) -> None:
    """Ask for the cache line at `address`, which need not be valid, to write to it."""
    _prefetch_write(address)


@njit(nogil=True, error_model="numpy")
def load_bf16(address: int) -> float:
    """The bfloat16 at `address`, as a float32 (exact: a bfloat16 is the upper half of a float32)."""
    return float32_from_bits(load_u16(address) << 16)


@njit(nogil=True, error_model="numpy")
def store_bf16(address: int, value: float) -> None:
    """Write a float32 `value` as a bfloat16, rounded to nearest even; a NaN stays a NaN, quietened.

    A double argument is rounded to float32 first; round it once yourself when that matters.
    """
    bits = float32_bits(value)
    if (bits & _F32_ABS) > _F32_INF:
        # Dropping the low payload bits could leave an infinity, so set the quiet bit.
        store_u16(address, (bits >> 16) | 0x40)
    else:
        store_u16(address, (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)


@njit(nogil=True, error_model="numpy")
def load_f16(address: int) -> float:
    """The IEEE half at `address`, as a float32 (exact, subnormals included)."""
    half = load_u16(address)
    sign = (half & 0x8000) << 16
    magnitude = half & 0x7FFF
    if magnitude >= _F16_INF:
        bits = sign | _F32_INF | ((magnitude & 0x3FF) << 13)
    elif magnitude >= 0x400:
        bits = sign | ((magnitude << 13) + _F16_REBIAS_AS_F32)
    else:
        bits = sign | float32_bits(magnitude * _F16_SUBNORMAL_UNIT)
    return float32_from_bits(bits)


@njit(nogil=True, error_model="numpy")
def store_f16(address: int, value: float) -> None:
    """Write a float32 `value` as an IEEE half, rounded to nearest even; a NaN stays a NaN, quietened.

    A double argument is rounded to float32 first; round it once yourself when that matters.
    """
    bits = float32_bits(value)
    sign = (bits >> 16) & 0x8000
    magnitude = bits & _F32_ABS
    if magnitude > _F32_INF:
        half = _F16_INF | 0x200 | ((magnitude >> 13) & 0x3FF)
    elif magnitude >= _F16_OVERFLOW_AS_F32:
        half = _F16_INF
    elif magnitude >= _F16_NORMAL_AS_F32:
        rebiased = magnitude - _F16_REBIAS_AS_F32
        half = (rebiased + 0xFFF + ((rebiased >> 13) & 1)) >> 13
    elif magnitude < (102 << 23):
        half = 0  # below half of the smallest subnormal
    else:
        # A subnormal half counts units of 2**-24: shift the significand into place and round by hand.
        significand = (magnitude & 0x7FFFFF) | 0x800000
        shift = 126 - (magnitude >> 23)
        half = significand >> shift
        rest = significand & ((1 << shift) - 1)
        midpoint = 1 << (shift - 1)
        if rest > midpoint or (rest == midpoint and (half & 1) == 1):
            half += 1
    store_u16(address, sign | half)


@njit(nogil=True, error_model="numpy")
def dtype_bytes(dtype: int) -> int:
    """Bytes of one element of storage dtype `DT_*`."""
    if dtype == DT_F64:
        return 8
    if dtype == DT_F32:
        return 4
    return 2


@njit(nogil=True, error_model="numpy")
def load_element(address: int, dtype: int) -> float:
    """The element of storage dtype `DT_*` at `address`, widened exactly to a double."""
    if dtype == DT_F64:
        return load_f64(address)
    if dtype == DT_F32:
        return float(load_f32(address))
    if dtype == DT_BF16:
        return float(load_bf16(address))
    return float(load_f16(address))
