import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc_ir.ops import Append, Attend, AttendStep, Cache
from planner_graphs import assert_same_meaning, changed, integers

HEAD = "graph @g(%q: f64[2 x 2], %p: f64[2 x 2], %k: f64[2 x 2], %l: f64[2 x 2], %v: f64[2 x 1], %w: f64[2 x 3]) {"
NARROW = "cache {heads = [2], key = f64[2], value = f64[1]}"
WIDE = "cache {heads = [2], key = f64[2], value = f64[3]}"


def count(graph, cls):
    return sum(isinstance(op, cls) for op in graph.ops)


def test_caches_with_the_same_keys_become_one_with_both_values():
    graph, counts = changed(
        "share-caches",
        f"""{HEAD}
          %c = {NARROW}
          %d = {WIDE}
          %c1 = append %c, %k, %v
          %o = attend.step %q, %c1 {{normalizer = hardmax(last)}}
          %d1 = append %d, %k, %w
          %r = attend.step %p, %d1 {{normalizer = hardmax(mean)}}
          return %o, %r
        }}""",
    )
    assert counts == {"shared-cache": 1}
    assert [op.mnemonic for op in graph.ops] == [
        "cache", "concat", "append", "attend.step", "slice", "attend.step", "slice",
    ]  # fmt: skip
    assert str(graph.caches[0].results[0].type) == "cache<[2], f64[2], f64[4]>"
    assert [v.name for v in graph.outputs] == ["o", "r"]


def test_equal_values_need_no_concat_and_any_normaliser_may_read_them():
    graph, counts = changed(
        "share-caches,cse",
        f"""{HEAD}
          %c = {NARROW}
          %d = {NARROW}
          %c1 = append %c, %k, %v
          %d1 = append %d, %k, %v
          %o = attend.step %q, %c1 {{normalizer = softmax}}
          %r = attend.step %q, %d1 {{normalizer = softmax}}
          return %o, %r
        }}""",
    )
    assert counts == {"shared-cache": 1, "merged-op": 1}
    assert [op.mnemonic for op in graph.ops] == ["cache", "append", "attend.step"]


def test_two_queries_of_equal_attributes_then_search_once():
    graph, _ = changed(
        "share-caches,cse",
        f"""{HEAD}
          %c = {NARROW}
          %d = {WIDE}
          %c1 = append %c, %k, %v
          %d1 = append %d, %k, %w
          %o = attend.step %q, %c1 {{normalizer = hardmax(last)}}
          %r = attend.step %q, %d1 {{normalizer = hardmax(last)}}
          return %o, %r
        }}""",
    )
    assert count(graph, AttendStep) == 1


@pytest.mark.parametrize(
    "body",
    [
        # other keys
        f"""%c = {NARROW}
          %d = {NARROW}
          %c1 = append %c, %k, %v
          %d1 = append %d, %l, %v
          %o = attend.step %q, %c1 {{normalizer = hardmax(last)}}
          %r = attend.step %q, %d1 {{normalizer = hardmax(last)}}""",
        # another number of appends
        f"""%c = {NARROW}
          %d = {NARROW}
          %c0 = append %c, %k, %v
          %c1 = append %c0, %k, %v
          %d1 = append %d, %k, %v
          %o = attend.step %q, %c1 {{normalizer = hardmax(last)}}
          %r = attend.step %q, %d1 {{normalizer = hardmax(last)}}""",
        # a softmax would sum columns it does not need
        f"""%c = {NARROW}
          %d = {WIDE}
          %c1 = append %c, %k, %v
          %d1 = append %d, %k, %w
          %o = attend.step %q, %c1 {{normalizer = softmax}}
          %r = attend.step %q, %d1 {{normalizer = hardmax(last)}}""",
    ],
)
def test_caches_that_differ_stay_two(body):
    graph, counts = changed("share-caches", f"{HEAD}\n{body}\nreturn %o, %r }}")
    assert count(graph, Cache) == 2
    assert not counts


def test_a_value_that_needs_the_other_cache_first_keeps_them_apart():
    # %d stores what was read from %c after its append, so no single append can serve both.
    graph, counts = changed(
        "share-caches",
        f"""{HEAD}
          %c = {NARROW}
          %d = {NARROW}
          %c1 = append %c, %k, %v
          %o = attend.step %q, %c1 {{normalizer = hardmax(last)}}
          %d1 = append %d, %k, %o
          %r = attend.step %q, %d1 {{normalizer = hardmax(last)}}
          return %o, %r
        }}""",
    )
    assert count(graph, Cache) == 2
    assert counts == {"kept-ordered-caches": 1}


def test_a_read_before_the_append_does_not():
    text = f"""{HEAD}
      %c = {NARROW}
      %d = {NARROW}
      %before = attend.step %q, %c {{normalizer = hardmax(last)}}
      %d1 = append %d, %k, %before
      %r = attend.step %p, %d1 {{normalizer = hardmax(first)}}
      %c1 = append %c, %k, %v
      return %before, %r
    }}"""
    graph, counts = changed("share-caches", text)
    assert (count(graph, Cache), count(graph, Append)) == (1, 1)
    assert counts == {"shared-cache": 1}


