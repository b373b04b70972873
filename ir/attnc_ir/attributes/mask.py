"""Masks: which key positions a query position may see, as an algebra.

`i` is a query position, `j` a key position. `And`, `Or` and `Not` combine; leaves are `causal`, `window`,
`prefix`, `documents`, `lengths`, `tensor`, `predicate`, `everything` and `nothing`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from attnc_ir.expr import EXPR, Expr
from attnc_ir.kinds import (
    VALUE,
    Attribute,
    EnumKind,
    FamilyKind,
    IntKind,
    Kind,
    OptionalKind,
    Scope,
    attribute,
)
from attnc_ir.syntax import Misread, Name, Node, Operator, Ref
from attnc_ir.values import Value


class Corner(enum.Enum):
    """Where the diagonal runs when query and key lengths differ."""

    TOP_LEFT = "top_left"
    """Query 0 stands at key 0."""
    BOTTOM_RIGHT = "bottom_right"
    """The last query stands at the last key: the offset is `n_kv - n_q`."""


Alignment = Corner | int
"""A corner, or the offset itself: query `i` stands at key `i + offset`."""

_CORNER = EnumKind(Corner)


class AlignmentKind:
    """`top_left`, `bottom_right` or an integer offset."""

    expects = "an alignment: top_left, bottom_right or an integer offset"

    def read(self, node: Node, scope: Scope) -> Alignment:
        if isinstance(node, Name):
            return _CORNER.read(node, scope)
        return IntKind(-(2**40), 2**40).read(node, scope)

    def write(self, value: Alignment) -> str:
        return value.value if isinstance(value, Corner) else str(value)


ALIGNMENT = AlignmentKind()


@dataclass(frozen=True)
class Mask(Attribute):
    """Base of masks. `&`, `|` and `~` combine them."""

    def __and__(self, other: Mask) -> Mask:
        return And((self, other)) if isinstance(other, Mask) else NotImplemented

    def __or__(self, other: Mask) -> Mask:
        return Or((self, other)) if isinstance(other, Mask) else NotImplemented

    def __invert__(self) -> Mask:
        return Not(self)

    def terms_of(self) -> tuple[Mask, ...]:
        """Direct sub-masks."""
        return ()

    @property
    def conjuncts(self) -> tuple[Mask, ...]:
        """The terms that a key must all be allowed by: those of an `And`, or this mask alone."""
        return (self,)

    def walk(self) -> Iterator[Mask]:
        """This mask and everything below it, parents first."""
        yield self
        for term in self.terms_of():
            yield from term.walk()

    def map_terms(self, change: Callable[[Mask], Mask]) -> Mask:
        """The same combination of `change`d terms; a leaf is itself."""
        return self


class _MaskFamily(FamilyKind[Mask]):
    """Leaves by keyword, combined by `&`, `|`, `~` (`~` binds tightest, then `&`, then `|`)."""

    def read(self, node: Node, scope: Scope) -> Mask:
        match node:
            case Operator(symbol="&" | "|" as symbol, operands=(left, right)):
                terms = (self.read(left, scope), self.read(right, scope))
                return And(terms) if symbol == "&" else Or(terms)
            case Operator(symbol="~", operands=(operand,)):
                return Not(self.read(operand, scope))
            case Operator(symbol=symbol):
                raise Misread(
                    node,
                    f"'{symbol}' does not combine masks",
                    "use &, | and ~; conditions stand inside predicate(...)",
                )
            case _:
                return super().read(node, scope)

    def write(self, value: Mask) -> str:
        match value:
            case And(terms):
                return " & ".join(self._wrapped(t, (Or,)) for t in terms)
            case Or(terms):
                return " | ".join(self._wrapped(t, ()) for t in terms)
            case Not(term):
                return f"~{self._wrapped(term, (And, Or))}"
            case _:
                return super().write(value)

    def _wrapped(self, mask: Mask, looser: tuple[type[Mask], ...]) -> str:
        text = self.write(mask)
        return f"({text})" if isinstance(mask, looser) else text


MASK = _MaskFamily("mask")


def _flattened(cls: type[And | Or], terms: tuple[Mask, ...]) -> tuple[Mask, ...]:
    """Terms with nested combinations of the same kind spliced in: `&` and `|` are associative."""
    flat: list[Mask] = []
    for term in terms:
        flat.extend(term.terms if isinstance(term, cls) else (term,))
    if len(flat) < 2:
        raise ValueError("a combination of masks needs at least two terms")
    return tuple(flat)


@dataclass(frozen=True)
class And(Mask):
    """Allowed where every term allows."""

    terms: tuple[Mask, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", _flattened(And, self.terms))

    def terms_of(self) -> tuple[Mask, ...]:
        return self.terms

    @property
    def conjuncts(self) -> tuple[Mask, ...]:
        return self.terms

    def map_terms(self, change: Callable[[Mask], Mask]) -> Mask:
        return And(tuple(change(t) for t in self.terms))


@dataclass(frozen=True)
class Or(Mask):
    """Allowed where some term allows."""

    terms: tuple[Mask, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", _flattened(Or, self.terms))

    def terms_of(self) -> tuple[Mask, ...]:
        return self.terms

    def map_terms(self, change: Callable[[Mask], Mask]) -> Mask:
        return Or(tuple(change(t) for t in self.terms))


@dataclass(frozen=True)
class Not(Mask):
    """Allowed where the term does not allow."""

    term: Mask

    def terms_of(self) -> tuple[Mask, ...]:
        return (self.term,)

    def map_terms(self, change: Callable[[Mask], Mask]) -> Mask:
        return Not(change(self.term))


@MASK.register
@dataclass(frozen=True)
class Everything(Mask):
    """Every key is allowed."""

    keyword: ClassVar[str] = "everything"


@MASK.register
@dataclass(frozen=True)
class Nothing(Mask):
    """No key is allowed."""

    keyword: ClassVar[str] = "nothing"


@MASK.register
@dataclass(frozen=True)
class Causal(Mask):
    """`j <= i + offset`. The alignment may be left out only where query and key length are one dimension."""

    keyword: ClassVar[str] = "causal"
    alignment: Alignment | None = attribute(OptionalKind(ALIGNMENT), default=None)


@MASK.register
@dataclass(frozen=True)
class Window(Mask):
    """`i + offset - left <= j <= i + offset + right`.

    Without an alignment it takes that of a `causal` it is and-ed with; else the lengths must be one
    dimension.
    """

    keyword: ClassVar[str] = "window"
    left: int = attribute(IntKind(0, 2**40))
    right: int = attribute(IntKind(0, 2**40))
    alignment: Alignment | None = attribute(OptionalKind(ALIGNMENT), default=None)


class CountKind:
    """A count: a literal, or an integer tensor with one per batch."""

    expects = "a count, or an integer tensor with one count per batch"

    def read(self, node: Node, scope: Scope) -> int | Value:
        if isinstance(node, Ref):
            return VALUE.read(node, scope)
        return IntKind(0, 2**40).read(node, scope)

    def write(self, value: int | Value) -> str:
        return str(value)


COUNT: Kind[int | Value] = CountKind()


@MASK.register
@dataclass(frozen=True)
class Prefix(Mask):
    """`j < count`: the first `count` keys, for every query."""

    keyword: ClassVar[str] = "prefix"
    count: int | Value = attribute(COUNT)


@MASK.register
@dataclass(frozen=True)
class Documents(Mask):
    """Query and key belong to the same document: `ids[i] == key_ids[j]`, integer tensors `[N]` or `[B x N]`.

    `key_ids` may be left out only where query and key length are one dimension.
    """

    keyword: ClassVar[str] = "documents"
    ids: Value = attribute(VALUE)
    key_ids: Value | None = attribute(OptionalKind(VALUE), default=None)


@MASK.register
@dataclass(frozen=True)
class Lengths(Mask):
    """Ragged batches: `i < queries[b] and j < keys[b]`, integer tensors `[B]`."""

    keyword: ClassVar[str] = "lengths"
    queries: Value = attribute(VALUE)
    keys: Value = attribute(VALUE)


@MASK.register
@dataclass(frozen=True)
class TensorMask(Mask):
    """A boolean tensor, broadcast to `[B x H x N x M]`; true allows."""

    keyword: ClassVar[str] = "tensor"
    tensor: Value = attribute(VALUE)


@MASK.register
@dataclass(frozen=True)
class Predicate(Mask):
    """A condition over `b`, `h`, `i`, `j`."""

    keyword: ClassVar[str] = "predicate"
    condition: Expr = attribute(EXPR)


def window_span(mask: Mask) -> int | None:
    """The most keys that the windows and-ed in `mask` leave to a query; None without windows."""
    return min((t.left + t.right + 1 for t in mask.conjuncts if isinstance(t, Window)), default=None)
