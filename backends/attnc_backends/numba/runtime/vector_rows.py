"""Dot products of many short rows at once, as many as a vector has lanes.

Short rows lie side by side in one vector, and their products are summed by neighbours, in a tree whose result
has one row's sum in each lane, in the rows' order. `part` is a witness for a row as it lies in memory: its
lane count is the padded width of a row (a power of two, at most that of `like`), its element type that of
storage, widened to that of `like` on the way.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from attnc_backends.numba.vectors import (
    Vector,
    call_llvm,
    first_lanes,
    is_floats,
    load_masked,
    pointer,
    shuffle,
)


@intrinsic
def _vec_load_as(
    typingctx: object, address: types.Type, like: types.Type, part: types.Type
) -> tuple[object, object] | None:
    if not (is_floats(like) and is_floats(part)):
        return None
    stored = Vector(part.element, like.lanes)

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        value = builder.load(pointer(builder, args[0], stored.llvm), align=1)
        return value if stored == like else builder.fpext(value, like.llvm)

    return like(types.int64, like, part), codegen


@njit(nogil=True, error_model="numpy")
def vec_load_as(address: int, like: object, part: object) -> object:
    """As many elements as `like` has lanes, stored in the element type of `part`, widened to fit `like`."""
    return _vec_load_as(address, like, part)


@intrinsic
def _vec_load_first_as(
    typingctx: object, address: types.Type, count: types.Type, like: types.Type, part: types.Type
) -> tuple[object, object] | None:
    if not (is_floats(like) and is_floats(part)):
        return None
    stored = Vector(part.element, like.lanes)

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        value = load_masked(builder, args[0], first_lanes(builder, args[1], like.lanes), stored.llvm)
        return value if stored == like else builder.fpext(value, like.llvm)

    return like(types.int64, types.int64, like, part), codegen


@njit(nogil=True, error_model="numpy")
def vec_load_first_as(address: int, count: int, like: object, part: object) -> object:
    """The same for the first `count` elements, then zeros; memory behind them is not touched."""
    return _vec_load_first_as(address, count, like, part)


@intrinsic
def _vec_row(
    typingctx: object, address: types.Type, width: types.Type, like: types.Type, part: types.Type
) -> tuple[object, object] | None:
    if not (is_floats(like) and is_floats(part)):
        return None
    piece = Vector(like.element, part.lanes)

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        row = load_masked(builder, args[0], first_lanes(builder, args[1], piece.lanes), piece.llvm)
        return shuffle(builder, row, row, [n % piece.lanes for n in range(like.lanes)])

    return like(types.int64, types.int64, like, part), codegen


@njit(nogil=True, error_model="numpy")
def vec_row(address: int, width: int, like: object, part: object) -> object:
    """A row of `width` elements in the type of `like`, padded with zeros to the lanes of `part`, repeated."""
    return _vec_row(address, width, like, part)


@intrinsic
def _vec_packed_products(
    typingctx: object, keys: types.Type, query: types.Type, size: types.Type, part: types.Type
) -> tuple[object, object] | None:
    if not (is_floats(query, size) and is_floats(part)):
        return None
    count, stored = part.lanes, Vector(part.element, query.lanes)
    sums = types.UniTuple(query, count)
    result = types.Tuple((sums, size))

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        keys, query_value, most, _ = args
        jump = stored.lanes * (8 if stored.element == "f64" else 4)
        products = []
        for n in range(count):
            at = builder.add(keys, ir.Constant(ir.IntType(64), n * jump))
            row = builder.load(pointer(builder, at, stored.llvm), align=1)
            row = row if stored == query else builder.fpext(row, query.llvm)
            large = call_llvm(builder, f"llvm.fabs.{query.suffix}", query.llvm, [row])
            most = builder.select(builder.fcmp_ordered(">", large, most), large, most)
            products.append(builder.fmul(row, query_value))
        terms = context.make_tuple(builder, sums, products)  # type: ignore[attr-defined]  # numba's
        return context.make_tuple(builder, result, (terms, most))  # type: ignore[attr-defined]  # numba's

    return result(types.int64, query, size, part), codegen


@njit(nogil=True, error_model="numpy")
def vec_packed_products(keys: int, query: object, size: object, part: object) -> object:
    """Products of a tiled query with rows that fill `part` and lie one behind the other: as many vectors as
    `part` has lanes, and `size` raised to the largest magnitude met.
    """
    return _vec_packed_products(keys, query, size, part)


@intrinsic
def _vec_row_products(
    typingctx: object,
    keys: types.Type,
    step: types.Type,
    width: types.Type,
    query: types.Type,
    size: types.Type,
    part: types.Type,
) -> tuple[object, object] | None:
    if not (is_floats(query, size) and is_floats(part)):
        return None
    count, sums = part.lanes, types.UniTuple(query, part.lanes)
    result = types.Tuple((sums, size))

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        at, step_value, width_value, query_value, most, _ = args
        mask = first_lanes(builder, width_value, count)
        products = []
        for _vector in range(count):
            pieces = []
            for _row in range(query.lanes // count):
                pieces.append(load_masked(builder, at, mask, part.llvm))
                at = builder.add(at, step_value)
            while len(pieces) > 1:
                both = list(range(2 * pieces[0].type.count))
                pieces = [shuffle(builder, pieces[n], pieces[n + 1], both) for n in range(0, len(pieces), 2)]
            row = pieces[0] if part.element == query.element else builder.fpext(pieces[0], query.llvm)
            large = call_llvm(builder, f"llvm.fabs.{query.suffix}", query.llvm, [row])
            most = builder.select(builder.fcmp_ordered(">", large, most), large, most)
            products.append(builder.fmul(row, query_value))
        terms = context.make_tuple(builder, sums, products)  # type: ignore[attr-defined]  # numba's
        return context.make_tuple(builder, result, (terms, most))  # type: ignore[attr-defined]  # numba's

    return result(types.int64, types.int64, types.int64, query, size, part), codegen


@njit(nogil=True, error_model="numpy")
def vec_row_products(keys: int, step: int, width: int, query: object, size: object, part: object) -> object:
    """The same for rows of `width` elements, `step` bytes apart."""
    return _vec_row_products(keys, step, width, query, size, part)


@intrinsic
def _vec_tree(typingctx: object, sums: types.Type) -> tuple[object, object] | None:
    if not (isinstance(sums, types.UniTuple) and is_floats(sums.dtype)):
        return None
    like = sums.dtype

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        level = [builder.extract_value(args[0], n) for n in range(sums.count)]
        while len(level) > 1:
            pairs = [(level[n], level[n + 1]) for n in range(0, len(level), 2)]
            level = []
            for x, y in pairs:
                even, odd = (shuffle(builder, x, y, list(range(n, 2 * like.lanes, 2))) for n in (0, 1))
                level.append(builder.fadd(even, odd))
        return level[0]

    return like(sums), codegen


@njit(nogil=True, error_model="numpy")
def vec_tree(sums: object) -> object:
    """Sums of neighbours until one vector is left: lane `n` is the sum of the `n`-th group of lanes, as many
    lanes as there are vectors.
    """
    return _vec_tree(sums)
