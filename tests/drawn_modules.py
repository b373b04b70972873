"""Hypothesis strategies for modules: every op, masks and biases of any shape, expressions, open dimensions, caches."""

from contextlib import suppress
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from attnc_ir.attributes.bias import Alibi, Bias, BiasTerm, ExprBias, Relative, TensorBias
from attnc_ir.attributes.empty import Empty, EmptyDefault, EmptyError, EmptyZero
from attnc_ir.attributes.mask import (
    And,
    Causal,
    Corner,
    Documents,
    Everything,
    Lengths,
    Mask,
    Not,
    Nothing,
    Or,
    Predicate,
    Prefix,
    TensorMask,
    Window,
)
from attnc_ir.attributes.modifier import ExprModifier
from attnc_ir.attributes.normalizer import Cut, Hardmax, Mean, Normalizer, Softmax, Tie, TopK
from attnc_ir.attributes.promise import Integer, Monotone
from attnc_ir.attributes.strategy import Dense, Extremum, Hull, Position, Uniform
from attnc_ir.attributes.strategy import Index as IndexStrategy
from attnc_ir.builder import GraphBuilder
from attnc_ir.errors import AttncError
from attnc_ir.expr import (
    COMPARISONS,
    Binary,
    BinaryOp,
    BoolLiteral,
    Expr,
    FloatLiteral,
    Index,
    IntLiteral,
    Lookup,
    Score,
    Unary,
    UnaryOp,
    Variable,
    Where,
)
from attnc_ir.graph import Graph, Module
from attnc_ir.op import operand_fields, registered_ops
from attnc_ir.ops import Attend, AttendStep
from attnc_ir.text import format_attributes
from attnc_ir.types import DType, TensorType
from attnc_ir.values import Value

DRAW = st.DrawFn

finite = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, 0.125, 1e300, 5e-324, 128**-0.5, 1 / 64**0.5, 2.0**53]),
    st.floats(allow_nan=False, allow_infinity=False),
)
positive = st.one_of(
    st.sampled_from([30.0, 0.5]), st.floats(min_value=1e-300, max_value=1e300, allow_nan=False)
)
int64 = st.one_of(st.integers(-3, 12), st.integers(-(2**63), 2**63 - 1))
counts = st.one_of(st.integers(0, 9), st.integers(0, 2**40))
alignments = st.one_of(st.none(), st.sampled_from(Corner), st.integers(-(2**40), 2**40))

# --- expressions ---

NUMERIC_1 = [UnaryOp.NEG, UnaryOp.ABS]
TRANSCENDENTAL = [op for op in UnaryOp if op.is_transcendental]
ARITHMETIC = [BinaryOp.ADD, BinaryOp.SUB, BinaryOp.MUL, BinaryOp.MIN, BinaryOp.MAX]


@st.composite
def integers(draw: DRAW, depth: int, table: Value | None = None) -> Expr:
    """An integer expression."""
    choice = draw(st.integers(0, 6)) if depth else draw(st.integers(0, 1))
    deeper = integers(depth - 1, table)
    if choice == 0:
        return IntLiteral(draw(int64))
    if choice == 1:
        return Index(draw(st.sampled_from(Variable)))
    if choice == 2:
        return Unary(draw(st.sampled_from(NUMERIC_1)), draw(deeper))
    if choice == 3:
        op = draw(st.sampled_from([BinaryOp.FLOORDIV, BinaryOp.MOD]))
        return Binary(op, draw(deeper), IntLiteral(draw(st.integers(1, 9))))
    if choice == 4:
        return Where(draw(conditions(depth - 1, table)), draw(deeper), draw(deeper))
    if choice == 5 and table is not None and table.tensor.dtype.is_int:
        return Lookup(table, tuple(draw(deeper) for _ in table.tensor.shape))
    return Binary(draw(st.sampled_from(ARITHMETIC)), draw(deeper), draw(deeper))


