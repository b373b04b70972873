"""The region that a cache keeps for structures: told of every row, moved, copied, and built anew from rows."""

from dataclasses import replace

import numpy as np
import pytest

import attnc
from attnc_backends.numba import arena as state_module
from attnc_backends.numba import lower
from attnc_backends.numba.makers import MAKINGS
from attnc_backends.numba.structures import Structure
from attnc_ir.attributes.strategy import Dense

SPEC = """graph @g(%x: f64[3 x 1], %v: f64[3 x 2]) {
  %c = cache {heads = [3], key = f64[1], value = f64[2]}
  %d = append %c, %x, %v
  %o = attend.step %x, %d {normalizer = hardmax(last)}
  return %o
}"""

# A structure of three words: its capacity, how many rows it was told of, and the sum of their first values.
TALLY = Structure(
    name="a tally",
    size="24 + 0 * capacity",
    start="store_i64(at, capacity)\nstore_i64(at + 8, 0)\nstore_f64(at + 16, 0.0)",
    move="copy_bytes(at, source, 24)\nstore_i64(at, capacity)",
    append=(
        "store_i64(at + 8, load_i64(at + 8) + 1)\n"
        "store_f64(at + 16, load_f64(at + 16) + load_f64(values + 16 * row))"
    ),
    scratch="8",
)


def tallies(state):
    """Capacity, count and sum for each head."""
    arena = state._inner.arena
    ((offset, stride),) = arena.sections[0].structures
    regions = [arena.memory[offset + head * stride :][:24] for head in range(3)]
    return [(*r[:16].view(np.int64).tolist(), float(r[16:].view(np.float64)[0])) for r in regions]


def rows(start, stop):
    count = np.arange(start, stop, dtype="f8")
    values = np.zeros((stop - start, 3, 2))
    values[..., 0] = count[:, None] * [1, 10, 100]
    return {"x": np.zeros((stop - start, 3, 1)), "v": values}


@pytest.mark.parametrize("reserved", [True, False])
def test_a_structure_lives_as_its_cache_does(monkeypatch, tmp_path, reserved):
    monkeypatch.setitem(MAKINGS, Dense, replace(MAKINGS[Dense], keeper=lambda op: TALLY))
    if not reserved:  # as where the system gives no more address space
        monkeypatch.setattr(state_module, "reserve", lambda size: None)
    program = attnc.compile(SPEC, strategy="dense")

    def expected(capacity, count):
        total = sum(range(count))
        return [(capacity, count, float(factor * total)) for factor in (1, 10, 100)]

    state = program.state()
    program.extend(state, **rows(0, 5))
    first = tallies(state)[0][0]
    assert first > 1_000_000 if reserved else first == 256
    assert tallies(state) == expected(first, 5)
    fork = state.fork()
    program.extend(state, **rows(5, 300))  # beyond the first arena
    capacity = tallies(state)[0][0]
    assert capacity == first if reserved else capacity > 256
    assert tallies(state) == expected(capacity, 300)
    state.truncate(7)
    assert tallies(state) == expected(capacity, 7)
    state.save(tmp_path / "state")
    assert tallies(program.load_state(tmp_path / "state")) == expected(first, 7)
    assert tallies(fork) == expected(first, 5)


def test_readers_that_ask_for_the_same_share_it():
    two = SPEC.replace(
        "  return %o", "  %p = attend.step %v0, %d {normalizer = hardmax(last)}\n  return %o, %p"
    ).replace("%x: f64[3 x 1],", "%x: f64[3 x 1], %v0: f64[3 x 1],")
    for text, count in (
        (two, 1),
        (two.replace("{normalizer = hardmax(last)}\n  return", "{normalizer = hardmax(mean)}\n  return"), 2),
    ):
        program = attnc.compile(text, strategy="extremum", backend="numpy")
        (plan,) = lower.lower_graph(program.module["g"], 0).caches
        assert len(plan.structures) == count
