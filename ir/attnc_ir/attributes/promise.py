"""Promises: what the caller vouches for about the keys of an attention node.

A promise never changes what a node means. It allows strategies that rely on it, and it is checked against
every key when the graph runs; a key that breaks it is an error that names the key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.kinds import Attribute, FamilyKind, IntKind, OptionalKind, Scope, attribute
from attnc_ir.syntax import Misread, Node, Operator

PARABOLA_REACH = 2**26
"""The largest address on a promised parabola: up to it a double holds the square and then some."""

_EXACT = 2**53


@dataclass(frozen=True)
class Promise(Attribute):
    """Something that holds for all keys of a node."""


PROMISE: FamilyKind[Promise] = FamilyKind("promise")


@PROMISE.register
@dataclass(frozen=True)
class Integer(Promise):
    """Every element of every key is an integer; with bounds, one from `low` to `high`, ends included."""

    keyword: ClassVar[str] = "integer"
    low: int | None = attribute(OptionalKind(IntKind(-_EXACT, _EXACT)), default=None)
    high: int | None = attribute(OptionalKind(IntKind(-_EXACT, _EXACT)), default=None)

    def __post_init__(self) -> None:
        if (self.low is None) != (self.high is None):
            raise ValueError("give both bounds or none")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"no integer lies between {self.low} and {self.high}")


@PROMISE.register
@dataclass(frozen=True)
class Monotone(Promise):
    """Along coordinate `axis`, each key is larger than the key before it."""

    keyword: ClassVar[str] = "monotone"
    axis: int = attribute(IntKind(0, 2**31 - 1))


@PROMISE.register
@dataclass(frozen=True)
class Parabola(Promise):
    """Keys of width 2 that are `(2a, -a*a)`, exactly, for integers `a` of magnitude 2**26 at most."""

    keyword: ClassVar[str] = "parabola"


Promises = tuple[Promise, ...]
"""All of them hold. None promises nothing."""


class PromisesKind:
    """Promises joined by `&`, or `none`."""

    @property
    def expects(self) -> str:
        return f"promises ({', '.join(PROMISE.members)}) joined by &"

    def read(self, node: Node, scope: Scope) -> Promises:
        match node:
            case Operator(symbol="&", operands=(left, right)):
                return (*self.read(left, scope), *self.read(right, scope))
            case Operator(symbol=symbol):
                raise Misread(node, f"'{symbol}' does not combine promises", "use &")
            case _:
                found = OptionalKind(PROMISE).read(node, scope)
                return () if found is None else (found,)

    def write(self, value: Promises) -> str:
        return " & ".join(map(PROMISE.write, value)) if value else "none"


PROMISES = PromisesKind()
