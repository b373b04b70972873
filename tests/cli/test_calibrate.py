"""`attnc calibrate`, with the measurements themselves replaced: they take seconds and say nothing about the command."""

import json

import pytest

import attnc.calibrate
from attnc.machine import COEFFICIENTS, load_machine
from cli_support import attnc as run


@pytest.fixture(autouse=True)
def measured(monkeypatch, tmp_path):
    monkeypatch.setenv("ATTNC_DATA_DIR", str(tmp_path))
    measurements = {name: (lambda n=n: float(n)) for n, name in enumerate(COEFFICIENTS, start=1)}
    monkeypatch.setattr(attnc.calibrate, "_measurements", lambda: measurements)
    return tmp_path


def test_a_profile_is_measured_stored_and_used(measured) -> None:
    result = run("calibrate")
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"stored in {measured / 'machines' / 'host.json'}\n" in result.stdout
    assert load_machine().flop_f32 == 1.0
    plan = run(
        "plan",
        "-",
        "--json",
        stdin="graph @g(%x: f64[N x 2]) { %o = attend %x, %x, %x {normalizer = mean} return %o }",
    )
    assert json.loads(plan.stdout)["machine"] == load_machine().describe()


def test_a_dry_run_stores_nothing(measured) -> None:
    document = json.loads(run("calibrate", "--dry-run", "--json", "--name", "lab").stdout)
    assert document["name"] == "lab"
    assert document["path"] is None
    assert document["coefficients_ns"] == {name: float(n) for n, name in enumerate(COEFFICIENTS, start=1)}
    assert list(measured.iterdir()) == []


@pytest.mark.parametrize("name", ["builtin", "flat", "../x", ""])
def test_names_that_cannot_be_stored(name, measured) -> None:
    result = run("calibrate", "--name", name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert list(measured.iterdir()) == []


def test_a_place_that_cannot_be_written(measured, monkeypatch) -> None:
    (measured / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("ATTNC_DATA_DIR", str(measured / "file"))
    result = run("calibrate")
    assert result.exit_code == 1
    assert "set ATTNC_DATA_DIR" in result.stderr
