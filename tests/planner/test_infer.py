import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.passes import Infer
from attnc_ir.errors import SpecError
from attnc_ir.text import format_module, parse
from attnc_ir.types import UNKNOWN
from planner_graphs import apply, changed, outcome, same_outcome, stateful, stateless


def inputs(text):
    graph, counts = changed([Infer()], text)
    return {v.name: str(v.type) for v in graph.inputs}, counts, graph


def test_attention_ties_batch_lengths_widths_and_score_tensors_together():
    types, counts, graph = inputs(
        """graph @g(%q: f32[B x 8 x ? x ?], %k: f32[? x 2 x M x 64], %v: f32[? x ? x ? x 16], %b: f32[? x ? x 1 x ?],
             %s: f32[?], %n: i64[?]) {
          %o = attend %q, %k, %v {normalizer = softmax, mask = prefix(%n), bias = tensor(%b), sinks = %s}
          return %o
        }"""
    )
    assert types == {
        "q": "f32[B x 8 x D0 x 64]",
        "k": "f32[B x 2 x M x 64]",
        "v": "f32[B x 2 x M x 16]",
        "b": "f32[B x 8 x 1 x M]",
        "s": "f32[8]",
        "n": "i64[B]",
    }
    assert counts == {"solved-dimension": 10, "named-dimension": 1}
    assert str(graph.outputs[0].type) == "f32[B x 8 x D0 x 16]"


def test_query_heads_are_not_key_heads():
    types, _, _ = inputs(
        """graph @g(%q: f64[? x N x 2], %k: f64[? x M x 2], %v: f64[? x M x 1]) {
          %o = attend %q, %k, %v {normalizer = softmax}
          return %o
        }"""
    )
    assert types["q"] == "f64[D0 x N x 2]"
    assert types["k"].startswith("f64[D1 ")
    assert types["v"].startswith("f64[D1 ")


def test_a_causal_mask_without_alignment_means_equal_lengths():
    types, _, graph = inputs(
        """graph @g(%q: f64[? x 2], %k: f64[? x 2], %v: f64[? x 1]) {
          %o = attend %q, %k, %v {normalizer = softmax, mask = causal}
          return %o
        }"""
    )
    assert types == {"q": "f64[D0 x 2]", "k": "f64[D0 x 2]", "v": "f64[D0 x 1]"}
    assert str(graph.outputs[0].type) == "f64[D0 x 1]"


def test_caches_take_their_heads_from_what_is_appended():
    _, _, graph = inputs(
        """graph @g(%q: f64[B x 4 x 2], %k: f64[? x 2 x 2], %v: f64[? x ? x 3]) {
          %c = cache {heads = [? x ?], key = f64[2], value = f64[3]}
          %c1 = append %c, %k, %v
          %o = attend.step %q, %c1 {normalizer = hardmax(last)}
          return %o
        }"""
    )
    assert [str(v.type) for v in graph.inputs] == ["f64[B x 4 x 2]", "f64[B x 2 x 2]", "f64[B x 2 x 3]"]
    assert str(graph.caches[0].results[0].type) == "cache<[B x 2], f64[2], f64[3]>"


def test_elementwise_broadcast_concat_and_constants():
    types, _, graph = inputs(
        """graph @g(%a: f64[? x N], %b: f64[3 x ?], %c: f64[1 x ?]) {
          %one = constant {type = f64[?], values = [1.0]}
          %d = add %a, %b
          %e = mul %d, %c
          %f = sub %e, %one
          %h = broadcast %c {shape = [5 x ?]}
          return %f, %h
        }"""
    )
    assert types == {"a": "f64[3 x N]", "b": "f64[3 x N]", "c": "f64[1 x N]"}
    assert [str(v.type) for v in graph.outputs] == ["f64[3 x N]", "f64[5 x N]"]
    assert str(graph.ops[0].results[0].type) == "f64[N]"


def test_declared_results_tell_sizes_too():
    types, _, graph = inputs("graph @g(%a: f64[? x ?]) -> f64[K x 2] { %b = neg %a  return %b }")
    assert types == {"a": "f64[K x 2]"}
    assert "-> f64[K x 2]" in format_module(
        parse(
            format_module(
                apply("infer", "graph @g(%a: f64[? x ?]) -> f64[K x 2] { %b = neg %a  return %b }")[0]
            )
        )
    )
    assert graph.outputs[0].tensor.shape[1] == 2


def test_fresh_names_avoid_those_in_use():
    types, _, _ = inputs("graph @g(%a: f64[? x ?], %b: f64[D0 x D2]) { return %a, %b }")
    assert types["a"] == "f64[D1 x D3]"


def test_a_graph_without_open_sizes_stays_the_same_object():
    graph = parse("graph @g(%a: f64[N]) { return %a }")["g"]
    module, counts = apply("infer", "graph @g(%a: f64[N]) { return %a }")
    assert module["g"] == graph
    assert counts == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "graph @g(%x: f64[?], %y: f64[2], %z: f64[N]) {\n  %a = add %x, %y\n  %b = add %x, %z\n  return %a, %b\n}",
            "<text>:3:8: error: add needs 2 and N to be one size\n  %b = add %x, %z\n       ^^^",
        ),
        (
            "graph @g(%x: f64[2]) {\n  %a = iota {type = f64[?]}\n  return %x, %a\n}",
            "the size ? follows from no input",
        ),
        (
            "graph @g(%x: f64[? x 2], %y: f64[? x 3]) -> f64[4 x 2], f64[5 x 3] {\n  %a = concat %x, %y\n  return %x, %y\n}",
            "%y is declared with size 5 where it has 4",
        ),
    ],
)
def test_sizes_that_cannot_be_are_located(text, expected):
    with pytest.raises(SpecError) as caught:
        apply("infer", text)
    assert expected in str(caught.value)


@settings(max_examples=40)
@given(case=st.one_of(stateless(), stateful()), data=st.data())
def test_opening_sizes_and_inferring_them_keeps_the_meaning(case, data):
    text, arrays = case
    head, body = text.split("{", 1)
    for symbol in ("N", "M"):
        if data.draw(st.booleans()):
            head = head.replace(f" {symbol}", " ?").replace(f"[{symbol}", "[?")
    opened = f"{head}{{{body}"
    try:
        parse(opened)
    except SpecError:
        return  # a mask needs to know more
    module, _ = apply("infer", opened)
    assert not any(UNKNOWN in v.type.shape for g in module for v in g.values() if hasattr(v.type, "shape"))
    assert same_outcome(outcome(parse(text).graphs[0], arrays), outcome(module.graphs[0], arrays))
