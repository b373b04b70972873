"""Calls that repeat: whatever earlier calls left behind, each answers as the first of its kind would."""

import threading

import numpy as np
import pytest

import attnc
from attnc_ir.errors import ArgumentError, AttncError, EmptyRowError, StateError
from backend_cases import compiled

TWO_OPS = """
graph @f(%q: f64[N x 2], %k: f64[M x 2], %v: f64[M x 3]) {
  %d = add %k, %k
  %o = attend %q, %d, %v {normalizer = hardmax(last), mask = causal(0), empty = error}
  %r = neg %o
  return %r, %o
}
"""
MEMORY = """
graph @g(%q: f64[H x 2], %k: f64[H x 2], %v: f64[H x 3]) {
  %c = cache {heads = [H], key = f64[2], value = f64[3]}
  %w = add %v, %v
  %d = append %c, %k, %w
  %o = attend.step %q, %d {normalizer = hardmax(mean)}
  %p = attend.step %q, %d {normalizer = softmax}
  return %o, %p
}
"""
LOOKUP = """
graph @f(%q: f64[N x 2], %k: f64[N x 2], %v: f64[N x 2], %t: f64[2]) {
  %o = attend %q, %k, %v {normalizer = softmax, bias = expression(%t[j])}
  return %o
}
"""


