"""Ops on whole tensors give the bits that the reference gives, for every element type and every awkward number."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from attnc_backends.numba import executable
from attnc_ir.storage import NUMPY, from_float64
from attnc_ir.types import DType
from backend_cases import compiled, laid_out, layouts, same_numbers, seeds

FLOATS, INTEGERS = ["f64", "f32", "f16", "bf16"], ["i64", "i32"]
ALL = [*FLOATS, *INTEGERS, "bool"]

AWKWARD = [
    0.0, -0.0, 1.0, -1.0, 1.5, 0.1, 1e-320, 5e-324, -2.0**-25, 2.0**-24, 65519.9, 65520.0, 3.4028236e38, 1e300, np.inf, -np.inf, np.nan,
    2.0**31, -(2.0**31), 2.0**31 - 0.5, 2.0**63, -(2.0**63), 2.0**53 + 2, 1 + 2.0**-8, 1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-11 + 2.0**-50, 255.5,
]  # fmt: skip
WHOLE = [
    0,
    1,
    -1,
    5,
    2**31 - 1,
    -(2**31),
    2**53 + 1,
    2**62 + 2**54 + 1,
    -(2**62) - 2**54 - 1,
    2**62 + 2**54,
    2**63 - 1,
    -(2**63),
    65519,
]


def ops_on(dtype):
    """Every op that takes this element type, on `%x [N x 3]` and `%y [1 x 3]`."""
    lines, results = [], []

    def op(name, text):
        lines.append(f"  %{name} = {text}\n")
        results.append(f"%{name}")

    if dtype != "bool":
        op("o_neg", "neg %x")
        for name in ("add", "sub", "mul", "min", "max", *(["div"] if dtype in FLOATS else [])):
            op(f"o_{name}", f"{name} %x, %y")
    for name in ("eq", "lt", "le"):
        op(f"o_{name}", f"{name} %y, %x")
    op("o_select", "select %c, %x, %y")
    op("o_concat", "concat %x, %x {axis = 1}")
    op("o_rows", "concat %y, %y, %y {axis = -2}")
    op("o_slice", "slice %o_concat {start = 2, stop = 5, axis = -1}")
    op("o_none", "slice %x {start = 1, stop = 1}")
    op("o_broadcast", "broadcast %y {shape = [2 x N x 3]}")
    for target in ALL:
        op(f"to_{target}", f"convert %x {{to = {target}}}")
    if dtype != "bool":
        op("o_iota", f"iota {{type = {dtype}[N x 3], axis = 0}}")
    number = "1" if dtype == "bool" else "2.5" if dtype in FLOATS else "-7"
    op("o_constant", f"constant {{type = {dtype}[2 x 2], values = [{number}, 0, 1, {number}]}}")
    op("o_filled", f"constant {{type = {dtype}[N], values = [{number}]}}")
    op("o_scalar", f"constant {{type = {dtype}[], values = [{number}]}}")
    head = f"graph @g(%x: {dtype}[N x 3], %y: {dtype}[1 x 3], %c: bool[N x 1])"
    return f"{head} {{\n{''.join(lines)}  return {', '.join(results)}, %x, %o_scalar\n}}\n"


def drawn(rng, dtype, shape):
    if dtype is DType.BOOL:
        return rng.random(shape) < 0.5
    if dtype.is_float:
        return from_float64(
            np.where(rng.random(shape) < 0.3, rng.normal(size=shape), rng.choice(AWKWARD, shape)), dtype
        )
    with np.errstate(all="ignore"):
        return rng.choice(np.array(WHOLE, np.int64), shape).astype(NUMPY[dtype])


@pytest.mark.parametrize("dtype", ALL)
@settings(max_examples=25)
@given(seed=seeds, n=st.sampled_from([0, 1, 2, 30]), layout=layouts)
def test_every_op_gives_the_reference_bits(dtype, seed, n, layout):
    program = compiled(ops_on(dtype))
    graph = program.source_module["g"]
    rng, kind = np.random.default_rng(seed), DType(dtype)
    arrays = {
        "x": laid_out(drawn(rng, kind, (n, 3)), layout), "y": laid_out(drawn(rng, kind, (1, 3)), layout), "c": rng.random((n, 1)) < 0.5,
    }  # fmt: skip
    results, expected = program("g", **arrays), attnc.reference(program.source_module, "g", **arrays)
    for value, got, wanted in zip(graph.outputs, results, expected, strict=True):
        if value.name in ("o_min", "o_max") and kind.is_float:
            zero = wanted == 0 if kind is not DType.BF16 else (wanted & 0x7FFF) == 0
            got, wanted = (
                np.where(zero, 0, got).astype(got.dtype),
                np.where(zero, 0, wanted).astype(wanted.dtype),
            )  # of -0 and 0, either
        same_numbers(got, wanted, value.type.dtype)


@pytest.mark.parametrize("threads", [2, 5])
def test_shared_work_gives_the_same_bits(threads, monkeypatch):
    monkeypatch.setattr(executable, "PARALLEL_WORK", 0)
    program = compiled(ops_on("f32"))
    rng = np.random.default_rng(1)
    for n in (0, 1, 3, 8):
        arrays = {
            "x": drawn(rng, DType.F32, (n, 3)),
            "y": drawn(rng, DType.F32, (1, 3)),
            "c": rng.random((n, 1)) < 0.5,
        }
        alone, together = program.run("g", arrays, threads=1), program.run("g", arrays, threads=threads)
        assert [x.tobytes() for x in alone] == [x.tobytes() for x in together]


def test_results_share_no_memory_with_arguments_or_each_other():
    program = compiled("graph @g(%x: f64[N]) {\n  %y = neg %x\n  return %x, %y, %y, %x\n}\n")
    x = np.arange(3.0)
    results = program("g", x)
    for result in results:
        result += 1
    assert x.tolist() == [0, 1, 2]
    assert [r.tolist() for r in results] == [[1, 2, 3], [1, 0, -1], [1, 0, -1], [1, 2, 3]]
