"""The reference against semantics: each step of the node, each normaliser, each edge, on cases worked out by hand."""

import math

import numpy as np
import pytest

from attnc_ir.attributes.bias import Alibi, ExprBias, Relative, TensorBias
from attnc_ir.attributes.empty import EmptyDefault, EmptyError
from attnc_ir.attributes.mask import (
    Causal,
    Corner,
    Not,
    Nothing,
    Predicate,
    Prefix,
    TensorMask,
)
from attnc_ir.attributes.normalizer import Cut, Hardmax, Mean, Softmax, Tie, TopK
from attnc_ir.errors import ArgumentError, EmptyRowError
from attnc_ir.expr import (
    Binary,
    BinaryOp,
    FloatLiteral,
    Index,
    IntLiteral,
    Variable,
    Where,
)
from attnc_ir.ops import Attend
from attnc_ir.reference import attend_node_row, exact_winners, run
from attnc_ir.types import UNKNOWN
from reference_graphs import DV, H, M, N, attend, attend_graph, graph_of, tensor, with_results

INF, NAN = math.inf, math.nan
ROW, J = Index(Variable.QUERY), Index(Variable.KEY)
FIRST, LAST, MEAN = Hardmax(Tie.FIRST), Hardmax(Tie.LAST), Hardmax(Tie.MEAN)
EXACT = [FIRST, LAST, MEAN]
NORMALIZERS = [Softmax(), FIRST, LAST, MEAN, TopK(2, Cut.FIRST), Mean()]

ONE = [[1.0]]


def scores(row, values, normalizer, **attributes):
    """The output row, as a list, for keys whose scores are `row`: width 1, query 1."""
    return attend(ONE, np.reshape(row, (-1, 1)), values, normalizer=normalizer, **attributes)[0].tolist()


def rng():
    return np.random.default_rng(7)


# --- the node, step by step -------------------------------------------------------------------------------------------


def test_softmax_agrees_with_the_plain_formula():
    r = rng()
    q, k, v = r.normal(size=(2, 4, 5, 3)), r.normal(size=(2, 2, 6, 3)), r.normal(size=(2, 2, 6, 2))
    bias, mask = r.normal(size=(4, 5, 6)), r.random((5, 6)) < 0.7
    mask[:, 0] = True
    extra = [tensor("bias", "f64", H, N, M), tensor("mask", "bool", N, M)]
    out, lse = attend(
        q, k, v, extra, {"bias": bias, "mask": mask}, lse=True, scale=0.7, softcap=1.5,
        bias=(TensorBias(extra[0]),), mask=TensorMask(extra[1]),
    )  # fmt: skip
    kk, vv = np.repeat(k, 2, axis=1), np.repeat(v, 2, axis=1)
    s = 1.5 * np.tanh(0.7 * (q @ kk.swapaxes(-1, -2)) / 1.5) + bias
    e = np.where(mask, np.exp(s), 0.0)
    np.testing.assert_allclose(out, (e / e.sum(-1, keepdims=True)) @ vv, rtol=1e-13)
    np.testing.assert_allclose(lse, np.log(e.sum(-1)), rtol=1e-13, atol=1e-13)


def test_the_cap_comes_before_the_bias():
    # Capped after the bias, both scores would be close to 1, and the weights equal.
    weights = scores(
        [0.0, 0.0],
        np.eye(2),
        Softmax(),
        softcap=1.0,
        bias=(ExprBias(Binary(BinaryOp.MUL, J, IntLiteral(50))),),
    )
    assert weights == pytest.approx([math.exp(-50), 1.0], rel=1e-12)


def test_a_cap_leaks_nothing_into_masked_keys():
    assert scores([9.0, 1.0], [[5.0], [7.0]], Softmax(), softcap=1.0, mask=Not(Prefix(1))) == [7.0]


@pytest.mark.parametrize("rank", [2, 3, 4])
def test_every_rank_gives_rows_under_its_leading_dimensions(rank):
    lead = (2, 4)[4 - rank :]
    kv = (2, 2)[4 - rank :]
    r = rng()
    q, k, v = r.normal(size=(*lead, 3, 2)), r.normal(size=(*kv, 5, 2)), r.normal(size=(*kv, 5, 6))
    out, lse = attend(q, k, v, lse=True)
    assert out.shape == (*lead, 3, 6)
    assert lse.shape == (*lead, 3)


