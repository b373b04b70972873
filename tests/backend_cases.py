"""Compiled specs, arrays drawn for their inputs, and what it means to agree with the reference."""

from functools import cache

import numpy as np
import pytest
from hypothesis import strategies as st

import attnc
from attnc_backends.numba import executable
from attnc_ir.storage import NUMPY, from_float64, to_float64
from attnc_ir.types import DType, Symbol

STRICT = "select-strategy"
"""A pipeline that leaves a spec as it is written, so that the backend sees every scale, softcap and mask."""

TOLERANCE = {DType.F64: 1e-12, DType.F32: 1e-5, DType.F16: 1e-2, DType.BF16: 1e-2}
STYLES = ["normal", "integers", "near ties", "constant"]
LAYOUTS = ["plain", "transposed", "reversed", "strided", "broadcast", "unaligned", "read-only"]


def thorough_but(names, *kept):
    """Parameters of which only those `kept` are tried in every run; the others by `make thorough`."""
    return [name if name in kept else pytest.param(name, marks=pytest.mark.thorough) for name in names]


@cache
def compiled(text, **options):
    """The program of a spec, compiled once per test run."""
    return attnc.compile(text, **({"pipeline": STRICT, "threads": 1} | options))


def attend(inputs, attributes, *, lse=False, name="g"):
    """The text of a graph around one attention over `%q, %k, %v`."""
    results = "%o, %lse" if lse else "%o"
    return f"graph @{name}({inputs}) {{\n  {results} = attend %q, %k, %v {{{attributes}}}\n  return {results}\n}}\n"


def qkv(dtype, rank, *, width=4, value=None, value_width=3):
    """Inputs of a rank; heads of queries and keys are `H` and `G`."""
    lead, key_lead = {2: ("", ""), 3: ("H x ", "G x "), 4: ("B x H x ", "B x G x ")}[rank]
    value = value or dtype
    return f"%q: {dtype}[{lead}N x {width}], %k: {dtype}[{key_lead}M x {width}], %v: {value}[{key_lead}M x {value_width}]"


