"""Decisions as relations, not numbers."""

import importlib.metadata

import pytest

from attnc.facts import analyze
from attnc.machine import BUILTIN, FLAT
from attnc.manager import PassManager
from attnc.passes.base import Context
from attnc.pipeline import DEFAULT_PIPELINE
from attnc.plan import Cost
from attnc.strategies import DenseJudge, HullJudge, Judge, ScanJudge, Sizes, base, judge_of, judges
from attnc_ir.attributes.mask import Causal, Corner
from attnc_ir.attributes.strategy import Dense, Hull
from attnc_ir.errors import ArgumentError, PlanError
from attnc_ir.ops import AttentionOp
from attnc_ir.text import parse


def stateless(attributes="normalizer = hardmax(last)", *, rows="N", keys="M", width=2, dtype="f64", lse=""):
    return f"""graph @g(%q: {dtype}[{rows} x {width}], %k: {dtype}[{keys} x {width}], %v: {dtype}[{keys} x 4]) {{
      %o{lse} = attend %q, %k, %v {{{attributes}}}
      return %o{lse}
    }}"""


def step(attributes="normalizer = hardmax(last)", *, width=2):
    return f"""graph @g(%q: f64[8 x {width}], %k: f64[8 x {width}], %v: f64[8 x 4]) {{
      %c = cache {{heads = [8], key = f64[{width}], value = f64[4]}}
      %d = append %c, %k, %v
      %o = attend.step %q, %d {{{attributes}}}
      return %o
    }}"""


def plan_of(text, pipeline="select-strategy"):
    return PassManager.of(pipeline, verify_each=True).run(parse(text)).plan


def in_order(choices):
    """Whether cheaper-to-start strategies come first and are left for good."""
    return choices == sorted(choices, key=["dense", "scan", "hull", "sweep"].index)


def chosen(text, pipeline="select-strategy"):
    return plan_of(text, pipeline).nodes[0].chosen.strategy


THREE = """graph @g(%q: f64[N x 64], %k: f64[M x 64], %p: f64[N x 2], %l: f64[M x 2], %v: f64[M x 4]) {
  %wide = attend %q, %k, %v {normalizer = softmax, mask = causal(bottom_right)}
  %hard = attend %p, %l, %v {normalizer = hardmax(last), mask = causal(bottom_right)}
  %soft = attend %p, %l, %v {normalizer = softmax}
  return %wide, %hard, %soft
}"""


@pytest.mark.parametrize("machine", ["builtin", "flat"])
def test_three_kinds_of_node_get_dense_hull_dense_with_reasons(machine):
    run = PassManager.of(DEFAULT_PIPELINE + f"{{machine={machine}}}").run(parse(THREE))
    assert [n.chosen.strategy for n in run.plan.nodes] == ["dense", "hull", "dense"]
    assert run.statistics["select-strategy"] == {"chose-dense": 2, "chose-hull": 1}
    reasons = {n.result: {c.strategy: c.reasons for c in n.candidates} for n in run.plan.nodes}
    assert reasons["wide"]["hull"] == (
        "the normaliser is softmax, and a hull finds only the largest score",
        "keys have width 64, and a hull needs exactly 2",
    )
    assert reasons["soft"]["hull"] == ("the normaliser is softmax, and a hull finds only the largest score",)
    assert all(reasons["hard"][s] == () for s in ("dense", "hull", "scan"))
    nodes = [op for op in run.module["g"].ops if isinstance(op, AttentionOp)]
    assert [type(op.strategy) for op in nodes] == [Dense, Hull, Dense]


@pytest.mark.parametrize("machine", ["builtin", "flat"])
@pytest.mark.parametrize("keys", [1, 10, 1000, 10**6])
def test_one_query_is_too_few_to_pay_for_a_hull(machine, keys):
    choice = chosen(stateless(), f"select-strategy{{machine={machine},N=1,M={keys}}}")
    assert choice == ("dense" if keys == 1 else "scan")


