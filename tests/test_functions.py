"""`score_mod` and `mask_mod` of `attnc.attention`: the usual rules against NumPy, drawn ones against the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from attnc import functional
from attnc.functions import Sizes, mask_of, score_of
from attnc_ir.attributes.normalizer import Softmax
from attnc_ir.builder import GraphBuilder
from attnc_ir.graph import Module

B, H, N, D, DV = 2, 4, 37, 8, 5
DRAW = np.random.default_rng(0)
Q = DRAW.normal(size=(B, H, N, D))
K = DRAW.normal(size=(B, 2, N, D))
V = DRAW.normal(size=(B, 2, N, DV))
AT = np.ix_(range(B), range(H), range(N), range(N))

IDS = np.sort(DRAW.integers(0, 4, N))
BATCH_IDS = DRAW.integers(0, 3, (B, N)).astype(np.int32)
LENGTHS = np.array([30, -4])
SLOPES = 2.0 ** -np.arange(1, H + 1)
NEAR = DRAW.normal(size=(H, 7))
FAR = DRAW.normal(size=(2 * N - 1,))
ALLOWED = DRAW.random((N, N)) < 0.5
BIAS = np.where(DRAW.random((H, N, N)) < 0.2, -np.inf, DRAW.normal(size=(H, N, N)))


def expected(score_mod=None, mask_mod=None, q=Q, k=K, v=V, softcap=None, bias=None):
    """Softmax attention in NumPy: the functions are called on arrays of positions."""
    k, v = (np.repeat(x.astype(np.float64), q.shape[1] // x.shape[1], axis=1) for x in (k, v))
    s = np.einsum("bhid,bhjd->bhij", q.astype(np.float64), k) / np.sqrt(q.shape[-1])
    at = np.ix_(*map(range, s.shape))
    s = s if softcap is None else softcap * np.tanh(s / softcap)
    s = s if score_mod is None else np.broadcast_to(score_mod(s, *at), s.shape)
    s = s if bias is None else s + bias
    allowed = True if mask_mod is None else mask_mod(*at)
    s = np.where(allowed, s, -np.inf)
    top = s.max(-1, keepdims=True)
    parts = np.exp(s - np.where(np.isinf(top), 0.0, top))
    total = parts.sum(-1, keepdims=True)
    return np.einsum("bhij,bhjd->bhid", parts / np.where(total == 0, 1.0, total), v)


def attended(**options):
    """The result, and the node as passes left it."""
    out = attnc.attention(Q, K, V, **options)
    program = next(reversed(functional._programs.values()))
    return out, next(line for line in program.ir("canonical").split("\n") if "attend" in line)


# --- the usual rules ---


@pytest.mark.parametrize(
    ("rule", "becomes"),
    [
        (lambda b, h, q_idx, kv_idx: q_idx >= kv_idx, "mask = causal(top_left)"),
        (lambda b, h, q_idx, kv_idx: (q_idx >= kv_idx) & (q_idx - kv_idx < 9), "mask = window(8, 0, top_left)"),
        (lambda b, h, q_idx, kv_idx: abs(q_idx - kv_idx) <= 3, "mask = window(3, 3, top_left)"),
        (lambda b, h, q_idx, kv_idx: (kv_idx < 11) | (q_idx >= kv_idx), "mask = prefix(11) | causal(top_left)"),
        (lambda b, h, q_idx, kv_idx: (kv_idx < LENGTHS[b]) & (q_idx >= kv_idx), "mask = prefix(%LENGTHS_count) & causal(top_left)"),
        (lambda b, h, q_idx, kv_idx: LENGTHS[b] <= kv_idx, "mask = ~prefix(%LENGTHS_count)"),
        (lambda b, h, q_idx, kv_idx: IDS[q_idx] == IDS[kv_idx], "mask = documents(%IDS)"),
        (lambda b, h, q_idx, kv_idx: (BATCH_IDS[b, kv_idx] == BATCH_IDS[b, q_idx]) & (q_idx >= kv_idx), "mask = documents(%BATCH_IDS) & causal(top_left)"),
        (lambda b, h, q_idx, kv_idx: ALLOWED[q_idx, kv_idx], "mask = tensor(%ALLOWED)"),
        (lambda b, h, q_idx, kv_idx: ~ALLOWED[kv_idx, q_idx], "mask = predicate(not %ALLOWED[j, i])"),
        (lambda b, h, q_idx, kv_idx: (q_idx + kv_idx) % 3 != h, "mask = predicate((i + j) % 3 != h)"),
        (lambda b, h, q_idx, kv_idx: True | (q_idx > 3), ""),
        (lambda b, h, q_idx, kv_idx: (kv_idx >= q_idx // 8 * 8) & (kv_idx <= q_idx), "mask = predicate(j >= i // 8 * 8) & causal(top_left)"),
    ],
)  # fmt: skip
def test_masks(rule, becomes):
    found, node = attended(mask_mod=rule)
    np.testing.assert_allclose(found, expected(mask_mod=rule), rtol=0, atol=1e-11)
    assert becomes in plain(node)
    assert ("mask" in node) == bool(becomes)


def plain(node):
    """The node without the numbers in the names of its inputs."""
    for stem in ("LENGTHS", "IDS", "ALLOWED", "SLOPES", "NEAR", "FAR", "BIAS"):
        for number in range(3, 7):
            node = node.replace(f"{stem}{number}", stem)
    return node


def capped_and_tilted(score, b, h, q_idx, kv_idx):
    score = score / 5
    score = np.tanh(score)
    score = score * 5
    return score + SLOPES[h] * (kv_idx - q_idx)


@pytest.mark.parametrize(
    ("rule", "becomes"),
    [
        (lambda score, b, h, q_idx, kv_idx: score, "scale = rsqrt(8)}"),
        (lambda score, b, h, q_idx, kv_idx: 2 * score - 0.125 * (q_idx - kv_idx), "scale = rsqrt(2), bias = expression(-(0.125 * (i - j)))}"),
        (lambda score, b, h, q_idx, kv_idx: score + SLOPES[h] * (kv_idx - q_idx), "bias = alibi(%SLOPES)}"),
        (lambda score, b, h, q_idx, kv_idx: score - SLOPES[h] * (q_idx - kv_idx), "bias = alibi(%SLOPES)}"),
        (lambda score, b, h, q_idx, kv_idx: score + (q_idx - kv_idx) * SLOPES[h], "bias = alibi(%SLOPES_neg)}"),
        (lambda score, b, h, q_idx, kv_idx: score + NEAR[h, np.clip(kv_idx - q_idx, -3, 3) + 3], "bias = relative(%NEAR)}"),
        (lambda score, b, h, q_idx, kv_idx: score + FAR[kv_idx - q_idx + N - 1], "bias = expression(%FAR[j - i + 37 - 1])}"),
        (lambda score, b, h, q_idx, kv_idx: score + BIAS[h, q_idx, kv_idx], "bias = tensor(%BIAS)}"),
        (lambda score, b, h, q_idx, kv_idx: 3 * np.tanh(score / 3), "softcap = 3.0}"),
        (lambda score, b, h, q_idx, kv_idx: -3 * np.tanh(score / 4), "scale = -0.2651650429449553, softcap = 3.0}"),
        (capped_and_tilted, "softcap = 5.0, bias = alibi(%SLOPES)}"),
        (lambda score, b, h, q_idx, kv_idx: np.where(q_idx >= kv_idx, score + 1, -np.inf), "mask = causal(top_left)"),
        (lambda score, b, h, q_idx, kv_idx: np.where(q_idx < kv_idx, -np.inf, np.where(h == 1, -np.inf, score)), "mask = causal(top_left) & predicate(h != 1)"),
        (lambda score, b, h, q_idx, kv_idx: np.where(score > 0, score, score / 8), "modifier = expression(where(score > 0, score, score / 8))}"),
        (lambda score, b, h, q_idx, kv_idx: 2 * np.tanh(score + 1) - kv_idx, "modifier = expression(2.0 * tanh(score + 1)), bias = expression(j * -1.0)}"),
        (lambda score, b, h, q_idx, kv_idx: np.minimum(score**2, SLOPES[h]) / (1 + np.exp(-score)), "modifier"),
        (lambda score, b, h, q_idx, kv_idx: FAR[kv_idx], "modifier = expression(%FAR[j])}"),
    ],
)  # fmt: skip
def test_scores(rule, becomes):
    found, node = attended(score_mod=rule)
    np.testing.assert_allclose(found, expected(rule), rtol=0, atol=1e-11)
    assert becomes in plain(node)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_narrow_elements(dtype):
    def rule(score, b, h, q_idx, kv_idx):
        return np.where(score > 0, score * slopes[h], np.exp(score)) + (kv_idx - q_idx) / 16

    slopes = SLOPES.astype(np.float32)
    q, k, v = (x.astype(dtype) for x in (Q, K, V))
    found = attnc.attention(q, k, v, score_mod=rule, mask_mod=lambda b, h, i, j: i >= j)
    wanted = expected(rule, lambda b, h, i, j: i >= j, q, k, v)
    np.testing.assert_allclose(found, wanted, rtol=0, atol={np.float32: 1e-5, np.float16: 1e-2}[dtype])


def test_functions_beside_other_arguments():
    def rule(score, b, h, q_idx, kv_idx):
        return 2 * score + SLOPES[h] * kv_idx

    found, node = attended(
        score_mod=rule, mask_mod=lambda b, h, i, j: j % 2 == 0, softcap=2.0, bias=BIAS, mask=ALLOWED
    )
    wanted = expected(rule, lambda b, h, i, j: ALLOWED & (j % 2 == 0), softcap=2.0, bias=BIAS)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)
    assert "softcap = 2.0, modifier = expression(2.0 * score)" in node


def test_a_row_without_keys_is_zero():
    out, lse = attnc.attention(
        Q, K, V, score_mod=lambda s, b, h, i, j: np.where(i > 2, s, -np.inf), return_lse=True
    )
    assert (out[:, :, :3] == 0).all()
    assert np.isneginf(lse[:, :, :3]).all()
    assert (out[:, :, 3:] != 0).all()


def test_a_function_that_removes_every_key():
    out = attnc.attention(Q, K, V, score_mod=lambda s, b, h, i, j: -np.inf)
    assert (out == 0).all()


def test_what_a_removed_key_holds_does_not_matter():
    k, v = K.copy(), V.copy()
    k[:, :, ::2], v[:, :, ::2] = np.nan, np.nan
    odd = attnc.attention(Q, k, v, score_mod=lambda s, b, h, i, j: np.where(j % 2 == 1, s * s, -np.inf))
    np.testing.assert_array_equal(
        odd, attnc.attention(Q, K, V, score_mod=lambda s, b, h, i, j: np.where(j % 2 == 1, s * s, -np.inf))
    )


# --- hard-max ---


def test_hard_max_takes_what_is_exact():
    ints = np.random.default_rng(3).integers(-2, 3, (3, 1, 2, 9, 3)).astype(np.float64)

    def rule(score, b, h, q_idx, kv_idx):
        return np.where(q_idx >= kv_idx, score / 2 - (q_idx - kv_idx), -np.inf)

    options = {"normalizer": "hardmax", "tie": "last", "scale": 1.0}
    found = attnc.attention(*ints, score_mod=rule, **options)
    s = np.einsum("bhid,bhjd->bhij", ints[0], ints[1])
    s = rule(s, *np.ix_(*map(range, s.shape)))
    best = s.shape[-1] - 1 - s[..., ::-1].argmax(-1)
    np.testing.assert_array_equal(found, np.take_along_axis(ints[2], best[..., np.newaxis], axis=2))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda s, b, h, i, j: s * s, "score_mod under hardmax leaves score * score"),
        (
            lambda s, b, h, i, j: s / 3,
            "score_mod under hardmax multiplies by 1/3, and 1.0 times that is no double",
        ),
        (lambda s, b, h, i, j: s + np.exp(j), "score_mod under hardmax adds exp(...)"),
    ],
)
def test_hard_max_refuses_what_is_not(rule, message):
    with pytest.raises(attnc.TraceError) as caught:
        attnc.attention(Q, K, V, normalizer="hardmax", tie="first", scale=1.0, score_mod=rule)
    assert caught.value.diagnostics[0].message == message
    assert caught.value.diagnostics[0].location.filename == __file__


# --- tables ---


def test_look_ups_outside_are_errors():
    for rule in (
        lambda b, h, i, j: IDS[i + 1] > 0,
        lambda b, h, i, j: IDS[j - 1] > 0,
        lambda b, h, i, j: IDS[i * 2**61] > 0,
        lambda b, h, i, j: SLOPES[i] > 0,
    ):
        with pytest.raises(attnc.ArgumentError, match="outside the table"):
            attnc.attention(Q, K, V, mask_mod=rule)
    guarded = attnc.attention(
        Q, K, V, mask_mod=lambda b, h, i, j: (j > 0) & (IDS[attnc.maximum(j - 1, 0)] > 0)
    )
    wanted = expected(mask_mod=lambda b, h, i, j: (j > 0) & (IDS[np.maximum(j - 1, 0)] > 0))
    np.testing.assert_allclose(guarded, wanted, rtol=0, atol=1e-11)
    where = attnc.attention(Q, K, V, mask_mod=lambda b, h, i, j: attnc.where(j > 0, IDS[j - 1], 0) > 0)
    np.testing.assert_array_equal(where, guarded)


@pytest.mark.parametrize(
    "lay", [np.ascontiguousarray, np.asfortranarray, lambda x: np.repeat(x, 2, axis=-1)[..., ::2]]
)
def test_tables_of_any_layout(lay):
    table = lay(DRAW.normal(size=(H, N)))
    table.setflags(write=False)
    found = attnc.attention(Q, K, V, score_mod=lambda s, b, h, i, j: s + table[h, j])
    np.testing.assert_allclose(found, expected(lambda s, b, h, i, j: s + table[h, j]), rtol=0, atol=1e-11)


def test_elements_are_read_at_each_call():
    table = np.zeros(N)

    def rule(score, b, h, q_idx, kv_idx):
        return score + table[kv_idx]

    before = attnc.attention(Q, K, V, score_mod=rule)
    table[:] = np.arange(N)
    after = attnc.attention(Q, K, V, score_mod=rule)
    np.testing.assert_allclose(after, expected(rule), rtol=0, atol=1e-11)
    assert not np.allclose(before, after)


def test_one_expression_is_compiled_once(monkeypatch):
    compiled = []
    original = functional.compile_spec
    monkeypatch.setattr(functional, "compile_spec", lambda *a, **o: compiled.append(1) or original(*a, **o))
    monkeypatch.setattr(functional, "_programs", type(functional._programs)())
    for n in (5, 9, 37):
        q, k, v, ids, longer = Q[:, :, :n], K[:, :, :n], V[:, :, :n], np.arange(n) // 3, np.arange(n + 4) // 3
        out = attnc.attention(q, k, v, mask_mod=lambda b, h, i, j: ids[i] == ids[j])  # noqa: B023
        np.testing.assert_array_equal(
            out,
            attnc.attention(q, k, v, mask_mod=lambda b, h, q_idx, kv_idx: ids[q_idx] == ids[kv_idx]),  # noqa: B023
        )
        docs = ids  # under another name
        np.testing.assert_array_equal(
            out,
            attnc.attention(q, k, v, mask_mod=lambda b, h, i, j: docs[i] == docs[j]),  # noqa: B023
        )
        assert len(compiled) == 1 + (n > 5)
        attnc.attention(q, k, v, mask_mod=lambda b, h, i, j: longer[i] == longer[j])  # noqa: B023
        assert len(compiled) == 2


def test_calls_that_repeat_know_their_functions():
    q, k, v = Q[:1, :2, :6], K[:1, :1, :6], V[:1, :1, :6]
    bounds = [0]
    for width in (1, 3, 1):
        bounds[0] = width
        for _ in range(3):
            captured = attnc.attention(q, k, v, mask_mod=lambda b, h, i, j: abs(i - j) < width)  # noqa: B023
            unseen = attnc.attention(q, k, v, mask_mod=lambda b, h, i, j: abs(i - j) < bounds[0])
            scored = attnc.attention(
                q,
                k,
                v,
                score_mod=lambda s, b, h, i, j: np.where(abs(i - j) < width, s, -np.inf),  # noqa: B023
            )
            wanted = expected(mask_mod=lambda b, h, i, j: abs(i - j) < width, q=q, k=k, v=v)  # noqa: B023
            for found in (captured, unseen, scored):
                np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-11)
        np.testing.assert_allclose(attnc.attention(q, k, v), expected(q=q, k=k, v=v), rtol=0, atol=1e-11)


def test_lengths_may_differ():
    keys = np.arange(N) % 3

    def rule(b, h, q_idx, kv_idx):
        return IDS[q_idx] == keys[kv_idx]

    found = attnc.attention(Q[:, :, :11], K, V, mask_mod=rule)
    np.testing.assert_allclose(found, expected(mask_mod=rule, q=Q[:, :, :11]), rtol=0, atol=1e-11)
    np.testing.assert_allclose(
        attnc.attention(Q[:, :, :11], K, V, mask_mod=lambda b, h, i, j: IDS[i] == IDS[j]),
        expected(mask_mod=lambda b, h, i, j: IDS[i] == IDS[j], q=Q[:, :, :11]),
        rtol=0,
        atol=1e-11,
    )


# --- graphs that are built ---


def test_attributes_for_the_builder():
    g = GraphBuilder("g")
    x, slopes = g.input("x", "f64[4 x N x 3]"), g.input("slopes", "f64[4]")
    table = attnc.table(slopes)
    o = g.attend(
        x, x, x, name="o", normalizer="softmax",
        **attnc.traced_score(
            lambda s, b, h, i, j: np.where((i >= j) & (b == 0), 4 * attnc.tanh(s / 4) + table[h] * (j - i), -np.inf), scale=0.5
        ),
    )  # fmt: skip
    text = attnc.format(Module((g.build(o),)))
    assert (
        "{normalizer = softmax, mask = predicate(i >= j and b == 0), scale = 0.5, softcap = 4.0, bias = expression(%slopes[h] * (j - i))}"
        in text
    )
    assert attnc.format(attnc.parse(text)) == text
    with pytest.raises(attnc.ArgumentError, match="looks up in the array IDS, which has no place in a graph"):
        attnc.traced_mask(lambda b, h, i, j: IDS[i] == 1)
    with pytest.raises(attnc.TraceError, match="%slopes is a value of a graph"):
        attnc.traced_mask(lambda b, h, i, j: table[0] > i)


# --- drawn functions ---

SMALL = [-2, -1, 1, 2, 3]


@st.composite
def bodies(draw, depth=3):
    """The source of a number over `s, b, h, i, j`; what divides is positive."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(
            st.sampled_from(
                ["s", "s", "b", "h", "i", "j", "2", "-0.5", "0.25", "NEAR[h, (i + j) % 7]", "FAR[j]"]
            )
        )
    x, y = draw(bodies(depth - 1)), draw(bodies(depth - 1))
    return draw(st.sampled_from([
        f"({x} + {y})", f"({x} - {y})", f"({x} * {y}) / 64", f"-{x}", f"np.abs({x})", f"np.tanh({x})", f"np.minimum({x}, {y})",
        f"np.maximum({x}, {y})", f"{x} / 3", f"np.where({draw(conditions(depth - 1))}, {x}, {y})", f"np.clip({x}, -2, 2)",
        f"np.sqrt(np.abs({x}))", f"np.exp(-np.abs({x}))", f"3 * np.tanh({x} / 3)", f"2 * ({x} + {y})",
    ]))  # fmt: skip


