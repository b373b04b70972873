"""Keys on a parabola: what the analysis proves of them, and when a table of addresses is legal and cheap."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnc.facts import IntegerFact, MonotoneFact, ParabolaFact, analyze
from attnc.machine import BUILTIN, FLAT
from attnc.manager import PassManager
from attnc.strategies import DenseJudge, HullJudge, IndexJudge, Sizes
from attnc_ir.attributes.strategy import Index
from attnc_ir.ops import AttentionOp
from attnc_ir.reference import run
from attnc_ir.text import parse
from attnc_ir.types import MAX_DIM

INPUTS = "%i: i32[M x 1], %j: i32[M x 1], %f: f64[M x 1], %q: f64[N x 2], %k: f64[M x 2], %v: f64[M x 1]"


def graph_of(body, *, key="%key", attributes="normalizer = hardmax(last)", returns="%o"):
    """A graph in which `body` makes keys from integers `%a` and `%b` and floats `%f`."""
    return parse(f"""graph @g({INPUTS}) {{
      %a = convert %i {{to = f64}}
      %b = convert %j {{to = f64}}
      %one = constant {{type = f64[1], values = [1]}}
      %two = constant {{type = f64[1], values = [2]}}
      %third = constant {{type = f64[1], values = [{1 / 3}]}}
      %low = constant {{type = i32[1], values = [-900]}}
      %high = constant {{type = i32[1], values = [1000]}}
      %aa = mul %a, %a
      %ab = mul %a, %b
      {body}
      %o = attend %q, {key}, %v {{{attributes}}}
      return {returns}
    }}""")["g"]


def parabola(body, **options):
    graph = graph_of(body, **options)
    (node,) = (op for op in graph.ops if isinstance(op, AttentionOp))
    return analyze(graph).get(node.key, ParabolaFact)


@pytest.mark.parametrize(
    ("body", "form"),
    [
        ("%line = add %a, %a  %curve = neg %aa  %key = concat %line, %curve", (0, "2*p", "-p*p")),
        ("%key = concat %aa, %a", (1, "p", "p*p")),
        ("%n = neg %a  %key = concat %n, %aa", (0, "-p", "p*p")),
        ("%s = sub %a, %one  %m = mul %s, %a  %key = concat %s, %m", (0, "-1 + p", "-p + p*p")),
        ("%s = sub %aa, %f  %key = concat %a, %s", (0, "p", "p*p")),
        ("%s = sub %aa, %b  %key = concat %a, %s", (0, "p", "p*p")),
        ("%w = concat %a, %aa, %b  %key = slice %w {start = 0, stop = 2}", (0, "p", "p*p")),
        ("%x = broadcast %a {shape = [M x 2]}  %z = broadcast %one {shape = [M x 1]}  %y = concat %z, %a  %key = mul %x, %y", (0, "p", "p*p")),
        # Not a parabola, not of integers, or not of one address.
        ("%key = concat %a, %a", None),
        ("%key = concat %aa, %aa", None),
        ("%key = concat %b, %aa", None),
        ("%s = add %aa, %ab  %key = concat %a, %s", None),
        ("%l = add %a, %f  %key = concat %l, %aa", None),
        ("%ff = mul %f, %f  %key = concat %f, %ff", None),
        ("%aaa = mul %aa, %a  %key = concat %a, %aaa", None),
        ("%x = mul %a, %third  %key = concat %x, %aa", None),
        ("%inf = constant {type = f64[1], values = [inf]}  %x = mul %a, %inf  %key = concat %x, %aa", None),
        ("%z = broadcast %one {shape = [M x 1]}  %w = concat %a, %aa, %z  %key = slice %w {start = 1, stop = 3}", None),
    ],
)  # fmt: skip
def test_which_rows_are_a_parabola(body, form):
    found = parabola(body)
    assert (found and (found.axis, str(found.linear), str(found.square))) == form


CLAMP = "%u = max %i, %low  %w = min %u, %high  %x = convert %w {{to = {}}}  %xx = mul %x, %x"


def test_a_range_makes_a_proof():
    small = parabola(CLAMP.format("f64") + "  %key = concat %x, %xx")
    assert small.proved
    assert not parabola("%key = concat %a, %aa").proved
    # Another term, or storage that rounds the squares, takes the proof away.
    assert not parabola(CLAMP.format("f64") + "  %s = sub %xx, %f  %key = concat %x, %s").proved
    body = (
        CLAMP.format("f32")
        + "  %r = broadcast %x {{shape = [M x 1]}}  %thin = concat %x, %xx  %key = convert %thin {{to = f64}}"
    )
    assert parabola(body.replace("{{", "{").replace("}}", "}")).proved
    wide = (
        body.replace("{{", "{")
        .replace("}}", "}")
        .replace("%u = max %i, %low", "%u = max %i, %i")
        .replace("%high", "%i")
    )
    assert not parabola(wide).proved


@given(
    st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-3, 3), min_size=1, max_size=5),
    st.integers(-5, 5),
)
def test_rows_up_to_the_bound_are_what_the_fact_says(numbers, shift):
    body = f"%s = constant {{type = f64[1], values = [{shift}]}}  %m = sub %a, %s  %n = mul %m, %aa"
    body = body.replace("%n = mul %m, %aa", "%n = mul %m, %m  %t = sub %m, %n  %key = concat %t, %m")
    graph = graph_of(body, returns="%key")
    fact = parabola(body)
    m = len(numbers)
    arrays = {"q": np.zeros((1, 2)), "k": np.zeros((m, 2)), "v": np.zeros((m, 1)), "f": np.zeros((m, 1))}
    integers = np.array(numbers, "i4")[:, None]
    (keys,) = run(graph, arrays | {"i": integers, "j": integers})
    for a, key in zip(numbers, keys, strict=True):
        if abs(a) <= fact.bound:
            assert (key[fact.axis], key[1 - fact.axis]) == (fact.linear(a), fact.square(a))


def test_promises_are_facts():
    graph = graph_of(
        "", key="%k", attributes="normalizer = hardmax(last), keys = integer(0, 7) & monotone(1)"
    )
    (node,) = (op for op in graph.ops if isinstance(op, AttentionOp))
    facts = analyze(graph)
    known = facts.get(node.key, IntegerFact)
    assert (known.low, known.high) == (0, 7)
    rising = facts.get(node.key, MonotoneFact)
    assert (rising.axis, rising.bound) == (1, MAX_DIM)
    assert facts.get(node.key, ParabolaFact) is None
    assert parabola("", key="%k", attributes="normalizer = hardmax(last), keys = parabola").proved


STEP = """graph @g(%q: f64[2], %i: i64[1], %j: i64[1], %v: f64[1]) {{
  %c = cache {{heads = [], key = f64[2], value = f64[1]}}
  %a = convert %i {{to = f64}}
  %aa = mul %a, %a
  %k = concat %a, %aa
  %b = convert %j {{to = f64}}
  %bb = mul %b, %b
  %l = {}
  %d = append %c, %k, %v
  %e = append %d, %l, %v
  %o = attend.step %q, %e {{normalizer = hardmax({})}}
  return %o
}}"""


@pytest.mark.parametrize(("other", "legal"), [("concat %b, %bb", True), ("concat %bb, %b", False)])
def test_all_that_is_appended_must_lie_on_one_parabola(other, legal):
    graph = parse(STEP.format(other, "last"))["g"]
    (node,) = (op for op in graph.ops if isinstance(op, AttentionOp))
    assert (not IndexJudge().why_not(node, analyze(graph))) == legal


def judged(attributes, *, key="%k"):
    graph = graph_of("", key=key, attributes=attributes)
    (node,) = (op for op in graph.ops if isinstance(op, AttentionOp))
    return IndexJudge().why_not(node, analyze(graph))


def test_every_reason_is_given():
    said = judged("normalizer = softmax, mask = window(3, 0, 0), scale = 0, bias = expression(j)")
    for part in (
        "softmax",
        "a window lets keys go",
        "a bias",
        "scale is 0",
        "%k is not known to lie on a parabola",
    ):
        assert any(part in reason for reason in said), said
    assert len(said) == 5
    assert not judged("normalizer = hardmax(first), mask = causal(-3) & prefix(9), keys = parabola")


def test_a_parabola_in_the_text_must_be_the_one_that_is_known():
    right = "normalizer = hardmax(last), keys = parabola, strategy = index(0, 2, 0, -1, 0, 0, 67108864)"
    assert judged(right) == ()
    assert "another parabola" in judged(right.replace("-1", "-2"))[0]


def test_what_is_chosen_carries_the_parabola():
    graph = graph_of("%n = neg %aa  %key = concat %n, %a")
    (node,) = (op for op in graph.ops if isinstance(op, AttentionOp))
    chosen = IndexJudge().choose(node, analyze(graph))
    assert chosen == Index(1, 1.0, 0.0, -1.0, 0.0, 0.0, 2**26, strays=1)


@pytest.mark.parametrize("machine", [BUILTIN, FLAT])
@pytest.mark.parametrize("tie", ["first", "last", "mean"])
def test_few_keys_are_scanned_and_many_are_looked_up(machine, tie):
    graph = parse(STEP.format("concat %b, %bb", tie))["g"]
    (node,) = (op for op in graph.ops if isinstance(op, AttentionOp))
    facts = analyze(graph)

    def cost(judge, n):
        return judge.cost(node, facts, machine, Sizes({"c": n}), n).total

    if machine is BUILTIN:  # where everything costs one, bytes do too
        assert cost(DenseJudge(), 1) < cost(IndexJudge(), 1)
    for n in (10**3, 10**5, 10**7):
        assert cost(IndexJudge(), n) < cost(HullJudge(), n) < cost(DenseJudge(), n)
    assert math.isclose(cost(IndexJudge(), 10**3), cost(IndexJudge(), 10**7))


def test_the_planner_takes_it():
    text = STEP.format("concat %b, %bb", "last")
    plan = PassManager.of("select-strategy{c=1000}", verify_each=True).run(parse(text)).plan.nodes[0]
    assert plan.chosen.strategy == "index"
    assert any("%k has rows (a, a*a) for integers a = %i" in fact for fact in plan.facts)
