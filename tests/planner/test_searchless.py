"""Strategies that need no search: what must be proved, what breaks a proof, and that they win once legal."""

import pytest

from attnc.machine import BUILTIN, FLAT
from attnc.manager import PassManager
from attnc.strategies import DenseJudge, ExtremumJudge, Sizes, UniformJudge, judge_of, judges
from attnc_ir.errors import PlanError
from attnc_ir.text import parse
from planner_graphs import node_of


def stateless(body="", *, q="%x", k="%y", width=2, attributes="normalizer = hardmax(mean)", results=""):
    """A node over inputs `%x` and `%y`, or over what `body` makes."""
    return f"""graph @g(%x: f64[N x {width}], %y: f64[M x {width}], %row: f64[1 x {width}], %v: f64[M x 4]) {{
      %zero = constant {{type = f64[1], values = [0.0]}}
      %tiny = constant {{type = f64[1], values = [5e-324]}}
      {body}
      %o{results} = attend {q}, {k}, %v {{{attributes}}}
      return %o{results}
    }}"""


def step(key="%y", query="%x", *, attributes="normalizer = hardmax(mean)", more="", width=2):
    cache = "%e" if more else "%d"
    return f"""graph @g(%x: f64[8 x {width}], %y: f64[8 x {width}], %v: f64[8 x 4]) {{
      %a = constant {{type = f64[8 x {width}], values = [3.0]}}
      %b = constant {{type = f64[8 x {width}], values = [3.0000000000000004]}}
      %z = constant {{type = f64[8 x {width}], values = [0.0]}}
      %c = cache {{heads = [8], key = f64[{width}], value = f64[4]}}
      %d = append %c, {key}, %v
      {more}
      %o = attend.step {query}, {cache} {{{attributes}}}
      return %o
    }}"""


def reasons(judge, text):
    return judge.why_not(*node_of(text))


def plan_of(text, pipeline="select-strategy"):
    return PassManager.of(pipeline, verify_each=True).run(parse(text)).plan.nodes[0]


@pytest.mark.parametrize(
    ("text", "legal"),
    [
        (stateless("%q = broadcast %zero {shape = [N x 2]}", q="%q"), True),
        (stateless("%q = broadcast %tiny {shape = [N x 2]}", q="%q"), False),  # one ulp beside zero
        (stateless("%q = mul %x, %zero", q="%q"), False),  # an infinite %x makes NaN
        (stateless("%k = broadcast %zero {shape = [M x 2]}", k="%k"), True),
        (stateless("%k = broadcast %row {shape = [M x 2]}", k="%k"), True),
        (stateless("%r = broadcast %row {shape = [M x 2]}\n%k = add %r, %y", k="%k"), False),
        (stateless("%k = iota {type = f64[M x 2]}", k="%k"), True),
        (stateless("%k = iota {type = f64[M x 2], axis = 0}", k="%k"), False),
        (stateless(attributes="normalizer = hardmax(last), scale = 0.0"), True),
        (stateless(attributes="normalizer = hardmax(last), scale = 5e-324"), False),
        (step("%a"), True),
        (step("%y"), False),
        (step("%y", "%z"), True),
        (step("%y", "%a"), False),
        (step("%a", more="%e = append %d, %a, %v"), True),
        (step("%a", more="%e = append %d, %b, %v"), False),  # two keys, one ulp apart
        (step("%z", more="%e = append %d, %z, %v"), True),
    ],
)
def test_scores_must_be_proved_equal(text, legal):
    found = reasons(UniformJudge(), text)
    assert (found == ()) is legal
    assert legal or [reason for reason in found if "not provably equal" in reason] == list(found)


ZERO = "%q = broadcast %zero {shape = [N x 2]}"


