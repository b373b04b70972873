"""The inner loops of attention of few query rows: elements of keys and values in the lanes, read as they lie.

`part` is a witness for keys or values in memory, `bf16` and `f16` included; sums have as many lanes, in the
type that such numbers are computed in. Query rows are looked at one by one or, where the caller's source has
`many` as 1, `decode_together` of them at a time, which share what is read. A row's result does not depend on
it.
"""

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from attnc_backends.numba.vectors import (
    ELEMENT_BYTES,
    ELEMENTS,
    Vector,
    call_llvm,
    carried_loop,
    first_lanes,
    is_stored,
    lanes_of,
    load_wide,
    pointer,
    shuffle,
    spread,
)

_UNROLLED = 4
"""Vectors of a row that one round of a loop reads."""

_I64 = ir.IntType(64)


@intrinsic(prefer_literal=True)
def vec_bf16(typingctx: object, lanes: types.Type) -> tuple[object, object] | None:
    """The witness of `lanes` numbers of 16 bits, as bfloat16."""
    if not (vector := lanes_of(lanes, "bf16")):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return ir.Constant(vector.llvm, [0] * vector.lanes)

    return vector(lanes), codegen


@intrinsic(prefer_literal=True)
def vec_f16(typingctx: object, lanes: types.Type) -> tuple[object, object] | None:
    """The witness of `lanes` numbers of 16 bits, as IEEE halves."""
    if not (vector := lanes_of(lanes, "f16")):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return ir.Constant(vector.llvm, [0] * vector.lanes)

    return vector(lanes), codegen


@intrinsic
def _vec_wide(typingctx: object, part: types.Type) -> tuple[object, object] | None:
    if not is_stored(part):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return ir.Constant(part.wide.llvm, [0.0] * part.lanes)

    return part.wide(part), codegen


@njit(nogil=True, error_model="numpy")
def vec_wide(part: object) -> object:
    """The witness of what numbers stored as `part` are computed in."""
    return _vec_wide(part)


def _decode_height(part: Vector) -> int:
    """How many query rows share what is read: 4 with 32 vector registers, 2 where there may be 16."""
    return 4 if part.lanes * ELEMENT_BYTES[part.wide.element] == 64 else 2


def _decode_rows(part: Vector, many: object) -> int | None:
    """How many query rows at a time, if the source of the caller says so."""
    number = getattr(many, "literal_value", None)
    return None if number is None else _decode_height(part) if number else 1


@intrinsic
def _decode_together(typingctx: object, part: types.Type) -> tuple[object, object] | None:
    if not is_stored(part):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return ir.Constant(_I64, _decode_height(part))

    return types.int64(part), codegen


@njit(nogil=True, error_model="numpy")
def decode_together(part: object) -> int:
    """How many query rows share what is read; a constant of the compiled code."""
    return _decode_together(part)


@intrinsic
def _decode_stored_bytes(typingctx: object, part: types.Type) -> tuple[object, object] | None:
    if not is_stored(part):
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        return ir.Constant(_I64, ELEMENT_BYTES[part.element])

    return types.int64(part), codegen


@njit(nogil=True, error_model="numpy")
def decode_stored_bytes(part: object) -> int:
    """Bytes of one element as it is stored; a constant of the compiled code."""
    return _decode_stored_bytes(part)


def _decode_offset(builder: ir.IRBuilder, base: ir.Value, number: int, jump: ir.Value) -> ir.Value:
    return builder.add(base, builder.mul(ir.Constant(_I64, number), jump))


