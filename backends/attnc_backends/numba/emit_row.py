"""What makers write for every row, whatever finds the winner or weighs the values.

Names that the written statements use: a row has batch `b`, query head `h`, key head `hk`, position `i`, and sees
the keys from `lo` to `hi`; `unit` numbers units of work; `scratch` begins with that of the dense rows.
"""

from __future__ import annotations

from attnc_backends.numba.access import copy_row, load_double, store
from attnc_backends.numba.node import Node, tie_of
from attnc_backends.numba.source import Function
from attnc_ir.attributes.normalizer import Tie
from attnc_ir.ops import AttendStep


def step_row(node: Node, f: Function) -> None:
    """Statements for the coordinates of query row `unit` of a step; the queries after next are asked for."""
    s = node.sizes(f)
    place = "h = unit\nb = 0" if s.b == "1" else f"h = unit % {s.hq}\nb = unit // {s.hq}"
    f.line(f"{place}\nhk = h // {node.group(f)}\ni = {s.nk} - 1")
    assert isinstance(node.op, AttendStep)
    node.context.prefetch_next(f, node.op.query, ["b", "h", "0"])


def any_row(node: Node, f: Function) -> None:
    """Statements for the coordinates of query row `unit`, of a batch or of a step."""
    s = node.sizes(f)
    f.line(f"h = (unit // {s.nq}) % {s.hq}\nb = unit // ({s.nq} * {s.hq})\nhk = h // {node.group(f)}")
    f.line(f"i = unit % {s.nq}" if node.cache is None else f"i = {s.nk} - 1")


def key_head(node: Node, f: Function) -> None:
    """Statements for the coordinates of key head `unit` and the first query head that reads it."""
    s, g = node.sizes(f), node.group(f)
    f.line(f"hk = unit % {s.hk}\nb = unit // {s.hk}\nh = hk * {g}")


def rows_of_head(node: Node, f: Function) -> str:
    """How many query rows read one key head."""
    s, g = node.sizes(f), node.group(f)
    return f.derived("per_head", g if node.cache is not None else s.nq if g == "1" else f"{g} * {s.nq}")


def row_of_head(node: Node, f: Function, row: str = "r") -> None:
    """Statements for `h` and `i` of `row` of key head `hk`: heads of a group side by side, so that ranges are
    alike.
    """
    g = node.group(f)
    if node.cache is not None:
        f.line(f"h = hk * {g} + {row}\ni = {node.sizes(f).nk} - 1")
    elif g == "1":
        f.line(f"h = hk\ni = {row}")
    else:
        f.line(f"h = hk * {g} + {row} % {g}\ni = {row} // {g}")


def lay_out(f: Function, pieces: list[tuple[str, str]]) -> str:
    """Statements that name the address of each piece of scratch (name and bytes), from a cache line on; what is
    behind the last is returned.
    """
    place = "(scratch + 63) // 64 * 64"
    for piece, size in pieces:
        f.line(f"{piece} = {place}")
        place = f"{piece} + {size}"
    return place


def batch_row(node: Node, f: Function) -> str:
    """The number of row `b, h, i` of a batch among all query rows."""
    s = node.sizes(f)
    return f"(b * {s.hq} + h) * {s.nq} + i"


def group_of(node: Node, f: Function) -> str:
    """The query heads that read key head `hk`, to loop over."""
    g = node.group(f)
    return f"range(hk * {g}, hk * {g} + {g})"


def skip_empty(node: Node, f: Function, nothing: str = "hi == lo") -> None:
    """Statements for a row that sees no key: what the node says of empty rows, then the next row."""
    with f.block(f"if {nothing}"):
        node.empty_lines(f)
        if node.op.empty.keyword != "error":
            f.line("continue")


def scan_rows(node: Node, f: Function, first: str, end: str) -> None:
    """Statements that leave query rows `first` up to `end` to the dense scan."""
    f.line(f"status = {node.dense.call('rows', first, end, 'scratch')}")
    with f.block("if status != 0"):
        f.line("return status")


def scan_row(node: Node, f: Function, row: str) -> None:
    """Statements that leave the query row with this number to the dense scan."""
    f.line(f"row = {row}")
    scan_rows(node, f, "row", "row + 1")


def answer_or_scan(node: Node, f: Function, ready: str, answer: str, row: str) -> None:
    """Statements that call `answer` where `ready`; what is not `ready`, or answers other than 0, is scanned."""
    f.line("answered = -1")
    with f.block(f"if {ready}"):
        f.line(f"answered = {answer}")
    with f.block("if answered != 0"):
        scan_row(node, f, row)


def read_finite(node: Node, f: Function) -> None:
    """Statements that count in `finite` the keys from the first on that are finite, up to `hi`; `whole` until
    one is not.
    """
    _, key_step, key_element = node.keys_at(f)
    with f.block("while whole and finite < hi"):
        with f.block(f"for c in range({node.sizes(f).d})"):
            key = load_double(node.key_dtype, f"keys + finite * {key_step} + c * {key_element}")
            f.line(f"whole = whole and math.isfinite({key})")
        f.line("finite += 1 if whole else 0")


def turned(node: Node) -> str:
    """The sign that a query takes for a scale below zero: the largest score is then that of the smallest product."""
    return "-" if node.op.scale < 0 else ""


def read_query(node: Node, f: Function) -> None:
    """Statements that write the query row to `query` as doubles."""
    source, step = node.query_row(f)
    f.line(f"source = {source}")
    with f.block(f"for c in range({node.sizes(f).d})"):
        element = load_double(node.op.key_type.dtype, f"source + c * {step}")
        f.line(f"store_f64(query + 8 * c, {turned(node)}{element})")


def read_plane_query(node: Node, f: Function, axes: tuple[int, int] = (0, 1)) -> None:
    """Statements that set `qx, qy`, the elements `axes` of the query; a query that is not finite returns -1."""
    query, step = node.query_row(f)
    f.line(f"q_row = {query}")
    for axis, name in zip(axes, ("qx", "qy"), strict=True):
        element = load_double(node.op.key_type.dtype, f"q_row + {axis} * {step}")
        f.line(f"{name} = {turned(node)}{element}")
    with f.block("if not (math.isfinite(qx) and math.isfinite(qy))"):
        f.line("return -1")


def write_copy(node: Node, f: Function, out: tuple[str, str], found: str, element: str) -> None:
    """Statements that copy the value row at `found`, whose elements lie `element` bytes apart, to `out` (address
    and step).
    """
    copy_row(f, node.op.value_type.dtype.itemsize, node.sizes(f).dv, out, (found, element))


def write_doubles(node: Node, f: Function, out: tuple[str, str], row: str) -> None:
    """Statements that write the doubles at `row` to `out` (address and step), each rounded to the node's type."""
    target, step = out
    with f.block(f"for c in range({node.sizes(f).dv})"):
        f.line(store(node.op.value_type.dtype, f"{target} + c * {step}", f"load_f64({row} + 8 * c)"))


def write_found(
    node: Node, f: Function, out: tuple[str, str], found: str, element: str, *, mean: str
) -> None:
    """Statements that write the row that won: the doubles at `mean` where ties are averaged, else the value row at
    `found`.
    """
    if tie_of(node.op) is Tie.MEAN:
        write_doubles(node, f, out, mean)
    else:
        write_copy(node, f, out, found, element)
