"""What the judge of `hierarchy` decides: every reason, and where a hull in three dimensions pays."""

import pytest

from attnc.machine import FLAT
from attnc.strategies import HierarchyJudge, Sizes
from planner_graphs import chosen, node_of


def batch(attributes="normalizer = hardmax(last)", width=3, dtype="f64", results=""):
    kind = f"{dtype}[B x 2 x {{}} x {width}]"
    return f"""graph @g(%q: {kind.format("N")}, %k: {kind.format("M")}, %v: f64[B x 2 x M x 4], %n: i32[B]) {{
      %o{results} = attend %q, %k, %v {{{attributes}}}
      return %o{results}
    }}"""


STEP = """graph @g(%q: f64[3], %k: f64[3], %v: f64[4]) {
  %c = cache {heads = [], key = f64[3], value = f64[4]}
  %d = append %c, %k, %v
  %o = attend.step %q, %d {normalizer = hardmax(first)}
  return %o
}"""


@pytest.mark.parametrize(
    "mask", ["everything", "prefix(5)", "prefix(%n)", "lengths(%n, %n)", "lengths(%n, %n) & prefix(%n)"]
)
def test_legal_where_all_queries_of_a_head_see_the_same_keys(mask):
    for tie in ("first", "last", "mean"):
        attributes = f"normalizer = hardmax({tie}), mask = {mask}, softcap = 2.0, scale = -0.5"
        assert HierarchyJudge().why_not(*node_of(batch(attributes))) == ()
        assert HierarchyJudge().why_not(*node_of(batch(attributes, dtype="f32"))) == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (STEP, "a step adds a key for each query"),
        (batch("normalizer = softmax"), "the normaliser is softmax"),
        (batch("normalizer = topk(2, first)"), "the normaliser is topk"),
        (batch(width=2), "keys have width 2"),
        (batch(width=4), "keys have width 4"),
        (batch(width="W"), "keys have width W"),
        (batch(dtype="bf16"), "keys are bf16"),
        (batch("normalizer = hardmax(last), mask = causal(top_left)"), "the same keys"),
        (batch("normalizer = hardmax(last), mask = prefix(3) & window(4, 0, top_left)"), "the same keys"),
        (batch("normalizer = hardmax(last), mask = nothing"), "the same keys"),
        (batch("normalizer = hardmax(last), bias = expression(j)"), "scores have a bias"),
        (batch(results=", %lse"), "the log-sum-exp is wanted"),
        (batch("normalizer = hardmax(last), scale = 0.0"), "the scale is 0"),
    ],
)
def test_what_makes_it_illegal(text, says):
    (reason,) = HierarchyJudge().why_not(*node_of(text))
    assert says in reason


def test_every_reason_is_given():
    text = batch("normalizer = softmax, mask = causal(top_left), scale = 0.0", width=1, dtype="f16")
    assert len(set(HierarchyJudge().why_not(*node_of(text)))) == 5


def test_it_is_taken_when_queries_are_about_as_many_as_keys():
    assert chosen(batch(), N=65536, M=65536) == "hierarchy"
    assert chosen(batch("normalizer = hardmax(mean)", dtype="f32"), N=10**6, M=10**5) == "hierarchy"
    # With fewer queries the cheaper tree is enough, with one a scan.
    assert chosen(batch(), N=4096, M=10**6) == "tree"
    assert chosen(batch(), N=1, M=10**6) == "scan"
    assert chosen(batch(), N=8, M=8) in ("scan", "dense")
    assert chosen(batch("normalizer = hardmax(last), mask = causal(top_left)"), N=10**5, M=10**5) == "tree"


def test_once_it_pays_it_keeps_paying():
    names = [chosen(batch(), N=4**p, M=4**p) for p in range(1, 12)]
    assert set(names[names.index("hierarchy") :]) == {"hierarchy"}
    names = [chosen(batch(), N=4**p, M=20_000) for p in range(12)]
    assert set(names[names.index("hierarchy") :]) == {"hierarchy"}


def test_terms_count_what_is_done():
    node, facts = node_of(batch())
    once, twice = (
        dict(HierarchyJudge().cost(node, facts, FLAT, Sizes({"N": n, "B": 3}), 1000).terms) for n in (64, 128)
    )
    assert twice["search"] == 2 * once["search"]
    assert twice["value"] == 2 * once["value"] == 2 * 3 * 2 * 64 * 32
    assert twice["build"] == once["build"]
    assert once["keys"] == 3 * 2 * 1000 * 24
