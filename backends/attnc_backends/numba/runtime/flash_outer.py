"""The inner loop of dense attention: sums of outer products that stay in registers.

A register tile has `flash_rows` rows of up to `FLASH_VECTORS` vectors. Each step of the loop reads vectors
that lie side by side, reads one element of each row, wherever rows lie, and adds their products: 24
multiply-adds with 16 lanes of f32, for 3 loads of vectors and 8 of elements. Rows beyond the last are read as
the last, so that no address is ever outside an array; what they give is for the caller to leave aside. A
block of few query rows fills fewer vectors; how many is a number in the source of the caller, `used`.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from attnc_backends.numba.vectors import (
    ELEMENT_BYTES,
    ELEMENTS,
    Vector,
    call_llvm,
    is_floats,
    pointer,
    spread,
)

FLASH_VECTORS = 3
"""Vectors of query rows in a block."""

_I64 = ir.IntType(64)


def _flash_height(like: Vector) -> int:
    """Rows of a register tile: 8 where there are 32 vector registers, 4 where there may be 16."""
    return 8 if like.lanes * ELEMENT_BYTES[like.element] == 64 else 4


def _flash_sums(
    builder: ir.IRBuilder,
    like: Vector,
    packed: ir.Value,
    rows: list[ir.Value],
    step: ir.Value,
    count: ir.Value,
    used: int,
) -> list[list[ir.Value]]:
    """Sums over `n < count` of element `n` of each row times `used` vectors `n` of `packed`, row by row."""
    vector_bytes = like.lanes * ELEMENT_BYTES[like.element]
    jump = ir.Constant(_I64, FLASH_VECTORS * vector_bytes)
    zero = ir.Constant(like.llvm, [0.0] * like.lanes)
    end = builder.add(packed, builder.mul(count, jump))
    bases = [pointer(builder, row, ir.IntType(8)) for row in rows]
    before = builder.block
    loop, after = builder.append_basic_block("flash.loop"), builder.append_basic_block("flash.end")
    builder.cbranch(builder.icmp_signed(">", count, ir.Constant(_I64, 0)), loop, after)

    builder.position_at_end(loop)
    at, offset = builder.phi(_I64), builder.phi(_I64)
    sums = [[builder.phi(like.llvm) for _ in range(used)] for _ in rows]
    vectors = []
    for n in range(used):
        place = builder.add(at, ir.Constant(_I64, n * vector_bytes))
        vectors.append(builder.load(pointer(builder, place, like.llvm), align=1))
    grown = []
    for base, row in zip(bases, sums):
        place = builder.bitcast(builder.gep(base, [offset]), ELEMENTS[like.element].as_pointer())
        factor = spread(builder, builder.load(place, align=1), like.lanes)
        name = f"llvm.fmuladd.{like.suffix}"
        grown.append([call_llvm(builder, name, like.llvm, [factor, x, y]) for x, y in zip(vectors, row)])
    next_at, next_offset = builder.add(at, jump), builder.add(offset, step)
    builder.cbranch(builder.icmp_unsigned("<", next_at, end), loop, after)
    at.add_incoming(packed, before)
    at.add_incoming(next_at, loop)
    offset.add_incoming(ir.Constant(_I64, 0), before)
    offset.add_incoming(next_offset, loop)

    builder.position_at_end(after)
    results: list[list[ir.Value]] = []
    for row, row_grown in zip(sums, grown):
        results.append([])
        for total, total_grown in zip(row, row_grown):
            total.add_incoming(zero, before)
            total.add_incoming(total_grown, loop)
            result = builder.phi(like.llvm)
            result.add_incoming(zero, before)
            result.add_incoming(total_grown, loop)
            results[-1].append(result)
    return results


def _flash_rows_from(
    builder: ir.IRBuilder, like: Vector, base: ir.Value, step: ir.Value, valid: ir.Value
) -> list[ir.Value]:
    """The addresses of a register tile's rows; those beyond the `valid` first are the last of them."""
    rows = [base]
    for n in range(1, _flash_height(like)):
        there = builder.icmp_signed("<", ir.Constant(_I64, n), valid)
        rows.append(builder.select(there, builder.add(rows[-1], step), rows[-1]))
    return rows


def _flash_place(builder: ir.IRBuilder, like: Vector, base: ir.Value, number: int) -> ir.Value:
    """The address of vector `number` from `base` on."""
    offset = number * like.lanes * ELEMENT_BYTES[like.element]
    return pointer(builder, builder.add(base, ir.Constant(_I64, offset)), like.llvm)


@intrinsic
def _flash_rows(typingctx: object, like: types.Type) -> tuple[object, object] | None:
    if not is_floats(like):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return ir.Constant(_I64, _flash_height(like))

    return types.int64(like), codegen


@njit(nogil=True, error_model="numpy")
def flash_rows(like: object) -> int:
    """Rows of a register tile; a constant of the compiled code."""
    return _flash_rows(like)


@intrinsic(prefer_literal=True)
def flash_score_rows(
    typingctx: object,
    out: types.Type,
    keys: types.Type,
    step: types.Type,
    element: types.Type,
    valid: types.Type,
    queries: types.Type,
    width: types.Type,
    top: types.Type,
    like: types.Type,
    used: types.Type,
) -> tuple[object, object] | None:
    """Scores of one register tile of keys, `valid` of which exist, against a packed block of queries; `top`
    is raised to the largest, where NaN counts for nothing.
    """
    vectors = getattr(used, "literal_value", None)
    if not is_floats(like) or vectors is None:
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        out, keys, step, element, valid, queries, width, top, _, _ = args
        rows = _flash_rows_from(builder, like, keys, step, valid)
        sums = _flash_sums(builder, like, queries, rows, element, width, vectors)
        for n in range(vectors):
            place = _flash_place(builder, like, top, n)
            most = builder.load(place, align=1)
            for x, row in enumerate(sums):
                builder.store(row[n], _flash_place(builder, like, out, x * FLASH_VECTORS + n), align=1)
                most = builder.select(builder.fcmp_ordered(">", row[n], most), row[n], most)
            builder.store(most, place, align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(*[types.int64] * 8, like, used), codegen


@intrinsic(prefer_literal=True)
def flash_value_rows(
    typingctx: object,
    out: types.Type,
    shrink: types.Type,
    weights: types.Type,
    values: types.Type,
    step: types.Type,
    element: types.Type,
    valid: types.Type,
    count: types.Type,
    like: types.Type,
    used: types.Type,
) -> tuple[object, object] | None:
    """`out = out * shrink + sum of weights * values` for one register tile of value columns.

    The sum is over `count` keys and taken from zero, so that its rounding does not grow with what `out`
    holds already.
    """
    vectors = getattr(used, "literal_value", None)
    if not is_floats(like) or vectors is None:
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        out, shrink, weights, values, step, element, valid, count, _, _ = args
        rows = _flash_rows_from(builder, like, values, element, valid)
        sums = _flash_sums(builder, like, weights, rows, step, count, vectors)
        factors = [builder.load(_flash_place(builder, like, shrink, n), align=1) for n in range(vectors)]
        for x, row in enumerate(sums):
            for n in range(vectors):
                place = _flash_place(builder, like, out, x * FLASH_VECTORS + n)
                operands = [builder.load(place, align=1), factors[n], row[n]]
                joined = call_llvm(builder, f"llvm.fmuladd.{like.suffix}", like.llvm, operands)
                builder.store(joined, place, align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(*[types.int64] * 8, like, used), codegen