def _decode_muladd(builder: ir.IRBuilder, wide: Vector, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    return call_llvm(builder, f"llvm.fmuladd.{wide.suffix}", wide.llvm, [a, b, c])


def _decode_dots(
    builder: ir.IRBuilder,
    part: Vector,
    keys: list[ir.Value],
    queries: list[ir.Value],
    width: ir.Value,
) -> list[list[ir.Value]]:
    """For each query, for each key, a vector whose lanes add up to their dot product."""
    wide, lanes = part.wide, part.lanes
    size, wide_size = ELEMENT_BYTES[part.element], ELEMENT_BYTES[wide.element]
    zero, none = ir.Constant(wide.llvm, [0.0] * lanes), ir.Constant(_I64, 0)

    def products(c: ir.Value, sums: list[ir.Value], vectors: int, mask: ir.Value | None) -> list[ir.Value]:
        grown = list(sums)
        # Key by key, from its first byte to its last: other orders of reading run at half the speed of
        # memory.
        for x, key in enumerate(keys):
            for v in range(vectors):
                offset, wide_offset = (
                    builder.add(builder.mul(c, ir.Constant(_I64, n)), ir.Constant(_I64, v * lanes * n))
                    for n in (size, wide_size)
                )
                row = load_wide(builder, builder.add(key, offset), part, mask)
                for n, query in enumerate(queries):
                    factor = load_wide(builder, builder.add(query, wide_offset), wide, None)
                    place = n * len(keys) + x
                    grown[place] = _decode_muladd(builder, wide, row, factor, grown[place])
        return grown

    sums, done = [zero] * (len(keys) * len(queries)), none
    for vectors in (_UNROLLED, 1):
        until = builder.and_(width, ir.Constant(_I64, -lanes * vectors))

        def body(c: ir.Value, before: list[ir.Value], vectors: int = vectors) -> list[ir.Value]:
            return products(c, before, vectors, None)

        sums, done = carried_loop(builder, done, until, lanes * vectors, sums, body), until
    left, after = builder.sub(width, done), builder.block
    with builder.if_then(builder.icmp_signed(">", left, none)):
        last, tail = products(done, sums, 1, first_lanes(builder, left, lanes)), builder.block
    totals = []
    for total, end in zip(sums, last):
        totals.append(builder.phi(wide.llvm))
        totals[-1].add_incoming(total, after)
        totals[-1].add_incoming(end, tail)
    return [totals[n * len(keys) : (n + 1) * len(keys)] for n in range(len(queries))]


def _decode_tree(builder: ir.IRBuilder, part: Vector, level: list[ir.Value]) -> ir.Value:
    """The sums of the lanes of as many vectors as they have lanes, in their order.

    First inside quarters of 16 bytes, where moves are cheap, then between those.
    """
    lanes, unit = part.lanes, 16 // ELEMENT_BYTES[part.wide.element]
    group = 1
    while len(level) > 1:
        if group < unit:
            # Of each quarter the halves of x and y in turn: x0 y0 x1 y1 and x2 y2 x3 y3, then in pairs.
            low = [
                quarter + start + n + side
                for quarter in range(0, lanes, unit)
                for start in range(0, unit // 2, group)
                for side in (0, lanes)
                for n in range(group)
            ]
            high = [n + unit // 2 for n in low]
        else:
            units = range(0, 2 * lanes, 2 * unit)
            low = [first + n for first in units for n in range(unit)]
            high = [n + unit for n in low]
        pairs = [(level[n], level[n + 1]) for n in range(0, len(level), 2)]
        level = [builder.fadd(shuffle(builder, x, y, low), shuffle(builder, x, y, high)) for x, y in pairs]
        group *= 2
    return level[0]


@intrinsic(prefer_literal=True)
def decode_score_rows(
    typingctx: object,
    out: types.Type,
    jump: types.Type,
    queries: types.Type,
    query_jump: types.Type,
    keys: types.Type,
    step: types.Type,
    valid: types.Type,
    width: types.Type,
    part: types.Type,
    many: types.Type,
) -> tuple[object, object] | None:
    """Dot products of query rows with as many keys as makes a vector of results: `lanes / rows` keys, of
    which `valid` exist; those beyond are read as the last. Results of one query lie side by side.

    Rows of results are `jump` bytes apart, those of queries (padded with zeros to whole vectors, in the type
    of sums) `query_jump`, keys `step`.
    """
    if not is_stored(part) or (count := _decode_rows(part, many)) is None:
        return None
    per = part.lanes // count
    at_once = 1 if count == 1 else per

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        out, jump, queries, query_jump, keys, step, valid, width, _, _ = args
        wide, size = part.wide, part.lanes * ELEMENT_BYTES[part.wide.element]
        with builder.goto_entry_block():
            sums = builder.alloca(ir.ArrayType(wide.llvm, part.lanes))
            sums.align = size
        base = builder.ptrtoint(sums, _I64)
        rows = [_decode_offset(builder, queries, n, query_jump) for n in range(count)]
        beyond = builder.sub(valid, ir.Constant(_I64, 1))

        def score(x: ir.Value, before: list[ir.Value]) -> list[ir.Value]:
            places = []
            for n in range(at_once):
                number = builder.add(x, ir.Constant(_I64, n))
                number = builder.select(builder.icmp_signed("<", number, beyond), number, beyond)
                places.append(builder.add(keys, builder.mul(number, step)))
            here = builder.add(base, builder.mul(x, ir.Constant(_I64, size)))
            for n, found in enumerate(_decode_dots(builder, part, places, rows, width)):
                for y, total in enumerate(found):
                    place = builder.add(here, ir.Constant(_I64, (n * per + y) * size))
                    builder.store(total, pointer(builder, place, wide.llvm))
            return []

        carried_loop(builder, ir.Constant(_I64, 0), ir.Constant(_I64, per), at_once, [], score)
        level = []
        for n in range(part.lanes):
            place = builder.add(base, ir.Constant(_I64, n * size))
            level.append(builder.load(pointer(builder, place, wide.llvm)))
        total = _decode_tree(builder, part, level)
        for n in range(count):
            results = shuffle(builder, total, total, list(range(n * per, (n + 1) * per)))
            kind = ir.VectorType(ELEMENTS[wide.element], per)
            builder.store(results, pointer(builder, _decode_offset(builder, out, n, jump), kind), align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(*[types.int64] * 8, part, many), codegen


@intrinsic(prefer_literal=True)
def decode_value_columns(
    typingctx: object,
    out: types.Type,
    jump: types.Type,
    weights: types.Type,
    weight_jump: types.Type,
    values: types.Type,
    step: types.Type,
    count: types.Type,
    left: types.Type,
    part: types.Type,
    many: types.Type,
    vectors: types.Type,
) -> tuple[object, object] | None:
    """Add weights times values, summed over `count` rows of values (at least one) from zero, to `vectors`
    vectors of each row of output. With 0 vectors it is one of which `left` columns exist.
    """
    columns = getattr(vectors, "literal_value", None)
    if not is_stored(part) or columns is None or (rows := _decode_rows(part, many)) is None:
        return None

    def codegen(context: object, builder: ir.IRBuilder, signature: object, args: list[ir.Value]) -> ir.Value:
        out, jump, weights, weight_jump, values, step, count, left, _, _, _ = args
        wide, size = part.wide, ELEMENT_BYTES[part.element]
        wide_size = ELEMENT_BYTES[wide.element]
        mask = first_lanes(builder, left, part.lanes) if columns == 0 else None
        number = columns or 1
        zero = ir.Constant(wide.llvm, [0.0] * part.lanes)
        sources = [_decode_offset(builder, weights, n, weight_jump) for n in range(rows)]
        before, loop = builder.block, builder.append_basic_block("decode.loop")
        after = builder.append_basic_block("decode.end")
        builder.branch(loop)
        builder.position_at_end(loop)
        x, value = builder.phi(_I64), builder.phi(_I64)
        sums = [builder.phi(wide.llvm) for _ in range(rows * number)]
        row = []
        for n in range(number):
            place = builder.add(value, ir.Constant(_I64, n * part.lanes * size))
            row.append(load_wide(builder, place, part, mask))
        grown = []
        offset = builder.mul(x, ir.Constant(_I64, wide_size))
        for n, source in enumerate(sources):
            place = pointer(builder, builder.add(source, offset), ELEMENTS[wide.element])
            factor = spread(builder, builder.load(place, align=1), part.lanes)
            for v in range(number):
                grown.append(_decode_muladd(builder, wide, row[v], factor, sums[n * number + v]))
        next_x = builder.add(x, ir.Constant(_I64, 1))
        next_value = builder.add(value, step)
        builder.cbranch(builder.icmp_signed("<", next_x, count), loop, after)
        x.add_incoming(ir.Constant(_I64, 0), before)
        x.add_incoming(next_x, loop)
        value.add_incoming(values, before)
        value.add_incoming(next_value, loop)
        for phi, more in zip(sums, grown):
            phi.add_incoming(zero, before)
            phi.add_incoming(more, loop)
        builder.position_at_end(after)
        for n in range(rows):
            base = _decode_offset(builder, out, n, jump)
            for v in range(number):
                place = builder.add(base, ir.Constant(_I64, v * part.lanes * wide_size))
                target = pointer(builder, place, wide.llvm)
                joined = builder.fadd(builder.load(target, align=1), grown[n * number + v])
                builder.store(joined, target, align=1)
        return ir.Constant(ir.IntType(8).as_pointer(), None)  # no value

    return types.void(*[types.int64] * 8, part, many, vectors), codegen
