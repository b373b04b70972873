import json

import pytest

from attnc.manager import PassManager
from attnc.pipeline import DEFAULT_PIPELINE
from attnc.plan import Candidate, Cost, NodePlan, Plan, human
from attnc_ir.location import Location
from attnc_ir.text import parse

SPEC = """graph @lookup(%q: f64[N x 2], %k: f64[N x 2], %v: f64[N x 1], %w: f64[2]) {
  %o = attend %q, %k, %v {normalizer = hardmax(last), mask = causal, scale = -2.0}
  %s = attend %q, %k, %v {normalizer = softmax}
  return %o, %s
}
graph @memory(%q: f64[H x 2], %k: f64[H x 2], %v: f64[H x 3]) {
  %c = cache {heads = H, key = f64[2], value = f64[3]}
  %d = append %c, %k, %v
  %r = attend.step %q, %d {normalizer = hardmax(last)}
  return %r
}
"""


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNC_DATA_DIR", str(tmp_path))
    return (
        PassManager.of(f"{DEFAULT_PIPELINE}{{machine=flat,N=65536,c=100000}}")
        .run(parse(SPEC, "lookup.attn"))
        .plan
    )


def test_a_plan_reads_as_a_table(plan):
    text = plan.render()
    first = text.split("\n\n", maxsplit=1)[0].splitlines()
    assert first[0] == "lookup.attn:2 %o  N queries x N keys, width 2, hardmax(last)"
    assert first[1].startswith("  hull ")
    assert first[1].endswith("  chosen")
    assert [line.split()[0] for line in first[1:5]] == ["hull", "tree", "scan", "dense"]
    # Names, times and sums stand in columns.
    assert len({line.index("=") for line in first[1:5]}) == 1
    assert first[-2] == "  assumed: N = 65536 (hinted)"
    assert first[-1] == "  note: the sign of scale -2 was moved to the query"
    assert all("not legal: " in line for line in first[5:-2])
    assert "not legal: the normaliser is softmax" in text
    assert "lookup.attn:7 %c  [H] heads, f64[2] keys, f64[3] values, keeps rows, hull, read by %r" in text
    assert "8 %c" not in text
    assert text.endswith("costs for flat")


def test_a_plan_is_json(plan):
    data = json.loads(json.dumps(plan.to_dict()))
    assert [(n["graph"], n["result"], n["line"], n["chosen"]) for n in data["nodes"]] == [
        ("lookup", "o", 2, "hull"),
        ("lookup", "s", 3, "dense"),
        ("memory", "r", 9, "hull"),
    ]
    legal = [c for c in data["nodes"][0]["candidates"] if c["legal"]]
    hull, *_, dense = sorted(legal, key=lambda c: c["cost"]["total_ns"])
    assert (hull["strategy"], hull["chosen"], dense["strategy"], dense["chosen"]) == (
        "hull",
        True,
        "dense",
        False,
    )
    assert sum(hull["cost"]["terms_ns"].values()) == pytest.approx(hull["cost"]["total_ns"])
    step = next(c["cost"] for c in data["nodes"][2]["candidates"] if c["strategy"] == "hull")
    assert set(step["upkeep_ns"]) == {"insert", "append"}
    assert data["caches"] == [
        {
            "graph": "memory",
            "cache": "c",
            "line": 7,
            "title": "[H] heads, f64[2] keys, f64[3] values",
            "keeps": ["rows", "hull"],
            "readers": ["r"],
        }
    ]


def test_nodes_are_found_by_result(plan):
    assert plan.node("r").cache == "c"
    assert plan.node("s", "lookup").chosen.strategy == "dense"
    with pytest.raises(KeyError):
        plan.node("s", "memory")


def test_the_same_plan_renders_the_same(plan, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNC_DATA_DIR", str(tmp_path))
    again = (
        PassManager.of(f"{DEFAULT_PIPELINE}{{machine=flat,N=65536,c=100000}}")
        .run(parse(SPEC, "lookup.attn"))
        .plan
    )
    assert again.render() == plan.render()
    assert again.to_dict() == plan.to_dict()


def test_nothing_decided_says_so():
    assert not Plan()
    assert Plan().render() == "no attention nodes"


def test_every_reason_has_its_line():
    candidates = (
        Candidate("dense", Cost((("score", 10.0), ("call", 0.001))), (), True),
        Candidate("index", None, ("keys are not positions", "the scale is 0")),
    )
    node = NodePlan("g", "o", "1 queries x 1 keys", candidates, Location("a.attn", 3, 1, 2))
    assert node.render().splitlines() == [
        "a.attn:3 %o  1 queries x 1 keys",
        "  dense  10.0 ns  = score 10.0 ns  chosen",
        "  index        -  not legal: keys are not positions",
        "                  not legal: the scale is 0",
    ]


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0 ns"),
        (0.01, "0.01 ns"),
        (1, "1.00 ns"),
        (999.4, "999 ns"),
        (999.9, "1.00 µs"),
        (10**6, "1.00 ms"),
        (5e12, "5000 s"),
    ],
)
def test_times_have_three_digits(nanoseconds, text):
    assert human(nanoseconds) == text
