"""`attnc verify`: every fault of every file."""

import json

from cli_support import EXAMPLES, TWICE, attnc


def test_good_specs_are_named_with_their_graphs() -> None:
    result = attnc("verify", *EXAMPLES, "-", stdin=TWICE)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "<stdin>: ok, @twice\n" in result.stdout
    assert len(result.stdout.splitlines()) == len(EXAMPLES) + 1


def test_every_fault_of_every_file(tmp_path) -> None:
    bad = tmp_path / "bad.attn"
    bad.write_text("graph @a(%x: f63[2]) {\n  %y = neg %z\n  return %y\n}\n", encoding="utf-8")
    binary = tmp_path / "binary.attn"
    binary.write_bytes(b"graph @a(%x: f64[2]) {\n  return \xff\n}\n")
    good = tmp_path / "good.attn"
    good.write_text(TWICE, encoding="utf-8")
    missing = tmp_path / "missing.attn"
    result = attnc("verify", bad, missing, good, binary)
    assert result.exit_code == 1
    assert result.stdout == f"{good}: ok, @twice\n"
    for said in (
        f"{bad}:1:14: error:",
        f"{bad}:2:12: error:",
        f"cannot read {missing}",
        f"{binary}:2:10: error:",
    ):
        assert said in result.stderr

    as_json = attnc("verify", "--json", bad, missing, good)
    assert (as_json.exit_code, as_json.stderr) == (1, "")
    document = json.loads(as_json.stdout)
    assert document["ok"] is False
    first, second, third = document["files"]
    assert [(d["file"], d["line"], d["column"]) for d in first["diagnostics"]] == [
        (str(bad), 1, 14),
        (str(bad), 2, 12),
    ]
    assert first["diagnostics"][0]["help"] == "did you mean f64 or f32?"
    assert "f63" in first["diagnostics"][0]["message"]
    assert second["diagnostics"][0]["line"] is None
    assert third == {"file": str(good), "ok": True, "graphs": ["twice"], "diagnostics": []}


def test_a_name_cannot_steer_the_terminal(tmp_path) -> None:
    path = tmp_path / "a\x1b[31m\x07\u202e.attn"
    path.write_text("graph", encoding="utf-8")
    for result in (
        attnc("verify", path),
        attnc("verify", tmp_path / "\x1bno"),
        attnc("verify", "--json", path),
    ):
        assert result.exit_code == 1
        assert not {"\x1b", "\x07", "\u202e"} & set(result.output)
        assert r"\x1b" in result.output or r"\u001b" in result.output


def test_without_a_file_the_usage_is_shown() -> None:
    result = attnc("verify")
    assert result.exit_code == 2
    assert "Usage: attnc verify" in result.stderr
