"""The hull under masks whose ranges move: windows, documents, ragged batches, prefixes, and all of them at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from attnc_backends.numba import executable
from backend_cases import compiled, laid_out, layouts, same_numbers, seeds, thorough_but
from hull_keys import FAMILIES, families, keys_of, queries_of

HEADS = "%q: {t}[B x H x N x 2], %k: {t}[B x G x M x 2], %v: {v}[B x G x M x 2]"
COUNTS = (
    ", %queries: i64[B], %keys: i32[B], %count: i64[B], %ids: i32[B x N], %key_ids: i64[M], %row: f64[H x 2]"
)


def spec(t, v, nodes):
    """A graph of hard-max nodes, all by hull; `nodes` gives tie rule and mask for each."""
    lines = [
        f"  %o{n}{f', %p{n}' if tie != 'mean' else ''} = attend %q, %k, %v {{normalizer = hardmax({tie}), {rest}"
        f"{', with_argmax = true' if tie != 'mean' else ''}, strategy = STRATEGY}}"
        for n, (tie, rest) in enumerate(nodes)
    ]
    results = [f"%o{n}" + (f", %p{n}" if tie != "mean" else "") for n, (tie, _) in enumerate(nodes)]
    return (
        f"graph @g({HEADS.format(t=t, v=v)}{COUNTS}) {{\n"
        + "\n".join(lines)
        + f"\n  return {', '.join(results)}\n}}"
    )


SPECS = {
    "windows": spec(
        "f64",
        "f64",
        [
            ("first", "mask = window(3, 1, bottom_right)"),
            ("last", "mask = window(6, 0, 1) & prefix(%count), scale = -0.5, empty = default(%row)"),
            ("mean", "mask = window(5, 2, bottom_right) & causal(bottom_right) & lengths(%queries, %keys)"),
        ],
    ),
    "documents": spec(
        "f32",
        "f64",
        [
            ("mean", "mask = documents(%ids, %key_ids) & causal(bottom_right)"),
            ("last", "mask = documents(%ids, %key_ids) & window(4, 4, top_left), softcap = 2.0"),
        ],
    ),
    "prefixes": spec(
        "f64",
        "f32",
        [
            ("first", "mask = lengths(%queries, %keys) & causal(-1)"),
            ("mean", "mask = prefix(%count) & causal(bottom_right) & prefix(30)"),
        ],
    ),
}


def programs(name):
    """The same spec by hull and by the dense scan."""
    hull, dense = (compiled(SPECS[name].replace("STRATEGY", s)) for s in ("hull", "dense"))
    return hull, dense


def ids_of(rng, count, how):
    """Document ids: sorted, in runs of any order, or (rarely legal as ranges) scattered."""
    ids = np.sort(rng.integers(0, 4, count))
    if how == "runs":
        ids = np.array([7, -3, 7000000000 % 2**31, 2])[ids]
    if how == "scattered":
        ids = rng.permutation(ids)
    return ids


def arrays_of(name, family, seed, b, g, group, n, m, how="sorted"):
    rng = np.random.default_rng(seed)
    kind = np.float32 if name == "documents" else np.float64
    keys = keys_of(family, rng, (b, g, m))
    queries = queries_of(rng, keys, (b, g * group, n))
    with np.errstate(over="ignore"):
        q, k = np.nan_to_num(queries.astype(kind)), np.nan_to_num(keys.astype(kind))
    # Tenths do not add up exactly in doubles, huge ones not even in two.
    v = rng.choice([0.0, -0.0, 0.1, 1.0, -3.0, 2.0**-60, 2.0**70] if seed % 2 else [1.0, 2.0], (b, g, m, 2))
    return {
        "q": q,
        "k": k,
        "v": v.astype(np.float32 if name == "prefixes" else np.float64),
        "queries": rng.integers(0, n + 1, b),
        "keys": rng.integers(0, m + 1, b).astype(np.int32),
        "count": rng.integers(0, m + 3, b),
        "ids": np.stack([ids_of(rng, n, how) for _ in range(b)]).astype(np.int32).reshape(b, n),
        "key_ids": ids_of(rng, m, how),
        "row": rng.normal(size=(g * group, 2)),
    }


def agree(results, expected):
    for got, wanted in zip(results, expected, strict=True):
        same_numbers(got, wanted)


@pytest.mark.parametrize("name", thorough_but(SPECS, "windows"))
@settings(max_examples=max(40, settings.default.max_examples))
@given(
    family=families,
    seed=seeds,
    how=st.sampled_from(["sorted", "runs", "scattered"]),
    shape=st.tuples(
        st.sampled_from([1, 2]),
        st.sampled_from([1, 2]),
        st.sampled_from([1, 3]),
        st.sampled_from([0, 1, 4, 11]),
        st.sampled_from([0, 1, 2, 9, 14]),
    ),
)
def test_ranges_by_hull_are_exact(name, family, seed, how, shape):
    arrays = arrays_of(name, family, seed, *shape, how)
    rng = np.random.default_rng(seed)
    for which in ("q", "k", "v"):
        if arrays[which].size and rng.random() < 0.1:
            spoiled = arrays[which].copy()
            spoiled.reshape(-1)[rng.integers(0, spoiled.size)] = rng.choice([np.nan, np.inf, -np.inf])
            arrays[which] = spoiled
    hull, _ = programs(name)
    agree(hull("g", **arrays), attnc.reference(hull.source_module, "g", **arrays))


@pytest.mark.thorough
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("family", FAMILIES)
def test_hulls_and_dense_agree_on_long_sequences(name, family):
    hull, dense = programs(name)
    for seed, how in ((3, "sorted"), (4, "runs"), (5, "scattered")):
        arrays = arrays_of(name, family, seed, 2, 1, 2, 160, 230, how)
        agree(hull("g", **arrays), dense("g", **arrays))


@given(seed=seeds, layout=layouts)
def test_inputs_of_any_layout(seed, layout):
    hull, _ = programs("windows")
    arrays = arrays_of("windows", "grid", seed, 2, 2, 2, 9, 12)
    moved = {name: laid_out(array, layout) for name, array in arrays.items()}
    plain = {name: np.ascontiguousarray(array) for name, array in moved.items()}
    agree(hull("g", **moved), hull("g", **plain))


def test_threads_do_not_change_a_bit(monkeypatch):
    monkeypatch.setattr(executable, "PARALLEL_WORK", 0)
    hull, _ = programs("windows")
    arrays = arrays_of("windows", "near ties", 6, 3, 2, 2, 40, 50)
    agree(hull.run("g", arrays, threads=3), hull.run("g", arrays, threads=1))


def test_documents_in_any_order_of_ids_and_of_queries():
    hull, dense = programs("documents")
    arrays = arrays_of("documents", "grid", 1, 1, 1, 1, 12, 12)
    arrays["key_ids"] = np.repeat([5, 1, 9, -2], 3)
    for ids in (np.repeat([5, 1, 9, -2], 3), np.repeat([9, -2, 5, 1], 3), np.tile([9, -2, 5, 8], 3)):
        arrays["ids"] = ids.astype(np.int32)[np.newaxis]
        agree(hull("g", **arrays), dense("g", **arrays))


def test_a_window_follows_the_best_key_in_and_out():
    # One key is best by far; it is seen from the row where it enters to the row where it leaves.
    program = attnc.compile(
        "graph @g(%q: f64[N x 2], %k: f64[N x 2], %v: f64[N x 1]) {\n"
        "  %o, %p = attend %q, %k, %v {normalizer = hardmax(last), mask = window(7, 0), strategy = hull, with_argmax = true}\n"
        "  return %o, %p\n}"
    )
    n = 40
    k = np.zeros((n, 2))
    k[13] = 1.0
    _, p = program("g", np.ones((n, 2)), k, np.zeros((n, 1)))
    assert p.tolist() == [13 if 13 <= i <= 20 else i for i in range(n)]
