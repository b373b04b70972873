"""What arrays a graph accepts, and what it says about the others."""

import numpy as np
import pytest

from attnc_ir.arguments import Signature, bind, check_values
from attnc_ir.attributes.mask import Lengths, Prefix, TensorMask
from attnc_ir.attributes.normalizer import Hardmax, Tie
from attnc_ir.errors import ArgumentError
from attnc_ir.ops import Constant
from attnc_ir.types import DType, TensorType
from reference_graphs import B, M, N, attend_graph, graph_of, memory_graph, tensor, with_results

GRAPH = attend_graph(dtype="f32", width=2)


def arrays(n=3, m=4, width=2, dtype=np.float32):
    return {"q": np.zeros((n, width), dtype), "k": np.zeros((m, width), dtype), "v": np.zeros((m, 5), dtype)}


def refused(message, given, graph=GRAPH, **options):
    with pytest.raises(ArgumentError) as error:
        bind(graph, given, **options)
    assert str(error.value) == message


# --- what fits --------------------------------------------------------------------------------------------------------


def test_sizes_are_read_off_the_arrays():
    bound = bind(GRAPH, arrays())
    assert bound.dims == {"N": 3, "M": 4, "Dv": 5}
    assert bound.steps is None
    assert bound.shape((N, 2, M)) == (3, 2, 4)


def test_arrays_pass_through_as_they_are():
    given = arrays()
    given["q"] = np.zeros((6, 4), np.float32)[::2, ::-2]
    given["k"].flags.writeable = False
    given["v"] = np.broadcast_to(np.float32(1), (4, 5))
    bound = bind(GRAPH, given)
    assert all(bound.arrays[name] is given[name] for name in given)


def test_zero_sizes_fit():
    assert bind(GRAPH, arrays(n=0, m=0)).dims == {"N": 0, "M": 0, "Dv": 5}


def test_a_signature_notices_new_shapes_and_sizes():
    signature = Signature(GRAPH)
    assert [signature.bind(arrays(n=n)).dims["N"] for n in (3, 3, 7, 3)] == [3, 3, 7, 3]
    with pytest.raises(ArgumentError, match="N is 3 here but 4 fixed"):
        signature.bind(arrays(n=3), dims={"N": 4})
    with pytest.raises(ArgumentError, match="rank 3"):
        signature.bind(arrays(n=3), steps=True)


def test_sizes_of_one_call_do_not_reach_the_next():
    signature = Signature(GRAPH)
    signature.bind(arrays()).dims["N"] = 99
    assert signature.bind(arrays()).dims["N"] == 3


def test_lists_and_numbers_take_the_type_of_the_input():
    x, n, c = tensor("x", "f32", N), tensor("n", "i32"), tensor("c", "bool", N)
    bound = bind(graph_of([x, n, c], [], [x]), {"x": [1, 2.5], "n": 7, "c": (True, False)})
    assert [a.dtype.name for a in bound.arrays.values()] == ["float32", "int32", "bool"]
    assert [a.tolist() for a in bound.arrays.values()] == [[1, 2.5], 7, [True, False]]


def test_an_array_type_of_another_library_is_asked_for_its_array():
    class Foreign:
        def __array__(self, dtype=None, copy=None):
            return np.ones((3, 2), np.float32)

    assert bind(GRAPH, {**arrays(), "q": Foreign()}).arrays["q"].tolist() == [[1, 1]] * 3


def test_bf16_is_accepted_as_bits():
    x = tensor("x", "bf16", N)
    graph = graph_of([x], [], [x])
    bits = np.array([0x3F80], np.uint16)
    assert bind(graph, {"x": bits}).arrays["x"] is bits
    assert bind(graph, {"x": [1.0]}).arrays["x"].tolist() == [0x3F80]
    refused(
        "graph @g: argument x is float32, expected bfloat16 (ml_dtypes), or its bits as uint16 (bf16): "
        "convert it, attnc_ir.storage.from_float64(..., DType.BF16)",
        {"x": np.float32([1])}, graph,
    )  # fmt: skip


# --- names ------------------------------------------------------------------------------------------------------------


def test_names_are_checked_all_at_once():
    given = arrays()
    given["qq"] = given.pop("q")
    refused(
        "graph @g: there is no argument qq (did you mean q?); argument q is missing, expected f32[N x 2]",
        given,
    )
    refused("graph @g: there is no argument mask (one of: q, k, v)", {**arrays(), "mask": np.ones(3)})
    refused(
        "graph @g: argument k is missing, expected f32[M x 2]; argument v is missing, expected f32[M x Dv]",
        {"q": arrays()["q"]},
    )


