"""States on disk: what is saved comes back the same, and nothing else does."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

import attnc

SPEC = """
graph @memory(%q: f32[B x H x 2], %k: f32[B x H x 2], %v: f32[B x H x 3]) {
  %c = cache {heads = [B x H], key = f32[2], value = f32[3]}
  %before = attend.step %q, %c {normalizer = hardmax(mean)}
  %c1 = append %c, %k, %v
  %last = attend.step %q, %c1 {normalizer = hardmax(last)}
  %soft = attend.step %q, %c1 {normalizer = softmax}
  return %before, %last, %soft
}
graph @other(%q: f32[H x 2]) {
  %c = cache {heads = [H], key = f32[2], value = f32[2]}
  %c1 = append %c, %q, %q
  %o = attend.step %q, %c1 {normalizer = softmax}
  return %o
}
"""


@pytest.fixture(scope="module", params=["numba", "numpy"])
def program(request: pytest.FixtureRequest) -> attnc.Program:
    return attnc.compile(SPEC, backend=request.param)


def steps(seed: int, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "q": rng.integers(-2, 3, (count, 2, 3, 2)).astype(np.float32),
        "k": rng.integers(-2, 3, (count, 2, 3, 2)).astype(np.float32),
        "v": rng.normal(size=(count, 2, 3, 3)).astype(np.float32),
    }


@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_loaded_state_continues_as_the_saved_one(
    program: attnc.Program, tmp_path: Path, count: int
) -> None:
    state = program.state("memory", B=2, H=3)
    program.extend(state, **steps(1, count))
    state.save(tmp_path / "state")
    loaded = program.load_state(tmp_path / "state", "memory")
    assert len(loaded) == count
    for expected, found in zip(
        program.extend(state, **steps(2, 15)), program.extend(loaded, **steps(2, 15)), strict=True
    ):
        np.testing.assert_array_equal(expected, found)


def test_a_state_moves_between_backends(tmp_path: Path) -> None:
    compiled, interpreted = attnc.compile(SPEC), attnc.compile(SPEC, backend="numpy")
    state = compiled.state("memory", B=2, H=3)
    compiled.extend(state, **steps(3, 20))
    state.save(tmp_path / "state")
    other = interpreted.load_state(tmp_path / "state", "memory")
    _, expected, _ = compiled.extend(state, **steps(4, 5))
    _, found, _ = interpreted.extend(other, **steps(4, 5))
    np.testing.assert_array_equal(expected, found)


@pytest.fixture
def saved(program: attnc.Program, tmp_path: Path) -> Path:
    state = program.state("memory", B=2, H=3)
    program.extend(state, **steps(5, 9))
    path = tmp_path / "saved"
    state.save(path)
    return path


def test_no_altered_byte_loads(program: attnc.Program, saved: Path) -> None:
    content = saved.read_bytes()
    for place in [*range(60), *range(60, len(content), 97), len(content) - 1]:
        saved.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        with pytest.raises(attnc.StateError, match="saved"):
            program.load_state(saved, "memory")


def test_no_part_of_a_file_loads(program: attnc.Program, saved: Path) -> None:
    content = saved.read_bytes()
    for length in [*range(60), *range(60, len(content), 113), len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(attnc.StateError, match="saved"):
            program.load_state(saved, "memory")
    saved.write_bytes(content + b"x")
    with pytest.raises(attnc.StateError, match="damaged"):
        program.load_state(saved, "memory")


def test_a_file_of_other_caches_is_refused(program: attnc.Program, saved: Path) -> None:
    with pytest.raises(attnc.StateError, match="other caches than those of @other"):
        program.load_state(saved, "other")


def test_a_missing_file_is_named(program: attnc.Program, tmp_path: Path) -> None:
    with pytest.raises(attnc.StateError, match=r"nowhere.*No such file"):
        program.load_state(tmp_path / "nowhere", "memory")


def test_a_full_disk_leaves_the_old_file_and_the_state(
    program: attnc.Program, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = saved.read_bytes()
    state = program.load_state(saved, "memory")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(attnc.StateError, match="No space left"):
        state.save(saved)
    assert saved.read_bytes() == content
    assert [p.name for p in saved.parent.iterdir()] == ["saved"]
    assert len(state) == 9


def test_a_state_without_sizes_has_nothing_to_save(program: attnc.Program, tmp_path: Path) -> None:
    with pytest.raises(attnc.StateError, match="nothing to save"):
        program.state("memory").save(tmp_path / "state")
