"""Runtime pieces as text.

Numba's cache does not notice changes in other files, so a generated module must hold all its code. The pieces in
`attnc_backends.numba.runtime` are ordinary modules, tested as such; here they are read, stripped of docstring and imports, and laid
one after the other in the order of their imports.
"""

from __future__ import annotations

import ast
from functools import cache
from importlib import resources

_PACKAGE = "attnc_backends.numba.runtime"

HEADER = """\
import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
"""


@cache
def _piece(name: str) -> tuple[str, tuple[str, ...]]:
    """The text of one piece without docstring and imports, and the pieces it imports from."""
    source = resources.files(_PACKAGE).joinpath(f"{name}.py").read_text(encoding="utf-8")
    needs: list[str] = []
    dropped: set[int] = set()
    for index, node in enumerate(ast.parse(source).body):
        is_docstring = index == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(_PACKAGE + "."):
            needs.append(node.module.removeprefix(_PACKAGE + "."))
        if is_docstring or isinstance(node, ast.Import | ast.ImportFrom):
            assert node.end_lineno is not None
            dropped.update(range(node.lineno, node.end_lineno + 1))
    kept = [line for number, line in enumerate(source.splitlines(), 1) if number not in dropped]
    return "\n".join(kept).strip("\n"), tuple(needs)


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
    return "\n\n\n".join(f"# --- runtime: {name} ---\n\n{_piece(name)[0]}" for name in order)
