import pytest

from attnc.facts import ConstantFact, Facts, FiniteFact, analyze
from attnc_ir.text import parse


def facts_of(line, *, x="f64"):
    graph = parse(
        f"""graph @g(%x: {x}[4], %n: i64[4], %c: bool[4]) {{
          %k = constant {{type = f64[4], values = [1, 2, 3, 4]}}
          %inf = constant {{type = f64[1], values = [inf]}}
          %wide = constant {{type = f16[1], values = [1e6]}}
          %i = iota {{type = f64[4]}}
          %r = {line}
          return %r
        }}"""
    )["g"]
    return analyze(graph), graph


@pytest.mark.parametrize(
    ("line", "finite"),
    [
        ("neg %k", True),
        ("min %k, %i", True),
        ("select %c, %k, %i", True),
        ("broadcast %k {shape = [3 x 4]}", True),
        ("slice %k {start = 1, stop = 2}", True),
        ("concat %k, %i", True),
        ("convert %n {to = f64}", True),
        ("neg %n", True),
        ("neg %x", False),
        ("select %c, %k, %x", False),
        ("concat %k, %x", False),
        ("add %k, %i", False),  # may overflow in general
        ("neg %inf", False),
        ("neg %wide", False),  # 1e6 is infinite in f16
        ("convert %k {to = f32}", False),  # may overflow in general
    ],
)
def test_finiteness_follows_the_elements(line, finite):
    facts, graph = facts_of(line)
    fact = facts.get(graph.outputs[0], FiniteFact)
    assert (fact is not None) is finite


def test_breaking_a_link_breaks_the_chain():
    facts, graph = facts_of("concat %k, %i")
    chain = facts.chain(facts.get(graph.outputs[0], FiniteFact))
    assert chain == (
        "%r moves or compares finite elements",
        "%k is written out and finite",
        "%i counts positions",
    )
    broken, graph = facts_of("concat %k, %x")
    assert broken.of(graph.outputs[0]) == ()


def test_one_fact_of_a_type_for_a_value():
    facts, graph = facts_of("neg %k")
    value = graph.ops[0].results[0]
    first = facts.get(value, ConstantFact)
    facts.add(ConstantFact(value, "is something else", (), (0.0,)))
    assert facts.get(value, ConstantFact) is first
    assert {type(fact) for fact in facts.of(value)} == {ConstantFact, FiniteFact}
    assert Facts().of(value) == ()