# --- elements ---------------------------------------------------------------------------------------------------------


def test_an_array_of_another_type_is_not_converted():
    refused(
        "graph @g: argument q is float64, expected float32 (f32): convert it, q.astype(np.float32)",
        {**arrays(), "q": np.zeros((3, 2))},
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((3, 2), ">f4"), "is stored in the other byte order (>f4): convert it, q.astype(q.dtype.newbyteorder('='))"),
        (np.array([[1, None]] * 3), "has dtype object, expected float32 (f32): give an array of numbers"),
        (None, "is a NoneType, expected an array of float32 (f32)"),
        (np.float64(1), "has shape (), expected [N x 2]: rank 2, not 0"),
        ("text", "is <U4, expected float32 (f32): convert it, q.astype(np.float32)"),
        ([[1.0], [1.0, 2.0]], "is a list of uneven rows; make them equally long"),
        ([["a", "b"]], "holds <U1, expected numbers (f32)"),
        ([[1j, 2]], "holds complex128, expected numbers (f32)"),
        ([[True, False]], "holds bool, expected numbers (f32)"),
        (np.ma.masked_array(np.zeros((3, 2), np.float32)), "is a masked array; fill it, q.filled(0), and leave positions out by a mask of the graph"),
    ],
)  # fmt: skip
def test_elements_that_do_not_fit(given, message):
    refused(f"graph @g: argument q {message}", {**arrays(), "q": given})


@pytest.mark.parametrize(
    ("dtype", "given", "message"),
    [
        ("i32", [1.5], "holds float64, expected integers (i32)"),
        ("i32", [2**31], "holds 2147483648, which is no i32"),
        ("i64", [2**63], "holds 9223372036854775808, which is no i64"),
        ("i64", [2**70], "holds object, expected integers (i64)"),
        ("i32", np.array([1]), "is int64, expected int32 (i32): convert it, x.astype(np.int32)"),
        ("bool", [1, 0], "holds int64, expected booleans (bool)"),
        ("bool", np.array([1, 0], np.uint8), "is uint8, expected bool (bool): convert it, x.astype(np.bool)"),
    ],
)
def test_integers_and_booleans_that_do_not_fit(dtype, given, message):
    x = tensor("x", dtype, N)
    refused(f"graph @g: argument x {message}", {"x": given}, graph_of([x], [], [x]))


def test_the_conversion_that_a_message_names_works():
    q = np.zeros((3, 2), ">f4")
    assert bind(GRAPH, {**arrays(), "q": q.astype(q.dtype.newbyteorder("="))}).dims["N"] == 3


# --- shapes -----------------------------------------------------------------------------------------------------------


def test_shapes_that_do_not_fit():
    f = np.float32
    refused(
        "graph @g: argument q has shape (3, 4), expected [N x 2]: axis 1 must be 2, not 4",
        {**arrays(), "q": np.zeros((3, 4), f)},
    )
    refused(
        "graph @g: argument q has shape (1, 3, 2), expected [N x 2]: rank 2, not 3",
        {**arrays(), "q": np.zeros((1, 3, 2), f)},
    )
    refused(
        "graph @g: argument v has shape (6, 5), expected [M x Dv]: M is 6 here but 4 in argument k",
        {**arrays(), "v": np.zeros((6, 5), f)},
    )
    refused(
        "graph @g: argument q has shape (3, 2), expected [N x 2]: N is 3 here but 9 fixed before this call",
        arrays(),
        dims={"N": 9},
    )


def test_the_1_of_a_mask_is_a_size():
    mask = tensor("mask", "bool", 1, M)
    graph = attend_graph([mask], mask=TensorMask(mask))
    given = {**arrays(dtype=np.float64), "mask": np.ones((1, 4), bool)}
    assert bind(graph, given).dims["M"] == 4
    given["mask"] = np.ones((3, 4), bool)
    refused(
        "graph @g: argument mask has shape (3, 4), expected [1 x M]: axis 0 must be 1, not 3", given, graph
    )


@pytest.mark.parametrize(
    ("heads", "key_heads", "fits"),
    [(4, 2, True), (3, 3, True), (0, 0, True), (0, 2, True), (3, 2, False), (2, 4, False), (2, 0, False)],
)
def test_query_heads_are_a_multiple_of_key_heads(heads, key_heads, fits):
    graph = attend_graph(rank=3)
    given = {"q": np.zeros((heads, 1, 1)), "k": np.zeros((key_heads, 1, 1)), "v": np.zeros((key_heads, 1, 1))}
    if fits:
        assert bind(graph, given).dims["Hkv"] == key_heads
    else:
        message = f"graph @g: %o has {heads} query heads (H), but {key_heads} key heads (Hkv); query heads must be a multiple of key heads"
        refused(message, given, graph)


