"""`attnc plan`: candidates, costs and reasons."""

import json

import pytest

from cli_support import TWICE, TWO_NODES, attnc


def plan(*args: str, spec: str = TWO_NODES) -> dict:
    result = attnc("plan", "-", "--json", "--machine", "flat", *args, stdin=spec)
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def chosen(document: dict) -> dict:
    return {node["result"]: node["chosen"] for node in document["nodes"]}


def test_json_names_winners_and_losers() -> None:
    document = plan("--size", "N=65536")
    assert chosen(document) == {"wide": "dense", "nearest": "hull"}
    wide = document["nodes"][0]
    lost = next(c for c in wide["candidates"] if c["strategy"] == "hull")
    assert any("64" in reason for reason in lost["reasons"])
    assert lost["cost"] is None
    assert all(c["cost"]["total_ns"] > 0 for c in wide["candidates"] if c["legal"])
    assert document["machine"] == "flat"


def test_sizes_decide() -> None:
    assert chosen(plan("--size", "N=1"))["nearest"] == "dense"
    assert chosen(plan("--assume", "1"))["nearest"] == "dense"
    assert chosen(plan("--assume", "100000"))["nearest"] == "hull"
    assert chosen(plan("--size", "N=65536", "--strategy", "dense"))["nearest"] == "dense"


def test_a_pipeline_may_name_its_own_choice() -> None:
    with_pass = plan("-p", "infer,select-strategy{N=1}", "--assume", "65536")
    assert chosen(with_pass)["nearest"] == "dense"
    without = plan("-p", "infer", "--size", "N=65536")
    assert chosen(without)["nearest"] == "hull"


def test_piped_it_is_the_library_text() -> None:
    result = attnc("plan", "-", "--machine", "flat", "--size", "N=65536", stdin=TWO_NODES)
    assert result.exit_code == 0
    assert "<stdin>:4 %nearest  N queries x N keys, width 2, hardmax(last)" in result.stdout
    assert "not legal: keys have width 64" in result.stdout
    assert "assumed: N = 65536 (hinted)" in result.stdout
    assert result.stdout.endswith("costs for flat\n")


def test_a_graph_without_attention_has_an_empty_plan() -> None:
    assert plan(spec=TWICE)["nodes"] == []
    assert attnc("plan", "-", stdin=TWICE).stdout == "no attention nodes\n"


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--size", "N"], 2, "write N=65536"),
        (["--size", "N=-1"], 2, "write N=65536"),
        (["--size", "N=1099511627777"], 2, "at most 2**40"),
        (["--assume", "-1"], 2, "--assume"),
        (["--size", "Z=3"], 1, "no dimension or cache is called so"),
        (["--machine", "abacus"], 1, "no machine profile is called 'abacus'"),
        (["--machine", "../x"], 1, "does not name a machine profile"),
        (["--strategy", "magic"], 1, "no strategy is called 'magic'"),
        (["--strategy", "hull"], 1, "strategy hull is not legal for %wide"),
        (["--backend", "abacus"], 1, "no backend 'abacus'"),
    ],
)
def test_a_wrong_option_says_what_is_right(args, code, said) -> None:
    result = attnc("plan", "-", *args, stdin=TWO_NODES)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
