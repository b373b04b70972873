"""Count the words of a text with hard-max attention as the only memory.

    python examples/wordcount.py [FILE]

Compiles `wordcount.attn`, shows the plan with the candidates that lost, counts every word by one query and
one append, checks the counts against `collections.Counter`, and runs the dense plan on prefixes of the text
to show how both grow. Without a file it reads the help topics that ship with Python.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import attnc

SPEC = Path(__file__).with_name("wordcount.attn")
BLOCK = 2048
QUICK = bool(os.environ.get("ATTNC_EXAMPLE_QUICK"))
"""Set by the tests: a shorter text, the same checks."""


def read_words(argv: list[str]) -> tuple[str, list[str]]:
    """The name of the text and its words."""
    if len(argv) > 1:
        path = Path(argv[1])
        return path.name, path.read_text(encoding="utf-8", errors="replace").split()
    from pydoc_data.topics import topics

    return "pydoc_data.topics", " ".join(topics.values()).split()


def count(program: attnc.Program, addresses: np.ndarray, progress: Progress | None = None) -> np.ndarray:
    """How often each word had been seen, itself included, at every place of the text: `[words]`."""
    state = program.state("count")
    task = progress.add_task("counting", total=len(addresses)) if progress else None
    counts = []
    for start in range(0, len(addresses), BLOCK):
        block = addresses[start : start + BLOCK].reshape(-1, 1, 1)
        counts.append(program.extend(state, block).reshape(-1))
        if progress and task is not None:
            progress.advance(task, len(block))
    return np.concatenate(counts) if counts else np.empty(0)


def seconds_per_word(program: attnc.Program, addresses: np.ndarray) -> float:
    """The time of one word at the end of a text, with everything before it in memory."""
    state = program.state("count")
    tail = min(512, len(addresses))
    program.extend(state, addresses[:-tail].reshape(-1, 1, 1))
    started = time.perf_counter()
    program.extend(state, addresses[-tail:].reshape(-1, 1, 1))
    return (time.perf_counter() - started) / tail


def main(argv: list[str]) -> int:
    console = Console()
    try:
        name, words = read_words(argv)
    except OSError as error:
        console.print(f"cannot read {argv[1]!r}: {error.strerror}", markup=False)
        return 1
    if QUICK:
        words = words[:5000]
    if not words:
        console.print(f"{name} has no words")
        return 1
    address: dict[str, int] = {}
    addresses = np.array([address.setdefault(word, len(address) + 1) for word in words], np.float64)
    console.print(f"{name}: {len(words):,} words, {len(address):,} different ones\n")

    program = attnc.compile(SPEC, sizes={"memory": len(words)})
    console.print(program.plan.render(), markup=False, highlight=False, soft_wrap=True)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    started = time.perf_counter()
    with Progress(*columns, console=console) as progress:
        counts = count(program, addresses, progress)
    elapsed = time.perf_counter() - started

    found = {
        word: int(counts[place]) for place, word in enumerate(words)
    }  # the last count of a word is its total
    expected = Counter(words)
    if found != expected:
        console.print("the counts differ from collections.Counter")
        return 1
    top = ", ".join(f"{word} {n:,}" for word, n in expected.most_common(5))
    console.print(
        f"{len(words) / elapsed:,.0f} words a second; most frequent: {top}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    console.print("counts equal collections.Counter's\n", highlight=False)

    dense = attnc.compile(SPEC, strategy="dense")
    table = Table(
        "words in memory", "hull, µs a word", "dense, µs a word", title="the same spec, two strategies"
    )
    size = 500
    while size <= min(len(words), 16_000):
        row = [1e6 * seconds_per_word(p, addresses[:size]) for p in (program, dense)]
        table.add_row(f"{size:,}", *(f"{t:.2f}" for t in row))
        size *= 2
    if table.row_count:
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
