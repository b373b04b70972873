"""Scores that are compared exactly: what the scans of hard-max and top-k are made of.

Every score comes as a double with an error bound; two scores whose intervals do not meet are ordered by the
doubles. The few others are compared by error-free transforms, and if those are not exact either by a
super-accumulator. A bias behind a softcap, or one computed in floats, can leave a near-tie that neither
settles: the comparison then says so.
"""

from __future__ import annotations

from attnc_backends.numba.access import load_double
from attnc_backends.numba.emit_elementwise import literal
from attnc_backends.numba.node import Node
from attnc_backends.numba.source import Function
from attnc_ir.attributes.bias import Alibi
from attnc_ir.attributes.normalizer import TopK
from attnc_ir.types import DType

_U = 2.0**-53


def emit_scores(node: Node) -> list[str]:
    """`bounded_score`, `beats` and, where weights or log-sum-exp need it, `float_score`; what they call
    first.
    """
    parts = [node.allowed_function()] if node.has_residual else []
    if node.op.bias:
        parts.append(node.bounded_bias_function())
    if node.op.lse is not None or isinstance(node.op.normalizer, TopK):
        parts.append(_float_score(node))
    return [*parts, _classify(node), _bounded_score(node), _exact_score(node), _compare(node), _beats(node)]


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


def _float_score(node: Node) -> str:
    """`float_score(b, h, i, j, acc)`: the score in doubles, for weights and log-sum-exp."""
    op = node.op
    f = node.function("float_score", "b", "h", "i", "j", "acc", doc="the score in doubles")
    q, k = _query_key(node, f)
    width = node.sizes(f).d
    f.line("s = 0.0")
    with f.block(f"for c in range({width})"):
        f.line(f"s += {q} * {k}")
    f.line(f"s *= {literal(op.scale)}")
    with f.block("if not math.isfinite(s)"):
        # Of real numbers only a product or a partial sum was too large; what it all adds up to need not be.
        f.line("kind = 0")
        with f.block(f"for c in range({width})"):
            f.line(f"kind = sum_class(kind, product_class({q}, {k}))")
        with f.block("if kind == 0"):
            f.line("shared_acc_clear(frame, acc)")
            with f.block(f"for c in range({width})"):
                f.line(f"shared_acc_add_product3(frame, acc, {literal(op.scale)}, {q}, {k})")
            f.line("s = shared_acc_round(frame, acc)")
    if op.softcap is not None:
        f.line(f"s = {literal(op.softcap)} * math.tanh(s / {literal(op.softcap)})")
    if op.bias:
        f.line(f"s += {node.call('bounded_bias', 'b', 'h', 'i', 'j')}[0]")
    f.line("return s")
    return f.text()