def test_query_heads_share_key_heads_in_runs():
    # Four query heads over two key heads: 0 and 1 read the first, 2 and 3 the second.
    out = attend(np.ones((4, 1, 1)), np.ones((2, 1, 1)), np.array([[[10.0]], [[20.0]]]))
    assert out.ravel().tolist() == [10, 10, 20, 20]


@pytest.mark.parametrize("normalizer", EXACT)
def test_a_negative_scale_reverses_the_order(normalizer):
    assert scores([3.0, 1.0, 2.0], [[0.0], [1.0], [2.0]], normalizer, scale=-1.0) == [1.0]


def test_biases_add_up():
    slopes, table, plane = (
        tensor("slopes", "f64", H),
        tensor("table", "f64", 1, 3),
        tensor("plane", "f64", 1, M),
    )
    arrays = {
        "slopes": np.array([2.0, 10.0]),
        "table": np.array([[100.0, 200.0, 300.0]]),
        "plane": np.array([[1000.0, 2000.0, 4000.0]]),
    }
    bias = (
        Alibi(slopes),
        Relative(table),
        TensorBias(plane),
        ExprBias(Binary(BinaryOp.MUL, J, FloatLiteral(0.5))),
    )
    zeros = np.zeros((2, 2, 1)), np.zeros((2, 3, 1)), np.zeros((2, 3, 1))
    # One key at a time: its score is then the log-sum-exp.
    for j in range(3):
        only = Predicate(Binary(BinaryOp.EQ, J, IntLiteral(j)))
        _, lse = attend(*zeros, [slopes, table, plane], arrays, lse=True, bias=bias, mask=only)
        for h, slope in enumerate((2.0, 10.0)):
            for i in range(2):
                relative = {-1: 100.0, 0: 200.0, 1: 300.0}[max(-1, min(1, j - i))]
                assert lse[h, i] == slope * (j - i) + relative + [1000.0, 2000.0, 4000.0][j] + 0.5 * j


def test_one_slope_or_table_row_serves_all_heads():
    slopes, table = tensor("slopes", "f32", 1), tensor("table", "f32", H, 1)
    _, lse = attend(
        np.zeros((2, 2, 1)), np.zeros((2, 1, 1)), np.zeros((2, 1, 1)), [slopes, table],
        {"slopes": np.float32([3]), "table": np.float32([[10], [20]])}, lse=True, bias=(Alibi(slopes), Relative(table)),
    )  # fmt: skip
    assert lse.tolist() == [[10, 7], [20, 17]]


# --- normalisers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("normalizer", "expected"), [(FIRST, 1.0), (LAST, 8.0), (MEAN, (1 + 2 + 8) / 3)])
def test_hardmax_breaks_ties_by_rule(normalizer, expected):
    assert scores([0.0, 5.0, 5.0, 4.0, 5.0], [[9.0], [1.0], [2.0], [9.0], [8.0]], normalizer) == [expected]


def test_first_and_last_copy_the_value_row_bit_for_bit():
    odd = np.array([0x7FF8000000ABCDEF, 0x8000000000000000, 1], np.uint64)
    values = np.stack([odd, odd + np.uint64(1)]).view(np.float64)
    for normalizer, row in ((FIRST, 0), (LAST, 1)):
        out = attend(ONE, [[1.0], [1.0]], values, normalizer=normalizer)
        assert out.view(np.uint64).tolist() == [values.view(np.uint64)[row].tolist()]


def test_the_mean_of_ties_is_the_exact_sum_rounded_once():
    # In doubles, 1e16 + 1 - 1e16 is 0 from the left and 1 in exact arithmetic.
    assert scores([0.0] * 3, [[1e16], [1.0], [-1e16]], MEAN) == [1.0 / 3.0]
    assert scores([0.0] * 2, [[1e308], [1e308]], MEAN) == [INF]
    out = attend(ONE, [[0.0], [0.0]], [[-0.0], [-0.0]], normalizer=MEAN)
    assert math.copysign(1, out[0, 0]) == 1


def test_the_mean_of_ties_is_then_rounded_to_the_value_type():
    third = attend(
        np.float32([[1]]), np.float32([[0], [0], [0]]), np.float32([[1], [0], [0]]), normalizer=MEAN
    )
    assert third.dtype == np.float32
    assert third[0, 0] == np.float32(1 / 3)


