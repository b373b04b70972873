"""`attnc.attention` and `attnc.compile` as a caller meets them, held against a few lines of NumPy."""

import numpy as np
import pytest

import attnc
from attnc.arguments import TopK
from attnc_ir.attributes.strategy import Dense

B, H, G, N, M, D, DV = 2, 4, 2, 5, 7, 3, 2


def drawn(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def operands(dtype=np.float64, n=N, m=M, heads=H):
    return (
        drawn(B, heads, n, D, seed=1, dtype=dtype),
        drawn(B, G, m, D, seed=2, dtype=dtype),
        drawn(B, G, m, DV, seed=3, dtype=dtype),
    )


def scores_of(q, k, scale=None):
    k = np.repeat(k, q.shape[1] // k.shape[1], axis=1)
    return (1 / np.sqrt(q.shape[-1]) if scale is None else scale) * np.einsum("bhid,bhjd->bhij", q, k)


def softmax(s, allowed, v, sinks=None):
    """Output and log-sum-exp; zeros and -inf where nothing is allowed."""
    v = np.repeat(v, s.shape[1] // v.shape[1], axis=1)
    allowed = np.broadcast_to(allowed, s.shape)
    parts = np.where(allowed, np.exp(np.where(allowed, s, 0.0)), 0.0)
    total = parts.sum(-1)
    whole = total + (0 if sinks is None else np.exp(sinks)[:, np.newaxis] * allowed.any(-1))
    with np.errstate(divide="ignore"):
        return np.einsum("bhij,bhjd->bhid", parts, v) / np.where(whole == 0, 1.0, whole)[
            ..., np.newaxis
        ], np.log(whole)


def check(found, expected, tolerance=1e-12):
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * 10)


ROW, COLUMN = np.arange(N)[:, np.newaxis], np.arange(M)
IDS, KEY_IDS = np.array([0, 0, 1, 1, 2]), np.array([[0, 1, 1, 0, 2, 2, 3], [1, 1, 1, 1, 0, 0, 0]])
ALLOWED = np.random.default_rng(7).random((H, 1, M)) < 0.6


@pytest.mark.parametrize(
    ("mask", "allowed"),
    [
        (None, True),
        (attnc.causal("top_left"), COLUMN <= ROW),
        (attnc.causal("bottom_right") & attnc.window(2, 0), (COLUMN <= ROW + 2) & (COLUMN >= ROW)),
        (attnc.causal(-2) | attnc.prefix(1), (COLUMN <= ROW - 2) | (COLUMN < 1)),
        (~attnc.window(1, 1, "top_left") & ALLOWED, ~((COLUMN >= ROW - 1) & (COLUMN <= ROW + 1)) & ALLOWED),
        (
            ALLOWED & ~attnc.prefix(np.array([2, 5])),
            ALLOWED & ~(np.array([2, 5])[:, None, None, None] > COLUMN),
        ),
        (attnc.documents(IDS, KEY_IDS), IDS[:, np.newaxis] == KEY_IDS[:, np.newaxis, np.newaxis]),
        (
            attnc.lengths(np.array([5, 3]), np.array([7, 4])),
            (np.array([5, 3])[:, None, None, None] > ROW) & (np.array([7, 4])[:, None, None, None] > COLUMN),
        ),
    ],
)
def test_masks(mask, allowed):
    q, k, v = operands()
    check(attnc.attention(q, k, v, mask=mask, return_lse=True), softmax(scores_of(q, k), allowed, v))


def test_score_options():
    q, k, v = operands()
    slopes, table, sinks = drawn(H, seed=4), drawn(1, 5, seed=5), drawn(H, seed=6)
    bias = np.where(ALLOWED, drawn(H, 1, M, seed=8), -np.inf)
    added = bias + slopes[:, None, None] * (COLUMN - ROW) + table[0][np.clip(COLUMN - ROW, -2, 2) + 2]
    expected = softmax(3.0 * np.tanh(scores_of(q, k, 0.7) / 3.0) + added, np.isfinite(added), v, sinks)
    options = {"scale": 0.7, "softcap": 3.0, "sinks": sinks, "return_lse": True}
    check(
        attnc.attention(q, k, v, bias=bias + attnc.alibi(slopes) + attnc.relative(table), **options), expected
    )


def test_normalizers():
    q, k, v = operands()
    s, wide = scores_of(q, k), np.repeat(v, 2, axis=1)
    np.testing.assert_allclose(
        attnc.attention(q, k, v, normalizer="mean"),
        np.broadcast_to(wide.mean(2, keepdims=True), (B, H, N, DV)),
    )
    best = np.take_along_axis(wide, s.argmax(-1)[..., np.newaxis], axis=2)
    np.testing.assert_array_equal(attnc.attention(q, k, v, normalizer="hardmax", tie="last"), best)
    cut = np.sort(s, axis=-1)[..., -3, np.newaxis]
    check([attnc.attention(q, k, v, normalizer=attnc.topk(3), tie="first")], softmax(s, s >= cut, v)[:1])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_narrow_elements(dtype):
    q, k, v = operands(dtype)
    out, lse = attnc.attention(q, k, v, mask=attnc.causal("bottom_right"), return_lse=True)
    assert (out.dtype, lse.dtype) == (dtype, np.float32)
    wide = [x.astype(np.float64) for x in (q, k, v)]
    check(
        [out],
        softmax(scores_of(*wide[:2]), COLUMN <= ROW + 2, wide[2])[:1],
        1e-5 if dtype == np.float32 else 1e-3,
    )


def test_lists_and_python_numbers():
    x = [[[[0.0, 1.0], [1.0, 0.0]]]]
    assert (
        attnc.attention(x, x, x, normalizer="hardmax", tie="last", scale=1, softcap=np.float32(4)).tolist()
        == x
    )


def test_one_kind_of_call_is_compiled_once(monkeypatch):
    from attnc import functional

    compiled = []
    compile_spec = functional.compile_spec
    monkeypatch.setattr(
        functional,
        "compile_spec",
        lambda *args, **options: compiled.append(1) or compile_spec(*args, **options),
    )
    monkeypatch.setattr(functional, "_programs", type(functional._programs)())
    for n, m in [(1, 7), (5, 2), (3, 3), (2, 0), (0, 4)]:
        q, k, v = operands(n=n, m=m)
        found = attnc.attention(q, k, v, mask=attnc.causal("top_left"))
        allowed = np.arange(m) <= np.arange(n)[:, np.newaxis]
        check([found], softmax(scores_of(q, k), allowed, v)[:1])
        check([attnc.attention(q, k, v, mask=attnc.causal("top_left"), threads=2)], [found])
    assert len(compiled) == 1
    attnc.attention(*operands(), mask=attnc.causal(0))  # the same meaning, another way of saying it
    attnc.attention(*operands(), mask=attnc.causal("top_left"), scale=-1.0)
    assert len(compiled) == 3


def test_masks_of_equal_lengths_need_no_alignment():
    q, k, v = operands(n=M)
    expected = attnc.attention(q, k, v, mask=attnc.causal("top_left"))
    check([attnc.attention(q, k, v, mask=attnc.causal())], [expected])
    ids = np.array([0, 0, 0, 1, 1, 2, 2])
    same = ids[:, np.newaxis] == ids
    check([attnc.attention(q, k, v, mask=attnc.documents(ids))], softmax(scores_of(q, k), same, v)[:1])


# --- programs ---

SPEC = """
graph @soft(%q: f64[N x 2], %k: f64[M x 2], %v: f64[M x 1]) {
  %o, %lse = attend %q, %k, %v {normalizer = softmax, mask = causal(bottom_right) & everything}
  return %o, %lse
}
graph @memory(%x: f64[H x 2]) {
  %c = cache {heads = [H], key = f64[2], value = f64[2]}
  %c1 = append %c, %x, %x
  %o = attend.step %x, %c1 {normalizer = hardmax(last)}
  return %o
}
"""


@pytest.fixture(scope="module")
def program():
    return attnc.compile(SPEC)


def test_ways_to_call_a_graph(program):
    q, k, v = drawn(3, 2, seed=1), drawn(4, 2, seed=2), drawn(4, 1, seed=3)
    expected = attnc.reference(SPEC, "soft", q=q, k=k, v=v)
    for found in (
        program("soft", q, k, v), program("soft", q, v=v, k=k), program.soft(q, k, v), program["soft"](v=v, k=k, q=q),
        program.run("soft", {"q": q, "k": k, "v": v}, threads=2),
    ):  # fmt: skip
        check(found, expected)
    x = drawn(6, 3, 2, seed=4)
    expected = attnc.reference(SPEC, "memory", x=x)
    np.testing.assert_array_equal(program("memory", x), expected)
    np.testing.assert_array_equal(program.memory(x=x), expected)
    for state in (program.state(), program.state("memory"), program.state("memory", H=3)):
        np.testing.assert_array_equal(program.extend(state, x[:4]), expected[:4])
        np.testing.assert_array_equal(program.step(state, x=x[4]), expected[4])
        assert len(state) == 5
        twin = state.fork()
        state.truncate(2)
        np.testing.assert_array_equal(program.extend(twin, x[5:]), expected[5:])
        np.testing.assert_array_equal(program.extend(state, x[2:]), expected[2:])
        assert (len(state), len(twin)) == (6, 6)


def test_an_input_may_be_called_as_an_argument_is():
    text = "graph @self(%self: f64[2], %graph: f64[2], %state: f64[2]) {\n  %x = add %self, %graph\n  %y = sub %x, %state\n  return %y\n}\n"
    program = attnc.compile(text)
    arrays = {"self": np.ones(2), "graph": np.ones(2), "state": np.zeros(2)}
    for call in (program["self"], program.self):
        assert call(**arrays).tolist() == [2.0, 2.0]
    assert program("self", **arrays).tolist() == attnc.reference(text, "self", **arrays).tolist()


def test_specs_come_as_text_path_or_module(tmp_path):
    path = tmp_path / "spec.attn"
    path.write_text(SPEC, encoding="utf-8")
    module = attnc.parse(SPEC)
    assert attnc.load(path) == module
    for spec in (SPEC, str(path), path, module):
        assert attnc.format(attnc.compile(spec, backend="numpy").source_module) == attnc.format(module)


def test_stages(program):
    assert "everything" in program.ir("input")
    assert "everything" not in program.ir("canonical")
    assert "strategy" not in program.ir("canonical")
    assert program.ir("planned") == program.ir() == attnc.format(program.module)
    assert "strategy = hull" in program.ir()
    for stage in program.stages:
        text = program.ir(stage)
        assert attnc.format(attnc.parse(text)) == text
    with pytest.raises(attnc.ArgumentError, match=r"no stage 'plan'.*planned"):
        program.ir("plan")


def test_open_sizes_are_solved_whatever_the_pipeline_says():
    text = "graph @g(%q: f64[? x 2], %k: f64[? x 2], %v: f64[? x ?]) {\n  %o = attend %q, %k, %v {normalizer = mean}\n  return %o\n}\n"
    q, k, v = drawn(2, 2), drawn(3, 2), drawn(3, 4)
    for pipeline in (None, "", "select-strategy", "infer,select-strategy"):
        check([attnc.compile(text, pipeline=pipeline)("g", q, k, v)], [np.broadcast_to(v.mean(0), (2, 4))])


def test_strategies_can_be_forced():
    for strategy in ("dense", Dense()):
        assert "hull" not in attnc.compile(SPEC, strategy=strategy, backend="numpy").ir()
    with pytest.raises(attnc.PlanError, match="hull is not legal for %o: the normaliser is softmax"):
        attnc.compile(SPEC, strategy="hull")


def test_public_names():
    assert set(attnc.__all__) <= set(dir(attnc))
    for name in attnc.__all__:
        assert getattr(attnc, name) is not None
    with pytest.raises(AttributeError, match="nothing_such"):
        attnc.nothing_such  # noqa: B018 - reading it is the test
    assert attnc.topk(3) == TopK(3)