@st.composite
def floats(draw: DRAW, depth: int, exact: bool, scored: bool = False) -> Expr:
    """A float expression; an `exact` one has no transcendental function, a `scored` one may read the score."""
    choice = draw(st.integers(0, 5)) if depth else 0
    deeper = floats(depth - 1, exact, scored)
    if choice == 0:
        return Score() if scored and draw(st.booleans()) else FloatLiteral(draw(finite))
    if choice == 1:
        return Unary(draw(st.sampled_from(NUMERIC_1 + ([] if exact else TRANSCENDENTAL))), draw(deeper))
    if choice == 2:
        return Binary(BinaryOp.DIV, draw(integers(depth - 1)), draw(deeper))
    if choice == 3:
        return Where(draw(conditions(depth - 1)), draw(deeper), draw(integers(depth - 1)))
    left, right = draw(st.permutations([draw(deeper), draw(integers(depth - 1))]))
    return Binary(draw(st.sampled_from(ARITHMETIC)), left, right)


@st.composite
def conditions(draw: DRAW, depth: int, table: Value | None = None) -> Expr:
    """A condition."""
    choice = draw(st.integers(0, 4)) if depth else 0
    if choice == 0:
        return BoolLiteral(draw(st.booleans()))
    if choice == 1:
        return Unary(UnaryOp.NOT, draw(conditions(depth - 1, table)))
    if choice == 2:
        op = draw(st.sampled_from([BinaryOp.AND, BinaryOp.OR]))
        return Binary(op, draw(conditions(depth - 1, table)), draw(conditions(depth - 1, table)))
    op = draw(st.sampled_from(sorted(COMPARISONS, key=lambda op: op.value)))
    return Binary(op, draw(integers(depth - 1, table)), draw(integers(depth - 1, table)))


# --- attributes ---

normalizers: st.SearchStrategy[Normalizer] = st.one_of(
    st.just(Softmax()),
    st.just(Mean()),
    st.builds(Hardmax, st.sampled_from(Tie)),
    st.builds(TopK, st.integers(1, 2**31 - 1), st.sampled_from(Cut)),
)
inexact: st.SearchStrategy[Normalizer] = st.sampled_from([Softmax(), Mean()])
selecting: st.SearchStrategy[Normalizer] = st.one_of(
    st.builds(Hardmax, st.sampled_from([Tie.FIRST, Tie.LAST])),
    st.builds(TopK, st.integers(1, 2**31 - 1), st.sampled_from(Cut)),
)
strategies = st.sampled_from(
    [
        None,
        Dense(),
        Hull(),
        Hull(-1),
        Uniform(),
        Extremum(),
        Position(-3, 9, 1),
        IndexStrategy(1, 2.0, 0.5, -1.0, -0.0, 3.0, 99),
    ]
)
modifiers = st.builds(ExprModifier, floats(3, False, True))
promises = st.sampled_from([(Integer(),), (Integer(-3, 4), Monotone(0))])


@st.composite
def masks(draw: DRAW, extra: dict[str, Value], depth: int = 3) -> Mask:
    """A mask; `extra` holds the tensors it may use."""
    if depth and draw(st.booleans()):
        term = masks(extra, depth - 1)
        combine = draw(st.sampled_from([And, Or, Not]))
        return (
            Not(draw(term))
            if combine is Not
            else combine(tuple(draw(st.lists(term, min_size=2, max_size=3))))
        )
    leaves: list[st.SearchStrategy[Mask]] = [
        st.sampled_from([Everything(), Nothing()]),
        st.builds(Causal, alignments),
        st.builds(Window, counts, counts, alignments),
        st.builds(Prefix, counts),
        st.builds(Predicate, conditions(3, extra.get("ids"))),
    ]
    if extra:
        leaves += [
            st.sampled_from([Documents(extra["ids"], extra["key_ids"]), Documents(extra["ids"])]),
            st.just(Lengths(extra["lengths"], extra["lengths"])),
            st.sampled_from([Prefix(extra["lengths"]), TensorMask(extra["allowed"])]),
        ]
    return draw(st.one_of(leaves))


@st.composite
def biases(draw: DRAW, extra: dict[str, Value], exact: bool) -> Bias:
    """A sum of bias terms."""
    terms: list[st.SearchStrategy[BiasTerm]] = [st.builds(ExprBias, floats(3, exact))]
    if extra:
        terms.append(
            st.sampled_from([TensorBias(extra["bias"]), Alibi(extra["slopes"]), Relative(extra["table"])])
        )
    return tuple(draw(st.lists(st.one_of(terms), max_size=3)))


