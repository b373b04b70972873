"""The command as a process: streams, exit codes, terminals."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import attnc as library
from cli_support import EXAMPLES, TIMEOUT, TWICE, TWO_NODES, attnc, process, start

FULL = Path("/dev/full")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
THREE = next(path for path in EXAMPLES if path.stem == "three_nodes")


def on_a_terminal(*args: object, **env: str) -> tuple[int, str]:
    """Exit code and what a terminal 100 columns wide was sent."""
    master, slave = pty.openpty()
    environment = {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40", **env}
    running = start(*args, env=environment, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # how Linux ends a terminal that nobody holds
            break
        if not piece:
            break
        shown += piece
    os.close(master)
    return running.wait(TIMEOUT), shown.decode()


def test_a_terminal_shows_tables_and_a_pipe_shows_text() -> None:
    code, shown = on_a_terminal("plan", THREE, "--machine", "flat", "--size", "N=65536", NO_COLOR="")
    assert code == 0
    assert COLOUR.search(shown)
    plain = COLOUR.sub("", shown)
    assert "───" in plain
    assert re.search(r"→ +hull +[0-9.]+ m?s +build .* \+ search ", plain)
    assert max(len(line) for line in plain.splitlines()) <= 100

    code, piped, _ = process("plan", THREE, "--machine", "flat", "--size", "N=65536")
    assert code == 0
    assert not COLOUR.search(piped)
    assert "─" not in piped


def test_no_color_is_heeded() -> None:
    for env in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, shown = on_a_terminal("plan", THREE, "--machine", "flat", **env)
        assert code == 0
        assert not re.search(r"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|9[0-7])[;m]", shown)
        assert "hull" in shown


def test_an_error_on_a_terminal_has_the_same_words(tmp_path) -> None:
    path = tmp_path / "bad\x1b]0;title\x07.attn"
    path.write_text("graph @g(%x: f63[2]) { return %x }", encoding="utf-8")
    code, shown = on_a_terminal("verify", path, NO_COLOR="")
    assert code == 1
    assert "\x1b[1;31merror:" in shown
    plain = COLOUR.sub("", shown).replace("\r\n", "\n")
    assert "\x1b" not in plain
    assert plain == attnc("verify", path).stderr


def test_ctrl_c_ends_quietly() -> None:
    master, slave = pty.openpty()
    running = start("opt", stdin=slave)
    assert b"reading a spec from the keyboard" in running.stderr.readline()
    running.send_signal(signal.SIGINT)
    output, errors = running.communicate(timeout=TIMEOUT)
    os.close(master)
    os.close(slave)
    assert (running.returncode, output, errors) == (130, b"", b"")


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code, _, errors = process("opt", THREE, stdout=writer)
    os.close(writer)
    assert (code, errors) == (141, "")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_told() -> None:
    with FULL.open("wb") as full:
        for args in (["opt", THREE], ["--help"], ["verify", "--json", THREE]):
            code, _, errors = process(*args, stdout=full)
            assert code == 1
            assert "cannot write to standard output: No space left on device" in errors
            assert "Exception ignored" not in errors


def test_a_pipe_of_commands() -> None:
    script = f'{sys.executable} -c "from attnc.cli import main; main()"'
    done = subprocess.run(
        [
            "bash",
            "-o",
            "pipefail",
            "-c",
            f"{script} opt - | {script} opt -p canonicalize | {script} verify --json -",
        ],
        input=TWO_NODES.encode(),
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["files"][0]["graphs"] == ["two"]


def test_bytes_that_are_no_text(tmp_path) -> None:
    path = tmp_path / "binary.attn"
    path.write_bytes(b"\xff\xfe\x00")
    with path.open("rb") as file:
        code, output, errors = process("opt", stdin=file)
    assert (code, output) == (1, "")
    assert "<stdin>:1:1: error: byte 0xff is not UTF-8 text" in errors


def test_a_narrow_encoding_loses_no_line() -> None:
    args = ("plan", THREE, "--machine", "flat", "--size", "N=1000")
    code, output, errors = process(*args, env={"PYTHONIOENCODING": "ascii"})
    assert (code, errors) == (0, "")
    assert r"\xb5s" in output
    assert len(output.splitlines()) == len(process(*args)[1].splitlines())


@pytest.mark.parametrize(
    "args", [["--help"], ["--version"], ["opt", str(THREE)], ["verify", str(THREE)]], ids=" ".join
)
def test_numba_is_not_imported_for(args) -> None:
    program = (
        "import sys\nfrom attnc.cli import app\n"
        f"try:\n    app({args!r}, prog_name='attnc')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('numba', 'llvmlite')]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr.decode()


# --- the boundary -----------------------------------------------------------------------------------------------------


def broken(*args: object) -> object:
    raise ZeroDivisionError("one\x1b[31mtwo")


def test_a_fault_of_attnc_asks_to_be_reported(monkeypatch) -> None:
    monkeypatch.setattr(library, "format", broken)
    monkeypatch.setattr(sys, "argv", ["attnc", "opt", "a b.attn"])
    result = attnc("opt", stdin=TWICE, env={"ATTNC_DEBUG": ""})
    assert (result.exit_code, result.stdout) == (70, "")
    assert "internal error: ZeroDivisionError: one" in result.stderr
    assert "attnc opt 'a b.attn'" in result.stderr
    assert f"attnc {library.__version__}, Python 3." in result.stderr
    assert "Traceback" not in result.stderr
    assert "\x1b" not in result.stderr
    assert "Traceback" in attnc("opt", stdin=TWICE, env={"ATTNC_DEBUG": "1"}).stderr


def test_a_pass_that_crashes_leaves_a_reproducer(monkeypatch, tmp_path) -> None:
    from attnc.passes import DeadCode

    monkeypatch.setattr(DeadCode, "run", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = attnc("opt", "-p", "canonicalize,dce,cse", stdin=TWICE)
    assert (result.exit_code, result.stdout) == (70, "")
    (reproducer,) = tmp_path.iterdir()
    assert str(reproducer) in result.stderr
    first, *_ = reproducer.read_text(encoding="utf-8").splitlines()
    assert first == "// RUN: attnc opt -p 'dce,cse' %s"
    assert attnc("opt", "-p", "dce,cse", reproducer).exit_code == 70


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), 130), (MemoryError(), 1), (BrokenPipeError(), 141)]
)
def test_what_ends_a_command_from_outside(monkeypatch, error, code) -> None:
    def interrupted(module):
        raise error

    monkeypatch.setattr(library, "format", interrupted)
    result = attnc("opt", stdin=TWICE)
    assert (result.exit_code, result.stdout) == (code, "")
    assert ("not enough memory" in result.stderr) == (code == 1)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["", "compile", "opt", "plan", "run", "verify", "calibrate"])
def test_help_has_examples(command) -> None:
    result = attnc(*command.split(), "--help")
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.search(r"^ +Examples:\n +attnc ", result.stdout, re.MULTILINE)


def test_versions_and_unknown_commands() -> None:
    assert attnc("--version").stdout == f"attnc {library.__version__}\n"
    result = attnc("\x1b[31mfly")
    assert result.exit_code == 2
    assert "No such command" in result.stderr
    assert "\x1b" not in result.stderr
