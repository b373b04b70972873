"""An attention node as its makers see it: sizes and addresses as expressions, masks and biases as code.

Batch attention and a step over a cache differ in where rows lie and what grows; a `Node` hides that, so that
a strategy's code is written once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from attnc_backends.numba.access import GraphContext, copy_element, load_double, store
from attnc_backends.numba.emit_expr import ExprEmitter
from attnc_backends.numba.source import Function
from attnc_ir.attributes import mask as masks
from attnc_ir.attributes.alignment import aligned
from attnc_ir.attributes.bias import Alibi, BiasTerm, ExprBias, Relative, TensorBias
from attnc_ir.attributes.empty import EmptyDefault, EmptyError
from attnc_ir.attributes.modifier import ExprModifier
from attnc_ir.attributes.normalizer import Hardmax, Tie, TopK
from attnc_ir.expr import Expr, ExprType, type_of
from attnc_ir.ops import Attend, AttendStep, AttentionOp
from attnc_ir.types import DType, TensorType
from attnc_ir.values import Value

OK = 0
EMPTY_ROW = 1
NON_FINITE_KEY = 2
UNSETTLED = 3
BROKEN_PROMISE = 4
"""Status codes of op functions. An unsettled row has near-ties that only rational arithmetic can order."""


@dataclass(frozen=True)
class Sizes:
    """Local names or literals for a node's sizes: batch, query heads, key heads, queries, keys, key width,
    value width.
    """

    b: str
    hq: str
    hk: str
    nq: str
    nk: str
    d: str
    dv: str


@dataclass(frozen=True)
class Node:
    """One attention op of a graph, number `number` in it. `cache` is the number of its cache in a step."""

    context: GraphContext
    op: AttentionOp
    number: int
    cache: int | None
    cache_keys: DType | None = None
    """The element type in which the cache stores keys: f64 where a hull reads them."""
    prefix: str = ""
    structure: int | None = None
    """Which structure of its cache a step works with, where its strategy keeps one."""

    @property
    def dense(self) -> Node:
        """The same node under names that leave room for a strategy's own functions: the dense rows that it
        falls back to.
        """
        return replace(self, prefix="dense_")

    # --- names ---

    def name(self, part: str) -> str:
        """The local name of one of the node's functions."""
        return f"n{self.number}_{self.prefix}{part}"

    def call(self, part: str, *args: str) -> str:
        """A call of one of the node's functions from inside another."""
        return f"g{self.context.index}_{self.name(part)}(frame, t{''.join(', ' + a for a in args)})"

    def function(self, part: str, *params: str, doc: str = "", inline: bool = False) -> Function:
        """A new function of the node."""
        return self.context.function(self.name(part), *params, doc=doc, inline=inline)

    def head_blocks(self) -> str:
        """`blocks()` of a strategy whose unit of work is a key head, or a query row in a step."""
        unit = "key heads" if self.cache is None else "query rows"
        f = self.function("blocks", doc=f"units of work: {unit}")
        s = self.sizes(f)
        f.line(f"return {s.b} * {s.hk if self.cache is None else s.hq}")
        return f.text()

    def row_blocks(self) -> str:
        """`blocks()` of a strategy whose unit of work is a query row."""
        f = self.function("blocks", doc="how many query rows there are")
        s = self.sizes(f)
        f.line(f"return {s.b} * {s.hq} * {s.nq}")
        return f.text()

    # --- sizes and addresses ---

    @property
    def mask(self) -> masks.Mask:
        """The mask with explicit alignments."""
        return aligned(self.op.mask)

    @property
    def key_dtype(self) -> DType:
        """The element type keys are stored in."""
        return self.cache_keys or self.op.key_type.dtype

    def sizes(self, f: Function) -> Sizes:
        """The node's sizes, loaded into `f`."""
        g, dim = self.op.geometry, self.context.dim
        if self.cache is None:
            assert g.keys is not None
            keys = dim(f, g.keys)
        else:
            keys = f.derived(f"n_keys{self.cache}", f"load_i64({f.slot(f'cache{self.cache}_count')})")
        return Sizes(
            dim(f, g.batch), dim(f, g.query_heads), dim(f, g.key_heads), dim(f, g.queries), keys,
            dim(f, g.key_width), dim(f, g.value_width),
        )  # fmt: skip

    def group(self, f: Function) -> str:
        """Query heads per key head, at least 1 so that it may divide."""
        s = self.sizes(f)
        if s.hq == s.hk:
            return "1"
        return f.derived("group", f"max({s.hq} // max({s.hk}, 1), 1)")

    def _row(self, f: Function, value: Value, has_sequence: bool) -> tuple[str, str]:
        """Address of row (b, h[, i]) of an operand, and the byte stride along it."""
        rank = value.tensor.rank
        names = ["b", "h", "i"] if has_sequence else ["b", "h"]
        names = names[len(names) - (rank - 1) :] if rank > 1 else []
        terms = [self.context.address(f, value)]
        # Leading sizes of 1 still have a stride: the index into them is 0.
        terms += [f"{index} * {self.context.stride(f, value, axis)}" for axis, index in enumerate(names)]
        return " + ".join(terms), self.context.stride(f, value, rank - 1)

    def query_row(self, f: Function) -> tuple[str, str]:
        """Address of the query row at `b, h, i` and its stride."""
        query = self.op.query if isinstance(self.op, Attend | AttendStep) else None
        assert query is not None
        return self._row(f, query, isinstance(self.op, Attend))

    def output_row(self, f: Function) -> tuple[str, str]:
        """Address of the output row at `b, h, i` and its stride."""
        return self._row(f, self.op.output, isinstance(self.op, Attend))

    def lse_place(self, f: Function) -> str:
        """Address of the log-sum-exp at `b, h, i`."""
        assert self.op.lse is not None
        indices = ["b", "h", "i"] if isinstance(self.op, Attend) else ["b", "h"]
        return self.context.element(f, self.op.lse, indices)

    def write_position(self, f: Function, best: str) -> None:
        """A statement that stores the winner of `b, h, i`, an expression; nothing where positions are not
        asked for. Every hard-max maker calls it for each row that it answers.
        """
        if self.op.argmax is not None and isinstance(self.op.normalizer, Hardmax):
            f.line(store(DType.I64, self.position_place(f), best))

    def write_positions(self, f: Function, position: str, count: str) -> None:
        """Statements that store the first `count` winners of a top-k at `b, h, i`, and -1 behind them;
        `position` is the expression for number `place`.
        """
        if self.op.argmax is not None and isinstance(self.op.normalizer, TopK):
            with f.block(f"for place in range({self.op.normalizer.k})"):
                f.line(f"winner = -1\nif place < {count}:\n    winner = {position}")
                f.line(store(DType.I64, self.position_place(f, "place"), "winner"))

    def write_no_position(self, f: Function) -> None:
        """Statements for a row that selects nothing: it is empty or has a NaN score."""
        self.write_position(f, "-1")
        self.write_positions(f, "-1", "0")

    def position_place(self, f: Function, *last: str) -> str:
        """Address of the winner's position at `b, h, i`; of number `last` under top-k."""
        assert self.op.argmax is not None
        indices = ["b", "h", "i"] if isinstance(self.op, Attend) else ["b", "h"]
        return self.context.element(f, self.op.argmax, [*indices, *last])

    def keys_at(self, f: Function) -> tuple[str, str, str]:
        """Address of key 0 for `b, hk`, the byte stride from key to key, and along a key."""
        return self._sequence(f, "key")

    def values_at(self, f: Function) -> tuple[str, str, str]:
        """Address of value 0 for `b, hk`, the byte stride from row to row, and along a row."""
        return self._sequence(f, "value")

    def _sequence(self, f: Function, which: str) -> tuple[str, str, str]:
        if self.cache is not None:
            dtype = self.key_dtype if which == "key" else self.op.value_type.dtype
            (width,) = (self.op.key_type if which == "key" else self.op.value_type).shape
            base, stride = f.slot(f"cache{self.cache}_{which}s"), f.slot(f"cache{self.cache}_{which}_stride")
            s = self.sizes(f)
            return (
                f"{base} + (b * {s.hk} + hk) * {stride}",
                f"{width} * {dtype.itemsize}",
                str(dtype.itemsize),
            )
        assert isinstance(self.op, Attend)
        value = self.op.key if which == "key" else self.op.value
        rank = value.tensor.rank
        names = ["b", "hk"][4 - rank :]
        terms = [self.context.address(f, value)]
        terms += [f"{index} * {self.context.stride(f, value, axis)}" for axis, index in enumerate(names)]
        return (
            " + ".join(terms),
            self.context.stride(f, value, rank - 2),
            self.context.stride(f, value, rank - 1),
        )

    # --- masks ---

    def offset(self, f: Function, alignment: masks.Alignment | None) -> str:
        """Where query `i` stands: at key `i + offset`."""
        if isinstance(alignment, int):
            return f"({alignment})"
        if alignment is masks.Corner.BOTTOM_RIGHT and self.cache is None:
            s = self.sizes(f)
            return "0" if s.nq == s.nk else f.derived("corner", f"{s.nk} - {s.nq}")
        return "0"

    def _ranged_terms(self) -> tuple[list[masks.Mask], list[masks.Mask]]:
        """The and-ed terms that are key ranges for every query, and the others."""
        terms = self.mask.conjuncts
        ranged = (masks.Everything, masks.Nothing, masks.Causal, masks.Window, masks.Prefix, masks.Lengths)
        return [t for t in terms if isinstance(t, ranged)], [t for t in terms if not isinstance(t, ranged)]

    @property
    def residual(self) -> tuple[masks.Mask, ...]:
        """The and-ed terms of the mask that are not key ranges by position."""
        return tuple(self._ranged_terms()[1])

    @property
    def has_residual(self) -> bool:
        """Whether single positions inside a row's range have to be asked for."""
        return bool(self.residual)

    def range_lines(self, f: Function) -> None:
        """Statements that set `lo` and `hi`, the keys that row `b, h, i` may see by position alone."""
        f.line("lo = 0")
        f.line(f"hi = {self.sizes(f).nk}")
        for term in self._ranged_terms()[0]:
            match term:
                case masks.Nothing():
                    f.line("hi = 0")
                case masks.Causal(alignment):
                    f.line(f"hi = min(hi, i + {self.offset(f, alignment)} + 1)")
                case masks.Window(left, right, alignment):
                    f.line(f"lo = max(lo, i + {self.offset(f, alignment)} - {left})")
                    f.line(f"hi = min(hi, i + {self.offset(f, alignment)} + {right} + 1)")
                case masks.Prefix(count):
                    f.line(f"hi = min(hi, {self._count(f, count)})")
                case masks.Lengths(queries, keys):
                    f.line(f"hi = min(hi, {self._int_at(f, keys, ['b'])})")
                    with f.block(f"if i >= {self._int_at(f, queries, ['b'])}"):
                        f.line("hi = 0")
                case _:
                    pass
        # A range past either end is empty, and stays inside `[0, keys]`.
        f.line("hi = max(hi, 0)\nlo = min(lo, hi)")

    def _count(self, f: Function, count: int | Value) -> str:
        return str(count) if isinstance(count, int) else self._int_at(f, count, ["b"])

    def _int_at(self, f: Function, value: Value, indices: list[str]) -> str:
        suffix = "i64" if value.tensor.dtype is DType.I64 else "i32"
        return f"load_{suffix}({self.context.element(f, value, indices)})"

    def allowed_function(self) -> str:
        """`allowed(b, h, i, j)`: whether the terms that are not ranges allow a key."""
        f = self.function("allowed", "b", "h", "i", "j", doc="mask terms that are not key ranges")
        for term in self.residual:
            with f.block(f"if not ({self._test(f, term)})"):
                f.line("return False")
        f.line("return True")
        return f.text()

    def _test(self, f: Function, mask: masks.Mask) -> str:
        """Statements and then an expression that says whether `mask` allows `b, h, i, j`."""
        match mask:
            case masks.Everything():
                return "True"
            case masks.Nothing():
                return "False"
            case masks.And(terms) | masks.Or(terms):
                stop = isinstance(mask, masks.Or)
                name = f.fresh("m")
                f.line(f"{name} = {self._test(f, terms[0])}")
                for term in terms[1:]:
                    with f.block(f"if {'not ' if stop else ''}{name}"):
                        f.line(f"{name} = {self._test(f, term)}")
                return name
            case masks.Not(term):
                return f"not ({self._test(f, term)})"
            case masks.Causal(alignment):
                return f"j <= i + {self.offset(f, alignment)}"
            case masks.Window(left, right, alignment):
                offset = self.offset(f, alignment)
                return f"i + {offset} - {left} <= j <= i + {offset} + {right}"
            case masks.Prefix(count):
                return f"j < {self._count(f, count)}"
            case masks.Lengths(queries, keys):
                return f"i < {self._int_at(f, queries, ['b'])} and j < {self._int_at(f, keys, ['b'])}"
            case masks.Documents(ids, key_ids):
                return f"{self._int_at(f, ids, ['b', 'i'])} == {self._int_at(f, key_ids or ids, ['b', 'j'])}"
            case masks.TensorMask(tensor):
                return f"load_u8({self.context.element(f, tensor, ['b', 'h', 'i', 'j'])}) != 0"
            case masks.Predicate(condition):
                return ExprEmitter(self.context, f, exact=False).emit(condition).text
            case _:
                raise AssertionError(mask)

    # --- modifiers and biases ---

    def modifier_functions(self) -> list[str]:
        """`modified(b, h, i, j, score)`: what the modifier makes of a score; nothing without one."""
        if not isinstance(self.op.modifier, ExprModifier):
            return []
        f = self.function("modified", "b", "h", "i", "j", "score", doc="the score under the modifier")
        emitter = ExprEmitter(self.context, f, exact=False)
        f.line(f"return {emitter.as_float(emitter.emit(self.op.modifier.value)).text}")
        return [f.text()]

    def bias_function(self) -> str:
        """`bias(b, h, i, j)`: the sum of the bias terms, and whether one of them is -inf, which removes the
        key. A sum that overflows is -inf too, and removes nothing.
        """
        f = self.function("bias", "b", "h", "i", "j", doc="sum of the bias terms; whether the key is removed")
        f.line("total = 0.0")
        for term in self.op.bias:
            value = self.term(f, term, exact=False)[0]
            name = f.fresh("x")
            f.line(f"{name} = {value}")
            with f.block(f"if {name} == -math.inf"):
                f.line("return -math.inf, True")
            f.line(f"total += {name}")
        f.line("return total, False")
        return f.text()

    def bounded_bias_function(self) -> str:
        """`bounded_bias(b, h, i, j)`: sum, sum of magnitudes, what the terms may be off by, and the class of
        the sum; class 3 removes the key, of class 4 nothing is known.
        """
        f = self.function(
            "bounded_bias", "b", "h", "i", "j", doc="bias: sum, sum of magnitudes, error of the terms, class"
        )
        f.line("total, magnitude, error, kind = 0.0, 0.0, 0.0, 0")
        for term in self.op.bias:
            value, error = self.term(f, term, exact=True)
            name = f.fresh("x")
            own = f.fresh("kind")
            f.line(f"{name} = {value}")
            if isinstance(term, Alibi):
                # Its factors tell an infinite product from one that is only too large for a double.
                f.line(f"{own} = product_class({self._slope(f, term)}, np.float64(j - i))")
            else:
                f.line(f"{own} = value_class({name})")
            if error != "0.0":
                with f.block(f"if {error} == math.inf"):
                    f.line("return 0.0, 0.0, math.inf, 4")
                f.line(f"error += {error}")
            with f.block(f"if {own} == -1"):
                f.line("return -math.inf, 0.0, 0.0, 3")
            f.line(f"total += {name}\nmagnitude += abs({name})\nkind = sum_class(kind, {own})")
        f.line("return total, magnitude, error, kind")
        return f.text()

    def term(self, f: Function, term: BiasTerm, *, exact: bool) -> tuple[str, str]:
        """Statements and then expressions for a term's value and for its error bound."""
        match term:
            case TensorBias(tensor):
                return load_double(
                    tensor.tensor.dtype, self.context.element(f, tensor, ["b", "h", "i", "j"])
                ), "0.0"
            case Relative(table):
                reach = self._reach(table)
                index = f"(min(max(j - i, -{reach}), {reach}) + {reach})"
                return load_double(table.tensor.dtype, self.context.element(f, table, ["h", index])), "0.0"
            case Alibi():
                # The product's rounding is covered by the magnitude: it is a multiplication like those of the
                # dot product.
                return f"{self._slope(f, term)} * (j - i)", "0.0"
            case ExprBias(value):
                return self._expression(f, value, exact=exact)
            case _:
                raise AssertionError(term)

    def _slope(self, f: Function, term: Alibi) -> str:
        """The slope of head `h` as a double."""
        return load_double(term.slopes.tensor.dtype, self.context.element(f, term.slopes, ["h"]))

    @staticmethod
    def _reach(table: Value) -> int:
        size = table.tensor.shape[1]
        assert isinstance(size, int)
        return size // 2

    def _expression(self, f: Function, value: Expr, *, exact: bool) -> tuple[str, str]:
        if exact:
            f.line("doubt = False")
        emitter = ExprEmitter(self.context, f, exact=exact)
        emission = emitter.as_float(emitter.emit(value))
        if not exact:
            return emission.text, "0.0"
        error = f.fresh("e")
        f.line(f"{error} = math.inf if doubt else {emission.error}")
        return emission.text, error

    def accumulate_bias(self, f: Function, j: str, sign: str) -> None:
        """Statements that add `sign` (`1.0` or `-1.0`) times the exact bias at key `j` to the
        super-accumulator `acc`.
        """
        for term in self.op.bias:
            f.line(f"j = {j}")
            match term:
                case Alibi():
                    slope = self._slope(f, term)
                    f.line(f"shared_acc_add_product(frame, acc, {sign} * {slope}, np.float64(j - i))")
                case ExprBias(value) if type_of(value) is ExprType.INT:
                    # An int64 need not fit a double; its halves do.
                    whole = ExprEmitter(self.context, f, exact=True).emit(value).text
                    name = f.fresh("n")
                    f.line(f"{name} = np.int64({whole})")
                    f.line(f"shared_acc_add(frame, acc, {sign} * np.float64({name} >> 32) * 4294967296.0)")
                    f.line(f"shared_acc_add(frame, acc, {sign} * np.float64({name} & 4294967295))")
                case _:
                    # Exact, for the caller has checked that the error of computed terms is 0.
                    f.line(f"shared_acc_add(frame, acc, {sign} * {self.term(f, term, exact=True)[0]})")

    @property
    def may_be_unsettled(self) -> bool:
        """Whether some near-ties are left to rational arithmetic: a bias after a softcap, or one computed in
        floats.
        """
        if not self.op.normalizer.is_exact or not self.op.bias:
            return False
        return self.op.softcap is not None or any(
            isinstance(term, ExprBias) and any(type_of(e) is ExprType.FLOAT for e in term.value.walk())
            for term in self.op.bias
        )

    # --- empty rows ---

    def empty_lines(self, f: Function) -> None:
        """Statements for a row without keys: its output and log-sum-exp; the error rule returns."""
        dtype: TensorType = self.op.value_type
        out, step = self.output_row(f)
        if isinstance(self.op.empty, EmptyError):
            for slot, value in (("fault_b", "b"), ("fault_h", "h"), ("fault_i", "i")):
                f.line(f"store_i64(frame + {8 * f.layout.slot(slot)}, {value})")
            f.line(f"return {EMPTY_ROW}")
            return
        with f.block(f"for c in range({self.sizes(f).dv})"):
            target = f"{out} + c * {step}"
            if isinstance(self.op.empty, EmptyDefault):
                row = self.op.empty.row
                source = self.context.element(f, row, ["h", "c"])
                f.line(copy_element(dtype.dtype.itemsize, target, source))
            else:
                f.line(store(dtype.dtype, target, "0.0"))
        if self.op.lse is not None:
            f.line(store(self.op.accumulator, self.lse_place(f), "-math.inf"))
        self.write_no_position(f)


def tie_of(op: AttentionOp) -> Tie:
    """The tie rule of a hard-max node."""
    assert isinstance(op.normalizer, Hardmax)
    return op.normalizer.tie
