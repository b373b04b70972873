"""Each graph of `examples/strategies.attn` is named after the strategy that it must get, and the plan says why."""

from pathlib import Path

import pytest

from attnc.manager import PassManager
from attnc.pipeline import DEFAULT_PIPELINE
from attnc.strategies import judges
from attnc_ir.text import parse

TEXT = (Path(__file__).resolve().parents[2] / "examples" / "strategies.attn").read_text(encoding="utf-8")
NAMES = parse(TEXT).names


@pytest.fixture(scope="module")
def nodes():
    run = PassManager.of(DEFAULT_PIPELINE + "{machine=builtin,N=65536}").run(parse(TEXT))
    return {node.graph: node for node in run.plan.nodes}


@pytest.mark.parametrize("name", NAMES)
def test_a_graph_gets_the_strategy_it_is_named_after(nodes, name):
    assert nodes[name].chosen.strategy == name


@pytest.mark.parametrize("name", NAMES)
def test_every_other_strategy_lost_by_its_cost_or_says_why_it_is_not_legal(nodes, name):
    node = nodes[name]
    assert {c.strategy for c in node.candidates} == {judge.keyword for judge in judges()}
    for candidate in node.candidates:
        if candidate.cost is None:
            assert candidate.reasons
        else:
            assert not candidate.reasons
            assert candidate.cost.total >= node.chosen.cost.total


def test_every_strategy_but_dense_has_a_graph():
    assert {judge.keyword for judge in judges()} == {*NAMES, "dense"}
