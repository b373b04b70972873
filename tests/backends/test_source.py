"""Generated source: names that a user may choose, nothing of the user's text, and two specs to read in full."""

import ast
import io
import os
import tokenize
from pathlib import Path

import numpy as np
import pytest

import attnc
from attnc_backends.numba import vectors
from attnc_backends.numba.backend import NumbaBackend
from attnc_ir.types import DType
from backend_cases import STRICT, close_numbers, compiled

GOLDEN = Path(__file__).parent.parent / "golden"

# --- names ---

TRICKY = [
    "load_f64", "acc_add", "shared_acc_add", "frame", "t", "b", "h", "i", "j", "at", "attend", "attend_1", "now_x", "lambda", "def", "None", "True",
    "o", "scratch", "keys", "values", "math", "np", "njit", "group", "blocks", "cache0_keys", "n_keys0", "runtime", "fault", "self", "graph", "d_N",
    "v_at", "held", "tile_join_f64", "g0_entry", "unsettled_0", "print", "_", "__import__",
]  # fmt: skip


def renamed(text, names):
    """The spec with `$1`, `$2`, ... replaced by names."""
    for number in range(len(names), 0, -1):
        text = text.replace(f"${number}", names[number - 1])
    return text


STATELESS = """
graph @$1(%$2: f64[$3 x 2], %$4: f64[$5 x 2], %$6: f64[$5 x 2], %$7: f64[1]) {
  %$8 = attend %$2, %$4, %$6 {normalizer = softmax, bias = alibi(%$7), mask = predicate(j <= i or %$7[0] > 0.0)}
  %$9 = attend %$2, %$4, %$6 {normalizer = hardmax(mean), bias = expression(0.5 * %$7[0] - j)}
  %$10 = add %$8, %$9
  return %$10
}
"""
STATEFUL = """
graph @$1(%$2: f64[$3 x 2], %$4: f64[$3 x 2]) {
  %$5 = cache {heads = [$3], key = f64[2], value = f64[2]}
  %$6 = add %$2, %$4
  %$7 = append %$5, %$6, %$4
  %$8 = attend.step %$2, %$7 {normalizer = hardmax(last), strategy = hull}
  %$9 = attend.step %$6, %$7 {normalizer = softmax}
  %$10 = add %$8, %$9
  return %$10
}
"""


def rotated(start, count):
    return [TRICKY[(start + n) % len(TRICKY)] for n in range(count)]


def test_any_name_compiles_and_runs():
    """Names of the runtime, of generated code, of Python: as graph, value and dimension."""
    rng = np.random.default_rng(0)
    names = rotated(0, 10)
    arrays = {
        names[n]: rng.normal(size=shape) for n, shape in ((1, (3, 2)), (3, (4, 2)), (5, (4, 2)), (6, (1,)))
    }
    program = compiled(renamed(STATELESS, names))
    expected = attnc.reference(program.source_module, names[0], **arrays)
    for found in (program(names[0], **arrays), program[names[0]](**arrays)):
        close_numbers(found, expected, DType.F64, 1e-12, 10.0)


def test_any_name_in_a_stateful_graph():
    rng = np.random.default_rng(0)
    names = rotated(4, 10)
    arrays = {names[n]: rng.normal(size=(5, 3, 2)) for n in (1, 3)}
    program = compiled(renamed(STATEFUL, names))
    expected = attnc.reference(program.source_module, names[0], **arrays)
    close_numbers(
        program.extend(program.state(names[0], **{names[2]: 3}), **arrays), expected, DType.F64, 1e-12, 10.0
    )


def emitted(text):
    """The source of a spec, not compiled."""
    return NumbaBackend().emit(attnc.compile(text, backend="numpy", pipeline=STRICT).module).source


