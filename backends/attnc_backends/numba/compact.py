"""Fewer functions for Numba to compile: runtime text with one-line helpers written out where they are called.

Every function costs Numba about a tenth of a second, however small it is, and it builds one anew for every
constant that it is called with. Libraries are hundreds of small functions, so before they are compiled two
things are done to their text that change neither meaning nor machine code: a helper that only returns an
expression is replaced by that expression, and integer constants among the arguments of other calls lose
their type of constant.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

_ROUNDS = 20
"""Helpers call helpers, not deeper than this."""


@dataclass(frozen=True)
class _Helper:
    """A function whose body is one expression in its parameters."""

    parameters: tuple[str, ...]
    body: str
    """The expression, with `{0}`, `{1}`, ... for the parameters."""
    uses: tuple[int, ...]
    """How often each parameter appears."""


def compact(text: str) -> str:
    """`text`, generated runtime functions, with their one-line helpers expanded."""
    for _ in range(_ROUNDS):
        tree, places = ast.parse(text), _Places(text)
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and _is_compiled(node)]
        helpers = {node.name: made for node in functions if (made := _helper(text, node, places)) is not None}
        edits = _expansions(text, tree, places, helpers)
        if not edits:
            break
        text = _edited(text, edits)
    else:
        raise AssertionError("one-line helpers that call each other")
    names = {node.name for node in functions}
    return _edited(text, _plain_constants(text, tree, places, names))


def _is_compiled(node: ast.FunctionDef) -> bool:
    return any(
        isinstance(d, ast.Call) and isinstance(d.func, ast.Name) and d.func.id == "njit"
        for d in node.decorator_list
    )


def _helper(text: str, node: ast.FunctionDef, places: _Places) -> _Helper | None:
    statements = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    if len(statements) != 1 or not isinstance(statements[0], ast.Return):
        return None
    value = statements[0].value
    if value is None or isinstance(value, ast.Tuple):
        return None
    parameters = tuple(a.arg for a in node.args.args)
    uses = [0] * len(parameters)
    edits = []
    start, end = places.span(value)
    for name in ast.walk(value):
        if isinstance(name, ast.Call) and isinstance(name.func, ast.Name) and name.func.id == node.name:
            return None
        if isinstance(name, ast.Name) and name.id in parameters:
            number = parameters.index(name.id)
            uses[number] += 1
            first, last = places.span(name)
            edits.append((first - start, last - start, f"{{{number}}}"))
    return _Helper(parameters, _edited(text[start:end], edits), tuple(uses))


class _Places:
    """Line and column of a syntax tree as offsets into its text, which is ASCII."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]

    def words(self, node: ast.FunctionDef) -> set[str]:
        """The words in the body of a function."""
        assert node.end_lineno is not None
        lines = slice(self.starts[node.body[0].lineno - 1], self.starts[node.end_lineno])
        return set(re.findall(r"\w+", self.text[lines]))

    def span(self, node: ast.expr) -> tuple[int, int]:
        """Where an expression begins and ends."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        first = self.starts[node.lineno - 1] + node.col_offset
        return first, self.starts[node.end_lineno - 1] + node.end_col_offset


_Edit = tuple[int, int, str]


def _edited(text: str, edits: list[_Edit]) -> str:
    for first, last, new in sorted(edits, reverse=True):
        text = text[:first] + new + text[last:]
    return text


def _expansions(text: str, tree: ast.Module, places: _Places, helpers: dict[str, _Helper]) -> list[_Edit]:
    """Calls of helpers, innermost ones only, replaced by their expressions."""
    edits: list[_Edit] = []

    def visit(node: ast.AST) -> bool:
        """Whether something below was replaced, so that this has to wait for the next round."""
        below = [visit(child) for child in ast.iter_child_nodes(node)]
        if any(below) or not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            return any(below)
        helper = helpers.get(node.func.id)
        if helper is None:
            return False
        for argument, uses in zip(node.args, helper.uses, strict=True):
            if uses > 1 and not isinstance(argument, ast.Name | ast.Constant):
                return False  # it would be computed more than once
        arguments = [text[slice(*places.span(argument))] for argument in node.args]
        written = [
            a if isinstance(n, ast.Name | ast.Constant | ast.Call) else f"({a})"
            for a, n in zip(arguments, node.args, strict=True)
        ]
        edits.append((*places.span(node), f"({helper.body.format(*written)})"))
        return True

    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not helpers.keys().isdisjoint(places.words(node)):
            visit(node)
    return edits


def _plain_constants(text: str, tree: ast.Module, places: _Places, names: set[str]) -> list[_Edit]:
    """Constants among the arguments of calls of `names`, made plain integers."""
    edits: list[_Edit] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
            for argument in node.args:
                if _is_constant(argument):
                    first, last = places.span(argument)
                    edits.append((first, last, f"np.int64({text[first:last]})"))
    return edits


def _is_constant(node: ast.expr) -> bool:
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int) and not isinstance(value, bool)
        case ast.UnaryOp(operand=operand):
            return _is_constant(operand)
        case ast.Name(id=name):
            return re.fullmatch(r"_?[A-Z][A-Z0-9_]*", name) is not None
        case ast.BinOp(left=left, right=right):
            return _is_constant(left) and _is_constant(right)
        case _:
            return False
