"""Each walk-through of CONTRIBUTING.md, carried out in a copy of the checkout, ends with passing tests.

A `diff` block is a change: a hunk's old lines stand in the file once, and become its new ones. A block marked as
`the new file` is written under that name; a console block that names this test is run in the end.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fences import Block, blocks, commands

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "CONTRIBUTING.md"
TIMEOUT = 600  # seconds, for one command

_NEW_FILE = re.compile(r"the new file `(?P<path>[^`]+)`")
_DIFF = re.compile(r"--- a/(?P<old>\S+)\n\+\+\+ b/(?P<new>\S+)\n@@\n")


def walk_throughs() -> dict[str, list[Block]]:
    """The blocks below each heading `## Add ...`."""
    headings = [
        (number, line.removeprefix("## "))
        for number, line in enumerate(PAGE.read_text(encoding="utf-8").splitlines(), start=1)
        if line.startswith("## ")
    ]
    found: dict[str, list[Block]] = {}
    for block in blocks(PAGE, Path(PAGE.name)):
        heading = [title for number, title in headings if number < block.line][-1]
        if heading.startswith("Add "):
            found.setdefault(heading, []).append(block)
    return found


def apply(block: Block, folder: Path) -> str:
    """Make the change that a diff shows; the path of the file."""
    head = _DIFF.match(block.text)
    assert head, f"{block.where}: a diff begins with --- a/path, +++ b/path and @@"
    assert head["old"] == head["new"], block.where
    path = folder / head["new"]
    text = path.read_text(encoding="utf-8")
    for hunk in block.text[head.end() :].split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        # An editor may strip the blank that marks an empty line.
        old = "".join(line[1:] or "\n" for line in lines if not line.startswith("+"))
        new = "".join(line[1:] or "\n" for line in lines if not line.startswith("-"))
        assert text.count(old) == 1, (
            f"{block.where}: {head['new']} has these lines {text.count(old)} times:\n{old}"
        )
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return head["new"]


@pytest.mark.parametrize("title", walk_throughs())
def test_walk_through(title: str, tmp_path: Path) -> None:
    folder = tmp_path / ROOT.name
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist"))
    run: list[str] = []
    touched: list[str] = []
    for block in walk_throughs()[title]:
        new_file = _NEW_FILE.match(block.not_run or "")
        if block.language == "diff":
            touched.append(apply(block, folder))
        elif new_file:
            path = folder / new_file["path"]
            assert not path.exists(), f"{block.where}: {new_file['path']} is not new"
            path.write_text(block.text, encoding="utf-8")
            touched.append(new_file["path"])
        elif (block.not_run or "").startswith(f"tests/{Path(__file__).name}"):
            run += [command.text for command in commands(block)]
    assert run, f"{title}: no block is run by this test"
    tools = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"} | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        # Before the editable installation of this checkout.
        "PYTHONPATH": os.pathsep.join(str(folder / root) for root in ("ir", "planner", "backends")),
    }
    python = " ".join(name for name in touched if name.endswith(".py"))
    for command in [*run, f"ruff check --quiet {python}", f"ruff format --check --quiet {python}"]:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\nended with {done.returncode}\n{done.stdout}"
