"""What is compiled, and when: once for all lengths, once for all processes, and again when the cache was spoiled."""

import json
import os
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

import attnc
from attnc_backends.numba import modules
from attnc_backends.numba.shared import LIBRARIES, library_source, shared_compilations
from attnc_ir.kept import ENV_CACHE_DIR
from backend_cases import compiled, same_numbers

LENGTHS = """
graph @decode(%q: f32[B x 4 x N x 16], %k: f32[B x 2 x M x 16], %v: f32[B x 2 x M x 16]) {
  %o = attend %q, %k, %v {normalizer = softmax, mask = causal(bottom_right) & window(64, 0), scale = 0.25}
  return %o
}
graph @lookup(%q: f64[N x 2], %k: f64[M x 2], %v: f64[M x 1]) {
  %o = attend %q, %k, %v {normalizer = hardmax(last), mask = causal(bottom_right), strategy = hull}
  return %o
}
"""


def files_in(directory):
    return sorted((str(path), path.stat().st_mtime_ns) for path in directory.rglob("*"))


def test_one_compilation_serves_every_length(tmp_path, monkeypatch):
    program = compiled(LENGTHS)
    program.lookup(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 1)))  # libraries load at a first call
    before, shared = program.compilations, shared_compilations()
    # Whatever were generated now would be written here; other tests may be filling the usual place.
    monkeypatch.setenv(ENV_CACHE_DIR, str(tmp_path))
    for n in (1, 2, 15, 16, 17, 63, 64, 65, 1000, 4097, 100_000):
        keys = np.stack([2.0 * np.arange(n), -1.0 * np.arange(n) ** 2], axis=-1)
        queries = np.stack([np.arange(n) // 2, np.ones(n)], axis=-1)
        found = program.lookup(queries, keys, np.arange(float(n))[:, np.newaxis])
        assert (found[:, 0] == np.arange(n) // 2).all()
        keys = np.zeros((1, 2, n, 16), np.float32)
        out = program.decode(np.zeros((1, 4, 1, 16), np.float32), keys, keys + 0.5)
        assert (out == 0.5).all()
    assert (program.compilations, shared_compilations()) == (before, shared)
    assert files_in(tmp_path) == []


SECOND = """
import json, sys
import numpy as np
import attnc
from attnc_backends.numba.shared import shared_compilations

program = attnc.compile(sys.stdin.read(), pipeline="select-strategy")
n = 300
keys = np.stack([2.0 * np.arange(n), -1.0 * np.arange(n) ** 2], axis=-1)
out = program.lookup(keys[:, ::-1], keys, np.arange(float(n))[:, np.newaxis])
print(json.dumps([program.compilations, shared_compilations(), str(program.path), out.sum()]))
"""


def test_a_second_process_compiles_nothing(tmp_path):
    """Given nothing but what the first one left behind for this spec, copied to another place."""
    program = compiled(LENGTHS)
    program.lookup(np.ones((1, 2)), np.ones((1, 2)), np.ones((1, 1)))
    for name in (
        program.path.stem,
        "library_*",
        "grammar_*",
        *(modules.module_name(library_source(x)) for x in LIBRARIES),
    ):
        for file in program.path.parent.rglob(f"{name}.*"):
            copy = tmp_path / file.relative_to(program.path.parent)
            copy.parent.mkdir(exist_ok=True)
            shutil.copy2(file, copy)
    files = files_in(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", SECOND],
        input=LENGTHS,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {ENV_CACHE_DIR: str(tmp_path)},
    )
    compilations, shared, path, total = json.loads(done.stdout)
    assert (compilations, shared, path) == (0, 0, str(tmp_path / program.path.name))
    assert [name for name, _ in files_in(tmp_path)] == [name for name, _ in files]
    n = 300
    keys = np.stack([2.0 * np.arange(n), -1.0 * np.arange(n) ** 2], axis=-1)
    assert program.lookup(keys[:, ::-1], keys, np.arange(float(n))[:, np.newaxis]).sum() == total


# --- a cache of one's own ---


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache directory, and a spec that no other test compiles."""
    monkeypatch.setenv(ENV_CACHE_DIR, str(tmp_path / "cache"))
    return tmp_path / "cache"


def fresh(text):
    """Compile as a new process would: the module is forgotten afterwards."""
    program = attnc.compile(text)
    del sys.modules[program.path.stem]
    return program


SMALL = "graph @g(%unusual_name: f64[N]) {\n  %y = neg %unusual_name\n  return %y\n}\n"


def test_the_second_time_it_is_loaded(cache):
    assert fresh(SMALL).compilations == 1
    again = fresh(SMALL)
    assert again.compilations == 0
    assert again("g", np.array([1.0])).tolist() == [-1.0]
    assert again.path.parent == cache


@pytest.mark.parametrize("damage", ["", "raise ValueError('not this')\n", "\x00", "def f(:\n"])
def test_a_spoiled_module_file_is_written_anew(cache, damage):
    program = fresh(SMALL)
    program.path.write_text(damage)
    again = fresh(SMALL)
    assert again("g", np.array([2.0])).tolist() == [-2.0]
    assert again.path.read_text() == program.source()


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
@pytest.mark.parametrize("damage", [b"", b"\x80\x04garbage", None])
def test_spoiled_machine_code_is_made_anew(cache, pattern, damage):
    program = fresh(SMALL)
    kept = list((cache / "__pycache__").glob(pattern))
    assert kept
    for file in kept:
        file.write_bytes(file.read_bytes()[:-20] if damage is None else damage)
    again = fresh(SMALL)
    assert again("g", np.array([2.0])).tolist() == [-2.0]
    assert again.path == program.path
    assert fresh(SMALL).compilations == 0


def test_a_cache_directory_that_cannot_be_one(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    for place in (file, file / "below"):
        monkeypatch.setenv(ENV_CACHE_DIR, str(place))
        with pytest.raises(attnc.CacheError, match=r"cannot keep generated code in .*set ATTNC_CACHE_DIR"):
            attnc.compile(SMALL)
    assert file.read_text() == ""


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="only a plain user is kept out by permissions"
)
def test_a_cache_directory_without_permission(tmp_path, monkeypatch):
    tmp_path.chmod(0o500)
    monkeypatch.setenv(ENV_CACHE_DIR, str(tmp_path / "cache"))
    with pytest.raises(attnc.CacheError, match="ermission"):
        attnc.compile(SMALL)


def test_threads_that_compile_the_same_spec_at_once(cache):
    text = SMALL.replace("unusual", "very_unusual")
    barrier, results = threading.Barrier(3), []

    def work():
        barrier.wait()
        results.append(attnc.compile(text)("g", np.array([3.0])))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [r.tolist() for r in results] == [[-3.0]] * 3


# --- what can be looked at ---


def test_llvm_and_assembly():
    program = compiled(LENGTHS)
    assert "define" in program.llvm("lookup")
    assert "g1_entry" in program.asm("lookup")
    with pytest.raises(attnc.ArgumentError, match="which graph"):
        program.llvm()
    interpreted = attnc.compile(LENGTHS, backend="numpy")
    assert interpreted.source().startswith("graph @decode")
    assert (interpreted.compilations, interpreted.path) == (0, None)
    for show in (interpreted.llvm, interpreted.asm):
        with pytest.raises(attnc.ArgumentError, match="backend='numba'"):
            show("lookup")


def test_both_backends_answer_alike():
    arrays = [np.random.default_rng(n).integers(-3, 4, (7, 2 if n < 2 else 1)) / 1.0 for n in range(3)]
    same_numbers(compiled(LENGTHS).lookup(*arrays), compiled(LENGTHS, backend="numpy").lookup(*arrays))
