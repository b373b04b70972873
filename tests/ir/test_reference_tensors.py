"""Ops on whole tensors in the reference."""

import math

import numpy as np
import pytest

from attnc_ir.errors import ArgumentError
from attnc_ir.ops import (
    Add,
    Broadcast,
    Concat,
    Constant,
    Convert,
    Div,
    Equal,
    Iota,
    Less,
    LessEqual,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Select,
    Slice,
    Sub,
)
from attnc_ir.reference import run
from attnc_ir.types import UNKNOWN, DType, TensorType
from reference_graphs import M, N, graph_of, tensor, with_results

INF, NAN = math.inf, math.nan


def result(op, *inputs, dims=None, **arrays):
    """The result of one op over inputs."""
    op = with_results(op, "r")
    (out,) = run(graph_of(inputs, [op], op.results), arrays, dims=dims)
    return out


def binary(cls, dtype, x, y):
    left, right = tensor("x", dtype, N), tensor("y", dtype, N)
    return result(cls(left=left, right=right), left, right, x=x, y=y)


@pytest.mark.parametrize(
    ("cls", "expected"),
    [
        (Add, [8, -1]),
        (Sub, [4, -5]),
        (Mul, [12, -6]),
        (Div, [3, -1.5]),
        (Minimum, [2, -3]),
        (Maximum, [6, 2]),
    ],
)
def test_arithmetic(cls, expected):
    assert binary(cls, "f64", np.array([6.0, -3.0]), np.array([2.0, 2.0])).tolist() == expected


def test_integers_wrap():
    top = np.array([2**31 - 1], np.int32)
    assert binary(Add, "i32", top, top).tolist() == [-2]
    assert binary(Mul, "i64", np.array([2**62]), np.array([4])).tolist() == [0]


def test_division_by_zero_is_that_of_ieee():
    np.testing.assert_equal(
        binary(Div, "f32", np.float32([1, -1, 0]), np.zeros(3, np.float32)), np.float32([INF, -INF, NAN])
    )


@pytest.mark.parametrize("cls", [Minimum, Maximum])
def test_minimum_and_maximum_are_nan_if_either_is(cls):
    np.testing.assert_equal(binary(cls, "f64", np.array([NAN, 1.0]), np.array([1.0, NAN])), [NAN, NAN])


@pytest.mark.parametrize(
    ("cls", "expected"), [(Equal, [0, 1, 0, 0]), (Less, [1, 0, 0, 0]), (LessEqual, [1, 1, 0, 0])]
)
def test_comparisons(cls, expected):
    out = binary(cls, "f64", np.array([1.0, 2.0, 3.0, NAN]), np.array([2.0, 2.0, 2.0, NAN]))
    assert out.dtype == np.bool_
    assert out.tolist() == expected


def test_short_floats_compute_in_f32_and_round():
    # 2048 + 1 is a tie in f16, which rounds to even; the sum is exact in f32.
    assert binary(Add, "f16", np.float16([2048]), np.float16([1])).tolist() == [2048]
    assert binary(Mul, "f16", np.float16([300]), np.float16([300])).tolist() == [INF]
    # bf16: 1 + 1/256 rounds to 1, and 1 + 3/256 to 1 + 4/256.
    ones = np.full(2, 0x3F80, np.uint16)
    assert binary(Add, "bf16", ones, np.array([0x3B80, 0x3C40], np.uint16)).tolist() == [0x3F80, 0x3F82]
    assert binary(Less, "bf16", np.array([0xBF80], np.uint16), np.array([0x3F80], np.uint16)).tolist() == [
        True
    ]


def test_negation_is_exact():
    x = tensor("x", "bf16", N)
    assert result(Neg(x=x), x, x=np.array([0x3F80, 0x8000, 0x7FC0], np.uint16)).tolist() == [
        0xBF80,
        0,
        0xFFC0,
    ]
    y = tensor("y", "f64", N)
    out = result(Neg(x=y), y, y=np.array([0.0, INF]))
    assert math.copysign(1, out[0]) == -1
    z = tensor("z", "i64")
    assert result(Neg(x=z), z, z=np.array(-(2**63))) == -(2**63)