@pytest.mark.parametrize("machine", ["builtin", "flat"])
@pytest.mark.parametrize("mask", ["everything", "causal(bottom_right)", "causal(top_left)"])
def test_once_a_hull_pays_it_keeps_paying(machine, mask):
    text = stateless(f"normalizer = hardmax(last), mask = {mask}")
    sizes = [*range(40), *(2**e + d for e in range(6, 31) for d in (-1, 0, 1))]
    choices = [chosen(text, f"select-strategy{{machine={machine},N={n},M={n}}}") for n in sizes]
    assert in_order(choices)
    assert choices[0] == "dense"
    assert choices[-1] == ("sweep" if mask == "everything" else "hull")


@pytest.mark.parametrize("machine", ["builtin", "flat"])
def test_once_a_hull_pays_in_a_step_it_keeps_paying(machine):
    sizes = [*range(60), *(2**e for e in range(6, 31))]
    choices = [chosen(step(), f"select-strategy{{machine={machine},c={n}}}") for n in sizes]
    assert in_order(choices)
    assert choices[0] == "dense"
    assert choices[-1] == "hull"


@pytest.mark.parametrize("machine", ["builtin", "flat"])
@pytest.mark.parametrize("width", [3, 16, 128])
@pytest.mark.parametrize("dtype", ["f64", "f32"])
def test_a_scan_beats_dense_from_a_few_keys_on(machine, width, dtype):
    text = stateless(width=width, dtype=dtype)
    sizes = [*range(40), *(2**e for e in range(6, 31))]
    choices = [chosen(text, f"select-strategy{{machine={machine},N=8,M={n}}}") for n in sizes]
    assert in_order(choices)
    assert choices.index("scan") < 8
    assert choices[-1] == "scan"


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (stateless(width=7), 0),
        (stateless("normalizer = hardmax(mean), scale = -0.3, softcap = 3.0, empty = error", dtype="f32"), 0),
        (stateless("normalizer = hardmax(last), mask = causal(bottom_right) & window(4, 0, bottom_right) & prefix(3)"), 0),
        (step("normalizer = hardmax(last), mask = window(4, 0)", width=5), 0),
        (stateless("normalizer = hardmax(last), mask = causal(0) | prefix(3)"), 1),
        (stateless("normalizer = hardmax(last), mask = prefix(5) & ~prefix(3)"), 1),
        (stateless("normalizer = hardmax(last), bias = expression(j)"), 1),
        (stateless("normalizer = hardmax(last), scale = 0.0"), 1),
        (stateless("normalizer = hardmax(last)", lse=", %l"), 1),
        (stateless(dtype="bf16"), 1),
        (stateless("normalizer = topk(64, last)"), 0),
        (stateless("normalizer = topk(65, last)"), 1),
        (stateless("normalizer = mean, scale = 0.0, bias = expression(j), mask = ~prefix(3)", dtype="f16", lse=", %l"), 6),
    ],
)  # fmt: skip
def test_a_scan_gives_every_reason_against_itself(text, reasons):
    graph = parse(text)["g"]
    (node,) = (op for op in graph.ops if isinstance(op, AttentionOp))
    found = ScanJudge().why_not(node, analyze(graph))
    assert len(found) == len(set(found)) == reasons


