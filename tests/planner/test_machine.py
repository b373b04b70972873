import json
from dataclasses import fields, replace

import pytest

from attnc.calibrate import calibrate, describe_host
from attnc.machine import (
    BUILTIN,
    COEFFICIENTS,
    FLAT,
    Machine,
    data_dir,
    load_machine,
    profile_path,
    save_machine,
)
from attnc_ir.errors import ArgumentError
from attnc_ir.types import DType


@pytest.fixture(autouse=True)
def _own_data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNC_DATA_DIR", str(tmp_path / "data"))


MINE = replace(BUILTIN, name="mine", probe=2.5, measured="2026-01-02", host="a machine")


def test_the_environment_says_where_profiles_are_kept(tmp_path, monkeypatch):
    assert data_dir() == tmp_path / "data"
    monkeypatch.delenv("ATTNC_DATA_DIR")
    assert data_dir().name == "attnc"


def test_without_calibration_the_built_in_profile_serves():
    assert load_machine() is BUILTIN
    assert load_machine().note == ""


def test_the_flat_profile_counts():
    assert {getattr(FLAT, name) for name in COEFFICIENTS} == {1.0}
    assert {f.name for f in fields(Machine)} == {*COEFFICIENTS, "name", "measured", "host", "note"}
    assert (BUILTIN.flop(DType.F64), BUILTIN.flop(DType.F32)) == (BUILTIN.flop_f64, BUILTIN.flop_f32)
    assert (BUILTIN.exp(DType.F64), BUILTIN.exp(DType.F32)) == (BUILTIN.exp_f64, BUILTIN.exp_f32)


def test_a_stored_profile_comes_back_and_host_is_the_default():
    path = save_machine(MINE)
    assert load_machine("mine") == MINE
    assert MINE.describe() == "mine (2026-01-02 on a machine)"
    save_machine(replace(MINE, name="host"))
    assert load_machine() == replace(MINE, name="host")
    assert [p.name for p in sorted(path.parent.iterdir())] == ["host.json", "mine.json"]


@pytest.mark.parametrize("name", ["builtin", "flat"])
def test_built_in_profiles_are_not_overwritten(name):
    with pytest.raises(ArgumentError, match="is built in"):
        save_machine(replace(MINE, name=name))


@pytest.mark.parametrize("name", ["../etc/passwd", "a/b", "", "x" * 80, ".hidden", "a\nb"])
def test_a_name_is_no_path(name):
    with pytest.raises(ArgumentError, match="does not name a machine profile"):
        profile_path(name)


def test_an_unknown_profile_is_an_error_with_a_suggestion():
    save_machine(MINE)
    with pytest.raises(ArgumentError, match="did you mean mine"):
        load_machine("mina")
    with pytest.raises(ArgumentError, match="did you mean flat"):
        load_machine("flatt")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"format": 1}, "not a profile of format 2"),
        ({"probe": "fast"}, "probe is 'fast', not a number"),
        ({"probe": True}, "probe is True, not a number"),
        ({"probe": None}, "probe is None, not a number"),
        ({"probe": 0}, "probe is 0, not a time"),
        ({"probe": -1.0}, "probe is -1.0, not a time"),
        ({"probe": float("nan")}, "probe is nan, not a time"),
        ({"probe": float("inf")}, "probe is inf, not a time"),
        ({"host": 3}, "host is not a line of text"),
        ({"host": "a\nb"}, "host is not a line of text"),
        ({"measured": "x" * 300}, "measured is not a line of text"),
    ],
)
def test_a_damaged_profile_is_named_and_never_used(change, why):
    path = save_machine(replace(MINE, name="host"))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ArgumentError, match=why) as caught:
        load_machine("host")
    assert "measure again with attnc calibrate" in str(caught.value)
    stand_in = load_machine()
    assert replace(stand_in, note="") == BUILTIN
    assert why in stand_in.note


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "\udcff", "[" * 100_000, '{"format": 2}'])
def test_any_other_content_is_damage_too(text):
    path = save_machine(replace(MINE, name="host"))
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ArgumentError, match="is damaged"):
        load_machine("host")
    assert load_machine().note


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ATTNC_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(ArgumentError, match="set ATTNC_DATA_DIR"):
        save_machine(MINE)


def test_a_failed_write_leaves_the_old_profile_and_no_rest(monkeypatch):
    path = save_machine(MINE)

    def broken(*_args, **_options):
        raise OSError("disk full")

    monkeypatch.setattr(json, "dump", broken)
    with pytest.raises(ArgumentError, match="disk full"):
        save_machine(replace(MINE, probe=9.0))
    assert [p.name for p in path.parent.iterdir()] == ["mine.json"]
    assert load_machine("mine") == MINE


@pytest.mark.slow
def test_calibration_measures_everything_and_stores_it():
    seen = []
    machine = calibrate(progress=lambda what, part: seen.append((what, part)))
    assert load_machine() == machine
    assert machine.host == describe_host()
    assert [what for what, _ in seen] == [*COEFFICIENTS, "done"]
    assert [part for _, part in seen] == sorted(part for _, part in seen)
    assert seen[-1][1] == 1.0
