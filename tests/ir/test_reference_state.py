"""States of the reference: append, query, truncate, fork; and that an error leaves everything as it was."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnc_ir.attributes.mask import Causal, Corner, Predicate, Prefix, Window
from attnc_ir.attributes.normalizer import Hardmax, Mean, Softmax, Tie
from attnc_ir.errors import ArgumentError, StateError
from attnc_ir.expr import Binary, BinaryOp, Index, Variable
from attnc_ir.ops import Add, Append, AttendStep, Cache
from attnc_ir.reference import ReferenceState, attend_node_row, exact_winners, run
from attnc_ir.types import DType, Symbol, TensorType
from reference_graphs import B, H, attend, attend_graph, graph_of, memory_graph, tensor, with_results

FIRST, LAST, MEAN = Hardmax(Tie.FIRST), Hardmax(Tie.LAST), Hardmax(Tie.MEAN)


def steps(t, heads=1, seed=3):
    """Arrays for `t` steps of `memory_graph` over small integers."""
    r = np.random.default_rng(seed)
    return {name: r.integers(-2, 3, (t, heads, 2)).astype(float) for name in "qk"} | {
        "v": r.normal(size=(t, heads, 1))
    }


def at(arrays, t):
    return {name: array[t] for name, array in arrays.items()}


@pytest.mark.parametrize("normalizer", [FIRST, LAST, MEAN, Softmax(), Mean()])
@pytest.mark.parametrize(
    "mask", [None, Window(2, 0), Prefix(3), Causal(-1), Window(1, 0, Corner.BOTTOM_RIGHT)]
)
def test_steps_give_the_rows_of_causal_attention(normalizer, mask):
    arrays = steps(6, heads=2)
    attributes = {} if mask is None else {"mask": mask}
    out, lse = run(memory_graph(normalizer, lse=True, **attributes), arrays)
    q, k, v = (np.moveaxis(arrays[name], 0, 1) for name in "qkv")
    # In a step both corners stand at the last key, as the rows of a square do.
    causal = Causal(0) if mask is None else Causal(0) & mask
    whole, whole_lse = attend(q, k, v, normalizer=normalizer, mask=causal, lse=True)
    np.testing.assert_array_equal(np.moveaxis(out, 0, 1), whole)
    np.testing.assert_array_equal(np.moveaxis(lse, 0, 1), whole_lse)


def test_the_query_of_a_step_stands_at_the_last_key():
    # i == j holds for the newest position alone.
    newest = Predicate(Binary(BinaryOp.EQ, Index(Variable.QUERY), Index(Variable.KEY)))
    arrays = steps(4)
    (out,) = run(memory_graph(Mean(), mask=newest), arrays)
    np.testing.assert_array_equal(out, arrays["v"])


def test_a_read_above_the_append_does_not_see_it():
    arrays = {"q": np.ones((3, 1, 2)), "k": np.ones((3, 1, 2)), "v": np.array([[[1.0]], [[2.0]], [[3.0]]])}
    (out,) = run(memory_graph(LAST, before=True), arrays)
    assert out.ravel().tolist() == [0.0, 1.0, 2.0]


@pytest.mark.parametrize(("heads", "query_heads"), [((), ()), ((2,), (4,)), ((B, 1), (B, 3))])
def test_heads_of_a_cache(heads, query_heads):
    size = {B: 2}
    kv, q = ([size.get(d, d) for d in shape] for shape in (heads, query_heads))
    graph = memory_graph(LAST, heads=heads, query_heads=query_heads)
    state = ReferenceState(graph, {"B": 2} if heads[:1] == (B,) else {})
    values = np.arange(math.prod(kv), dtype=float).reshape(*kv, 1)
    (out,) = state.step({"q": np.ones((*q, 2)), "k": np.ones((*kv, 2)), "v": values})
    expected = np.repeat(values, q[-1] // kv[-1], axis=-2) if kv else values
    np.testing.assert_array_equal(out, expected)


def test_extend_is_step_after_step():
    arrays = steps(5, heads=2)
    one, many = (ReferenceState(memory_graph(MEAN), {"H": 2}) for _ in range(2))
    rows = [one.step(at(arrays, t))[0] for t in range(5)]
    np.testing.assert_array_equal(many.extend(arrays)[0], np.stack(rows))
    assert len(one) == len(many) == 5


def test_no_steps_give_outputs_without_rows():
    state = ReferenceState(memory_graph(MEAN, lse=True), {"H": 2})
    out, lse = state.extend(steps(0, heads=2))
    assert (out.shape, lse.shape, len(state)) == ((0, 2, 1), (0, 2), 0)


@given(st.integers(0, 7))
def test_truncate_goes_back_to_an_earlier_step(length):
    arrays = steps(6)
    graph = memory_graph(MEAN)
    state, fresh = ReferenceState(graph, {"H": 1}), ReferenceState(graph, {"H": 1})
    state.extend(arrays)
    state.truncate(length)
    assert len(state) == min(length, 6)
    fresh.extend({name: array[:length] for name, array in arrays.items()})
    np.testing.assert_array_equal(state.extend(steps(3, seed=4))[0], fresh.extend(steps(3, seed=4))[0])


@pytest.mark.parametrize("length", [-1, True, 1.5, None])
def test_truncate_to_what_is_no_length_is_refused(length):
    state = ReferenceState(memory_graph(MEAN), {"H": 1})
    state.extend(steps(2))
    with pytest.raises(ArgumentError, match=f"cannot truncate to {length}"):
        state.truncate(length)
    assert len(state) == 2


def test_a_fork_and_its_origin_do_not_see_each_other():
    graph = memory_graph(LAST)
    state = ReferenceState(graph, {"H": 1})
    same = {"q": np.ones((1, 2)), "k": np.ones((1, 2))}
    state.step({**same, "v": np.array([[1.0]])})
    fork = state.fork()
    state.step({**same, "v": np.array([[2.0]])})
    fork.step({**same, "v": np.array([[3.0]])})
    weak = {"q": np.ones((1, 2)), "k": np.zeros((1, 2)), "v": np.zeros((1, 1))}
    assert state.step(weak)[0].tolist() == [[2.0]]
    assert fork.step(weak)[0].tolist() == [[3.0]]


def test_a_state_keeps_its_own_copy_of_what_is_appended():
    state = ReferenceState(memory_graph(LAST), {"H": 1})
    arrays = {"q": np.ones((1, 2)), "k": np.ones((1, 2)), "v": np.array([[7.0]])}
    state.step(arrays)
    arrays["v"][:] = 0.0
    out = state.step({"q": np.ones((1, 2)), "k": np.zeros((1, 2)), "v": np.zeros((1, 1))})[0]
    assert out.tolist() == [[7.0]]
    out[:] = 5.0
    assert state.step({"q": np.ones((1, 2)), "k": np.zeros((1, 2)), "v": np.zeros((1, 1))})[0].tolist() == [
        [7.0]
    ]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("normalizer", [LAST, Softmax()])
def test_a_key_that_is_not_finite_is_refused(bad, normalizer):
    graph = memory_graph(normalizer, heads=(B, H))
    state = ReferenceState(graph, {"B": 2, "H": 3})
    good = {"q": np.ones((2, 3, 2)), "k": np.ones((2, 3, 2)), "v": np.ones((2, 3, 1))}
    state.step(good)
    key = good["k"].copy()
    key[1, 2, 0] = bad
    with pytest.raises(
        StateError,
        match=rf"graph @g: cache %c: the key %k for batch 1, head 2, position 1 is not finite \({bad} in column 0\)",
    ):
        state.step({**good, "k": key})
    assert len(state) == 1
    assert state.step(good)[0].tolist() == np.ones((2, 3, 1)).tolist()


def test_an_error_late_in_extend_undoes_all_of_it():
    graph = memory_graph(MEAN)
    state, untouched = ReferenceState(graph, {"H": 1}), ReferenceState(graph, {"H": 1})
    arrays = steps(3)
    state.extend(arrays)
    untouched.extend(arrays)
    bad = steps(4, seed=9)
    bad["k"][2, 0, 1] = math.nan
    with pytest.raises(StateError, match="head 0, position 5 is not finite"):
        state.extend(bad)
    assert len(state) == 3
    np.testing.assert_array_equal(state.extend(steps(2, seed=5))[0], untouched.extend(steps(2, seed=5))[0])


def test_values_and_queries_need_not_be_finite():
    state = ReferenceState(memory_graph(FIRST), {"H": 1})
    (out,) = state.step({"q": np.ones((1, 2)), "k": np.ones((1, 2)), "v": np.array([[math.inf]])})
    assert out.tolist() == [[math.inf]]
    (out,) = state.step({"q": np.full((1, 2), math.nan), "k": np.ones((1, 2)), "v": np.ones((1, 1))})
    np.testing.assert_array_equal(out, [[math.nan]])


def test_two_appends_in_one_step_are_two_positions():
    k, q = tensor("k", "f64", 1), tensor("q", "f64", 1)
    row = TensorType(DType.F64, (1,))
    cache = with_results(Cache(heads=(), key=row, value=row), "c")
    one = with_results(Append(cache=cache.results[0], key=k, value=k), "c1")
    double = with_results(Add(left=k, right=k), "kk")
    two = with_results(Append(cache=one.results[0], key=double.results[0], value=double.results[0]), "c2")
    read = with_results(AttendStep(query=q, cache=two.results[0], normalizer=Mean()), "o")
    graph = graph_of([q, k], [cache, one, double, two, read], read.results)
    state = ReferenceState(graph)
    assert state.step({"q": [0.0], "k": [1.0]})[0].tolist() == [1.5]
    assert state.step({"q": [0.0], "k": [3.0]})[0].tolist() == [3.0]
    state.truncate(1)
    assert state.step({"q": [0.0], "k": [5.0]})[0].tolist() == [(1 + 2 + 5 + 10) / 4]
    # A key that only the second append refuses leaves the first one undone too.
    with pytest.raises(StateError, match="position 5 is not finite"):
        state.step({"q": [0.0], "k": [1.5e308]})
    assert state.step({"q": [0.0], "k": [0.0]})[0].tolist() == [3.0]


def test_a_state_fixes_the_sizes_of_its_heads():
    graph = memory_graph(MEAN)
    with pytest.raises(ArgumentError, match="graph @g: a state needs the size of H"):
        ReferenceState(graph)
    with pytest.raises(ArgumentError, match="dimension H is -1"):
        ReferenceState(graph, {"H": -1})
    state = ReferenceState(graph, {"H": 2})
    with pytest.raises(
        ArgumentError, match=r"argument q has shape .*H is 3 here but 2 fixed before this call"
    ):
        state.step(at(steps(1, heads=3), 0))
    with pytest.raises(ArgumentError, match="dimension Z"):
        state.step(at(steps(1, heads=2), 0), dims={"Z": 1})


def test_only_stateful_graphs_have_a_state():
    with pytest.raises(ArgumentError, match="it has no cache, so it has no state"):
        ReferenceState(attend_graph())


def test_a_cache_of_no_heads_grows_all_the_same():
    state = ReferenceState(memory_graph(MEAN), {"H": 0})
    (out,) = state.extend({"q": np.ones((3, 0, 2)), "k": np.ones((3, 0, 2)), "v": np.ones((3, 0, 1))})
    assert (out.shape, len(state)) == ((3, 0, 1), 3)


def test_one_row_of_a_step_for_another_engine():
    graph = memory_graph(MEAN, heads=(Symbol("H"),))
    op = graph.ops[-1]
    keys = np.array([[[1.0, 0.0], [0.0, 0.0], [1.0, 5.0]]])
    rows = np.array([[[3.0], [4.0], [6.0]]])
    query = {"q": np.array([[2.0, 0.0]])}
    assert attend_node_row(op, query, 0, 0, 0, keys=keys, rows=rows).output.tolist() == [4.5]
    assert exact_winners(op, query, 0, 0, 0, keys=keys, rows=rows) == (0, 2)
