"""When a hull follows a mask, and when the scan of a few keys is the better choice."""

import pytest

import attnc
from attnc.facts import analyze
from attnc.strategies import judge_of
from attnc_ir.text import parse

INPUTS = "%q: f64[B x H x N x 2], %k: f64[B x H x N x 2], %v: f64[B x H x N x 1], %n: i64[B], %m: i64[B], %ids: i32[B x N]"


def graph(mask, normalizer):
    return f"graph @g({INPUTS}) {{ %o = attend %q, %k, %v {{normalizer = {normalizer}, mask = {mask}}} return %o }}"


def reasons(mask, strategy="hull", normalizer="hardmax(last)"):
    found = parse(graph(mask, normalizer))["g"]
    return judge_of(strategy).why_not(found.ops[0], analyze(found))


def chosen(mask, *, n=65536, normalizer="hardmax(last)"):
    program = attnc.compile(
        graph(mask, normalizer), pipeline=f"select-strategy{{machine=builtin,N={n}}}", backend="numpy"
    )
    return program.plan.node("o").chosen.strategy


@pytest.mark.parametrize(
    "mask",
    [
        "everything",
        "nothing",
        "causal(-7)",
        "window(5, 9, bottom_right)",
        "prefix(%n)",
        "lengths(%n, %m)",
        "documents(%ids)",
        "documents(%ids) & window(8, 0) & lengths(%n, %m) & prefix(9) & causal(3)",
    ],
)
def test_every_range_will_do(mask):
    assert reasons(mask) == ()


@pytest.mark.parametrize(
    "mask", ["~prefix(3)", "causal | prefix(4)", "predicate(j % 2 == 0)", "causal & ~window(2, 2)"]
)
def test_a_mask_with_holes_will_not(mask):
    assert reasons(mask) == ("the mask does not give every row one range of keys",)


def test_every_reason_is_given():
    assert len(reasons("documents(%ids) & documents(%ids, %ids) & ~prefix(2)")) == 2


def test_longer_windows_turn_from_the_scan_to_the_hull_and_stay_there():
    choices = [chosen(f"window({w}, 0)") for w in (2, 8, 64, 512, 4096, 32768)]
    turn = choices.index("hull")
    assert 0 < turn < len(choices)
    assert set(choices[:turn]) == {"scan"}
    assert set(choices[turn:]) == {"hull"}


def test_a_few_queries_do_not_pay_for_two_hulls():
    assert chosen("window(64, 0)", n=4) != "hull"


def test_top_k_goes_to_the_scan_while_it_may():
    assert reasons("causal", "scan", "topk(64, first)") == ()
    assert reasons("causal", "scan", "topk(65, first)") == ("k is 65, and a scan holds at most 64 keys",)
    assert chosen("causal", normalizer="topk(64, last)") == "scan"
    assert chosen("causal", normalizer="topk(65, last)") == "dense"
