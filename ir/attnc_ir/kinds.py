"""Kinds: how the field of an op or attribute is read from syntax and written back.

A dataclass field made by [`operand`][attnc_ir.kinds.operand], [`operands`][attnc_ir.kinds.operands] or
[`attribute`][attnc_ir.kinds.attribute] carries its kind as metadata; parser, printer and substitution work
from that and know no op by name.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

from attnc_ir.syntax import Call, Listing, Misread, Name, Node, Number, Operator, Ref, Subscript
from attnc_ir.types import MAX_DIM, UNKNOWN, Dim, DType, Shape, Symbol, TensorType, format_shape
from attnc_ir.values import Value, is_name

T = TypeVar("T")


class Scope(Protocol):
    """What reading needs to know about its surroundings."""

    def value(self, ref: Ref) -> Value:
        """The value that `ref` names; raises `Misread` when it is not defined."""
        ...


class Kind(Protocol[T]):
    """Reads and writes one sort of thing. `expects` completes "expected ..." in messages."""

    @property
    def expects(self) -> str: ...

    def read(self, node: Node, scope: Scope) -> T: ...

    def write(self, value: T) -> str: ...


def suggest(word: str, words: list[str]) -> str:
    """A help line for a word that is not among `words`: the nearest ones first, else all of them."""
    near = difflib.get_close_matches(word[:64], words, n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"one of: {', '.join(words)}"


def describe(node: Node) -> str:
    """What a node is, for "expected X, got Y"."""
    match node:
        case Name(text=text):
            return f"'{text[:40]}'"
        case Number(value=value):
            # Python refuses to print integers of thousands of digits; nobody wants to read them either.
            return "a huge integer" if isinstance(value, int) and value.bit_length() > 128 else str(value)
        case Ref(name=name):
            return f"%{name[:40]}"
        case Call(callee=callee):
            return f"{callee[:40]}(...)"
        case Listing():
            return "a list"
        case Subscript():
            return "a subscript"
        case Operator(symbol=symbol):
            return f"'{symbol}'"
        case _:
            return "something else"


def _misread(node: Node, kind: Kind[Any], help: str | None = None) -> Misread:
    return Misread(node, f"expected {kind.expects}, got {describe(node)}", help)


# --- scalars ---


@dataclass(frozen=True)
class IntKind:
    """An integer within `[low, high]`."""

    low: int = -(2**63)
    high: int = 2**63 - 1

    @property
    def expects(self) -> str:
        if self.low == -(2**63) and self.high == 2**63 - 1:
            return "an integer"
        return f"an integer from {self.low} to {self.high}"

    def read(self, node: Node, scope: Scope) -> int:
        sign, literal = _signed(node)
        if (
            literal is None
            or not isinstance(literal.value, int)
            or not self.low <= sign * literal.value <= self.high
        ):
            raise _misread(node, self)
        return sign * literal.value

    def write(self, value: int) -> str:
        return str(value)


@dataclass(frozen=True)
class FloatKind:
    """A double: a literal, `inf`, `nan`, or `rsqrt(n)` for `1 / sqrt(n)` rounded to a double."""

    expects: ClassVar[str] = "a number"

    def read(self, node: Node, scope: Scope) -> float:
        sign, inner = _signed_node(node)
        match inner:
            case Number(value=value):
                try:
                    return sign * float(value)
                except OverflowError:
                    raise Misread(
                        node, "number too large for a double", "the largest is about 1.8e308"
                    ) from None
            case Name(text="inf"):
                return sign * math.inf
            case Name(text="nan"):
                return math.nan
            case Call(callee="rsqrt", args=(Number(value=value),), named=()) if 0 < value < 1e300:
                return sign / math.sqrt(value)
            case _:
                raise _misread(node, self, "for example 0.125, 1e-3, -2, inf or rsqrt(128)")

    def write(self, value: float) -> str:
        return format_float(value)


def format_float(value: float) -> str:
    """The shortest text that reads back as the same double; `rsqrt(n)` where that is what it is.

    >>> format_float(0.125), format_float(1 / math.sqrt(128)), format_float(2.0)
    ('0.125', 'rsqrt(128)', '2.0')
    """
    shortest = repr(value)
    if len(shortest) > 12 and 0 < value < 1:
        width = round(1 / (value * value)) if value > 1e-6 else 0
        if 0 < width < 2**24 and 1 / math.sqrt(width) == value:
            return f"rsqrt({width})"
    return shortest


def _signed_node(node: Node) -> tuple[int, Node]:
    if isinstance(node, Operator) and node.symbol == "-" and len(node.operands) == 1:
        return -1, node.operands[0]
    return 1, node


def _signed(node: Node) -> tuple[int, Number | None]:
    sign, inner = _signed_node(node)
    return sign, inner if isinstance(inner, Number) else None


E_ = TypeVar("E_", bound=enum.Enum)


@dataclass(frozen=True)
class EnumKind(Generic[E_]):
    """One word out of an enumeration whose values are the words."""

    enumeration: type[E_]

    @property
    def expects(self) -> str:
        return "one of " + ", ".join(str(m.value) for m in self.enumeration)

    def read(self, node: Node, scope: Scope) -> E_:
        words = [str(m.value) for m in self.enumeration]
        if isinstance(node, Name):
            if node.text in words:
                return self.enumeration(node.text)
            raise _misread(node, self, suggest(node.text, words))
        raise _misread(node, self)

    def write(self, value: E_) -> str:
        return str(value.value)


class BoolKind:
    """`true` or `false`."""

    expects: ClassVar[str] = "true or false"

    def read(self, node: Node, scope: Scope) -> bool:
        if isinstance(node, Name) and node.text in ("true", "false"):
            return node.text == "true"
        raise _misread(node, self)

    def write(self, value: bool) -> str:
        return "true" if value else "false"


class ValueKind:
    """A use of an SSA value."""

    expects = "a value such as %x"

    def read(self, node: Node, scope: Scope) -> Value:
        if not isinstance(node, Ref):
            raise _misread(node, self)
        return scope.value(node)

    def write(self, value: Value) -> str:
        return str(value)


# --- types ---


class DimKind:
    """A dimension: a size, a name, or `?`."""

    expects = "a dimension: a size, a name such as N, or ?"

    def read(self, node: Node, scope: Scope) -> Dim:
        match node:
            case Number(value=int(value)) if 0 <= value <= MAX_DIM:
                return value
            case Number(value=int()):
                raise Misread(
                    node,
                    f"dimension {describe(node)} is too large",
                    "at most 2**40 elements along a dimension",
                )
            case Name(text="?"):
                return UNKNOWN
            case Name(text="x"):
                raise Misread(
                    node, "x separates dimensions and cannot name one", "choose another name, such as N"
                )
            case Name(text=text):
                return Symbol(text)
            case _:
                raise _misread(node, self)

    def write(self, value: Dim) -> str:
        return str(value)


def is_dim_name(name: str) -> bool:
    """Whether a dimension can have this name: an identifier that the grammar does not need, or `?`.

    >>> is_dim_name("N"), is_dim_name("x"), is_dim_name("2N")
    (True, False, False)
    """
    return name == "?" or (name not in ("x", "and", "or", "not") and is_name(name))


MAX_RANK = 16


class ShapeKind:
    """`[B x H x 64]`; one dimension may stand without brackets."""

    expects = "a shape such as [B x H] or [4]"

    def read(self, node: Node, scope: Scope) -> Shape:
        items = node.items if isinstance(node, Listing) else (node,)
        if len(items) > MAX_RANK:
            raise Misread(node, f"a shape of rank {len(items)}", f"at most {MAX_RANK} dimensions")
        return tuple(DIM.read(item, scope) for item in items)

    def write(self, value: Shape) -> str:
        return format_shape(value)


class TypeKind:
    """A tensor type such as `f32[B x N x 64]`."""

    expects = "a type such as f32[N x 64]"

    def read(self, node: Node, scope: Scope) -> TensorType:
        if not (isinstance(node, Subscript) and isinstance(node.base, Name)):
            raise _misread(node, self)
        dtypes = [d.value for d in DType]
        if node.base.text not in dtypes:
            raise Misread(
                node.base, f"unknown element type {describe(node.base)}", suggest(node.base.text, dtypes)
            )
        shape = SHAPE.read(Listing(node.location, node.items), scope)
        return TensorType(DType(node.base.text), shape)

    def write(self, value: TensorType) -> str:
        return str(value)


# --- composites ---

MAX_ITEMS = 1_000_000


@dataclass(frozen=True)
class TupleKind(Generic[T]):
    """`[a, b, c]`, every item of one kind."""

    item: Kind[T]

    @property
    def expects(self) -> str:
        return f"a list; each item {self.item.expects}"

    def read(self, node: Node, scope: Scope) -> tuple[T, ...]:
        if not isinstance(node, Listing):
            raise _misread(node, self)
        if len(node.items) > MAX_ITEMS:
            raise Misread(node, f"a list of {len(node.items)} items", f"at most {MAX_ITEMS}")
        return tuple(self.item.read(item, scope) for item in node.items)

    def write(self, value: tuple[T, ...]) -> str:
        return f"[{', '.join(self.item.write(item) for item in value)}]"


@dataclass(frozen=True)
class OptionalKind(Generic[T]):
    """The kind, or the word `none`."""

    inner: Kind[T]

    @property
    def expects(self) -> str:
        return self.inner.expects

    def read(self, node: Node, scope: Scope) -> T | None:
        if isinstance(node, Name) and node.text == "none":
            return None
        return self.inner.read(node, scope)

    def write(self, value: T | None) -> str:
        return "none" if value is None else self.inner.write(value)


class Attribute:
    """Base of attribute classes: frozen dataclasses, written `keyword` or `keyword(param, ...)`."""

    keyword: ClassVar[str]


A = TypeVar("A", bound=Attribute)


class FamilyKind(Generic[A]):
    """Any registered member of a family of attribute classes, by keyword."""

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self.members: dict[str, type[A]] = {}

    @property
    def expects(self) -> str:
        return f"{self.noun} ({', '.join(self.members)})"

    def register(self, cls: type[A]) -> type[A]:
        """Class decorator: make `cls` readable by its keyword wherever this family stands."""
        assert cls.keyword not in self.members, f"{self.noun} {cls.keyword} registered twice"
        self.members[cls.keyword] = cls
        return cls

    def read(self, node: Node, scope: Scope) -> A:
        match node:
            case Name(text=keyword):
                args: tuple[Node, ...] = ()
                named: tuple[tuple[str, Node], ...] = ()
            case Call(callee=keyword, args=args, named=named):
                pass
            case _:
                raise _misread(node, self)
        if keyword not in self.members:
            raise Misread(node, f"unknown {self.noun} {describe(node)}", suggest(keyword, list(self.members)))
        return self._construct(self.members[keyword], node, args, named, scope)

    def _construct(
        self,
        cls: type[A],
        node: Node,
        args: tuple[Node, ...],
        named: tuple[tuple[str, Node], ...],
        scope: Scope,
    ) -> A:
        fields = parameters_of(cls)
        usage = signature(cls)
        if len(args) > len(fields):
            raise Misread(
                node, f"{cls.keyword} takes {len(fields)} parameter(s), got {len(args)}", f"write {usage}"
            )
        given: dict[str, Any] = {}
        for spec, arg in zip(fields, args, strict=False):
            given[spec.name] = kind_of(spec).read(arg, scope)
        by_name = {spec.name: spec for spec in fields}
        for name, arg in named:
            if name not in by_name or name in given:
                raise Misread(arg, f"{cls.keyword} has no further parameter {name[:40]!r}", f"write {usage}")
            given[name] = kind_of(by_name[name]).read(arg, scope)
        missing = [s.name for s in fields if s.name not in given and s.default is dataclasses.MISSING]
        if missing:
            raise Misread(
                node, f"{cls.keyword} needs {', '.join(missing)}", _missing_help(usage, missing, by_name)
            )
        try:
            return cls(**given)
        except ValueError as error:
            raise Misread(node, f"{cls.keyword}: {error}", f"write {usage}") from None

    def write(self, value: A) -> str:
        fields = parameters_of(type(value))
        # Trailing defaults are left out; a default in the middle is written so that positions stay right.
        values = [(s, getattr(value, s.name)) for s in fields]
        while (
            values
            and values[-1][0].default is not dataclasses.MISSING
            and values[-1][1] == values[-1][0].default
        ):
            values.pop()
        if not values:
            return value.keyword
        return f"{value.keyword}({', '.join(kind_of(s).write(v) for s, v in values)})"


def _missing_help(usage: str, missing: list[str], fields: dict[str, Field]) -> str:
    """How to write what is missing, and why it may not be left out where its field says so."""
    wanted = "; ".join(f"{name} is {kind_of(fields[name]).expects}" for name in missing)
    reasons = "".join(f"; {why}" for name in missing if (why := fields[name].metadata.get(_WHY)))
    return f"write {usage}: {wanted}{reasons}"


def signature(cls: type[Attribute]) -> str:
    """How a keyword is written, for help lines: `window(left, right[, alignment])`."""
    required = [s.name for s in parameters_of(cls) if s.default is dataclasses.MISSING]
    optional = [s.name for s in parameters_of(cls) if s.default is not dataclasses.MISSING]
    inner = ", ".join(required) + "".join(
        f"[, {name}]" if required or i else f"[{name}]" for i, name in enumerate(optional)
    )
    return f"{cls.keyword}({inner})" if inner else cls.keyword


# --- fields ---

_KIND = "attnc.kind"
_ROLE = "attnc.role"
_WHY = "attnc.why"


def operand() -> Any:
    """A dataclass field that holds one operand."""
    return dataclasses.field(metadata={_KIND: VALUE, _ROLE: "operand"})


def operands() -> Any:
    """A dataclass field that holds any number of operands; at most one per op, after the single ones."""
    return dataclasses.field(metadata={_KIND: VALUE, _ROLE: "operands"})


def attribute(kind: Kind[Any], *, default: Any = dataclasses.MISSING, why: str | None = None) -> Any:
    """A dataclass field that stands in an op's braces, or in the parentheses of an attribute.

    `why` says for what reason it has no default, to someone who left it out.
    """
    return dataclasses.field(default=default, metadata={_KIND: kind, _ROLE: "attribute", _WHY: why})


Field = dataclasses.Field[Any]


def role_of(spec: Field) -> str:
    """`operand`, `operands`, `attribute`, or empty for bookkeeping fields."""
    return cast(str, spec.metadata.get(_ROLE, ""))


def kind_of(spec: Field) -> Kind[Any]:
    """The kind that a field was declared with."""
    return cast("Kind[Any]", spec.metadata[_KIND])


def parameters_of(cls: type[Any]) -> list[Field]:
    """The declared fields of an op or attribute class that stand in its text, in order."""
    return [spec for spec in dataclasses.fields(cls) if role_of(spec)]


INT = IntKind()
FLOAT = FloatKind()
BOOL = BoolKind()
VALUE = ValueKind()
DIM = DimKind()
SHAPE = ShapeKind()
TYPE = TypeKind()
