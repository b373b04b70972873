"""Columns that cannot change which key wins are left out; drawn graphs mean the same before and after."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.facts import analyze, columns
from attnc.pipeline import DEFAULT_PIPELINE
from attnc_ir.attributes.strategy import Extremum, Hull, Sweep, Uniform
from attnc_ir.ops import Attend
from attnc_ir.text import parse
from planner_graphs import assert_same_meaning, changed

# Columns by name: free inputs, their negatives, constants, numbers that are proved to be integers, the same in every row.
COLUMNS = """
  %zero = constant {type = f64[1], values = [0.0]}
  %two = constant {type = f64[1], values = [2.0]}
  %table = constant {type = f64[2 x 1], values = [3.0, 3.0]}
  %QZ = broadcast %zero {shape = [N x 1]}
  %QT = broadcast %two {shape = [N x 1]}
  %QI = iota {type = f64[N x 1], axis = 0}
  %QM = neg %QI
  %QN = neg %qa
  %KZ = broadcast %zero {shape = [M x 1]}
  %KT = broadcast %two {shape = [M x 1]}
  %KI = iota {type = f64[M x 1], axis = 0}
  %KM = neg %KI
  %KN = neg %ka
  %KO = convert %one {to = f64}
  %KS = broadcast %KO {shape = [M x 1]}
  %KF = convert %numbers {to = f64}
  %KG = mul %KF, %two