def test_a_cache_keeps_nothing_but_rows_for_a_scan():
    plan = plan_of(step(width=24), "select-strategy{c=1000}")
    assert plan.nodes[0].chosen.strategy == "scan"
    assert plan.caches[0].keeps == ("rows",)


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        (stateless(), 0),
        (stateless("normalizer = hardmax(mean), scale = -0.3, softcap = 3.0, empty = error"), 0),
        (stateless(dtype="f32"), 0),
        (stateless("normalizer = hardmax(last), mask = causal(-7)"), 0),
        (stateless("normalizer = hardmax(last), mask = causal", keys="N"), 0),
        (step(), 0),
        (step("normalizer = hardmax(last), mask = causal"), 0),
        (step("normalizer = hardmax(last), mask = causal(3)"), 0),
        (step("normalizer = hardmax(last), mask = causal(-1)"), 0),
        (step("normalizer = hardmax(last), mask = window(4, 0)"), 0),
        (stateless("normalizer = hardmax(last), scale = 0.0"), 1),
        (stateless("normalizer = hardmax(last), bias = expression(j)"), 1),
        (stateless("normalizer = hardmax(last), mask = causal(0) & prefix(3)"), 0),
        (stateless(width=1), 1),
        (stateless(width=3), 1),
        (stateless(dtype="f16"), 1),
        (stateless("normalizer = hardmax(last)", lse=", %l"), 1),
        (stateless("normalizer = topk(1, last)"), 1),
        (stateless("normalizer = mean, scale = 0.0, bias = expression(j), mask = ~prefix(3)", dtype="bf16", width=3, lse=", %l"), 7),
    ],
)  # fmt: skip
def test_a_hull_gives_every_reason_against_itself(text, reasons):
    graph = parse(text)["g"]
    (node,) = (op for op in graph.ops if isinstance(op, AttentionOp))
    found = HullJudge().why_not(node, analyze(graph))
    assert len(found) == len(set(found)) == reasons
    assert DenseJudge().why_not(node, analyze(graph)) == ()


def test_a_forced_strategy_is_taken_or_refused_with_all_reasons():
    assert chosen(stateless(rows="1", keys="1"), "select-strategy{strategy=hull}") == "hull"
    assert chosen(THREE, "select-strategy{strategy=dense}") == "dense"
    with pytest.raises(PlanError) as caught:
        plan_of(THREE, "select-strategy{strategy=hull}")
    message = str(caught.value)
    assert "<text>:2:11: error: strategy hull is not legal for %wide: the normaliser is softmax" in message
    assert "; keys have width 64" in message
    assert "<text>:4:11: error: strategy hull is not legal for %soft" in message
    assert "%hard" not in message.replace("%hard =", "")
    assert "help: leave the strategy out, or force dense, which is always legal" in message


def test_a_strategy_in_the_text_is_kept_where_it_is_legal():
    plan = plan_of(stateless("normalizer = hardmax(last), strategy = dense", rows="100000", keys="100000"))
    assert plan.nodes[0].chosen.strategy == "dense"
    assert plan.nodes[0].notes == ("strategy dense was asked for, so costs did not decide",)
    with pytest.raises(PlanError, match="strategy hull is not legal for %o: keys have width 3") as caught:
        plan_of(stateless("normalizer = hardmax(last), strategy = hull", width=3))
    # The carets stand below the wish itself.
    line, carets = str(caught.value).splitlines()[1:3]
    assert line[carets.index("^") : carets.rindex("^") + 1] == "strategy = hull"


def test_choosing_again_changes_nothing():
    run = PassManager.of("select-strategy,select-strategy").run(parse(THREE))
    assert [r.changed for r in run.records] == [True, False]
    assert len(run.plan.nodes) == 3


def test_unknown_names_are_errors_that_suggest():
    with pytest.raises(PlanError, match="no strategy is called 'hul'; did you mean hull"):
        plan_of(THREE, "select-strategy{strategy=hul}")
    with pytest.raises(
        PlanError, match=r"'asume' is no option .* no dimension or cache is called so; one of: M, N"
    ):
        plan_of(THREE, "select-strategy{asume=3}")
    with pytest.raises(ArgumentError, match="no machine profile is called 'fast'"):
        plan_of(THREE, "select-strategy{machine=fast}")