@st.composite
def conditions(draw, depth=2):
    """The source of a condition over `s, b, h, i, j`."""
    if depth <= 0:
        c = draw(st.sampled_from(SMALL))
        return draw(st.sampled_from([f"(i >= j + {c})", f"(j < {c + 3})", f"((i + j) % 3 == {c})", f"((i - j) // 2 != {c})",
                                     "(IDS[i] == IDS[j])", "ALLOWED[i, j]", f"(h == {c})", "(NEAR[h, j % 7] > 0)"]))  # fmt: skip
    x, y = draw(conditions(depth - 1)), draw(conditions(depth - 1))
    return draw(st.sampled_from([f"({x} & {y})", f"({x} | {y})", f"~{x}", f"({x} ^ {y})", x]))


SCOPE = {"np": np, "NEAR": NEAR, "FAR": FAR, "IDS": IDS, "ALLOWED": ALLOWED}


@settings(max_examples=25)
@given(number=bodies(), condition=conditions())
def test_drawn_functions_mean_what_numpy_makes_of_them(number, condition):
    # By the reference interpreter, on parts of the rows: what is traced, split and simplified is the function.
    score_mod = eval(f"lambda s, b, h, i, j: {number}", dict(SCOPE))
    mask_mod = eval(f"lambda b, h, i, j: {condition}", dict(SCOPE))
    sizes = Sizes(1, 2, 4, N)
    q, k, v = Q[:1, :2, :4], K[:1, :1], V[:1, :1]
    call = functional._Call(
        q, k, v, rule=Softmax(), mask=mask_of(mask_mod, sizes), scale=D**-0.5, softcap=None, bias=None, sinks=None,
        with_lse=False, with_argmax=False, promises=(),
    )  # fmt: skip
    parts = score_of(score_mod, sizes, normalizer=Softmax(), scale=call.scale, softcap=None)
    assert parts.mask is None
    call = functional._with_functions(call, score_mod, None)
    low, options = call.lower()
    module = Module((functional._graph(low.values, 1, options),))
    assert attnc.format(attnc.parse(attnc.format(module))) == attnc.format(module)
    wanted = expected(score_mod, mask_mod, q, k, v)
    for pipeline in ("", "canonicalize,simplify-masks,simplify-scores"):
        program = attnc.compile(module, backend="numpy", pipeline=pipeline)
        np.testing.assert_allclose(program.run("attention", low.arrays), wanted, rtol=1e-9, atol=1e-9)
