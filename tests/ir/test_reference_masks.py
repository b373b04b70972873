"""Masks in the reference: which keys each row sees, written out."""

import math

import numpy as np
import pytest

from attnc_ir.attributes.mask import (
    Causal,
    Corner,
    Documents,
    Everything,
    Lengths,
    Nothing,
    Predicate,
    Prefix,
    TensorMask,
    Window,
)
from attnc_ir.attributes.normalizer import Cut, Hardmax, Mean, Softmax, Tie, TopK
from attnc_ir.errors import ArgumentError
from attnc_ir.expr import (
    Binary,
    BinaryOp,
    FloatLiteral,
    Index,
    IntLiteral,
    Lookup,
    Unary,
    UnaryOp,
    Variable,
)
from attnc_ir.ops import Attend
from attnc_ir.reference import run
from reference_graphs import B, H, M, N, attend, graph_of, tensor, with_results

INF = math.inf
ROW, J = Index(Variable.QUERY), Index(Variable.KEY)
NORMALIZERS = [Softmax(), *(Hardmax(tie) for tie in Tie), TopK(2, Cut.FIRST), Mean()]
TOP_LEFT, BOTTOM_RIGHT = Corner.TOP_LEFT, Corner.BOTTOM_RIGHT
ONE = [[1.0]]


def seen(mask, queries, keys, extra=(), arrays=None, **attributes):
    """Which keys each query may see, as strings of 0 and 1: the mean over one-hot values shows it."""
    k = np.zeros((keys, 1))
    out = attend(
        np.zeros((queries, 1)), k, np.eye(keys), extra, arrays, normalizer=Mean(), mask=mask, **attributes
    )
    return ["".join("1" if w else "0" for w in row) for row in out]


@pytest.mark.parametrize(
    ("mask", "rows"),
    [
        (Everything(), ["1111", "1111", "1111"]),
        (Nothing(), ["0000", "0000", "0000"]),
        (Causal(TOP_LEFT), ["1000", "1100", "1110"]),
        (Causal(BOTTOM_RIGHT), ["1100", "1110", "1111"]),
        (Causal(2), ["1110", "1111", "1111"]),
        (Causal(-1), ["0000", "1000", "1100"]),
        (Window(1, 0, TOP_LEFT), ["1000", "1100", "0110"]),
        (Window(0, 1, BOTTOM_RIGHT), ["0110", "0011", "0001"]),
        (Window(0, 0, -1), ["0000", "1000", "0100"]),
        (Causal(BOTTOM_RIGHT) & Window(1, 5), ["1100", "0110", "0011"]),
        (Prefix(2), ["1100", "1100", "1100"]),
        (Prefix(9), ["1111", "1111", "1111"]),
        (Prefix(1) | Causal(TOP_LEFT) & ~Prefix(2), ["1000", "1000", "1010"]),
        (
            Predicate(Binary(BinaryOp.EQ, Binary(BinaryOp.MOD, J, IntLiteral(2)), IntLiteral(1))),
            ["0101", "0101", "0101"],
        ),
    ],
)
def test_masks(mask, rows):
    assert seen(mask, 3, 4) == rows


def test_causal_needs_no_alignment_where_lengths_are_one_dimension():
    k = np.eye(3)
    q = tensor("q", "f64", N, N)
    op = with_results(Attend(query=q, key=q, value=q, normalizer=Mean(), mask=Causal() & Window(0, 0)), "o")
    (out,) = run(graph_of([q], [op], op.results), {"q": k})
    assert out.tolist() == k.tolist()


def test_prefix_counts_may_come_from_a_tensor():
    count, per_batch = tensor("count", "i32"), tensor("counts", "i64", B)
    assert seen(Prefix(count), 1, 3, [count], {"count": np.int32(2)}) == ["110"]
    out = attend(
        np.zeros((2, 1, 1, 1)), np.zeros((2, 1, 3, 1)), np.ones((2, 1, 3, 1)), [per_batch], {"counts": np.array([0, 3])},
        mask=Prefix(per_batch), lse=True,
    )[1]  # fmt: skip
    np.testing.assert_allclose(out.ravel(), [-INF, math.log(3)])