@st.composite
def attention(draw: DRAW, extra: dict[str, Value], wanted: str) -> dict[str, Any]:
    """The attributes of an attention op, the `wanted` one among them."""
    given = {"sinks": st.just(Softmax()), "modifier": inexact, "with_argmax": selecting}
    normalizer = draw(given.get(wanted, normalizers))
    empties: list[Empty] = [EmptyZero(), EmptyError()]
    if extra:
        empties.append(EmptyDefault(extra["row"]))
    drawn: dict[str, Any] = {
        "mask": draw(masks(extra)),
        "scale": draw(finite),
        "softcap": draw(st.none() | positive),
        "modifier": None if normalizer.is_exact else draw(st.none() | modifiers),
        "bias": draw(biases(extra, normalizer.is_exact)),
        "empty": draw(st.sampled_from(empties)),
        "tolerance": draw(st.none() | positive),
        "keys": draw(st.just(()) | promises),
        "strategy": draw(strategies),
    }
    if normalizer.is_exact and normalizer != Hardmax(Tie.MEAN):
        drawn["with_argmax"] = draw(st.booleans())
    if extra and isinstance(normalizer, Softmax):
        drawn["sinks"] = draw(st.sampled_from([None, extra["sinks"]]))
    stated: dict[str, st.SearchStrategy[Any]] = {
        "softcap": positive,
        "modifier": modifiers,
        "tolerance": positive,
        "keys": promises,
        "strategy": st.sampled_from([Dense(), Hull(), Uniform(), Extremum()]),
        "sinks": st.just(extra.get("sinks")),
        "with_argmax": st.just(True),
    }
    if wanted in stated:  # then not its default
        drawn[wanted] = draw(stated[wanted])
    kept = draw(st.sets(st.sampled_from(sorted(drawn)))) | {wanted}
    return {"normalizer": normalizer} | {name: value for name, value in drawn.items() if name in kept}


def results_of(attributes: dict[str, Any]) -> st.SearchStrategy[int]:
    """How many results an attention op may have."""
    positions = int(attributes.get("with_argmax", False))
    return st.integers(1 + positions, 2 + positions)


# --- graphs ---

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,6}", fullmatch=True)
SPECIAL = ["attend", "attend.step", "cache", "append"]
SIMPLE = sorted(registered_ops().keys() - set(SPECIAL))
DTYPES = st.sampled_from([DType.F64, DType.F32, DType.F16, DType.BF16])


def add_attention(draw: DRAW, b: GraphBuilder, wanted: str = "") -> None:
    """Inputs of all sorts, and an attention over them."""
    dtype, length = draw(DTYPES), draw(st.sampled_from(["N", "M", "?", "7"]))
    q = b.input("q" + str(draw(st.integers(0, 10**6))), f"{dtype}[B x 4 x N x 8]")
    k = b.input(f"{q.name}_k", f"{dtype}[B x 2 x {length} x 8]")
    v = b.input(f"{q.name}_v", f"{dtype}[B x 2 x {length} x 3]")
    kinds = {
        "ids": "i64[N]", "key_ids": f"i32[{length}]", "lengths": "i64[B]", "allowed": "bool[N x 1]", "bias": f"{dtype}[4 x 1 x 1]",
        "slopes": f"{dtype}[4]", "table": f"{dtype}[1 x 5]", "row": f"{dtype}[3]", "sinks": f"{dtype}[4]",
    }  # fmt: skip
    extra = {name: b.input(f"{q.name}_{name}", kind) for name, kind in kinds.items()}
    attributes = draw(attention(extra, wanted))
    b.op(Attend, q, k, v, results=draw(results_of(attributes)), **attributes)