@pytest.mark.parametrize(
    ("values", "expected"), [([INF, 1.0], INF), ([-INF, 1.0], -INF), ([INF, -INF], NAN), ([NAN, 1.0], NAN)]
)
@pytest.mark.parametrize("normalizer", [MEAN, Mean()])
def test_the_mean_of_values_that_are_not_finite(values, expected, normalizer):
    np.testing.assert_equal(scores([0.0, 0.0], np.reshape(values, (2, 1)), normalizer), [expected])


def test_mean_uses_no_scores():
    assert scores([100.0, -INF, 3.0], [[1.0], [2.0], [6.0]], Mean()) == [3.0]


@pytest.mark.parametrize(("tie", "chosen"), [(Cut.FIRST, [0, 1]), (Cut.LAST, [0, 3])])
def test_topk_takes_equal_scores_at_the_cut_in_order(tie, chosen):
    out = scores([4.0, 3.0, 1.0, 3.0], np.eye(4), TopK(2, tie))
    big, small = math.exp(1) / (1 + math.exp(1)), 1 / (1 + math.exp(1))
    assert out == pytest.approx([{chosen[0]: big, chosen[1]: small}.get(j, 0.0) for j in range(4)], rel=1e-15)


def test_topk_of_more_than_there_are_is_softmax():
    row, values = [0.3, -1.0, 2.0], rng().normal(size=(3, 2))
    assert scores(row, values, TopK(9, Cut.LAST)) == scores(row, values, Softmax())


def test_topk_and_hardmax_select_where_doubles_cannot_tell():
    # 2**53 + 1 against 2**53, as dot products: the sums differ in exact arithmetic only.
    q, k = [[1.0, 1.0]], [[2.0**53, 0.0], [2.0**53, 1.0], [2.0**53, 0.5]]
    assert attend(q, k, np.eye(3), normalizer=TopK(1, Cut.FIRST)).tolist() == [[0, 1, 0]]
    assert attend(q, k, np.eye(3), normalizer=MEAN).tolist() == [[0, 1, 0]]


def test_sinks_join_the_denominator_once_and_carry_no_value():
    sinks = tensor("sinks", "f64", 1)
    out, lse = attend(
        ONE, [[0.0], [0.0]], [[8.0], [8.0]], [sinks], {"sinks": [math.log(2)]}, lse=True, sinks=sinks
    )
    assert out[0, 0] == pytest.approx(4.0, rel=1e-15)
    assert lse[0] == pytest.approx(math.log(4), rel=1e-15)


@pytest.mark.parametrize(("sink", "expected"), [(-INF, 8.0), (1e300, 0.0), (INF, NAN), (NAN, NAN)])
def test_extreme_sinks(sink, expected):
    sinks = tensor("sinks", "f64", 1)
    np.testing.assert_equal(
        attend(ONE, [[0.0]], [[8.0]], [sinks], {"sinks": [sink]}, sinks=sinks), [[expected]]
    )


def test_log_sum_exp_is_over_all_allowed_scores_for_every_normaliser():
    row = np.array([[1.0], [3.0], [3.0], [500.0]])
    for normalizer in NORMALIZERS:
        _, lse = attend(ONE, row, np.zeros((4, 1)), normalizer=normalizer, lse=True, mask=Prefix(3))
        assert lse[0] == pytest.approx(math.log(math.exp(1) + 2 * math.exp(3)), rel=1e-15)


# --- edges ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_an_empty_row_is_zero(normalizer):
    out, lse = attend(ONE, ONE, [[5.0, NAN]], normalizer=normalizer, mask=Nothing(), lse=True)
    assert out.tolist() == [[0, 0]]
    assert lse.tolist() == [-INF]


def test_an_empty_row_is_zero_beside_a_sink():
    sinks = tensor("sinks", "f64", 1)
    out, lse = attend(ONE, ONE, [[5.0]], [sinks], {"sinks": [1.0]}, sinks=sinks, mask=Nothing(), lse=True)
    assert (out.tolist(), lse.tolist()) == ([[0]], [-INF])


