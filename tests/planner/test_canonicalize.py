import pytest

from attnc.passes.canonicalize import tidied
from attnc.passes.constants import stored
from attnc_ir.kinds import kind_of
from attnc_ir.op import attribute_fields
from attnc_ir.ops import Attend, Constant
from attnc_ir.text import format_module
from attnc_ir.types import DType
from planner_graphs import apply, changed


def body(text, pipeline="canonicalize,dce"):
    """The ops after canonicalisation, as text, and the statistics."""
    module, counts = apply(pipeline, text)
    lines = [line.strip() for line in format_module(module).splitlines()]
    return [
        line
        for line in lines
        if (line.startswith(("%", "return")) and "=" in line) or line.startswith("return")
    ], counts


def mask_text(node):
    (kind,) = (kind_of(spec) for spec in attribute_fields(type(node)) if spec.name == "mask")
    return kind.write(node.mask)


@pytest.mark.parametrize(
    ("op", "word"),
    [
        ("slice %x {start = 0, stop = 4}", "dropped-identity"),
        ("broadcast %x {shape = [2 x 4]}", "dropped-identity"),
        ("concat %x", "dropped-identity"),
        ("convert %x {to = f64}", "dropped-identity"),
        ("add %x, %minus", "dropped-identity"),
        ("add %minus, %x", "dropped-identity"),
        ("sub %x, %zero", "dropped-identity"),
        ("mul %x, %one", "dropped-identity"),
        ("mul %one, %x", "dropped-identity"),
        ("div %x, %one", "dropped-identity"),
        ("select %yes, %x, %y", "took-known-branch"),
        ("select %no, %y, %x", "took-known-branch"),
        ("select %c, %x, %x", "dropped-identity"),
        ("neg %nx", "dropped-double-negation"),
        ("slice %xy {start = 0, stop = 4}", "merged-movement"),
    ],
)
def test_an_op_that_gives_its_operand_goes(op, word):
    lines, counts = body(
        f"""graph @g(%x: f64[2 x 4], %y: f64[2 x 4], %c: bool[2 x 4]) {{
          %one = constant {{type = f64[4], values = [1.0]}}
          %zero = constant {{type = f64[4], values = [0.0]}}
          %minus = constant {{type = f64[4], values = [-0.0]}}
          %yes = constant {{type = bool[1], values = [1]}}
          %no = constant {{type = bool[1], values = [0]}}
          %nx = neg %x
          %xy = concat %x, %y
          %r = {op}
          return %r
        }}"""
    )
    assert lines == ["return %x"]
    assert counts[word] == 1


@pytest.mark.parametrize(
    "op",
    [
        "add %x, %zero",  # -0.0 + 0.0 is 0.0
        "sub %x, %minus",  # -0.0 - -0.0 is 0.0
        "mul %x, %two",
        "div %one, %x",
        "add %small, %minus",  # the result is larger than its operand
        "slice %x {start = 0, stop = 3}",
        "convert %x {to = f32}",
        "concat %x, %x",
    ],
)
def test_what_only_looks_like_an_identity_stays(op):
    _, counts = body(
        f"""graph @g(%x: f64[2 x 4], %small: f64[1 x 4]) {{
          %one = constant {{type = f64[4], values = [1.0]}}
          %two = constant {{type = f64[4], values = [2.0]}}
          %zero = constant {{type = f64[4], values = [0.0]}}
          %minus = constant {{type = f64[2 x 4], values = [-0.0]}}
          %r = {op}
          return %r
        }}"""
    )
    assert "dropped-identity" not in counts


@pytest.mark.parametrize(
    ("there", "goes"),
    [("f64", True), ("f32", True), ("i64", True), ("i32", True), ("f16", False), ("bool", False)],
)
def test_widening_and_coming_back_is_nothing(there, goes):
    source = "i32" if there.startswith("i") else "f32"
    _, counts = body(
        f"""graph @g(%x: {source}[4]) {{
          %y = convert %x {{to = {there}}}
          %z = convert %y {{to = {source}}}
          return %z
        }}"""
    )
    assert bool(counts) is goes


def test_movements_of_movements_become_one():
    lines, counts = body(
        """graph @g(%x: f64[2 x 8], %y: f64[2 x 3]) {
          %a = slice %x {start = 2, stop = 7}
          %b = slice %a {start = 1, stop = 3}
          %c = concat %b, %y
          %d = concat %c, %b
          %e = concat %d, %y {axis = 0}
          %f = slice %d {start = 3, stop = 5}
          return %e, %f
        }""".replace("%e = concat %d, %y {axis = 0}", "%e = concat %d, %d {axis = 0}")
    )
    assert "%b = slice %x {start = 3, stop = 5}" in lines
    assert "%d = concat %b, %y, %b" in lines
    assert "%e = concat %d, %d {axis = 0}" in lines
    assert "%f = slice %y {start = 1, stop = 3}" in lines
    assert counts["merged-movement"] == 3


