"""Runs the `// RUN:` lines of every `.attn` file here; each must succeed.

    // RUN: attnc opt -p 'cse' %s | filecheck %s

`%s` is the file itself, and a line that ends in a backslash goes on in the next comment. `CHECK` lines match only what
carries the claim.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

CASES = sorted(Path(__file__).parent.glob("*.attn"))
TIMEOUT = 120  # seconds, for a machine that is busy with other tests

_RUN = re.compile(r"^// RUN: (.*(?:(?<=\\)\n// .*)*)$", re.MULTILINE)
_CONTINUED = re.compile(r"\\\n// *")


def commands(path: Path) -> list[str]:
    """The commands of a case, ready for a shell."""
    found = _RUN.findall(path.read_text(encoding="utf-8"))
    return [_CONTINUED.sub("", command).replace("%s", shlex.quote(str(path))) for command in found]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_run_lines(path: Path, tmp_path: Path) -> None:
    wanted = commands(path)
    assert wanted, f"{path} has no RUN line"
    assert "CHECK" in path.read_text(encoding="utf-8"), f"{path} checks nothing"
    tools = str(Path(sys.executable).parent)  # attnc and filecheck of the Python that runs the tests
    for command in wanted:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=tmp_path,
            env=os.environ | {"PATH": os.pathsep.join([tools, os.environ["PATH"]]), "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, f"{command}\nended with {done.returncode}\n{done.stdout}{done.stderr}"


def test_a_command_may_be_continued(tmp_path: Path) -> None:
    path = tmp_path / "a b.attn"
    path.write_text(
        "// RUN: attnc opt %s \\\n//   | filecheck %s\n// RUN: true\ngraph @f() {\n", encoding="utf-8"
    )
    quoted = f"'{path}'"
    assert commands(path) == [f"attnc opt {quoted} | filecheck {quoted}", "true"]