def test_sizes_are_assumed_hinted_or_known_and_the_plan_says_which():
    assert plan_of(stateless(rows="7")).nodes[0].assumptions == ("M = 1024",)
    assert plan_of(stateless(), "select-strategy{N=5,assume=9}").nodes[0].assumptions == (
        "M = 9",
        "N = 5 (hinted)",
    )
    assert plan_of(step(), "select-strategy{c=9}").nodes[0].assumptions == ("the length of %c = 9 (hinted)",)
    assert plan_of(stateless(rows="7", keys="8")).nodes[0].assumptions == ()


SHARED = """graph @g(%q: f64[2], %k: f64[2], %v: f64[4]) {
  %c = cache {heads = [], key = f64[2], value = f64[4]}
  %d = append %c, %k, %v
  READS
  return %o0
}"""


def test_nodes_on_one_cache_share_what_its_hull_costs():
    # On this cache a hull does not pay for one reader. For many it does: its insertions are paid once.
    def reads(count):
        lines = (f"%o{n} = attend.step %q, %d {{normalizer = hardmax(last)}}" for n in range(count))
        return SHARED.replace("READS", "\n  ".join(lines))

    def length_to_pay(count):
        return min(
            n
            for n in range(200)
            if chosen(reads(count), f"select-strategy{{machine=builtin,c={n}}}") == "hull"
        )

    many = length_to_pay(9)
    assert 0 < many < length_to_pay(1)
    plan = plan_of(reads(9), f"select-strategy{{machine=builtin,c={many}}}")
    assert {node.chosen.strategy for node in plan.nodes} == {"hull"}
    assert plan.caches[0].keeps == ("rows", "hull")
    assert plan.caches[0].readers == tuple(f"o{n}" for n in range(9))


def test_a_reader_uses_a_hull_that_another_one_keeps_up():
    text = SHARED.replace(
        "READS",
        "%o0 = attend.step %q, %d {normalizer = hardmax(last), strategy = hull}\n"
        "  %o1 = attend.step %q, %d {normalizer = hardmax(first)}",
    )
    beside_hull, beside_dense = (
        [
            plan_of(t, f"select-strategy{{machine=builtin,c={n}}}").node("o1").chosen.strategy
            for n in range(60)
        ]
        for t in (text, text.replace("strategy = hull", "strategy = dense"))
    )
    assert beside_hull.index("hull") < beside_dense.index("hull")


def count(text, **sizes):
    """The terms of every legal strategy on the flat machine."""
    graph = parse(text)["g"]
    (node,) = (op for op in graph.ops if isinstance(op, AttentionOp))
    facts = analyze(graph)
    legal = [judge for judge in judges() if not judge.why_not(node, facts)]
    length = sizes.get("M", 0)
    return {j.keyword: dict(j.cost(node, facts, FLAT, Sizes(sizes), length).terms) for j in legal}


def test_terms_are_counts_of_work():
    full = count(stateless("normalizer = softmax", width=64), N=32, M=100)["dense"]
    assert full == {
        "score": 32 * 100 * 2 * 64,
        "exp": 32 * 100,
        "value": 32 * 100 * 2 * 4,
        "rows": 100 * (64 + 4) * 8,
        "call": 2,
    }
    causal = count(stateless("normalizer = softmax, mask = causal(0)", width=64), N=100, M=100)["dense"]
    assert causal["exp"] == 100 * 101 / 2
    window = count(stateless("normalizer = softmax, mask = causal(0) & window(9, 0)"), N=100, M=100)["dense"]
    assert window["exp"] <= 100 * 100
    (narrow,) = (
        count(stateless("normalizer = softmax, mask = window(9, 0, 0)"), N=100, M=100)["dense"]["exp"],
    )
    assert narrow == pytest.approx(sum(min(10, i + 1) for i in range(100)))
    assert count(stateless("normalizer = softmax, mask = prefix(7)"), N=10, M=100)["dense"]["exp"] == 70
    assert count(stateless("normalizer = softmax, mask = nothing"), N=10, M=100)["dense"]["exp"] == 0


