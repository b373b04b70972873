import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.pipeline import DEFAULT_PIPELINE
from attnc_ir.attributes.strategy import Dense, Hull
from attnc_ir.ops import Attend
from attnc_ir.types import DType
from planner_graphs import assert_same_meaning, changed, integers

TEXT = """graph @g(%q: {t}[{h}N x {d}], %k: {t}[{h}{m} x {d}], %v: {t}[{h}{m} x 1], %given: {t}[2]) {{
  %slopes = constant {{type = {t}[{n}], values = [{s}]}}
  %bad = constant {{type = f64[1], values = [inf]}}
  %table = constant {{type = f64[1], values = [0.5]}}
  %o{lse} = attend %q, %k, %v {{normalizer = {norm}, mask = causal(0), bias = {bias}{more}}}
  return %o{lse}
}}"""


def spec(
    bias="alibi(%slopes)",
    *,
    norm="hardmax(last)",
    h="2 x ",
    m="M",
    d=1,
    t="f64",
    s="0.5, -1",
    more="",
    lse="",
):
    return TEXT.format(bias=bias, norm=norm, h=h, m=m, d=d, t=t, s=s, n=len(s.split(",")), more=more, lse=lse)


def lifted(text, pipeline="lift-biases"):
    graph, counts = changed(pipeline, text)
    (node,) = (op for op in graph.ops if isinstance(op, Attend))
    return node, counts


@pytest.mark.parametrize(
    "bias",
    [
        "alibi(%slopes)",
        "expression(0.5 * j)",
        "expression(-1 * (j - i))",
        "expression((i - j) / 4 + 3 * h)",
        "expression(-(j * 2 - 7))",
        "alibi(%slopes) + expression(j) + expression(2.5)",
    ],
)
def test_a_bias_that_is_linear_in_the_key_position_is_lifted(bias):
    node, counts = lifted(spec(bias))
    assert (node.bias, node.geometry.key_width) == ((), 2)
    assert counts == {"lifted-bias": 1}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (spec(d=128), "kept-wide-key"),
        (spec(more=", softcap = 2.0"), "kept-seen-score"),
        (spec(lse=", %l"), "kept-seen-score"),
        (spec(more=", keys = integer"), "kept-promised-key"),
        (spec(more=", scale = 0.0"), "kept-seen-score"),
        (spec("alibi(%given)"), "kept-unknown-slope"),  # may be infinite, and then removes keys
        (spec("alibi(%bad)"), "kept-unknown-slope"),
        (spec("expression(j * j)"), "kept-unknown-slope"),
        (spec("expression(max(j, 3))"), "kept-unknown-slope"),
        (spec("expression(j * h)"), "kept-unknown-slope"),
        (spec("expression(j + %table[h])"), "kept-unknown-slope"),
        (spec("expression(where(i < 2, j, 0))"), "kept-unknown-slope"),
        (spec("expression(j * 1e308 * 1e308)"), "kept-inexact-scale"),
        (spec("expression(0.5 * j) + alibi(%given)"), "kept-unknown-slope"),
        (spec(more=", scale = 3.0"), "kept-inexact-scale"),
        (spec("expression(j / 3)"), "kept-inexact-scale"),
        (spec("expression(j / 3)", t="f32"), "kept-inexact-scale"),
    ],
)
def test_what_would_not_be_exact_or_not_pay_stays(text, word):
    node, counts = lifted(text)
    assert node.bias
    assert counts == {word: 1}


@pytest.mark.parametrize(
    "text",
    [
        spec("expression(0.1 * j)", t="f32"),
        spec("expression(0.1 * j)", t="f32", m="9"),
        spec(t="f32", m="20000000"),
        spec(t="f16", m="4096"),
        spec(t="bf16"),
    ],
)
def test_narrow_types_are_widened_where_they_cannot_hold_a_position_or_slope(text):
    node, counts = lifted(text)
    assert (node.bias, node.geometry.key_width, node.key_type.dtype) == ((), 2, DType.F64)
    assert node.output.tensor.dtype is node.value_type.dtype
    assert counts == {"lifted-bias": 1, "widened-key": 1}


