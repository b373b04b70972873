"""Runtime pieces as text.

Numba's cache does not notice changes in other files, so a generated module must hold all its code. The pieces
in `attnc_backends.numba.runtime` are ordinary modules, tested as such; here they are read, stripped of
docstring and imports, and laid one after the other in the order of their imports. What stays an import is the
type of vectors, which must be one and the same class in all modules of a process. Beside the import stands a
name for the text of that module, so that code made with another text is another module.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib import resources
from pathlib import Path

from attnc_backends.numba import vectors

_PACKAGE = "attnc_backends.numba.runtime"
_VECTORS = "attnc_backends.numba.vectors"

HEADER = """\
import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
"""


HELPER = '@njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True'
"""How a helper's decorator begins: Numba need not make it callable from Python or C."""

_PIECE_DECORATOR = '@njit(nogil=True, error_model="numpy"'

# Numba hands options that are not given down from caller to callee, `forceinline` too: without a word against
# it everything below a function that is to be inlined would be inlined with it.
_PLAIN = (f"{HELPER})\n", f"{HELPER}, forceinline=False)\n")


@cache
def _piece(name: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """The text of one piece without docstring and imports, the pieces it imports from, and the names it takes
    from the module of vector types.
    """
    source = resources.files(_PACKAGE).joinpath(f"{name}.py").read_text(encoding="utf-8")
    needs: list[str] = []
    names: list[str] = []
    lines: dict[int, str | None] = dict(enumerate(source.splitlines(), 1))

    def drop(first: int, last: int | None) -> None:
        assert last is not None
        for number in range(first, last + 1):
            lines[number] = None

    for index, node in enumerate(ast.parse(source).body):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(_PACKAGE + "."):
            needs.append(node.module.removeprefix(_PACKAGE + "."))
        if isinstance(node, ast.ImportFrom) and node.module == _VECTORS:
            names += [alias.name for alias in node.names]
        is_docstring = index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            drop(node.lineno, node.end_lineno)
        elif isinstance(node, ast.FunctionDef) and (intrinsic := _wrapped_intrinsic(node)):
            drop(node.decorator_list[0].lineno, node.end_lineno)
            lines[node.lineno] = f"{node.name} = {intrinsic}"
    text = "\n".join(line for line in lines.values() if line is not None)
    text = text.strip("\n").replace(_PIECE_DECORATOR, HELPER).replace(*_PLAIN)
    return text, tuple(needs), tuple(names)


@cache
def _vectors() -> str:
    """A name for the text of the module of vector types."""
    return hashlib.sha256(Path(vectors.__file__).read_bytes()).hexdigest()[:16]


def _wrapped_intrinsic(node: ast.FunctionDef) -> str | None:
    """The intrinsic that a function only passes its arguments on to.

    Such wrappers are there for type checkers. In generated code the intrinsic itself takes the name: every
    function less is a compilation less.
    """
    last = node.body[-1]
    call = last.value if isinstance(last, ast.Return | ast.Expr) else None
    if len(node.body) > 2 or not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return None
    passed = [a.id if isinstance(a, ast.Name) else None for a in call.args]
    same = passed == [a.arg for a in node.args.args]
    return call.func.id if same and call.func.id == f"_{node.name}" else None


def runtime_text(names: set[str]) -> str:
    """The named pieces and everything they need, each once, needed ones first."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        for needed in _piece(name)[1]:
            visit(needed)
        order.append(name)

    for name in sorted(names):
        visit(name)
    imported = sorted({used for name in order for used in _piece(name)[2]})
    lead = [f"from {_VECTORS} import {', '.join(imported)}\n\nVECTORS = {_vectors()!r}"] if imported else []
    return "\n\n\n".join([*lead, *(f"# --- runtime: {name} ---\n\n{_piece(name)[0]}" for name in order)])
