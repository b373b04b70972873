"""Stateful graphs: hull, scan and reference stay together through any sequence of steps, cuts and copies."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from attnc_ir.reference import ReferenceState
from attnc_ir.types import DType
from backend_cases import TOLERANCE, close_numbers, compiled, same_numbers, seeds
from hull_keys import COUNTEREXAMPLES, families, keys_of, queries_of

MEMORY = """
graph @memory(%q: f32[B x H x 2], %k: f32[B x G x 2], %v: bf16[B x G x 3], %k2: f32[B x G x 2]) {
  %c = cache {heads = [B x G], key = f32[2], value = bf16[3]}
  %before = attend.step %q, %c {normalizer = hardmax(mean), strategy = WAY}
  %c1 = append %c, %k, %v
  %between = attend.step %q, %c1 {normalizer = hardmax(last), scale = -2.0, strategy = WAY}
  %c2 = append %c1, %k2, %v
  %after = attend.step %q, %c2 {normalizer = hardmax(first), mask = causal(1), strategy = WAY}
  %mean = attend.step %q, %c2 {normalizer = hardmax(mean), softcap = 2.0, strategy = WAY}
  %soft, %lse = attend.step %q, %c2 {normalizer = softmax, mask = window(12, 0), scale = 0.125, strategy = dense}
  return %before, %between, %after, %mean, %soft, %lse
}
"""
SINGLE = """
graph @single(%q: f64[2], %k: f64[2], %v: f64[1]) {
  %c = cache {heads = [], key = f64[2], value = f64[1]}
  %c1 = append %c, %k, %v
  %first = attend.step %q, %c1 {normalizer = hardmax(first), strategy = WAY}
  %last = attend.step %q, %c1 {normalizer = hardmax(last), strategy = WAY}
  %mean = attend.step %q, %c1 {normalizer = hardmax(mean), strategy = WAY}
  return %first, %last, %mean
}
"""
BIASED = """
graph @biased(%q: f64[2], %k: f64[2], %v: f64[1], %n: i64[]) {
  %c = cache {heads = [], key = f64[2], value = f64[1]}
  %c1 = append %c, %k, %v
  %o, %lse = attend.step %q, %c1 {normalizer = hardmax(first), mask = prefix(%n) | window(1, 0), bias = expression(where(j % 2 == 0, 1.0 / 3.0 * 3.0, 1.0)), empty = error}
  return %o, %lse
}
"""


def program_for(way, spec=MEMORY):
    return compiled(spec.replace("WAY", way))


def steps_of(rng, family, count, heads):
    batch, query_heads, key_heads = heads
    keys = keys_of(family, rng, (count, batch, 2 * key_heads)).astype(np.float32)
    keys = np.nan_to_num(keys)  # the largest doubles are too large
    return {
        "q": np.nan_to_num(
            queries_of(rng, keys.astype(np.float64), (count, batch, query_heads)).astype(np.float32)
        ),
        "k": np.ascontiguousarray(keys[:, :, :key_heads]),
        "v": (rng.normal(size=(count, batch, key_heads, 3)).astype(np.float32).view(np.uint32) >> 16).astype(
            np.uint16
        ),
        "k2": keys[:, :, key_heads:],
    }


actions = st.lists(
    st.one_of(
        st.tuples(st.just("extend"), st.integers(0, 5)),
        st.tuples(st.just("step"), st.integers(1, 3)),
        st.tuples(st.just("truncate"), st.integers(0, 12)),
        st.tuples(st.just("fork"), st.just(0)),
        st.tuples(st.just("swap"), st.just(0)),
    ),
    min_size=3,
    max_size=8,
)
HEADS = [(1, 1, 1), (1, 4, 2), (2, 2, 2), (2, 3, 1), (0, 2, 1)]


def check_steps(graph, ways, expected):
    for value, wanted in zip(graph.outputs, expected, strict=True):
        for results in ways:
            got = results[[v.name for v in graph.outputs].index(value.name)]
            if value.name in ("soft", "lse"):
                size = 4.0 if value.name == "soft" else np.abs(np.where(np.isfinite(wanted), wanted, 1.0)) + 1
                close_numbers(got, wanted, value.type.dtype, TOLERANCE[value.type.dtype], size)
            else:
                same_numbers(got, wanted, value.type.dtype)


@settings(max_examples=14)
@given(
    plan=actions, family=families.filter(lambda f: f != "exponents"), seed=seeds, heads=st.sampled_from(HEADS)
)
def test_steps_interleaved_with_cuts_and_copies(plan, family, seed, heads):
    rng = np.random.default_rng(seed)
    programs = [program_for(way) for way in ("hull", "dense")]
    graph = programs[0].source_module["memory"]
    dims = {"B": heads[0], "G": heads[2]}
    current = [p.state("memory", **dims) for p in programs], ReferenceState(graph, dims)
    other = None
    for action, count in plan:
        states, reference = current
        match action:
            case "extend":
                arrays = steps_of(rng, family, count, heads)
                results = [p.extend(s, **arrays) for p, s in zip(programs, states, strict=True)]
                check_steps(graph, results, reference.extend(arrays))
            case "step":
                for _ in range(count):
                    arrays = {name: array[0] for name, array in steps_of(rng, family, 1, heads).items()}
                    results = [p.step(s, **arrays) for p, s in zip(programs, states, strict=True)]
                    check_steps(graph, results, reference.step(arrays))
            case "truncate":
                length = min(count, len(reference))
                for state in (*states, reference):
                    state.truncate(length)
            case "fork":
                other = [s.fork() for s in states], reference.fork()
            case "swap" if other is not None:
                current, other = other, current
        for state in current[0]:
            assert len(state) == len(current[1])


@settings(max_examples=20)
@given(family=families, seed=seeds, count=st.integers(1, 25))
def test_a_cache_without_heads_and_any_exponent(family, seed, count):
    rng = np.random.default_rng(seed)
    keys = keys_of(family, rng, (count,))
    arrays = {"q": queries_of(rng, keys, (count,)), "k": keys, "v": rng.integers(-9, 9, (count, 1)) / 4}
    graph = program_for("hull", SINGLE).source_module["single"]
    expected = ReferenceState(graph).extend(arrays)
    for way in ("hull", "dense"):
        program = program_for(way, SINGLE)
        for got, wanted in zip(program("single", **arrays), expected, strict=True):
            same_numbers(got, wanted)
        state = program.state()
        for t in range(count):
            results = program.step(state, arrays["q"][t], arrays["k"][t], arrays["v"][t])
            for got, wanted in zip(results, expected, strict=True):
                same_numbers(got, wanted[t])


def test_long_states_grow_and_shrink():
    rng = np.random.default_rng(8)
    hull, dense = program_for("hull", SINGLE), program_for("dense", SINGLE)
    states = hull.state(), dense.state()
    for count, keep in [(200, 200), (57, 256), (1, 257), (700, 300), (900, 1200), (0, 0), (3, 3), (600, 603)]:
        keys = rng.integers(-40, 41, (count, 2)).astype(np.float64)
        arrays = {"q": queries_of(rng, keys, (count,)), "k": keys, "v": rng.normal(size=(count, 1))}
        for got, expected in zip(
            hull.extend(states[0], **arrays), dense.extend(states[1], **arrays), strict=True
        ):
            same_numbers(got, expected)
        for place, state in enumerate(states):
            state.truncate(keep)
            assert len(state) == min(keep, len(states[1 - place]))


@pytest.mark.parametrize("way", ["hull", "dense"])
@pytest.mark.parametrize("name", COUNTEREXAMPLES)
def test_counterexamples(name, way):
    keys, values, query, right = COUNTEREXAMPLES[name]
    program = program_for(way, SINGLE)
    state = program.state()
    for key, value in zip(keys, values, strict=True):
        results = program.step(state, np.array(query, float), np.array(key, float), np.array([value], float))
    assert dict(zip(("first", "last", "mean"), (r.item() for r in results), strict=True)) == right


def test_rational_answers_inside_a_step():
    """A float expression leaves near-ties that only rational arithmetic orders, in graphs whose results have no axes."""
    program = compiled(BIASED)
    graph, state = program.source_module["biased"], program.state()
    reference = ReferenceState(graph)
    rng = np.random.default_rng(1)
    for t in range(14):
        arrays = {
            "q": rng.integers(-1, 2, 2) / 1.0,
            "k": rng.integers(-1, 2, 2) / 1.0,
            "v": np.array([t / 1.0]),
            "n": np.array(t % 5),
        }
        got, expected = program.step(state, **arrays), reference.step(arrays)
        same_numbers(got[0], expected[0])
        assert isinstance(got[1], np.ndarray)
        close_numbers(got[1], expected[1], DType.F64, 1e-12, 10.0)
    with pytest.raises(attnc.ArgumentError, match="must not be negative"):
        program.step(state, **(arrays | {"n": np.array(-1)}))
    assert len(state) == 14


# --- what a state refuses ---


@pytest.mark.parametrize("way", ["hull", "dense"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("name", "position"), [("k", 2 * (4 + 2)), ("k2", 2 * (4 + 2) + 1)])
def test_a_key_that_is_not_finite(way, bad, name, position):
    program = program_for(way)
    rng = np.random.default_rng(3)
    state, untouched = (program.state("memory", B=2, G=2) for _ in range(2))
    arrays = steps_of(rng, "grid", 4, (2, 4, 2))
    program.extend(state, **arrays)
    program.extend(untouched, **arrays)
    spoiled = steps_of(rng, "grid", 5, (2, 4, 2))
    spoiled[name] = spoiled[name].copy()
    spoiled[name][2, 1, 0, 1] = bad
    with pytest.raises(attnc.StateError, match=rf"batch 1, head 0, position {position} is not finite"):
        program.extend(state, **spoiled)
    assert len(state) == 4
    with pytest.raises(attnc.StateError, match="is not finite"):
        program.step(state, **{n: a[2] for n, a in spoiled.items()})
    more = steps_of(rng, "grid", 3, (2, 4, 2))
    for got, expected in zip(program.extend(state, **more), program.extend(untouched, **more), strict=True):
        assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("way", ["hull", "dense"])
def test_a_query_that_is_not_finite_spoils_its_own_rows_only(way):
    program = program_for(way)
    graph = program.source_module["memory"]
    rng = np.random.default_rng(4)
    arrays = steps_of(rng, "grid", 6, (1, 2, 1))
    arrays["q"][3, 0, 1] = [np.inf, 0.0]
    arrays["q"][4, 0, 0] = [np.nan, 0.0]
    expected = ReferenceState(graph, {"B": 1, "G": 1}).extend(arrays)
    results = program.extend(program.state("memory", B=1, G=1), **arrays)
    check_steps(graph, [results], expected)
    assert np.isnan(results[-1]).any()


def test_an_error_in_the_middle_takes_everything_back():
    """`empty = error` fails at a later step of a long extend; nothing of it stays."""
    text = """
    graph @g(%q: f64[H x 2], %k: f64[H x 2]) {
      %c = cache {heads = [H], key = f64[2], value = f64[2]}
      %c1 = append %c, %k, %k
      %far = attend.step %q, %c1 {normalizer = hardmax(last), strategy = hull}
      %o = attend.step %q, %c1 {normalizer = softmax, mask = predicate(j != 0 or i < 3), empty = error, bias = expression(where(i < 3, 0.0, -inf))}
      return %o, %far
    }
    """
    program = compiled(text)
    state = program.state("g", H=2)
    ones = np.ones((3, 2, 2))
    program.extend(state, ones[:2], ones[:2])
    before = program.step(state.fork(), ones[0], ones[0] * 2)
    with pytest.raises(attnc.EmptyRowError, match=r"%o: batch 0, head 0, step 3 may see no key"):
        program.extend(state, ones, ones * 3)
    assert len(state) == 2
    for got, expected in zip(program.step(state, ones[0], ones[0] * 2), before, strict=True):
        assert got.tobytes() == expected.tobytes()


def test_a_first_step_that_fails_settles_no_size():
    program = program_for("dense")
    state = program.state("memory")
    rng = np.random.default_rng(0)
    bad = {n: a[0] for n, a in steps_of(rng, "grid", 1, (2, 2, 2)).items()}
    bad["k"][0, 0, 0] = np.nan
    with pytest.raises(attnc.StateError):
        program.step(state, **bad)
    good = {n: a[0] for n, a in steps_of(rng, "grid", 1, (3, 1, 1)).items()}
    assert program.step(state, **good)[0].shape == (3, 1, 3)
    with pytest.raises(attnc.ArgumentError, match="B is 2 here but 3"):
        program.step(state, **bad)


@pytest.mark.parametrize("length", [-1, True, 1.5, None, "2"])
@pytest.mark.parametrize("steps", [0, 2])
def test_truncate_to_nonsense(length, steps):
    program = program_for("hull", SINGLE)
    state = program.state()
    program.extend(state, np.ones((steps, 2)), np.ones((steps, 2)), np.ones((steps, 1)))
    with pytest.raises(attnc.ArgumentError, match="cannot truncate"):
        state.truncate(length)
    assert len(state) == steps


def test_states_of_others():
    program, twin = program_for("hull", SINGLE), program_for("dense", SINGLE)
    row = np.ones(2), np.ones(2), np.ones(1)
    with pytest.raises(attnc.StateError, match="another program"):
        twin.step(program.state(), *row)
    with pytest.raises(attnc.ArgumentError, match="no dimension"):
        program.state("single", H=2)
    for size in (-1, 1.5, True, 2**50):
        with pytest.raises(attnc.ArgumentError, match=r"dimension B|GiB"):
            program_for("dense").state("memory", B=size, G=1)


# --- threads ---


def test_two_threads_with_one_state():
    """Either takes its turn or is refused; what was taken is there, once each."""
    program = program_for("hull", SINGLE)
    state = program.state()
    refused, taken = [], []
    barrier = threading.Barrier(2)

    def work(which):
        rng = np.random.default_rng(which)
        barrier.wait()
        for _ in range(60):
            keys = rng.integers(-9, 10, (20, 2)) / 1.0
            try:
                program.extend(state, keys, keys, keys[:, :1])
                taken.append(20)
            except attnc.StateError:
                refused.append(20)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) + len(refused) == 120
    assert len(state) == sum(taken)


def test_two_threads_that_race_for_the_first_step():
    program = program_for("dense")
    arrays = steps_of(np.random.default_rng(0), "grid", 3, (1, 1, 1))
    for _ in range(20):
        state, taken = program.state("memory"), []
        barrier = threading.Barrier(2)

        def work(state=state, taken=taken, barrier=barrier):
            barrier.wait()
            try:
                program.extend(state, **arrays)
                taken.append(3)
            except attnc.StateError:
                pass

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(state) == sum(taken) > 0


def test_a_state_each():
    program = program_for("hull", SINGLE)
    keys = [np.random.default_rng(n).integers(-9, 10, (400, 2)) / 1.0 for n in range(4)]
    alone = [program.extend(program.state(), k, k, k[:, :1]) for k in keys]
    found = [None] * 4

    def work(n):
        state = program.state()
        parts = [program.extend(state, part, part, part[:, :1]) for part in np.split(keys[n], 40)]
        found[n] = [np.concatenate(results) for results in zip(*parts, strict=True)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for together, expected in zip(found, alone, strict=True):
        for got, wanted in zip(together, expected, strict=True):
            assert got.tobytes() == wanted.tobytes()