@pytest.mark.parametrize("text", [STATELESS, STATEFUL], ids=["stateless", "stateful"])
@pytest.mark.parametrize("start", range(len(TRICKY)))
def test_no_name_meets_a_local_of_generated_code(text, start):
    """What a function loads from the frame under a name with the user's part is assigned once and is no parameter."""
    for node in ast.parse(emitted(renamed(text, rotated(start, 10)))).body:
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("g0_"):
            continue
        assigned = [
            part.id
            for part in ast.walk(node)
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
        ]
        loaded = {
            part.targets[0].id for part in node.body
            if isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name) and ast.unparse(part.value).startswith("load_i64(frame + ")
        }  # fmt: skip
        assert not loaded & {argument.arg for argument in node.args.args}
        assert all(assigned.count(name) == 1 for name in loaded - {"start"})


# --- nothing of the user's text ---


def test_no_comment_or_path_reaches_the_source(tmp_path):
    path = tmp_path / "secret_file_name.attn"
    path.write_text(
        "// import os  # hidden_comment\n"
        'graph @g(%x: f64[N x 2]) -> f64[N x 2] {  // """ breaks out\n'
        "  %o = attend %x, %x, %x {normalizer = softmax, scale = 0x1p-2}  // \\n\n  return %o\n}\n".replace(
            "0x1p-2", "0.250"
        ),
        encoding="utf-8",
    )
    program = attnc.compile(path)
    source = program.source()
    for text in ("hidden_comment", "secret_file_name", "breaks out", str(tmp_path), "import os", "0.250"):
        assert text not in source
    assert program.path.read_text(encoding="utf-8") == source
    assert source.isascii()


def test_only_known_names_are_called():
    """The generated part calls functions of the module itself, of `math` and of `np`, and a few builtins."""
    program = compiled(renamed(STATELESS, rotated(0, 10)))
    tree = ast.parse(program.source())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    defined |= {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    functions = [
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("g0_")
    ]
    assert functions
    called = {
        ast.unparse(call.func)
        for f in functions
        for part in f.body
        for call in ast.walk(part)
        if isinstance(call, ast.Call)
    }
    builtins = {"range", "min", "max", "abs"}
    assert {name for name in called if not name.startswith(("math.", "np."))} <= defined | builtins


def test_source_does_not_depend_on_what_was_compiled_before():
    text = renamed(STATEFUL, rotated(2, 10))
    first = emitted(text)
    emitted(renamed(STATEFUL, rotated(9, 10)))
    assert emitted(text) == first


# --- golden ---

SPECS = {
    "softmax": """
graph @prefill(%q: f32[B x 8 x N x 64], %k: f32[B x 2 x M x 64], %v: f32[B x 2 x M x 64]) {
  %o, %lse = attend %q, %k, %v {normalizer = softmax, mask = causal(bottom_right) & window(256, 0), scale = 0.125}
  return %o, %lse
}
""",
    "memory": """
graph @memory(%q: f64[H x 2], %k: f64[H x 2], %v: f64[H x 3]) {
  %c = cache {heads = [H], key = f64[2], value = f64[3]}
  %c1 = append %c, %k, %v
  %o = attend.step %q, %c1 {normalizer = hardmax(last), strategy = hull}
  return %o
}
""",
}


def own_part(source):
    """What follows the runtime pieces and the calls into the shared runtime: the code of the graph itself."""
    lines = source.splitlines(keepends=True)
    first = next(number for number, line in enumerate(lines) if line.startswith("def g0_"))
    return "".join(lines[first - 1 :])


@pytest.mark.parametrize("name", SPECS)
def test_golden(name, monkeypatch):
    """To accept new source: `ATTNC_UPDATE_GOLDEN=1 python -m pytest tests/backends/test_source.py -k golden`, then read the diff."""
    monkeypatch.setattr(vectors, "native_bytes", lambda: 64)
    found = own_part(emitted(SPECS[name]))
    path = GOLDEN / f"{name}.py"
    if os.environ.get("ATTNC_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")
    # Readable: every function says what it does, and lines end somewhere.
    tree = ast.parse(found)
    assert all(ast.get_docstring(node) for node in tree.body)
    comments = [
        token.string
        for token in tokenize.generate_tokens(io.StringIO(found).readline)
        if token.type == tokenize.COMMENT
    ]
    assert all(comment.isprintable() for comment in comments)
