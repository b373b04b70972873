"""Dense attention against the reference: every normaliser, mask, bias and element type, on arrays of any layout."""

import numpy as np
import pytest
from backend_cases import (
    array_for,
    arrays_for,
    attend,
    check_attention,
    compiled,
    laid_out,
    layouts,
    outcome,
    seeds,
    styles,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

import attnc
from attnc_backends.numba import executable


def qkv(dtype, rank, *, width=4, value=None, value_width=3):
    """Inputs of a rank; heads of queries and keys are `H` and `G`."""
    lead, key_lead = {2: ("", ""), 3: ("H x ", "G x "), 4: ("B x H x ", "B x G x ")}[rank]
    value = value or dtype
    return (
        f"%q: {dtype}[{lead}N x {width}], %k: {dtype}[{key_lead}M x {width}], %v: {value}[{key_lead}M x {value_width}]"
    )


SPECS = {
    # softmax
    "grouped causal f64": attend(qkv("f64", 4), "normalizer = softmax, mask = causal(bottom_right), scale = 0.5", lse=True),
    "window f32": attend(qkv("f32", 4), "normalizer = softmax, mask = window(3, 1, bottom_right), scale = 0.3", lse=True),
    "far window f64": attend(qkv("f64", 2), "normalizer = softmax, mask = window(1, 2, 4) | window(0, 0, -70)"),
    "negative causal f16": attend(
        qkv("f16", 3) + ", %row: f16[H x 3]", "normalizer = softmax, mask = causal(-2), empty = default(%row)", lse=True
    ),
    "softcap bf16": attend(qkv("bf16", 2), "normalizer = softmax, mask = causal(3), softcap = 2.0, scale = -1.5"),
    "documents f32 keys f64 values": attend(
        qkv("f32", 4, value="f64") + ", %ids: i32[B x N], %key_ids: i64[M]", "normalizer = softmax, mask = documents(%ids, %key_ids)", lse=True
    ),
    "ragged f64": attend(
        qkv("f64", 4) + ", %queries: i32[B], %keys: i64[B], %count: i64[B]",
        "normalizer = softmax, mask = lengths(%queries, %keys) & prefix(%count) & window(5, 5, bottom_right)",
    ),
    "mask, bias and sinks f64": attend(
        qkv("f64", 4) + ", %allowed: bool[H x 1 x M], %bias: f32[B x 1 x N x M], %sinks: f64[H]",
        "normalizer = softmax, mask = tensor(%allowed), bias = tensor(%bias), sinks = %sinks",
        lse=True,
    ),
    "alibi and relative f32": attend(
        qkv("f32", 3) + ", %slopes: f32[H], %table: f64[1 x 5]",
        "normalizer = softmax, mask = causal(top_left) & prefix(40), bias = alibi(%slopes) + relative(%table), softcap = 8.0",
    ),
    "expressions f64": attend(
        qkv("f64", 4) + ", %levels: f64[3], %steps: i32[2 x 4]",
        "normalizer = softmax, mask = predicate((i + 2 * j) % 3 != b and (h == 0 or j < 50 or i > 1)),"
        " bias = expression(exp(-abs(i - j)) * %levels[min(i, 2)]) + expression(%steps[h % 2, j % 4]) + expression(sqrt(j + 1.0) / 8)",
        lse=True,
    ),
    "combined masks f64": attend(
        qkv("f64", 2) + ", %allowed: bool[N x M]",
        "normalizer = softmax, mask = ~(causal(1) & tensor(%allowed)) | prefix(2) & ~window(1, 0, top_left) | ~everything",
    ),
    "f16 keys bf16 values and sinks": attend(
        qkv("f16", 4, value="bf16") + ", %sinks: f16[H]", "normalizer = softmax, mask = causal(bottom_right), sinks = %sinks"
    ),
    # mean
    "mean f64": attend(qkv("f64", 4), "normalizer = mean, mask = causal(bottom_right), scale = 0.5", lse=True),
    "mean bf16": attend(qkv("bf16", 3), "normalizer = mean, mask = window(9, 2, top_left) & predicate(j % 2 == 0)"),
    # hard-max
    "hardmax first f64": attend(qkv("f64", 4, width=2), "normalizer = hardmax(first), mask = causal(bottom_right), scale = 0.3"),
    "hardmax last f32": attend(
        qkv("f32", 3) + ", %allowed: bool[N x M]", "normalizer = hardmax(last), mask = window(7, 4, 2) & tensor(%allowed), scale = -0.7"
    ),
    "hardmax mean bf16 keys f64 values": attend(
        qkv("bf16", 2, value="f64"), "normalizer = hardmax(mean), bias = expression((i - j) // 4 + 4503599627370496 * (j % 2))"
    ),
    "hardmax mean f64 keys f32 values": attend(
        qkv("f64", 3, value="f32") + ", %slopes: f64[1]", "normalizer = hardmax(mean), softcap = 1.5, bias = alibi(%slopes)", lse=True
    ),
    "hardmax first with biases": attend(
        qkv("f64", 4) + ", %bias: f64[H x N x M], %table: f32[H x 3]",
        "normalizer = hardmax(first), bias = tensor(%bias) + relative(%table), empty = default(%row)",
        lse=True,
    ).replace(") {", ", %row: f64[3]) {", 1),
    "hardmax last f16 with expressions": attend(
        qkv("f16", 2) + ", %levels: f32[3]",
        "normalizer = hardmax(last), bias = expression(where(j > i + 9, -inf, 0.1 * (j % 3) + 0.2)) + expression(%levels[j % 3])",
    ),
    # top-k
    "topk first f64": attend(qkv("f64", 4), "normalizer = topk(3, first), mask = causal(bottom_right), scale = 0.5", lse=True),
    "topk last f32": attend(qkv("f32", 3) + ", %bias: f32[M]", "normalizer = topk(2, last), bias = tensor(%bias)"),
    "topk first bf16": attend(
        qkv("bf16", 4) + ", %slopes: bf16[H], %ids: i32[N], %key_ids: i32[M]",
        "normalizer = topk(70, first), softcap = 3.0, bias = alibi(%slopes), mask = documents(%ids, %key_ids)",
    ),
    # empty rows
    "empty is an error": attend(
        qkv("f64", 4, width=1, value_width=1) + ", %queries: i64[B], %keys: i64[B]",
        "normalizer = softmax, mask = lengths(%queries, %keys), empty = error",
    ),
}

LENGTHS = [(0, 0), (0, 3), (3, 0), (1, 1), (2, 5), (7, 3), (9, 9), (17, 2), (33, 4), (2, 63), (3, 64), (2, 65), (1, 200)]


@st.composite
def drawn_sizes(draw):
    queries, keys = draw(st.sampled_from(LENGTHS))
    key_heads = draw(st.sampled_from([1, 2]))
    return {"B": draw(st.sampled_from([1, 2, 0])), "G": key_heads, "H": key_heads * draw(st.sampled_from([1, 2, 3])), "N": queries, "M": keys}


LARGE = {"B": 2, "G": 1, "H": 2, "N": 3, "M": 130}


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=14)
@given(sizes=drawn_sizes(), style=styles, layout=layouts, seed=seeds)
@example(sizes=LARGE, style="normal", layout="plain", seed=1)
@example(sizes=LARGE, style="integers", layout="reversed", seed=2)
def test_agrees_with_the_reference(name, sizes, style, layout, seed):
    program = compiled(SPECS[name])
    check_attention(program, arrays_for(program.source_module["g"], sizes, seed=seed, style=style, layout=layout))