def rows(draw, *shapes):
    return [draw.integers(-3, 4, shape).astype(float) for shape in shapes]


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_later_calls_answer_as_the_first():
    """New data, other lengths in between, strided and read-only arrays, by position and by name."""
    draw = np.random.default_rng(0)
    program = compiled(TWO_OPS)
    held = []
    for turn in range(12):
        n = (3, 5)[turn // 2 % 2]
        q, k, v = rows(draw, (n, 2), (n, 2), (n, 3))
        if turn % 3 == 2:
            q, v = np.asfortranarray(q), np.repeat(v, 2, 0)[::2]
        k.flags.writeable = False
        found = program("f", q, k, v) if turn % 2 else program.f(v=v, q=q, k=k)
        wanted = attnc.reference(TWO_OPS, "f", q=q, k=k, v=v)
        same(found, wanted)
        held.append((found, wanted))
    for found, wanted in held:  # a result is its caller's alone
        same(found, wanted)


def test_mistakes_are_found_after_calls_that_went_well():
    draw = np.random.default_rng(1)
    program = compiled(TWO_OPS)
    q, k, v = rows(draw, (3, 2), (3, 2), (3, 3))
    for _ in range(3):
        expected = program("f", q, k, v)
    wrong = {
        "float32": (q.astype(np.float32), k, v),
        "width": (q, k[:, :1], v),
        "missing": (q, k),
        "too many": (q, k, v, v),
        "lengths": (q, k, v[:2]),
    }
    for arrays in wrong.values():
        with pytest.raises(ArgumentError):
            program("f", *arrays)
    with pytest.raises(ArgumentError, match="no graph"):
        program("h", q, k, v)
    with pytest.raises(ArgumentError, match="no argument x"):
        program("f", q=q, k=k, x=v)
    with pytest.raises(ArgumentError, match="by position and by name"):
        program("f", q, k, v, v=v)
    same(program("f", q, k, v), expected)


class Subclass(np.ndarray):
    """An array, but not exactly one."""


def test_what_is_no_array_of_the_kind_is_left_to_the_call_in_full():
    """Compiled code looks at the objects themselves."""
    draw = np.random.default_rng(7)
    program = compiled(TWO_OPS)
    q, k, v = rows(draw, (3, 2), (3, 2), (3, 3))
    expected = program("f", q, k, v)
    for other in (q.tolist(), q.view(Subclass), q[::-1].copy()[::-1], memoryview(q)):
        for _ in range(2):
            same(program("f", other, k, v), expected)
    for other in (
        None,
        0,
        "q",
        object,
        q[0],
        q[None],
        q[:2, :1],
        q.astype(complex),
        q.astype(">f8"),
        np.float64(1),
        [],
        (),
        {},
    ):
        for _ in range(2):
            with pytest.raises(AttncError):
                program("f", other, k, v)
    same(program("f", q, k, v), expected)


def test_a_graph_without_arguments():
    program = compiled(
        "graph @f() { %x = constant {type = f64[2], values = [1.0, 2.0]}  %y = add %x, %x  return %y }"
    )
    for _ in range(3):
        np.testing.assert_array_equal(program("f"), [2.0, 4.0])
        with pytest.raises(ArgumentError, match="no argument z"):
            program("f", z=np.ones(2))
        with pytest.raises(ArgumentError):
            program("f", np.ones(2))


def test_a_row_that_may_see_nothing_is_an_error_each_time():
    program = compiled(TWO_OPS.replace("causal(0)", "causal(-1)"))
    draw = np.random.default_rng(2)
    for _ in range(3):
        with pytest.raises(EmptyRowError, match="row 0"):
            program("f", *rows(draw, (2, 2), (2, 2), (2, 3)))


def test_a_look_up_outside_its_table_is_an_error_each_time():
    program = compiled(LOOKUP)
    draw = np.random.default_rng(3)
    right, wrong = rows(draw, (2, 2), (2, 2), (2, 2), 2), rows(draw, (3, 2), (3, 2), (3, 2), 2)
    expected = program("f", *right)
    for _ in range(3):
        np.testing.assert_array_equal(program("f", *right), expected)
        with pytest.raises(ArgumentError, match="outside the table"):
            program("f", *wrong)


def test_threads_call_one_program_at_once():
    draw = np.random.default_rng(4)
    program = compiled(TWO_OPS)
    calls = [rows(draw, (4, 2), (4, 2), (4, 3)) for _ in range(4)]
    wanted = [program("f", *arrays) for arrays in calls]
    faults = []

    def repeat(number):
        for _ in range(300):
            try:
                same(program("f", *calls[number]), wanted[number])
            except AssertionError as fault:
                faults.append(fault)

    threads = [threading.Thread(target=repeat, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_steps_one_by_one_are_steps_at_once():
    """Past the steps that scratch was made for, in two ways of lying, over forks, cuts and states that are gone."""
    draw = np.random.default_rng(5)
    program = compiled(MEMORY)
    for steps in (700, 40):
        q, k, v = rows(draw, (steps, 2, 2), (steps, 2, 2), (steps, 2, 3))
        whole = program.extend(program.state(H=2), q, k, v)
        state = program.state(H=2)
        for t in range(steps):
            if t == 20:
                state = state.fork()
            if t == 30:
                state.truncate(15)
                for again in range(15, 30):
                    program.step(state, q[again], k[again], v[again])
            query = np.asfortranarray(q[t]) if t % 3 else q[t]
            found = program.step(state, query, v=v[t], k=k[t]) if t % 2 else None
            found = program.step(state, query, k[t], v[t]) if found is None and t % 4 else found
            found = program.step(state, q=query, k=k[t], v=v[t]) if found is None else found
            np.testing.assert_array_equal(found[0], whole[0][t])
            np.testing.assert_allclose(found[1], whole[1][t], rtol=1e-12)
        assert len(state) == steps


def test_a_step_that_fails_changes_nothing():
    spec = """graph @g(%q: f64[2], %k: f64[2], %v: f64[1]) {
      %c = cache {heads = [], key = f64[2], value = f64[1]}
      %d = append %c, %k, %v
      %o = attend.step %q, %d {normalizer = hardmax(last), keys = monotone(0)}
      return %o
    }"""
    program = compiled(spec)
    state, other = program.state(), program.state()
    for t in range(40):
        q, k, v = np.array([1.0, 0.5]), np.array([float(t), -1.0]), np.array([float(t)])
        bad = np.array([np.nan, 0.0]) if t % 2 or not t else np.array([t - 1.0, 0.0])
        with pytest.raises(AttncError, match=f"position {t}"):
            program.step(state, q, bad, v)
        assert len(state) == t
        assert program.step(state, q, k, v) == program.step(other, q, k, v)


def test_a_state_in_use_is_refused():
    program = compiled(MEMORY)
    state = program.state(H=1)
    arrays = (np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 3)))
    for _ in range(3):
        program.step(state, *arrays)
    with state._inner, pytest.raises(StateError, match="in use"):
        program.step(state, *arrays)
    program.step(state, *arrays)
    assert len(state) == 4


def test_attention_again():
    """Calls that differ in one argument are told apart; wrong ones stay wrong."""
    draw = np.random.default_rng(6)
    kinds = [
        {}, {"scale": 1.0}, {"scale": 1}, {"mask": attnc.causal("bottom_right")}, {"return_lse": True},
        {"normalizer": "hardmax", "tie": "first", "keys": "integer"},
    ]  # fmt: skip
    first = {}
    q, k, v = rows(draw, (1, 2, 3, 2), (1, 2, 3, 2), (1, 2, 3, 2))
    for turn in range(3):
        for number, options in enumerate(kinds):
            found = attnc.attention(q, k, v, **options)
            found = found if isinstance(found, tuple) else (found,)
            if turn == 0:
                first[number] = found
            same(found, first[number])
        for wrong in ({"scale": True}, {"softcap": "1"}, {"tie": "last"}, {"keys": []}, {"mask": "causal"}):
            with pytest.raises((AttncError, TypeError)):
                attnc.attention(q, k, v, **wrong)
        with pytest.raises(ArgumentError):
            attnc.attention(q, k, v[:, :, :2])
        with pytest.raises(AttncError):
            attnc.attention(q, k + 0.5, v, **kinds[-1])