@pytest.mark.parametrize("shape", [(DV,), (H, DV)])
def test_an_empty_row_takes_the_default(shape):
    row = tensor("row", "f64", *shape)
    rows = np.array([[1.0, -0.0], [3.0, NAN]])
    content = rows if len(shape) == 2 else rows[1]
    out = attend(
        np.zeros((2, 2, 1)), np.zeros((2, 2, 1)), np.ones((2, 2, 2)), [row], {"row": content},
        mask=Causal(-1), empty=EmptyDefault(row),
    )  # fmt: skip
    for h in range(2):
        np.testing.assert_equal(out[h, 0], content[h] if content.ndim == 2 else content)
        assert out[h, 1].tolist() == [1, 1]


def test_an_empty_row_can_be_an_error():
    early = Binary(BinaryOp.LT, Binary(BinaryOp.ADD, ROW, Index(Variable.HEAD)), IntLiteral(3))
    with pytest.raises(EmptyRowError, match="graph @g: %o: batch 0, head 1, row 2 may see no key"):
        attend(
            np.zeros((2, 3, 1)),
            np.zeros((2, 1, 1)),
            np.zeros((2, 1, 1)),
            mask=Predicate(early),
            empty=EmptyError(),
        )


@pytest.mark.parametrize("normalizer", NORMALIZERS)
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_is_masked_never_touches_the_output(normalizer, bad):
    values = [[1.0], [bad], [1.0]]
    middle = tensor("middle", "bool", M)
    out, lse = attend(
        ONE, [[2.0], [bad], [2.0]], values, [middle], {"middle": np.array([True, False, True])},
        normalizer=normalizer, mask=TensorMask(middle), lse=True,
    )  # fmt: skip
    assert out.tolist() == [[1.0]]
    assert lse[0] == pytest.approx(2 + math.log(2))


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_a_bias_of_minus_infinity_is_a_mask(normalizer):
    bias = tensor("bias", "f64", M)
    where = ExprBias(Where(Binary(BinaryOp.EQ, J, IntLiteral(2)), FloatLiteral(-INF), FloatLiteral(0.0)))
    plus = tensor("plus", "f64", M)
    arrays = {"bias": np.array([-INF, 0.0, 0.0]), "plus": np.array([INF, 0.0, NAN])}
    # Any one term is enough, whatever the others are at that place.
    out, lse = attend(
        ONE, [[NAN], [1.0], [NAN]], [[NAN], [4.0], [NAN]], [bias, plus], arrays, normalizer=normalizer,
        bias=(TensorBias(bias), TensorBias(plus), where), lse=True,
    )  # fmt: skip
    assert (out.tolist(), lse.tolist()) == ([[4.0]], [1.0])
    arrays["bias"][:] = -INF
    with pytest.raises(EmptyRowError):
        attend(ONE, [[1.0]] * 3, [[1.0]] * 3, [bias, plus], arrays, normalizer=normalizer,
               bias=(TensorBias(bias), TensorBias(plus), where), empty=EmptyError())  # fmt: skip


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_a_nan_score_makes_the_row_nan(normalizer):
    values = [[1.0, 2.0], [3.0, 4.0]]
    out, lse = attend([[1.0], [0.0]], [[INF], [5.0]], values, normalizer=normalizer, lse=True)
    # Row 0 scores inf and 5, row 1 scores 0 * inf and 0.
    np.testing.assert_equal(out[1], [NAN, NAN])
    np.testing.assert_equal(lse, [INF, NAN])


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_infinite_scores_tie_among_themselves_under_hardmax(softcap):
    row = [INF, 1.0, INF, -INF]
    assert [scores(row, np.eye(4), n, softcap=softcap) for n in EXACT] == [
        [1, 0, 0, 0],
        [0, 0, 1, 0],
        [0.5, 0, 0.5, 0],
    ]
    assert scores([-INF, -INF], np.eye(2), MEAN, softcap=softcap) == [0.5, 0.5]


def test_infinite_scores_make_a_softmax_row_nan():
    np.testing.assert_equal(scores([INF, 1.0], [[1.0], [1.0]], Softmax()), [NAN])
    np.testing.assert_equal(scores([INF, 1.0], [[1.0], [1.0]], TopK(1, Cut.FIRST)), [NAN])
    np.testing.assert_equal(scores([-INF, -INF], [[1.0], [1.0]], Softmax()), [NAN])
    assert scores([-INF, 1.0], [[1.0], [4.0]], Softmax()) == [4.0]


