"""When the monotone hull is legal, and when it is chosen."""

import pytest

from attnc.facts import MonotoneFact, analyze
from attnc.machine import load_machine
from attnc.strategies import MonotoneJudge, Sizes
from attnc.strategies.hull import HullJudge
from attnc_ir.attributes.strategy import Monotone
from attnc_ir.text import parse
from attnc_ir.types import MAX_DIM

SPEC = """graph @g(%x: f64[N x 2], %n: i64[N x 2], %v: f64[N x 1]) {{
  %i = iota {{type = f64[N x 1], axis = 0}}
  %one = constant {{type = f64[N x 1], values = [1.0]}}
  %square = mul %i, %i
  %down = neg %square
  {keys}
  {query}
  %o = attend %q, %k, %v {{normalizer = hardmax(last){more}}}
  return %o
}}"""
PARABOLA = "%k = concat %i, %down"
ANY = "%q = neg %x"


def node_of(keys=PARABOLA, query=ANY, more=", mask = causal(2)"):
    graph = parse(SPEC.format(keys=keys, query=query, more=more))["g"]
    return graph.ops[-1], analyze(graph)


@pytest.mark.parametrize(
    ("keys", "axis", "bound"),
    [
        (PARABOLA, 0, 94906266),
        ("%k = concat %down, %i", 1, 94906266),
        ("%k = concat %square, %one", 0, 94906266),
        ("%k = concat %i, %i", 0, 2**40),
        ("%k = concat %down, %one", None, 0),
        ("%k = concat %one, %one", None, 0),
    ],
)
def test_what_is_known_of_order(keys, axis, bound):
    node, facts = node_of(keys)
    fact = facts.get(node.key, MonotoneFact)
    if axis is None:
        assert fact is None
        assert MonotoneJudge().why_not(node, facts) == (
            "keys are not known to increase strictly in one of their coordinates",
        )
    else:
        assert (fact.axis, fact.bound) == (axis, min(bound, MAX_DIM))
        assert MonotoneJudge().why_not(node, facts) == ()
        assert MonotoneJudge().choose(node, facts) == Monotone(axis, 0)
        assert MonotoneJudge().grounds(node, facts) == (fact,)


def test_an_order_that_turns_back_holds_up_to_there():
    # 10 p - p * p increases up to position 5 only, which is not all the way.
    node, facts = node_of(
        "%ten = constant {type = f64[N x 1], values = [10.0]}\n  %t = mul %ten, %i\n"
        "  %bent = add %t, %down\n  %k = concat %bent, %one"
    )
    assert facts.get(node.key, MonotoneFact) is None


def test_every_reason_is_given():
    node, facts = node_of(keys="%k = neg %x", more=", mask = window(1, 0, 0), scale = 0.0")
    assert MonotoneJudge().why_not(node, facts) == (
        "the scale is 0, so every key ties",
        "ranges of keys may begin behind the first, and keys in order are never let go",
        "keys are not known to increase strictly in one of their coordinates",
    )


@pytest.mark.parametrize(
    ("query", "scale", "half"),
    [
        (ANY, 1.0, 0),
        ("%q = concat %i, %one", 1.0, 1),
        ("%q = concat %one, %one", -2.0, -1),
        ("%m = neg %one\n  %q = concat %i, %m", 1.0, -1),
        ("%m = sub %i, %one\n  %q = concat %i, %m", 1.0, 0),
        ("%q = convert %n {to = f64}", 1.0, 0),
    ],
)
def test_the_half_that_queries_ask_for(query, scale, half):
    node, facts = node_of(query=query, more=f", scale = {scale}")
    assert MonotoneJudge().choose(node, facts) == Monotone(0, half)


@pytest.mark.parametrize(
    ("written", "fits"), [("0, 1", True), ("0, 0", True), ("0, -1", False), ("1, 0", False)]
)
def test_what_the_text_says_must_be_proved(written, fits):
    node, facts = node_of(query="%q = concat %i, %one", more=f", strategy = monotone({written})")
    reasons = MonotoneJudge().why_not(node, facts)
    assert (reasons == ()) == fits
    if not fits:
        assert "proved are axis 0 and half 1" in reasons[0]


def test_it_costs_less_than_a_hull_and_the_bound_is_paid_for():
    node, facts = node_of()
    flat = load_machine("flat")
    for length in (1, 100, 10**6):
        sizes = Sizes({"N": length})
        ours, hull = (j.cost(node, facts, flat, sizes, length) for j in (MonotoneJudge(), HullJudge()))
        assert ours.own < hull.own
        assert "beyond" not in dict(ours.terms)
    beyond = MonotoneJudge().cost(node, facts, flat, Sizes({"N": 10**9}), 10**9)
    assert dict(beyond.terms)["beyond"] > 0
