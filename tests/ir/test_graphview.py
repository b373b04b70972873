"""The networkx view holds every use and an order that can be run; DOT text is well formed."""

import re

import networkx as nx
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc_ir.graph import Graph, Module
from attnc_ir.graphview import RETURN, live_ops, to_dot, to_networkx, users
from attnc_ir.op import Op
from attnc_ir.text import parse
from attnc_ir.verifier import verify
from drawn_modules import modules

STEP = parse("""graph @f(%q: f64[2], %ids: i64[N], %x: f64[N x 2]) {
  %c = cache {heads = [], key = f64[2], value = f64[2]}
  %old = attend.step %q, %c {normalizer = hardmax(last)}
  %c1 = append %c, %q, %q
  %new = attend.step %q, %c1 {normalizer = hardmax(last)}
  %o, %lse = attend %x, %x, %x {normalizer = softmax, mask = documents(%ids)}
  %unused = neg %o
  return %new, %old, %lse
}""")["f"]


def test_edges_name_their_use() -> None:
    view = to_networkx(STEP)
    fields = {(a, b, data["field"]) for a, b, data in view.edges(data=True) if data["kind"] == "use"}
    assert fields >= {
        ("%q", "%old", "query"), ("%c", "%old", "cache"), ("%c", "%c1", "cache"), ("%q", "%c1", "key"), ("%q", "%c1", "value"),
        ("%ids", "%o", "mask"), ("%x", "%o", "key"), ("%new", RETURN, "0"), ("%o", RETURN, "2"),
    }  # fmt: skip
    assert view.nodes["%o"]["values"] == STEP.ops[4].results


def test_a_read_comes_before_the_append() -> None:
    before = [(a, b) for a, b, data in to_networkx(STEP).edges(data=True) if data["kind"] == "before"]
    assert before == [("%old", "%c1")]


def test_users_and_live_ops() -> None:
    found = users(STEP)
    assert [op.results[0].name for op in found["q"]] == ["old", "c1", "new"]
    assert [op.results[0].name for op in found["ids"]] == ["o"]
    assert found["unused"] == ()
    assert [op.results[0].name for op in live_ops(STEP)] == ["c", "old", "c1", "new", "o"]


@given(modules(), st.randoms(use_true_random=False))
@settings(max_examples=settings().max_examples // 3)
def test_any_topological_order_runs(module: Module, random) -> None:
    for graph in module:
        view = to_networkx(graph)
        rank = {node: random.random() for node in view}
        order = nx.lexicographical_topological_sort(view, key=rank.__getitem__)
        ops: list[Op] = [op for node in order if (op := view.nodes[node]["op"]) is not None]
        assert len(ops) == len(graph.ops)
        verify(Module((Graph(graph.name, graph.inputs, tuple(ops), graph.outputs),)))


@given(modules())
@settings(max_examples=settings().max_examples // 3)
def test_live_ops_suffice(module: Module) -> None:
    for graph in module:
        kept = Graph(graph.name, graph.inputs, live_ops(graph), graph.outputs)
        verify(Module((kept,)))
        assert live_ops(kept) == kept.ops
        dead = set(graph.ops) - set(kept.ops)
        assert all(op.pure for op in dead)


_STRING = r'"(?:[^"\\\n]|\\[\\"n])*"'
_NODE = re.compile(rf"    {_STRING} \[label={_STRING}(, shape=ellipse)?\];")
_EDGE = re.compile(rf"    {_STRING} -> {_STRING} \[(label={_STRING}|style=dotted, constraint=false)\];")
_FRAME = re.compile(
    rf'digraph "module" {{|  (node|edge) \[.*\];|  subgraph {_STRING} {{|    label={_STRING};|  }}|}}|'
)


@given(modules())
@settings(max_examples=settings().max_examples // 3)
def test_dot_is_well_formed(module: Module) -> None:
    text = to_dot(module)
    assert text == to_dot(module)
    for line in text.split("\n"):
        assert any(form.fullmatch(line) for form in (_NODE, _EDGE, _FRAME)), line
    nodes = {line.split('" [')[0] for line in text.split("\n") if _NODE.fullmatch(line)}
    for line in text.split("\n"):
        if _EDGE.fullmatch(line):
            source, target = re.findall(_STRING, line)[:2]
            assert {f"    {source[:-1]}", f"    {target[:-1]}"} <= nodes
