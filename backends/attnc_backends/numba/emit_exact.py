"""Dense hard-max and top-k: a scan over the keys that compares scores exactly.

Every score comes as a double with an error bound; two scores whose intervals do not meet are ordered by the
doubles. The few others are compared by error-free transforms, and if those are not exact either by a
super-accumulator. A bias behind a softcap, or one computed in floats, can leave a near-tie that neither
settles: such a row is marked and rational arithmetic decides it outside.
"""

from __future__ import annotations

from attnc_backends.numba.access import copy_element, load_double, store
from attnc_backends.numba.emit_elementwise import literal
from attnc_backends.numba.node import OK, UNSETTLED, Node
from attnc_backends.numba.source import Function
from attnc_ir.attributes.bias import Alibi
from attnc_ir.attributes.normalizer import Cut, Hardmax, Tie, TopK
from attnc_ir.ops import Attend
from attnc_ir.types import DType

_U = 2.0**-53


def emit_exact_rows(node: Node) -> list[str]:
    """`rows(first, last, scratch)` over single query rows, `blocks()` and `scratch()`; for hard-max and
    top-k.
    """
    parts = [node.allowed_function()] if node.has_residual else []
    if node.op.bias:
        parts.append(node.bounded_bias_function())
    parts += [_classify(node), _bounded_score(node), _exact_score(node), _compare(node), _beats(node)]
    rows = _hardmax_rows(node) if isinstance(node.op.normalizer, Hardmax) else _topk_rows(node)
    return [*parts, rows, _blocks(node), _scratch(node)]


def _blocks(node: Node) -> str:
    f = node.function("blocks", doc="how many query rows there are")
    s = node.sizes(f)
    f.line(f"return {s.b} * {s.hq} * {s.nq}")
    return f.text()


def _scratch(node: Node) -> str:
    f = node.function(
        "scratch", doc="bytes of scratch per worker: accumulator, query row, and the positions that are held"
    )
    s = node.sizes(f)
    normalizer = node.op.normalizer
    held, doubles = "0", f"{s.d}"
    if isinstance(normalizer, TopK):
        held, doubles = f"3 * min({normalizer.k}, {s.nk})", f"{s.d} + {s.dv}"
    elif isinstance(normalizer, Hardmax) and normalizer.tie is Tie.MEAN:
        held = s.nk
    f.line(f"return ACC_BYTES + 8 * ({doubles}) + 8 * ({held})")
    return f.text()


def _query_key(node: Node, f: Function, j: str = "j") -> tuple[str, str]:
    """Expressions for element `c` of query row and key row as doubles."""
    query, step = node.query_row(f)
    keys, key_step, element = node.keys_at(f)
    f.line(f"hk = h // {node.group(f)}\nq_row = {query}\nk_row = {keys} + ({j}) * {key_step}")
    return (
        load_double(node.op.key_type.dtype, f"q_row + c * {step}"),
        load_double(node.key_dtype, f"k_row + c * {element}"),
    )


def _classify(node: Node) -> str:
    """`classify(b, h, i, j)`: 0 finite (however large), 1 and -1 the infinities, 2 NaN.

    Under a softcap the class of the dot product stays visible although the score is finite, for then the
    accumulator cannot compare it.
    """
    f = node.function("classify", "b", "h", "i", "j", doc="0 a real number, 1 and -1 the infinities, 2 NaN")
    q, k = _query_key(node, f)
    f.line("kind = 0")
    with f.block(f"for c in range({node.sizes(f).d})"):
        f.line(f"kind = sum_class(kind, product_class({q}, {k}))")
    if node.op.scale == 0.0:
        f.line("kind = 2 if kind != 0 else 0")
    elif node.op.scale < 0.0:
        f.line("kind = -kind if kind != 2 else 2")
    if node.op.bias:
        f.line(f"own = {node.call('bounded_bias', 'b', 'h', 'i', 'j')}[3]")
        if node.op.softcap is None:
            f.line("kind = sum_class(kind, own)")
        else:
            f.line("kind = own if own != 0 and kind != 2 else kind")
    f.line("return kind")
    return f.text()


