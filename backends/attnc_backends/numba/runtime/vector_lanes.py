"""The vector layer between lanes: comparisons, masks, reductions, neighbours.

Comparisons give masks, which `vec_select`, `vec_any`, `vec_all` and `vec_bits` read; where an operand is NaN
they are false.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from attnc_backends.numba.vectors import call_llvm, is_floats, is_masks, shuffle


@intrinsic
def _vec_less(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not is_floats(x, y):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.fcmp_ordered("<", args[0], args[1])

    return x.mask(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_less(x: object, y: object) -> object:
    """`x < y`. A mask."""
    return _vec_less(x, y)


@intrinsic
def _vec_equal(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not is_floats(x, y):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.fcmp_ordered("==", args[0], args[1])

    return x.mask(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_equal(x: object, y: object) -> object:
    """`x == y`. A mask."""
    return _vec_equal(x, y)


@intrinsic
def _vec_at_least(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not is_floats(x, y):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.fcmp_ordered(">=", args[0], args[1])

    return x.mask(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_at_least(x: object, y: object) -> object:
    """`x >= y`. A mask."""
    return _vec_at_least(x, y)


@intrinsic
def _vec_and(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not is_masks(x, y):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.and_(args[0], args[1])

    return x(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_and(x: object, y: object) -> object:
    """Where both are true."""
    return _vec_and(x, y)


@intrinsic
def _vec_or(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not is_masks(x, y):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.or_(args[0], args[1])

    return x(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_or(x: object, y: object) -> object:
    """Where either is true."""
    return _vec_or(x, y)


@intrinsic
def _vec_not(typingctx: object, x: types.Type) -> tuple[object, object] | None:
    if not is_masks(x):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.not_(args[0])

    return x(x), codegen


@njit(nogil=True, error_model="numpy")
def vec_not(x: object) -> object:
    """Where it is false."""
    return _vec_not(x)


@intrinsic
def _vec_select(
    typingctx: object, mask: types.Type, x: types.Type, y: types.Type
) -> tuple[object, object] | None:
    if not (is_floats(x, y) and mask == x.mask):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.select(args[0], args[1], args[2])

    return x(mask, x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_select(mask: object, x: object, y: object) -> object:
    """`x` where the mask is true, else `y`; the other one is not looked at."""
    return _vec_select(mask, x, y)


@intrinsic
def _vec_any(typingctx: object, mask: types.Type) -> tuple[object, object] | None:
    if not is_masks(mask):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return call_llvm(builder, f"llvm.vector.reduce.or.{mask.suffix}", ir.IntType(1), args)

    return types.boolean(mask), codegen


@njit(nogil=True, error_model="numpy")
def vec_any(mask: object) -> bool:
    """Whether any lane is true."""
    return _vec_any(mask)


@intrinsic
def _vec_all(typingctx: object, mask: types.Type) -> tuple[object, object] | None:
    if not is_masks(mask):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return call_llvm(builder, f"llvm.vector.reduce.and.{mask.suffix}", ir.IntType(1), args)

    return types.boolean(mask), codegen


@njit(nogil=True, error_model="numpy")
def vec_all(mask: object) -> bool:
    """Whether all lanes are true."""
    return _vec_all(mask)


@intrinsic
def _vec_bits(typingctx: object, mask: types.Type) -> tuple[object, object] | None:
    if not is_masks(mask):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        bits = builder.bitcast(args[0], ir.IntType(mask.lanes))
        return bits if mask.lanes == 64 else builder.zext(bits, ir.IntType(64))

    return types.int64(mask), codegen


@njit(nogil=True, error_model="numpy")
def vec_bits(mask: object) -> int:
    """The mask as an integer: bit `n` is lane `n`."""
    return _vec_bits(mask)


@intrinsic
def _vec_sum(typingctx: object, x: types.Type) -> tuple[object, object] | None:
    if not is_floats(x):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        value, lanes = args[0], x.lanes
        while lanes > 1:
            lanes //= 2
            low, high = (shuffle(builder, value, value, list(range(n, n + lanes))) for n in (0, lanes))
            value = builder.fadd(low, high)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return x.scalar(x), codegen


@njit(nogil=True, error_model="numpy")
def vec_sum(x: object) -> float:
    """The sum of all lanes, in halves: lane `n` and lane `n + lanes / 2` first."""
    return _vec_sum(x)


@intrinsic
def _vec_top(typingctx: object, x: types.Type) -> tuple[object, object] | None:
    if not is_floats(x):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        value, lanes = args[0], x.lanes
        while lanes > 1:
            lanes //= 2
            low, high = (shuffle(builder, value, value, list(range(n, n + lanes))) for n in (0, lanes))
            value = builder.select(builder.fcmp_ordered(">", low, high), low, high)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return x.scalar(x), codegen


@njit(nogil=True, error_model="numpy")
def vec_top(x: object) -> float:
    """The largest lane; of NaN lanes nothing is promised."""
    return _vec_top(x)


@intrinsic
def _vec_bottom(typingctx: object, x: types.Type) -> tuple[object, object] | None:
    if not is_floats(x):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        value, lanes = args[0], x.lanes
        while lanes > 1:
            lanes //= 2
            low, high = (shuffle(builder, value, value, list(range(n, n + lanes))) for n in (0, lanes))
            value = builder.select(builder.fcmp_ordered("<", low, high), low, high)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return x.scalar(x), codegen


@njit(nogil=True, error_model="numpy")
def vec_bottom(x: object) -> float:
    """The smallest lane; of NaN lanes nothing is promised."""
    return _vec_bottom(x)


@intrinsic
def _vec_lane(typingctx: object, x: types.Type, index: types.Type) -> tuple[object, object] | None:
    if not is_floats(x):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return builder.extract_element(args[0], args[1])

    return x.scalar(x, types.int64), codegen


@njit(nogil=True, error_model="numpy")
def vec_lane(x: object, index: int) -> float:
    """One lane."""
    return _vec_lane(x, index)


@intrinsic
def _vec_pair_sums(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not (is_floats(x, y) and x.lanes > 1):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        even, odd = (shuffle(builder, args[0], args[1], list(range(n, 2 * x.lanes, 2))) for n in (0, 1))
        return builder.fadd(even, odd)

    return x(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_pair_sums(x: object, y: object) -> object:
    """Sums of neighbours: `x0 + x1, x2 + x3, ..., y0 + y1, ...`."""
    return _vec_pair_sums(x, y)


@intrinsic
def _vec_next(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not is_floats(x, y):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return shuffle(builder, args[0], args[1], list(range(1, x.lanes + 1)))

    return x(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_next(x: object, y: object) -> object:
    """The lanes of `x` from the second on, then the first of `y`."""
    return _vec_next(x, y)


@intrinsic
def _vec_zip_even(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not (is_floats(x, y) and x.lanes > 1):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        lanes = [n for lane in range(0, x.lanes, 2) for n in (lane, lane + x.lanes)]
        return shuffle(builder, args[0], args[1], lanes)

    return x(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_zip_even(x: object, y: object) -> object:
    """The even lanes of both in turn: `x0, y0, x2, y2, ...`."""
    return _vec_zip_even(x, y)


@intrinsic
def _vec_zip_odd(typingctx: object, x: types.Type, y: types.Type) -> tuple[object, object] | None:
    if not (is_floats(x, y) and x.lanes > 1):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        lanes = [n for lane in range(1, x.lanes, 2) for n in (lane, lane + x.lanes)]
        return shuffle(builder, args[0], args[1], lanes)

    return x(x, y), codegen


@njit(nogil=True, error_model="numpy")
def vec_zip_odd(x: object, y: object) -> object:
    """The odd lanes of both in turn: `x1, y1, x3, y3, ...`."""
    return _vec_zip_odd(x, y)


@intrinsic
def _vec_mask(typingctx: object, bits: types.Type, like: types.Type) -> tuple[object, object] | None:
    if not is_floats(like):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        low = builder.trunc(args[0], ir.IntType(like.lanes))
        return builder.bitcast(low, like.mask.llvm)

    return like.mask(types.int64, like), codegen


@njit(nogil=True, error_model="numpy")
def vec_mask(bits: int, like: object) -> object:
    """The mask of a vector like `like` whose lane i is bit i of `bits`."""
    return _vec_mask(bits, like)
