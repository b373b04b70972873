"""What a function captures: the arrays that become tables, and the key that its trace is remembered by."""

from __future__ import annotations

import functools
import inspect
import math
import operator
import types
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from attnc.tracing.symbols import Session
from attnc.tracing.tables import Table

Captured = tuple[str, np.ndarray[Any, Any]]
"""An array by the name that the function knows it by."""

_KNOWN = ("attnc", "numpy", "math", "operator", "builtins")
"""Packages whose functions do the same each time."""

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
"""Types whose values are what they are; a subclass may say otherwise."""

_MODULES = (math, np, operator)


@dataclass
class Fingerprint:
    """`key` is equal for functions that trace alike; None where that cannot be told. `arrays` are those it
    captures, in the order in which `bound` makes tables of them.
    """

    key: tuple[Any, ...] | None
    arrays: tuple[Captured, ...]


def fingerprint(function: object) -> Fingerprint:
    """What a function's trace depends on: its code and all that it captures.

    Numbers, text and functions count by value, arrays by element type and shape: their elements are looked up
    when the graph runs. With anything else, an object or a list, what is traced today may differ tomorrow.
    """
    walk = _Walk()
    key = walk.key(function)
    return Fingerprint(key if walk.known else None, tuple(walk.arrays))


def bound(function: Any, session: Session) -> Any:
    """`function` with tables in place of the arrays that it, or a function it calls by name, captures."""
    return _Binder(session).bound(function)


def code_of(function: Any) -> CodeType | None:
    """The code object behind a function, a method or a partial."""
    while isinstance(function, functools.partial | types.MethodType):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    if isinstance(function, FunctionType):
        return function.__code__
    call = inspect.getattr_static(type(function), "__call__", None)
    return call.__code__ if isinstance(call, FunctionType) else None


@functools.lru_cache(maxsize=1024)
def _names(code: CodeType) -> tuple[str, ...]:
    """Every name that code may look up in its module, that of functions inside it too."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found.update(_names(constant))
    return tuple(sorted(found))


def _references(function: FunctionType) -> Iterator[tuple[str, object]]:
    """What a function captures, by name: cells, globals, defaults."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not filled yet
            yield name, _EMPTY
    scope = function.__globals__
    for name in _names(function.__code__):
        if name in scope:
            yield name, scope[name]
    for place, value in enumerate(function.__defaults__ or ()):
        yield f"default{place}", value
    yield from (function.__kwdefaults__ or {}).items()


_EMPTY = object()


def _is_known(value: object) -> bool:
    """Whether a function or class belongs to a package that does the same each time."""
    module = getattr(value, "__module__", None)
    return isinstance(module, str) and module.split(".", maxsplit=1)[0] in _KNOWN


def _is_open(value: object) -> bool:
    """Whether a captured thing is a function that is looked into."""
    return isinstance(value, FunctionType) and not _is_known(value)


@dataclass
class _Walk:
    """Goes through a function and the functions it captures, depth first, in a fixed order."""

    arrays: list[Captured] = field(default_factory=list)
    known: bool = True
    inside: set[int] = field(default_factory=set)

    def key(self, value: object, name: str = "") -> tuple[Any, ...]:
        """A key for a captured thing; clears `known` where there is none."""
        match value:
            case None | bool() | int() | str() | bytes() if type(value) in _PLAIN:
                return (type(value), value)
            case float() | complex() if type(value) in _PLAIN:
                return (type(value), repr(value))  # which tells zeros apart
            case np.generic():
                return (type(value), value.tobytes())
            case np.ndarray() if value.ndim:
                self.arrays.append((name, value))
                return ("array", value.dtype.str, value.dtype.name, value.shape)
            case tuple():
                return ("tuple", *(self.key(item) for item in value if not self._mixed(item)))
            case FunctionType() if not _is_known(value):
                return self._function(value)
            case functools.partial():
                parts = [self.key(value.func), *(self.key(item, "table") for item in value.args)]
                parts += [(word, self.key(item, word)) for word, item in value.keywords.items()]
                return ("partial", *parts)
            case types.ModuleType() if value in _MODULES or value.__name__ == "attnc":
                return ("module", value.__name__)
            case _ if callable(value) and not isinstance(value, types.MethodType) and _is_known(value):
                return ("known", value)
            case _:
                self.known = False
                return ()

    def _mixed(self, item: object) -> bool:
        """An array inside a tuple is not made a table, so its elements may be part of the trace."""
        if isinstance(item, np.ndarray):
            self.known = False
            return True
        return False

    def _function(self, function: FunctionType) -> tuple[Any, ...]:
        if id(function) in self.inside:
            self.known = False  # it calls itself
            return ()
        self.inside.add(id(function))
        parts = [(name, self.key(value, name)) for name, value in _references(function)]
        self.inside.discard(id(function))
        return ("function", function.__code__, *parts)


class _Binder:
    """Makes the copies of functions that see tables. The order of arrays is that of `_Walk`."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.count = 0
        self.inside: set[int] = set()

    def bound(self, value: Any, name: str = "table") -> Any:
        """A captured thing as the traced function is to see it."""
        if isinstance(value, np.ndarray) and value.ndim:
            self.count += 1
            return Table(value, name, self.count - 1).of(self.session)
        if isinstance(value, functools.partial):
            function = self.bound(value.func)
            args = [self.bound(item) for item in value.args]
            return functools.partial(
                function, *args, **{k: self.bound(v, k) for k, v in value.keywords.items()}
            )
        if isinstance(value, types.MethodType):
            return types.MethodType(self.bound(value.__func__), value.__self__)
        if _is_open(value) and id(value) not in self.inside:
            return self._function(value)
        return value

    def _function(self, function: FunctionType) -> FunctionType:
        self.inside.add(id(function))
        seen = [(name, value, self.bound(value, name)) for name, value in _references(function)]
        self.inside.discard(id(function))
        if all(new is old for _, old, new in seen):
            return function
        free = len(function.__code__.co_freevars)
        cells = tuple(types.CellType() if new is _EMPTY else types.CellType(new) for _, _, new in seen[:free])
        rest = seen[free:]
        inside = [name for name in _names(function.__code__) if name in function.__globals__]
        scope = dict(function.__globals__)
        scope.update((name, new) for name, _, new in rest[: len(inside)])
        rest = rest[len(inside) :]
        defaults = len(function.__defaults__ or ())
        copy = FunctionType(
            function.__code__,
            scope,
            function.__name__,
            tuple(new for _, _, new in rest[:defaults]) if function.__defaults__ is not None else None,
            cells if function.__closure__ is not None else None,
        )
        if function.__kwdefaults__ is not None:
            copy.__kwdefaults__ = {name: new for name, _, new in rest[defaults:]}
        return copy