def _bounded_score(node: Node) -> str:
    """`bounded_score(b, h, i, j, k_row, query)`: a score, its error bound and its class; class 3 for a
    removed key, 4 where only rational arithmetic can tell.
    """
    op = node.op
    f = node.function(
        "bounded_score",
        "b",
        "h",
        "i",
        "j",
        "k_row",
        "query",
        doc="score, error bound, class; class 3 is removed, 4 unknown",
    )
    s = node.sizes(f)
    _, _, element = node.keys_at(f)
    key = node.key_dtype
    if key in (DType.F64, DType.F32):
        fast = "abs_dot_f64" if key is DType.F64 else "abs_dot_f64_f32"
        with f.block(f"if {element} == {key.itemsize}"):
            f.line(f"dot, size = {fast}(query, k_row, {s.d})")
        with f.block("else"):
            _plain_dot(f, s.d, load_double(key, f"k_row + c * {element}"))
    else:
        _plain_dot(f, s.d, load_double(key, f"k_row + c * {element}"))
    terms = 0
    if op.scale != 1.0:
        f.line(f"dot *= {literal(op.scale)}\nsize *= {literal(abs(op.scale))}")
    if op.softcap is not None and op.bias:
        cap = literal(op.softcap)
        # tanh grows by less than its argument; the library's is good to a few units in the last place.
        f.line(f"dot = {cap} * math.tanh(dot / {cap})\nsize += 16.0 * abs(dot)")
    f.line("error = 0.0")
    if op.bias:
        terms = len(op.bias)
        f.line(f"bias, bias_size, error, kind = {node.call('bounded_bias', 'b', 'h', 'i', 'j')}")
        with f.block("if kind >= 3"):
            f.line("return 0.0, math.inf, kind")
        f.line("dot += bias\nsize += bias_size")
    # Any order of n additions of rounded products is off by at most (n + 1) u times the sum of magnitudes, to
    # first order; the slack covers the rest, and the last term what underflow can take away.
    factor = max(1.0, abs(op.scale), op.softcap if op.softcap is not None and op.bias else 1.0)
    tiny = literal(factor * 2e-323)
    f.line(f"error += ({s.d} + {terms + 8}) * {_U!r} * size + ({s.d} + {terms + 1}) * {tiny}")
    with f.block("if math.isfinite(dot) and math.isfinite(error)"):
        f.line("return dot, error, 0")
    f.line(f"kind = {node.call('classify', 'b', 'h', 'i', 'j')}")
    # A real number too large for a double: nothing is known of it until it is compared exactly.
    f.line("return 0.0, math.inf, kind")
    return f.text()


def _plain_dot(f: Function, width: str, key: str) -> None:
    f.line("dot, size = 0.0, 0.0")
    with f.block(f"for c in range({width})"):
        f.line(f"p = load_f64(query + 8 * c) * {key}\ndot += p\nsize += abs(p)")


def _exact_score(node: Node) -> str:
    """`exact_score(b, h, i, j)`: the score as a double, and whether that double is exactly the score."""
    op = node.op
    f = node.function(
        "exact_score",
        "b",
        "h",
        "i",
        "j",
        doc="a score by error-free transforms: its double, and whether that is all of it",
    )
    q, k = _query_key(node, f)
    f.line("s, es = 0.0, 0.0")
    with f.block(f"for c in range({node.sizes(f).d})"):
        f.line(f"p, ep = mul_bounded({q}, 0.0, {k}, 0.0)\ns, es = add_bounded(s, es, p, ep)")
    if op.scale != 1.0:
        f.line(f"s, es = mul_bounded(s, es, {literal(op.scale)}, 0.0)")
    for term in op.bias:
        if isinstance(term, Alibi):
            slope = load_double(term.slopes.tensor.dtype, node.context.element(f, term.slopes, ["h"]))
            f.line(f"x, ex = mul_bounded({slope}, 0.0, np.float64(j - i), 0.0)")
        else:
            value, error = node.term(f, term, exact=True)
            f.line(f"x, ex = {value}, {error}")
        f.line("s, es = add_bounded(s, es, x, ex)")
    f.line("return s, es == 0.0 and math.isfinite(s)")
    return f.text()


def _compare(node: Node) -> str:
    """`compare(b, h, i, j1, j2, acc)`: the sign of the difference of two real scores, or 2 when it is not
    settled.
    """
    op = node.op
    f = node.function(
        "compare",
        "b",
        "h",
        "i",
        "j1",
        "j2",
        "acc",
        doc="sign of score j1 less score j2, both real; 2 if unsettled",
    )
    if op.softcap is not None and op.bias:
        _compare_capped(node, f)
        return f.text()
    f.line(
        f"s1, exact1 = {node.call('exact_score', 'b', 'h', 'i', 'j1')}\ns2, exact2 = {node.call('exact_score', 'b', 'h', 'i', 'j2')}"
    )
    with f.block("if exact1 and exact2"):
        f.line("return 1 if s1 > s2 else (-1 if s1 < s2 else 0)")
    if node.may_be_unsettled:
        for j in ("j1", "j2"):
            with f.block(f"if {node.call('bounded_bias', 'b', 'h', 'i', j)}[2] != 0.0"):
                f.line("return 2")
    f.line("shared_acc_clear(frame, acc)")
    _accumulate_scores(node, f)
    for j, sign in (("j1", "1.0"), ("j2", "-1.0")):
        node.accumulate_bias(f, j, sign)
    f.line("return shared_acc_sign(frame, acc)")
    return f.text()


