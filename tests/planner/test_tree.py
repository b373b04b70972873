"""What the judge of `tree` decides: every reason, and where a tree pays."""

import pytest

from attnc.facts import analyze
from attnc.machine import BUILTIN
from attnc.strategies import Sizes, TreeJudge, judge_of
from attnc.strategies.tree import keys_looked_at
from attnc_ir.ops import AttentionOp
from attnc_ir.text import parse
from planner_graphs import chosen, node_of


def batch(width=3, dtype="f64", attributes="normalizer = hardmax(last)", results=""):
    return f"""graph @g(%q: {dtype}[N x {width}], %k: {dtype}[M x {width}], %v: {dtype}[M x 4]) {{
      %o{results} = attend %q, %k, %v {{{attributes}}}
      return %o{results}
    }}"""


def step(width=3):
    return f"""graph @g(%q: f64[{width}], %k: f64[{width}], %v: f64[4]) {{
      %c = cache {{heads = [], key = f64[{width}], value = f64[4]}}
      %d = append %c, %k, %v
      %o = attend.step %q, %d {{normalizer = hardmax(first)}}
      return %o
    }}"""


def reasons(text):
    return TreeJudge().why_not(*node_of(text))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (batch(), 0),
        (batch(2, "f32"), 0),
        (step(40), 0),
        (batch(attributes="normalizer = hardmax(mean), softcap = 1.0, scale = -2.0, mask = window(3, 1, 0) & prefix(9)"), 0),
        (batch(1), 1),
        (batch("W"), 1),
        (batch(3, "f16"), 1),
        (batch(attributes="normalizer = hardmax(first), scale = 0.0"), 1),
        (batch(attributes="normalizer = hardmax(first), mask = ~prefix(3)"), 1),
        (batch(1, "bf16", "normalizer = softmax, bias = expression(j), scale = 0.0", ", %l"), 6),
    ],
)  # fmt: skip
def test_every_reason_is_given(text, count):
    assert len(set(reasons(text))) == count


@pytest.mark.parametrize("width", [3, 4, 6, 8])
def test_a_tree_pays_once_there_are_many_keys_and_many_queries(width):
    # In width 3 a hierarchy would be the better one where queries are as many as keys.
    masked = batch(width, attributes="normalizer = hardmax(last), mask = causal(4096)")
    assert chosen(masked, N=4096, M=64) == "scan"
    assert chosen(batch(width), N=1, M=10**6) == "scan"
    assert chosen(batch(width), N=4096, M=10**5) == "tree"
    # Once it pays, it keeps paying.
    picked = [chosen(masked, N=4096, M=4**n) for n in range(1, 14)]
    assert picked == sorted(picked)


def test_wide_keys_and_narrow_windows_are_scanned():
    assert chosen(batch(24), N=10**5, M=10**6) == "scan"
    near = batch(attributes="normalizer = hardmax(last), mask = window(100, 0, bottom_right)")
    assert chosen(near, N=10**5, M=10**6) == "scan"
    assert (
        chosen(batch(attributes="normalizer = hardmax(last), mask = causal(bottom_right)"), N=10**5, M=10**6)
        == "tree"
    )


def test_in_two_dimensions_a_hull_is_cheaper():
    for m in (1000, 10**5, 10**7):
        assert chosen(batch(2), N=m, M=m) in ("hull", "sweep")
        assert chosen(step(2), c=m) == "hull"


def test_a_cache_keeps_a_tree_when_it_is_long():
    assert chosen(step(), c=100) == "scan"
    assert chosen(step(), c=10**5) == "tree"


def test_more_keys_and_wider_ones_are_never_cheaper():
    for width in (2, 3, 8, 16, 100, 100_000):
        looked = [keys_looked_at(width, n, n) for n in (0, 1, 599, 600, 601, 10**4, 10**6, 10**9)]
        assert looked == sorted(looked)
        assert keys_looked_at(width, 10**4, 10**4) <= keys_looked_at(width + 1, 10**4, 10**4)
        assert keys_looked_at(width, 10**4, 10**4) <= keys_looked_at(width, 10**4, 100.0) <= 17_500


def test_the_upkeep_of_a_step_is_paid_once():
    graph = parse(step())["g"]
    (node,) = (op for op in graph.ops if isinstance(op, AttentionOp))
    cost = judge_of("tree").cost(node, analyze(graph), BUILTIN, Sizes(), 10**5)
    assert [name for name, _ in cost.upkeep] == ["arrange", "append"]
