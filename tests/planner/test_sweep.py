"""When a sweep is legal, and when it is taken."""

import pytest

from attnc.machine import BUILTIN, FLAT
from attnc.strategies import HullJudge, Sizes, SweepJudge
from planner_graphs import chosen, node_of


def batch(attributes="normalizer = hardmax(last)", width=2, results=""):
    return f"""graph @g(%q: f64[B x 4 x N x {width}], %k: f64[B x 2 x M x {width}], %v: f64[B x 2 x M x 4], %n: i64[B]) {{
      %o{results} = attend %q, %k, %v {{{attributes}}}
      return %o{results}
    }}"""


STEP = """graph @g(%q: f64[2], %k: f64[2], %v: f64[4]) {
  %c = cache {heads = [], key = f64[2], value = f64[4]}
  %d = append %c, %k, %v
  %o = attend.step %q, %d {normalizer = hardmax(last)}
  return %o
}"""


@pytest.mark.parametrize(
    "mask", ["everything", "prefix(5)", "prefix(%n)", "lengths(%n, %n)", "lengths(%n, %n) & prefix(%n)"]
)
def test_legal_where_all_queries_of_a_head_see_the_same_keys(mask):
    for tie in ("first", "last", "mean"):
        assert SweepJudge().why_not(*node_of(batch(f"normalizer = hardmax({tie}), mask = {mask}"))) == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (STEP, "a step has one query"),
        (batch("normalizer = softmax"), "the normaliser is softmax"),
        (batch(width=3), "keys have width 3"),
        (batch("normalizer = hardmax(last), mask = causal(top_left)"), "the same keys"),
        (batch("normalizer = hardmax(last), mask = prefix(3) & window(4, 0, top_left)"), "the same keys"),
        (batch("normalizer = hardmax(last), mask = nothing"), "the same keys"),
        (batch("normalizer = hardmax(last), bias = expression(j)"), "scores have a bias"),
        (batch(results=", %lse"), "the log-sum-exp is wanted"),
        (batch("normalizer = hardmax(last), scale = 0.0"), "the scale is 0"),
    ],
)
def test_what_makes_it_illegal(text, says):
    (reason,) = SweepJudge().why_not(*node_of(text))
    assert says in reason


def test_every_reason_is_given():
    node, facts = node_of(batch("normalizer = softmax, mask = causal(top_left), scale = 0.0", width=1))
    assert len(SweepJudge().why_not(node, facts)) == 4


def test_it_is_taken_when_queries_are_many():
    assert chosen(batch(), N=65536, M=65536) == "sweep"
    assert chosen(batch(), N=1000, M=100000) == "sweep"
    assert chosen(batch(), N=1, M=100000) == "scan"
    assert chosen(batch(), N=8, M=8) not in ("sweep", "hull")
    assert chosen(batch("normalizer = hardmax(last), mask = causal(top_left)"), N=65536, M=65536) == "hull"


def test_once_it_pays_it_keeps_paying():
    names = [chosen(batch(), N=4**p, M=4**p) for p in range(1, 11)]
    first = names.index("sweep")
    assert set(names[first:]) == {"sweep"}


def test_sorting_is_cheaper_than_inserting():
    node, facts = node_of(batch())
    for length in (10**3, 10**6):
        sweep, hull = (
            j.cost(node, facts, BUILTIN, Sizes({"N": 1000}), length) for j in (SweepJudge(), HullJudge())
        )
        assert dict(sweep.terms)["build"] < dict(hull.terms)["build"]
        assert dict(sweep.terms)["search"] < dict(hull.terms)["search"]


def test_terms_count_what_is_done():
    node, facts = node_of(batch())
    once, twice = (
        dict(SweepJudge().cost(node, facts, FLAT, Sizes({"N": n, "B": 3}), 1000).terms) for n in (64, 128)
    )
    assert twice["search"] == 2 * once["search"]
    assert twice["value"] == 2 * once["value"] == 2 * 3 * 4 * 64 * 32
    assert twice["build"] == once["build"]
    assert once["keys"] == 3 * 2 * 1000 * 16
