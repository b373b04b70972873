"""Keys in order: the compiled monotone hull against the reference and the dense scan, whatever the keys really do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attnc
from attnc.plan import Cost
from attnc.strategies import MonotoneJudge
from running_cases import assert_same, columns, drive, everywhere

# The strategy is written out and its judge silenced, so that keys may break any promise.
BATCH = """graph @g(%x: f64[4 x N x 2], %up: f64[4 x N x 2], %k: f64[2 x M x 2], %v: f64[2 x M x 2], %w: f16[2 x M x 3]) {
  %a = attend %x, %k, %v {normalizer = hardmax(mean), mask = causal(1), scale = -0.5, strategy = monotone(0, 0)}
  %b = attend %x, %k, %w {normalizer = hardmax(first), mask = causal(bottom_right), strategy = monotone(1, 0)}
  %c = attend %up, %k, %w {normalizer = hardmax(last), strategy = monotone(0, 1)}
  %d = attend %up, %k, %v {normalizer = hardmax(mean), mask = causal(-2), scale = -1.0, strategy = monotone(0, -1)}
  return %a, %b, %c, %d
}"""
STEP = """graph @g(%x: f32[2 x 4 x 2], %k: f32[2 x 2 x 2], %v: f64[2 x 2 x 2]) {
  %c = cache {heads = [2 x 2], key = f32[2], value = f64[2]}
  %d = append %c, %k, %v
  %o = attend.step %x, %d {normalizer = hardmax(mean), strategy = monotone(0, 0)}
  %p = attend.step %x, %d {normalizer = hardmax(last), mask = causal(2), strategy = monotone(0, 0)}
  %r = attend.step %x, %d {normalizer = hardmax(first), scale = -2.0, strategy = monotone(0, 0)}
  return %o, %p, %r
}"""


@pytest.fixture(scope="module")
def silenced():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MonotoneJudge, "why_not", lambda *_: ())
        patch.setattr(MonotoneJudge, "cost", lambda *_: Cost((("nothing", 0.0),)))
        yield


@pytest.fixture(scope="module")
def programs(silenced):
    return everywhere(BATCH, "monotone")


@pytest.fixture(scope="module")
def steppers(silenced):
    return everywhere(STEP, "monotone")


SHAPES = ("parabola", "parabola", "upwards", "line", "cubic", "grid", "extreme")
BREAKS = ("none", "none", "swap", "repeat", "nudge", "above")


def keys_in_order(shape, start, rows, size, broken, where, dtype):
    """`rows` keys for each of `size` heads, in order from position `start` on but for what `broken` does."""
    t = np.arange(start, start + rows, dtype="f8")
    y = {
        "parabola": -t * t,
        "upwards": t * t / 2,
        "line": 3 * t,
        "cubic": -(t**3) + np.floor(t / 2),
        "grid": np.floor(t / 3) % 2,
        "extreme": -(2.0**300) * t * t,
    }[shape]
    unit = 2.0 ** (-500) if shape == "extreme" and dtype == "f8" else 1.0
    if shape == "extreme" and dtype == "f4":
        y = -(2.0**60) * t * t
    one = np.stack([2 * t * unit, y], -1)
    keys = np.repeat(one[:, None], size, 1)
    keys[:, 1::2] *= [1, -1]
    if rows > 1 and broken != "none":
        at = where % rows
        keys[at] = {
            "swap": keys[at - 1] - 1,
            "repeat": keys[at - 1],
            "nudge": keys[at] + [0, 1],
            "above": keys[at] + [0, 1e6],
        }[broken]
    return keys.astype(dtype)


def queries_near(rng, keys, count, dtype):
    """Queries that point at keys, between two of them, across an edge, or nowhere: [count, 2]."""
    found = []
    for _ in range(count):
        if len(keys) > 1 and rng.integers(4):
            a, b = keys[rng.integers(len(keys))].astype("f8"), keys[rng.integers(len(keys))].astype("f8")
            found.append(np.array([a[1] - b[1], b[0] - a[0]]) * rng.choice([1.0, -1.0, 0.5]))
        else:
            found.append(rng.choice([[0, 0], [1, 0], [-1, -0.0], [0, 1], [3.25, 1], [7, -1], [1e-300, 1]]))
    with np.errstate(over="ignore"):
        return np.nan_to_num(np.array(found, "f8").astype(dtype)).reshape(count, 2)


@settings(max_examples=100)
@given(
    st.data(), st.sampled_from(SHAPES), st.sampled_from(BREAKS), st.integers(0, 9), st.integers(0, 14),
    st.integers(0, 99), st.booleans(), st.booleans(),
)  # fmt: skip
def test_batches_answer_like_the_reference(programs, data, shape, broken, n, m, seed, swapped, wild):
    rng = np.random.default_rng(seed)
    keys = keys_in_order(shape, 0, m, 2, broken, seed, "f8").transpose(1, 0, 2)
    if swapped:
        keys = keys[..., ::-1]  # not contiguous
    x = queries_near(rng, keys[seed % 2], 4 * n, "f8").reshape(4, n, 2)
    up = np.copy(x)
    up[..., 1] = abs(up[..., 1])
    if wild and n and m:
        x[rng.integers(4), rng.integers(n), 1] = np.nan
        if seed % 2:
            keys = keys.copy()
            keys[0, rng.integers(m), 0] = np.inf
    v = columns(data.draw, (2, m, 2), "f8", wild=True)
    w = columns(data.draw, (2, m, 3), "f2")
    v.setflags(write=False)
    assert_same(programs, {"x": x, "up": up, "k": keys, "v": v, "w": w})


@pytest.mark.thorough
@pytest.mark.parametrize("shape", sorted(set(SHAPES)))
@pytest.mark.parametrize("broken", sorted(set(BREAKS)))
def test_long_sequences_answer_like_the_dense_scan(programs, shape, broken):
    rng = np.random.default_rng(3)
    m = n = 400
    keys = keys_in_order(shape, 0, m, 2, broken, 300, "f8").transpose(1, 0, 2)
    x = queries_near(rng, keys[0], 4 * n, "f8").reshape(4, n, 2)
    up = np.concatenate([x[..., :1], abs(x[..., 1:])], -1)
    values = rng.integers(-9, 10, (2, m, 2)).astype("f8")
    arrays = {"x": x, "up": up, "k": keys, "v": values, "w": rng.standard_normal((2, m, 3)).astype("f2")}
    for got, wanted in zip(
        programs["monotone"].run("g", arrays), programs["dense"].run("g", arrays), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def rows(draw, steps):
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    shape, broken = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(BREAKS))
    keys = keys_in_order(shape, draw(st.integers(0, 4)), steps, 4, broken, 2, "f4")
    x = queries_near(rng, keys[:, 0], steps * 8, "f4")
    return {
        "x": x.reshape(steps, 2, 4, 2),
        "k": keys.reshape(steps, 2, 2, 2),
        "v": columns(draw, (steps, 2, 2, 2), "f8", wild=True),
    }


@settings(max_examples=40)
@given(st.data())
def test_steps_under_truncation_forks_and_snapshots(steppers, data):
    drive(steppers, lambda steps: rows(data.draw, steps), data.draw)


@pytest.mark.thorough
@pytest.mark.parametrize(("shape", "broken"), [("parabola", "none"), ("upwards", "nudge"), ("line", "above")])
def test_many_steps_in_several_calls(steppers, shape, broken):
    rng = np.random.default_rng(1)
    count = 330
    keys = keys_in_order(shape, 0, count, 4, broken, 250, "f4")
    arrays = {
        "x": queries_near(rng, keys[:, 0], count * 8, "f4").reshape(count, 2, 4, 2),
        "k": keys.reshape(count, 2, 2, 2),
        "v": rng.integers(-9, 10, (count, 2, 2, 2)).astype("f8"),
    }
    fast, dense = (steppers[name] for name in ("monotone", "dense"))
    one, two = fast.state(), dense.state()
    for start, stop in ((0, 63), (63, 65), (65, 330)):
        part = {name: array[start:stop] for name, array in arrays.items()}
        for x, y in zip(fast.extend(one, **part), dense.extend(two, **part), strict=True):
            np.testing.assert_array_equal(x, y)


def test_proved_order_is_chosen_and_answers_past_its_bound():
    # In f16, squares are exact below position 46: later keys need not be in order, and are not.
    spec = """graph @g(%x: f32[N x 2], %v: f32[M x 1]) {
      %i = iota {type = f16[M x 1], axis = 0}
      %square = mul %i, %i
      %half = convert %i {to = f32}
      %wide = convert %square {to = f32}
      %down = neg %wide
      %k = concat %half, %down
      %o = attend %x, %k, %v {normalizer = hardmax(last), mask = causal(bottom_right)}
      return %o
    }"""
    program = attnc.compile(spec, sizes={"N": 4096, "M": 4096})
    assert program.plan.node("o").chosen.strategy == "monotone"
    rng = np.random.default_rng(0)
    t = rng.integers(0, 120, 90)
    x = np.stack([2 * t + rng.integers(0, 2, 90), np.ones(90)], -1).astype("f4")
    v = np.arange(90, dtype="f4")[:, None]
    dense = attnc.compile(spec, strategy="dense")
    np.testing.assert_array_equal(program("g", x, v), dense("g", x, v))