def add_state(draw: DRAW, b: GraphBuilder, wanted: str = "") -> None:
    """A cache, an append and a step."""
    dtype, heads = draw(DTYPES), draw(st.sampled_from(["", "H", "B x H", "4", "?"]))
    row = f"{heads} x 2" if heads else "2"
    q = b.input(f"s{draw(st.integers(0, 10**6))}", f"{dtype}[{row}]")
    cache = b.cache(heads=f"[{heads}]", key=f"{dtype}[2]", value=f"{dtype}[2]")
    cache = b.append(cache, q, q) if draw(st.booleans()) else cache
    attributes = draw(attention({}, wanted))
    b.op(AttendStep, q, cache, results=draw(results_of(attributes)), **attributes)


def add_simple(draw: DRAW, b: GraphBuilder, name: str) -> None:
    """The op `name`, on values that are known."""
    known = [value for value in b.values if isinstance(value.type, TensorType)]
    cls = registered_ops()[name]
    kind = TensorType(
        draw(st.sampled_from(DType)),
        tuple(draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3))),
    )
    x = draw(st.sampled_from(known))
    axis = draw(st.integers(-2, 1))
    if name == "constant":
        many = draw(st.lists(finite, max_size=4))
        b.op(cls, type=kind, values=tuple(draw(st.sampled_from([[0.0], [1.0], many]))))
    elif name == "iota":
        b.op(cls, type=kind, axis=axis)
    elif name == "convert":
        b.op(cls, x, to=draw(st.sampled_from(DType)))
    elif name == "concat":
        b.op(cls, *[x] * draw(st.integers(1, 3)), axis=axis)
    elif name == "slice":
        b.op(cls, x, start=draw(st.integers(0, 1)), stop=draw(st.integers(1, 3)), axis=axis)
    elif name == "broadcast":
        b.op(cls, x, shape=(2, *x.tensor.shape))
    else:
        same = [v for v in known if v.type == x.type]
        operands = [draw(st.sampled_from(same or [x])) for _ in operand_fields(cls)]
        if name == "select":
            operands[0] = b.op(registered_ops()["le"], x, x)
        b.op(cls, *operands)


def add(draw: DRAW, b: GraphBuilder, name: str) -> None:
    """An op, with what it needs; `AttncError` when this draw does not type-check. A dot may name an attribute of it."""
    if name.startswith("attend.step"):
        add_state(draw, b, name.removeprefix("attend.step").lstrip("."))
    elif name in SPECIAL[2:] or name.split(".", maxsplit=1)[0] == "cache":
        add_state(draw, b)
    elif name.startswith("attend"):
        add_attention(draw, b, name.removeprefix("attend").lstrip("."))
    else:
        add_simple(draw, b, name.split(".", maxsplit=1)[0])


@st.composite
def graphs(draw: DRAW, name: str, wanted: str = "") -> Graph:
    """A graph that verifies; with the op or attribute that is `wanted`, such as `add` or `attend.mask`."""
    b = GraphBuilder(name)
    b.input(
        "x", draw(st.sampled_from(["f64[N x 2]", "f32[]", "i64[3 x 1]", "bool[2 x 2]", "f64[B x ? x 4]"]))
    )
    drawn = draw(st.lists(st.sampled_from([*SPECIAL[:2], *SIMPLE]), max_size=8))
    for op in [wanted, *drawn] if wanted else drawn:
        with suppress(AttncError):  # one that the builder refuses leaves it as it was
            add(draw, b, op)
    returnable = [value for value in b.values if isinstance(value.type, TensorType)]
    graph = b.build(*draw(st.lists(st.sampled_from(returnable), min_size=1, max_size=4)))
    assume(not wanted or wanted in contents(graph))
    return graph


def contents(graph: Graph) -> set[str]:
    """The ops of a graph by name, and as `op.attribute` the attributes that its text states."""
    ops = {op.mnemonic for op in graph.ops}
    return ops | {
        f"{op.mnemonic}.{text.split(' = ')[0]}" for op in graph.ops for text in format_attributes(op)
    }


@st.composite
def modules(draw: DRAW, wanted: str = "") -> Module:
    """A module of one to three graphs; with the op or attribute that is `wanted`."""
    taken = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    return Module((draw(graphs(taken[0], wanted)), *(draw(graphs(name)) for name in taken[1:])))
