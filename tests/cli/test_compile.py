"""`attnc compile`: what was compiled, and its code."""

import ast
import json

import pytest

from cli_support import MEMORY, TWICE, attnc


def test_a_second_time_the_cache_serves() -> None:
    first = attnc("compile", "-", stdin=MEMORY)
    assert first.exit_code == 0
    assert "  @memory: %o hull\n  code: " in first.stdout
    second = attnc("compile", "-", "--json", stdin=MEMORY)
    document = json.loads(second.stdout)
    assert document["graphs"] == [{"name": "memory", "strategies": {"o": "hull"}}]
    assert f"  code: {document['path']}\n" in first.stdout


@pytest.mark.parametrize(
    ("emit", "sign"),
    [("source", "def "), ("llvm", "define "), ("asm", ".globl"), ("ir", "strategy = dense}")],
)
def test_code_goes_to_stdout_and_remarks_do_not(emit, sign, tmp_path) -> None:
    result = attnc("compile", "-", "--strategy", "dense", "--emit", emit, stdin=MEMORY)
    assert result.exit_code == 0
    assert sign in result.stdout
    assert "code: " not in result.stdout
    assert "code: " in result.stderr
    saved = attnc("compile", "-", "--strategy", "dense", "--emit", emit, "-o", tmp_path / "out", stdin=MEMORY)
    assert saved.stderr == ""
    assert sign in (tmp_path / "out").read_text(encoding="utf-8")


def test_emitted_source_is_python_and_emitted_ir_is_a_spec() -> None:
    ast.parse(attnc("compile", "-", "--emit", "source", stdin=MEMORY).stdout)
    planned = attnc("compile", "-", "--emit", "ir", stdin=MEMORY).stdout
    assert attnc("opt", stdin=planned).stdout == planned


def test_the_interpreter_compiles_nothing() -> None:
    result = attnc("compile", "-", "--backend", "numpy", stdin=MEMORY)
    assert result.stdout == "nothing to compile: the graphs are interpreted\n  @memory: %o hull\n"
    assert attnc("compile", "-", "--backend", "numpy", "--emit", "asm", stdin=MEMORY).exit_code == 1


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["-o", "x"], 2, "-o needs --emit"),
        (["--json", "--emit", "source"], 2, "add -o FILE"),
        (["--graph", "a"], 2, "--graph needs --emit"),
        (["--emit", "wasm"], 2, "wasm"),
        (["--threads", "0"], 2, "--threads"),
        (["--emit", "asm"], 1, "which graph? there are @a, @b"),
        (["--emit", "asm", "--graph", "c"], 1, "no graph @c"),
        (["--emit", "ir", "-o", "no/such/folder/x"], 1, "cannot write no/such/folder/x: No such file"),
        (["--emit", "ir", "-o", "."], 1, "cannot write .: Is a directory"),
    ],
)
def test_a_wrong_wish_says_what_is_right(args, code, said) -> None:
    two = "graph @a(%x: f64[2]) { return %x } graph @b(%x: f64[2]) { return %x }"
    result = attnc("compile", "-", "--backend", "numpy", *args, stdin=two)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_a_graph_of_several_is_named() -> None:
    two = TWICE + TWICE.replace("@twice", "@again")
    result = attnc("compile", "-", "--emit", "llvm", "--graph", "again", stdin=two)
    assert result.exit_code == 0
    assert "define " in result.stdout
