"""Dense softmax in vectors: every lane count, sizes around its tiles and blocks, numbers that are not finite,
long rows.
"""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llvmlite import binding
from numba import njit

import attnc
from attnc_backends.numba import executable, vectors
from attnc_backends.numba.runtime.flash_outer import flash_score_rows, flash_value_rows
from attnc_backends.numba.runtime.vector import vec_f32
from attnc_ir.types import DType
from backend_cases import (
    LAYOUTS,
    attend,
    check_attention,
    compiled,
    qkv,
    thorough_but,
)
from dense_cases import check_doubles, compiled_for, drawn_sizes

NATIVE = vectors.native_bytes()

# Element types of keys and values, attributes, what the mask allows, and bytes of a vector.
KINDS = {
    "causal f32": ("f32", "f32", "mask = causal(bottom_right), scale = 0.3", lambda i, j, n, m: j <= i + m - n, 64),
    "window f32, 8 lanes": (
        "f32", "f32", "mask = window(60, 3, top_left), scale = -0.4", lambda i, j, n, m: (j >= i - 60) & (j <= i + 3), 32,
    ),
    "full f64": ("f64", "f64", "scale = 0.5", lambda i, j, n, m: j >= 0, 64),
    "prefix f64, 2 lanes": ("f64", "f64", "mask = prefix(100)", lambda i, j, n, m: j < 100, 16),
    "asked f64, 4 lanes": (
        "f64", "f64", "mask = predicate((i + j) % 5 != 0), scale = 0.5", lambda i, j, n, m: (i + j) % 5 != 0, 32,
    ),
    "causal f32, 4 lanes": ("f32", "f32", "mask = causal(-3)", lambda i, j, n, m: j <= i - 3, 16),
    "f16 keys, bf16 values": ("f16", "bf16", "mask = causal(2), scale = 0.5", lambda i, j, n, m: j <= i + 2, 64),
}  # fmt: skip


def spec(kind):
    keys, values, attributes, _, _ = KINDS[kind]
    inputs = qkv(keys, 4, width="D", value=values, value_width="E")
    return attend(inputs, f"normalizer = softmax, strategy = dense, {attributes}", lse=True)


@pytest.fixture(
    scope="module", params=thorough_but(KINDS, "causal f32", "window f32, 8 lanes", "asked f64, 4 lanes")
)
def case(request):
    return request.param, compiled_for(spec(request.param), False, KINDS[request.param][4])


@settings(max_examples=40)
@given(
    sizes=drawn_sizes([1, 2, 11, 12, 13, 16, 47, 48, 49, 97], [0, 1, 3, 4, 7, 8, 9, 60, 127, 128, 129, 260]),
    layout=st.sampled_from(LAYOUTS),
    strange=st.sampled_from([0.0, 0.0, 0.002, 0.05]),
    seed=st.integers(0, 2**32 - 1),
)
@example(
    sizes={"B": 2, "G": 2, "H": 6, "N": 97, "M": 260, "D": 17, "E": 9}, layout="plain", strange=0.002, seed=1
)
def test_agrees_with_doubles(case, sizes, layout, strange, seed):
    kind, program = case
    keys, values, attributes, allows, _ = KINDS[kind]
    scale = float(found.group(1)) if (found := re.search(r"scale = ([-\d.]+)", attributes)) else 1.0
    check_doubles(program, DType(keys), DType(values), scale, allows, sizes, layout, strange, seed)


def products(lanes):
    """Both inner loops, compiled for so many lanes of f32."""

    @njit("void(int64, int64, int64, int64, int64, int64, int64, int64)", error_model="numpy")
    def both(a, b, c, d, e, f, g, h):
        flash_score_rows(a, b, c, d, e, f, g, h, vec_f32(lanes), 3)
        flash_value_rows(a, b, c, d, e, f, g, h, vec_f32(lanes), 3)

    return both


@pytest.mark.parametrize("lanes", [16, 8])
def test_the_inner_loop_is_multiply_adds_in_registers(lanes):
    """Both products: as many multiply-adds as sums, no call, nothing spilled."""
    if 4 * lanes > NATIVE or not binding.get_host_cpu_features().get("fma"):
        pytest.skip("this machine has no multiply-add of that width")
    both = products(lanes)
    sums, register = {16: (24, "zmm"), 8: (12, "ymm")}[lanes]
    blocks = re.split(r"^\.?\w+:", both.inspect_asm(both.signatures[0]), flags=re.MULTILINE)
    # From a label to the first jump behind it.
    loops = [re.split(r"\tj\w+\t", block)[0] for block in blocks if re.search(r"\tj\w+\t", block)]
    hot = [b for b in loops if len(re.findall(rf"\tvfmadd\w+ps\t.*%{register}", b)) == sums]
    inner = [b for b in hot if "vbroadcastss" in b and not re.search(r"\tcall|%rsp", b)]
    assert len(inner) == 2, f"{len(hot)} loops, of which {len(inner)} do nothing else"


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_weights_of_far_scores(dtype, few):
    """Differences of scores from 0 to beyond what an exponent holds: weights agree, or are too small to
    matter.
    """
    n, element = 300, np.dtype({"f32": "f4", "f64": "f8"}[dtype])
    text = attend(
        qkv(dtype, 2, width=1, value_width=2), "normalizer = softmax, scale = -1.0, strategy = dense"
    )
    k = np.linspace(0, 800, n).astype(element)[:, None]
    q = np.array([[0.0], [1.0], [-1.0], [1e-3], [40.0], [1e4]], element)
    v = np.stack([np.ones(n), np.linspace(-1, 1, n)], axis=1).astype(element)
    got = compiled_for(text, few)("g", q, k, v)
    scores = -q.astype(float) @ k.astype(float).T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    right = (weights / weights.sum(axis=1, keepdims=True)) @ v
    assert np.abs(got - right).max() <= {"f32": 1e-5, "f64": 1e-12}[dtype]


