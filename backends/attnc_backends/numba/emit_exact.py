"""Dense hard-max: a scan over the keys that compares scores exactly; what it shares with dense top-k.

A row with a comparison that stays unsettled is marked, and rational arithmetic decides it outside.
"""

from __future__ import annotations

from attnc_backends.numba.access import copy_element, load_double, store
from attnc_backends.numba.emit_held import emit_held
from attnc_backends.numba.emit_row import any_row, skip_empty
from attnc_backends.numba.emit_scores import emit_scores
from attnc_backends.numba.node import OK, UNSETTLED, Node
from attnc_backends.numba.source import Function
from attnc_ir.attributes.normalizer import Hardmax, Tie, TopK
from attnc_ir.ops import Attend


def emit_exact_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over single query rows, `blocks()` and `scratch()`; for hard-max and
    top-k.
    """
    if isinstance(node.op.normalizer, TopK):
        rows = [*emit_held(node, "beats"), _topk_rows(node)]
    else:
        rows = [_hardmax_rows(node)]
    return [*emit_scores(node), *rows, node.row_blocks(), _scratch(node)]


def _scratch(node: Node) -> str:
    f = node.function(
        "scratch", doc="bytes of scratch per worker: accumulator, query row, and the positions that are held"
    )
    s = node.sizes(f)
    normalizer = node.op.normalizer
    held, doubles = "0", f"{s.d}"
    if isinstance(normalizer, TopK):
        held, doubles = f"3 * (min({normalizer.k}, {s.nk}) + 1)", f"{s.d} + {s.dv}"
    elif isinstance(normalizer, Hardmax) and normalizer.tie is Tie.MEAN:
        held = s.nk
    f.line(f"return ACC_BYTES + 8 * ({doubles}) + 8 * ({held})")
    return f.text()


def _row_start(node: Node, f: Function) -> None:
    """Coordinates of row `unit`, its key range, its query as doubles in scratch, and the lse sums."""
    s = node.sizes(f)
    any_row(node, f)
    node.range_lines(f)
    query, step = node.query_row(f)
    with f.block(f"for c in range({s.d})"):
        f.line(f"store_f64(query + 8 * c, {load_double(node.op.key_type.dtype, f'{query} + c * {step}')})")
    f.line("count, bad, unsettled = 0, False, False")
    if node.op.lse is not None:
        f.line("lse_top, lse_total = -math.inf, 0.0")
    f.line(f"keys = {node.keys_at(f)[0]}")


def _key_score(node: Node, f: Function) -> None:
    """For key `j` of the row: `s, e, kind`, or on to the next key."""
    _, key_step, _ = node.keys_at(f)
    if node.has_residual:
        with f.block(f"if not {node.call('allowed', 'b', 'h', 'i', 'j')}"):
            f.line("continue")
    f.line(
        f"s, e, kind = {node.call('bounded_score', 'b', 'h', 'i', 'j', f'keys + j * {key_step}', 'query')}"
    )
    with f.block("if kind == 3"):
        f.line("continue")
    f.line("count += 1")
    if node.may_be_unsettled:
        with f.block("if kind == 4"):
            f.line("unsettled = True\ncontinue")
    with f.block("if kind == 2"):
        f.line("bad = True\nbreak")
    if node.op.lse is not None:
        f.line(f"x = {node.call('float_score', 'b', 'h', 'i', 'j', 'acc')}")
        with f.block("if x > lse_top"):
            f.line(
                "lse_total = lse_total * math.exp(lse_top - x) if lse_top > -math.inf else 0.0\nlse_top = x"
            )
        with f.block("if lse_top > -math.inf and lse_top < math.inf"):
            f.line("lse_total += math.exp(x - lse_top)")


def _row_ends(node: Node, f: Function) -> None:
    """What every row does before it writes: empty rows, rows with a NaN score, unsettled rows."""
    s = node.sizes(f)
    out, step = node.output_row(f)
    dtype = node.op.value_type.dtype
    skip_empty(node, f, "count == 0")
    with f.block("if bad"):
        with f.block(f"for c in range({s.dv})"):
            f.line(store(dtype, f"{out} + c * {step}", "math.nan"))
        node.write_no_position(f)
        if node.op.lse is not None:
            f.line(store(node.op.accumulator, node.lse_place(f), "math.nan"))
        f.line("continue")
    if node.op.lse is not None:
        lse = "lse_top if math.isinf(lse_top) else lse_top + math.log(lse_total)"
        f.line(store(node.op.accumulator, node.lse_place(f), f"({lse})"))
    if node.may_be_unsettled:
        with f.block("if unsettled"):
            if isinstance(node.op, Attend):
                f.line(f"store_u8({f.slot(f'unsettled_{node.number}')} + unit, 1)\ncontinue")
            else:
                f.line(f"return {UNSETTLED}")


def _hardmax_rows(node: Node) -> str:
    normalizer = node.op.normalizer
    assert isinstance(normalizer, Hardmax)
    tie = normalizer.tie
    f = node.function("rows", "first", "last", "scratch", doc=f"hard-max, tie {tie.value}, one row at a time")
    s = node.sizes(f)
    f.line(f"acc = scratch\nquery = acc + ACC_BYTES\nheld = query + 8 * {s.d}")
    with f.block("for unit in range(first, last)"):
        _row_start(node, f)
        f.line("best, best_s, best_e, best_kind, ties = -1, 0.0, 0.0, 0, 0")
        with f.block("for j in range(lo, hi)"):
            _key_score(node, f)
            f.line("order = 1")
            with f.block("if best >= 0"):
                f.line(
                    f"order = {node.call('beats', 'b', 'h', 'i', 'j', 's', 'e', 'kind', 'best', 'best_s', 'best_e', 'best_kind', 'acc')}"
                )
            if node.may_be_unsettled:
                with f.block("if order == 2"):
                    f.line("unsettled = True\ncontinue")
            with f.block("if order == 1"):
                f.line("best, best_s, best_e, best_kind, ties = j, s, e, kind, 1")
                if tie is Tie.MEAN:
                    f.line("store_i64(held, j)")
            with f.block("elif order == 0"):
                if tie is Tie.LAST:
                    f.line("best, best_s, best_e = j, s, e")
                elif tie is Tie.MEAN:
                    f.line("store_i64(held + 8 * ties, j)")
                f.line("ties += 1")
        _row_ends(node, f)
        _write_winner(node, f, tie)
    f.line(f"return {OK}")
    return f.text()


def _write_winner(node: Node, f: Function, tie: Tie) -> None:
    s = node.sizes(f)
    dtype = node.op.value_type.dtype
    out, step = node.output_row(f)
    values, value_step, element = node.values_at(f)
    node.write_position(f, "best")
    f.line(f"values = {values}")
    with f.block(f"for c in range({s.dv})"):
        if tie is not Tie.MEAN:
            f.line(
                copy_element(
                    dtype.itemsize, f"{out} + c * {step}", f"values + best * {value_step} + c * {element}"
                )
            )
            return
        f.line("shared_acc_clear(frame, acc)\nkind = 0")
        with f.block("for place in range(ties)"):
            f.line(
                f"x = {load_double(dtype, f'values + load_i64(held + 8 * place) * {value_step} + c * {element}')}"
            )
            f.line("kind = sum_class(kind, value_class(x))")
            with f.block("if kind == 0"):
                f.line("shared_acc_add(frame, acc, x)")
        f.line("mean = special_value(kind) if kind != 0 else shared_acc_round(frame, acc) / np.float64(ties)")
        f.line(store(dtype, f"{out} + c * {step}", "mean"))


def _topk_rows(node: Node) -> str:
    """The k best in a heap whose root is the worst of them; then a softmax over what is held."""
    normalizer = node.op.normalizer
    assert isinstance(normalizer, TopK)
    f = node.function(
        "rows",
        "first",
        "last",
        "scratch",
        doc=f"top-{normalizer.k}, ties {normalizer.tie.value}, one row at a time",
    )
    s = node.sizes(f)
    f.line(f"acc = scratch\nquery = acc + ACC_BYTES\nsums = query + 8 * {s.d}\nheld = sums + 8 * {s.dv}")
    f.line(f"most = min({normalizer.k}, {s.nk})")
    with f.block("for unit in range(first, last)"):
        _row_start(node, f)
        f.line("size = 0")
        with f.block("for j in range(lo, hi)"):
            _key_score(node, f)
            with f.block("if unsettled"):
                f.line("continue")
            # The error carries the class: held_kind reads it back.
            f.line("hold(held + 24 * most, j, s, e, kind)")
            f.line(f"size = {node.call('take', 'b', 'h', 'i', 'held', 'size', 'most', 'acc')}")
            if node.may_be_unsettled:
                with f.block("if size < 0"):
                    f.line("size, unsettled = 0, True")
        if node.op.argmax is not None:
            with f.block("if not (bad or unsettled)"):
                f.line(f"unsettled = {node.call('rank', 'b', 'h', 'i', 'held', 'size', 'acc')} != 0")
        _row_ends(node, f)
        f.line(node.call("write", "b", "h", "hk", "i", "held", "size", "sums", "acc"))
    f.line(f"return {OK}")
    return f.text()
