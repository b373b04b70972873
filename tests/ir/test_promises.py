"""Promises about keys: how they read, what the verifier says, and what breaks them."""

import numpy as np
import pytest

import attnc
from attnc_ir.attributes.promise import PARABOLA_REACH, PROMISES, Integer, Monotone, Parabola
from attnc_ir.builder import GraphBuilder, read_attribute

BATCH = """graph @g(%q: f64[B x H x N x 2], %k: f64[B x H x M x 2], %v: f64[B x H x M x 1]) {{
  %o = attend %q, %k, %v {{normalizer = hardmax(last), keys = {}}}
  return %o
}}"""
STEP = """graph @g(%q: f32[2], %k: f32[2], %v: f32[1]) {{
  %c = cache {{heads = [], key = f32[2], value = f32[1]}}
  %c1 = append %c, %k, %v
  %o = attend.step %q, %c1 {{normalizer = hardmax(last), keys = {}}}
  return %o
}}"""


@pytest.mark.parametrize(
    ("text", "promises"),
    [
        ("none", ()),
        ("integer", (Integer(),)),
        ("integer(-3, 4)", (Integer(-3, 4),)),
        ("monotone(1) & parabola & integer", (Monotone(1), Parabola(), Integer())),
    ],
)
def test_text_and_objects_say_the_same(text, promises):
    assert read_attribute("keys", PROMISES, text) == promises
    assert PROMISES.write(promises) == text
    module = attnc.parse(BATCH.format(text))
    assert attnc.parse(attnc.format(module)) == module
    b = GraphBuilder("g")
    q, k, v = (b.input(n, f"f64[B x H x {d}]") for n, d in (("q", "N x 2"), ("k", "M x 2"), ("v", "M x 1")))
    assert b.build(b.attend(q, k, v, name="o", normalizer="hardmax(last)", keys=promises)) == module["g"]


def batch(keys):
    keys = np.asarray(keys, float)
    return {"q": np.zeros((*keys.shape[:2], 1, 2)), "k": keys, "v": np.zeros((*keys.shape[:3], 1))}


GOOD, BAD = [[0.0, -0.0], [2.0, -1.0], [6.0, -9.0]], {
    "integer": [2.0, -1.5],
    "integer(-9, 6)": [7.0, -9.0],
    "monotone(0)": [0.0, -4.0],
    "parabola": [3.0, -2.25],
}  # fmt: skip


@pytest.mark.parametrize("promise", BAD)
def test_a_broken_promise_is_named_with_its_key(promise):
    text = BATCH.format(promise)
    keys = np.tile(np.array(GOOD), (2, 3, 1, 1))
    attnc.reference(text, "g", **batch(keys))
    keys[1, 2, 1] = BAD[promise]
    x, y = BAD[promise]
    said = rf"@g, %o: the key %k for batch 1, head 2, position 1 is \({x}, {y}\), which breaks the promise keys = "
    with pytest.raises(attnc.PromiseError, match=said) as caught:
        attnc.reference(text, "g", **batch(keys))
    assert f"keys = {promise};" in str(caught.value)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_no_integer_and_no_point_of_the_parabola(number):
    for promise in ("integer", "parabola"):
        for key in ([number, 0.0], [0.0, number]):
            with pytest.raises(attnc.PromiseError):
                attnc.reference(BATCH.format(promise), "g", **batch([[[key]]]))


def test_the_parabola_ends_where_it_is_said_to_end():
    def keys(a):
        return batch([[[[2.0 * a, -float(a) * a]]]])

    for a in (PARABOLA_REACH, -PARABOLA_REACH):
        attnc.reference(BATCH.format("parabola"), "g", **keys(a))
        with pytest.raises(attnc.PromiseError):
            attnc.reference(BATCH.format("parabola"), "g", **keys(a + (1 if a > 0 else -1)))


def test_padding_beyond_the_lengths_is_exempt():
    text = BATCH.format("integer").replace("%v: f64", "%n: i64[B], %v: f64")
    text = text.replace("keys = integer", "mask = lengths(%n, %n), keys = integer")
    keys = np.zeros((2, 1, 3, 2))
    keys[0, 0, 2] = keys[1, 0, 1:] = np.nan
    attnc.reference(text, "g", **batch(keys), n=np.array([1, 1]))
    with pytest.raises(attnc.PromiseError, match="batch 1, head 0, position 1"):
        attnc.reference(text, "g", **batch(keys), n=np.array([1, 2]))


