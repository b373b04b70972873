import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.facts import Facts, analyze
from attnc.masks import Band, diagonals, explicit
from attnc.passes.simplify_masks import simplified
from attnc_ir.attributes.mask import MASK, Causal, Corner, Everything, Nothing, Or
from attnc_ir.ops import AttendStep
from attnc_ir.reference.masks import MaskReader
from attnc_ir.text import parse
from planner_graphs import CONSTANTS, changed, masks


def node_of(mask, rows="N", keys="M", inputs=""):
    """A graph with one attention node, and the node."""
    graph = parse(
        f"""graph @g(%q: f64[2 x {rows} x 2], %k: f64[2 x {keys} x 2], %v: f64[2 x {keys} x 1]{inputs}) {{
          {CONSTANTS}
          %o = attend %q, %k, %v {{normalizer = softmax, mask = {mask}}}
          return %o
        }}"""
    )["g"]
    return graph, graph.ops[-1]


def step_of(mask):
    graph = parse(
        f"""graph @g(%q: f64[2 x 2], %k: f64[2 x 2], %v: f64[2 x 1]) {{
          {CONSTANTS}
          %c = cache {{heads = [2], key = f64[2], value = f64[1]}}
          %d = append %c, %k, %v
          %o = attend.step %q, %d {{normalizer = softmax, mask = {mask}}}
          return %o
        }}"""
    )["g"]
    return graph, graph.ops[-1]


def simple(mask, rows="N", keys="M"):
    graph, node = node_of(mask, rows, keys)
    return MASK.write(simplified(node, analyze(graph)))


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        # constants
        ("everything & causal(1)", "causal(1)"),
        ("nothing | causal(1)", "causal(1)"),
        ("nothing & predicate(%table[j % 3] > 0)", "nothing"),
        ("everything | prefix(3)", "everything"),
        ("~everything", "nothing"),
        ("~nothing", "everything"),
        ("prefix(0)", "nothing"),
        ("tensor(%yes)", "everything"),
        ("prefix(%two)", "prefix(2)"),
        # bands
        ("causal(2) & causal(-1)", "causal(-1)"),
        ("causal(2) | causal(-1)", "causal(2)"),
        ("causal(top_left) & window(4, 9, top_left)", "window(4, 0, top_left)"),
        ("causal(bottom_right) & window(4, 9)", "window(4, 0, bottom_right)"),
        ("causal(top_left) & causal(bottom_right)", "causal(top_left) & causal(bottom_right)"),
        ("window(4, 1, 0) & window(2, 3, 0)", "window(2, 1, top_left)"),
        ("window(4, 1, 2) & window(2, 3, 0)", "window(2, 3, top_left)"),
        ("window(1, 1, 5) & window(1, 1, 7)", "window(0, 0, 6)"),
        ("window(1, 1, 5) & window(1, 1, 9)", "nothing"),
        ("window(1, 1, 5) | window(1, 1, 8)", "window(5, 0, 9)"),
        ("window(1, 1, 5) | window(1, 1, 9)", "window(1, 1, 5) | window(1, 1, 9)"),
        ("causal(0) | window(0, 3, 0)", "causal(3)"),
        ("window(1099511627776, 1099511627776, 0)", "everything"),
        ("window(1099511627776, 3, 0)", "causal(3)"),
        ("causal(1099511627776)", "everything"),
        ("causal(-1099511627776)", "nothing"),
        # prefixes
        ("prefix(3) & prefix(5)", "prefix(3)"),
        ("prefix(3) | prefix(5)", "prefix(5)"),
        # absorption, contradiction, De Morgan
        ("causal(1) & (causal(1) | prefix(2))", "causal(1)"),
        ("(causal(1) | prefix(2)) & causal(1)", "causal(1)"),
        ("causal(1) | (causal(1) & prefix(2))", "causal(1)"),
        ("causal(1) & ~causal(1)", "nothing"),
        ("causal(1) | ~causal(1)", "everything"),
        ("~(~causal(1) & ~prefix(3))", "causal(1) | prefix(3)"),
        ("~(causal(1) & prefix(3))", "~(causal(1) & prefix(3))"),
        # predicates
        ("predicate(j >= 0)", "everything"),
        ("predicate(i < 0)", "nothing"),
        ("predicate(h < 2)", "everything"),
        ("predicate(h + 0 >= 1 or 1 > 2)", "predicate(h >= 1)"),
        ("predicate(j <= i)", "causal(top_left)"),
        ("predicate(i >= j)", "causal(top_left)"),
        ("predicate(j < i + 3)", "causal(2)"),
        ("predicate(not j > i)", "causal(top_left)"),
        ("predicate(j <= i and i - j <= 4)", "window(4, 0, top_left)"),
        ("predicate(2 * j - j == i + 1)", "window(0, 0, 1)"),
        ("predicate(abs(i - j) <= 4)", "window(4, 4, top_left)"),
        ("predicate(4 > abs(j - i - 1))", "window(2, 4, top_left)"),
        ("predicate(abs(i - j) > 4)", "predicate(abs(i - j) > 4)"),
        ("predicate(abs(j) <= i)", "causal(top_left)"),
        ("predicate(abs(i * j) <= 4)", "predicate(abs(i * j) <= 4)"),
        ("predicate(j < 7)", "prefix(7)"),
        ("predicate(j >= 7)", "~prefix(7)"),
        ("predicate(j <= i and %table[j % 3] > 0)", "causal(top_left) & predicate(%table[j % 3] > 0)"),
        ("predicate(j <= i and h == 1)", "causal(top_left) & predicate(h == 1)"),
        ("predicate(9223372036854775807 + j < 0)", "predicate(9223372036854775807 + j < 0)"),
    ],
)
def test_for_open_lengths(mask, expected):
    assert simple(mask) == expected


