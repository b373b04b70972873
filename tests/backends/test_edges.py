"""The edges of the semantics: what is masked never matters, what is allowed always does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from attnc_ir.attributes.alignment import aligned
from attnc_ir.reference.masks import MaskReader
from attnc_ir.storage import from_float64, to_float64
from backend_cases import SPECS, arrays_for, attend, check_attention, compiled, outcome, qkv, seeds

INF, NAN = np.inf, np.nan


def allowed_keys(program, arrays):
    """`[B, H, N, M]`: what the mask of the graph's node allows, position by position."""
    op = program.source_module["g"].ops[-1]
    q, k = (a.reshape((1,) * (4 - a.ndim) + a.shape) for a in (arrays["q"], arrays["k"]))
    shape = (*q.shape[:3], k.shape[2])
    reader = MaskReader(arrays, shape, step=False, where="")
    mask = aligned(op.mask)
    return np.array([reader.allowed(mask, *at) for at in np.ndindex(shape)], bool).reshape(shape)


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=5)
@given(seed=seeds, poison=st.sampled_from([NAN, INF, -INF]))
def test_masked_keys_and_values_never_touch_the_output(name, seed, poison):
    program = compiled(SPECS[name])
    sizes = {"B": 2, "G": 1, "H": 2, "N": 4, "M": 9}
    arrays = arrays_for(program.source_module["g"], sizes, seed=seed)
    clean = outcome(lambda: program("g", **arrays))
    allowed = allowed_keys(program, arrays)
    op = program.source_module["g"].ops[-1]
    # A key that no query of its head group may see is spoiled for all; then one that a single row sees, for the other rows.
    unseen = ~allowed.reshape(allowed.shape[0], 1, -1, allowed.shape[-1]).any(2)
    spoiled = dict(arrays)
    for operand, kind in (("k", op.key_type), ("v", op.value_type)):
        array = arrays[operand].copy()
        four = array.reshape((1,) * (4 - array.ndim) + array.shape)
        four[np.broadcast_to(unseen, four.shape[:3])] = from_float64(poison, kind.dtype)
        spoiled[operand] = array
    again = outcome(lambda: program("g", **spoiled))
    if isinstance(clean, attnc.AttncError):
        assert str(again) == str(clean)
    else:
        assert [x.tobytes() for x in again] == [x.tobytes() for x in clean]


CAUSAL = {
    "softmax": "grouped causal f64", "mean": "mean f64", "hardmax": "hardmax first f64", "topk": "topk first f64",
}  # fmt: skip


@pytest.mark.parametrize("normalizer", CAUSAL)
@pytest.mark.parametrize("poison", [NAN, INF, -INF])
@pytest.mark.parametrize("operand", ["k", "v", "q"])
def test_a_row_is_spoiled_by_what_it_sees_only(normalizer, operand, poison):
    program = compiled(SPECS[CAUSAL[normalizer]])
    arrays = arrays_for(program.source_module["g"], {"B": 1, "G": 1, "H": 1, "N": 70, "M": 70}, seed=3)
    clean = program("g", **arrays)
    arrays[operand][0, 0, 65] = poison
    found = program("g", **arrays)
    for before, after in zip(*(x if isinstance(x, tuple) else (x,) for x in (clean, found)), strict=True):
        assert after[:, :, :65].tobytes() == before[:, :, :65].tobytes()
        if operand == "q":
            assert after[:, :, 66:].tobytes() == before[:, :, 66:].tobytes()
    if operand == "k" and np.isnan(poison):
        outputs = found[0] if isinstance(found, tuple) else found
        assert np.isnan(outputs[:, :, 65:]).all()


def column(*numbers):
    return np.array(numbers, np.float64)[:, np.newaxis]


SCORES = {
    "+inf tie among themselves": [1.0, INF, 2.0, INF, 0.0],
    "-inf scores are allowed": [-INF, -INF, -INF],
    "-inf and a real score": [-INF, 3.0, -INF],
    "NaN": [1.0, NAN, 2.0],
    "NaN after +inf": [INF, 1.0, NAN],
    "one +inf": [0.0, INF],
}
TIED = {"first": lambda v: v[0], "last": lambda v: v[-1], "mean": lambda v: sum(v) / len(v)}


