"""Code for expressions over `b, h, i, j` and `score`: statements that leave the value in a local name.

Under an exact normaliser a float comes with a bound of its rounding error, carried by error-free transforms:
an error of exactly 0 says that the double is the real number. Conditional parts are evaluated only where they
are taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from attnc_backends.numba.access import GraphContext, load_double
from attnc_backends.numba.emit_elementwise import literal
from attnc_backends.numba.source import Function
from attnc_ir.expr import (
    COMPARISONS,
    Binary,
    BinaryOp,
    BoolLiteral,
    Expr,
    ExprType,
    FloatLiteral,
    Index,
    IntLiteral,
    Lookup,
    Score,
    Unary,
    UnaryOp,
    Variable,
    Where,
    type_of,
)
from attnc_ir.types import DType

_MATH = {
    UnaryOp.EXP: "exp_ieee",
    UnaryOp.LOG: "log_ieee",
    UnaryOp.TANH: "math.tanh",
    UnaryOp.SQRT: "sqrt_ieee",
}
_PAIRED = {BinaryOp.ADD: "add_bounded", BinaryOp.SUB: "sub_bounded", BinaryOp.MUL: "mul_bounded", BinaryOp.DIV: "div_bounded",
           BinaryOp.MIN: "min_bounded", BinaryOp.MAX: "max_bounded"}  # fmt: skip


@dataclass(frozen=True)
class Emission:
    """A local name (or literal) with the value, its type, and a name with its error bound where one is
    carried.
    """

    text: str
    type: ExprType
    error: str = "0.0"


class ExprEmitter:
    """Writes expressions into a function whose parameters include `b, h, i, j`, and `score` for a modifier."""

    def __init__(self, context: GraphContext, f: Function, *, exact: bool) -> None:
        self.context = context
        self.f = f
        self.exact = exact

    def emit(self, expr: Expr) -> Emission:
        """Write the statements that compute `expr`."""
        f = self.f
        match expr:
            case Index(variable):
                return Emission(
                    {Variable.BATCH: "b", Variable.HEAD: "h", Variable.QUERY: "i", Variable.KEY: "j"}[
                        variable
                    ],
                    ExprType.INT,
                )
            case Score():
                return Emission("score", ExprType.FLOAT)
            case IntLiteral(value):
                return Emission(_int_literal(value), ExprType.INT)
            case FloatLiteral(value):
                return Emission(literal(value), ExprType.FLOAT)
            case BoolLiteral(value):
                return Emission(str(value), ExprType.BOOL)
            case Unary(op, operand):
                return self._unary(op, self.emit(operand))
            case Binary(BinaryOp.AND | BinaryOp.OR as op, left, right):
                return self._logic(op, left, right)
            case Binary(op, left, right):
                return self._binary(op, self.emit(left), self.emit(right))
            case Where():
                return self._where(expr)
            case Lookup():
                return self._lookup(expr)
            case _:
                raise AssertionError(f"{expr} in {f.name}")

    def as_float(self, emission: Emission) -> Emission:
        """The value as a double. An integer beyond 2**53 is not one; its error says so."""
        if emission.type is ExprType.FLOAT:
            return emission
        value = self._assign(f"np.float64({emission.text})")
        error = self._assign(f"conversion_error({emission.text})") if self.exact else "0.0"
        return Emission(value, ExprType.FLOAT, error)

    def _assign(self, text: str) -> str:
        name = self.f.fresh()
        self.f.line(f"{name} = {text}")
        return name

    def _unary(self, op: UnaryOp, operand: Emission) -> Emission:
        if op is UnaryOp.NOT:
            return Emission(self._assign(f"not {operand.text}"), ExprType.BOOL)
        if op is UnaryOp.NEG:
            return Emission(self._assign(f"-({operand.text})"), operand.type, operand.error)
        if op is UnaryOp.ABS:
            return Emission(self._assign(f"abs({operand.text})"), operand.type, operand.error)
        return Emission(self._assign(f"{_MATH[op]}({self.as_float(operand).text})"), ExprType.FLOAT)

    def _logic(self, op: BinaryOp, left: Expr, right: Expr) -> Emission:
        first = self.emit(left)
        name = self._assign(first.text)
        with self.f.block(f"if {name if op is BinaryOp.AND else f'not {name}'}"):
            self.f.line(f"{name} = {self.emit(right).text}")
        return Emission(name, ExprType.BOOL)

    def _binary(self, op: BinaryOp, left: Emission, right: Emission) -> Emission:
        floats = ExprType.FLOAT in (left.type, right.type) or op is BinaryOp.DIV
        if op in COMPARISONS:
            return self._comparison(op, left, right, floats)
        if not floats:
            text = (
                f"{op.value}({left.text}, {right.text})"
                if op in (BinaryOp.MIN, BinaryOp.MAX)
                else f"({left.text}) {op.value} ({right.text})"
            )
            return Emission(self._assign(text), ExprType.INT)
        x, y = self.as_float(left), self.as_float(right)
        if self.exact:
            value, error = self.f.fresh(), self.f.fresh("e")
            self.f.line(f"{value}, {error} = {_PAIRED[op]}({x.text}, {x.error}, {y.text}, {y.error})")
            return Emission(value, ExprType.FLOAT, error)
        if op in (BinaryOp.MIN, BinaryOp.MAX):
            return Emission(self._assign(f"{op.value}imum({x.text}, {y.text})"), ExprType.FLOAT)
        return Emission(self._assign(f"{x.text} {op.value} {y.text}"), ExprType.FLOAT)

    def _comparison(self, op: BinaryOp, left: Emission, right: Emission, floats: bool) -> Emission:
        if not floats:
            return Emission(self._assign(f"({left.text}) {op.value} ({right.text})"), ExprType.BOOL)
        x, y = self.as_float(left), self.as_float(right)
        name = self._assign(f"{x.text} {op.value} {y.text}")
        if self.exact:
            # A condition decided by rounded numbers is not known; the whole term is then handed to rational
            # arithmetic.
            self.f.line(f"doubt = doubt or not settled({x.text}, {x.error}, {y.text}, {y.error})")
        return Emission(name, ExprType.BOOL)

    def _where(self, expr: Where) -> Emission:
        kind = type_of(expr)
        condition = self.emit(expr.condition)
        value, error = self.f.fresh(), self.f.fresh("e")
        for head, branch in ((f"if {condition.text}", expr.then), ("else", expr.otherwise)):
            with self.f.block(head):
                taken = self.emit(branch)
                taken = self.as_float(taken) if kind is ExprType.FLOAT else taken
                self.f.line(f"{value} = {taken.text}")
                self.f.line(f"{error} = {taken.error}")
        return Emission(value, kind, error)

    def _lookup(self, expr: Lookup) -> Emission:
        f, table = self.f, expr.table
        indices = [self._assign(f"np.int64({self.emit(e).text})") for e in expr.indices]
        dtype = table.tensor.dtype
        value = f.fresh()
        inside = (
            " and ".join(
                f"0 <= {index} < {self.context.dim_of(f, table, axis)}" for axis, index in enumerate(indices)
            )
            or "True"
        )
        kind = ExprType.BOOL if dtype is DType.BOOL else ExprType.FLOAT if dtype.is_float else ExprType.INT
        zero = {ExprType.BOOL: "False", ExprType.FLOAT: "0.0", ExprType.INT: "0"}[kind]
        with f.block(f"if {inside}"):
            # Axes of size 1 have a stride too: an index into them is checked like any other and is then 0.
            address = self.context.element(f, table, indices)
            text = load_double(dtype, address) if dtype.is_float else f"({_load_int(dtype, address)})"
            f.line(f"{value} = {text}")
        with f.block("else"):
            f.line(f"store_i64(frame + {8 * f.layout.slot('fault')}, {LOOKUP_FAULT})")
            f.line(f"{value} = {zero}")
        return Emission(value, kind)


def _int_literal(value: int) -> str:
    """An int64 as source text.

    Python folds arithmetic on literals into integers of any size; a call in between keeps it to 64 bits.
    """
    return str(value) if -(2**31) < value < 2**31 else f"np.int64({value})"


def _load_int(dtype: DType, address: str) -> str:
    return {
        DType.I64: f"load_i64({address})",
        DType.I32: f"load_i32({address})",
        DType.BOOL: f"load_u8({address}) != 0",
    }[dtype]


LOOKUP_FAULT = 1
"""What the `fault` slot of a frame holds after a look-up left its table."""
