"""The builder accepts what verifies, refuses the rest at the call that is wrong, and is unharmed by a refusal."""

import numpy as np
import pytest

from attnc_ir.attributes.mask import Causal, Corner, Window
from attnc_ir.attributes.normalizer import Hardmax, Softmax, Tie
from attnc_ir.builder import GraphBuilder
from attnc_ir.errors import ArgumentError, AttncError, SpecError
from attnc_ir.graph import Module
from attnc_ir.ops import Add, Append, Attend, AttendStep, Cache, Concat, Constant, Slice
from attnc_ir.text import format_graph, format_module, parse
from attnc_ir.types import DType, Symbol, TensorType


@pytest.fixture
def b() -> GraphBuilder:
    builder = GraphBuilder("f")
    builder.input("x", "f64[N x 4]")
    builder.input("p", "f32[4]")
    return builder


def test_objects_and_text_mean_the_same() -> None:
    graphs = []
    for kind, normalizer, mask in (
        ("f64[N x 2]", "hardmax(last)", "causal(bottom_right) & window(3, 0)"),
        (
            TensorType(DType.F64, (Symbol("N"), 2)),
            Hardmax(Tie.LAST),
            Causal(Corner.BOTTOM_RIGHT) & Window(3, 0),
        ),
    ):
        b = GraphBuilder("f")
        q = b.input("q", kind)
        graphs.append(b.build(b.attend(q, q, q, name="o", normalizer=normalizer, mask=mask)))
    assert graphs[0] == graphs[1]
    assert parse(format_graph(graphs[0])) == Module((graphs[0],))


def test_a_stateful_graph() -> None:
    b = GraphBuilder("memory")
    q, k, v = b.input("q", "f64[H x 2]"), b.input("k", "f64[H x 2]"), b.input("v", "f64[H x 3]")
    c = b.cache(heads="[H]", key="f64[2]", value="f64[3]")
    o = b.attend_step(q, b.append(c, k, v), normalizer=Hardmax(Tie.LAST), bias="expression(j - i)")
    graph = b.build(o)
    assert [type(op) for op in graph.ops] == [Cache, Append, AttendStep]
    assert parse(format_graph(graph)) == Module((graph,))


def test_attributes_name_values_of_the_graph(b: GraphBuilder) -> None:
    (x, _) = b.values
    ids = b.input("ids", "i64[N]")
    o = b.attend(x, x, x, normalizer="mean", mask="documents(%ids) & predicate(%ids[i] // 2 == 0)")
    assert ids in b.build(o).ops[0].operands
    with pytest.raises(SpecError, match="%idz is not defined"):
        b.attend(x, x, x, normalizer="mean", mask="documents(%idz)")


def test_several_results(b: GraphBuilder) -> None:
    x = b.values[0]
    named = b.op(Attend, x, x, x, results=("o", "lse"), normalizer=Softmax())
    counted = b.op(Attend, x, x, x, results=2, normalizer=Softmax())
    assert isinstance(named, tuple)
    assert isinstance(counted, tuple)
    assert [v.name for v in (*named, *counted)] == ["o", "lse", "attend", "attend_1"]


def test_made_up_names_avoid_given_ones(b: GraphBuilder) -> None:
    x = b.values[0]
    b.add(x, x, name="add_1")
    assert [b.add(x, x).name for _ in range(3)] == ["add", "add_2", "add_3"]


