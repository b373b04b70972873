"""Softmax of few query rows, vectors along keys: every lane count, sizes around strips, tiles and pieces of
keys, numbers that are not finite, steps.
"""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from llvmlite import binding
from numba import njit

import attnc
from attnc_backends.numba import executable, memory, vectors
from attnc_backends.numba.runtime.decode import DECODE_SPLIT
from attnc_backends.numba.runtime.decode_rows import decode_score_rows, decode_value_columns
from attnc_backends.numba.runtime.memory import small_code
from attnc_backends.numba.runtime.vector import vec_f32
from attnc_ir.types import DType
from backend_cases import LAYOUTS, attend, check_threads, qkv, thorough_but
from dense_cases import check_doubles, compiled_for, drawn_sizes, expected

# Element types of keys and values, attributes, the scale, what the mask allows, and bytes of a vector.
KINDS = {
    "causal f32": ("f32", "f32", "mask = causal(bottom_right)", 0.3, lambda i, j, n, m: j <= i + m - n, 64),
    "window f32, 8 lanes": (
        "f32", "f32", "mask = window(60, 3, top_left)", -0.4, lambda i, j, n, m: (j >= i - 60) & (j <= i + 3), 32,
    ),
    "full f64": ("f64", "f64", "scale = 0.5", 0.5, lambda i, j, n, m: j >= 0, 64),
    "prefix f64, 2 lanes": ("f64", "f64", "mask = prefix(100)", 1.0, lambda i, j, n, m: j < 100, 16),
    "asked f32": ("f32", "f32", "mask = predicate((i + j) % 5 != 0)", 0.5, lambda i, j, n, m: (i + j) % 5 != 0, 64),
    "f16 keys, bf16 values": ("f16", "bf16", "mask = causal(2)", 0.5, lambda i, j, n, m: j <= i + 2, 64),
    "bf16, 8 lanes": ("bf16", "bf16", "mask = prefix(250)", 0.5, lambda i, j, n, m: j < 250, 32),
    "f32 keys, f64 values": ("f32", "f64", "mask = causal(2)", 0.5, lambda i, j, n, m: j <= i + 2, 32),
}  # fmt: skip
SHOWN = ("window f32, 8 lanes", "asked f32", "f16 keys, bf16 values")


def spec(keys, values, attributes, scale):
    attributes = attributes if "scale" in attributes else f"{attributes}, scale = {scale}"
    inputs = qkv(keys, 4, width="D", value=values, value_width="E")
    return attend(inputs, f"normalizer = softmax, strategy = dense, {attributes}", lse=True)


@pytest.mark.parametrize("kind", thorough_but(KINDS, *SHOWN))
@settings(max_examples=30)
@given(
    sizes=drawn_sizes([1, 2, 3, 5], [0, 1, 3, 15, 16, 17, 33, 127, 128, 129, 260]),
    layout=st.sampled_from(LAYOUTS),
    strange=st.sampled_from([0.0, 0.0, 0.002, 0.05]),
    seed=st.integers(0, 2**32 - 1),
)
@example(
    sizes={"B": 2, "G": 2, "H": 8, "N": 2, "M": 260, "D": 17, "E": 20}, layout="plain", strange=0.002, seed=1
)
@example(
    sizes={"B": 1, "G": 1, "H": 4, "N": 1, "M": DECODE_SPLIT + 1, "D": 130, "E": 200},
    layout="plain",
    strange=0.0,
    seed=2,
)
def test_agrees_with_doubles(kind, sizes, layout, strange, seed):
    keys, values, attributes, scale, allows, vector_bytes = KINDS[kind]
    program = compiled_for(spec(keys, values, attributes, scale), True, vector_bytes)
    check_doubles(program, DType(keys), DType(values), scale, allows, sizes, layout, strange, seed)


def arrays(rng, rows, keys, *, heads=4, key_heads=2, width=24, dtype=np.float32):
    """Inputs of one batch."""
    shapes = {
        "q": (1, heads, rows, width),
        "k": (1, key_heads, keys, width),
        "v": (1, key_heads, keys, width),
    }
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in shapes.items()}


def test_threads_do_not_change_a_bit(monkeypatch):
    """Pieces of one head fall to several workers."""
    program = compiled_for(spec("f32", "f32", "mask = causal(bottom_right)", 0.3), True)
    inputs = arrays(np.random.default_rng(0), 3, 2 * DECODE_SPLIT + 100, heads=1, key_heads=1)
    check_threads(program, inputs, monkeypatch)
    monkeypatch.setattr(executable, "PARALLEL_WORK", 0)
    one, two = (program.run("g", inputs, threads=n) for n in (1, 2))
    assert [x.tobytes() for x in one] == [x.tobytes() for x in two]


