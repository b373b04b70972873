from attnc_ir.graphview import live_ops
from planner_graphs import changed


def names(graph):
    return [op.results[0].name for op in graph.ops]


def test_equal_ops_are_one_and_uses_follow():
    graph, counts = changed(
        "cse",
        """graph @g(%x: f64[2], %y: f64[2]) {
          %a = add %x, %y
          %b = add %x, %y
          %c = neg %a
          %d = neg %b
          %e = mul %c, %d
          return %e, %d
        }""",
    )
    assert names(graph) == ["a", "c", "e"]
    assert [v.name for v in graph.outputs] == ["e", "c"]
    assert counts == {"merged-op": 2}


def test_constants_that_differ_in_the_sign_of_zero_stay_two():
    graph, _ = changed(
        "cse",
        """graph @g(%x: f64[1]) {
          %a = constant {type = f64[1], values = [0.0]}
          %b = constant {type = f64[1], values = [-0.0]}
          %c = constant {type = f64[1], values = [0.0]}
          return %a, %b, %c
        }""",
    )
    assert names(graph) == ["a", "b"]


def test_attention_nodes_merge_only_when_everything_is_equal():
    graph, counts = changed(
        "cse",
        """graph @g(%q: f64[N x 2], %k: f64[N x 2], %v: f64[N x 1]) {
          %o = attend %q, %k, %v {normalizer = hardmax(last)}
          %p = attend %q, %k, %v {normalizer = hardmax(first)}
          %r = attend %q, %k, %v {normalizer = hardmax(last), mask = everything}
          %s, %l = attend %q, %k, %v {normalizer = hardmax(last)}
          return %o, %p, %r, %s
        }""",
    )
    assert names(graph) == ["o", "p", "s"]
    assert counts == {"merged-op": 1}


TWO = """graph @g(%q: f64[2], %k: f64[2], %v: f64[1]) {
  %c = cache {heads = [], key = f64[2], value = f64[1]}
  %d = cache {heads = [], key = f64[2], value = f64[1]}
  %before = attend.step %q, %c {normalizer = hardmax(last)}
  %c1 = append %c, %k, %v
  %d1 = append %d, %k, %v
  %o = attend.step %q, %c1 {normalizer = hardmax(last)}
  %o2 = attend.step %q, %c1 {normalizer = hardmax(last)}
  %p = attend.step %q, %d1 {normalizer = hardmax(last)}
  RETURN
}"""


def test_caches_and_appends_are_never_merged_but_reads_of_one_version_are():
    graph, counts = changed("cse", TWO.replace("RETURN", "return %before, %o, %o2, %p"))
    assert names(graph) == ["c", "d", "before", "c1", "d1", "o", "p"]
    assert counts == {"merged-op": 1}


def test_an_append_below_the_only_read_stays_because_the_next_step_reads_it():
    graph, counts = changed("dce", TWO.replace("RETURN", "return %before"))
    assert names(graph) == ["c", "before", "c1"]
    assert counts == {"removed-op": 3, "removed-cache": 1, "removed-append": 1}


def test_a_cache_that_nobody_reads_goes_with_its_appends():
    graph, _ = changed("dce", TWO.replace("RETURN", "return %q"))
    assert graph.ops == ()
    assert live_ops(graph) == ()


def test_what_feeds_a_kept_append_stays():
    graph, _ = changed(
        "dce",
        """graph @g(%q: f64[2], %k: f64[2], %v: f64[2]) {
          %c = cache {heads = [], key = f64[2], value = f64[2]}
          %d = cache {heads = [], key = f64[2], value = f64[2]}
          %r = attend.step %q, %d {normalizer = hardmax(last)}
          %key = neg %r
          %o = attend.step %q, %c {normalizer = hardmax(last)}
          %c1 = append %c, %key, %v
          %d1 = append %d, %k, %v
          %unused = neg %q
          return %o
        }""",
    )
    assert names(graph) == ["c", "d", "r", "key", "o", "c1", "d1"]


def test_a_node_that_may_raise_stays_and_its_operands_too():
    graph, counts = changed(
        "dce",
        """graph @g(%q: f64[N x 2], %k: f64[N x 2], %v: f64[N x 1]) {
          %n = neg %q
          %o = attend %n, %k, %v {normalizer = hardmax(last), empty = error}
          %p = attend %n, %k, %v {normalizer = hardmax(last)}
          return %q
        }""",
    )
    assert names(graph) == ["n", "o"]
    assert counts == {"removed-op": 1}
