"""Every block of code that a reader can see in the documentation is run.

- `python`: the blocks of a page, top to bottom, as one program; a `text` or `output` block directly below one is
  what it prints.
- `console` and `sh`: each block in its own copy of the checkout, with `.venv/bin` first on PATH. Lines under a
  command are its output, and stderr is part of it; a command without such lines may print anything. A command that
  fails on purpose is followed by `$ echo $?`.
- `attn`: parses, and formatting it twice gives the same text.

In an expected output `...` stands for any part of a line, and alone on a line for any number of lines. A block is
left out by `<!-- not run: the reason -->` above it.
"""

import contextlib
import io
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import traceback
import types
from pathlib import Path

import pytest

from fences import Block, Command, PageError, blocks, commands, difference, matches

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if path.exists()
]
RUN = {"python", "console", "sh", "attn"}
SHOWN = {"c", "diff", "json", "make", "mermaid", "output", "text", "toml", "yaml"}  # shown, never run
TIMEOUT = 600  # seconds, for one console block

# Anything that leads back into these tests would run for ever.
RECURSIVE = re.compile(r"(?:^|[;&|(]\s*)(?:make|\.ci/run|\./\.ci/run)\b", re.MULTILINE)


def read(path: Path) -> list[Block]:
    return blocks(path, path.relative_to(ROOT))


def run_blocks(*languages: str) -> list[Block]:
    found: list[Block] = []
    for path in PAGES:
        # A page that cannot be read is reported once, by test_every_block_is_accounted_for.
        with contextlib.suppress(PageError):
            found += [b for b in read(path) if b.language in languages and b.not_run is None]
    return found


def name(block: Block) -> str:
    return block.where


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout in which a command may write, with the environment that runs the tests as .venv."""
    copy = tmp_path / ROOT.name
    unneeded = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info")
    shutil.copytree(ROOT, copy, ignore=unneeded)
    (copy / ".venv").symlink_to(sys.prefix)
    return copy


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_is_accounted_for(path: Path) -> None:
    unknown = [b for b in read(path) if b.language not in RUN | SHOWN and b.not_run is None]
    assert not unknown, "\n".join(
        f"{b.where}: {b.language or 'no language'!r} is neither run ({', '.join(sorted(RUN))}) "
        f"nor only shown ({', '.join(sorted(SHOWN))})"
        for b in unknown
    )


def _python_pages() -> list[Path]:
    return [ROOT / path for path in dict.fromkeys(b.path for b in run_blocks("python"))]


@pytest.mark.parametrize("path", _python_pages(), ids=lambda path: str(path.relative_to(ROOT)))
def test_python(path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    module = types.ModuleType(re.sub(r"\W", "_", path.stem.lower()))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    page = read(path)
    for at, block in enumerate(page):
        if block.language != "python" or block.not_run is not None:
            continue
        printed = io.StringIO()
        try:
            # The empty lines give each statement the line it has in the page; the path lets inspect find its source.
            code = compile("\n" * block.line + block.text, str(path), "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, vars(module))
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            inside = [frame.lineno for frame in frames if frame.filename == str(path)]
            line = inside[0] if inside else getattr(error, "lineno", None) or block.line
            raise AssertionError(f"{block.path}:{line}: {type(error).__name__}: {error}") from error
        below = page[at + 1] if at + 1 < len(page) else None
        if below is None or not below.follows or below.language not in {"text", "output"}:
            continue
        if below.not_run is None and not matches(below.text, printed.getvalue()):
            pytest.fail(f"{below.where}: {difference(below.text, printed.getvalue())}", pytrace=False)


@pytest.mark.parametrize("block", run_blocks("console", "sh"), ids=name)
def test_console(block: Block, checkout: Path) -> None:
    asked = commands(block)
    for command in asked:
        if RECURSIVE.search(command.text):
            pytest.fail(
                f"{block.path}:{command.line}: make would run these tests again; "
                "put <!-- not run: the reason --> above the block",
                pytrace=False,
            )
    for at, (command, status, printed) in enumerate(_run(asked, checkout)):
        where = f"{block.path}:{command.line}: $ {command.text}"
        if command.expected.strip() and not matches(command.expected, printed):
            pytest.fail(f"{where}\n{difference(command.expected, printed)}", pytrace=False)
        status_is_shown = at + 1 < len(asked) and asked[at + 1].text == "echo $?"
        if status and not (status_is_shown and asked[at + 1].expected.strip()):
            pytest.fail(
                f"{where}\nexit status {status}; if that is the point, follow it by '$ echo $?' and {status}\n{printed}",
                pytrace=False,
            )


def _run(asked: list[Command], folder: Path) -> list[tuple[Command, int, str]]:
    """Run commands in one shell, so that cd and variables last; return each with its status and output."""
    mark = f"<{secrets.token_hex(8)}>"
    script = "".join(
        # What follows eval prints the status after a mark, and then puts it back for `echo $?`.
        f"eval {shlex.quote(command.text)}\n_s=$?; printf '{mark}%d{mark}' $_s; (exit $_s)\n"
        for command in asked
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in {"PYTEST_ADDOPTS", "MAKEFLAGS"}
    } | {
        "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "120",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",  # so that stdout and stderr stay in order
        "TERM": "dumb",
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
        encoding="utf-8",
        check=False,
    )
    pieces = done.stdout.split(mark)
    results = [
        (command, int(status), printed)
        for command, printed, status in zip(asked, pieces[0::2], pieces[1::2], strict=False)
    ]
    if len(results) < len(asked):  # a command such as exit ended the shell
        results.append((asked[len(results)], done.returncode or 1, pieces[-1]))
    return results


@pytest.mark.parametrize("block", run_blocks("attn"), ids=name)
def test_attn(block: Block) -> None:
    import attnc

    try:
        once = attnc.format(attnc.parse(block.text))
        assert attnc.format(attnc.parse(once)) == once
    except Exception as error:
        raise AssertionError(f"{block.where}: {error}") from error
