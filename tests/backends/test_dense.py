"""Dense attention against the reference: every normaliser, mask, bias and element type, on arrays of any layout."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import attnc
from attnc_backends.numba import executable
from backend_cases import (
    SPECS,
    array_for,
    arrays_for,
    attend,
    check_attention,
    compiled,
    laid_out,
    layouts,
    outcome,
    qkv,
    seeds,
    styles,
)

LENGTHS = [
    (0, 0),
    (0, 3),
    (3, 0),
    (1, 1),
    (2, 5),
    (7, 3),
    (9, 9),
    (17, 2),
    (33, 4),
    (2, 63),
    (3, 64),
    (2, 65),
    (1, 200),
]


@st.composite
def drawn_sizes(draw):
    queries, keys = draw(st.sampled_from(LENGTHS))
    key_heads = draw(st.sampled_from([1, 2]))
    return {
        "B": draw(st.sampled_from([1, 2, 0])),
        "G": key_heads,
        "H": key_heads * draw(st.sampled_from([1, 2, 3])),
        "N": queries,
        "M": keys,
    }


LARGE = {"B": 2, "G": 1, "H": 2, "N": 3, "M": 130}


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=14)
@given(sizes=drawn_sizes(), style=styles, layout=layouts, seed=seeds)
@example(sizes=LARGE, style="normal", layout="plain", seed=1)
@example(sizes=LARGE, style="integers", layout="reversed", seed=2)
def test_agrees_with_the_reference(name, sizes, style, layout, seed):
    program = compiled(SPECS[name])
    check_attention(
        program, arrays_for(program.source_module["g"], sizes, seed=seed, style=style, layout=layout)
    )


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
    got, expected = (
        result if isinstance(result, tuple) else (result,)
        for result in (program("g", **there), program("g", **plain))
    )
    assert [x.tobytes() for x in got] == [x.tobytes() for x in expected]
    assert there[moved].tobytes() == before


@pytest.mark.parametrize("name", SPECS)
def test_nothing_to_do(name):
    program = compiled(SPECS[name])
    graph = program.source_module["g"]
    for empty in ("B", "N", "M", "H"):
        sizes = {"B": 2, "G": 2, "H": 2, "N": 3, "M": 4} | ({"G": 0, "H": 0} if empty == "H" else {empty: 0})
        arrays = {
            value.name: np.asarray(array_for(value, sizes, np.random.default_rng(0), "normal"))
            for value in graph.inputs
        }
        check_attention(program, arrays)


# --- threads ---


@pytest.mark.parametrize("name", SPECS)
def test_threads_do_not_change_a_bit(name, monkeypatch):
    monkeypatch.setattr(executable, "PARALLEL_WORK", 0)
    program = compiled(SPECS[name])
    for seed, queries in enumerate((1, 5, 37)):
        sizes = {"B": 2, "G": 1, "H": 3, "N": queries, "M": 70}
        arrays = arrays_for(
            program.source_module["g"], sizes, seed=seed, style="integers" if seed == 1 else "normal"
        )
        runs = [
            outcome(lambda threads=threads, arrays=arrays: program.run("g", arrays, threads=threads))
            for threads in (1, 2, 5)
        ]
        alone = runs[0]
        for together in runs[1:]:
            if isinstance(alone, attnc.AttncError):
                assert str(together) == str(alone)
            else:
                assert [x.tobytes() for x in together] == [x.tobytes() for x in alone]


# --- numbers that are awkward for float32 ---


@pytest.mark.parametrize(
    "attributes", ["softcap = 1e300", "softcap = 1e-300, scale = 2.0", "scale = 1e200, softcap = 3.0"]
)
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
    # 2**53 + 2**32 - 1 and its negation are no doubles; counting on from them crosses the halves of an int64.
    bias = "expression(where(i == 0, 9007203549708287 + j, j - 9007203549708287))"
    program = compiled(
        attend(qkv("f64", 2, width=1, value_width=1), f"normalizer = hardmax(first), bias = {bias}")
    )
    value = np.arange(4.0)[:, np.newaxis]
    for keys in (1, 2, 3, 4):
        out = program("g", np.zeros((2, 1)), np.zeros((keys, 1)), value[:keys])
        assert out.tolist() == [[keys - 1], [keys - 1]]


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
        (
            [[1.0]],
            "expression(where(1e300 * 1e300 > 1e300, -inf, 0.0))",
        ),  # a condition that doubles get wrong by luck only
        ([[1.0], [2.0]], "expression(1.0 / (j - 0.5 + 0.5))"),  # an infinity
        ([[1.0], [1.0]], "expression(0.1 + 0.2) + expression(where(j == 1, 0.3 - 0.3, 0.1 - 0.1))"),
    ],
)
def test_biases_that_doubles_cannot_settle(keys, bias):
    program = compiled(
        attend(qkv("f64", 2, width=1, value_width=1), f"normalizer = hardmax(first), bias = {bias}")
    )
    keys = np.array(keys)
    check_attention(
        program, {"q": np.array([[1.0], [0.0]]), "k": keys, "v": np.arange(1.0, 1 + len(keys))[:, np.newaxis]}
    )


def test_a_softcap_keeps_infinite_dot_products_finite():
    program = compiled(
        attend(
            qkv("f64", 2, width=1, value_width=1) + ", %bias: f64[M]",
            "normalizer = hardmax(last), softcap = 2.0, bias = tensor(%bias)",
        )
    )
    inf = np.inf
    for keys, bias in [
        ([-inf, 1.0], [inf, 0.0]),
        ([inf, -inf], [0.0, 4.0]),
        ([inf, inf], [0.0, 0.0]),
        ([inf, 5.0], [-inf, 0.0]),
    ]:
        value = np.arange(1.0, 3.0)[:, np.newaxis]
        check_attention(
            program,
            {"q": np.ones((1, 1)), "k": np.array(keys)[:, np.newaxis], "v": value, "bias": np.array(bias)},
        )


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
