"""Dense softmax and mean: tiles of keys against blocks of query rows, with an online maximum.

Simple on purpose: keys and values of a tile are copied into scratch in the accumulation type, keys
transposed, so that every inner loop runs over neighbours and the compiler vectorises it. Rows do not depend
on how work is split over workers.
"""

from __future__ import annotations

from attnc_backends.numba.access import load, load_double, store
from attnc_backends.numba.emit_elementwise import literal
from attnc_backends.numba.node import OK, Node
from attnc_backends.numba.source import Function
from attnc_ir.attributes.normalizer import Mean
from attnc_ir.types import DType

ROWS = 16
KEYS = 64


def emit_softmax_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over blocks of query rows, `blocks()` and `scratch()`; for softmax and
    mean.
    """
    parts = [node.allowed_function()] if node.has_residual else []
    if node.op.bias:
        parts.append(node.bias_function())
    return [*parts, _rows(node), _blocks(node), _scratch(node)]


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
        f"return {a} * ({ROWS} * {s.d} + {s.d} * {KEYS} + {KEYS} + {KEYS} * {s.dv} + {ROWS} * {s.dv}) + {KEYS} + {ROWS} * 48"
    )
    return f.text()


class _Row:
    """Per-row bookkeeping in scratch, by name: range, count, maximum and denominators."""

    FIELDS = ("lo", "hi", "count", "top", "total", "lse_total")

    @staticmethod
    def at(name: str) -> str:
        return f"row_at + 48 * r + {8 * _Row.FIELDS.index(name)}"


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

    f.line(f"q_at = scratch\nk_at = q_at + {a * ROWS} * {s.d}\ns_at = k_at + {a * KEYS} * {s.d}")
    f.line(f"v_at = s_at + {a * KEYS}\no_at = v_at + {a * KEYS} * {s.dv}")
    f.line(f"keep_at = o_at + {a * ROWS} * {s.dv}\nrow_at = keep_at + {KEYS}")
    f.line(f"blocks = ({s.nq} + {ROWS - 1}) // {ROWS}")
    with f.block("for unit in range(first, last)"):
        f.line(f"h = (unit // blocks) % {s.hq}\nb = unit // (blocks * {s.hq})\nhk = h // {g}")
        f.line(f"i0 = (unit % blocks) * {ROWS}\nrows = min({ROWS}, {s.nq} - i0)")
        f.line(f"low, high = {s.nk}, 0")
        with f.block("for r in range(rows)"):
            f.line("i = i0 + r" if node.cache is None else f"i = {s.nk} - 1")
            node.range_lines(f)
            f.line("low, high = min(low, lo), max(high, hi)")
            f.line(
                f"store_i64({_Row.at('lo')}, lo)\nstore_i64({_Row.at('hi')}, hi)\nstore_i64({_Row.at('count')}, 0)"
            )
            f.line(
                f"store_f64({_Row.at('top')}, -math.inf)\nstore_f64({_Row.at('total')}, 0.0)\nstore_f64({_Row.at('lse_total')}, 0.0)"
            )
            query, step = node.query_row(f)
            with f.block(f"for c in range({s.d})"):
                f.line(
                    store(acc, at("q_at", f"r * {s.d} + c"), load(op.key_type.dtype, f"{query} + c * {step}"))
                )
            with f.block(f"for c in range({s.dv})"):
                f.line(store(acc, at("o_at", f"r * {s.dv} + c"), "0.0"))
        with f.block(f"for j0 in range(low, high, {KEYS})"):
            f.line(f"width = min({KEYS}, high - j0)")
            _pack(node, f)
            with f.block("for r in range(rows)"):
                _tile(node, f, real, is_mean)
        with f.block("for r in range(rows)"):
            _finish(node, f, real, is_mean)
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
            f.line(store(acc, f"k_at + {a} * (c * {KEYS} + x)", source))
        with f.block(f"for c in range({s.dv})"):
            source = load(op.value_type.dtype, f"values + x * {value_step} + c * {value_element}")
            f.line(store(acc, f"v_at + {a} * (x * {s.dv} + c)", source))


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
    f.line(f"tile_fill_{acc}(s_at + {a} * lo, {real}(0.0), hi - lo)")
    with f.block(f"for c in range({s.d})"):
        q = load(acc, f"q_at + {a} * (r * {s.d} + c)")
        f.line(f"tile_axpy_{acc}(s_at + {a} * lo, {q}, k_at + {a} * (c * {KEYS} + lo), hi - lo)")
    f.line(f"old = {real}(load_f64({_Row.at('top')}))\ntop = old\ncount = 0")
    with f.block("for x in range(lo, hi)"):
        f.line("j = j0 + x")
        if checked:
            f.line("store_u8(keep_at + x, 0)")
        if node.has_residual:
            with f.block(f"if not {node.call('allowed', 'b', 'h', 'i', 'j')}"):
                f.line("continue")
        score = f"{load(acc, f's_at + {a} * x')}"
        if op.scale != 1.0:
            score = f"{real}({literal(op.scale)}) * {score}"
        if op.softcap is not None:
            cap = f"{real}({literal(op.softcap)})"
            score = f"{cap} * {real}(math.tanh({score} / {cap}))"
        f.line(f"score = {real}({score})")
        if op.bias:
            f.line(f"bias = {node.call('bias', 'b', 'h', 'i', 'j')}")
            with f.block("if bias == -math.inf"):
                f.line("continue")
            f.line(f"score = {real}(np.float64(score) + bias)")
        if checked:
            f.line("store_u8(keep_at + x, 1)")
        f.line("count += 1")
        f.line(store(acc, f"s_at + {a} * x", "score"))
        # A NaN is kept: every comparison with it is false.
        with f.block("if score > top or score != score"):
            f.line("top = score")
    with f.block("if count == 0"):
        f.line("continue")
    f.line(
        f"store_i64({_Row.at('count')}, load_i64({_Row.at('count')}) + count)\nstore_f64({_Row.at('top')}, np.float64(top))"
    )
    f.line(f"shrink = {real}(1.0)")
    with f.block("if old != top"):
        f.line(f"shrink = {real}(math.exp(old - top)) if old > -math.inf else {real}(0.0)")
    f.line(f"total = {real}(load_f64({_Row.at('total')})) * shrink")
    if not is_mean:
        with f.block("if old != top"):
            f.line(f"tile_scale_{acc}(o_at + {a} * r * {s.dv}, shrink, {s.dv})")
    with f.block("for x in range(lo, hi)"):
        if checked:
            with f.block("if load_u8(keep_at + x) == 0"):
                f.line("continue")
        f.line(f"score = {load(acc, f's_at + {a} * x')}")
        # Scores that are all -inf weigh nothing beside any other that may still come.
        f.line(f"weight = {real}(0.0) if top == -math.inf else {real}(math.exp(score - top))")
        f.line("total += weight")
        weight = f"{real}(1.0)" if is_mean else "weight"
        f.line(f"tile_axpy_{acc}(o_at + {a} * r * {s.dv}, {weight}, v_at + {a} * x * {s.dv}, {s.dv})")
    f.line(f"store_f64({_Row.at('total')}, np.float64(total))")


def _finish(node: Node, f: Function, real: str, is_mean: bool) -> None:
    """Divide a row and store it."""
    op, acc, s = node.op, node.op.accumulator, node.sizes(f)
    a = acc.itemsize
    f.line("i = i0 + r" if node.cache is None else f"i = {s.nk} - 1")
    f.line(f"count = load_i64({_Row.at('count')})")
    with f.block("if count == 0"):
        node.empty_lines(f)
        if not _returns(node):
            f.line("continue")
    f.line(
        f"top = {real}(load_f64({_Row.at('top')}))\ntotal = {real}(load_f64({_Row.at('total')}))\nshrink = {real}(1.0)"
    )
    if op.sinks is not None:
        sink = load_double(op.sinks.tensor.dtype, node.context.element(f, op.sinks, ["h"]))
        f.line(f"sink = {real}({sink})\nold = top")
        with f.block("if sink > top or sink != sink"):
            f.line("top = sink")
        with f.block("if old != top"):
            f.line(f"shrink = {real}(math.exp(old - top)) if old > -math.inf else {real}(0.0)")
        with f.block("if top > -math.inf or top != top"):
            f.line(f"total = total * shrink + {real}(math.exp(sink - top))")
    divisor = f"{real}(count)" if is_mean else "total"
    out, step = node.output_row(f)
    if is_mean:
        # A row with a NaN score is NaN under every normaliser, though a mean uses no score otherwise.
        f.line("shrink = top if top != top else shrink")
    with f.block(f"for c in range({s.dv})"):
        value = f"{load(acc, f'o_at + {a} * (r * {s.dv} + c)')} * shrink / {divisor}"
        f.line(store(op.value_type.dtype, f"{out} + c * {step}", value))
    if op.lse is not None:
        lse = "top if math.isinf(top) else top + math.log(total)"
        f.line(store(acc, node.lse_place(f), f"({lse})"))


def _returns(node: Node) -> bool:
    """Whether an empty row ends the kernel."""
    return node.op.empty.keyword == "error"
