"""What the front door refuses, each with an error of our own that says what to do."""

import numpy as np
import pytest

import attnc
from attnc_ir.storage import from_float64
from attnc_ir.types import DType

X = np.ones((1, 2, 3, 4))
LONG = np.ones((1, 2, 5, 4))
ONES = np.ones(2, np.int64)


class Foreign:
    """An array of some other library that does not want to be one of ours."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("call detach first")


def attention(q=X, k=X, v=X, **options):
    return attnc.attention(q, k, v, **options)


def hardmax(**options):
    return attention(normalizer="hardmax", **options)


A, S, P = attnc.ArgumentError, attnc.SpecError, attnc.PlanError

REFUSED = [
    # operands
    (lambda: attention(q=None), A, "q is a NoneType; give an array"),
    (lambda: attention(k="abc"), A, "k has element type <U3"),
    (lambda: attention(v=[[1.0], [1.0, 2.0]]), A, "v is not an array"),
    (lambda: attention(q=Foreign()), A, "q is not an array: call detach first"),
    (lambda: attention(q=X * 1j), A, "q has element type complex128; attnc takes float64"),
    (lambda: attention(X.astype(np.int64), X.astype(np.int64)), S, "%q is i64"),
    (lambda: attention(X.astype(np.float32)), S, "%q is f32, key %k is f64"),
    (lambda: attention(X[0]), A, r"q has shape \(2, 3, 4\); give \[batch, heads, positions, width\]"),
    (lambda: attention(np.ones((1, 3, 3, 4))), A, "3 query heads .* 2 key heads"),
    (lambda: attention(np.ones((2, 2, 3, 4))), A, "B is 1 here but 2 in argument q"),
    (lambda: attention(k=np.ones((1, 2, 3, 5))), S, "width 4, key %k has 5"),
    (lambda: attention(v=LONG), A, "M is 5 here but 3 in argument k"),
    (lambda: attention(q=np.ma.array(X)), A, "masked array; fill it"),
    (lambda: attention(*[X.astype(X.dtype.newbyteorder())] * 3), A, "other byte order"),
    (lambda: attention(np.broadcast_to(X[:, :, :1], (1, 2, 2**39, 4))), A, "GiB for shape"),
    # normaliser and tie
    (lambda: attention(normalizer="sofmax"), A, "no normalizer 'sofmax'; did you mean softmax"),
    (lambda: attention(normalizer=None), A, "no normalizer None"),
    (hardmax, A, "hardmax needs a tie rule, one of 'first', 'last', 'mean', got None"),
    (lambda: hardmax(tie="lst"), A, "got 'lst'"),
    (lambda: attention(tie="first"), A, "softmax has no ties to break"),
    (lambda: attention(normalizer=attnc.topk(2), tie="mean"), A, "topk needs tie='first' or tie='last'"),
    (lambda: attnc.topk(0), A, "give at least 1"),
    (lambda: attnc.topk(2.0), A, "k is 2.0"),
    # numbers
    *[(lambda n=n: attention(scale=n), A, "scale is .*; give a number") for n in ("a", [1], True, 1j)],
    (lambda: attention(scale=np.nan), S, "scale nan is not finite"),
    *[(lambda n=n: attention(softcap=n), A, "softcap is .*; give a number") for n in ("a", np.ones(3), True)],
    *[(lambda n=n: attention(softcap=n), S, "is not a positive number") for n in (0, -1.0, np.inf, np.nan)],
    *[(lambda n=n: attention(threads=n), A, "threads is .*; give an integer from 1 to 1024") for n in (0, -1, 1.5, "2", True, 10**6)],
    # masks
    (lambda: attention(mask=np.ones((3, 3), int)), A, "a mask array holds booleans, this one int64"),
    (lambda: attention(mask=np.ones((3, 4), bool)), A, "M is 4 here but 3"),
    (lambda: attention(mask=np.ones((1, 1, 1, 3, 3), bool)), A, "rank 5"),
    (lambda: attention(mask="causal"), A, "mask has element type"),
    (lambda: attention(mask=lambda b, h, i, j: True), A, "mask is a function"),
    (lambda: attnc.causal("top_left") & None, A, "mask is a NoneType"),
    *[(lambda a=a: attnc.causal(a), A, "give 'top_left', 'bottom_right' or an integer") for a in ("left", 1.0, True, [1], np.ones(3))],
    (lambda: attention(k=LONG, v=LONG, mask=attnc.causal()), S, "causal without an alignment"),
    (lambda: attention(k=LONG, v=LONG, mask=attnc.window(1, 1)), S, "window without an alignment"),
    (lambda: attention(k=LONG, v=LONG, mask=attnc.documents(np.zeros(3, int))), S, "documents needs key ids"),
    (lambda: attnc.window(-1, 0), A, "window: left is -1"),
    (lambda: attnc.window(0, 1.5), A, "window: right is 1.5"),
    (lambda: attnc.prefix(-1), A, "prefix is -1"),
    (lambda: attnc.prefix(1.5), A, "prefix holds float64; give int32 or int64"),
    (lambda: attention(mask=attnc.prefix(np.array([-1]))), A, "must not be negative"),
    (lambda: attention(mask=attnc.prefix(ONES)), A, "B is 2 here but 1"),
    (lambda: attnc.documents(np.zeros(3)), A, "ids holds float64"),
    (lambda: attnc.documents(np.zeros((1, 1, 3), int)), A, "rank 3"),
    (lambda: attention(mask=attnc.documents(np.zeros(4, int))), A, "N is 4 here but 3"),
    (lambda: attention(mask=attnc.lengths(np.array([4]), np.array([3]))), A, "is 4, but the array has only 3 positions"),
    (lambda: attention(mask=attnc.lengths(ONES, ONES)), A, "B is 2 here but 1"),
    # biases and sinks
    (lambda: attention(bias=np.ones((3, 3), int)), A, "bias holds int64; give floats"),
    (lambda: attention(bias=np.ones((2, 2))), A, "N is 2 here but 3"),
    (lambda: attention(bias=attnc.causal("top_left")), A, "bias is a Mask"),
    (lambda: attention(mask=attnc.alibi(np.ones(2))), A, "mask is a Bias"),
    (lambda: attention(bias=attnc.alibi(np.ones(3))), A, "H is 3 here but 2"),
    (lambda: attnc.alibi(np.ones((2, 2))), A, "rank 2; give floats of rank 1"),
    (lambda: attnc.relative(np.ones((2, 4))), A, "give an odd number"),
    (lambda: attention(sinks=np.ones(3)), A, "H is 3 here but 2"),
    (lambda: attention(sinks=np.ones((2, 2))), S, "one logit per query head"),
    (lambda: hardmax(tie="first", sinks=np.ones(2)), S, "sinks with hardmax"),
    # strategies
    (lambda: attention(strategy="hul"), P, "no strategy is called 'hul'; did you mean hull"),
    (lambda: attention(strategy=["hull"]), A, "give a keyword"),
    (lambda: hardmax(tie="first", strategy="hull"), P, "keys have width 4, and a hull needs exactly 2"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_attention_refuses(number):
    call, error, message = REFUSED[number]
    with pytest.raises(error, match=message):
        call()


# --- compile ---

SPEC = """
graph @g(%q: f64[N x 2], %ids: i32[N]) {
  %o = attend %q, %q, %q {normalizer = softmax, mask = documents(%ids)}
  return %o
}
graph @memory(%x: f32[H x 2]) {
  %c = cache {heads = [H], key = f32[2], value = f32[2]}
  %c1 = append %c, %x, %x
  %o = attend.step %x, %c1 {normalizer = mean}
  return %o
}
"""

NOT_COMPILED = [
    (lambda: attnc.compile("nofile.attn"), A, "cannot read 'nofile.attn'"),
    (lambda: attnc.compile(b"graph"), A, "a spec is a Module, its text or a path, not bytes"),
    (lambda: attnc.compile("\n"), S, "no graph"),
    (lambda: attnc.compile("graph @g("), (A, S), "."),
    *[(lambda b=b: attnc.compile(SPEC, backend=b), A, "no backend .*; there are: numba, numpy") for b in ("numb", [], None)],
    (lambda: attnc.compile(SPEC, strategy="hul"), P, "did you mean hull"),
    *[(lambda s=s: attnc.compile(SPEC, strategy=s), A, "give a keyword") for s in (3, [], "", ["hull"])],
    (lambda: attnc.compile(SPEC, pipeline="canonicalise"), attnc.PipelineError, "did you mean canonicalize"),
    (lambda: attnc.compile(SPEC, pipeline="select-strategy{"), attnc.PipelineError, "ends too early"),
    *[(lambda p=p: attnc.compile(SPEC, pipeline=p), A, "is no pass") for p in (3, ["dce"])],
    (lambda: attnc.compile(SPEC, sizes={"X": 1}), P, "no dimension or cache is called so"),
    *[(lambda n=n: attnc.compile(SPEC, sizes={"N": n}), A, "sizes: dimension N is .*give an integer") for n in ("a", -1, 1.5)],
    *[(lambda n=n: attnc.compile(SPEC, sizes=n), A, "sizes is .*give a dict") for n in (3, {3: 3})],
    (lambda: attnc.compile(SPEC, backend="numpy", threads=0), A, "threads is 0"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(NOT_COMPILED)))
def test_compile_refuses(number):
    call, error, message = NOT_COMPILED[number]
    with pytest.raises(error, match=message):
        call()


@pytest.fixture(scope="module", params=["numba", "numpy"])
def program(request):
    return attnc.compile(SPEC, backend=request.param)


Q, IDS = np.ones((3, 2)), np.zeros(3, np.int32)
STEP = np.ones((2, 2), np.float32)

CALLS = [
    (lambda p: p("h"), "no graph @h; one of: g, memory"),
    (lambda p: p(3), "no graph @3"),
    (lambda p: p["h"], "no graph @h"),
    (lambda p: p.run("h", {}), "no graph @h"),
    (lambda p: p.run("memory", {"x": STEP}), "has a cache"),
    (lambda p: p.run("g", {"q": Q, "ids": IDS}, threads=0), "threads is 0"),
    (lambda p: p.g(Q, IDS, Q), r"takes 2 array\(s\) \(q, ids\), got 3"),
    (lambda p: p.g(Q, IDS, q=Q), "argument q is given by position and by name"),
    (lambda p: p.g(Q), r"argument ids is missing, expected i32\[N\]"),
    (lambda p: p.g(Q, idx=IDS), "there is no argument idx .*ids"),
    (lambda p: p.g(Q, IDS.astype(np.int64)), r"ids is int64, expected int32 .*ids.astype\(np.int32\)"),
    (lambda p: p.g(Q.astype(np.float32), IDS), "q is float32, expected float64"),
    (lambda p: p.g(Q, [0.5, 1.0, 2.0]), "ids holds float64, expected integers"),
    (lambda p: p.g(Q, [0, 1, 2**40]), "which is no i32"),
    (lambda p: p.g(np.ones((3, 3)), IDS), "axis 1 must be 2, not 3"),
    (lambda p: p.g(Q[0], IDS), "rank 2, not 1"),
    (lambda p: p.g(Q, IDS[:2]), "N is 2 here but 3 in argument q"),
    (lambda p: p.g(Q.astype(object), IDS), "dtype object"),
    (lambda p: p.g(Foreign(), IDS), "call detach first"),
    (lambda p: p.state("g"), "has no cache"),
    (lambda p: p.state("memory", N=2), "'N' is no dimension of its caches' heads"),
    (lambda p: p.state("memory", H=-1), "dimension H is -1"),
    (lambda p: p.step(None, STEP), "expected a state, got a NoneType"),
    (lambda p: p.extend(p.state(), STEP), "rank 3, the first axis counts steps, not 2"),
    (lambda p: p.step(p.state(H=3), STEP), "H is 2 here but 3"),
    (lambda p: p.ir("plan"), "no stage 'plan'"),
    (lambda p: p.llvm(), "which graph"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_programs_refuse(program, number):
    call, message = CALLS[number]
    with pytest.raises(attnc.ArgumentError, match=message):
        call(program)


def test_no_program_has_any_attribute(program):
    with pytest.raises(AttributeError, match="no attribute 'memry' and no graph"):
        program.memry  # noqa: B018 - reading it is the test


def test_bfloat16_is_given_as_its_bits():
    text = "graph @g(%x: bf16[N]) {\n  %y = neg %x\n  return %y\n}\n"
    program = attnc.compile(text)
    bits = from_float64([1.0, -2.0], DType.BF16)
    assert program("g", bits).tolist() == from_float64([-1.0, 2.0], DType.BF16).tolist()
    with pytest.raises(attnc.ArgumentError, match="bfloat16"):
        program("g", np.ones(2, np.float32))


def test_the_reference_refuses():
    with pytest.raises(attnc.ArgumentError, match="no graph @h"):
        attnc.reference(SPEC, "h")
    with pytest.raises(attnc.ArgumentError, match="argument ids is missing"):
        attnc.reference(SPEC, "g", q=Q)
    with pytest.raises(attnc.ArgumentError, match="a spec is a Module"):
        attnc.reference(3, "g")
