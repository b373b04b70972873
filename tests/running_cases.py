"""Drawn arrays and drawn lives of states, run on several engines that must agree bit for bit."""

import tempfile

import numpy as np
from hypothesis import strategies as st

import attnc


class Engines(dict):
    """Programs of one spec by name; `"dense"` is compiled when it is first asked for."""

    def __init__(self, spec, programs):
        super().__init__(programs)
        self.spec = spec
        self._dense = None

    def __missing__(self, name):
        assert name == "dense", name
        self._dense = self._dense or attnc.compile(self.spec, strategy="dense")
        return self._dense


def everywhere(spec, strategy):
    """One spec by a strategy and by the reference interpreter; by the dense scan, too, for long inputs."""
    programs = {
        strategy: attnc.compile(spec, strategy=strategy),
        "reference": attnc.compile(spec, strategy="dense", backend="numpy"),
    }
    return Engines(spec, programs)


def columns(draw, shape, dtype, *, wild=False, numbers=(0.0, 1.0, -1.0, 2.0, -0.0, 0.1, 1.0 + 2.0**-20)):
    """An array in which ties and near-ties are common; `wild` adds infinities and NaN, rarely."""
    elements = st.sampled_from([*numbers] * 3 + ([np.inf, -np.inf, np.nan] if wild else []))
    count = int(np.prod(shape))
    seeds = draw(st.lists(elements, min_size=min(count, 24), max_size=min(count, 24)))
    flat = np.resize(np.array(seeds, "f8"), count)
    if count > 24:
        # Repeated with a twist, so that rows differ.
        flat = flat[np.random.default_rng(draw(st.integers(0, 99))).permutation(count)]
    return flat.reshape(shape).astype(dtype)


def outcome(run):
    """What a call gives: arrays, or the class of the error."""
    try:
        return run()
    except attnc.AttncError as error:
        return type(error)


def equal(one, two):
    if isinstance(one, type) or isinstance(two, type):
        return one is two
    one, two = (x if isinstance(x, tuple) else (x,) for x in (one, two))
    return all(
        x.dtype == y.dtype and x.shape == y.shape and np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
        for x, y in zip(one, two, strict=True)
    )


def assert_same(programs, arrays):
    """Every engine gives the same for a stateless call."""
    answers = {name: outcome(lambda p=program: p.run("g", arrays)) for name, program in programs.items()}
    first, *others = answers.values()
    assert all(equal(first, other) for other in others), f"{arrays}\n{answers}"


def extended(programs, states, arrays):
    """What each engine makes of the same steps."""
    return {
        name: outcome(lambda p=programs[name], s=state: p.extend(s, **arrays))
        for name, state in states.items()
    }


def drive(programs, rows, draw):
    """The same drawn life of a state on every engine: steps, truncations, forks; every answer must agree."""
    states = {name: program.state() for name, program in programs.items()}
    for _ in range(draw(st.integers(1, 6))):
        match draw(st.sampled_from(["extend", "extend", "truncate", "fork", "restore"])):
            case "extend":
                answers = extended(programs, states, rows(draw(st.integers(0, 5))))
                first, *others = answers.values()
                assert all(equal(first, other) for other in others), answers
            case "truncate":
                length = draw(st.integers(0, len(next(iter(states.values())))))
                for state in states.values():
                    state.truncate(length)
            case "fork":
                forks = {name: state.fork() for name, state in states.items()}
                extended(programs, states, rows(draw(st.integers(0, 2))))  # must leave the forks alone
                states = forks
            case "restore":
                for name, state in states.items():
                    with tempfile.TemporaryDirectory() as folder:
                        state.save(f"{folder}/state")
                        states[name] = programs[name].load_state(f"{folder}/state")