def test_work_grows_with_its_cause():
    base_terms = count(stateless(), N=64, M=64)
    assert count(stateless(), N=128, M=64)["dense"]["score"] == 2 * base_terms["dense"]["score"]
    assert count(stateless(), N=64, M=128)["hull"]["build"] > 2 * base_terms["hull"]["build"]
    assert count(stateless(), N=64, M=128)["hull"]["search"] > base_terms["hull"]["search"]
    softcap = count(stateless("normalizer = hardmax(last), softcap = 2.0"), N=64, M=64)["dense"]
    assert softcap["softcap"] == 64 * 64
    topk = count(stateless("normalizer = topk(8, last)"), N=64, M=64)["dense"]
    assert topk["exp"] == 64 * 8


def test_costs_have_one_unit():
    graph = parse(stateless())["g"]
    cost = DenseJudge().cost(graph.ops[0], analyze(graph), BUILTIN, Sizes({"N": 10, "M": 10}), 10)
    assert isinstance(cost, Cost)
    assert cost.total == pytest.approx(sum(value for _, value in cost.terms))
    assert BUILTIN.call + BUILTIN.thread <= cost.total


# --- strategies of other packages -------------------------------------------------------------------------------------


class Entry:
    """An entry point as importlib.metadata gives it."""

    dist = None

    def __init__(self, name, result):
        self.name, self.value, self.result = name, f"package.{name}:thing", result

    def load(self):
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def offer(monkeypatch, *entries):
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: entries if group == "attnc.strategies" else ()
    )
    monkeypatch.setattr(base, "_LOADED", [])
    monkeypatch.setattr(base, "_JUDGES", dict(base._JUDGES))


def cheap_judge():
    from dataclasses import dataclass

    from attnc_ir.attributes.strategy import Strategy

    @dataclass(frozen=True)
    class Cheap(Strategy):
        """Costs nothing."""

        keyword = "cheap"

    class CheapJudge(Judge):
        noun = Cheap

        def why_not(self, node, facts):
            return (
                ()
                if isinstance(node.mask, Causal) and node.mask.alignment is Corner.TOP_LEFT
                else ("it is not causal.",)
            )

        def cost(self, node, facts, machine, sizes, length):
            return Cost((("nothing", 0.0),))

    return CheapJudge


def test_a_package_outside_adds_a_strategy(monkeypatch):
    offer(monkeypatch, Entry("cheap", cheap_judge()))
    graph = parse(stateless("normalizer = hardmax(last), mask = causal(top_left)"))
    from attnc.passes import SelectStrategy

    context = Context(graph)
    SelectStrategy().run(graph["g"], context)
    assert context.nodes[0].chosen.strategy == "cheap"
    assert {c.strategy for c in context.nodes[0].candidates} == {j.keyword for j in judges()}


def test_a_broken_plugin_is_an_error_that_names_it_each_time(monkeypatch):
    offer(monkeypatch, Entry("broken", ImportError("no module named x")))
    for _ in range(2):
        with pytest.raises(
            PlanError,
            match=r"the strategy plug-in 'broken' \(package.broken:thing\) cannot be loaded: ImportError",
        ):
            judges()


def test_a_plugin_that_is_no_judge_is_an_error(monkeypatch):
    offer(monkeypatch, Entry("odd", 42))
    with pytest.raises(PlanError, match=r"'odd' .* is neither a Judge class nor a module"):
        judges()


def test_two_judges_for_one_strategy_are_an_error(monkeypatch):
    offer(monkeypatch)

    class Other(DenseJudge):
        """Also judges dense."""

    with pytest.raises(
        PlanError, match=r"judges the strategy 'dense', which attnc.strategies.dense.DenseJudge does already"
    ):
        base.register_strategy(Other)
    assert base.register_strategy(DenseJudge) is DenseJudge


def test_a_judge_is_found_by_class_and_by_keyword():
    assert isinstance(judge_of(Hull), HullJudge)
    assert isinstance(judge_of("dense"), DenseJudge)