@pytest.mark.parametrize(
    ("attributes", "results", "count"),
    [
        ("normalizer = hardmax(first), mask = causal(3) & window(4, 0, -1) & prefix(7)", "", 0),
        ("normalizer = hardmax(first), softcap = 2.0, empty = error", "", 0),
        ("normalizer = hardmax(first), mask = causal(0) | prefix(3)", "", 1),
        ("normalizer = hardmax(first), mask = ~causal(0)", "", 1),
        ("normalizer = hardmax(first), bias = expression(j)", "", 2),  # a bias makes scores differ, too
        ("normalizer = hardmax(first)", ", %l", 1),
        ("normalizer = softmax, mask = predicate(j < 3)", ", %l", 3),
    ],
)
def test_every_reason_is_given(attributes, results, count):
    text = stateless(ZERO, q="%q", attributes=attributes, results=results)
    assert len(set(reasons(UniformJudge(), text))) == count
    wide = stateless(attributes=attributes, results=results, width=3)
    biased = 1 if "bias" in attributes else 0
    assert len(set(reasons(ExtremumJudge(), wide))) == count + 1 - biased


def test_an_extremum_needs_numbers():
    assert reasons(ExtremumJudge(), stateless(width=1)) == ()
    assert (
        reasons(ExtremumJudge(), step(width=1, attributes="normalizer = hardmax(last), mask = window(3, 0)"))
        == ()
    )
    assert reasons(ExtremumJudge(), stateless()) == ("keys have width 2, and only numbers have an extremum",)


@pytest.mark.parametrize(
    ("machine", "tie"), [("builtin", "first"), ("builtin", "mean"), ("flat", "first"), ("flat", "last")]
)
@pytest.mark.parametrize(
    "mask", ["everything", "causal(top_left)", "causal(bottom_right)", "window(40, 0, 0)"]
)
def test_a_search_that_is_not_needed_is_not_made(machine, tie, mask):
    attributes = f"normalizer = hardmax({tie}), mask = {mask}"
    for n in (64, 1000, 10**6):
        pipeline = f"select-strategy{{machine={machine},N={n},M={n}}}"
        assert plan_of(stateless(ZERO, q="%q", attributes=attributes), pipeline).chosen.strategy == "uniform"
        narrow = stateless(attributes=attributes, width=1)
        assert plan_of(narrow, pipeline).chosen.strategy == "extremum"
    pipeline = f"select-strategy{{machine={machine},c=1000}}"
    assert plan_of(step("%a"), pipeline).chosen.strategy == "uniform"
    assert plan_of(step(width=1), pipeline).chosen.strategy == "extremum"


def test_the_plan_says_what_was_proved():
    node = plan_of(
        stateless("%k = broadcast %row {shape = [M x 2]}", k="%k"), "select-strategy{strategy=uniform}"
    )
    assert node.facts == ("%k repeats one row along the sequence",)
    assert "  because: %k repeats one row along the sequence" in node.render()
    assert node.to_dict()["facts"] == list(node.facts)
    lost = {c.strategy: c for c in node.candidates}
    assert lost["dense"].legal
    assert lost["extremum"].reasons == ("keys have width 2, and only numbers have an extremum",)
    again = plan_of(step("%a"), "select-strategy{strategy=uniform}")
    assert again.facts == ("%d holds one key again and again", "%a is written out")
    assert plan_of(stateless()).facts == ()


def test_a_wish_without_a_proof_is_refused():
    with pytest.raises(
        PlanError, match="strategy uniform is not legal for %o: scores are not provably equal"
    ):
        plan_of(stateless(attributes="normalizer = hardmax(last), strategy = uniform"))


def costs(text, machine=FLAT, **sizes):
    node, facts = node_of(text)
    judged = [j for j in judges() if not j.why_not(node, facts)]
    return {j.keyword: j.cost(node, facts, machine, Sizes(sizes), sizes.get("M", 0)) for j in judged}


def test_costs_count_keys_once_and_rows_once():
    text = stateless(ZERO, q="%q", attributes="normalizer = hardmax(last), mask = prefix(7)")
    few, many = costs(text, N=10, M=100)["uniform"], costs(text, N=20, M=100)["uniform"]
    assert dict(few.terms) == {"value": 10 * 32, "keys": 7 * 16, "call": 2}
    assert dict(many.terms) == {"value": 20 * 32, "keys": 7 * 16, "call": 2}
    narrow = costs(
        stateless(width=1, attributes="normalizer = hardmax(last), mask = causal(-2)"), N=10, M=100
    )
    assert dict(narrow["extremum"].terms)["follow"] == 8
    # Where all scores are known to be equal, a dense mean has to read every value row.
    mean, last = (
        costs(stateless(ZERO, q="%q", attributes=f"normalizer = hardmax({tie})"), BUILTIN, N=10, M=100)
        for tie in ("mean", "last")
    )
    assert dict(mean["dense"].terms)["value"] == pytest.approx(100 * dict(last["dense"].terms)["value"])
    assert isinstance(judge_of("dense"), DenseJudge)