@pytest.mark.parametrize("few", [False, True])
def test_long_rows(few):
    """Beyond some tiles sums join those in doubles, maxima may still grow after it, and so may NaN appear."""
    n = 128 * 64 * 2 + 100
    text = attend(qkv("f32", 2, width=1, value_width=2), "normalizer = softmax, strategy = dense", lse=True)
    k = np.linspace(-3, 3, n).astype(np.float32)[:, None]
    q = np.array([[1.0], [-1.0], [0.0], [4.0]], np.float32)
    v = np.stack([np.full(n, 0.1), np.cos(np.arange(n))], axis=1).astype(np.float32)
    out, lse = compiled_for(text, few)("g", q, k, v)
    scores = q.astype(float) @ k.astype(float).T
    weights = np.exp(scores)
    np.testing.assert_allclose(lse, np.log(weights.sum(axis=1)), rtol=1e-6)
    np.testing.assert_allclose(out, (weights / weights.sum(axis=1, keepdims=True)) @ v, atol=1e-6)
    k[5], k[-5] = np.nan, np.inf
    out, lse = compiled_for(text, few)("g", q, k, v)
    assert np.isnan(out).all()
    assert np.isnan(lse).all()


def lying(how, rng, count):
    """Ids of `count` positions, some of which hold 40 neighbours and some just one."""
    ids = np.sort(rng.integers(0, max(count // 40, 1), count))
    match how:
        case "in order":
            return ids
        case "in any order":
            return rng.permutation(ids.max(initial=0) + 1)[ids]
        case "one each":
            return -np.arange(count)
        case _:  # in pieces
            return np.roll(ids, count // 3)


@settings(max_examples=12)
@given(
    how=st.sampled_from(["in order", "in any order", "one each", "in pieces"]),
    keys=st.sampled_from(["in order", "in any order", "one each", "in pieces", "as queries"]),
    n=st.sampled_from([0, 1, 47, 110]),
    m=st.sampled_from([0, 1, 110, 128, 200]),
    seed=st.integers(0, 2**32 - 1),
)
@pytest.mark.parametrize(
    "mask",
    [
        "documents(%ids, %key_ids) & window(200, 9, bottom_right)",
        "documents(%ids, %key_ids) & lengths(%nq, %nk)",
        "documents(%ids, %key_ids) & documents(%halves, %key_halves)",
    ],
)
def test_documents(mask, how, keys, n, m, seed):
    inputs = qkv("f64", 4, width=3) + "".join(
        f", %{name}: {kind}"
        for name, kind in {
            "ids": "i32[B x N]", "key_ids": "i64[B x M]", "halves": "i64[B x N]", "key_halves": "i64[B x M]",
            "nq": "i32[B]", "nk": "i32[B]",
        }.items()
    )  # fmt: skip
    program = compiled(attend(inputs, f"normalizer = softmax, mask = {mask}, strategy = dense", lse=True))
    rng = np.random.default_rng(seed)
    ids = np.stack([lying(how, rng, n) for _ in range(2)])
    key_ids = ids if keys == "as queries" and n == m else np.stack([lying(keys, rng, m) for _ in range(2)])
    arrays = {
        "q": rng.normal(size=(2, 4, n, 3)),
        "k": rng.normal(size=(2, 2, m, 3)),
        "v": rng.normal(size=(2, 2, m, 3)),
        "ids": ids.astype(np.int32),
        "key_ids": key_ids,
        "halves": ids // 2,
        "key_halves": key_ids // 2,
        "nq": np.array([n, n // 2], np.int32),
        "nk": np.array([m // 2, m], np.int32),
    }
    got = check_attention(program, arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executable, "PARALLEL_WORK", 0)
        again = program.run("g", arrays, threads=5)
    assert [x.tobytes() for x in got] == [x.tobytes() for x in again]


def test_a_plan_says_why_vectors_do_not_serve():
    node = attnc.compile(attend(qkv("f32", 2), "normalizer = mean"), backend="numba").plan.node("o")
    assert any("the normaliser is mean" in note for note in node.notes)
