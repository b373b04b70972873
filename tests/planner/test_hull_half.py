"""When one half of a hull is enough, and what a text may say about it."""

import pytest

from attnc.facts import analyze
from attnc.strategies.hull import HullJudge
from attnc_ir.attributes.strategy import Hull
from attnc_ir.text import parse

SPEC = """graph @g(%x: f64[N x 2], %a: f64[N x 1], %k: f64[N x 2], %v: f64[N x 1]) {{
  %up = constant {{type = f64[N x 1], values = [2.0]}}
  %down = constant {{type = f64[N x 1], values = [-1.0]}}
  %zero = constant {{type = f64[N x 1], values = [0.0]}}
  %i = iota {{type = f64[N x 1], axis = 0}}
  %back = sub %i, %up
  {query}
  %o = attend %q, %k, %v {{normalizer = hardmax(last){more}}}
  return %o
}}"""


def node_of(query, more=", mask = causal(2)"):
    graph = parse(SPEC.format(query=query, more=more))["g"]
    return graph.ops[-1], analyze(graph)


@pytest.mark.parametrize(
    ("query", "half"),
    [
        ("%q = concat %a, %up", 1),
        ("%q = concat %a, %down", -1),
        ("%q = concat %a, %zero", 1),
        ("%q = concat %i, %i", 1),
        ("%q = concat %i, %back", 0),  # -2, -1, 0, 1, ...
        ("%q = concat %up, %a", 0),
        ("%q = neg %x", 0),
    ],
)
def test_a_half_is_enough_where_the_sign_is_known(query, half):
    node, facts = node_of(query)
    judge = HullJudge()
    assert judge.why_not(node, facts) == ()
    assert judge.choose(node, facts) == Hull(half)
    assert bool(judge.grounds(node, facts)) == (half != 0)


@pytest.mark.parametrize("more", [", mask = window(3, 2) & causal(0)", ", mask = window(3, 2, 1)"])
def test_windows_need_whole_hulls(more):
    node, facts = node_of("%q = concat %a, %up", more)
    assert HullJudge().choose(node, facts) == Hull(0)


def test_a_negative_scale_turns_the_query_round():
    node, facts = node_of("%q = concat %a, %up", ", mask = causal(2), scale = -0.5")
    assert HullJudge().choose(node, facts) == Hull(-1)


@pytest.mark.parametrize(("written", "legal"), [(0, True), (1, True), (-1, False)])
def test_a_text_may_say_less_than_is_known_but_nothing_else(written, legal):
    node, facts = node_of("%q = concat %a, %up", f", mask = causal(2), strategy = hull(half = {written})")
    reasons = HullJudge().why_not(node, facts)
    assert reasons == (() if legal else ("the text says half -1, proved is half 1",))