def _accumulate_scores(node: Node, f: Function) -> None:
    scale = node.op.scale
    for j, sign in (("j1", 1.0), ("j2", -1.0)):
        q, k = _query_key(node, f, j)
        with f.block(f"for c in range({node.sizes(f).d})"):
            if scale == 1.0:
                f.line(f"shared_acc_add_product(frame, acc, {sign!r} * {q}, {k})")
            else:
                f.line(f"shared_acc_add_product3(frame, acc, {literal(sign * scale)}, {q}, {k})")


def _compare_capped(node: Node, f: Function) -> None:
    """tanh is strictly increasing: where its arguments and the biases are ordered alike, so are the scores. What
    is ordered one way by tanh and the other way by the biases stays open.
    """
    for j in ("j1", "j2"):
        with f.block(f"if {node.call('bounded_bias', 'b', 'h', 'i', j)}[2] != 0.0"):
            f.line("return 2")
        with f.block(f"if {node.call('classify', 'b', 'h', 'i', j)} != 0"):
            f.line("return 2")
    f.line("shared_acc_clear(frame, acc)")
    _accumulate_scores(node, f)
    f.line("order = shared_acc_sign(frame, acc)\nshared_acc_clear(frame, acc)")
    for j, sign in (("j1", "1.0"), ("j2", "-1.0")):
        node.accumulate_bias(f, j, sign)
    f.line("other = shared_acc_sign(frame, acc)")
    with f.block("if order * other < 0"):
        f.line("return 2")
    f.line("return order if order != 0 else other")


def _beats(node: Node) -> str:
    """`beats(b, h, i, j1, s1, e1, kind1, j2, s2, e2, kind2, acc)`: compare two scores, filter first."""
    f = node.function(
        "beats", "b", "h", "i", "j1", "s1", "e1", "kind1", "j2", "s2", "e2", "kind2", "acc",
        doc="sign of score j1 less score j2; 2 if unsettled",
    )  # fmt: skip
    if node.op.softcap is not None and node.op.bias:
        with f.block("if kind1 != 0 or kind2 != 0"):
            f.line("return 2")
    else:
        with f.block("if kind1 != kind2"):
            f.line("return 1 if kind1 > kind2 else -1")
        with f.block("if kind1 != 0"):
            f.line("return 0")
    with f.block("if s1 - s2 > (e1 + e2) * 1.0000001"):
        f.line("return 1")
    with f.block("if s2 - s1 > (e1 + e2) * 1.0000001"):
        f.line("return -1")
    f.line(f"return {node.call('compare', 'b', 'h', 'i', 'j1', 'j2', 'acc')}")
    return f.text()


def _row_start(node: Node, f: Function) -> None:
    """Coordinates of row `unit`, its key range, its query as doubles in scratch, and the lse sums."""
    s = node.sizes(f)
    f.line(f"h = (unit // {s.nq}) % {s.hq}\nb = unit // ({s.nq} * {s.hq})\nhk = h // {node.group(f)}")
    f.line(f"i = unit % {s.nq}" if node.cache is None else f"i = {s.nk} - 1")
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
        f.line(f"x = {node.call('float_score', 'b', 'h', 'i', 'j')}")
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
    with f.block("if count == 0"):
        node.empty_lines(f)
        if node.op.empty.keyword != "error":
            f.line("continue")
    with f.block("if bad"):
        with f.block(f"for c in range({s.dv})"):
            f.line(store(dtype, f"{out} + c * {step}", "math.nan"))
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


def _float_score(node: Node) -> str:
    """`float_score(b, h, i, j)`: the score in doubles, for log-sum-exp."""
    op = node.op
    f = node.function("float_score", "b", "h", "i", "j", doc="the score in doubles")
    q, k = _query_key(node, f)
    f.line("s = 0.0")
    with f.block(f"for c in range({node.sizes(f).d})"):
        f.line(f"s += {q} * {k}")
    f.line(f"s *= {literal(op.scale)}")
    if op.softcap is not None:
        f.line(f"s = {literal(op.softcap)} * math.tanh(s / {literal(op.softcap)})")
    if op.bias:
        f.line(f"s += {node.call('bounded_bias', 'b', 'h', 'i', 'j')}[0]")
    f.line("return s")
    return f.text()