def test_documents():
    ids, key_ids = tensor("ids", "i32", N), tensor("key_ids", "i64", M)
    arrays = {"ids": np.int32([-7, 2]), "key_ids": np.array([2, -7, 2, 5])}
    assert seen(Documents(ids, key_ids), 2, 4, [ids, key_ids], arrays) == ["0100", "1010"]
    per_batch = tensor("per_batch", "i64", B, M)
    shared = tensor("shared", "i64", N)
    _, lse = attend(
        np.zeros((2, 1, 1, 1)), np.zeros((2, 1, 2, 1)), np.zeros((2, 1, 2, 1)), [shared, per_batch],
        {"shared": [1], "per_batch": [[1, 1], [0, 1]]}, mask=Documents(shared, per_batch), lse=True,
    )  # fmt: skip
    np.testing.assert_allclose(np.exp(lse).ravel(), [2, 1])


def test_lengths_cut_queries_and_keys():
    nq, nk = tensor("nq", "i64", B), tensor("nk", "i64", B)
    _, lse = attend(
        np.zeros((2, 1, 2, 1)), np.zeros((2, 1, 3, 1)), np.zeros((2, 1, 3, 1)), [nq, nk],
        {"nq": np.array([1, 2]), "nk": np.array([3, 1])}, mask=Lengths(nq, nk), lse=True,
    )  # fmt: skip
    np.testing.assert_allclose(np.exp(lse).ravel(), [3, 0, 1, 1])


def test_tensor_masks_broadcast_where_they_are_1():
    per_head = tensor("mask", "bool", H, 1, M)
    _, lse = attend(
        np.zeros((2, 2, 1)), np.zeros((1, 3, 1)), np.zeros((1, 3, 1)), [per_head],
        {"mask": np.array([[[True, False, True]], [[False, False, True]]])}, mask=TensorMask(per_head), lse=True,
    )  # fmt: skip
    np.testing.assert_allclose(np.exp(lse), [[2, 2], [1, 1]])


def test_an_earlier_term_guards_a_look_up():
    flags = tensor("flags", "bool", N)
    back = Predicate(Lookup(flags, (Binary(BinaryOp.SUB, ROW, J),)))
    arrays = {"flags": np.array([True, False, True])}
    assert seen(Causal(TOP_LEFT) & back, 3, 3, [flags], arrays) == ["100", "010", "101"]
    with pytest.raises(ArgumentError, match=r"look-up %flags\[-1\] at batch 0, head 0, row 0, key 1"):
        seen(back & Causal(TOP_LEFT), 3, 3, [flags], arrays)


def test_a_predicate_computes_in_doubles_under_every_normaliser():
    # 2**53 + 1 == 2**53 holds in doubles only, and exp has no exact value at all.
    even = Binary(
        BinaryOp.EQ, Binary(BinaryOp.ADD, FloatLiteral(2.0**53), IntLiteral(1)), FloatLiteral(2.0**53)
    )
    positive = Binary(BinaryOp.GT, Unary(UnaryOp.EXP, J), FloatLiteral(2.0))
    for normalizer in NORMALIZERS:
        mask = Predicate(Binary(BinaryOp.AND, even, positive))
        out = attend(ONE, [[9.0], [1.0]], [[1.0], [2.0]], normalizer=normalizer, mask=mask)
        assert out.tolist() == [[2.0]]


def test_counts_beyond_the_arrays_are_refused():
    nq, nk, count = tensor("nq", "i64", B), tensor("nk", "i64", B), tensor("count", "i64")
    shapes = (1, 1, 2, 1), (1, 1, 3, 1), (1, 1, 3, 1)
    for a, b, message in (
        (3, 3, "query length %nq is 3, but the array has only 2"),
        (-1, 3, "%nq is -1"),
        (2, 4, "key length %nk is 4"),
    ):
        with pytest.raises(ArgumentError, match=message):
            attend(*map(np.zeros, shapes), [nq, nk], {"nq": [a], "nk": [b]}, mask=Lengths(nq, nk))
    with pytest.raises(ArgumentError, match="prefix %count is -2; a count must not be negative"):
        attend(ONE, ONE, ONE, [count], {"count": -2}, mask=Prefix(count))