@pytest.mark.parametrize(
    ("rows", "keys", "mask", "expected"),
    [
        (4, 6, "window(3, 5, top_left)", "everything"),
        (4, 6, "window(2, 5, top_left)", "window(2, 5, top_left)"),
        (4, 6, "window(3, 4, top_left)", "causal(4)"),
        (4, 6, "window(5, 3, bottom_right)", "everything"),
        (4, 6, "window(5, 2, bottom_right)", "causal(4)"),
        (4, 6, "causal(5)", "everything"),
        (4, 6, "causal(4)", "causal(4)"),
        (4, 6, "causal(-4)", "nothing"),
        (4, 6, "causal(-3)", "causal(-3)"),
        (4, 6, "prefix(6)", "everything"),
        (4, 6, "prefix(5)", "prefix(5)"),
        (4, 6, "predicate(j < 6 and i < 4)", "everything"),
        (1, "M", "causal(bottom_right)", "everything"),
        (1, "M", "causal(top_left)", "causal(top_left)"),
        ("N", 1, "causal(top_left)", "everything"),
        ("N", 1, "window(0, 0, top_left)", "window(0, 0, top_left)"),
        ("N", 0, "causal(-1)", "causal(-1)"),
    ],
)
def test_known_lengths_decide(rows, keys, mask, expected):
    assert simple(mask, rows, keys) == expected


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        ("causal(bottom_right)", "everything"),
        ("causal(5)", "everything"),
        ("causal(-1)", "causal(-1)"),
        ("predicate(j <= i)", "everything"),
        ("window(4, 9, top_left)", "window(4, 9, top_left)"),
        ("causal & window(4, 9)", "window(4, 9, top_left)"),
        ("predicate(i - j < 4)", "window(3, 0, top_left)"),
        ("window(4, 1, -1)", "window(4, 1, -1)"),
    ],
)
def test_a_step_stands_at_the_last_key(mask, expected):
    graph, node = step_of(mask)
    assert MASK.write(simplified(node, analyze(graph))) == expected


def test_a_merged_term_takes_the_first_place_so_that_guards_keep_guarding():
    # causal(-1) rules out j >= 3 for three queries, and so guards the look-up.
    mask = simple("causal(-1) & predicate(%table[j] > 0) & causal(5)", rows=3, keys=9)
    assert mask == "causal(-1) & predicate(%table[j] > 0)"
    absorbed = simple("(causal(-1) | prefix(2)) & predicate(%table[j] > 0) & prefix(2)", rows=3, keys=9)
    assert absorbed == "prefix(2) & predicate(%table[j] > 0)"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("%ids[i] == %ids[j]", "documents(%ids)"),
        ("%ids[j] == %ids[i] and j <= i", "documents(%ids) & causal(top_left)"),
        ("%ids[i] == %batched[b, j]", "documents(%ids, %batched)"),
        ("%ids[i] != %ids[j]", "predicate(%ids[i] != %ids[j])"),
        ("not %ids[i] != %ids[j]", "documents(%ids)"),
        ("%ids[i] == %ids[i]", "predicate(%ids[i] == %ids[i])"),
        ("%ids[i] == %short[j]", "predicate(%ids[i] == %short[j])"),  # which may lie outside
        ("%times[i] == %times[j]", "predicate(%times[i] == %times[j])"),  # NaN
        ("%allowed[i, j]", "tensor(%allowed)"),
        ("not %allowed[i, j]", "~tensor(%allowed)"),
        ("%allowed[j, i]", "predicate(%allowed[j, i])"),
        ("%near[j]", "predicate(%near[j])"),
        ("j < %counts[b]", "prefix(%counts_count)"),
        ("%counts[b] > j or i >= j", "prefix(%counts_count) | causal(top_left)"),
        ("j >= %counts[b]", "~prefix(%counts_count)"),
        ("j <= %counts[b]", "predicate(j <= %counts[b])"),
        ("j < %counts[0]", "predicate(j < %counts[0])"),
    ],
)
def test_look_ups_by_position(condition, expected):
    graph, _ = changed(
        "simplify-masks",
        f"""graph @g(%q: f64[B x 2 x N x 2], %k: f64[B x 2 x N x 2], %ids: i64[N], %batched: i32[B x N], %short: i64[M],
                  %times: f64[N], %allowed: bool[N x N], %near: bool[M], %counts: i32[B]) {{
          %o = attend %q, %k, %k {{normalizer = softmax, mask = predicate({condition})}}
          return %o
        }}""",
    )
    assert MASK.write(graph.ops[-1].mask) == expected
    assert [op.mnemonic for op in graph.ops[:-1]] == (["constant", "max"] if "_count)" in expected else [])


