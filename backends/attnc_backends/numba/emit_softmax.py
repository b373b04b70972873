"""Dense softmax and mean: tiles of keys against blocks of query rows, with an online maximum.

Simple on purpose: keys and values of a tile are copied into scratch in the accumulation type, keys
transposed, so that every inner loop runs over neighbours and the compiler vectorises it. Rows do not depend
on how work is split over workers.
"""

from __future__ import annotations

from attnc_backends.numba import vectors
from attnc_backends.numba.access import load, load_double, store
from attnc_backends.numba.emit_elementwise import literal
from attnc_backends.numba.emit_row import skip_empty
from attnc_backends.numba.node import OK, Node
from attnc_backends.numba.score_range import score_type
from attnc_backends.numba.source import Function
from attnc_ir.attributes.normalizer import Mean
from attnc_ir.types import DType

ROWS = 16
KEYS = 64
_LOG2E = 1.4426950408889634


def emit_softmax_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over blocks of query rows, `blocks()` and `scratch()`; for softmax and
    mean.
    """
    return [*position_functions(node), _rows(node), _blocks(node), _scratch(node)]


def _blocks(node: Node) -> str:
    f = node.function("blocks", doc="how many blocks of query rows there are")
    s = node.sizes(f)
    f.line(f"return {s.b} * {s.hq} * (({s.nq} + {ROWS - 1}) // {ROWS})")
    return f.text()


def _scratch(node: Node) -> str:
    f = node.function("scratch", doc="bytes of scratch per worker")
    s = node.sizes(f)
    a = node.op.accumulator.itemsize
    f.line(
        f"return {a} * ({ROWS} * {s.d} + {s.d} * {KEYS} + {KEYS} + {KEYS} * {s.dv} + {s.dv})"
        f" + 8 * ({ROWS} * {s.dv} + {KEYS}) + {KEYS} + {ROWS} * {_Row.BYTES}"
    )
    return f.text()


class _Row:
    """Per-row bookkeeping in scratch, by name: range, count, maximum and denominator."""

    FIELDS = ("lo", "hi", "count", "top", "total")
    BYTES = 8 * len(FIELDS)

    @staticmethod
    def at(name: str) -> str:
        return f"at_row + {_Row.BYTES} * r + {8 * _Row.FIELDS.index(name)}"


def _rows(node: Node) -> str:
    op = node.op
    acc = op.accumulator
    a = acc.itemsize
    real = "np.float64" if acc is DType.F64 else "np.float32"
    is_mean = isinstance(op.normalizer, Mean)
    f = node.function(
        "rows", "first", "last", "scratch", doc=f"{op.normalizer.keyword} over blocks of {ROWS} rows"
    )
    s = node.sizes(f)
    g = node.group(f)

    def at(base: str, index: str) -> str:
        return f"{base} + {a} * ({index})"

    # Names begin with `at_`, as no slot of the frame does.
    f.line(f"at_o = scratch\nat_score = at_o + {8 * ROWS} * {s.dv}\nat_q = at_score + {8 * KEYS}")
    f.line(f"at_k = at_q + {a * ROWS} * {s.d}\nat_s = at_k + {a * KEYS} * {s.d}")
    f.line(f"at_v = at_s + {a * KEYS}\nat_part = at_v + {a * KEYS} * {s.dv}")
    f.line(f"at_keep = at_part + {a} * {s.dv}\nat_row = at_keep + {KEYS}")
    f.line(f"blocks = ({s.nq} + {ROWS - 1}) // {ROWS}")
    with f.block("for unit in range(first, last)"):
        f.line(f"h = (unit // blocks) % {s.hq}\nb = unit // (blocks * {s.hq})\nhk = h // {g}")
        f.line(f"i0 = (unit % blocks) * {ROWS}\nrows = min({ROWS}, {s.nq} - i0)")
        f.line(f"low, high = {s.nk}, 0")
        with f.block("for r in range(rows)"):
            f.line("i = i0 + r" if node.cache is None else f"i = {s.nk} - 1")
            node.range_lines(f)
            with f.block("if lo < hi"):
                f.line("low, high = min(low, lo), max(high, hi)")
            f.line(f"store_i64({_Row.at('lo')}, lo)\nstore_i64({_Row.at('hi')}, hi)")
            f.line(f"store_i64({_Row.at('count')}, 0)\nstore_f64({_Row.at('top')}, -math.inf)")
            f.line(f"store_f64({_Row.at('total')}, 0.0)")
            query, step = node.query_row(f)
            with f.block(f"for c in range({s.d})"):
                f.line(
                    store(acc, at("at_q", f"r * {s.d} + c"), load(op.key_type.dtype, f"{query} + c * {step}"))
                )
            f.line(f"tile_fill_f64(at_o + 8 * r * {s.dv}, 0.0, {s.dv})")
        with f.block(f"for j0 in range(low, high, {KEYS})"):
            f.line(f"width = min({KEYS}, high - j0)")
            _pack(node, f)
            with f.block("for r in range(rows)"):
                _tile(node, f, real, is_mean)
        with f.block("for r in range(rows)"):
            _finish(node, f, is_mean)
    f.line(f"return {OK}")
    return f.text()


def _pack(node: Node, f: Function) -> None:
    op, acc, s = node.op, node.op.accumulator, node.sizes(f)
    a = acc.itemsize
    keys, key_step, key_element = node.keys_at(f)
    values, value_step, value_element = node.values_at(f)
    f.line(f"keys = {keys} + j0 * {key_step}\nvalues = {values} + j0 * {value_step}")
    with f.block("for x in range(width)"):
        with f.block(f"for c in range({s.d})"):
            source = load(node.key_dtype, f"keys + x * {key_step} + c * {key_element}")
            f.line(store(acc, f"at_k + {a} * (c * {KEYS} + x)", source))
        with f.block(f"for c in range({s.dv})"):
            source = load(op.value_type.dtype, f"values + x * {value_step} + c * {value_element}")
            f.line(store(acc, f"at_v + {a} * (x * {s.dv} + c)", source))


def _tile(node: Node, f: Function, real: str, is_mean: bool) -> None:
    """One row against one tile."""
    op, acc, s = node.op, node.op.accumulator, node.sizes(f)
    a = acc.itemsize
    checked = node.has_residual or bool(op.bias)
    f.line(
        f"lo = max(load_i64({_Row.at('lo')}), j0) - j0\nhi = min(load_i64({_Row.at('hi')}), j0 + width) - j0"
    )
    with f.block("if lo >= hi"):
        f.line("continue")
    f.line("i = i0 + r" if node.cache is None else f"i = {s.nk} - 1")
    f.line(f"tile_fill_{acc}(at_s + {a} * lo, {real}(0.0), hi - lo)")
    with f.block(f"for c in range({s.d})"):
        q = load(acc, f"at_q + {a} * (r * {s.d} + c)")
        f.line(f"tile_axpy_{acc}(at_s + {a} * lo, {q}, at_k + {a} * (c * {KEYS} + lo), hi - lo)")
    scores = score_type(node)
    wide = "np.float64" if scores is DType.F64 else "np.float32"
    place = f"at_score + {scores.itemsize} * x"
    f.line(f"old = {wide}(load_f64({_Row.at('top')}))\ntop = old\ncount = 0")
    with f.block("for x in range(lo, hi)"):
        f.line("j = j0 + x")
        if checked:
            f.line("store_u8(at_keep + x, 0)")
        if node.has_residual:
            with f.block(f"if not {node.call('allowed', 'b', 'h', 'i', 'j')}"):
                f.line("continue")
        f.line(f"score = {wide}({modified_score(node, load(acc, f'at_s + {a} * x'), wide)})")
        if op.bias:
            f.line(f"bias, removed = {node.call('bias', 'b', 'h', 'i', 'j')}")
            with f.block("if removed"):
                f.line("continue")
            f.line(f"score = {wide}(np.float64(score) + bias)")
        if checked:
            f.line("store_u8(at_keep + x, 1)")
        f.line("count += 1")
        f.line(store(scores, place, "score"))
        # A NaN is kept: every comparison with it is false.
        with f.block("if score > top or score != score"):
            f.line("top = score")
    with f.block("if count == 0"):
        f.line("continue")
    f.line(
        f"store_i64({_Row.at('count')}, load_i64({_Row.at('count')}) + count)\nstore_f64({_Row.at('top')}, np.float64(top))"
    )
    # A tile is summed in the accumulation type and joins the row's sums in doubles, so that the rounding of a
    # long row does not grow with its length.
    f.line("shrink = 1.0")
    with f.block("if old != top"):
        f.line("shrink = math.exp(np.float64(old) - np.float64(top)) if old > -math.inf else 0.0")
    f.line(f"total = {real}(0.0)\ntile_fill_{acc}(at_part, {real}(0.0), {s.dv})")
    with f.block("for x in range(lo, hi)"):
        if checked:
            with f.block("if load_u8(at_keep + x) == 0"):
                f.line("continue")
        f.line(f"score = {load(scores, place)}")
        # Scores that are all -inf weigh nothing beside any other that may still come.
        f.line(f"weight = {real}(0.0) if top == -math.inf else {real}(math.exp(score - top))")
        f.line("total += weight")
        weight = f"{real}(1.0)" if is_mean else "weight"
        f.line(f"tile_axpy_{acc}(at_part, {weight}, at_v + {a} * x * {s.dv}, {s.dv})")
    f.line(f"store_f64({_Row.at('total')}, load_f64({_Row.at('total')}) * shrink + np.float64(total))")
    f.line(f"tile_join_{acc}(at_o + 8 * r * {s.dv}, {'1.0' if is_mean else 'shrink'}, at_part, {s.dv})")


def modified_score(node: Node, score: str, wide: str) -> str:
    """A dot product under scale, softcap and modifier, as an expression."""
    op = node.op
    if op.scale != 1.0:
        score = f"{wide}({literal(op.scale)}) * {score}"
    if op.softcap is not None:
        cap = f"{wide}({literal(op.softcap)})"
        score = f"{cap} * {wide}(math.tanh({wide}({score}) / {cap}))"
    if op.modifier is not None:
        score = node.call("modified", "b", "h", "i", "j", f"np.float64({score})")
    return score


def _finish(node: Node, f: Function, is_mean: bool) -> None:
    """Divide a row and store it."""
    op, s = node.op, node.sizes(f)
    f.line("i = i0 + r" if node.cache is None else f"i = {s.nk} - 1")
    f.line(f"count = load_i64({_Row.at('count')})")
    skip_empty(node, f, "count == 0")
    f.line(f"top = load_f64({_Row.at('top')})\ntotal = load_f64({_Row.at('total')})")
    sink_lines(node, f)
    divisor = "count" if is_mean else "total"
    out, step = node.output_row(f)
    if is_mean:
        # A row with a NaN score is NaN under every normaliser, though a mean uses no score otherwise.
        f.line("shrink = top if top != top else shrink")
    with f.block(f"for c in range({s.dv})"):
        value = f"load_f64(at_o + 8 * (r * {s.dv} + c)) * shrink / {divisor}"
        f.line(store(op.value_type.dtype, f"{out} + c * {step}", value))
    lse_lines(node, f)


def sink_lines(node: Node, f: Function) -> None:
    """Let the sink of head `h` join the largest score `top` and the denominator `total`; `shrink` is what
    sums of values are to be multiplied with.
    """
    op = node.op
    f.line("shrink = 1.0")
    if op.sinks is not None:
        sink = load_double(op.sinks.tensor.dtype, node.context.element(f, op.sinks, ["h"]))
        f.line(f"sink = {sink}\nold = top")
        with f.block("if sink > top or sink != sink"):
            f.line("top = sink")
        with f.block("if old != top"):
            f.line("shrink = math.exp(old - top) if old > -math.inf else 0.0")
        with f.block("if top > -math.inf or top != top"):
            f.line("total = total * shrink + math.exp(sink - top)")


def lse_lines(node: Node, f: Function) -> None:
    """Store the log-sum-exp of `b, h, i`, if it is wanted."""
    if node.op.lse is not None:
        lse = "top if math.isinf(top) else top + math.log(total)"
        f.line(store(node.op.accumulator, node.lse_place(f), f"({lse})"))


def lanes_of(node: Node) -> int:
    """Lanes of the target's vectors of the accumulation type."""
    return vectors.native_bytes() // node.op.accumulator.itemsize