def test_sizes_whose_product_overflows_are_refused():
    # Neither array holds an element, but the output of the second kind of size would not fit the address space.
    graph = attend_graph()
    given = {"q": np.zeros((2**30, 0)), "k": np.zeros((0, 0)), "v": np.zeros((0, 2**31))}
    refused(
        "graph @g: %o would have shape (1073741824, 2147483648), more than 2**63 bytes; use smaller sizes",
        given,
        graph,
    )
    given = {"q": np.zeros((2**41, 0)), "k": np.zeros((0, 0)), "v": np.zeros((0, 1))}
    refused(
        "graph @g: argument q has shape (2199023255552, 0), expected [N x D]: axis 0 is longer than 2**40",
        given,
        graph,
    )


def test_dims_are_checked():
    refused("graph @g: it has no dimension X (one of: N, M, Dv)", arrays(), dims={"X": 1})
    x = tensor("x", "f64", N)
    for size in (-1, 2.0, True, "3", 2**41):
        refused(
            f"graph @g: dimension M is {size!r}; give an integer from 0 to 2**40", arrays(), dims={"M": size}
        )
    assert bind(graph_of([x], [], [x]), {"x": np.zeros(2)}, dims={"N": 2}).dims == {"N": 2}


# --- steps ------------------------------------------------------------------------------------------------------------

MEMORY = memory_graph(Hardmax(Tie.LAST))


def steps(t, heads=2):
    return {"q": np.zeros((t, heads, 2)), "k": np.zeros((t, heads, 2)), "v": np.zeros((t, heads, 1))}


@pytest.mark.parametrize("t", [0, 1, 5])
def test_steps_are_a_leading_axis(t):
    bound = bind(MEMORY, steps(t), steps=True)
    assert (bound.steps, bound.dims) == (t, {"H": 2})


def test_steps_must_agree():
    given = {**steps(3), "v": np.zeros((4, 2, 1))}
    refused(
        "graph @g: argument v has shape (4, 2, 1), expected [steps x H x 1]: 4 steps, but argument q has 3",
        given,
        MEMORY,
        steps=True,
    )
    one = {name: array[0] for name, array in steps(1).items()}
    refused(
        "graph @g: argument q has shape (2, 2), expected [steps x H x 2]: rank 3, the first axis counts steps, not 2",
        one,
        MEMORY,
        steps=True,
    )


def test_steps_cannot_be_counted_without_arguments():
    one = with_results(Constant(type=TensorType(DType.F64, ()), values=(1.0,)), "x")
    refused(
        "graph @g: it has no argument to count steps by; step it one by one",
        {},
        graph_of([], [one], one.results),
        steps=True,
    )


# --- values -----------------------------------------------------------------------------------------------------------


def lengths_graph():
    nq, nk, count = tensor("nq", "i64", B), tensor("nk", "i64", B), tensor("count", "i32")
    return attend_graph([nq, nk, count], rank=4, mask=Lengths(nq, nk) & Prefix(count))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nq": [0, -1]}, "query length %nq is -1; a count must not be negative"),
        ({"nq": [4, 0]}, "query length %nq is 4, but the array has only 3 positions"),
        ({"nk": [0, 5]}, "key length %nk is 5, but the array has only 4 positions"),
        ({"count": -3}, "prefix %count is -3; a count must not be negative"),
    ],
)
def test_counts_that_make_no_sense(changes, message):
    graph = lengths_graph()
    shapes = {"q": (2, 1, 3, 1), "k": (2, 1, 4, 1), "v": (2, 1, 4, 1)}
    given = (
        {name: np.zeros(shape) for name, shape in shapes.items()}
        | {"nq": [3, 0], "nk": [0, 4], "count": 99}
        | changes
    )
    bound = bind(graph, given)
    with pytest.raises(ArgumentError, match=f"^graph @g: %o: {message}$"):
        check_values(graph, bound)


def test_counts_that_do_make_sense():
    graph = lengths_graph()
    for batch in (0, 2):
        shapes = {"q": (batch, 1, 3, 1), "k": (batch, 1, 4, 1), "v": (batch, 1, 4, 1)}
        given = {name: np.zeros(shape) for name, shape in shapes.items()}
        bound = bind(
            graph, {**given, "nq": np.array([3, 0])[:batch], "nk": np.array([0, 4])[:batch], "count": 99}
        )
        check_values(graph, bound)
        assert bound.size(B) == batch
