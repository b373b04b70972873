"""The hierarchy and the dense scan give the same bits; small cases are held against the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc_ir.storage import from_float64
from attnc_ir.types import DType
from backend_cases import (
    LAYOUTS,
    check_layout,
    check_pairs,
    check_reference,
    check_threads,
    compiled,
    seeds,
    small_sizes,
    spoiled,
)
from exact_families import FAMILIES, queries_for
from exact_modes import stored

FULL = """graph @g(%q: f64[B x H x N x 3], %k: f64[B x G x M x 3], %v: f64[B x G x M x 2]) {
  %a = attend %q, %k, %v {normalizer = hardmax(mean), strategy = dense}
  %b = attend %q, %k, %v {normalizer = hardmax(mean), strategy = hierarchy}
  %c, %d = attend %q, %k, %v {normalizer = hardmax(last), strategy = dense, with_argmax = true}
  %e, %f = attend %q, %k, %v {normalizer = hardmax(last), strategy = hierarchy, with_argmax = true}
  return %a, %b, %c, %e, %d, %f
}
"""
RAGGED = """graph @g(%q: f32[B x H x N x 3], %k: f32[B x G x M x 3], %v: f16[B x G x M x 2], %queries: i32[B], %keys: i64[B], %count: i64[B], %row: f16[2]) {
  %o = attend %q, %k, %v {normalizer = hardmax(first), mask = lengths(%queries, %keys) & prefix(%count), scale = -0.3, empty = default(%row), strategy = hierarchy}
  return %o
}
"""
STRICT = """graph @g(%q: f64[B x 1 x N x 3], %k: f64[B x 1 x M x 3], %v: f64[B x 1 x M x 2], %queries: i64[B], %keys: i64[B]) {
  %o = attend %q, %k, %v {normalizer = hardmax(mean), mask = lengths(%queries, %keys), empty = error, strategy = hierarchy}
  return %o
}
"""
SPECS = {"full": FULL, "ragged": RAGGED, "strict": STRICT}
families = st.sampled_from(sorted(FAMILIES))


def arrays_of(name, family, seed, sizes):
    rng = np.random.default_rng(seed)
    program = compiled(SPECS[name])
    inputs = {v.name: v.type for v in program.source_module["g"].inputs}
    shapes = {x: tuple(sizes.get(str(d), d) for d in kind.shape) for x, kind in inputs.items()}
    keys, queries = np.zeros(shapes["k"]), np.zeros(shapes["q"])
    for at in np.ndindex(shapes["k"][:2]):
        keys[at] = FAMILIES[family](rng, shapes["k"][2], 3)
    for b, h in np.ndindex(shapes["q"][:2]):
        queries[b, h] = queries_for(rng, keys[b, h * shapes["k"][1] // shapes["q"][1]], shapes["q"][2])
    dtype = "f64" if inputs["k"].dtype is DType.F64 else "f32"
    found = {"q": stored(queries, dtype), "k": stored(keys, dtype)}
    found["v"] = from_float64(rng.integers(-5, 6, shapes["v"]) / 8, inputs["v"].dtype)
    if "row" in inputs:
        found["row"] = from_float64(np.full(2, 7.5), inputs["row"].dtype)
    for x, most in (("queries", sizes["N"]), ("keys", sizes["M"]), ("count", sizes["M"])):
        if x in inputs:
            kind = np.int32 if inputs[x].dtype is DType.I32 else np.int64
            found[x] = rng.integers(0, most + 2, shapes[x]).astype(kind)
    return program, found


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=25)
@given(
    family=families,
    seed=seeds,
    sizes=small_sizes,
    group=st.sampled_from([1, 3]),
    heads=st.sampled_from([1, 2]),
)
def test_it_is_exact(name, family, seed, sizes, group, heads):
    check_reference(*arrays_of(name, family, seed, sizes | {"G": heads, "H": heads * group}))


@pytest.mark.parametrize("family", FAMILIES)
def test_it_agrees_with_dense_on_long_sequences(family):
    program, arrays = arrays_of("full", family, 5, {"B": 1, "G": 2, "H": 4, "N": 40, "M": 600})
    check_pairs(program("g", **arrays))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_of_any_layout(layout):
    program, arrays = arrays_of("full", "grid", 11, {"B": 2, "G": 2, "H": 2, "N": 9, "M": 40})
    check_layout(program, arrays, layout)


def test_threads_do_not_change_a_bit(monkeypatch):
    program, arrays = arrays_of("full", "grid", 5, {"B": 2, "G": 3, "H": 6, "N": 9, "M": 50})
    check_threads(program, arrays, monkeypatch)


@settings(max_examples=30)
@given(seed=seeds, where=st.sampled_from(["q", "k", "v"]), name=st.sampled_from(sorted(SPECS)))
def test_rows_with_numbers_that_are_not_finite(seed, where, name):
    program, arrays = arrays_of(name, "grid", seed, {"B": 2, "G": 1, "H": 2, "N": 5, "M": 6})
    arrays[where] = spoiled(arrays[where], np.random.default_rng(seed))
    check_reference(program, arrays)
