"""Running the command line in tests, in this process or in one of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result

from attnc.cli import app
from attnc_ir.graph import Graph
from attnc_ir.ops import Append, AttendStep
from attnc_ir.storage import NUMPY
from attnc_ir.types import Symbol

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.attn"))
TIMEOUT = 120  # seconds, for a machine that is busy with other tests

TWO_NODES = """
graph @two(%q: f32[N x 64], %a: f64[N x 2]) {
  %wide = attend %q, %q, %q {normalizer = softmax, mask = causal}
  %nearest = attend %a, %a, %a {normalizer = hardmax(last), mask = causal}
  return %wide, %nearest
}
"""
MEMORY = """
graph @memory(%q: f64[H x 2], %k: f64[H x 2], %v: f64[H x 1]) {
  %c = cache {heads = [H], key = f64[2], value = f64[1]}
  %c1 = append %c, %k, %v
  %o = attend.step %q, %c1 {normalizer = hardmax(last)}
  return %o
}
"""
TWICE = "graph @twice(%x: f64[N]) { %y = add %x, %x return %y }"


def attnc(*args: object, stdin: str | bytes | None = None, env: dict[str, str] | None = None) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, env=env, prog_name="attnc")


def start(*args: object, env: dict[str, str] | None = None, **streams: object) -> "subprocess.Popen[bytes]":
    """Start a command in a process of its own, as the installed script would.

    Ctrl-C reaches it even where these tests run in the background of a shell, which has its children ignore it.
    """
    listening = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    return subprocess.Popen(
        [sys.executable, "-c", f"{listening}; from attnc.cli import main; main()", *map(str, args)],
        env=os.environ | (env or {}),
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams,
    )


def process(*args: object, env: dict[str, str] | None = None, **streams: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command in a process of its own."""
    done = start(*args, env=env, **streams)
    output, errors = done.communicate(timeout=TIMEOUT)
    return done.returncode, (output or b"").decode(), (errors or b"").decode()


def arrays_for(graph: Graph, sizes: dict[str, int], steps: int | None = None) -> dict[str, np.ndarray]:
    """Small arrays that fit the inputs of a graph; integers are 1."""
    draw = np.random.default_rng(5)
    found = {}
    for value in graph.inputs:
        shape = tuple(sizes[d.name] if isinstance(d, Symbol) else d for d in value.tensor.shape)
        shape = shape if steps is None else (steps, *shape)
        dtype = value.tensor.dtype
        if dtype.is_float:
            found[value.name] = draw.integers(-3, 4, shape).astype(NUMPY[dtype])
        elif dtype.is_int:
            found[value.name] = np.ones(shape, NUMPY[dtype])
        else:
            found[value.name] = draw.random(shape) < 0.7
    for name in promised_keys(graph):
        rows = found[name]
        place = np.arange(len(rows), dtype=rows.dtype).reshape(-1, *[1] * (rows.ndim - 2))
        rows[..., 0], rows[..., 1] = 2 * place, -place * place  # integers, in order, on a parabola
    return found


def promised_keys(graph: Graph) -> set[str]:
    """Keys of steps of which a node promises something."""
    roots = graph.cache_roots()
    promised = {roots[op.cache.name] for op in graph.ops if isinstance(op, AttendStep) and op.keys}
    return {op.key.name for op in graph.ops if isinstance(op, Append) and roots[op.cache.name] in promised}
