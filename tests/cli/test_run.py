"""`attnc run`: specs on `.npz` files."""

import json

import numpy as np
import pytest

import attnc as library
from attnc.cli.compare import difference, tolerances
from attnc_ir.types import DType, Symbol, TensorType
from cli_support import EXAMPLES, MEMORY, TWICE, arrays_for, attnc

SIZES = {"B": 2, "H": 2, "N": 5, "M": 7, "R": 1, "C": 1}


@pytest.fixture
def twice(tmp_path):
    (tmp_path / "g.attn").write_text(TWICE, encoding="utf-8")
    np.savez(tmp_path / "in.npz", x=np.array([1.0, np.nan, -2.0]))
    return tmp_path


@pytest.mark.parametrize(
    ("path", "name"),
    [
        # Every strategy's code is compiled for that one; other tests do so, too.
        pytest.param(path, graph.name, marks=pytest.mark.thorough if path.stem == "strategies" else ())
        for path in EXAMPLES
        for graph in library.load(path)
    ],
    ids=lambda part: getattr(part, "stem", part),
)
def test_every_example_graph_agrees_with_the_reference(path, name, tmp_path) -> None:
    graph = library.load(path)[name]
    arrays = arrays_for(graph, SIZES, steps=6 if graph.is_stateful else None)
    np.savez(tmp_path / "in.npz", **arrays)
    result = attnc(
        "run", path, tmp_path / "in.npz", "--graph", name, "--check", "--json", "-o", tmp_path / "out.npz"
    )
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert all(check["ok"] for check in document["check"])
    with np.load(tmp_path / "out.npz") as saved:
        assert saved.files == [value.name for value in graph.outputs]
        assert [list(saved[o["name"]].shape) for o in document["outputs"]] == [
            o["shape"] for o in document["outputs"]
        ]


def test_a_summary_names_type_range_and_first_elements(twice) -> None:
    result = attnc("run", twice / "g.attn", twice / "in.npz")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1].split() == ["%y", "f64[3]", "-4", "2", "1", "2", "nan", "-4"]


def test_json_has_words_for_what_is_no_number(twice) -> None:
    document = json.loads(attnc("run", twice / "g.attn", twice / "in.npz", "--json").stdout)
    assert document["outputs"] == [
        {
            "name": "y",
            "dtype": "f64",
            "shape": [3],
            "min": -4.0,
            "max": 2.0,
            "nan": 1,
            "first": [2.0, "nan", -4.0],
        }
    ]
    assert document["check"] is None


def test_state_starts_empty_and_steps_through_positions(tmp_path) -> None:
    (tmp_path / "m.attn").write_text(MEMORY, encoding="utf-8")
    key = np.array([[2.0, -1.0], [4.0, -4.0], [2.0, -1.0]])[:, None]
    query = np.array([[1.0, 1.0], [2.0, 1.0], [1.0, 1.0]])[:, None]
    np.savez(tmp_path / "in.npz", q=query, k=key, v=np.array([10.0, 20.0, 30.0]).reshape(3, 1, 1))
    for options in ([], ["--reference"], ["--backend", "numpy"], ["--strategy", "dense"]):
        result = attnc("run", tmp_path / "m.attn", tmp_path / "in.npz", "-o", tmp_path / "out.npz", *options)
        assert (result.exit_code, result.stdout) == (0, f"o saved in {tmp_path / 'out.npz'}\n")
        with np.load(tmp_path / "out.npz") as saved:
            assert saved["o"].ravel().tolist() == [10.0, 20.0, 30.0]


def test_one_value_returned_twice_is_saved_under_two_names(tmp_path, twice) -> None:
    spec = "graph @g(%x: f64[N]) { %x_2 = neg %x return %x, %x, %x_2 }"
    result = attnc("run", "-", twice / "in.npz", "-o", tmp_path / "o.npz", "--backend", "numpy", stdin=spec)
    assert result.exit_code == 0
    with np.load(tmp_path / "o.npz") as saved:
        assert saved.files == ["x", "x_2", "x_2_2"]
        assert saved["x_2_2"][2] == 2.0


