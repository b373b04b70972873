"""The hull and the dense scan choose the same keys and give the same bits; small cases are held against the reference."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from attnc_backends.numba import executable
from attnc_ir.reference import exact_winners
from backend_cases import check_layout, check_pairs, check_reference, compiled, seeds, small_sizes, spoiled
from hull_keys import COUNTEREXAMPLES, FAMILIES, families, keys_of, queries_of

TIES = ["first", "last", "mean"]
STRATEGIES = ["dense", "hull"]


def both(inputs, attributes, ties=TIES, strategies=STRATEGIES):
    """A graph with a node for every tie rule and strategy over the same inputs."""
    names = [f"{strategy}_{tie}" for tie in ties for strategy in strategies]
    nodes = "".join(
        f"  %{name} = attend %q, %k, %v {{normalizer = hardmax({name.split('_')[1]}), strategy = {name.split('_')[0]}{attributes}}}\n"
        for name in names
    )
    return f"graph @g({inputs}) {{\n{nodes}  return {', '.join('%' + name for name in names)}\n}}\n"


SPECS = {
    "full": both("%q: f64[B x H x N x 2], %k: f64[B x G x M x 2], %v: f64[B x G x M x 3]", ""),
    "causal": both(
        "%q: f64[H x N x 2], %k: f64[G x M x 2], %v: f32[G x M x 2]",
        ", mask = causal(bottom_right), scale = -0.3",
        ["last", "mean"],
    ),
    "shifted": both(
        "%q: f32[N x 2], %k: f32[M x 2], %v: f16[M x 1], %row: f16[1]",
        ", mask = causal(-2), softcap = 3.0, empty = default(%row)",
        ["first", "mean"],
    ),
    "ahead": both(
        "%q: f32[N x 2], %k: f32[M x 2], %v: bf16[M x 2]", ", mask = causal(3)", ["mean"], ["hull"]
    ),
}


def arrays_of(name, family, seed, sizes):
    rng = np.random.default_rng(seed)
    program = compiled(SPECS[name])
    shapes = {
        v.name: tuple(sizes.get(str(d), d) for d in v.type.shape) for v in program.source_module["g"].inputs
    }
    keys = keys_of(family, rng, shapes["k"][:-1])
    queries = queries_of(rng, keys, shapes["q"][:-1])
    kind = np.float64 if name in ("full", "causal") else np.float32
    with np.errstate(over="ignore"):
        found = {"q": np.nan_to_num(queries.astype(kind)), "k": np.nan_to_num(keys.astype(kind))}
    values = rng.integers(-5, 6, shapes["v"]) / 8
    found["v"] = {
        "full": values,
        "causal": values.astype(np.float32),
        "shifted": values.astype(np.float16),
    }.get(name, (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16))
    if "row" in shapes:
        found["row"] = np.array([7.5], np.float16)
    return program, found


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=20)
@given(
    family=families,
    seed=seeds,
    sizes=small_sizes,
    group=st.sampled_from([1, 3]),
    key_heads=st.sampled_from([1, 2]),
)
def test_the_hull_is_exact(name, family, seed, sizes, group, key_heads):
    program, arrays = arrays_of(name, family, seed, sizes | {"G": key_heads, "H": key_heads * group})
    check_reference(program, arrays)


@pytest.mark.parametrize("name", ["full", "causal", "shifted"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_hull_and_the_scan_agree_on_long_sequences(name, family):
    sizes = {"B": 1, "G": 2, "H": 4, "N": 150, "M": 700}
    program, arrays = arrays_of(name, family, 5, sizes)
    check_pairs(program("g", **arrays))


def test_the_outputs_are_the_values_of_the_exact_winners():
    program, arrays = arrays_of("full", "near ties", 3, {"B": 1, "G": 1, "H": 1, "N": 8, "M": 30})
    arrays["v"] = np.arange(30.0 * 3).reshape(1, 1, 30, 3)
    results = program("g", **arrays)
    for op, output in zip(program.source_module["g"].ops, results, strict=True):
        for i in range(8):
            chosen = list(exact_winners(op, arrays, 0, 0, i))
            picked = {"first": chosen[:1], "last": chosen[-1:], "mean": chosen}[op.normalizer.tie.value]
            assert output[0, 0, i].tolist() == arrays["v"][0, 0, picked].mean(axis=0).tolist()


@pytest.mark.parametrize("layout", ["transposed", "strided", "reversed", "broadcast"])
def test_keys_and_values_of_any_layout(layout):
    program, arrays = arrays_of("full", "grid", 11, {"B": 2, "G": 2, "H": 2, "N": 9, "M": 40})
    check_layout(program, arrays, layout)


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_do_not_change_a_bit(threads, monkeypatch):
    monkeypatch.setattr(executable, "PARALLEL_WORK", 0)
    for key_heads in (1, 3):
        program, arrays = arrays_of(
            "full", "grid", 5, {"B": 2, "G": key_heads, "H": 2 * key_heads, "N": 9, "M": 50}
        )
        alone, together = program.run("g", arrays, threads=1), program.run("g", arrays, threads=threads)
        assert [x.tobytes() for x in alone] == [x.tobytes() for x in together]


# --- numbers that have no place on a hull ---


@settings(max_examples=40)
@given(
    seed=seeds, where=st.sampled_from(["q", "k", "v"]), name=st.sampled_from(["full", "causal", "shifted"])
)
def test_rows_with_numbers_that_are_not_finite(seed, where, name):
    program, arrays = arrays_of(name, "grid", seed, {"B": 1, "G": 1, "H": 2, "N": 5, "M": 6})
    arrays[where] = spoiled(arrays[where], np.random.default_rng(seed))
    check_reference(program, arrays)


def test_one_bad_key_leaves_the_rows_before_it_alone():
    program, arrays = arrays_of("causal", "grid", 2, {"G": 1, "H": 1, "N": 30, "M": 30})
    clean = program("g", **arrays)
    arrays["k"][0, 20] = np.nan
    for got, before in zip(program("g", **arrays), clean, strict=True):
        assert got[:, :20].tobytes() == before[:, :20].tobytes()
        assert np.isnan(got[:, 20:]).all()


# --- the counterexamples ---


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("tie", TIES)
@pytest.mark.parametrize("name", COUNTEREXAMPLES)
def test_counterexamples(name, tie, strategy):
    keys, values, query, right = COUNTEREXAMPLES[name]
    q = np.array([query], np.float64).reshape(1, 1, 1, 2)
    k = np.array(keys, np.float64).reshape(1, 1, -1, 2)
    v = np.array(values, np.float64).reshape(1, 1, -1, 1)
    out = attnc.attention(q, k, v, normalizer="hardmax", tie=tie, strategy=strategy)
    assert out.item() == right[tie]
    # Order of keys is part of the question; scaling the query is not.
    assert (
        attnc.attention(q * 4, k, v, normalizer="hardmax", tie=tie, strategy=strategy, scale=0.5).item()
        == right[tie]
    )
