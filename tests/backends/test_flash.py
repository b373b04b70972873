"""Dense softmax in vectors: every lane count, sizes around its tiles and blocks, numbers that are not finite, long
rows.
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
from attnc_ir.storage import from_float64, to_float64
from attnc_ir.types import DType
from backend_cases import (
    LAYOUTS,
    TOLERANCE,
    attend,
    check_attention,
    close_numbers,
    compiled,
    laid_out,
    qkv,
    thorough_but,
)

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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "native_bytes", lambda: KINDS[request.param][4])
        return request.param, attnc.compile(spec(request.param), pipeline="select-strategy")


def expected(kind, q, k, v):
    """Output and log-sum-exp in doubles; positions that are not allowed are never looked at."""
    _, _, attributes, allows, _ = KINDS[kind]
    scale = float(found.group(1)) if (found := re.search(r"scale = ([-\d.]+)", attributes)) else 1.0
    (_, heads, n, _), (_, key_heads, m, _) = q.shape, k.shape
    out, lse = np.zeros((*q.shape[:3], v.shape[3])), np.full(q.shape[:3], -np.inf)
    allowed = np.broadcast_to(allows(np.arange(n)[:, None], np.arange(m)[None], n, m), (n, m))
    for b, h, i in np.ndindex(*q.shape[:3]):
        hk, seen = h * key_heads // heads, allowed[i]
        if not seen.any():
            continue
        scores = scale * (k[b, hk, seen] @ q[b, h, i])
        top = scores.max()
        if np.isnan(top) or np.isinf(top):
            out[b, h, i], lse[b, h, i] = np.nan, top
            continue
        weights = np.exp(scores - top)
        out[b, h, i] = (weights / weights.sum()) @ v[b, hk, seen]
        lse[b, h, i] = top + np.log(weights.sum())
    return out, lse


def drawn(rng, shape, dtype, strange):
    numbers = rng.standard_normal(shape)
    if strange:
        numbers = np.where(rng.random(shape) < strange, rng.choice([np.nan, np.inf, -np.inf], shape), numbers)
    return from_float64(numbers, dtype)


@st.composite
def drawn_sizes(draw):
    group = draw(st.sampled_from([1, 1, 3]))
    return {
        "B": draw(st.sampled_from([1, 2])),
        "G": 2,
        "H": 2 * group,
        "N": draw(st.sampled_from([1, 2, 11, 12, 13, 16, 47, 48, 49, 97])),
        "M": draw(st.sampled_from([0, 1, 3, 4, 7, 8, 9, 60, 127, 128, 129, 260])),
        "D": draw(st.sampled_from([1, 3, 4, 8, 17])),
        "E": draw(st.sampled_from([1, 3, 4, 5, 8, 9, 20])),
    }


@settings(max_examples=40)
@given(
    sizes=drawn_sizes(),
    layout=st.sampled_from(LAYOUTS),
    strange=st.sampled_from([0.0, 0.0, 0.002, 0.05]),
    seed=st.integers(0, 2**32 - 1),
)
@example(
    sizes={"B": 2, "G": 2, "H": 6, "N": 97, "M": 260, "D": 17, "E": 9}, layout="plain", strange=0.002, seed=1
)
def test_agrees_with_doubles(case, sizes, layout, strange, seed):
    kind, program = case
    rng = np.random.default_rng(seed)
    keys, values = (DType(name) for name in KINDS[kind][:2])
    b, g, h, n, m, d, e = (sizes[x] for x in "BGHNMDE")
    shapes = {"q": (b, h, n, d), "k": (b, g, m, d), "v": (b, g, m, e)}
    arrays = {
        name: laid_out(drawn(rng, shape, values if name == "v" else keys, strange * (name != "q")), layout)
        for name, shape in shapes.items()
    }
    doubles = [to_float64(np.asarray(arrays[x]), values if x == "v" else keys) for x in "qkv"]
    with np.errstate(all="ignore"):
        out, lse = expected(kind, *doubles)
    got = program.run("g", arrays, threads=1)
    accumulator = DType.F64 if keys is DType.F64 else DType.F32
    finite = np.abs(doubles[2][np.isfinite(doubles[2])])
    tolerance = max(TOLERANCE[keys], TOLERANCE[values])
    close_numbers(got[0], from_float64(out, values), values, tolerance, finite.max(initial=1e-300))
    size = np.maximum(np.abs(np.where(np.isfinite(lse), lse, 0.0)), 1.0)
    close_numbers(got[1], from_float64(lse, accumulator), accumulator, TOLERANCE[keys], size)
    # Pre-filled or not, however many threads: the same bits.
    again = program.run("g", arrays, threads=3)
    assert [x.tobytes() for x in got] == [x.tobytes() for x in again]


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


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_weights_of_far_scores(dtype):
    """Differences of scores from 0 to beyond what an exponent holds: weights agree, or are too small to matter."""
    n, element = 300, np.dtype({"f32": "f4", "f64": "f8"}[dtype])
    text = attend(
        qkv(dtype, 2, width=1, value_width=2), "normalizer = softmax, scale = -1.0, strategy = dense"
    )
    k = np.linspace(0, 800, n).astype(element)[:, None]
    q = np.array([[0.0], [1.0], [-1.0], [1e-3], [40.0], [1e4]], element)
    v = np.stack([np.ones(n), np.linspace(-1, 1, n)], axis=1).astype(element)
    got = compiled(text)("g", q, k, v)
    scores = -q.astype(float) @ k.astype(float).T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    right = (weights / weights.sum(axis=1, keepdims=True)) @ v
    assert np.abs(got - right).max() <= {"f32": 1e-5, "f64": 1e-12}[dtype]


def test_long_rows_flush():
    """Beyond 64 tiles sums move into doubles, maxima may still grow after it, and so may NaN appear."""
    n = 128 * 64 * 2 + 100
    text = attend(qkv("f32", 2, width=1, value_width=2), "normalizer = softmax, strategy = dense", lse=True)
    k = np.linspace(-3, 3, n).astype(np.float32)[:, None]
    q = np.array([[1.0], [-1.0], [0.0], [4.0]], np.float32)
    v = np.stack([np.full(n, 0.1), np.cos(np.arange(n))], axis=1).astype(np.float32)
    out, lse = compiled(text)("g", q, k, v)
    scores = q.astype(float) @ k.astype(float).T
    weights = np.exp(scores)
    np.testing.assert_allclose(lse, np.log(weights.sum(axis=1)), rtol=1e-6)
    np.testing.assert_allclose(out, (weights / weights.sum(axis=1, keepdims=True)) @ v, atol=1e-6)
    k[5], k[-5] = np.nan, np.inf
    out, lse = compiled(text)("g", q, k, v)
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


@settings(max_examples=30)
@given(
    how=st.sampled_from(["in order", "in any order", "one each", "in pieces"]),
    keys=st.sampled_from(["in order", "in any order", "one each", "in pieces", "as queries"]),
    n=st.sampled_from([0, 1, 47, 150]),
    m=st.sampled_from([0, 1, 128, 150, 300]),
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
