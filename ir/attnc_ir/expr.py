"""Expressions over the position of a score: what predicates, traced biases and modifiers are made of.

Integers are 64-bit and wrap; `//` and `%` round toward minus infinity and divide by positive literals only.
Floats are doubles; in a bias under an exact normaliser (hard-max, top-k) float arithmetic is exact real
arithmetic and only `+ - * / min max abs where` and look-ups are allowed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from attnc_ir.kinds import FLOAT, VALUE, Scope, describe, format_float, suggest
from attnc_ir.syntax import Call, Misread, Name, Node, Number, Operator, Ref, Subscript
from attnc_ir.types import DType, TensorType
from attnc_ir.values import Value


class ExprType(enum.Enum):
    """What an expression evaluates to."""

    INT = "int"
    FLOAT = "float"
    BOOL = "bool"


@dataclass(frozen=True)
class Expr:
    """Base of expression nodes. Build them through the constructors; `type_of` checks them."""

    def children(self) -> tuple[Expr, ...]:
        """Direct sub-expressions."""
        return tuple(v for f in fields(self) if isinstance(v := getattr(self, f.name), Expr))

    def walk(self) -> Iterator[Expr]:
        """This node and everything below it, parents first."""
        yield self
        for child in self.children():
            yield from child.walk()


class Variable(enum.Enum):
    """The coordinates of a score."""

    BATCH = "b"
    HEAD = "h"
    QUERY = "i"
    KEY = "j"


@dataclass(frozen=True)
class Index(Expr):
    """A coordinate: batch, query head, query position, key position."""

    variable: Variable


@dataclass(frozen=True)
class Score(Expr):
    """The score as it stands, a float; in modifiers only."""


@dataclass(frozen=True)
class IntLiteral(Expr):
    """An integer that fits 64 bits."""

    value: int


@dataclass(frozen=True)
class FloatLiteral(Expr):
    """A double."""

    value: float


@dataclass(frozen=True)
class BoolLiteral(Expr):
    """`true` or `false`."""

    value: bool


class UnaryOp(enum.Enum):
    """Prefix operators and one-argument functions; the last four are for softmax biases only."""

    NEG = "-"
    NOT = "not"
    ABS = "abs"
    EXP = "exp"
    LOG = "log"
    TANH = "tanh"
    SQRT = "sqrt"

    @property
    def is_transcendental(self) -> bool:
        """Not exact in rational arithmetic."""
        return self in (UnaryOp.EXP, UnaryOp.LOG, UnaryOp.TANH, UnaryOp.SQRT)


@dataclass(frozen=True)
class Unary(Expr):
    """`-x`, `not x`, `abs(x)`, ..."""

    op: UnaryOp
    operand: Expr


class BinaryOp(enum.Enum):
    """Infix operators, and `min` and `max`."""

    ADD = "+"
    SUB = "-"
    MUL = "*"
    DIV = "/"
    FLOORDIV = "//"
    MOD = "%"
    MIN = "min"
    MAX = "max"
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    EQ = "=="
    NE = "!="
    AND = "and"
    OR = "or"


COMPARISONS = frozenset({BinaryOp.LT, BinaryOp.LE, BinaryOp.GT, BinaryOp.GE, BinaryOp.EQ, BinaryOp.NE})
LOGIC = frozenset({BinaryOp.AND, BinaryOp.OR})


@dataclass(frozen=True)
class Binary(Expr):
    """`left op right`; comparisons and logic give a bool."""

    op: BinaryOp
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Where(Expr):
    """`where(condition, then, otherwise)`."""

    condition: Expr
    then: Expr
    otherwise: Expr


@dataclass(frozen=True)
class Lookup(Expr):
    """`%table[e, ...]`: an element of a tensor. An index outside it is an error when the graph runs."""

    table: Value
    indices: tuple[Expr, ...]

    def children(self) -> tuple[Expr, ...]:
        return self.indices


class ExprError(ValueError):
    """An expression whose types do not work out."""


def type_of(expr: Expr) -> ExprType:
    """The type of an expression; raises `ExprError` when operands do not fit their operator."""
    return result_type(expr, [type_of(child) for child in expr.children()])


def result_type(expr: Expr, operands: Sequence[ExprType]) -> ExprType:
    """The type of an expression whose `children()` have these types; raises `ExprError` where they do not
    fit.
    """
    match expr:
        case Index() | IntLiteral():
            return ExprType.INT
        case Score() | FloatLiteral():
            return ExprType.FLOAT
        case BoolLiteral():
            return ExprType.BOOL
        case Unary(op):
            return _unary_type(op, *operands)
        case Binary(op):
            return _binary_type(expr, op, *operands)
        case Where():
            condition, then, otherwise = operands
            if condition is not ExprType.BOOL:
                raise ExprError("the condition of where is a number; compare it with something")
            return _joined("where", then, otherwise)
        case Lookup(table):
            return _lookup_type(table, operands)
        case _:
            raise AssertionError(expr)


def _unary_type(op: UnaryOp, operand: ExprType) -> ExprType:
    if (op is UnaryOp.NOT) != (operand is ExprType.BOOL):
        raise ExprError(f"{op.value} does not apply to a {operand.value}")
    return ExprType.FLOAT if op.is_transcendental else operand


def _joined(what: str, left: ExprType, right: ExprType) -> ExprType:
    if (left is ExprType.BOOL) != (right is ExprType.BOOL):
        raise ExprError(f"{what} mixes a {left.value} and a {right.value}")
    return ExprType.FLOAT if ExprType.FLOAT in (left, right) else left


def _binary_type(expr: Binary, op: BinaryOp, left: ExprType, right: ExprType) -> ExprType:
    joined = _joined(op.value, left, right)
    if op in LOGIC:
        if joined is not ExprType.BOOL:
            raise ExprError(f"'{op.value}' needs two conditions; a number is not one")
        return ExprType.BOOL
    if joined is ExprType.BOOL:
        raise ExprError(f"'{op.value}' does not apply to conditions; use and, or, not")
    if op in COMPARISONS:
        return ExprType.BOOL
    if op in (BinaryOp.FLOORDIV, BinaryOp.MOD):
        if joined is not ExprType.INT or not isinstance(expr.right, IntLiteral) or expr.right.value <= 0:
            raise ExprError(f"'{op.value}' divides an integer by a positive integer literal")
        return ExprType.INT
    return ExprType.FLOAT if op is BinaryOp.DIV else joined


def _lookup_type(table: Value, indices: Sequence[ExprType]) -> ExprType:
    if not isinstance(table.type, TensorType):
        raise ExprError(f"{table} is a cache, not a tensor to look up in")
    if any(t is not ExprType.INT for t in indices):
        raise ExprError(f"an index into {table} is not an integer")
    if len(indices) != table.type.rank:
        raise ExprError(f"{table} has rank {table.type.rank}, the look-up gives {len(indices)} index(es)")
    dtype = table.type.dtype
    if dtype is DType.BOOL:
        return ExprType.BOOL
    return ExprType.FLOAT if dtype.is_float else ExprType.INT


# --- text ---

_PRECEDENCE = {
    BinaryOp.OR: 1,
    BinaryOp.AND: 2,
    **dict.fromkeys(COMPARISONS, 4),
    **dict.fromkeys((BinaryOp.ADD, BinaryOp.SUB), 6),
    **dict.fromkeys((BinaryOp.MUL, BinaryOp.DIV, BinaryOp.FLOORDIV, BinaryOp.MOD), 7),
}
_NOT, _NEG, _ATOM = 3, 8, 9
_INFIX = {op.value: op for op in _PRECEDENCE}
_FUNCTIONS_1 = {op.value: op for op in UnaryOp if op not in (UnaryOp.NEG, UnaryOp.NOT)}
_FUNCTIONS_2 = {"min": BinaryOp.MIN, "max": BinaryOp.MAX}
_VARIABLES = {v.value: v for v in Variable}


class ExprKind:
    """An expression over `b`, `h`, `i`, `j`, literals and look-ups, in a modifier also `score`."""

    expects = "an expression over b, h, i, j"

    def read(self, node: Node, scope: Scope) -> Expr:
        match node:
            case Number(value=int(value)):
                return IntLiteral(_fits_64_bits(value, 2**63 - 1, node))
            case Number(value=value):
                return FloatLiteral(float(value))
            case Name(text="true" | "false" as text):
                return BoolLiteral(text == "true")
            case Name(text="inf" | "nan"):
                return FloatLiteral(FLOAT.read(node, scope))
            case Name(text=text) if text in _VARIABLES:
                return Index(_VARIABLES[text])
            case Name(text="score"):
                return Score()
            case Name(text=text):
                raise Misread(
                    node,
                    f"unknown variable {describe(node)}",
                    "b batch, h query head, i query position, j key position",
                )
            case Operator(symbol="-", operands=(Number(value=int(value)),)):
                # A minus before a literal belongs to it: a negative literal reads back as one.
                return IntLiteral(-_fits_64_bits(value, 2**63, node))
            case Operator(symbol="-", operands=(Number(value=value),)):
                return FloatLiteral(-value)
            case Operator(symbol="()", operands=(literal,)):
                return self.read(literal, scope)
            case Operator(symbol="-", operands=(Name(text="inf"),)):
                return FloatLiteral(FLOAT.read(node, scope))
            case Operator(symbol="-" | "not" as symbol, operands=(operand,)):
                return Unary(UnaryOp(symbol), self.read(operand, scope))
            case Operator(symbol=symbol, operands=(left, right)) if symbol in _INFIX:
                return Binary(_INFIX[symbol], self.read(left, scope), self.read(right, scope))
            case Call(callee="where", args=(c, a, b), named=()):
                return Where(self.read(c, scope), self.read(a, scope), self.read(b, scope))
            case Call(callee=callee, args=(a,), named=()) if callee in _FUNCTIONS_1:
                return Unary(_FUNCTIONS_1[callee], self.read(a, scope))
            case Call(callee=callee, args=(a, b), named=()) if callee in _FUNCTIONS_2:
                return Binary(_FUNCTIONS_2[callee], self.read(a, scope), self.read(b, scope))
            case Call(callee=callee):
                known = [*_FUNCTIONS_1, *_FUNCTIONS_2, "where"]
                arity = {"where": 3, **dict.fromkeys(_FUNCTIONS_2, 2), **dict.fromkeys(_FUNCTIONS_1, 1)}.get(
                    callee
                )
                if arity:
                    raise Misread(node, f"{callee} takes {arity} argument(s)")
                raise Misread(node, f"unknown function {describe(node)}", suggest(callee, known))
            case Subscript(base=Ref() as ref, items=items):
                return Lookup(VALUE.read(ref, scope), tuple(self.read(item, scope) for item in items))
            case Operator(symbol=symbol):
                raise Misread(
                    node, f"'{symbol}' has no place in an expression", "use and, or, not for conditions"
                )
            case _:
                raise Misread(node, f"expected {self.expects}, got {describe(node)}")

    def write(self, value: Expr) -> str:
        return _text(value)[0]


def _fits_64_bits(value: int, largest: int, node: Node) -> int:
    if value > largest:
        raise Misread(node, "integer does not fit 64 bits", "the largest is 9223372036854775807")
    return value


def _text(expr: Expr) -> tuple[str, int]:
    """The text of an expression and how tightly it binds."""
    match expr:
        case Index(variable):
            return variable.value, _ATOM
        case Score():
            return "score", _ATOM
        case IntLiteral(value):
            return str(value), _NEG if value < 0 else _ATOM
        case FloatLiteral(value):
            text = repr(value) if value != value or abs(value) == float("inf") else format_literal(value)
            return text, _NEG if text.startswith("-") else _ATOM
        case BoolLiteral(value):
            return ("true" if value else "false"), _ATOM
        case Unary(UnaryOp.NEG, operand):
            # "-(3)" keeps a negated literal apart from a negative one.
            literal = isinstance(operand, IntLiteral | FloatLiteral)
            return f"-{_wrapped(operand, _ATOM + 1 if literal else _NEG)}", _NEG
        case Unary(UnaryOp.NOT, operand):
            return f"not {_wrapped(operand, _NOT)}", _NOT
        case Unary(op, operand):
            return f"{op.value}({_text(operand)[0]})", _ATOM
        case Binary(BinaryOp.MIN | BinaryOp.MAX as op, left, right):
            return f"{op.value}({_text(left)[0]}, {_text(right)[0]})", _ATOM
        case Binary(op, left, right):
            binding = _PRECEDENCE[op]
            # Comparisons do not chain, everything else is left-associative.
            first = _wrapped(left, binding + 1 if op in COMPARISONS else binding)
            return f"{first} {op.value} {_wrapped(right, binding + 1)}", binding
        case Where(condition, then, otherwise):
            return f"where({_text(condition)[0]}, {_text(then)[0]}, {_text(otherwise)[0]})", _ATOM
        case Lookup(table, indices):
            return f"{table}[{', '.join(_text(e)[0] for e in indices)}]", _ATOM
        case _:
            raise AssertionError(expr)


def _wrapped(expr: Expr, least: int) -> str:
    text, binding = _text(expr)
    return text if binding >= least else f"({text})"


def format_literal(value: float) -> str:
    """A float literal that cannot be mistaken for an integer."""
    text = repr(value)
    return text if any(c in text for c in ".einf") else text + ".0"


EXPR = ExprKind()
__all__ = [
    "COMPARISONS",
    "EXPR",
    "LOGIC",
    "Binary",
    "BinaryOp",
    "BoolLiteral",
    "Expr",
    "ExprError",
    "ExprType",
    "FloatLiteral",
    "Index",
    "IntLiteral",
    "Lookup",
    "Score",
    "Unary",
    "UnaryOp",
    "Variable",
    "Where",
    "format_float",
    "result_type",
    "type_of",
]
