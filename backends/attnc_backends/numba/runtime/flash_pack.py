"""Rows in memory to lanes and back: squares of as many rows and columns as a vector has lanes, transposed in
registers.

`rows` is the address of a table of addresses, one for each row of a block. What is no whole square goes
element by element.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from attnc_backends.numba.runtime.flash import flash_divide, flash_start
from attnc_backends.numba.runtime.flash_outer import FLASH_VECTORS
from attnc_backends.numba.runtime.memory import load_f32, load_f64, load_i64, small_code, store_f32, store_f64
from attnc_backends.numba.runtime.vector import (
    vec_element_bytes,
    vec_fill,
    vec_lanes,
    vec_load,
    vec_mul,
    vec_store,
)
from attnc_backends.numba.vectors import Vector, is_floats, pointer, shuffle


def _flash_transposed(builder: ir.IRBuilder, like: Vector, square: list[ir.Value]) -> list[ir.Value]:
    """As many vectors as they have lanes, lane `n` of vector `m` swapped with lane `m` of vector `n`."""
    lanes, step = like.lanes, 1
    while step < lanes:
        upper = [n if not n & step else lanes + n - step for n in range(lanes)]
        lower = [n + step if not n & step else lanes + n for n in range(lanes)]
        swapped = list(square)
        for n in range(lanes):
            if not n & step:
                swapped[n] = shuffle(builder, square[n], square[n + step], upper)
                swapped[n + step] = shuffle(builder, square[n], square[n + step], lower)
        square, step = swapped, 2 * step
    return square


@intrinsic
def _flash_pack_square(
    typingctx: object,
    rows: types.Type,
    offset: types.Type,
    out: types.Type,
    jump: types.Type,
    like: types.Type,
) -> tuple[object, object] | None:
    if not is_floats(like):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        rows, offset, out, jump, _ = args
        square = []
        for n in range(like.lanes):
            place = builder.add(rows, ir.Constant(ir.IntType(64), 8 * n))
            row = builder.load(pointer(builder, place, ir.IntType(64)), align=1)
            square.append(builder.load(pointer(builder, builder.add(row, offset), like.llvm), align=1))
        for column in _flash_transposed(builder, like, square):
            builder.store(column, pointer(builder, out, like.llvm), align=1)
            out = builder.add(out, jump)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(*[types.int64] * 4, like), codegen


@njit(nogil=True, error_model="numpy")
def flash_pack_square(rows: int, offset: int, out: int, jump: int, like: object) -> None:
    """A square, `offset` bytes into its rows, to vectors `jump` bytes apart."""
    _flash_pack_square(rows, offset, out, jump, like)


@intrinsic
def _flash_unpack_square(
    typingctx: object,
    source: types.Type,
    jump: types.Type,
    rows: types.Type,
    offset: types.Type,
    like: types.Type,
) -> tuple[object, object] | None:
    if not is_floats(like):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        source, jump, rows, offset, _ = args
        square = []
        for _n in range(like.lanes):
            square.append(builder.load(pointer(builder, source, like.llvm), align=1))
            source = builder.add(source, jump)
        for n, column in enumerate(_flash_transposed(builder, like, square)):
            place = builder.add(rows, ir.Constant(ir.IntType(64), 8 * n))
            row = builder.load(pointer(builder, place, ir.IntType(64)), align=1)
            builder.store(column, pointer(builder, builder.add(row, offset), like.llvm), align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(*[types.int64] * 4, like), codegen


@njit(nogil=True, error_model="numpy")
def flash_unpack_square(source: int, jump: int, rows: int, offset: int, like: object) -> None:
    """Vectors `jump` bytes apart to a square, `offset` bytes into its rows."""
    _flash_unpack_square(source, jump, rows, offset, like)


@njit(nogil=True, error_model="numpy")
def flash_copy(out: int, source: int, like: object) -> None:
    """Copy one element."""
    if vec_element_bytes(like) == 8:
        store_f64(out, load_f64(source))
    else:
        store_f32(out, load_f32(source))


@njit(nogil=True, error_model="numpy")
def flash_pack(rows: int, count: int, element: int, width: int, out: int, like: object) -> None:
    """The first `width` elements of `count` rows, `element` bytes apart, to the lanes of a block."""
    small_code()
    lanes, size = vec_lanes(like), vec_element_bytes(like)
    jump = FLASH_VECTORS * lanes * size
    for first in range(0, count, lanes):
        done = 0
        if element == size and first + lanes <= count:
            done = width - width % lanes
            for c in range(0, done, lanes):
                flash_pack_square(rows + 8 * first, c * size, out + c * jump + first * size, jump, like)
        for r in range(first, min(first + lanes, count)):
            row = load_i64(rows + 8 * r)
            for c in range(done, width):
                flash_copy(out + c * jump + r * size, row + c * element, like)


@njit(nogil=True, error_model="numpy")
def flash_unpack(source: int, rows: int, count: int, element: int, width: int, like: object) -> None:
    """The way back."""
    small_code()
    lanes, size = vec_lanes(like), vec_element_bytes(like)
    jump = FLASH_VECTORS * lanes * size
    for first in range(0, count, lanes):
        done = 0
        if element == size and first + lanes <= count:
            done = width - width % lanes
            for c in range(0, done, lanes):
                flash_unpack_square(source + c * jump + first * size, jump, rows + 8 * first, c * size, like)
        for r in range(first, min(first + lanes, count)):
            row = load_i64(rows + 8 * r)
            for c in range(done, width):
                flash_copy(row + c * element, source + c * jump + r * size, like)


@njit(nogil=True, error_model="numpy")
def flash_pack_negated(block: int, width: int, like: object) -> None:
    """Turn the sign of packed rows, for a scale that is negative."""
    size = vec_lanes(like) * vec_element_bytes(like)
    for at in range(block, block + FLASH_VECTORS * size * width, size):
        vec_store(at, vec_mul(vec_load(at, like), vec_fill(-1.0, like)))


@njit(nogil=True, error_model="numpy")
def flash_begin(
    state: int,
    out: int,
    value_width: int,
    rows: int,
    count: int,
    element: int,
    width: int,
    block: int,
    like: object,
) -> None:
    """No key met yet, and `count` query rows packed."""
    flash_start(state, out, value_width, like)
    flash_pack(rows, count, element, width, block, like)


@njit(nogil=True, error_model="numpy")
def flash_end(out: int, width: int, factors: int, rows: int, count: int, element: int, like: object) -> None:
    """Multiply each row's output with its factor, and unpack `count` rows."""
    flash_divide(out, width, factors, like)
    flash_unpack(out, rows, count, element, width, like)
