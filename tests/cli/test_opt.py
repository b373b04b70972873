"""`attnc opt`: text to text, and dumps that are input again."""

import re

import pytest

from cli_support import EXAMPLES, MEMORY, TWICE, attnc

PIPELINE = (
    "infer,canonicalize,simplify-masks,simplify-scores,narrow-keys,lift-biases,simplify-scores,canonicalize,cse,"
    "share-caches,canonicalize,cse,dce,select-strategy{machine=flat}"
)


def test_there_are_examples() -> None:
    names = {path.name for path in EXAMPLES}
    assert {"prefill.attn", "memory.attn", "three_nodes.attn", "masks.attn"} <= names


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_printing_an_example_is_a_fixed_point(path) -> None:
    once = attnc("opt", path)
    assert (once.exit_code, once.stderr) == (0, "")
    again = attnc("opt", "-", stdin=once.stdout)
    assert again.stdout == once.stdout
    assert attnc("opt", stdin=once.stdout).stdout == once.stdout  # stdin is where it reads without a file


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_dumps_of_an_example_are_input(path) -> None:
    result = attnc("opt", path, "-p", PIPELINE, "--print-ir-after-change", "--verify-each")
    assert result.exit_code == 0
    dumps = result.stderr.split("// -----\n")
    assert "after select-strategy" in dumps[-1], "these passes change every example"
    for dump in dumps:
        header, module = dump.split("\n", 1)
        assert header.startswith("// attnc opt -p '")
        assert attnc("opt", stdin=dump).stdout == module
        rest = re.match(r"// attnc opt -p '([^']*)'", header)
        assert attnc("opt", "-p", rest[1], stdin=dump).stdout == result.stdout, "the header says how to go on"
    assert attnc("opt", stdin=result.stderr).stdout == "// -----\n".join(d.split("\n", 1)[1] for d in dumps)


def test_statistics_and_timings_are_comments_on_stderr() -> None:
    text = "graph @g(%x: f64[2]) { %y = neg %x %z = neg %y %u = add %x, %x return %z }"
    result = attnc("opt", "-p", "canonicalize,dce", "--stats", "--timing", stdin=text)
    assert result.stdout == "graph @g(%x: f64[2]) -> f64[2] {\n  return %x\n}\n"
    lines = [line.split() for line in result.stderr.splitlines()]
    assert ["//", "canonicalize", "dropped-double-negation", "1"] in lines
    assert ["//", "dce", "removed-op", "2"] in lines
    assert [line[:3] for line in lines if line[1] == "dce"][-1] == ["//", "dce", "changed"]
    assert all(line[0] == "//" for line in lines)


def test_output_goes_to_a_file_in_place(tmp_path) -> None:
    path = tmp_path / "g.attn"
    path.write_text(TWICE, encoding="utf-8")
    result = attnc("opt", path, "-o", path)
    assert (result.exit_code, result.stdout) == (0, "")
    assert path.read_text(encoding="utf-8").startswith("graph @twice(%x: f64[N]) -> f64[N] {\n")
    assert [p.name for p in tmp_path.iterdir()] == ["g.attn"]


def test_passes_are_listed_with_their_options() -> None:
    result = attnc("opt", "--list-passes")
    assert result.exit_code == 0
    assert re.search(r"^dce\n    \S", result.stdout, re.MULTILINE)
    assert "max-width=" in result.stdout


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("cannonicalize", "did you mean canonicalize?"),
        ("dce{x=1}", "dce takes no options"),
        ("select-strategy{assume=many}", "expected an integer"),
        ("dce,", "error: "),
        ("\x1b[31m", r"\x1b"),
    ],
)
def test_a_wrong_pipeline_is_the_users_fault(pipeline, said) -> None:
    result = attnc("opt", "-p", pipeline, stdin=TWICE)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert "\x1b" not in result.stderr


def test_a_faulty_spec_gives_all_its_faults_and_no_output() -> None:
    result = attnc("opt", stdin="graph @a(%x: f64[2]) {\n  %y = ned %x\n  %z = add %x\n  return %z\n}\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "<stdin>:2:8: error: unknown op" in result.stderr
    assert "<stdin>:3:8: error:" in result.stderr


def test_a_later_module_of_a_file_is_placed_where_it_stands() -> None:
    result = attnc("opt", stdin=f"{MEMORY}\n// -----\n{TWICE}\n// -----\n// no more\n")
    assert result.exit_code == 0
    assert result.stdout.count("// -----\n") == 1
    broken = attnc("opt", stdin=f"{TWICE}\n// -----\n\n{TWICE.replace('add', 'ad')}\n")
    assert "<stdin>:4:" in broken.stderr


def test_a_file_of_remarks_has_no_graph() -> None:
    result = attnc("opt", stdin="// nothing\n// -----\n// here\n")
    assert result.exit_code == 1
    assert "there is no graph" in result.stderr
