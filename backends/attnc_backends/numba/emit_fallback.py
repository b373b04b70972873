"""The dense rows that every hard-max strategy carries along for what it cannot answer.

Where a row sees one range of keys by dot products alone, the shared runtime has one function for all
programs, and a node only describes its row to it. Other nodes get the scan of the strategy `dense`.
"""

from __future__ import annotations

from attnc_backends.numba.access import DTYPE_CODES, store
from attnc_backends.numba.emit_elementwise import literal
from attnc_backends.numba.emit_exact import emit_exact_rows
from attnc_backends.numba.emit_row import any_row, skip_empty, write_found
from attnc_backends.numba.node import OK, Node, tie_of
from attnc_backends.numba.runtime import hardmax_row as layout
from attnc_backends.numba.runtime.exact import ACC_BYTES
from attnc_backends.numba.source import Function
from attnc_ir.attributes.normalizer import Hardmax, Tie

_TIES = {Tie.FIRST: layout.ROW_FIRST, Tie.LAST: layout.ROW_LAST, Tie.MEAN: layout.ROW_MEAN}


def emit_fallback_rows(node: Node, *, with_compare: bool = False) -> list[str]:
    """`rows(first, last, scratch)` over single query rows, `blocks()` and `scratch()` of `node.dense`; when asked
    for, `compare(b, h, i, j1, j2, acc)`, too, the sign of the difference of two real scores.
    """
    dense, op = node.dense, node.op
    ordinary = isinstance(op.normalizer, Hardmax) and not op.bias and op.lse is None
    if not ordinary or dense.has_residual:
        return emit_exact_rows(dense)
    compare = [_compare(dense)] if with_compare else []
    return [_rows(dense), dense.row_blocks(), _scratch(dense), *compare]


def _scratch(node: Node) -> str:
    f = node.function(
        "scratch", doc="bytes of scratch per worker: what describes a row, and what it works in"
    )
    s = node.sizes(f)
    held = f" + 8 * ({s.dv} + {s.nk})" if tie_of(node.op) is Tie.MEAN else ""
    f.line(f"return {layout.ROW_BYTES + ACC_BYTES} + 8 * {s.d}{held}")
    return f.text()


def _rows(node: Node) -> str:
    op, tie = node.op, tie_of(node.op)
    dtype = op.value_type.dtype
    f = node.function("rows", "first", "last", "scratch", doc=f"hard-max, tie {tie.value}, one row at a time")
    s = node.sizes(f)
    out, out_step = node.output_row(f)
    values, value_step, element = node.values_at(f)
    with f.block("for unit in range(first, last)"):
        any_row(node, f)
        node.range_lines(f)
        skip_empty(node, f)
        _describe(node, f, "scratch", low="lo", high="hi")
        f.line("best = shared_hardmax_row(frame, scratch)")
        with f.block("if best < 0"):
            with f.block(f"for c in range({s.dv})"):
                f.line(store(dtype, f"{out} + c * {out_step}", "math.nan"))
            node.write_no_position(f)
            f.line("continue")
        node.write_position(f, "best")
        write_found(node, f, (out, out_step), f"{values} + best * {value_step}", element, mean="mean")
    f.line(f"return {OK}")
    return f.text()


def _compare(node: Node) -> str:
    f = node.function(
        "compare", "b", "h", "i", "j1", "j2", "acc", doc="sign of score j1 less score j2, both real"
    )
    f.line(f"hk = h // {node.group(f)}")
    _describe(node, f, "acc", low="0", high="0")  # two keys are compared, wherever they stand
    f.line("return shared_hardmax_compare(frame, acc, j1, j2)")
    return f.text()


def _describe(node: Node, f: Function, at: str, *, low: str, high: str) -> None:
    """Statements that fill in what the library reads, for row `b, h, i` and the keys from `low` to `high`."""
    op, s = node.op, node.sizes(f)
    query, query_element = node.query_row(f)
    keys, key_step, key_element = node.keys_at(f)
    words = {
        layout.ROW_KEYS: keys,
        layout.ROW_KEY_STEP: key_step,
        layout.ROW_KEY_ELEMENT: key_element,
        layout.ROW_KEY_DTYPE: str(DTYPE_CODES[node.key_dtype]),
        layout.ROW_QUERY: query,
        layout.ROW_QUERY_ELEMENT: query_element,
        layout.ROW_QUERY_DTYPE: str(DTYPE_CODES[op.key_type.dtype]),
        layout.ROW_WIDTH: s.d,
        layout.ROW_LOW: low,
        layout.ROW_HIGH: high,
        layout.ROW_TIE: str(_TIES[tie_of(op)]),
    }
    if tie_of(op) is Tie.MEAN:
        values, value_step, value_element = node.values_at(f)
        # Behind what the library works in.
        f.line(f"mean = {at} + {layout.ROW_BYTES + ACC_BYTES} + 8 * ({s.d} + {s.nk})")
        words |= {
            layout.ROW_VALUES: values,
            layout.ROW_VALUE_STEP: value_step,
            layout.ROW_VALUE_ELEMENT: value_element,
            layout.ROW_VALUE_DTYPE: str(DTYPE_CODES[op.value_type.dtype]),
            layout.ROW_VALUE_WIDTH: s.dv,
            layout.ROW_MEAN_OUT: "mean",
        }
    for place, word in words.items():
        f.line(f"store_i64({at} + {place}, {word})")
    f.line(f"store_f64({at} + {layout.ROW_SCALE}, {literal(op.scale)})")
