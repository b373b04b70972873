"""Expressions that say what a mask or a bias of another kind says: look-ups by position, distances, lengths.

Only where every look-up lies inside its table, so that no error can go missing, and the meaning is the same
to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable

from attnc.expressions import linear
from attnc.masks import box_of
from attnc_ir.attributes.bias import Alibi, BiasTerm, ExprBias, Relative, TensorBias
from attnc_ir.attributes.mask import Documents, Mask, Not, Prefix, TensorMask
from attnc_ir.expr import Binary, BinaryOp, Expr, Index, IntLiteral, Lookup, Unary, UnaryOp, Variable
from attnc_ir.ops import AttentionOp
from attnc_ir.types import Dim, DType
from attnc_ir.values import Value

_BATCH, _HEAD = Index(Variable.BATCH), Index(Variable.HEAD)
_QUERY, _KEY = Index(Variable.QUERY), Index(Variable.KEY)

Change = Callable[[Value], Value]
"""A value made from another by an op: its negation, or what of it is not negative."""


# --- masks --------------------------------------------------------------------------------------------------


def recognised_mask(condition: Expr, node: AttentionOp, counted: Change | None) -> Mask | None:
    """A condition on table elements as documents, a tensor or a prefix; None where it is none of these.

    `counted` gives integers without those below 0, which a prefix may not have.
    """
    match condition:
        case Lookup(tensor) if tensor.tensor.dtype is DType.BOOL and _covers(condition, node):
            return TensorMask(tensor)
        case Binary(BinaryOp.EQ, Lookup() as left, Lookup() as right) if not node.is_causal_cache:
            return _documents(left, right, node) or _documents(right, left, node)
        case Binary(BinaryOp.LT, left, Lookup(count) as right) if left == _KEY and _is_count(right, node):
            return None if counted is None else Prefix(counted(count))
        case Binary(BinaryOp.LE, Lookup(count) as left, right) if right == _KEY and _is_count(left, node):
            return None if counted is None else Not(Prefix(counted(count)))
        case _:
            return None


def _documents(ids: Lookup, key_ids: Lookup, node: AttentionOp) -> Mask | None:
    """`ids[i] == key_ids[j]`, or `ids[b, i] == key_ids[b, j]`."""
    g = node.geometry
    assert g.keys is not None
    if not (_is_per(ids, node, _QUERY, g.queries) and _is_per(key_ids, node, _KEY, g.keys)):
        return None
    return Documents(ids.table, None if ids.table == key_ids.table and g.same_length else key_ids.table)


def _is_per(lookup: Lookup, node: AttentionOp, index: Index, length: Dim) -> bool:
    """Whether an integer is looked up for each position, of a sequence or of all."""
    shape = lookup.table.tensor.shape
    if not lookup.table.tensor.dtype.is_int:
        return False
    return (lookup.indices, shape) in (
        ((index,), (length,)),
        ((_BATCH, index), (node.geometry.batch, length)),
    )


def _is_count(lookup: Lookup, node: AttentionOp) -> bool:
    kind = lookup.table.tensor
    return kind.dtype.is_int and kind.shape == (node.geometry.batch,) and lookup.indices == (_BATCH,)


def _covers(lookup: Lookup, node: AttentionOp) -> bool:
    """Whether a table is indexed by the last coordinates, each over its whole range, and so broadcasts."""
    g = node.geometry
    if g.keys is None:
        return False
    shape: tuple[Dim, ...] = (g.batch, g.query_heads, g.queries, g.keys)
    rank = len(lookup.indices)
    return (
        1 <= rank <= 4
        and lookup.indices == (_BATCH, _HEAD, _QUERY, _KEY)[4 - rank :]
        and lookup.table.tensor.shape == shape[4 - rank :]
    )


# --- biases -------------------------------------------------------------------------------------------------


def recognised_bias(term: BiasTerm, node: AttentionOp, negated: Change) -> BiasTerm | None:
    """An expression as a tensor, ALiBi or a relative table; None where it is none of these."""
    if not isinstance(term, ExprBias):
        return None
    match term.value:
        case Lookup(table, indices) if table.tensor.dtype.is_float:
            if _covers(term.value, node):
                return TensorBias(table)
            return Relative(table) if _is_relative(table, indices, node) else None
        case _:
            return _alibi(term.value, node, negated)


def _alibi(expr: Expr, node: AttentionOp, negated: Change) -> Alibi | None:
    sign = 1
    while isinstance(expr, Unary) and expr.op is UnaryOp.NEG:
        expr, sign = expr.operand, -sign
    match expr:
        case Binary(BinaryOp.MUL, Lookup() as slope, distance) | Binary(
            BinaryOp.MUL, distance, Lookup() as slope
        ):
            kind = slope.table.tensor
            heads = (node.geometry.query_heads,)
            if not kind.dtype.is_float or kind.shape != heads or slope.indices != (_HEAD,):
                return None
            if _is_distance(distance, node, sign):
                return Alibi(slope.table)
            return Alibi(negated(slope.table)) if _is_distance(distance, node, -sign) else None
        case _:
            return None


def _is_distance(expr: Expr, node: AttentionOp, sign: int) -> bool:
    """Whether `expr` is `sign * (j - i)`."""
    form = linear(expr, box_of(node))
    return (
        form is not None
        and form.constant == 0
        and dict(form.coefficients) == {Variable.KEY: sign, Variable.QUERY: -sign}
    )


def _is_relative(table: Value, indices: tuple[Expr, ...], node: AttentionOp) -> bool:
    """Whether a table is indexed by `h` and the distance, cut to its reach and counted from 0."""
    shape = table.tensor.shape
    match indices:
        case (head, Binary(BinaryOp.ADD, cut, IntLiteral(reach))) if head == _HEAD:
            if shape != (node.geometry.query_heads, 2 * reach + 1):
                return False
            distance = _between(cut, -reach, reach)
            return distance is not None and _is_distance(distance, node, 1)
        case _:
            return False


def _between(expr: Expr, low: int, high: int) -> Expr | None:
    """The `x` of `min(max(x, low), high)`, in either order."""
    for outer, first, inner, second in (
        (BinaryOp.MIN, high, BinaryOp.MAX, low),
        (BinaryOp.MAX, low, BinaryOp.MIN, high),
    ):
        half = _beside(expr, outer, first)
        found = None if half is None else _beside(half, inner, second)
        if found is not None:
            return found
    return None


def _beside(expr: Expr, op: BinaryOp, literal: int) -> Expr | None:
    match expr:
        case Binary(found, x, IntLiteral(value)) | Binary(found, IntLiteral(value), x):
            return x if found is op and value == literal else None
        case _:
            return None