@pytest.mark.parametrize("text", [spec(t="f32", m="20000"), spec(t="f16", m="2049"), spec()])
def test_types_that_hold_them_stay(text):
    node, counts = lifted(text)
    assert node.key_type.dtype is node.value_type.dtype
    assert counts == {"lifted-bias": 1}


def test_width_2_and_a_bias_becomes_width_3_and_is_not_left_to_dense():
    node, _ = lifted(spec(d=2), DEFAULT_PIPELINE)
    assert (node.bias, node.geometry.key_width) == ((), 3)
    assert not isinstance(node.strategy, Dense)


def test_a_softmax_is_left_alone():
    node, counts = lifted(spec(norm="softmax"))
    assert node.bias
    assert not counts


def test_the_width_to_lift_to_is_an_option():
    node, counts = lifted(spec(d=4), "lift-biases{max-width=5}")
    assert node.geometry.key_width == 5
    assert counts == {"lifted-bias": 1}
    node, counts = lifted(spec(d=4), "lift-biases{max-width=4}")
    assert node.bias
    assert counts == {"kept-wide-key": 1}


def test_a_slope_of_zero_needs_no_dimension():
    node, counts = lifted(
        spec("alibi(%slopes)", s="0.5, 0.5").replace(
            "alibi(%slopes)", "alibi(%slopes) + expression(-0.5 * j)"
        )
    )
    assert (node.bias, node.geometry.key_width) == ((), 1)
    assert counts == {"dropped-zero-slope": 1}


def test_a_scale_that_divides_exactly_is_kept_until_scores_are_simplified():
    node, _ = lifted(spec(more=", scale = -0.25"))
    assert node.scale == -0.25
    node, _ = lifted(spec(more=", scale = -0.25"), DEFAULT_PIPELINE)
    assert node.scale == 1.0
    assert isinstance(node.strategy, Hull)


@settings(max_examples=80)
@given(
    bias=st.sampled_from(
        [
            "alibi(%slopes)",
            "expression(0.5 * j)",
            "expression((i - j) / 4 + 3 * h)",
            "alibi(%slopes) + expression(2 * j - i)",
            "expression(0.1 * j)",
        ]
    ),
    tie=st.sampled_from(["first", "last", "mean"]),
    scale=st.sampled_from(["1.0", "0.5", "-2.0", "-1.0"]),
    rank=st.sampled_from([2, 3, 4]),
    dtype=st.sampled_from(["f64", "f32", "f16"]),
    width=st.integers(1, 2),
    n=st.integers(0, 4),
    m=st.integers(0, 5),
    data=st.data(),
)
def test_lifting_changes_no_bit(bias, tie, scale, rank, dtype, width, n, m, data):
    slopes, lead, key_lead = ("0.5", "", "") if rank == 2 else ("0.5, -1", "2 x ", "1 x ")
    if rank == 4:
        lead, key_lead = "B x 2 x ", "B x 1 x "
    text = f"""graph @g(%q: {dtype}[{lead}N x {width}], %k: {dtype}[{key_lead}{m} x {width}], %v: {dtype}[{key_lead}{m} x 1]) {{
      %slopes = constant {{type = f64[{len(slopes.split(","))}], values = [{slopes}]}}
      %o = attend %q, %k, %v {{normalizer = hardmax({tie}), mask = causal(1), bias = {bias}, scale = {scale}}}
      return %o
    }}"""
    shape = {2: (), 3: (2,), 4: (1, 2)}[rank]
    key_shape = {2: (), 3: (1,), 4: (1, 1)}[rank]
    q = integers(data.draw, *shape, n, width)
    if q.size and data.draw(st.booleans()):
        q.flat[0] = data.draw(st.sampled_from([np.inf, -np.inf, np.nan]))
    arrays = {
        "q": q,
        "k": integers(data.draw, *key_shape, m, width),
        "v": integers(data.draw, *key_shape, m, 1),
    }
    arrays = {
        name: array.astype({"f64": np.float64, "f32": np.float32, "f16": np.float16}[dtype])
        for name, array in arrays.items()
    }
    node, _ = lifted(text)
    assert not node.bias
    assert_same_meaning(text, "lift-biases", arrays)
