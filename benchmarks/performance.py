"""Run the benchmarks one after the other and write what they print to docs/performance.md.

    python benchmarks/performance.py [--real key_streams.npz] [--quick] [--output docs/performance.md]

Every figure in that page comes from one run of this command; nothing is copied in by hand.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"

INTRODUCTION = """\
# Performance

What the benchmarks in `benchmarks/` printed in one run of `python benchmarks/performance.py`, on {machine},
{date}. Candidates take turns in one process and their results are checked before anything is timed. The
machine is shared with other work, so trust ratios, not times. A line that misses its goal says so.
"""


@dataclass(frozen=True)
class Section:
    """One benchmark: its heading, what the reader should know, and the command's arguments."""

    title: str
    text: str
    script: str
    full: tuple[str, ...]
    quick: tuple[str, ...]


SECTIONS = (
    Section(
        "The hull against the textbook structure",
        "One append and one query per step. The textbook structure keeps two balanced trees of lines per "
        "head, with breakpoints in long double (`benchmarks/textbook.cpp`). Goals: 15 times for keys in "
        "order, 3 times for other streams with more than 10,000 hull vertices, never slower elsewhere, 10 "
        "times for the heads of a real model together; exact predicates at most 1.3 times naive doubles; "
        "48 bytes per vertex.",
        "hull.py",
        ("--full", "--runs", "3", "--plot", str(DOCS / "images")),
        ("--quick", "--runs", "3"),
    ),
    Section(
        "The sorted sweep against the hull",
        "An unmasked batch: the hull inserts key by key and searches for each query; the sweep sorts both.",
        "sweep.py",
        (),
        ("--sizes", "1e3", "--rounds", "2"),
    ),
    Section(
        "The index against the hull",
        "Integer addresses on a parabola, written again and again.",
        "index.py",
        ("--counts", "1e3,1e4,1e5,1e6"),
        ("--counts", "1e3", "--rounds", "2"),
    ),
    Section(
        "The vector scan",
        "One query over all keys. Goal: 85% of the read bandwidth of this machine, beyond the cache.",
        "scan.py",
        ("--counts", "1e5,1e6,1e7", "--widths", "2,3,4,8,16,64"),
        ("--counts", "1e5", "--widths", "2,8"),
    ),
    Section(
        "The tree",
        "Against NumPy's brute force and the scan. A tree costs what the data make it, a power of "
        "the number of keys; goal: the planner's choice within 1.2 times of the better one.",
        "tree.py",
        ("--counts", "1e3,1e4,1e5,1e6", "--plot", str(DOCS / "images" / "tree.svg")),
        ("--counts", "1e3", "--queries", "256"),
    ),
    Section(
        "Dense softmax of whole sequences",
        "GFLOP/s in f32 against a loop of nothing but multiply-adds, NumPy, and PyTorch and ONNX Runtime "
        "where they are installed. Goals: 85% of the multiply-add peak from 1024 positions; 2.3 times "
        "PyTorch and 1.15 times ONNX Runtime, causal 2.6 and 2.3.",
        "dense.py",
        ("--counts", "512,1024,4096", "--rounds", "5", "--plot", str(DOCS / "images" / "dense.svg")),
        ("--counts", "512", "--widths", "64", "--rounds", "2"),
    ),
    Section(
        "Dense softmax in f64 and with bf16 storage",
        "Goals: 85% of the f64 peak from 1024 positions; bf16 at least 1.5 times our own f32.",
        "dense.py",
        ("--counts", "1024,4096", "--dtypes", "f64,bf16", "--threads", "1", "--rounds", "5"),
        ("--counts", "512", "--dtypes", "f64,bf16", "--widths", "64", "--threads", "1", "--rounds", "2"),
    ),
    Section(
        "Dense softmax with vectors of half the width",
        "The code for processors with 8 lanes of f32, on this one. Goals: 1.2 times PyTorch, causal 1.35.",
        "dense.py",
        ("--counts", "1024,4096", "--vector-bytes", "32", "--threads", "1", "--rounds", "5"),
        ("--counts", "512", "--vector-bytes", "32", "--widths", "64", "--threads", "1", "--rounds", "2"),
    ),
    Section(
        "Masks and modifiers",
        "GFLOP/s for each allowed pair, against the kernel without a mask and FlexAttention where PyTorch is "
        "installed. Goals: 75% of the full kernel, 3 times FlexAttention.",
        "masks.py",
        ("--rounds", "3"),
        ("--count", "1024", "--rounds", "2", "--no-flex"),
    ),
    Section(
        "Dense softmax of one query row",
        "GB/s of keys and values against a loop that only reads them. Goals: 90% of that, 1.6 times PyTorch.",
        "decode.py",
        (),
        ("--counts", "4096", "--widths", "64", "--rounds", "3"),
    ),
    Section(
        "What surrounds the work",
        "Short sequences, single calls, first calls in new processes, memory.",
        "calls.py",
        (),
        ("--rounds", "3", "--skip-compile"),
    ),
)


def run(section: Section, arguments: tuple[str, ...]) -> str:
    """What a benchmark prints; raises `SystemExit` with its complaint when it fails."""
    command = [sys.executable, str(HERE / section.script), *arguments]
    print("$", " ".join(command), flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr, sep="\n", flush=True)
    if done.returncode:
        raise SystemExit(f"{section.script} failed with status {done.returncode}")
    return done.stdout.rstrip()


def machine() -> str:
    """What the numbers were measured on."""
    name = platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{os.cpu_count()} cores of {name}"


def main() -> None:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, help="key_streams.npz of a real model, for the hull")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that all run")
    parser.add_argument("--output", type=Path, default=DOCS / "performance.md")
    options = parser.parse_args()
    parts = [INTRODUCTION.format(machine=machine(), date=time.strftime("%Y-%m-%d"))]
    for section in SECTIONS:
        arguments = section.quick if options.quick else section.full
        if section.script == "hull.py" and options.real is not None:
            arguments = (*arguments, "--real", str(options.real))
        parts += [f"## {section.title}", section.text, f"```text\n{run(section, arguments)}\n```"]
    pictures = sorted((DOCS / "images").glob("*.svg"))
    if pictures:
        parts.append("## Plots")
        parts += [f"![{p.stem.replace('-', ' ')}](images/{p.name})" for p in pictures]
    options.output.write_text("\n\n".join(part.strip("\n") for part in parts) + "\n", encoding="utf-8")
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()