def test_a_graph_without_inputs_needs_no_file() -> None:
    spec = "graph @c() { %x = constant {type = f64[2], values = [1.5, -2]} return %x }"
    result = attnc("run", "-", "--check", stdin=spec)
    assert result.exit_code == 0
    assert "1.5 -2" in result.stdout
    assert (
        attnc("run", "-", stdin=TWICE).stderr
        == "graph @twice needs the arrays x; name an .npz file that holds them\n"
    )


def test_a_mismatch_is_found_and_exits_with_1(twice, monkeypatch) -> None:
    right = library.reference
    monkeypatch.setattr(library, "reference", lambda *args, **arrays: right(*args, **arrays) + 1e-9)
    result = attnc("run", twice / "g.attn", twice / "in.npz", "--check")
    assert result.exit_code == 1
    assert "%y: largest difference from the reference 1e-09" in result.stderr
    assert "mismatch" in result.stderr


def test_differences_are_relative_and_nan_must_meet_nan() -> None:
    kind = TensorType(DType.F64, (Symbol("N"),))
    wanted = np.array([100.0, np.nan, np.inf, 0.0])
    near = difference("o", kind, np.array([100.0, np.nan, np.inf, 1e-3]), wanted, 1e-5)
    assert (near.largest, near.relative, near.misplaced, near.ok) == (1e-3, 1e-5, 0, True)
    assert not difference("o", kind, np.array([100.0, np.nan, np.inf, 2e-3]), wanted, 1e-5).ok
    astray = difference("o", kind, np.array([100.0, 0.0, -np.inf, 0.0]), wanted, 1e-5)
    assert (astray.misplaced, astray.ok) == (2, False)


def test_hardmax_is_compared_exactly() -> None:
    module = library.parse(
        """graph @g(%q: f32[N x 2], %v: f64[N x 1]) {
          %a = attend %q, %q, %q {normalizer = softmax}
          %b = attend %q, %q, %v {normalizer = hardmax(last)}
          %c, %lse = attend %q, %q, %q {normalizer = topk(2, first), tolerance = 0.001}
          %d = add %a, %c
          return %a, %b, %c, %lse, %d
        }"""
    )
    assert tolerances(module["g"]) == [1e-5, 0.0, 1e-3, 1e-3, 1e-3]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "argument x is missing"),
        ({"y": np.zeros(3)}, "there is no argument y"),
        ({"x": np.zeros((3, 3))}, "rank 1"),
        ({"x": np.zeros(3, np.float32)}, "float32"),
        ({"x": np.array([None, 1])}, "holds Python objects"),
        ({"x": np.zeros(3, [("a", "f8")])}, "expected float64"),
    ],
    ids=["missing", "unknown", "rank", "dtype", "objects", "structured"],
)
def test_arrays_that_do_not_fit(twice, arrays, said) -> None:
    np.savez(twice / "bad.npz", **arrays)
    result = attnc("run", twice / "g.attn", twice / "bad.npz", "-o", twice / "out.npz")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert not (twice / "out.npz").exists()


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["--reference", "--check"], 2, "--check compares"),
        (["--json", "-o", "-"], 2, "give -o a file"),
        (["--graph", "thrice"], 1, "did you mean twice?"),
        (["-o", "no/such/folder/x.npz"], 1, "cannot write no/such/folder/x.npz"),
    ],
)
def test_a_wrong_wish_says_what_is_right(twice, args, code, said) -> None:
    result = attnc("run", twice / "g.attn", twice / "in.npz", "--backend", "numpy", *args)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr


def test_stdin_serves_one_of_the_two(twice) -> None:
    content = (twice / "in.npz").read_bytes()
    result = attnc("run", twice / "g.attn", "-", "--backend", "numpy", stdin=content)
    assert result.exit_code == 0
    assert attnc("run", "-", "-", stdin=content).exit_code == 2
