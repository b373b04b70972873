"""What the grammar produces before anything has a meaning: names, numbers, uses, calls, lists, operators.

Ops and attributes read themselves from these nodes through their fields' kinds (`attnc_ir.kinds`), so that a
new op or attribute needs no change of grammar.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnc_ir.location import Location


@dataclass(frozen=True)
class Node:
    """Any piece of syntax, with its place."""

    location: Location


@dataclass(frozen=True)
class Name(Node):
    """A bare word: `last`, `bottom_right`, `everything`, `B`."""

    text: str


@dataclass(frozen=True)
class Number(Node):
    """A literal. `value` is an int where the text has neither point nor exponent."""

    value: int | float


@dataclass(frozen=True)
class Ref(Node):
    """A use of a value: `%q`, without the sign."""

    name: str


@dataclass(frozen=True)
class Call(Node):
    """`callee(arg, arg, name = arg)`."""

    callee: str
    args: tuple[Node, ...]
    named: tuple[tuple[str, Node], ...] = ()


@dataclass(frozen=True)
class Listing(Node):
    """`[a, b, c]`, or a shape `[a x b x c]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Subscript(Node):
    """`f64[2 x N]` (a type) or `%table[i, j]` (a look-up)."""

    base: Name | Ref
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Operator(Node):
    """A prefix or infix operator: one or two operands. `symbol` is the operator as it is written.

    The symbol `()` marks a literal in parentheses behind a minus: `-(3)` negates 3, `-3` is a literal.
    """

    symbol: str
    operands: tuple[Node, ...]


# --- statements ---


@dataclass(frozen=True)
class Binding(Node):
    """`name = value` in an op's braces; its place spans both."""

    name: Name
    value: Node


@dataclass(frozen=True)
class Definition(Node):
    """`%name` or `%name: type`, where a value is defined: an input of a graph or a result of an op."""

    name: str
    type: Node | None = None


@dataclass(frozen=True)
class Header(Node):
    """`graph @name(%q: type, ...) -> type, ... {`; its place is that of the name."""

    name: str
    inputs: tuple[Definition, ...]
    declared: tuple[Node, ...] | None = None


@dataclass(frozen=True)
class Assignment(Node):
    """`%a, %b = mnemonic %x, %y {name = value, ...}`; its place is that of the mnemonic."""

    results: tuple[Definition, ...]
    mnemonic: str
    operands: tuple[Ref, ...]
    bindings: tuple[Binding, ...]


@dataclass(frozen=True)
class Return(Node):
    """`return %a, %b`."""

    values: tuple[Ref, ...]


class Misread(Exception):
    """A node does not read as the kind that stands there. The parser turns it into a diagnostic."""

    def __init__(self, node: Node, message: str, help: str | None = None) -> None:
        super().__init__(message)
        self.node = node
        self.message = message
        self.help = help
