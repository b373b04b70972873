"""Run every benchmark of this folder, one after the other.

python benchmarks/run.py [ARGS]     the arguments go to each of them
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HELPERS = {"run.py", "harness.py", "performance.py"}


def main(arguments: list[str]) -> int:
    """The worst exit status of all."""
    worst = 0
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name not in HELPERS:
            print(f"\n== {path.name}", flush=True)
            worst = max(
                worst, subprocess.run([sys.executable, str(path), *arguments], check=False).returncode
            )
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