def test_rows_do_not_depend_on_those_they_share_keys_with():
    program = compiled_for(spec("f32", "f32", "mask = causal(bottom_right)", 0.3), True)
    inputs = arrays(np.random.default_rng(0), 1, 3000, heads=14, key_heads=2)
    together = program.run("g", inputs, threads=1)
    for h in range(14):
        alone = {name: x[:, [h if name == "q" else h // 7]] for name, x in inputs.items()}
        for one, other in zip(program.run("g", alone, threads=1), together, strict=True):
            assert one[:, 0].tobytes() == other[:, h].tobytes()


@pytest.mark.parametrize("few", [True, False])
def test_what_a_mask_hides_never_touches_a_result(few, monkeypatch):
    """NaN in every masked key and value, and in all memory before it is written."""
    real = memory.allocate

    def poisoned(*args):
        array = real(*args)
        array.view(np.uint8)[...] = 0xFF
        return array

    monkeypatch.setattr(memory, "allocate", poisoned)
    monkeypatch.setattr(executable, "allocate", poisoned)
    rng, n, m = np.random.default_rng(1), 3, 300
    masks = {
        "window(20, 0, 100)": lambda i, j: (j >= i + 80) & (j <= i + 100),
        "predicate(j % 7 == 3 or j > 290)": lambda i, j: (j % 7 == 3) | (j > 290) | (i < 0),
    }
    for mask, allows in masks.items():
        inputs = arrays(rng, n, m)
        hidden = ~np.broadcast_to(allows(np.arange(n)[:, None], np.arange(m)[None]), (n, m)).any(axis=0)
        clean = expected(
            *(inputs[x].astype(float) for x in "qkv"), 0.3, lambda i, j, n, m, allows=allows: allows(i, j)
        )
        for name in "kv":
            inputs[name][:, :, hidden] = rng.choice([np.nan, np.inf], (hidden.sum(), 24))
        out, lse = compiled_for(spec("f32", "f32", f"mask = {mask}", 0.3), few).run("g", inputs, threads=1)
        np.testing.assert_allclose(out, clean[0], atol=1e-5)
        np.testing.assert_allclose(lse, clean[1], rtol=1e-5)


# --- steps ---

STEP = """graph @g(%q: {dtype}[4 x 24], %k: {dtype}[2 x 24], %v: {dtype}[2 x 24]) {{
  %c = cache {{heads = [2], key = {dtype}[24], value = {dtype}[24]}}
  %c1 = append %c, %k, %v
  %o = attend.step %q, %c1 {{normalizer = softmax, scale = 0.3{mask}}}
  return %o
}}"""


def test_a_step_is_the_last_row_of_a_batch():
    """The same bits, across the end of a piece."""
    steps = DECODE_SPLIT + 5
    inputs = arrays(np.random.default_rng(3), steps, steps)
    program = attnc.compile(STEP.format(dtype="f32", mask=""))
    state = program.state("g")
    moved = {name: np.ascontiguousarray(x[0].swapaxes(0, 1)) for name, x in inputs.items()}
    stepped = program.extend(state, moved["q"], moved["k"], moved["v"])
    batch = compiled_for(spec("f32", "f32", "scale = 0.3", 0.3), True)
    for t in (0, 1, 16, 127, 128, DECODE_SPLIT - 1, DECODE_SPLIT, steps - 1):
        row = {"q": inputs["q"][:, :, [t]]} | {x: inputs[x][:, :, : t + 1] for x in "kv"}
        assert stepped[t].tobytes() == batch.run("g", row, threads=1)[0][0, :, 0].tobytes()


def test_plans_say_where_vectors_lie():
    def notes(text):
        return " ".join(attnc.compile(text).plan.node("o").notes)

    assert "for there are few query rows" in notes(STEP.format(dtype="f32", mask=""))
    # The last two leave open how many query heads share a key head.
    for rows, rank, few in (
        ("1", 2, True),
        ("999", 2, False),
        ("N", 2, False),
        ("1", 4, True),
        ("9", 4, False),
    ):
        text = attend(qkv("f32", rank).replace("N", rows), "normalizer = softmax")
        assert ("there are few query rows" in notes(text)) is few


# --- the inner loops ---


def loops(lanes):
    """All inner loops for so many lanes of f32."""

    @njit("void(int64, int64, int64, int64, int64, int64, int64, int64)", error_model="numpy")
    def all_of_them(a, b, c, d, e, f, g, h):
        small_code()
        decode_score_rows(a, b, c, d, e, f, g, h, vec_f32(lanes), 0)
        decode_score_rows(a, b, c, d, e, f, g, h, vec_f32(lanes), 1)
        decode_value_columns(a, b, c, d, e, f, g, h, vec_f32(lanes), 0, 8)
        decode_value_columns(a, b, c, d, e, f, g, h, vec_f32(lanes), 1, 4)

    return all_of_them


@pytest.mark.parametrize("lanes", [16, 8])
def test_the_inner_loops_are_multiply_adds_in_registers(lanes):
    """One query row or several, scores or values: whole vectors, no call."""
    if 4 * lanes > vectors.native_bytes() or not binding.get_host_cpu_features().get("fma"):
        pytest.skip("this machine has no multiply-add of that width")
    code = loops(lanes)
    register, rows = {16: ("zmm", 4), 8: ("ymm", 2)}[lanes]
    blocks = re.split(r"^\.?\w+:", code.inspect_asm(code.signatures[0]), flags=re.MULTILINE)
    # From a label to the first jump behind it.
    bodies = [re.split(r"\tj\w+\t", block)[0] for block in blocks if re.search(r"\tj\w+\t", block)]
    found = sorted(
        len(re.findall(rf"\tvfmadd\w+ps\t.*%{register}", body)) for body in bodies if "\tcall" not in body
    )
    for wanted in (4, 8, 4 * rows, 4 * lanes):
        assert wanted in found
    assert not re.search(r"\tvfmadd\w+(ps\t.*%xmm|ss)", code.inspect_asm(code.signatures[0]))