def test_a_promise_is_checked_before_the_first_reader_of_its_keys():
    text = BATCH.format("integer").replace(
        "  %o", "  %p = attend %q, %k, %v {normalizer = softmax, mask = nothing, empty = error}\n  %o"
    )
    with pytest.raises(attnc.PromiseError, match="%o: the key %k"):
        attnc.reference(text, "g", **batch([[[[0.5, 0.0]]]]))


@pytest.fixture(scope="module", params=["numba", "numpy"])
def program(request):
    text = STEP.format("integer(-9, 9) & monotone(1)")
    return attnc.compile(text, backend=request.param, strategy="dense")


def steps(*keys):
    keys = np.array(keys, np.float32).reshape(-1, 2)
    return {"q": keys, "k": keys, "v": np.arange(len(keys), dtype=np.float32)[:, np.newaxis]}


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([1.0, 4.5], r"position 3 is \(1.0, 4.5\), which breaks the promise keys = integer\(-9, 9\)"),
        ([-10.0, 4.0], r"position 3 is \(-10.0, 4.0\), which breaks the promise keys = integer\(-9, 9\)"),
        ([0.0, 3.0], r"position 3 is \(0.0, 3.0\), which breaks the promise keys = monotone\(1\)"),
    ],
)
def test_a_bad_append_leaves_the_state_alone(program, bad, said):
    state = program.state()
    program.extend(state, **steps([0, 1], [5, 2]))
    with pytest.raises(attnc.PromiseError, match=f"%o: the key %k that is appended for {said}; the state is"):
        program.extend(state, **steps([0, 3], bad))
    assert len(state) == 2
    # After a truncation the key before is the one that stays.
    state.truncate(1)
    last = program.extend(state, **steps([9, 2], [0, 3]))
    assert last.tolist() == [[0.0], [1.0]]
    with pytest.raises(attnc.PromiseError, match="position 3"):
        program.step(state, **{name: x[0] for name, x in steps([0, 3]).items()})


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_large_numbers_are_integers(backend):
    program = attnc.compile(STEP.format("integer").replace("f32", "f64"), backend=backend, strategy="dense")
    state = program.state()
    keys = np.array([[1e300, -(2.0**63)], [2.0**80, 5e15]])
    program.extend(state, q=keys, k=keys, v=keys[:, :1])
    with pytest.raises(attnc.PromiseError):
        program.step(state, q=keys[0], k=np.array([5e-324, 0.0]), v=keys[0, :1])


def test_a_state_of_other_rows_is_not_restored(program, tmp_path):
    free = attnc.compile(STEP.format("none"), backend="numpy")
    state = free.state()
    free.extend(state, **steps([0, 1], [5, 1]))
    state.save(tmp_path / "state")
    with pytest.raises(attnc.PromiseError, match=r"%c is to hold for position 1 is \(5.0, 1.0\)"):
        program.load_state(tmp_path / "state")


def test_compiled_batches_check_computed_keys():
    text = BATCH.format("parabola").replace("%o = attend %q, %k", "%w = add %k, %k\n  %o = attend %q, %w")
    program = attnc.compile(text, strategy="dense")
    keys = np.array(GOOD) / 2
    program.run("g", batch(keys[np.newaxis, np.newaxis]))
    keys[2, 0] += 1
    with pytest.raises(
        attnc.PromiseError, match=r"the key %w for batch 0, head 0, position 2 is \(8.0, -9.0\)"
    ):
        program.run("g", batch(keys[np.newaxis, np.newaxis]))


def test_the_front_door_takes_promises():
    keys = np.array(GOOD)[np.newaxis, np.newaxis]
    options = {"normalizer": "hardmax", "tie": "last", "strategy": "dense"}
    found = attnc.attention(keys, keys, keys, keys="parabola & monotone(0)", **options)
    assert (found == keys[..., 2:, :]).all()
    with pytest.raises(attnc.PromiseError, match="position 1"):
        attnc.attention(keys, keys, keys, keys="monotone(1)", **options)
    with pytest.raises(attnc.SpecError, match="unknown promise 'sorted'"):
        attnc.attention(keys, keys, keys, keys="sorted")
    with pytest.raises(attnc.ArgumentError, match="give promises as text"):
        attnc.attention(keys, keys, keys, keys=3)