def test_constants(b: GraphBuilder) -> None:
    b.constant("f64[3]", [1, 2, 3], name="list")
    b.constant("f64[3]", np.arange(3.0), name="array")
    b.constant("i64[N]", 7, name="all")
    values = [op.values for op in b.build(b.values[0]).ops if isinstance(op, Constant)]
    assert values == [(1.0, 2.0, 3.0), (0.0, 1.0, 2.0), (7.0,)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda b, x, p: b.input("x", "f64[2]"), "%x is defined twice"),
        (lambda b, x, p: b.input("2x", "f64[2]"), "is not a name"),
        (lambda b, x, p: b.input("y", "f63[2]"), "unknown element type 'f63'"),
        (lambda b, x, p: b.input("y", "f64[2"), "the text ends too early"),
        (lambda b, x, p: b.input("y", TensorType(DType.F64, (Symbol("x"),))), "x separates dimensions"),
        (lambda b, x, p: b.input("y", TensorType(DType.F64, (-1,))), "expected a"),
        (lambda b, x, p: b.input("y", None), "expected a"),
        (lambda b, x, p: b.add(x, x, name="p"), "%p is defined twice"),
        (lambda b, x, p: b.add(x, p), "element types differ"),
        (lambda b, x, p: b.add(x, 3), "expected a value of graph @f, got int"),
        (lambda b, x, p: b.op(Add, x), "add takes 2 operand"),
        (lambda b, x, p: b.op(Add, x, x, x), "add takes 2 operand"),
        (lambda b, x, p: b.op(Add, x, x, results=2), "add gives 1 result, 2 are named"),
        (lambda b, x, p: b.op(Concat), "concat of nothing"),
        (lambda b, x, p: b.op(Concat, x, axes=0), "concat has no attribute 'axes'; did you mean axis"),
        (lambda b, x, p: b.op(Slice, x, start=0), "slice needs stop"),
        (lambda b, x, p: b.op(Slice, x, start=0, stop=-1), "expected an integer from 0"),
        (lambda b, x, p: b.op(Slice, x, start=0, stop=9), "slice 0 to 9 of 4 elements"),
        (lambda b, x, p: b.op(Slice, x, start=0.0, stop=1), "start"),
        (lambda b, x, p: b.attend(x, x, x), "attend needs normalizer"),
        (lambda b, x, p: b.attend(x, x, x, normalizer="hardmax"), "hardmax needs tie"),
        (lambda b, x, p: b.attend(x, x, x, normalizer=Softmax), "normalizer: expected"),
        (lambda b, x, p: b.attend(x, x, x, normalizer=Causal()), "normaliser"),
        (
            lambda b, x, p: b.attend(x, x, x, normalizer="softmax", softcap=-1.0),
            "softcap -1.0 is not a positive number",
        ),
        (lambda b, x, p: b.attend(x, x, x, normalizer="softmax", mask="causal)"), "unexpected"),
        (lambda b, x, p: b.constant("f64[2]", [1.0, 2.0, 3.0]), "3 values are given"),
        (lambda b, x, p: b.build(GraphBuilder("g").input("y", "f64[2]")), "%y is not a value of graph @f"),
        (lambda b, x, p: b.build(), "graph @f returns nothing"),
    ],
)
def test_refusals(b: GraphBuilder, wrong, message: str) -> None:
    x, p = b.values
    with pytest.raises(AttncError) as caught:
        wrong(b, x, p)
    assert message in str(caught.value)
    # Nothing has changed: the same builder still gives the graph it would have given.
    y = b.add(x, x, name="y")
    assert format_module(Module((b.build(y),))) == (
        "graph @f(%x: f64[N x 4], %p: f32[4]) -> f64[N x 4] {\n  %y = add %x, %x\n  return %y\n}\n"
    )


def test_appending_twice_is_refused_at_once() -> None:
    b = GraphBuilder("f")
    k = b.input("k", "f64[2]")
    c = b.cache(heads="[]", key="f64[2]", value="f64[2]")
    after = b.append(c, k, k)
    for _ in range(2):
        with pytest.raises(SpecError, match=r"append to %append"):
            b.append(c, k, k)
        with pytest.raises(SpecError, match="read after it was appended to"):
            b.attend_step(k, c, normalizer="softmax")
    b.build(b.attend_step(k, after, normalizer="softmax"))


def test_a_graph_needs_a_name() -> None:
    with pytest.raises(ArgumentError, match="graph name '' is not a name"):
        GraphBuilder("")
