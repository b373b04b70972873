import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.manager import PassManager
from attnc_ir.attributes.bias import BIAS
from attnc_ir.attributes.modifier import MODIFIER
from attnc_ir.text import parse
from planner_graphs import CONSTANTS, assert_same_meaning, changed, integers


def node_after(attributes, *, lse="", rows="N", extra=""):
    graph, counts = changed(
        "simplify-scores",
        f"""graph @g(%q: f64[2 x {rows} x 2], %k: f64[2 x M x 2], %v: f64[2 x M x 1], %t: f64[1], %sink: f64[2]{extra}) {{
          {CONSTANTS}
          %o{lse} = attend %q, %k, %v {{{attributes}}}
          return %o{lse}
        }}""",
    )
    return graph.ops[-1], counts


@pytest.mark.parametrize("normalizer", ["hardmax(first)", "hardmax(mean)", "mean"])
@pytest.mark.parametrize("factors", ["scale = 2.0", "softcap = 5.0", "scale = 0.1, softcap = 5.0"])
def test_factors_that_keep_the_order_go(normalizer, factors):
    node, counts = node_after(f"normalizer = {normalizer}, {factors}")
    assert (node.scale, node.softcap, node.query.name) == (1.0, None, "q")
    assert counts == {f"dropped-{word}": 1 for word in ("scale", "softcap") if word in factors}


def test_a_negative_scale_turns_the_query_around():
    node, counts = node_after("normalizer = hardmax(last), scale = -0.3")
    assert (node.scale, node.query.name) == (1.0, "q_neg")
    assert counts == {"flipped-negative-scale": 1}
    # The mean uses no scores, so there is nothing to turn.
    node, counts = node_after("normalizer = mean, scale = -0.3")
    assert (node.scale, node.query.name) == (1.0, "q")


@pytest.mark.parametrize(
    ("attributes", "lse"),
    [
        ("normalizer = softmax, scale = 2.0, softcap = 5.0", ""),
        ("normalizer = topk(2, first), scale = -2.0", ""),
        ("normalizer = hardmax(last), scale = 0.0", ""),
        ("normalizer = mean, scale = 0.0", ""),
        ("normalizer = hardmax(last), scale = 2.0, softcap = 3.0", ", %l"),
        ("normalizer = hardmax(last), scale = -2.0, softcap = 3.0, bias = alibi(%slopes)", ""),
    ],
)
def test_factors_that_are_seen_stay(attributes, lse):
    node, counts = node_after(attributes, lse=lse)
    assert not counts
    assert node.query.name == "q"


@pytest.mark.parametrize(
    ("modifier", "expected"),
    [
        ("score", {}),
        ("score / 4", {"scale": 0.125}),
        ("2.0 * score - (i - j)", {"scale": 1.0, "bias": "expression((i - j) * -1.0)"}),
        ("(score + j) * 2", {"scale": 1.0, "bias": "expression(j * 2.0)"}),
        ("1.0 * j - score", {"scale": -0.5, "bias": "expression(1.0 * j)"}),
        ("4 * tanh(score / 4)", {"softcap": 4.0}),
        ("4 * tanh(score / 2) + j", {"scale": 1.0, "softcap": 4.0, "bias": "expression(j)"}),
        ("-4 * tanh(score)", {"scale": -2.0, "softcap": 4.0}),
        ("score / 3", {"modifier": "expression(score / 3)"}),  # no double
        ("score + %table[j % 3]", {"modifier": "expression(score + %table[j % 3])"}),  # which may be -inf
        (
            "where(j > i, score, -inf)",
            {"modifier": "expression(where(j > i, score, -inf))"},
        ),  # removes nothing
        ("0.0 * score", {"modifier": "expression(0.0 * score)"}),
        ("tanh(score + 1.0) + j", {"modifier": "expression(tanh(score + 1.0))", "bias": "expression(j)"}),
        ("0.5 * j", {"modifier": "expression(0.5 * j)"}),  # NaN scores are lost
    ],
)
def test_modifiers_are_taken_apart(modifier, expected):
    node, counts = node_after(f"normalizer = softmax, scale = 0.5, modifier = expression({modifier})")
    found = {"scale": node.scale, "softcap": node.softcap, "modifier": node.modifier, "bias": node.bias}
    wanted = {"scale": 0.5, "softcap": None, "modifier": None, "bias": ()} | expected
    if isinstance(wanted["bias"], str):
        found["bias"] = BIAS.write(found["bias"])
    if wanted["modifier"] is not None:
        found["modifier"] = MODIFIER.write(found["modifier"])
    assert found == wanted
    assert counts == ({} if expected.get("modifier", "").endswith(f"({modifier})") else {"split-modifier": 1})


def test_a_modifier_behind_a_softcap_keeps_its_factor():
    node, _ = node_after("normalizer = softmax, softcap = 2.0, modifier = expression(2.0 * score + j)")
    assert (MODIFIER.write(node.modifier), BIAS.write(node.bias)) == (
        "expression(2.0 * score)",
        "expression(j)",
    )
    node, counts = node_after(
        "normalizer = softmax, softcap = 2.0, modifier = expression(2 * tanh(score / 2))"
    )
    assert not counts