@pytest.mark.parametrize("name", ["window f32", "hardmax last f32", "topk first f64", "softcap bf16"])
@given(layout=layouts, seed=seeds, moved=st.sampled_from("qkv"))
def test_results_do_not_depend_on_how_arrays_lie_in_memory(name, layout, seed, moved):
    program = compiled(SPECS[name])
    sizes = {"B": 2, "G": 1, "H": 2, "N": 3, "M": 7}
    plain = arrays_for(program.source_module["g"], sizes, seed=seed)
    if layout == "broadcast":
        plain[moved] = np.ascontiguousarray(np.broadcast_to(plain[moved][:1], plain[moved].shape))
    there = plain | {moved: laid_out(plain[moved], layout)}
    before = there[moved].tobytes()
    got, expected = (result if isinstance(result, tuple) else (result,) for result in (program("g", **there), program("g", **plain)))
    assert [x.tobytes() for x in got] == [x.tobytes() for x in expected]
    assert there[moved].tobytes() == before


@pytest.mark.parametrize("name", SPECS)
def test_nothing_to_do(name):
    program = compiled(SPECS[name])
    graph = program.source_module["g"]
    for empty in ("B", "N", "M", "H"):
        sizes = {"B": 2, "G": 2, "H": 2, "N": 3, "M": 4} | ({"G": 0, "H": 0} if empty == "H" else {empty: 0})
        arrays = {value.name: np.asarray(array_for(value, sizes, np.random.default_rng(0), "normal")) for value in graph.inputs}
        check_attention(program, arrays)