def test_constants_are_folded_where_the_result_is_exact():
    graph, counts = changed(
        "canonicalize,dce",
        """graph @g(%x: f64[3]) {
          %a = constant {type = f64[3], values = [1, 2, 4]}
          %b = constant {type = f64[1], values = [0.5]}
          %c = mul %a, %b
          %d = sub %c, %a
          %e = lt %d, %b
          return %d, %e
        }""",
    )
    assert [op.values for op in graph.ops] == [(-0.5, -1.0, -2.0), (1.0, 1.0, 1.0)]
    assert counts["folded-constant"] == 3


@pytest.mark.parametrize(
    "op",
    [
        "add %tenth, %third",  # rounds
        "div %one, %third",
        "mul %huge, %huge",  # overflows
        "div %one, %zero",
        "min %zero, %minus",  # which zero is not said
        "add %nan, %one",
    ],
)
def test_constants_are_not_folded_where_rounding_decides(op):
    graph, _ = changed(
        "canonicalize,dce",
        f"""graph @g(%x: f64[1]) {{
          %tenth = constant {{type = f64[1], values = [0.1]}}
          %third = constant {{type = f64[1], values = [0.3]}}
          %one = constant {{type = f64[1], values = [1.0]}}
          %zero = constant {{type = f64[1], values = [0.0]}}
          %minus = constant {{type = f64[1], values = [-0.0]}}
          %huge = constant {{type = f64[1], values = [1e300]}}
          %nan = constant {{type = f64[1], values = [nan]}}
          %r = {op}
          return %r
        }}""",
    )
    assert not isinstance(graph.ops[-1], Constant)


def test_a_narrow_constant_is_folded_as_it_is_stored():
    # 0.1 in f32 times 2 is exact, and is not 0.2 in f64.
    graph, _ = changed(
        "canonicalize,dce",
        """graph @g(%x: f32[1]) {
          %a = constant {type = f32[1], values = [0.1]}
          %b = constant {type = f32[1], values = [2.0]}
          %c = mul %a, %b
          return %c
        }""",
    )
    assert graph.ops[-1].values == (2 * stored([0.1], DType.F32)[0],)


@pytest.mark.parametrize(
    ("rows", "keys", "mask", "expected"),
    [
        ("N", "N", "causal", "causal(top_left)"),
        ("N", "N", "causal(bottom_right)", "causal(top_left)"),
        ("N", "M", "causal(bottom_right)", "causal(bottom_right)"),
        ("N", "M", "causal(0)", "causal(top_left)"),
        ("3", "5", "causal(bottom_right)", "causal(2)"),
        ("5", "3", "causal(bottom_right) & window(4, 0)", "causal(-2) & window(4, 0, -2)"),
        ("N", "M", "causal(3) & window(4, 0)", "causal(3) & window(4, 0, 3)"),
        ("N", "N", "window(4, 0) | causal", "window(4, 0, top_left) | causal(top_left)"),
        ("N", "M", "~~prefix(3) & prefix(2) & prefix(3)", "prefix(3) & prefix(2)"),
        ("N", "M", "prefix(3) | (prefix(3) | prefix(3))", "prefix(3)"),
    ],
)
def test_alignments_are_written_out_in_one_way(rows, keys, mask, expected):
    graph, _ = changed(
        "canonicalize",
        f"""graph @g(%q: f64[{rows} x 2], %k: f64[{keys} x 2], %v: f64[{keys} x 1]) {{
          %o = attend %q, %k, %v {{normalizer = softmax, mask = {mask}}}
          return %o
        }}""",
    )
    assert mask_text(graph.ops[0]) == expected
    assert tidied(graph.ops[0].mask) == graph.ops[0].mask


def test_in_a_step_both_corners_are_the_last_key():
    graph, counts = changed(
        "canonicalize",
        """graph @g(%q: f64[2], %k: f64[2], %v: f64[1]) {
          %c = cache {heads = [], key = f64[2], value = f64[1]}
          %d = append %c, %k, %v
          %o = attend.step %q, %d {normalizer = softmax, mask = causal(bottom_right) & window(4, 0)}
          return %o
        }""",
    )
    assert mask_text(graph.ops[-1]) == "causal(top_left) & window(4, 0, top_left)"
    assert counts == {"wrote-out-alignment": 1}


def test_a_log_sum_exp_nobody_reads_is_not_asked_for():
    text = """graph @g(%q: f64[N x 2], %k: f64[M x 2], %v: f64[M x 1]) {
      %o, %l = attend %q, %k, %v {normalizer = softmax}
      %p, %m = attend %q, %k, %v {normalizer = softmax}
      %n = neg %m
      return %o, %p, %n
    }"""
    graph, counts = changed("canonicalize", text)
    assert [op.with_lse for op in graph.ops if isinstance(op, Attend)] == [False, True]
    assert counts == {"dropped-unread-lse": 1}