@pytest.mark.parametrize("tie", TIED)
@pytest.mark.parametrize("case", SCORES)
def test_scores_that_are_not_finite_under_hardmax(tie, case):
    program = compiled(
        attend(qkv("f64", 2, width=1, value_width=1), f"normalizer = hardmax({tie})", lse=True)
    )
    scores = np.array(SCORES[case])
    out, lse = program("g", column(1.0), column(*scores), column(*range(len(scores))))
    if np.isnan(scores).any():
        assert np.isnan(out).all()
        assert np.isnan(lse).all()
    else:
        assert out.item() == TIED[tie](np.flatnonzero(scores == scores.max()))
        with np.errstate(divide="ignore"):
            assert (
                lse.item() == scores.max()
                if np.isinf(scores.max())
                else abs(lse.item() - scores.max()) < 1e-15
            )


@pytest.mark.parametrize("case", SCORES)
@pytest.mark.parametrize("name", ["grouped causal f64", "topk first f64", "mean f64"])
def test_scores_that_are_not_finite_elsewhere(name, case):
    program = compiled(SPECS[name])
    keys = np.zeros((1, 1, len(SCORES[case]), 4))
    keys[0, 0, :, 0] = SCORES[case]
    query = np.zeros((1, 1, 1, 4))
    query[..., 0] = 2.0
    arrays = {
        "q": np.nan_to_num(query),
        "k": keys,
        "v": np.random.default_rng(0).normal(size=(1, 1, len(SCORES[case]), 3)),
    }
    # zero times infinity is NaN in the other columns of the dot product: leave only the first.
    arrays["q"], arrays["k"] = arrays["q"].copy(), np.where(np.arange(4) == 0, keys, 0.0)
    check_attention(program, arrays)


@pytest.mark.parametrize("sink", [0.5, INF, -INF, NAN, 800.0, -800.0])
@pytest.mark.parametrize("case", ["finite", *SCORES])
def test_sinks(sink, case):
    program = compiled(SPECS["mask, bias and sinks f64"])
    scores = SCORES.get(case, [1.0, 2.0, -0.5])
    n = len(scores)
    for allowed, bias in [(True, 0.0), (False, 0.0), (True, -INF)]:
        check_attention(
            program,
            {
                "q": np.eye(4)[np.newaxis, np.newaxis, :1], "k": np.array(scores)[:, np.newaxis] * np.eye(4)[:1] if np.isfinite(scores).all()
                else np.where(np.arange(4) == 0, np.array(scores)[:, np.newaxis], 0.0), "v": np.ones((1, 1, n, 3)) * 2,
                "allowed": np.full((1, 1, n), allowed), "bias": np.full((1, 1, 1, n), bias, np.float32), "sinks": np.array([sink]),
            } | {"k": np.where(np.arange(4) == 0, np.array(scores)[:, np.newaxis], 0.0)[np.newaxis, np.newaxis]},
        )  # fmt: skip


def test_very_negative_scores_are_not_empty_rows():
    program = compiled(SPECS["topk last f32"])
    n = 4
    arrays = {
        "q": np.ones((1, 2, 4), np.float32), "k": np.full((1, n, 4), -1e30, np.float32), "v": np.ones((1, n, 3), np.float32),
        "bias": np.full(n, -3e38, np.float32),
    }  # fmt: skip
    assert (program("g", **arrays) == 1.0).all()
    soft = compiled(SPECS["alibi and relative f32"])
    arrays = {name: arrays[name] for name in "qkv"} | {
        "slopes": np.full(1, -1e30, np.float32),
        "table": np.full((1, 5), -1e35),
    }
    assert np.isfinite(soft("g", **arrays)).all()
    assert (soft("g", **arrays) == 1.0).all()