def is_rescored(node: Node) -> bool:
    """Whether a score is more than a dot product times the scale, which the weights take care of."""
    return bool(node.op.bias) or node.op.softcap is not None or node.op.modifier is not None


def is_asked(node: Node) -> bool:
    """Whether positions are looked at one by one."""
    return is_rescored(node) or node.has_residual


def exponent_factor(node: Node) -> str:
    """What turns differences of scores, as a tile holds them, into exponents of 2."""
    return literal(_LOG2E if is_rescored(node) else abs(node.op.scale) * _LOG2E)


def ask_lines(node: Node, f: Function, score: str, keep: str) -> None:
    """Look at positions from `lo` to `hi` of row `b, h, i` one by one: the score at the address `score` under
    softcap, modifier and bias, the byte at `keep` 1 where a position is allowed; both are expressions of `j`.
    Counts them in `seen`.
    """
    op, acc = node.op, node.op.accumulator
    real = "np.float64" if acc is DType.F64 else "np.float32"
    f.line("seen = 0")
    with f.block("for j in range(lo, hi)"):
        if node.has_residual:
            with f.block(f"if not {node.call('allowed', 'b', 'h', 'i', 'j')}"):
                f.line("continue")
        if is_rescored(node):
            f.line(f"score = {real}({modified_score(node, load(acc, score), real)})")
        if op.bias:
            f.line(f"bias, removed = {node.call('bias', 'b', 'h', 'i', 'j')}")
            with f.block("if removed"):
                f.line("continue")
            f.line(f"score = {real}(np.float64(score) + bias)")
        if is_rescored(node):
            f.line(store(acc, score, "score"))
        f.line(f"seen += 1\nstore_u8({keep}, 1)")


def position_functions(node: Node) -> list[str]:
    """`allowed`, `bias` and `modified`, where positions are asked for them."""
    allowed = [node.allowed_function()] if node.has_residual else []
    bias = [node.bias_function()] if node.op.bias else []
    return [*allowed, *bias, *node.modifier_functions()]
