"""Top-k by the vector scan: the positions of the reference, the very weights of dense."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from attnc_backends.numba import vectors
from backend_cases import thorough_but

FAMILIES = ["integers", "tenths", "equal", "near", "powers", "huge", "strange", "normal"]

BATCH = """graph @g(%q: {t}[B x 4 x N x {d}], %k: {t}[B x 2 x M x {d}], %v: f64[B x 2 x M x 2]) {{
  %a, %p = attend %q, %k, %v {{normalizer = topk(5, {tie}), mask = {mask}, scale = -0.5, strategy = {s}, with_argmax = true}}
  %b, %r = attend %q, %k, %v {{normalizer = topk({k}, first), softcap = 2.0, strategy = {s}, with_argmax = true}}
  return %a, %p, %b, %r
}}"""

KINDS = {  # element type, width, tie, k, mask, bytes of a vector
    "packed": ("f64", 2, "first", 1, "causal(bottom_right)", 64),
    "padded": ("f32", 3, "last", 64, "window(50, 2, bottom_right)", 32),
}

STEP = """graph @g(%q: f64[4 x 9], %k: f64[2 x 9], %v: f32[2 x 2]) {{
  %c = cache {{heads = [2], key = f64[9], value = f32[2]}}
  %d = append %c, %k, %v
  %a, %p = attend.step %q, %d {{normalizer = topk(3, last), strategy = {s}, with_argmax = true}}
  %b = attend.step %q, %d {{normalizer = topk(7, first), mask = window(20, 0), strategy = {s}}}
  return %a, %p, %b
}}"""


def drawn(rng, family, shape, dtype):
    """Numbers of a family that makes ties or near-ties common."""
    small = rng.integers(-2, 3, shape)
    x = {
        "integers": small,
        "tenths": small * 0.1,
        "equal": np.full(shape, 0.1),
        "near": 1 + rng.integers(0, 3, shape) * np.finfo(dtype).eps,
        "powers": small * 2.0 ** rng.integers(-30, 30, shape),
        "huge": small * (float(np.finfo(dtype).max) / 4),
        "strange": np.where(rng.random(shape) < 0.02, rng.choice([np.inf, -np.inf, np.nan], shape), small),
        "normal": rng.standard_normal(shape),
    }[family]
    return np.asarray(x).astype(dtype)


@pytest.fixture(scope="module", params=thorough_but(KINDS, "packed"))
def programs(request):
    t, d, tie, k, mask, vector_bytes = KINDS[request.param]
    scan, dense = (BATCH.format(t=t, d=d, tie=tie, k=k, mask=mask, s=s) for s in ("scan", "dense"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "native_bytes", lambda: vector_bytes)
        compiled = attnc.compile(scan, pipeline="select-strategy")
    return (
        compiled,
        attnc.compile(dense, pipeline="select-strategy"),
        np.dtype("f8" if t == "f64" else "f4"),
        d,
    )


def arrays(seed, family, n, m, dtype, width):
    rng = np.random.default_rng(seed)
    return {
        "q": drawn(rng, family, (1, 4, n, width), dtype),
        "k": drawn(rng, family, (1, 2, m, width), dtype),
        "v": rng.standard_normal((1, 2, m, 2)),
    }


def equal(found, expected):
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, y)


@settings(max_examples=max(60, settings.default.max_examples))
@given(st.integers(0, 2**32), st.sampled_from(FAMILIES), st.integers(0, 6), st.integers(0, 30))
def test_a_scan_holds_what_the_reference_holds(programs, seed, family, n, m):
    scan, dense, dtype, width = programs
    inputs = arrays(seed, family, n, m, dtype, width)
    found = scan("g", **inputs)
    equal(found, dense("g", **inputs))
    expected = attnc.reference(scan.source_module, "g", **inputs)
    equal(found[1::2], expected[1::2])


@given(st.integers(0, 2**32), st.sampled_from(FAMILIES), st.integers(1, 40), st.integers(40, 2500))
def test_a_scan_of_many_blocks_holds_what_dense_holds(programs, seed, family, n, m):
    scan, dense, dtype, width = programs
    inputs = arrays(seed, family, n, m, dtype, width)
    equal(scan("g", **inputs), dense("g", **inputs))


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_keys_may_lie_anywhere(programs, axis):
    scan, dense, dtype, width = programs
    inputs = arrays(axis, "integers", 9, 300, dtype, width)
    for name in ("q", "k"):
        wide = np.repeat(inputs[name], 2, axis)
        inputs[name] = wide[(slice(None),) * axis + (slice(None, None, 2),)]
        inputs[name].flags.writeable = False
    equal(scan("g", **inputs), dense("g", **inputs))


def test_threads_change_nothing(programs):
    scan, _, dtype, width = programs
    inputs = arrays(7, "tenths", 200, 700, dtype, width)
    equal(scan.run("g", inputs, threads=1), scan.run("g", inputs, threads=3))


@pytest.fixture(scope="module")
def steps():
    return tuple(attnc.compile(STEP.format(s=s)) for s in ("scan", "dense"))


@pytest.mark.thorough
@pytest.mark.parametrize("family", FAMILIES)
def test_steps_hold_what_dense_holds(steps, family):
    rng = np.random.default_rng(3)
    inputs = {
        "q": drawn(rng, "integers" if family == "strange" else family, (90, 4, 9), np.float64),
        "k": drawn(rng, "integers" if family == "strange" else family, (90, 2, 9), np.float64),
        "v": rng.standard_normal((90, 2, 2)).astype(np.float32),
    }
    inputs["q"][17, 2, 1] = np.nan
    found, expected = (p.extend(p.state("g"), **inputs) for p in steps)
    equal(found, expected)
    assert (found[1][17, 2] == -1).all()


def test_the_winners_stand_on_either_side_of_a_block(programs):
    scan, dense, dtype, width = programs
    m = 2100
    rng = np.random.default_rng(0)
    inputs = arrays(0, "equal", 1, m, dtype, width)
    for _ in range(8):
        k = np.zeros((1, 2, m, width), dtype)
        k[:, :, rng.choice([0, 63, 64, 1023, 1024, 2047, 2048, m - 1], 4)] = -1
        inputs["k"] = k
        equal(scan("g", **inputs), dense("g", **inputs))