# --- threads ---


@pytest.mark.parametrize("name", SPECS)
def test_threads_do_not_change_a_bit(name, monkeypatch):
    monkeypatch.setattr(executable, "PARALLEL_WORK", 0)
    program = compiled(SPECS[name])
    for seed, queries in enumerate((1, 5, 37)):
        sizes = {"B": 2, "G": 1, "H": 3, "N": queries, "M": 70}
        arrays = arrays_for(program.source_module["g"], sizes, seed=seed, style="integers" if seed == 1 else "normal")
        runs = [outcome(lambda threads=threads, arrays=arrays: program.run("g", arrays, threads=threads)) for threads in (1, 2, 5)]
        alone = runs[0]
        for together in runs[1:]:
            if isinstance(alone, attnc.AttncError):
                assert str(together) == str(alone)
            else:
                assert [x.tobytes() for x in together] == [x.tobytes() for x in alone]


# --- numbers that are awkward for float32 ---


@pytest.mark.parametrize("attributes", ["softcap = 1e300", "softcap = 1e-300, scale = 2.0", "scale = 1e200, softcap = 3.0"])
def test_factors_that_a_float32_cannot_hold(attributes):
    program = compiled(attend(qkv("f32", 2), f"normalizer = softmax, {attributes}"))
    check_attention(program, arrays_for(program.source_module["g"], {"N": 4, "M": 9}, seed=4))


@pytest.mark.parametrize(("name", "dtype"), [("window f32", "f32"), ("mean f64", "f64")])
def test_rounding_does_not_grow_with_the_length_of_a_row(name, dtype):
    text = attend(qkv(dtype, 2), f"normalizer = {'mean' if dtype == 'f64' else 'softmax'}")
    n, element = 200_000, {"f32": np.float32, "f64": np.float64}[dtype]
    value = np.full((n, 3), 0.1, element)
    out = compiled(text)("g", np.zeros((1, 4), element), np.zeros((n, 4), element), value)
    assert np.abs(out / value[:1] - 1).max() <= {"f32": 1e-5, "f64": 1e-12}[dtype], name


def test_a_range_beyond_the_last_key_reads_nothing():
    program = compiled(attend(qkv("f64", 2), "normalizer = softmax, mask = window(0, 0, 1099511627776)"))
    arrays = arrays_for(program.source_module["g"], {"N": 3, "M": 2})
    np.testing.assert_array_equal(program("g", **arrays), np.zeros((3, 3)))


# --- exactness ---


