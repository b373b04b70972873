"""`position`: read the row that is proved to win; where the proof ends, scan.

Query `i` reads key `i + offset`, or the allowed key nearest to it. The proof holds below a bound; a row that
stands beyond it, or may see a key beyond it, is answered by the dense scan.
"""

from __future__ import annotations

from attnc_backends.numba.access import copy_element, load_double, store
from attnc_backends.numba.emit_fallback import emit_fallback_rows
from attnc_backends.numba.emit_row import any_row, scan_rows, skip_empty
from attnc_backends.numba.node import OK, Node
from attnc_ir.attributes.normalizer import Hardmax, Tie
from attnc_ir.attributes.strategy import Position
from attnc_ir.types import MAX_DIM


def position_notes(node: Node) -> tuple[str, ...]:
    """What the plan has to say about where the proof ends."""
    strategy = node.op.strategy
    assert isinstance(strategy, Position)
    if strategy.bound >= MAX_DIM:
        return ()
    return (f"the proof holds below position {strategy.bound}; rows beyond are answered by the dense scan",)


def emit_position_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over query rows, `blocks()` and `scratch()`."""
    parts = emit_fallback_rows(node)
    for what in ("blocks", "scratch"):
        f = node.function(what, doc="as for the dense scan")
        f.line(f"return {node.dense.call(what)}")
        parts.append(f.text())
    return [*parts, _rows(node)]


def _rows(node: Node) -> str:
    strategy, normalizer = node.op.strategy, node.op.normalizer
    assert isinstance(strategy, Position)
    assert isinstance(normalizer, Hardmax)
    tie = normalizer.tie
    dtype = node.op.value_type.dtype
    f = node.function("rows", "first", "last", "scratch", doc=f"{strategy.keyword}, tie {tie.value}")
    s = node.sizes(f)
    with f.block("for unit in range(first, last)"):
        any_row(node, f)
        node.range_lines(f)
        skip_empty(node, f)
        with f.block(f"if i >= {strategy.bound} or hi > {strategy.bound}"):
            scan_rows(node, f, "unit", "unit + 1")
            f.line("continue")
        f.line(f"best = min(max(i + ({strategy.offset}), lo), hi - 1)\nother = best")
        if strategy.tied:
            with f.block(f"if best == i + ({strategy.offset}) and best + 1 < hi"):
                f.line("best += 1" if tie is Tie.LAST else "other = best + 1")
        values, value_step, element = node.values_at(f)
        out, step = node.output_row(f)
        f.line(f"values, out = {values}, {out}")
        node.write_position(f, "best")
        with f.block(f"for c in range({s.dv})"):
            place = f"values + best * {value_step} + c * {element}"
            if tie is not Tie.MEAN:
                f.line(copy_element(dtype.itemsize, f"out + c * {step}", place))
            else:
                # One addition rounds the exact sum of two once; a sum of zeros is +0.0.
                f.line(f"mean = {load_double(dtype, place)} + 0.0")
                with f.block("if other != best"):
                    f.line(
                        f"mean = (mean + {load_double(dtype, f'values + other * {value_step} + c * {element}')}) / 2.0"
                    )
                f.line(store(dtype, f"out + c * {step}", "mean"))
    f.line(f"return {OK}")
    return f.text()