@pytest.mark.parametrize(
    ("bias", "expected"),
    [
        ("%slopes[h] * (j - i)", "alibi(%slopes)"),
        ("(j - i) * %slopes[h]", "alibi(%slopes)"),
        ("-(%slopes[h] * (i - j))", "alibi(%slopes)"),
        ("%slopes[h] * (i - j)", "alibi(%slopes_neg)"),
        ("%slopes[h] * (i - j - 1)", "expression(%slopes[h] * (i - j - 1))"),
        ("%slopes[1] * (j - i)", "expression(%slopes[1] * (j - i))"),
        ("%zeros[h] * (j - i)", "expression(%zeros[h] * (j - i))"),  # too short for the second head
        ("%wide[h, min(max(j - i, -1), 1) + 1]", "relative(%wide)"),
        ("%wide[h, max(-1, min(1, j - i)) + 1]", "relative(%wide)"),
        ("%wide[h, min(max(i - j, -1), 1) + 1]", "expression(%wide[h, min(max(i - j, -1), 1) + 1])"),
        ("%wide[h, j - i + 1]", "expression(%wide[h, j - i + 1])"),  # an error where it is far
        ("%here[i, j]", "tensor(%here)"),
        ("%here[j, i]", "expression(%here[j, i])"),
    ],
)
@pytest.mark.parametrize("normalizer", ["softmax", "hardmax(last)"])
def test_expressions_that_are_another_bias(bias, normalizer, expected):
    node, counts = node_after(
        f"normalizer = {normalizer}, bias = expression({bias})", extra=", %here: f64[N x M]"
    )
    assert BIAS.write(node.bias) == expected
    assert counts == ({} if "expression" in expected else {"recognised-bias": 1})


@pytest.mark.parametrize(
    ("bias", "normalizer", "goes"),
    [
        ("expression(0)", "softmax", "dropped-zero-bias"),
        ("expression(h * 0)", "softmax", "dropped-zero-bias"),
        ("alibi(%zeros)", "softmax", "dropped-zero-bias"),
        ("expression(0.5 * h)", "hardmax(last)", "dropped-row-shift"),
        ("expression(i * i)", "hardmax(last)", "dropped-row-shift"),
        ("tensor(%shift)", "hardmax(last)", "dropped-row-shift"),
        ("expression(where(i < 3, 1, 2.5))", "hardmax(last)", "dropped-row-shift"),
        ("expression(0.5 * h)", "softmax", "dropped-rounding-shift"),
        ("tensor(%shift)", "topk(2, last)", "dropped-rounding-shift"),
        ("expression(0.5 * h + 100)", "softmax", "dropped-rounding-shift"),
        ("alibi(%slopes)", "mean", "dropped-unused-bias"),
        ("expression(j)", "mean", "dropped-unused-bias"),
        # these stay
        ("expression(0.5 * h + 1e6)", "softmax", None),  # would round away the scores
        ("expression(i)", "softmax", None),
        ("expression(j)", "hardmax(last)", None),
        ("alibi(%slopes)", "hardmax(last)", None),
        ("tensor(%t)", "hardmax(last)", None),  # may be -inf, which removes every key
        ("tensor(%t)", "mean", None),
        ("expression(%table[h])", "hardmax(last)", None),
        ("expression(-inf)", "hardmax(last)", None),
        ("expression(where(i < 3, 1, -inf))", "hardmax(last)", None),
        ("expression(1 / h)", "hardmax(last)", None),
        ("expression(9223372036854775807 + i)", "softmax", None),
    ],
)
def test_a_shift_goes_where_it_is_known_to_be_harmless(bias, normalizer, goes):
    node, counts = node_after(f"normalizer = {normalizer}, bias = {bias}")
    assert counts == ({goes: 1} if goes else {})
    assert bool(node.bias) is (goes is None)


@pytest.mark.parametrize(
    ("attributes", "lse"),
    [
        ("normalizer = softmax, bias = expression(0.5 * h)", ", %l"),
        ("normalizer = softmax, bias = expression(0.5 * h), sinks = %sink", ""),
        ("normalizer = hardmax(last), bias = expression(0.5 * h)", ", %l"),
    ],
)
def test_a_shift_that_somebody_sees_stays(attributes, lse):
    node, counts = node_after(attributes, lse=lse)
    assert node.bias
    assert not counts


def test_a_tighter_tolerance_keeps_the_shift():
    _, counts = node_after("normalizer = softmax, bias = expression(0.5 * h)")
    assert counts
    _, counts = node_after("normalizer = softmax, bias = expression(0.5 * h), tolerance = 1e-16")
    assert not counts


def test_rounding_that_was_traded_is_said_in_the_plan():
    text = """graph @g(%q: f64[N x 2], %k: f64[M x 2], %v: f64[M x 1]) {
      %o = attend %q, %k, %v {normalizer = softmax, bias = expression(2.5)}
      return %o
    }"""
    plan = PassManager.of("simplify-scores,select-strategy").run(parse(text)).plan
    assert any("changes rounding only, within 1e-12" in note for note in plan.node("o").notes)


@settings(max_examples=60)
@given(
    normalizer=st.sampled_from(["softmax", "topk(2, first)", "hardmax(mean)", "mean"]),
    shift=st.sampled_from(
        ["expression(0.5 * h - 3)", "expression(i * 7)", "expression(200.0)", "tensor(%shift)"]
    ),
    data=st.data(),
)
def test_shifted_rows_give_what_they_gave(normalizer, shift, data):
    text = f"""graph @g(%q: f64[2 x 3 x 2], %k: f64[2 x 4 x 2], %v: f64[2 x 4 x 1]) {{
      {CONSTANTS}
      %o = attend %q, %k, %v {{normalizer = {normalizer}, bias = {shift} + expression(0.5 * j), mask = causal(0)}}
      return %o
    }}"""
    arrays = {
        "q": integers(data.draw, 2, 3, 2),
        "k": integers(data.draw, 2, 4, 2),
        "v": integers(data.draw, 2, 4, 1),
    }
    assert_same_meaning(text, "simplify-scores", arrays, rtol=1e-12)
