"""The verifier on graphs built by hand, where there is no text to be wrong: every invariant still holds or is reported."""

import dataclasses

import pytest

from attnc_ir.errors import SpecError
from attnc_ir.graph import Graph, Module
from attnc_ir.ops import Add, Append, Attend, Cache, Neg
from attnc_ir.text import parse
from attnc_ir.types import CacheType, DType, Symbol, TensorType
from attnc_ir.values import Value
from attnc_ir.verifier import verify

ROW = TensorType(DType.F64, (2,))
WIDE = TensorType(DType.F64, (3,))
X, Y, Z = Value("x", ROW), Value("y", ROW), Value("z", ROW)
CACHE = CacheType((), ROW, ROW)
C = Value("c", CACHE)
NEW_CACHE = Cache(heads=(), key=ROW, value=ROW, results=(C,))


def found(*graphs: Graph) -> list[str]:
    with pytest.raises(SpecError) as caught:
        verify(Module(graphs))
    return [diagnostic.message for diagnostic in caught.value.diagnostics]


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (Graph("f", (X, X), (), (X,)), "%x is defined twice"),
        (Graph("f", (X,), (Neg(x=X, results=(X,)),), (X,)), "%x is defined twice"),
        (Graph("f", (X,), (Neg(x=Y, results=(Z,)),), (Z,)), "%y is not defined"),
        (
            Graph("f", (X,), (Neg(x=Y, results=(Z,)), Neg(x=X, results=(Y,))), (Z,)),
            "%y is used before it is defined",
        ),
        (
            Graph("f", (X,), (Neg(x=dataclasses.replace(X, type=WIDE), results=(Value("w", WIDE),)),), (X,)),
            "%x is used as f64[3] but defined as f64[2]",
        ),
        (
            Graph("f", (X,), (Neg(x=X, results=(Value("w", WIDE),)),), (X,)),
            "%w is f64[3] but neg gives f64[2]",
        ),
        (Graph("f", (X,), (Neg(x=X, results=(Y, Z)),), (X,)), "neg gives 1 result(s), 2 are named"),
        (
            Graph("f", (X, Value("p", WIDE)), (Add(left=X, right=Value("p", WIDE), results=(Y,)),), (X,)),
            "shapes [2] and [3] do not broadcast: 2 against 3",
        ),
        (Graph("f", (X,), (), ()), "graph @f returns nothing"),
        (Graph("f", (X,), (), (Y,)), "%y is not defined"),
        (
            Graph("f", (X,), (), (dataclasses.replace(X, type=WIDE),)),
            "%x is returned as f64[3] but defined as f64[2]",
        ),
        (Graph("f", (X,), (NEW_CACHE,), (C,)), "%c is a cache and cannot be returned"),
        (Graph("f", (X, C), (), (X,)), "input %c is a cache"),
        (
            Graph(
                "f",
                (X,),
                (NEW_CACHE, *(Append(cache=C, key=X, value=X, results=(Value(n, CACHE),)) for n in "de")),
                (X,),
            ),
            "%c is appended to twice",
        ),
        (Graph("f", (Value("n", TensorType(DType.F64, (-1,))),), (), (X,)), "%n has a dimension of -1"),
        (
            Graph("f", (Value("n", TensorType(DType.F64, (2**41,))),), (), (X,)),
            "%n has a dimension of 2199023255552",
        ),
        (
            Graph("f", (Value("n", TensorType(DType.F64, (Symbol("x"),))),), (), (X,)),
            "%n has a dimension named 'x'",
        ),
        (
            Graph("f", (Value("n", TensorType(DType.F64, (Symbol("a b\n"),))),), (), (X,)),
            "%n has a dimension named 'a b\\n'",
        ),
        (Graph("f", (X,), (), (X,), declared=(ROW, ROW)), "graph @f declares 2 result(s) and returns 1"),
        (Graph("f", (X,), (), (X,), declared=(WIDE,)), "%x is f64[2], declared as f64[3]"),
    ],
)
def test_each_invariant(graph: Graph, message: str) -> None:
    assert message in found(graph)


def test_graph_names_are_unique() -> None:
    graph = Graph("f", (X,), (), (X,))
    assert found(graph, graph) == ["graph @f is defined twice"]


def test_all_faults_of_all_graphs_are_reported() -> None:
    bad = (Neg(x=Y, results=(Z,)),)
    assert found(Graph("f", (X,), bad, ()), Graph("g", (X,), bad, (X,))) == [
        "%y is not defined",
        "graph @f returns nothing",
        "%y is not defined",
    ]


def test_an_unverified_module_shows_its_text_when_it_is_verified() -> None:
    text = "graph @f(%q: f64[N x 2], %k: f64[M x 2]) {\n  %o = attend %q, %k, %k {normalizer = softmax, mask = causal}\n  return %o\n}"
    module = parse(text, "late.attn", verify=False)
    assert isinstance(module["f"].ops[0], Attend)
    with pytest.raises(SpecError) as caught:
        verify(module)
    lines = str(caught.value).split("\n")
    assert lines[0].startswith("late.attn:2:49: error: causal without an alignment")
    assert lines[2] == " " * 48 + "^" * len("mask = causal")


def test_the_place_of_a_fault_is_the_operand() -> None:
    with pytest.raises(SpecError) as caught:
        parse("graph @f(%x: f64[2]) {\n  %c = concat %x, %x, %nil\n  return %c\n}")
    assert str(caught.value).split("\n")[2] == " " * 22 + "^^^^"