"""
QUERIES = {"a": "%qa", "b": "%qb", "n": "%QN", "z": "%QZ", "t": "%QT", "i": "%QI", "m": "%QM"}
KEYS = {"a": "%ka", "b": "%kb", "n": "%KN", "z": "%KZ", "t": "%KT", "i": "%KI", "m": "%KM", "s": "%KS", "f": "%KF", "g": "%KG"}  # fmt: skip


def spec(query, key, attributes="normalizer = hardmax(last)", results=""):
    """Query and key with the columns that the letters name."""
    inputs = "%qa: f64[N x 1], %qb: f64[N x 1], %ka: f64[M x 1], %kb: f64[M x 1], %numbers: i32[M x 1], %one: i32[1 x 1], %v: f64[M x 2]"
    parts = [", ".join(table[x] for x in letters) for table, letters in ((QUERIES, query), (KEYS, key))]
    return f"""graph @g({inputs}) {{{COLUMNS}
  %q = concat {parts[0]}
  %k = concat {parts[1]}
  %o{results} = attend %q, %k, %v {{{attributes}}}
  return %o{results}
}}"""


def narrowed(text, pipeline="narrow-keys"):
    graph, counts = changed(pipeline, text)
    (node,) = (op for op in graph.ops if isinstance(op, Attend))
    return node, counts, graph


@pytest.mark.parametrize(
    ("query", "key", "width", "counts"),
    [
        ("ab", "az", 1, {"dropped-column": 1}),  # a zero key column, whatever the query
        ("az", "ab", 1, {"dropped-column": 1}),  # a zero query column, whatever the key
        ("at", "at", 1, {"dropped-column": 1}),  # a constant key column
        ("ai", "as", 1, {"dropped-column": 1}),  # one that is known only when it runs
        ("abt", "abt", 2, {"dropped-column": 1}),
        ("ait", "abi", 3, {}),
        ("it", "ff", 1, {"merged-column": 1}),  # 1 * f + 2 * f
        ("im", "if", 1, {"merged-column": 1}),  # i * (i - f)
        ("im", "fg", 1, {"merged-column": 1}),  # i * f - i * g = i * (f - g)
        ("imt", "ffz", 1, {"dropped-column": 1, "merged-column": 1}),
        ("iti", "imm", 1, {"merged-column": 2}),
        ("ab", "aa", 2, {}),  # qa + qb would round
        ("ta", "aa", 2, {}),
        ("it", "aa", 2, {}),  # an infinite key may make NaN of the difference of two products
        ("ab", "at", 2, {}),  # an infinite query makes all scores infinite
        ("zt", "at", 1, {"dropped-column": 2}),
        ("zz", "tt", 2, {}),  # uniform as it is
    ],
)
def test_what_is_dropped_and_merged(query, key, width, counts):
    node, found, _ = narrowed(spec(query, key))
    assert node.geometry.key_width == width
    assert found == counts


@pytest.mark.parametrize(
    ("attributes", "results", "counts"),
    [
        ("normalizer = softmax", "", {}),
        ("normalizer = hardmax(last)", ", %lse", {"kept-seen-score": 1}),
        ("normalizer = hardmax(last), softcap = 2.0, bias = expression(j % 2)", "", {"kept-seen-score": 1}),
        ("normalizer = hardmax(last), strategy = dense", "", {}),
    ],
)
def test_nodes_that_see_more_than_the_order_stay(attributes, results, counts):
    node, found, _ = narrowed(spec("at", "at", attributes, results))
    assert node.geometry.key_width == 2
    assert found == counts


def test_the_largest_width_is_an_option():
    node, counts, _ = narrowed(spec("abt", "abt"), "narrow-keys{max-width=1}")
    assert node.geometry.key_width == 3
    assert counts == {"kept-wide-key": 1}


@pytest.mark.parametrize(
    ("query", "key", "attributes", "strategy"),
    [
        ("abt", "abz", "normalizer = hardmax(mean)", Sweep),
        ("abtz", "abtb", "normalizer = hardmax(mean), mask = causal(top_left)", Hull),
        ("at", "as", "normalizer = hardmax(last), mask = window(3, 0, top_left)", Extremum),
        ("zi", "as", "normalizer = hardmax(last)", Uniform),
        ("at", "at", "normalizer = hardmax(last), mask = causal(top_left), bias = expression(0.5 * j)", Hull),
    ],
)
def test_narrow_keys_reach_the_cheaper_structure(query, key, attributes, strategy, tmp_path, monkeypatch):
    monkeypatch.setenv("ATTNC_DATA_DIR", str(tmp_path))
    node, _, _ = narrowed(spec(query, key, attributes), f"{DEFAULT_PIPELINE}{{N=100000,M=100000}}")
    assert isinstance(node.strategy, strategy)


def test_columns_are_followed_through_concat_and_slice():
    graph = parse(spec("ababab", "nazstf"))["g"]
    facts = analyze(graph)
    key = next(op.key for op in graph.ops if isinstance(op, Attend))
    one, other, zero, same, two, whole = columns(key, facts)
    assert one.source == other.source
    assert one.sign == -other.sign
    assert (one.finite, one.steady, one.integers) == (False, False, None)
    assert zero.constant == 0
    assert (same.constant, same.steady, same.finite) == (None, True, True)
    assert (two.constant, two.integers) == (2.0, (2, 2))
    assert (whole.integers, whole.finite, whole.steady) == ((-(2**31), 2**31 - 1), True, False)


WILD = [0.0, 1.0, -1.0, 2.0, -0.0, 0.1, 1.0 + 2.0**-52, 1e300]


@settings(max_examples=max(300, settings.default.max_examples))
@given(
    pairs=st.lists(
        st.tuples(st.sampled_from(sorted(QUERIES)), st.sampled_from(sorted(KEYS))), min_size=2, max_size=4
    ),
    tie=st.sampled_from(["first", "last", "mean"]),
    more=st.sampled_from(
        ["", ", mask = causal(0)", ", mask = window(1, 1, 0), scale = -0.5", ", bias = expression(j // 2)", ", softcap = 3.0"]
    ),
    n=st.integers(0, 3),
    m=st.integers(0, 6),
    pipeline=st.sampled_from(["narrow-keys", DEFAULT_PIPELINE]),
    data=st.data(),
)  # fmt: skip
def test_narrowing_changes_no_bit(pairs, tie, more, n, m, pipeline, data):
    def free(rows):
        return np.array(
            data.draw(st.lists(st.sampled_from([*WILD, *WILD, np.inf, -np.inf, np.nan]), min_size=rows, max_size=rows))
        ).reshape(rows, 1)  # fmt: skip

    query, key = ("".join(side) for side in zip(*pairs, strict=True))
    arrays = {"qa": free(n), "qb": free(n), "ka": free(m), "kb": free(m)}
    whole = st.integers(-2, 2)
    arrays["numbers"] = np.array(
        data.draw(st.lists(whole, min_size=m, max_size=m)), np.int32
    ).reshape(m, 1)  # fmt: skip
    arrays["one"] = np.array([[data.draw(whole)]], np.int32)
    arrays["v"] = np.arange(2.0 * m).reshape(m, 2) / 8
    assert_same_meaning(spec(query, key, f"normalizer = hardmax({tie}){more}"), pipeline, arrays)