def test_decisions_are_counted():
    _, counts = changed(
        "simplify-masks",
        """graph @g(%q: f64[N x 2], %k: f64[8 x 2], %v: f64[8 x 1]) {
          %o = attend %q, %k, %v {normalizer = softmax, mask = causal(0) & window(2, 3, 0) & prefix(8) & predicate(j >= i)}
          return %o
        }""",
    )
    assert counts == {
        "merged-terms": 2,
        "dropped-vacuous-term": 1,
        "dropped-neutral-term": 1,
        "recognised-predicate": 1,
    }


def allowed(node, mask, sizes, arrays):
    """The allowed positions `[B, H, N, M]`."""
    step = isinstance(node, AttendStep)
    reader = MaskReader(arrays, sizes, step=step, where="")
    grid = itertools.product(*map(range, sizes))
    return [reader.allowed(mask, b, h, sizes[3] - 1 if step else i, j) for b, h, i, j in grid]


ARRAYS = {
    "few": np.array([-2]),
    "two": np.array(2),
    "table": np.array([0.0, -1.0, 2.0]),
    "yes": np.array([True]),
}


@settings(max_examples=400)
@given(
    mask=masks(),
    n=st.integers(0, 4),
    m=st.integers(0, 5),
    open_rows=st.booleans(),
    open_keys=st.booleans(),
    data=st.data(),
)
def test_the_same_positions_are_allowed(mask, n, m, open_rows, open_keys, data):
    rows, keys = "N" if open_rows else n, "M" if open_keys else m
    extra = f", %allowed: bool[{rows} x {keys}], %ids: i64[{rows}], %key_ids: i64[{keys}]"
    graph, node = node_of(mask, rows, keys, extra)
    arrays = {
        **ARRAYS,
        "allowed": np.array(data.draw(st.lists(st.booleans(), min_size=n * m, max_size=n * m)), bool).reshape(
            n, m
        ),
        "ids": np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), np.int64),
        "key_ids": np.array(data.draw(st.lists(st.integers(0, 1), min_size=m, max_size=m)), np.int64),
    }
    simpler = simplified(node, analyze(graph))
    assert allowed(node, explicit(node), (1, 2, n, m), arrays) == allowed(node, simpler, (1, 2, n, m), arrays)


@settings(max_examples=200)
@given(mask=masks(step=True), m=st.integers(1, 6))
def test_the_same_positions_are_allowed_in_a_step(mask, m):
    graph, node = step_of(mask)
    simpler = simplified(node, analyze(graph))
    assert allowed(node, explicit(node), (1, 2, 1, m), ARRAYS) == allowed(node, simpler, (1, 2, 1, m), ARRAYS)


offsets = st.integers(-6, 6)


@given(
    low=st.none() | offsets,
    high=st.none() | offsets,
    n=st.integers(1, 5),
    m=st.integers(1, 5),
    bottom=st.booleans(),
)
def test_a_band_is_written_as_a_mask_that_reads_as_the_band(low, high, n, m, bottom):
    _, node = node_of("everything", n, m)
    mask = Band(bottom, low, high).mask(diagonals(node, bottom_right=bottom))
    if mask is None:
        assert bottom  # only those may have no name
        return
    shift = m - n if bottom else 0
    wanted = [
        (low is None or low <= j - i - shift) and (high is None or j - i - shift <= high)
        for i in range(n)
        for j in range(m)
    ]
    assert allowed(node, mask, (1, 1, n, m), {}) == wanted


def test_a_mask_that_is_all_there_is_stays_the_same_object():
    _, node = node_of("causal(bottom_right) | prefix(3)")
    assert simplified(node, Facts()) == Or((Causal(Corner.BOTTOM_RIGHT), *node.mask.terms[1:]))
    assert simplified(node_of("everything")[1], Facts()) == Everything()
    assert simplified(node_of("nothing")[1], Facts()) == Nothing()
