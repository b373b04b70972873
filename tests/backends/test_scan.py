"""The vector scan, compiled: the winners of the reference and of dense, bit for bit, for every width of vector."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from attnc_backends.numba import vectors
from backend_cases import thorough_but

MANY = settings(max_examples=max(60, settings.default.max_examples))

BATCH = """graph @g(%q: {dtype}[B x 4 x N x {width}], %k: {dtype}[B x 2 x M x {width}], %v: {dtype}[B x 2 x M x 2]) {{
  %o = attend %q, %k, %v {{normalizer = hardmax({tie}), strategy = {strategy}, {rest}}}
  return %o
}}"""

STEP = """graph @g(%q: f32[4 x D], %k: f32[2 x D], %v: f32[2 x 2]) {{
  %c = cache {{heads = [2], key = f32[{width}], value = f32[2]}}
  %d = append %c, %k, %v
  %all = attend.step %q, %d {{normalizer = hardmax(mean), strategy = {strategy}}}
  %near = attend.step %q, %d {{normalizer = hardmax(first), mask = window(70, 0), strategy = {strategy}}}
  return %all, %near
}}"""

# Element type, width, tie, what else the node says, bytes of a vector.
KINDS = {
    "packed": ("f64", 2, "mean", "mask = window(90, 3, bottom_right), scale = -0.7", 64),
    "padded": ("f32", 3, "first", "mask = causal(bottom_right)", 32),
    "long": ("f64", 9, "last", "softcap = 2.0", 16),
    "open": ("f32", "W", "mean", "mask = prefix(200) & causal(1)", 64),
}


def compiled(monkeypatch, text, vector_bytes, backend=None):
    monkeypatch.setattr(vectors, "native_bytes", lambda: vector_bytes)
    return attnc.compile(text, **({"backend": backend} if backend else {}))


@pytest.fixture(scope="module", params=thorough_but(KINDS, "packed", "padded"))
def programs(request):
    dtype, width, tie, rest, vector_bytes = KINDS[request.param]
    scan, dense = (
        BATCH.format(dtype=dtype, width=width, tie=tie, rest=rest, strategy=s) for s in ("scan", "dense")
    )
    with pytest.MonkeyPatch.context() as patch:
        return (
            compiled(patch, scan, vector_bytes),
            attnc.compile(dense),
            attnc.compile(dense, backend="numpy"),
            np.dtype("f8" if dtype == "f64" else "f4"),
            5 if width == "W" else width,
        )


def numbers(draw, family, shape, dtype):
    """Numbers of a family that makes ties or near-ties common."""
    small = draw.integers(-2, 3, shape)
    match family:
        case "integers":
            x = small
        case "tenths":  # the same ties, but no product is exact
            x = small * 0.1
        case "equal":
            x = np.full(shape, 0.1)
        case "near":  # differ in the last bits
            x = 1 + draw.integers(0, 3, shape) * np.finfo(dtype).eps
        case "powers":  # cancel over the whole range of exponents
            x = small * 2.0 ** draw.integers(-40, 40, shape)
        case "tiny":
            x = small * float(np.finfo(dtype).smallest_subnormal)
        case "huge":  # some products are beyond the largest number
            x = small * (float(np.finfo(dtype).max) / 2)
        case "strange":
            x = np.where(draw.random(shape) < 0.02, draw.choice([np.inf, -np.inf, np.nan], shape), small)
        case _:
            x = draw.standard_normal(shape)
    return np.asarray(x).astype(dtype)


FAMILIES = ["integers", "tenths", "equal", "near", "powers", "tiny", "huge", "uneven", "strange", "normal"]


def arrays(seed, family, n, m, dtype, width):
    draw = np.random.default_rng(seed)
    q = numbers(draw, "integers" if family == "tiny" else family, (1, 4, n, width), dtype)
    k = numbers(draw, family, (1, 2, m, width), dtype)
    if family == "uneven":  # tiny queries and huge keys: scores, and their rounding errors, of ordinary size
        q = q * dtype.type(np.finfo(dtype).smallest_normal / 64)
        k = k * dtype.type(np.finfo(dtype).max / 64)
    return {"q": q, "k": k, "v": draw.standard_normal((1, 2, m, 2)).astype(dtype)}


@MANY
@given(st.integers(0, 2**32), st.sampled_from(FAMILIES), st.integers(0, 9), st.integers(0, 40))
def test_a_scan_picks_what_the_reference_picks(programs, seed, family, n, m):
    scan, _, reference, dtype, width = programs
    inputs = arrays(seed, family, n, m, dtype, width)
    np.testing.assert_array_equal(scan("g", **inputs), reference("g", **inputs))


@given(st.integers(0, 2**32), st.sampled_from(FAMILIES), st.integers(1, 70), st.integers(40, 2500))
def test_a_scan_of_many_blocks_picks_what_dense_picks(programs, seed, family, n, m):
    scan, dense, _, dtype, width = programs
    inputs = arrays(seed, family, n, m, dtype, width)
    np.testing.assert_array_equal(scan("g", **inputs), dense("g", **inputs))


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_keys_may_lie_anywhere(programs, axis):
    scan, dense, _, dtype, width = programs
    inputs = arrays(axis, "integers", 40, 300, dtype, width)
    expected = dense("g", **inputs)
    # Every other head, key or element of a larger array.
    for name in ("q", "k"):
        wide = np.repeat(inputs[name], 2, axis)
        inputs[name] = wide[(slice(None),) * axis + (slice(None, None, 2),)]
    np.testing.assert_array_equal(scan("g", **inputs), expected)


def test_threads_change_nothing(programs):
    scan, _, _, dtype, width = programs
    inputs = arrays(7, "tenths", 300, 900, dtype, width)
    np.testing.assert_array_equal(scan.run("g", inputs, threads=1), scan.run("g", inputs, threads=3))


def test_a_winner_on_either_side_of_a_block_is_found():
    (program, dense) = (
        attnc.compile(BATCH.format(dtype="f64", width=2, tie="first", rest="scale = 1.0", strategy=s))
        for s in ("scan", "dense")
    )
    m = 2100
    v = np.arange(2.0 * 2 * m).reshape(1, 2, m, 2)
    q = np.ones((1, 4, 1, 2))
    for place in (0, 1, 7, 8, 63, 64, 1023, 1024, 1025, 2047, 2048, m - 9, m - 8, m - 1):
        k = np.zeros((1, 2, m, 2))
        k[:, :, place] = 2.0**-52
        np.testing.assert_array_equal(program("g", q, k, v)[0, 0, 0], v[0, 0, place])
        np.testing.assert_array_equal(dense("g", q, k, v), program("g", q, k, v))


@pytest.fixture(scope="module")
def steps():
    with pytest.MonkeyPatch.context() as patch:
        return compiled(patch, STEP.format(strategy="scan", width=5).replace("D]", "5]"), 64), attnc.compile(
            STEP.format(strategy="dense", width=5).replace("D]", "5]"), backend="numpy"
        )


@pytest.mark.parametrize("family", ["integers", "tenths", "equal", "near", "huge", "normal"])
def test_steps_pick_what_the_reference_picks(steps, family):
    draw = np.random.default_rng(3)
    inputs = {
        "q": numbers(draw, family, (150, 4, 5), np.float32),
        "k": numbers(draw, family, (150, 2, 5), np.float32),
        "v": draw.standard_normal((150, 2, 2)).astype(np.float32),
    }
    inputs["q"][17, 2, 1] = np.nan
    found, expected = (p.extend(p.state("g"), **inputs) for p in steps)
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, y)


def test_an_empty_row_is_named_as_in_dense():
    text = BATCH.format(
        dtype="f64", width=2, tie="last", rest="mask = causal(-3), empty = error", strategy="scan"
    )
    inputs = arrays(1, "integers", 9, 9, np.dtype("f8"), 2)
    with pytest.raises(attnc.EmptyRowError, match="batch 0, head 0, row 0 may see no key"):
        attnc.compile(text)("g", **inputs)