@pytest.mark.parametrize(
    ("queries", "keys", "batch", "heads"),
    [(0, 3, 1, 1), (2, 0, 1, 1), (2, 3, 0, 1), (2, 3, 1, 0), (0, 0, 0, 0)],
)
def test_zero_sizes_give_empty_outputs_or_empty_rows(queries, keys, batch, heads):
    for normalizer in NORMALIZERS:
        shapes = (batch, heads, queries, 2), (batch, heads, keys, 2), (batch, heads, keys, 3)
        out, lse = attend(*map(np.ones, shapes), normalizer=normalizer, lse=True)
        assert out.shape == (batch, heads, queries, 3)
        assert lse.shape == (batch, heads, queries)
        assert (lse == -INF).all() or keys
    assert attend(np.ones((2, 0)), np.ones((3, 0)), np.ones((3, 0))).shape == (2, 0)


# --- storage types ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "lse_dtype"), [(np.float64, np.float64), (np.float32, np.float32), (np.float16, np.float32)]
)
def test_results_have_their_declared_types(dtype, lse_dtype):
    out, lse = attend(*(np.ones((2, 2), dtype) for _ in range(3)), lse=True)
    assert (out.dtype, lse.dtype) == (dtype, lse_dtype)


def test_bf16_travels_as_bits():
    one, three = 0x3F80, 0x4040
    graph = attend_graph(dtype="bf16", normalizer=MEAN)
    (out,) = run(graph, {"q": np.full((1, 1), one, np.uint16), "k": np.full((2, 1), one, np.uint16),
                         "v": np.array([[one], [three]], np.uint16)})  # fmt: skip
    assert out.dtype == np.uint16
    assert out.tolist() == [[0x4000]]


def test_softmax_of_f32_is_computed_in_doubles_and_rounded_once():
    r = rng()
    q, k, v = (r.normal(size=(4, 3)).astype(np.float32) for _ in range(3))
    wide = attend(*(x.astype(np.float64) for x in (q, k, v)))
    assert np.array_equal(attend(q, k, v), wide.astype(np.float32))


# --- one row for another engine ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_single_rows_are_the_rows_of_the_whole(normalizer):
    r = rng()
    arrays = {"q": r.integers(-2, 3, (2, 4, 3, 2)).astype(float), "k": r.integers(-2, 3, (2, 2, 5, 2)).astype(float),
              "v": r.normal(size=(2, 2, 5, 2))}  # fmt: skip
    graph = attend_graph(rank=4, normalizer=normalizer, mask=Causal(Corner.TOP_LEFT), lse=True)
    out, lse = run(graph, arrays)
    for b, h, i in np.ndindex(2, 4, 3):
        row = attend_node_row(graph.ops[0], arrays, b, h, i)
        assert row.output.tolist() == out[b, h, i].tolist()
        assert row.lse == lse[b, h, i]


def test_winners():
    arrays = {"q": np.ones((1, 1)), "k": np.array([[2.0], [3.0], [3.0], [9.0]]), "v": np.zeros((4, 1))}

    def winners(normalizer, **attributes):
        return exact_winners(attend_graph(normalizer=normalizer, **attributes).ops[0], arrays, 0, 0, 0)

    assert winners(FIRST, mask=Prefix(3)) == winners(MEAN, mask=Prefix(3)) == (1, 2)
    assert winners(TopK(2, Cut.LAST)) == (2, 3)
    assert winners(MEAN, mask=Nothing()) == ()
    arrays["k"][0] = NAN
    assert winners(MEAN) == ()


def test_operands_of_open_size_are_checked_when_they_run():
    q, k, v = (tensor(name, "f64", UNKNOWN, UNKNOWN, UNKNOWN) for name in "qkv")
    op = with_results(Attend(query=q, key=k, value=v, normalizer=Mean()), "o")
    graph = graph_of([q, k, v], [op], op.results)
    (out,) = run(graph, {"q": np.zeros((2, 1, 1)), "k": np.zeros((1, 2, 1)), "v": np.ones((1, 2, 1))})
    assert out.shape == (2, 1, 1)
    with pytest.raises(ArgumentError, match="do not fit"):
        run(graph, {"q": np.zeros((2, 1, 1)), "k": np.zeros((1, 2, 1)), "v": np.ones((1, 3, 1))})
    with pytest.raises(ArgumentError, match="3 query heads, 2 key heads"):
        run(graph, {"q": np.zeros((3, 1, 1)), "k": np.zeros((2, 2, 1)), "v": np.ones((2, 2, 1))})