def test_three_caches_two_of_them_equal():
    graph, counts = changed(
        "share-caches",
        f"""{HEAD}
          %c = {NARROW}
          %d = {WIDE}
          %e = {NARROW}
          %c1 = append %c, %k, %v
          %d1 = append %d, %k, %w
          %e1 = append %e, %k, %v
          %o = attend.step %q, %c1 {{normalizer = hardmax(last)}}
          %r = attend.step %p, %d1 {{normalizer = hardmax(last)}}
          %s = attend.step %q, %e1 {{normalizer = hardmax(first), mask = causal(-1), empty = error}}
          return %o, %r, %s
        }}""",
    )
    assert counts == {"shared-cache": 2}
    assert [str(c.value) for c in graph.caches] == ["f64[4]"]


def test_stateless_nodes_that_differ_in_values_become_one():
    graph, counts = changed(
        "share-caches",
        """graph @g(%q: f64[N x 2], %k: f64[M x 2], %v: f64[M x 1], %w: f64[M x 2]) {
          %o = attend %q, %k, %v {normalizer = hardmax(mean), mask = causal(bottom_right)}
          %n = neg %o
          %p = attend %q, %k, %w {normalizer = hardmax(mean), mask = causal(bottom_right)}
          return %n, %p
        }""",
    )
    assert [op.mnemonic for op in graph.ops] == ["concat", "attend", "slice", "slice", "neg"]
    assert counts == {"shared-node": 1}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("normalizer = softmax", "normalizer = softmax"),
        ("normalizer = hardmax(first)", "normalizer = hardmax(last)"),
        ("normalizer = hardmax(last)", "normalizer = hardmax(last), mask = causal(0)"),
        ("normalizer = hardmax(last), strategy = dense", "normalizer = hardmax(last), strategy = hull"),
    ],
)
def test_nodes_that_differ_in_more_stay_two(first, second):
    graph, _ = changed(
        "share-caches",
        f"""graph @g(%q: f64[N x 2], %k: f64[M x 2], %v: f64[M x 1], %w: f64[M x 2]) {{
          %o = attend %q, %k, %v {{{first}}}
          %p = attend %q, %k, %w {{{second}}}
          return %o, %p
        }}""",
    )
    assert count(graph, Attend) == 2


def test_a_node_whose_values_come_from_the_other_stays_apart():
    graph, counts = changed(
        "share-caches",
        """graph @g(%q: f64[N x 2], %k: f64[N x 2], %v: f64[N x 1]) {
          %o = attend %q, %k, %v {normalizer = hardmax(last)}
          %p = attend %q, %k, %o {normalizer = hardmax(last)}
          return %p
        }""",
    )
    assert count(graph, Attend) == 2
    assert counts == {"kept-ordered-nodes": 1}


ties = st.sampled_from(["first", "last", "mean"])
rules = st.sampled_from(["zero", "default(%one)", "default(%each)"])


@settings(max_examples=60)
@given(tie=ties, other=ties, rule=rules, steps=st.integers(0, 4), before=st.booleans(), data=st.data())
def test_shared_caches_answer_as_two_did(tie, other, rule, steps, before, data):
    early = f"%o = attend.step %q, %c {{normalizer = hardmax({tie}), empty = {rule}}}"
    late = f"%o = attend.step %q, %c1 {{normalizer = hardmax({tie}), mask = causal(-1), empty = {rule}}}"
    text = f"""{HEAD}
      %one = constant {{type = f64[1], values = [7]}}
      %each = constant {{type = f64[2 x 1], values = [7, 8]}}
      %c = {NARROW}
      %d = {WIDE}
      {early if before else ""}
      %c1 = append %c, %k, %v
      %d1 = append %d, %k, %w
      {"" if before else late}
      %r = attend.step %p, %d1 {{normalizer = hardmax({other}), empty = error}}
      return %o, %r
    }}"""
    arrays = {name: integers(data.draw, steps, 2, {"v": 1, "w": 3}.get(name, 2)) for name in "qpklvw"}
    graph, counts = changed("share-caches", text)
    assert counts == {"shared-cache": 1}
    assert count(graph, Cache) == 1
    assert_same_meaning(text, "share-caches", arrays)


@settings(max_examples=60)
@given(
    tie=ties,
    empty=st.sampled_from(["zero", "error"]),
    n=st.integers(0, 3),
    m=st.integers(0, 4),
    data=st.data(),
)
def test_shared_nodes_answer_as_two_did(tie, empty, n, m, data):
    attributes = f"{{normalizer = hardmax({tie}), mask = causal(bottom_right), empty = {empty}}}"
    text = f"""graph @g(%q: f64[2 x N x 2], %k: f64[1 x M x 2], %v: f64[1 x M x 1], %w: f64[1 x M x 2]) {{
      %o = attend %q, %k, %v {attributes}
      %p = attend %q, %k, %w {attributes}
      %r = concat %p, %o, %p
      return %r, %o
    }}"""
    arrays = {
        "q": integers(data.draw, 2, n, 2),
        **{x: integers(data.draw, 1, m, w) for x, w in (("k", 2), ("v", 1), ("w", 2))},
    }
    graph, _ = changed("share-caches", text)
    assert count(graph, Attend) == 1
    assert_same_meaning(text, "share-caches", arrays)