def test_integer_biases_beyond_double_precision_are_compared_exactly():
    program = compiled(attend(qkv("f64", 2, width=1, value_width=1), "normalizer = hardmax(first), bias = expression(9007199254740992 + j)"))
    value = np.arange(4.0)[:, np.newaxis]
    for keys in (1, 2, 3, 4):  # 2**53 + 1 rounds to 2**53
        out = program("g", np.zeros((1, 1)), np.zeros((keys, 1)), value[:keys])
        assert out.tolist() == [[keys - 1]]


def test_integer_expressions_wrap():
    program = compiled(
        attend(
            qkv("f64", 2, width=1, value_width=1),
            "normalizer = mean, mask = predicate((9223372036854775807 + 1) / 2.0 + j < 0 and -(-9223372036854775808) < j)",
        )
    )
    check_attention(program, arrays_for(program.source_module["g"], {"N": 2, "M": 3}))


@pytest.mark.parametrize(
    ("keys", "bias"),
    [
        ([[1.0], [1.0]], "expression(-1e300 * 1e300 * (j + 1))"),  # real numbers, though not doubles
        ([[1.0]], "expression(where(1e300 * 1e300 > 1e300, -inf, 0.0))"),  # a condition that doubles get wrong by luck only
        ([[1.0], [2.0]], "expression(1.0 / (j - 0.5 + 0.5))"),  # an infinity
        ([[1.0], [1.0]], "expression(0.1 + 0.2) + expression(where(j == 1, 0.3 - 0.3, 0.1 - 0.1))"),
    ],
)
def test_biases_that_doubles_cannot_settle(keys, bias):
    program = compiled(attend(qkv("f64", 2, width=1, value_width=1), f"normalizer = hardmax(first), bias = {bias}"))
    keys = np.array(keys)
    check_attention(program, {"q": np.array([[1.0], [0.0]]), "k": keys, "v": np.arange(1.0, 1 + len(keys))[:, np.newaxis]})


def test_a_softcap_keeps_infinite_dot_products_finite():
    program = compiled(
        attend(qkv("f64", 2, width=1, value_width=1) + ", %bias: f64[M]", "normalizer = hardmax(last), softcap = 2.0, bias = tensor(%bias)")
    )
    inf = np.inf
    for keys, bias in [([-inf, 1.0], [inf, 0.0]), ([inf, -inf], [0.0, 4.0]), ([inf, inf], [0.0, 0.0]), ([inf, 5.0], [-inf, 0.0])]:
        value = np.arange(1.0, 3.0)[:, np.newaxis]
        check_attention(program, {"q": np.ones((1, 1)), "k": np.array(keys)[:, np.newaxis], "v": value, "bias": np.array(bias)})


@pytest.mark.parametrize("normalizer", ["topk(2, first)", "hardmax(mean)"])
def test_products_too_large_for_a_double(normalizer):
    program = compiled(attend(qkv("f64", 2, width=2), f"normalizer = {normalizer}, scale = 1e-300", lse=True))
    big = 1e200
    keys = np.array([[big, -big], [big, -big * (1 - 2**-50)], [1.0, 2.0]])
    check_attention(program, {"q": np.array([[big, big], [1.0, 0.0]]), "k": keys, "v": np.eye(3)})


def test_computed_lengths_are_checked():
    text = (
        "graph @g(%q: f64[N x 1], %k: f64[M x 1], %v: f64[M x 1], %n: i64[1]) {\n"
        "  %count = neg %n\n  %o = attend %q, %k, %v {normalizer = mean, mask = prefix(%count)}\n  return %o\n}\n"
    )
    q = np.ones((2, 1))
    assert compiled(text)("g", q, q, q, np.array([-1])).tolist() == [[1.0], [1.0]]
    with pytest.raises(attnc.ArgumentError, match="must not be negative"):
        compiled(text)("g", q, q, q, np.array([1]))