# --- positions ----------------------------------------------------------------------------------------------


def positions(
    *, first="%j", second="%down", query="%i2", one="1.0", tail="", attributes="normalizer = hardmax(last)"
):
    """Keys `(first, second)` and queries `(query, one)`; `%i2` is twice the position, `%down` minus its square."""
    return f"""graph @g(%v: f64[M x 4], %x: f64[N x 1]) {{
      %i = iota {{type = f64[N x 1], axis = 0}}
      %j = iota {{type = f64[M x 1], axis = 0}}
      %i2 = add %i, %i
      %two = constant {{type = f64[1], values = [2.0]}}
      %near = constant {{type = f64[1], values = [2.0000000000000004]}}
      %one = constant {{type = f64[N x 1], values = [{one}]}}
      %square = mul %j, %j
      %down = neg %square
      {tail}
      %k = concat {first}, {second}
      %q = concat {query}, %one
      %o = attend %q, %k, %v {{{attributes}}}
      return %o
    }}"""


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        (positions(), 0),
        (positions(tail="%m = add %i2, %two", query="%m"), 1),
        (positions(tail="%m = sub %i2, %two\n%n = sub %m, %two", query="%n"), -2),
        (positions(tail="%m = mul %j, %two\n%n = mul %down, %two", first="%m", second="%n"), 0),
        (positions(tail="%m = add %down, %two", second="%m"), 0),  # an affine map of the keys
        (positions(one="-1.0"), None),  # a valley: the farthest key wins
        (positions(one="0.9999999999999999"), None),  # one ulp: the distance grows with the position
        (positions(tail="%m = mul %i, %near", query="%m"), None),
        (positions(query="%i"), None),  # half as fast as the keys
        (positions(query="%x"), None),  # comes from outside
        (positions(second="%square", one="-1.0"), 0),
        (
            positions(second="%square", one="-1.0", attributes="normalizer = hardmax(last), scale = -1.0"),
            None,
        ),
        (positions(attributes="normalizer = hardmax(last), scale = 0.0"), None),
        (positions(second="%j", one="1.0"), 2**40),  # scores rise with j: the last key
        (positions(attributes="normalizer = hardmax(last), strategy = position(0, 94906266)"), 0),
        (positions(attributes="normalizer = hardmax(last), strategy = position(1, 94906266)"), None),
        (step("%a"), None),
    ],
)
def test_a_fixed_distance_must_be_proved(text, offset):
    node, facts = node_of(text)
    judge = judge_of("position")
    found = judge.why_not(node, facts)
    assert (found == ()) is (offset is not None)
    if offset is not None:
        assert judge.choose(node, facts).offset == offset


def test_a_winner_that_is_known_is_not_searched_for():
    node = plan_of(positions(), "select-strategy{machine=flat,N=1000,M=1000}")
    assert node.chosen.strategy == "position"
    assert node.facts[:2] == (
        "%q has rows (2*p, 1) at position p",
        "%i2 has rows (2*p) at position p",
    )
    lost = {c.strategy: c for c in node.candidates}
    assert lost["hull"].legal
    assert not lost["uniform"].legal
    with pytest.raises(PlanError, match="proved is offset 0 below 94906266"):
        plan_of(positions(attributes="normalizer = hardmax(last), strategy = position(1, 94906266)"))


def test_what_lies_beyond_the_proof_is_paid_for():
    text = positions().replace("f64", "f32")  # squares are exact below 4097
    assert dict(costs(text, N=4097, M=4097)["position"].terms).keys() == {"value", "call"}
    beyond = costs(text, N=8194, M=8194)
    assert dict(beyond["position"].terms)["beyond"] == pytest.approx(beyond["dense"].own / 2)