def emit_float_score(node: Node) -> list[str]:
    """The plain score, where something needs it."""
    return [_float_score(node)] if node.op.lse is not None or isinstance(node.op.normalizer, TopK) else []


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

    def worse(x: str, y: str) -> str:
        """Whether held item `x` leaves before held item `y`: `order < 0`, position deciding among equals."""
        args = []
        for item in (x, y):
            args += [f"load_i64(held + 24 * ({item}))", f"load_f64(held + 24 * ({item}) + 8)",
                     f"abs(load_f64(held + 24 * ({item}) + 16))", f"held_kind(held + 24 * ({item}))"]  # fmt: skip
        return node.call("beats", "b", "h", "i", *args, "acc")

    tie_sign = ">" if normalizer.tie is Cut.FIRST else "<"

    def sift(condition: str, other: str) -> None:
        f.line(f"order = {worse(condition, other)}")
        if node.may_be_unsettled:
            with f.block("if order == 2"):
                f.line("unsettled = True\nbreak")
        place, parent = f"load_i64(held + 24 * {condition})", f"load_i64(held + 24 * {other})"
        f.line(f"leaves = order < 0 or (order == 0 and {place} {tie_sign} {parent})")

    with f.block("for unit in range(first, last)"):
        _row_start(node, f)
        f.line("size = 0")
        with f.block("for j in range(lo, hi)"):
            _key_score(node, f)
            with f.block("if unsettled"):
                f.line("continue")
            with f.block("if size < most"):
                # The error carries the class: held_kind reads it back.
                f.line("hold(held + 24 * size, j, s, e, kind)\nnode = size\nsize += 1")
                with f.block("while node > 0"):
                    f.line("parent = (node - 1) // 2")
                    sift("node", "parent")
                    with f.block("if not leaves"):
                        f.line("break")
                    f.line("swap_held(held + 24 * node, held + 24 * parent)\nnode = parent")
                f.line("continue")
            root = ["load_i64(held)", "load_f64(held + 8)", "abs(load_f64(held + 16))", "held_kind(held)"]
            f.line(f"order = {node.call('beats', 'b', 'h', 'i', 'j', 's', 'e', 'kind', *root, 'acc')}")
            if node.may_be_unsettled:
                with f.block("if order == 2"):
                    f.line("unsettled = True\ncontinue")
            # Keys come in increasing position, so an equal one replaces the root only where later positions
            # are preferred.
            keeps = "order <= 0" if normalizer.tie is Cut.FIRST else "order < 0"
            with f.block(f"if {keeps}"):
                f.line("continue")
            f.line("hold(held, j, s, e, kind)\nnode = 0")
            with f.block("while 2 * node + 1 < size"):
                f.line("child = 2 * node + 1")
                with f.block("if child + 1 < size"):
                    f.line("other = child + 1")
                    sift("other", "child")
                    f.line("child = other if leaves else child")
                sift("child", "node")
                with f.block("if not leaves"):
                    f.line("break")
                f.line("swap_held(held + 24 * node, held + 24 * child)\nnode = child")
        _row_ends(node, f)
        _write_topk(node, f)
    f.line(f"return {OK}")
    return f.text()


def _write_topk(node: Node, f: Function) -> None:
    s = node.sizes(f)
    dtype = node.op.value_type.dtype
    out, step = node.output_row(f)
    values, value_step, element = node.values_at(f)
    f.line(f"values = {values}\nsort_held(held, size)\ntop, total = -math.inf, 0.0")
    with f.block("for place in range(size)"):
        f.line(f"x = {node.call('float_score', 'b', 'h', 'i', 'load_i64(held + 24 * place)')}")
        f.line("store_f64(held + 24 * place + 8, x)")
        with f.block("if x > top or x != x"):
            f.line("top = x")
    with f.block(f"for c in range({s.dv})"):
        f.line("store_f64(sums + 8 * c, 0.0)")
    with f.block("for place in range(size)"):
        f.line("weight = math.exp(load_f64(held + 24 * place + 8) - top)\ntotal += weight")
        f.line(f"row = values + load_i64(held + 24 * place) * {value_step}")
        with f.block(f"for c in range({s.dv})"):
            f.line(
                f"store_f64(sums + 8 * c, load_f64(sums + 8 * c) + weight * {load_double(dtype, f'row + c * {element}')})"
            )
    with f.block(f"for c in range({s.dv})"):
        f.line(store(dtype, f"{out} + c * {step}", "load_f64(sums + 8 * c) / total"))
