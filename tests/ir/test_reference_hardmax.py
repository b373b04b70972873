"""Hard-max is exact: known counterexamples of inexact engines, near ties, and what must not change the answer."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnc_ir.attributes.bias import Alibi, ExprBias, TensorBias
from attnc_ir.attributes.mask import Causal, Corner
from attnc_ir.attributes.normalizer import Cut, Hardmax, Softmax, Tie, TopK
from attnc_ir.expr import Binary, BinaryOp, FloatLiteral, Index, Variable
from attnc_ir.reference import exact_winners
from attnc_ir.reference.attention import log_sum_exp
from reference_graphs import H, M, N, attend, attend_graph, tensor

FIRST, LAST, MEAN = Hardmax(Tie.FIRST), Hardmax(Tie.LAST), Hardmax(Tie.MEAN)
TIES = {"first": FIRST, "last": LAST, "mean": MEAN}


def answers(keys, values, query):
    """The first column of the answer under each tie rule."""
    v = [[float(x)] for x in values]
    return {name: attend([query], keys, v, normalizer=normalizer)[0, 0] for name, normalizer in TIES.items()}


# --- the counterexamples ----------------------------------------------------------------------------------------------


def test_counterexample_1_a_key_inside_a_hull_edge_ties():
    found = answers([(0, 0), (2, 0), (1, 0)], [0, 30, 3], (0, 1))
    assert found == {"first": 0.0, "last": 3.0, "mean": 11.0}


def test_counterexample_2_a_query_perpendicular_to_an_edge():
    found = answers([(4, 0), (1, -3), (-1, -5)], [1, 2, 6], (3, -3))
    assert found == {"first": 1.0, "last": 6.0, "mean": 3.0}


def test_counterexample_3_a_score_of_one_that_doubles_lose():
    keys = [(0, 0), (1169713601280381, -1881826492714166)]
    query = (6554730440190525, 4074316829049964)
    assert float(query[0]) * keys[1][0] + float(query[1]) * keys[1][1] == 0.0
    assert answers(keys, [5, 7], query) == {"first": 7.0, "last": 7.0, "mean": 7.0}


def test_counterexample_4_apart_by_less_than_a_rounding_error():
    keys = [(0.8660254037844387, 0.49999999999999994), (1, 0)]
    query = (1.8660254037844388, 0.49999999999999994)
    assert float(np.dot(query, keys[0])) == float(np.dot(query, keys[1]))
    assert answers(keys, [5, 7], query) == {"first": 5.0, "last": 5.0, "mean": 5.0}


def test_counterexample_5_large_equal_parts_hide_the_difference():
    keys, query = [(84, -1e30), (62, -1e30)], (20, 1)
    assert float(np.dot(query, keys[0])) == float(np.dot(query, keys[1]))
    assert answers(keys, [5, 7], query) == {"first": 5.0, "last": 5.0, "mean": 5.0}


def test_three_keys_on_a_line_all_tie():
    found = answers([(-1, 0), (0, 0), (1, 0)], [1, 2, 6], (0, 1))
    assert found == {"first": 1.0, "last": 6.0, "mean": 3.0}


# --- near ties --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bit", [1, 30, 52, 53, 200, 1000])
def test_scores_that_differ_in_one_bit_do_not_tie(bit):
    keys, query = [(1.0, 0.0), (1.0, 2.0**-bit)], (1.0, 1.0)
    assert answers(keys, [5, 7], query) == {"first": 7.0, "last": 7.0, "mean": 7.0}


def test_products_beyond_the_range_of_doubles_still_compare():
    assert answers([(1e300,), (2e300,)], [5, 7], (1e300,))["first"] == 7.0
    assert answers([(1e-300,), (2e-300,)], [5, 7], (1e-300,))["first"] == 7.0
    assert answers([(1e300, -1e300), (0, 0)], [5, 7], (1e300, 1e300)) == {
        "first": 5.0,
        "last": 7.0,
        "mean": 6.0,
    }


def test_the_scale_and_the_bias_are_exact_too():
    # In doubles 0.1 * 3 is 0.30000000000000004, a tie; exactly it is 0.3000000000000000166, and the bias wins.
    table = tensor("table", "f64", M)
    keys, values = [[3.0], [0.0]], [[5.0], [7.0]]
    bias = (TensorBias(table),)
    assert 0.1 * 3 == 0.30000000000000004
    out = attend(
        [[1.0]],
        keys,
        values,
        [table],
        {"table": np.array([0.0, 0.30000000000000004])},
        normalizer=MEAN,
        scale=0.1,
        bias=bias,
    )
    assert out.tolist() == [[7.0]]
    tiny = ExprBias(Binary(BinaryOp.MUL, Index(Variable.KEY), FloatLiteral(2.0**-1000)))
    assert attend([[1.0]], [[1.0], [1.0]], values, normalizer=MEAN, bias=(tiny,)).tolist() == [[7.0]]


def test_a_cap_and_a_bias_together_compare_exactly():
    # Capped at 1, scores 40 and 50 are the same double; the smaller one wins by a bias far below that double's last bit,
    # and loses by a bias below the difference, which is about 2 e^-80 = 3.6e-35.
    table = tensor("table", "f64", M)

    def winner(edge):
        arrays = {"table": np.array([edge, 0.0])}
        return attend(
            [[1.0]],
            [[40.0], [50.0]],
            [[5.0], [7.0]],
            [table],
            arrays,
            normalizer=MEAN,
            softcap=1.0,
            bias=(TensorBias(table),),
        )

    assert winner(3.7e-35).tolist() == [[5.0]]
    assert winner(3.5e-35).tolist() == [[7.0]]
    assert winner(0.0).tolist() == [[7.0]]


def test_a_slope_of_alibi_decides_among_equal_keys():
    slopes = tensor("slopes", "f64", H)
    out = attend(
        np.zeros((2, 3, 1)), np.zeros((1, 3, 1)), np.arange(3.0).reshape(1, 3, 1), [slopes], {"slopes": np.array([1e-300, -1e-300])},
        normalizer=MEAN, bias=(Alibi(slopes),),
    )  # fmt: skip
    assert out[..., 0].tolist() == [[2, 2, 2], [0, 0, 0]]


# --- properties -------------------------------------------------------------------------------------------------------

small = st.integers(-3, 3).map(float)
width = 2


@st.composite
def problems(draw, least=1):
    """Queries, keys and values of small integers, where ties are common."""
    n = draw(st.integers(least, 7))
    rows = st.lists(st.tuples(small, small), min_size=n, max_size=n)
    return np.array([draw(st.tuples(small, small))]), np.array(draw(rows)), np.array(draw(rows))


def winners(q, k, normalizer=MEAN, **attributes):
    arrays = {"q": q, "k": k, "v": np.zeros((len(k), 1))}
    return exact_winners(attend_graph(normalizer=normalizer, **attributes).ops[0], arrays, 0, 0, 0)


@given(problems())
def test_winners_are_those_of_integer_arithmetic(problem):
    q, k, v = problem
    s = k @ q[0]
    best = np.flatnonzero(s == s.max())
    assert winners(q, k) == tuple(best)
    assert attend(q, k, v, normalizer=FIRST).tolist() == [v[best[0]].tolist()]
    assert attend(q, k, v, normalizer=LAST).tolist() == [v[best[-1]].tolist()]
    assert attend(q, k, v, normalizer=MEAN).tolist() == [(v[best].sum(axis=0) / len(best)).tolist()]


@given(problems(), st.integers(1, 8), st.sampled_from(list(Cut)))
def test_topk_takes_a_stable_sort(problem, k_, tie):
    q, k, _ = problem
    s = k @ q[0]
    place = np.arange(len(s)) if tie is Cut.FIRST else -np.arange(len(s))
    assert winners(q, k, TopK(k_, tie)) == tuple(sorted(np.lexsort((place, -s))[:k_]))


@given(problems(), st.randoms(use_true_random=False))
def test_the_mean_of_ties_does_not_depend_on_the_order_of_keys(problem, random):
    q, k, v = problem
    order = list(range(len(k)))
    random.shuffle(order)
    scaled = v * np.array([1e-30, 1e20])
    whole = attend(q, k, scaled, normalizer=MEAN)
    assert attend(q, k[order], scaled[order], normalizer=MEAN).tobytes() == whole.tobytes()


@given(problems(), st.sampled_from([0.1, 3.0, 1e-200]), st.sampled_from([0.3, 50.0]))
def test_a_positive_scale_and_a_cap_change_no_winner(problem, scale, cap):
    q, k, _ = problem
    plain = winners(q, k)
    assert (
        winners(q, k, scale=scale)
        == winners(q, k, softcap=cap)
        == winners(q, k, scale=scale, softcap=cap)
        == plain
    )
    assert winners(q, k, scale=-scale) == winners(-q, k)


@given(problems(least=2))
def test_a_prefix_of_keys_is_what_a_causal_row_sees(problem):
    _, k, v = problem
    for normalizer in TIES.values():
        out = attend(k, k, v, normalizer=normalizer, mask=Causal(Corner.TOP_LEFT))
        for i in range(len(k)):
            assert (
                out[i].tolist()
                == attend(k[i : i + 1], k[: i + 1], v[: i + 1], normalizer=normalizer)[0].tolist()
            )


@given(problems(least=2), st.integers(1, 6))
def test_softmax_over_split_keys_merges_by_log_sum_exp(problem, cut):
    q, k, v = problem
    cut = min(cut, len(k) - 1)
    whole, lse = attend(q, k, v, normalizer=Softmax(), lse=True)
    parts = [attend(q, k[s], v[s], normalizer=Softmax(), lse=True) for s in (slice(cut), slice(cut, None))]
    merged = log_sum_exp([part[1][0] for part in parts])
    np.testing.assert_allclose(merged, lse[0], rtol=1e-13, atol=1e-13)
    mixed = sum(math.exp(part[1][0] - merged) * part[0] for part in parts)
    np.testing.assert_allclose(mixed, whole, rtol=1e-12, atol=1e-12)


@given(problems(), st.integers(0, 6))
def test_one_key_removed_by_mask_or_by_bias_is_as_if_it_were_not_there(problem, gone):
    q, k, v = problem
    gone %= len(k)
    bias = tensor("bias", "f64", N, M)
    row = np.zeros((1, len(k)))
    row[0, gone] = -math.inf
    for normalizer in (*TIES.values(), Softmax(), TopK(2, Cut.LAST)):
        without = attend(q, np.delete(k, gone, axis=0), np.delete(v, gone, axis=0), normalizer=normalizer)
        k[gone], v[gone] = math.nan, math.inf
        out = attend(q, k, v, [bias], {"bias": row}, normalizer=normalizer, bias=(TensorBias(bias),))
        np.testing.assert_array_equal(out, without)