def test_operands_broadcast_where_they_are_1():
    column, row = tensor("x", "f64", N, 1), tensor("y", "f64", 3)
    out = result(Add(left=column, right=row), column, row, x=np.array([[10.0], [20.0]]), y=np.arange(3.0))
    assert out.tolist() == [[10, 11, 12], [20, 21, 22]]


def test_select():
    c, x, y = tensor("c", "bool", N), tensor("x", "bf16", N), tensor("y", "bf16", 1)
    out = result(Select(condition=c, then=x, otherwise=y), c, x, y,
                 c=np.array([True, False]), x=np.array([1, 2], np.uint16), y=np.array([9], np.uint16))  # fmt: skip
    assert out.dtype == np.uint16
    assert out.tolist() == [1, 9]


def test_convert():
    x = tensor("x", "f64", N)
    assert result(Convert(x=x, to=DType.I32), x, x=np.array([2.7, NAN])).tolist() == [2, -(2**31)]
    assert result(Convert(x=x, to=DType.BF16), x, x=np.array([1.0])).tolist() == [0x3F80]


@pytest.mark.parametrize(
    ("dtype", "store"), [("f64", np.float64), ("f32", np.float32), ("i32", np.int32), ("bool", np.bool_)]
)
def test_constants(dtype, store):
    out = result(Constant(type=TensorType(DType(dtype), (2, 2)), values=(0.0, 1.0, 1.0, 0.0)))
    assert out.dtype == store
    assert out.tolist() == [[0, 1], [1, 0]]


def test_one_value_fills_a_constant_of_any_size():
    x = tensor("x", "f64", N)
    one = with_results(Constant(type=TensorType(DType.BF16, (N, 2)), values=(1.0,)), "r")
    (out,) = run(graph_of([x], [one], one.results), {"x": np.zeros(3)})
    assert out.tolist() == [[0x3F80] * 2] * 3


@pytest.mark.parametrize(("axis", "expected"), [(0, [[0, 0], [1, 1]]), (-1, [[0, 1], [0, 1]])])
def test_iota(axis, expected):
    assert result(Iota(type=TensorType(DType.F16, (2, 2)), axis=axis)).tolist() == expected
    assert result(Iota(type=TensorType(DType.I64, (2, 2)), axis=axis)).tolist() == expected


def test_moving_elements():
    x, y = tensor("x", "f64", N, 2), tensor("y", "f64", N, 1)
    arrays = {"x": np.array([[1.0, 2.0], [3.0, 4.0]]), "y": np.array([[5.0], [6.0]])}
    assert result(Concat(parts=(x, y)), x, y, **arrays).tolist() == [[1, 2, 5], [3, 4, 6]]
    assert result(Slice(x=x, start=1, stop=2), x, x=arrays["x"]).tolist() == [[2], [4]]
    assert result(Slice(x=x, start=0, stop=0), x, x=arrays["x"]).shape == (2, 0)
    spread = result(Broadcast(x=y, shape=(3, N, 4)), y, y=arrays["y"])
    assert spread.shape == (3, 2, 4)
    assert spread[2].tolist() == [[5] * 4, [6] * 4]


def test_outputs_are_the_callers_own():
    x = tensor("x", "f64", N)
    given = np.zeros(2)
    (out,) = run(graph_of([x], [], [x]), {"x": given})
    out[:] = 1.0
    assert given.tolist() == [0, 0]


def test_sizes_that_the_graph_leaves_open_are_checked_when_it_runs():
    x, y = tensor("x", "f64", UNKNOWN), tensor("y", "f64", UNKNOWN)
    add = Add(left=x, right=y)
    assert result(add, x, y, x=np.ones(2), y=np.ones(2)).tolist() == [2, 2]
    with pytest.raises(ArgumentError, match="graph @g: %r: add does not fit the sizes given"):
        result(add, x, y, x=np.ones(2), y=np.ones(3))


def test_a_symbol_that_no_input_has_is_given_by_dims():
    iota = Iota(type=TensorType(DType.I64, (M,)))
    assert result(iota, dims={"M": 3}).tolist() == [0, 1, 2]
    with pytest.raises(ArgumentError, match="no argument says how large M is"):
        result(iota)
