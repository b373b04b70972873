"""Keys that a graph computes from integer addresses, as points of one parabola.

A row `(2a, -a*a)` is the idiom of a table look-up: the key nearest to `q` in the first coordinate wins. Here
each element of a key is written as a polynomial of degree two or less in *atoms*, elements of values that are
not computed by polynomials themselves (inputs, say). A coordinate that is linear in one integer atom, beside
one that is quadratic in it, is the parabola, up to an affine map.

Other atoms may add to the quadratic coordinate: "clear" terms, which push single keys out of reach. Nothing
is known of the keys then where these terms are not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from attnc.facts.elements import integer_range
from attnc.facts.kinds import ConstantFact, Facts, ParabolaFact
from attnc.facts.polynomial import Polynomial, exact_below, exact_integers
from attnc.facts.sequence import MAX_WIDTH
from attnc_ir.attributes.promise import PARABOLA_REACH
from attnc_ir.graph import Graph
from attnc_ir.op import Op
from attnc_ir.ops import Add, Append, Attend, Broadcast, Concat, Constant, Convert, Iota, Mul, Neg, Slice, Sub
from attnc_ir.types import DType, TensorType
from attnc_ir.values import Value

_LEAST = 1024
"""Coefficients so long that even smaller addresses would be rounded are not worth following."""

_SLANT = 2**20
"""How far the vertex may lie from address 0; beyond, guesses of the nearest address would be inaccurate."""

_SCALE = Fraction(2) ** 60
"""How far coefficients may be from 1, for the same reason."""

_Atom = tuple[str, int]
"""An element of a row: the name of its value, and the column."""

_Form = Mapping[tuple[_Atom, ...], Fraction]
"""A polynomial: coefficients by monomial, a sorted tuple of at most two atoms."""


def transfer_parabolas(graph: Graph, facts: Facts) -> None:
    """State which keys of attention nodes, appended ones included, lie on a parabola of integers; and of each
    cache, if all that is appended to it does.
    """
    forms = _Forms(graph, facts)
    for op in graph.ops:
        if isinstance(op, Attend | Append):
            forms.state(op.key)
    roots = graph.cache_roots()
    for cache in graph.caches:
        appends = [op for op in graph.ops if isinstance(op, Append) and roots[op.cache.name] is cache]
        keys = tuple(dict.fromkeys(op.key for op in appends))
        known = [facts.get(key, ParabolaFact) for key in keys]
        if not known or any(_shape(fact) != _shape(known[0]) for fact in known) or known[0] is None:
            continue
        first = known[0]
        for version in (cache.results[0], *(op.results[0] for op in appends)):
            facts.add(
                ParabolaFact(
                    version, "holds such keys", keys, first.axis, first.linear, first.square, first.bound,
                    proved=all(fact is not None and fact.proved for fact in known),
                )
            )  # fmt: skip


def _shape(fact: ParabolaFact | None) -> tuple[object, ...] | None:
    return None if fact is None else (fact.axis, fact.linear, fact.square, fact.bound)


class _Forms:
    """The rows of a graph's values as polynomials in atoms, worked out when asked for."""

    def __init__(self, graph: Graph, facts: Facts) -> None:
        self.facts = facts
        self.made: dict[str, Op] = {result.name: op for op in graph.ops for result in op.results}
        self.values: dict[str, Value] = {value.name: value for value in graph.values()}
        self.known: dict[str, tuple[_Form, ...] | None] = {}

    def state(self, key: Value) -> None:
        """Add the fact, if there is one, about a value that serves as keys."""
        row = self.row(key)
        if row is None or len(row) != 2:
            return
        for axis in range(2):
            found = self._parabola(row[axis], row[1 - axis])
            if found is not None:
                self._add(key, axis, *found)
                return

    def _parabola(self, line: _Form, curve: _Form) -> tuple[_Atom, Polynomial, Polynomial, bool] | None:
        """The atom that `line` is linear and `curve` quadratic in, both polynomials in it, and whether
        `curve` has other terms besides.
        """
        atoms = {atom for monomial in line for atom in monomial}
        if len(atoms) != 1:
            return None
        (atom,) = atoms
        linear, square = (
            Polynomial(*(form.get((atom,) * power, Fraction(0)) for power in range(3)))
            for form in (line, curve)
        )
        if linear.square or not linear.linear or not square.square:
            return None
        others = [monomial for monomial in curve if set(monomial) - {atom}]
        if any(atom in monomial for monomial in others):
            return None
        return atom, linear, square, bool(others)

    def _add(
        self, key: Value, axis: int, atom: _Atom, linear: Polynomial, square: Polynomial, more: bool
    ) -> None:
        source = self.values[atom[0]]
        span = integer_range(source, self.facts)
        if span is None:
            return
        bound = min(PARABOLA_REACH, *(exact_below(p, DType.F64) - 1 for p in (linear, square)))
        if bound < _LEAST or abs(square.linear) > _SLANT * abs(square.square):
            return
        if not all(1 / _SCALE <= abs(c) <= _SCALE for c in (linear.linear, square.square)):
            return
        reach = max(abs(span[0]), abs(span[1]))
        stored = min(exact_below(p, key.tensor.dtype) - 1 for p in (linear, square))
        proved = not more and reach <= min(bound, stored, exact_integers(key.tensor.dtype))
        proved = proved and self._stays_exact(key, reach)
        a = "a"
        coordinates = [str(p).replace("p", a) for p in (linear, square)][:: 1 - 2 * axis]
        reason = f"has rows ({', '.join(coordinates)}) for integers a = {source}"
        if more:
            reason += ", where no further term moves them away"
        elif not proved:
            reason += ", where they are small enough not to be rounded"
        self.facts.add(ParabolaFact(key, reason, (source,), axis, linear, square, bound, proved))

    def _stays_exact(self, key: Value, reach: int) -> bool:
        """Whether no step on the way from the atoms to `key` rounds or wraps, for atoms up to `reach`."""
        queue, seen = [key], set()
        while queue:
            value = queue.pop()
            row = self.row(value)
            if value.name in seen or row is None:
                continue
            seen.add(value.name)
            for form in row:
                sizes = [Fraction(0)] * 3
                for monomial, coefficient in form.items():
                    sizes[len(monomial)] += abs(coefficient)
                if exact_below(Polynomial(*sizes), value.tensor.dtype) <= reach:
                    return False
            if value.name in self.made and not self._is_atom(value):
                queue += [v for v in self.made[value.name].operands if isinstance(v.type, TensorType)]
        return True

    def _is_atom(self, value: Value) -> bool:
        row = self.row(value)
        return row is not None and all(tuple(form) == (((value.name, c),),) for c, form in enumerate(row))

    def row(self, value: Value) -> tuple[_Form, ...] | None:
        """One form for each element of a row of `value`; a scalar is a row of one. None for rows too wide."""
        if value.name not in self.known:
            self.known[value.name] = None  # a width that is not known
            width = _width(value)
            if width is not None:
                made = self.made.get(value.name)
                row = None if made is None else self._computed(made, value, width)
                self.known[value.name] = row or tuple(
                    {((value.name, column),): Fraction(1)} for column in range(width)
                )
        return self.known[value.name]

    def _computed(self, op: Op, value: Value, width: int) -> tuple[_Form, ...] | None:
        """The row of an op's result; None where it is not a polynomial in its operands' elements."""
        match op:
            case Constant():
                known = self.facts.get(value, ConstantFact)
                if known is None or len(known.elements) not in (1, width):
                    return None
                if not all(abs(x) < 2.0**1000 for x in known.stored):
                    return None
                columns = [Fraction(x) for x in known.stored] * (width // len(known.elements))
                return tuple({(): x} if x else {} for x in columns)
            case Neg(x=x):
                row = self._stretched(x, width)
                return row and tuple({m: -c for m, c in form.items()} for form in row)
            case Add(left=left, right=right) | Sub(left=left, right=right) | Mul(left=left, right=right):
                one, other = self._stretched(left, width), self._stretched(right, width)
                if one is None or other is None:
                    return None
                made = [_combined(op, x, y) for x, y in zip(one, other, strict=True)]
                return None if any(form is None for form in made) else tuple(f for f in made if f is not None)
            case Convert(x=x, to=to) if to.is_float or not x.tensor.dtype.is_float:
                return self._stretched(x, width) if x.tensor.dtype is not DType.BOOL else None
            case Broadcast(x=x):
                return self._stretched(x, width)
            case Slice(x=x, axis=axis) if axis % x.tensor.rank == x.tensor.rank - 1:
                row = self.row(x)
                return row and row[op.start : op.stop]
            case Concat(parts=parts, axis=axis) if axis % parts[0].tensor.rank == parts[0].tensor.rank - 1:
                rows = [self.row(part) for part in parts]
                return None if None in rows else tuple(form for row in rows if row for form in row)
            case _:
                return None

    def _stretched(self, value: Value, width: int) -> tuple[_Form, ...] | None:
        """An operand's row, broadcast to `width` elements."""
        row = self.row(value)
        if row is None or isinstance(self.made.get(value.name), Iota):
            return None  # positions are polynomials in themselves, and other facts speak of them
        return row if len(row) == width else row * width


def _width(value: Value) -> int | None:
    if not isinstance(value.type, TensorType):
        return None
    width = value.type.shape[-1] if value.type.shape else 1
    return width if isinstance(width, int) and 0 < width <= MAX_WIDTH else None


def _combined(op: Add | Sub | Mul, x: _Form, y: _Form) -> _Form | None:
    """Sum, difference or product without zero terms; None for a product of degree above two."""
    made: dict[tuple[_Atom, ...], Fraction] = {}
    if isinstance(op, Mul):
        for m, c in x.items():
            for n, d in y.items():
                monomial = tuple(sorted(m + n))
                if len(monomial) > 2:
                    return None
                made[monomial] = made.get(monomial, Fraction(0)) + c * d
    else:
        sign = -1 if isinstance(op, Sub) else 1
        made = dict(x)
        for n, d in y.items():
            made[n] = made.get(n, Fraction(0)) + sign * d
    return {m: c for m, c in made.items() if c}