SPECS = {  # around one attention each; together they use every part of the semantics
    # softmax
    "grouped causal f64": attend(
        qkv("f64", 4), "normalizer = softmax, mask = causal(bottom_right), scale = 0.5", lse=True
    ),
    "window f32": attend(
        qkv("f32", 4), "normalizer = softmax, mask = window(3, 1, bottom_right), scale = 0.3", lse=True
    ),
    "far window f64": attend(
        qkv("f64", 2), "normalizer = softmax, mask = window(1, 2, 4) | window(0, 0, -70)"
    ),
    "negative causal f16": attend(
        qkv("f16", 3) + ", %row: f16[H x 3]",
        "normalizer = softmax, mask = causal(-2), empty = default(%row)",
        lse=True,
    ),
    "softcap bf16": attend(
        qkv("bf16", 2), "normalizer = softmax, mask = causal(3), softcap = 2.0, scale = -1.5"
    ),
    "documents f32 keys f64 values": attend(
        qkv("f32", 4, value="f64") + ", %ids: i32[B x N], %key_ids: i64[M]",
        "normalizer = softmax, mask = documents(%ids, %key_ids)",
        lse=True,
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
        qkv("f16", 4, value="bf16") + ", %sinks: f16[H]",
        "normalizer = softmax, mask = causal(bottom_right), sinks = %sinks",
    ),
    # mean
    "mean f64": attend(
        qkv("f64", 4), "normalizer = mean, mask = causal(bottom_right), scale = 0.5", lse=True
    ),
    "mean bf16": attend(
        qkv("bf16", 3), "normalizer = mean, mask = window(9, 2, top_left) & predicate(j % 2 == 0)"
    ),
    # hard-max
    "hardmax first f64": attend(
        qkv("f64", 4, width=2), "normalizer = hardmax(first), mask = causal(bottom_right), scale = 0.3"
    ),
    "hardmax last f32": attend(
        qkv("f32", 3) + ", %allowed: bool[N x M]",
        "normalizer = hardmax(last), mask = window(7, 4, 2) & tensor(%allowed), scale = -0.7",
    ),
    "hardmax mean bf16 keys f64 values": attend(
        qkv("bf16", 2, value="f64"),
        "normalizer = hardmax(mean), bias = expression((i - j) // 4 + 4503599627370496 * (j % 2))",
    ),
    "hardmax mean f64 keys f32 values": attend(
        qkv("f64", 3, value="f32") + ", %slopes: f64[1]",
        "normalizer = hardmax(mean), softcap = 1.5, bias = alibi(%slopes)",
        lse=True,
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
    "topk first f64": attend(
        qkv("f64", 4), "normalizer = topk(3, first), mask = causal(bottom_right), scale = 0.5", lse=True
    ),
    "topk last f32": attend(
        qkv("f32", 3) + ", %bias: f32[M]", "normalizer = topk(2, last), bias = tensor(%bias)"
    ),
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


# --- arrays ---

layouts = st.sampled_from(LAYOUTS)
styles = st.sampled_from(STYLES)
seeds = st.integers(0, 2**32 - 1)
small_sizes = st.fixed_dictionaries(
    {
        "B": st.sampled_from([1, 2]),
        "N": st.sampled_from([0, 1, 3, 11]),
        "M": st.sampled_from([0, 1, 2, 3, 5, 12, 20]),
    }
)


def laid_out(array, how):
    """The same numbers elsewhere in memory; `broadcast` repeats the first along axis 0."""
    if array.ndim == 0 or how == "plain":
        return array
    if how == "transposed":
        return np.asfortranarray(array)
    if how == "reversed":
        return np.flip(np.flip(array).copy())
    if how == "strided":
        wide = np.zeros((*array.shape[:-1], 3 * array.shape[-1]), array.dtype)
        wide[..., 1::3] = array
        return wide[..., 1::3]
    if how == "broadcast":
        return np.broadcast_to(array[:1], array.shape) if len(array) else array
    if how == "unaligned":
        raw = np.zeros(array.nbytes + 1, np.uint8)
        moved = np.ndarray(array.shape, array.dtype, raw, 1)
        moved[...] = array
        return moved
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def numbers(rng, shape, style):
    """Doubles in a style."""
    if style == "normal":
        return rng.normal(size=shape)
    if style == "constant":
        return np.full(shape, rng.integers(-2, 3) / 4)
    integers = rng.integers(-2, 3, shape).astype(np.float64)
    if style == "integers":
        return integers
    return integers * np.where(rng.random(shape) < 0.4, 1 + 2.0**-52, 1.0)  # one ulp apart


def array_for(value, sizes, rng, style):
    """An array for an input, by its type; lengths, ids and biases by its name."""
    kind = value.type
    shape = tuple(sizes[d.name] if isinstance(d, Symbol) else d for d in kind.shape)
    if kind.dtype is DType.BOOL:
        return rng.random(shape) < 0.6
    if kind.dtype.is_int:
        low, high = {
            "queries": (0, sizes["N"] + 1), "keys": (0, sizes["M"] + 1), "count": (0, sizes["M"] + 3), "ids": (0, 3), "key_ids": (0, 3),
        }.get(value.name, (-3, 4))  # fmt: skip
        return rng.integers(low, high, shape).astype(NUMPY[kind.dtype])
    if value.name.startswith("bias"):
        doubles = rng.choice([0.0, 0.5, -1.0, 0.1, -np.inf], shape)
    elif value.name in ("slopes", "table", "sinks", "levels"):
        doubles = rng.choice([0.0, 0.25, -0.5, 0.1], shape)
    else:
        doubles = numbers(rng, shape, style if value.name in ("q", "k") else "normal")
    return from_float64(doubles, kind.dtype)


def arrays_for(graph, sizes, *, seed=0, style="normal", layout="plain", only=None):
    """Arrays for every input of a graph by name; `only` limits the odd layout to one input."""
    rng = np.random.default_rng(seed)
    found = {}
    for value in graph.inputs:
        array = np.asarray(array_for(value, sizes, rng, style))
        found[value.name] = laid_out(array, layout) if only in (None, value.name) else array
    return found


# --- agreement ---


def outcome(call):
    """What a call returns, as a tuple, or the error it raises."""
    try:
        results = call()
    except attnc.AttncError as error:
        return error
    return results if isinstance(results, tuple) else (results,)


def same_numbers(got, expected, dtype=DType.F64):
    """Equal bit for bit, where every NaN is the same."""
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    if dtype.is_float:
        nan = np.isnan(to_float64(got, dtype))
        np.testing.assert_array_equal(nan, np.isnan(to_float64(expected, dtype)))
        got, expected = got[~nan], expected[~nan]
    assert got.tobytes() == expected.tobytes()


def close_numbers(got, expected, dtype, tolerance, size):
    """Equal to a tolerance relative to `size`, and equal where they are not finite."""
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    x, y = to_float64(got, dtype), to_float64(expected, dtype)
    finite = np.isfinite(y)
    np.testing.assert_array_equal(x[~finite], y[~finite])
    assert np.isfinite(x[finite]).all()
    off = np.abs(x[finite] - y[finite]) / np.broadcast_to(np.maximum(size, 1e-300), y.shape)[finite]
    assert off.max(initial=0.0) <= tolerance, f"off by {off.max()}, allowed {tolerance}"


def check_attention(program, arrays, graph="g"):
    """Run a graph around one attention and compare it with the reference: exactly for hard-max, else to the node's tolerance."""
    got = outcome(lambda: program(graph, **arrays))
    expected = outcome(lambda: attnc.reference(program.source_module, graph, **arrays))
    if isinstance(expected, attnc.AttncError):
        assert type(got) is type(expected), f"expected {expected!r}, got {got!r}"
        return None
    assert not isinstance(got, attnc.AttncError), got
    op = program.source_module[graph].ops[-1]
    output = op.output.tensor.dtype
    if op.normalizer.keyword == "hardmax":
        same_numbers(got[0], expected[0], output)
    else:
        # What is rounded is the coarser of scores and values; errors are relative to the largest value.
        tolerance = max(TOLERANCE[op.key_type.dtype], TOLERANCE[output])
        values = np.abs(to_float64(np.asarray(arrays["v"]), op.value_type.dtype))
        close_numbers(got[0], expected[0], output, tolerance, values.max(initial=0.0))
    if op.lse is not None:
        scores = np.abs(np.where(np.isfinite(expected[1]), expected[1], 0.0))
        close_numbers(
            got[1], expected[1], op.accumulator, TOLERANCE[op.key_type.dtype], np.maximum(scores, 1.0)
        )
    return got


def check_reference(program, arrays):
    """Compiled `@g` and the reference interpreter give the same numbers, or errors of one class."""
    got = outcome(lambda: program("g", **arrays))
    expected = outcome(lambda: attnc.reference(program.source_module, "g", **arrays))
    if isinstance(expected, attnc.AttncError):
        assert type(got) is type(expected)
        return
    assert not isinstance(got, attnc.AttncError), got
    for one, other, value in zip(got, expected, program.source_module["g"].outputs, strict=True):
        same_numbers(one, other, value.type.dtype)


def check_pairs(results):
    """Each second result is the same as the one before it, computed another way."""
    for one, other in zip(results[::2], results[1::2], strict=True):
        same_numbers(other, one)


def check_layout(program, arrays, layout):
    """`@g`, with results in pairs, does not ask how its inputs lie in memory."""
    moved = {name: laid_out(array, layout) for name, array in arrays.items()}
    plain = {name: np.ascontiguousarray(array) for name, array in moved.items()}
    for got, expected in zip(program("g", **moved), program("g", **plain), strict=True):
        same_numbers(got, expected)
    check_pairs(program("g", **moved))


def check_threads(program, arrays, monkeypatch):
    """One thread and five give the same bits."""
    monkeypatch.setattr(executable, "PARALLEL_WORK", 0)
    alone, together = program.run("g", arrays, threads=1), program.run("g", arrays, threads=5)
    assert [x.tobytes() for x in alone] == [x.tobytes() for x in together]


def spoiled(array, rng):
    """A copy with NaN or infinities in two places."""
    found = array.copy()
    for _ in range(2):
        found.reshape(-1)[rng.integers(0, found.size)] = rng.choice([np.nan, np.inf, -np.inf])
    return found