def test_float32_scores_under_a_double_bias():
    text = "normalizer = softmax, bias = expression(where(j < 9, -1e300, -inf)) + tensor(%bias), scale = 0.5"
    program = compiled(attend(qkv("f32", 2) + ", %bias: f64[M]", text, lse=True))
    arrays = arrays_for(program.source_module["g"], {"N": 3, "M": 70}, seed=2) | {"bias": np.full(70, -1e299)}
    check_attention(program, arrays)
    assert np.isfinite(program("g", **arrays)[0]).all()


def test_the_sum_of_biases_overflows_to_no_removal():
    """Two finite terms whose sum is -inf: the key stays allowed, as no term is -inf."""
    for normalizer in ("softmax", "hardmax(last)"):
        program = compiled(
            attend(
                qkv("f64", 2, width=1, value_width=1) + ", %bias: f64[M], %bias2: f64[M]",
                f"normalizer = {normalizer}, bias = tensor(%bias) + tensor(%bias2), empty = default(%row)",
            ).replace(") {", ", %row: f64[1]) {", 1)
        )
        arrays = {
            "q": column(1.0),
            "k": column(1.0, 2.0),
            "v": column(3.0, 4.0),
            "bias": np.full(2, -1.5e308),
            "row": np.array([7.0]),
        }
        check_attention(program, arrays | {"bias2": np.full(2, -1.5e308)})
        check_attention(program, arrays | {"bias2": np.full(2, -INF)})
        assert program("g", **arrays, bias2=np.full(2, -INF)).item() == 7.0


@pytest.mark.parametrize("threads", [1, 5])
def test_the_error_of_an_empty_row_names_the_first(threads, monkeypatch):
    from attnc_backends.numba import executable

    monkeypatch.setattr(executable, "PARALLEL_WORK", 0)
    program = compiled(SPECS["empty is an error"])
    arrays = arrays_for(program.source_module["g"], {"B": 3, "G": 2, "H": 2, "N": 40, "M": 4})
    arrays |= {"queries": np.array([40, 33, 0]), "keys": np.array([4, 4, 4])}
    with pytest.raises(attnc.EmptyRowError, match=r"graph @g, %o: batch 1, head 0, row 33 may see no key"):
        program.run("g", arrays, threads=threads)


def test_look_ups_outside_their_table():
    program = compiled(
        attend(
            qkv("f64", 2, width=1, value_width=1) + ", %levels: f64[L], %steps: i64[2 x L]",
            "normalizer = softmax, mask = predicate(j < 3 and %steps[0, j] >= 0), bias = expression(where(j < 2, %levels[j], 0.0))",
        )
    )
    one = np.ones((3, 1))
    arrays = {
        "q": one,
        "k": np.ones((9, 1)),
        "v": np.ones((9, 1)),
        "levels": np.zeros(3),
        "steps": np.zeros((2, 3), np.int64),
    }
    assert program("g", **arrays).tolist() == [[1.0]] * 3  # the guards keep look-ups inside
    with pytest.raises(
        attnc.ArgumentError, match=r"%o: a look-up into %steps, %levels uses an index outside"
    ):
        program("g", **(arrays | {"levels": np.zeros(1), "steps": np.zeros((2, 1), np.int64)}))
    assert program(
        "g", **(arrays | {"q": one[:0], "levels": np.zeros(0), "steps": np.zeros((2, 0), np.int64)})
    ).shape == (0, 1)


def test_values_are_copied_bit_for_bit():
    """A winner's row comes as it is stored: the payload of a NaN, the sign of a zero."""
    program = compiled(SPECS["hardmax last f16 with expressions"])
    value = np.array([[0x7E55, 0x8000, 0x0001]] * 2, np.uint16).view(np.float16)
    out = program(
        "g", np.ones((1, 4), np.float16), np.ones((2, 4), np.float16), value, np.zeros(3, np.float32)
    )
    assert out.tobytes() == value[:1].tobytes()
    assert np.isnan(to_float64(out, program.source_module["g"].inputs[2].type.dtype)).any()
