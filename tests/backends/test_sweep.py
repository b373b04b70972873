"""The sweep and the dense scan give the same bits; small cases are held against the reference."""

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
from hull_keys import COUNTEREXAMPLES, FAMILIES, families, keys_of, queries_of

STRATEGIES = ["dense", "sweep"]


def both(inputs, attributes, ties):
    """A graph with a node for every tie rule and strategy over the same inputs."""
    names = [f"{strategy}_{tie}" for tie in ties for strategy in STRATEGIES]
    nodes = "".join(
        f"  %{name} = attend %q, %k, %v {{normalizer = hardmax({name.split('_')[1]}), strategy = {name.split('_')[0]}{attributes}}}\n"
        for name in names
    )
    return f"graph @g({inputs}) {{\n{nodes}  return {', '.join('%' + name for name in names)}\n}}\n"


SPECS = {
    "full": both(
        "%q: f64[B x H x N x 2], %k: f64[B x G x M x 2], %v: f64[B x G x M x 3]",
        "",
        ["first", "last", "mean"],
    ),
    "ragged": both(
        "%q: f32[B x H x N x 2], %k: f32[B x G x M x 2], %v: f16[B x G x M x 2], %queries: i32[B],"
        " %keys: i64[B], %count: i64[B], %row: f16[2]",
        ", mask = lengths(%queries, %keys) & prefix(%count), scale = -0.3, empty = default(%row)",
        ["mean"],
    ),
    "short": both(
        "%q: bf16[N x 2], %k: bf16[M x 2], %v: bf16[M x 2]", ", mask = prefix(9), softcap = 3.0", ["mean"]
    ),
    "strict": both(
        "%q: f32[B x 1 x N x 2], %k: f32[B x 1 x M x 2], %v: f32[B x 1 x M x 2], %queries: i64[B], %keys: i64[B]",
        ", mask = lengths(%queries, %keys), empty = error",
        ["last"],
    ),
}


def arrays_of(name, family, seed, sizes):
    rng = np.random.default_rng(seed)
    program = compiled(SPECS[name])
    inputs = {v.name: v.type for v in program.source_module["g"].inputs}
    shapes = {name: tuple(sizes.get(str(d), d) for d in kind.shape) for name, kind in inputs.items()}
    with np.errstate(over="ignore"):
        keys = keys_of(family, rng, shapes["k"][:-1])
        queries = queries_of(rng, keys, shapes["q"][:-1])
        wide = inputs["k"].dtype is DType.F64
        doubles = {
            "q": queries if wide else np.nan_to_num(queries.astype(np.float32)).astype(float),
            "k": keys if wide else np.nan_to_num(keys.astype(np.float32)).astype(float),
            "v": rng.integers(-5, 6, shapes["v"]) / 8,
            "row": np.full(2, 7.5),
        }
        found = {x: from_float64(doubles[x], kind.dtype) for x, kind in inputs.items() if x in doubles}
    for x, most in (("queries", sizes.get("N")), ("keys", sizes.get("M")), ("count", sizes.get("M"))):
        if x in inputs:
            kind = np.int32 if inputs[x].dtype is DType.I32 else np.int64
            found[x] = rng.integers(0, most + 2, shapes[x]).astype(kind)
    return program, found


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=40)
@given(
    family=families,
    seed=seeds,
    sizes=small_sizes,
    group=st.sampled_from([1, 3]),
    key_heads=st.sampled_from([1, 2]),
)
def test_the_sweep_is_exact(name, family, seed, sizes, group, key_heads):
    check_reference(*arrays_of(name, family, seed, sizes | {"G": key_heads, "H": key_heads * group}))


@pytest.mark.parametrize("name", ["full", "ragged"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_sweep_and_dense_agree_on_long_sequences(name, family):
    program, arrays = arrays_of(name, family, 5, {"B": 2, "G": 2, "H": 4, "N": 150, "M": 700})
    check_pairs(program("g", **arrays))


def test_a_hull_of_thousands_of_vertices():
    rng = np.random.default_rng(1)
    program, arrays = arrays_of("full", "grid", 0, {"B": 1, "G": 1, "H": 2, "N": 40, "M": 9000})
    angle = rng.permutation(9000) * 1e-3
    arrays["k"] = np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(1, 1, 9000, 2)
    arrays["q"] = rng.normal(size=(1, 2, 40, 2))
    check_pairs(program("g", **arrays))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_of_any_layout(layout):
    program, arrays = arrays_of("full", "grid", 11, {"B": 2, "G": 2, "H": 2, "N": 9, "M": 40})
    check_layout(program, arrays, layout)


def test_threads_do_not_change_a_bit(monkeypatch):
    program, arrays = arrays_of("full", "grid", 5, {"B": 2, "G": 3, "H": 6, "N": 9, "M": 50})
    check_threads(program, arrays, monkeypatch)


@settings(max_examples=60)
@given(seed=seeds, where=st.sampled_from(["q", "k", "v"]), name=st.sampled_from(["full", "ragged", "strict"]))
def test_rows_with_numbers_that_are_not_finite(seed, where, name):
    program, arrays = arrays_of(name, "grid", seed, {"B": 2, "G": 1, "H": 2, "N": 5, "M": 6})
    arrays[where] = spoiled(arrays[where], np.random.default_rng(seed))
    check_reference(program, arrays)


@pytest.mark.parametrize("name", COUNTEREXAMPLES)
def test_counterexamples(name):
    keys, values, query, right = COUNTEREXAMPLES[name]
    program = compiled(SPECS["full"])
    arrays = {
        "q": np.array([query], np.float64).reshape(1, 1, 1, 2),
        "k": np.array(keys, np.float64).reshape(1, 1, -1, 2),
        "v": np.repeat(np.array(values, np.float64).reshape(1, 1, -1, 1), 3, axis=-1),
    }
    for output, value in zip(program("g", **arrays), program.source_module["g"].outputs, strict=True):
        assert (output == right[value.name.split("_")[1]]).all()
