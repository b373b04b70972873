"""Functions become expressions, and what cannot be traced is refused at its line."""

import functools
import linecache
import math
import types

import numpy as np
import pytest

import attnc
from attnc.tracing import MASK_MOD, SCORE_MOD, trace, tracer
from attnc.tracing.symbols import MAX_DEPTH, MAX_NODES
from attnc_ir.expr import EXPR

SLOPES = np.array([0.5, 0.25], np.float32)
IDS = np.array([0, 0, 1])
BYTES = np.zeros(3, np.uint8)
GRID = np.zeros((2, 3), bool)


def text(function, convention=SCORE_MOD):
    return EXPR.write(trace(function, convention).expr)


def score(function):
    """A score function from one of the score and the positions, `(s, b, h, i, j)`."""
    return text(function, SCORE_MOD)


def mask(function):
    return text(function, MASK_MOD)


# --- what is written down ---


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda s, b, h, i, j: s, "score"),
        (lambda s, b, h, i, j: 1, "1"),
        (lambda s, b, h, i, j: np.float32(0.5), "0.5"),
        (lambda s, b, h, i, j: -s + 2 * s - s / 2, "-score + 2 * score - score / 2"),
        (lambda s, b, h, i, j: 1 - (2 - s), "1 - (2 - score)"),
        (lambda s, b, h, i, j: 1 / s, "1 / score"),
        (lambda s, b, h, i, j: (i + j) // 2 % 3, "(i + j) // 2 % 3"),
        (lambda s, b, h, i, j: abs(+s), "abs(score)"),
        (lambda s, b, h, i, j: s**3, "score * score * score"),
        (lambda s, b, h, i, j: s**0.5, "sqrt(score)"),
        (lambda s, b, h, i, j: np.float64(2) * s, "2.0 * score"),
        (lambda s, b, h, i, j: np.array(2) * s, "2 * score"),
        (lambda s, b, h, i, j: np.exp(np.tanh(s)) + np.log(np.sqrt(s)), "exp(tanh(score)) + log(sqrt(score))"),
        (lambda s, b, h, i, j: attnc.exp(s) + attnc.log(2.0), "exp(score) + 0.6931471805599453"),
        (lambda s, b, h, i, j: attnc.sigmoid(s), "1.0 / (1.0 + exp(-score))"),
        (lambda s, b, h, i, j: attnc.minimum(s, 3), "min(score, 3)"),
        (lambda s, b, h, i, j: np.maximum(i, np.fabs(j)), "max(i, abs(j))"),
        (lambda s, b, h, i, j: np.clip(j - i, -2, 2), "min(max(j - i, -2), 2)"),
        (lambda s, b, h, i, j: np.clip(s, None, 2), "min(score, 2)"),
        (lambda s, b, h, i, j: np.square(s) - np.power(s, 2), "score * score - score * score"),
        (lambda s, b, h, i, j: np.where(i >= j, s, -np.inf), "where(i >= j, score, -inf)"),
        (lambda s, b, h, i, j: attnc.where(True, s, i), "score"),
        (lambda s, b, h, i, j: attnc.where(np.isnan(s), 0.0, s), "where(score != score, 0.0, score)"),
        (lambda s, b, h, i, j: s + SLOPES[h] * (j - i), "score + %table0[h] * (j - i)"),
        (lambda s, b, h, i, j: sum(SLOPES[(h + n) % 2] for n in range(2)), "0 + %table0[(h + 0) % 2] + %table0[(h + 1) % 2]"),
    ],
)  # fmt: skip
def test_numbers(function, expected):
    assert score(function) == expected


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda b, h, i, j: True, "true"),
        (lambda b, h, i, j: np.bool_(False), "false"),
        (lambda b, h, i, j: (i >= j) & (i - j < 4) | ~(j > 0), "i >= j and i - j < 4 or not j > 0"),
        (lambda b, h, i, j: False | (b == h), "false or b == h"),
        (lambda b, h, i, j: (i < 1) ^ (j < 1), "where(i < 1, not j < 1, j < 1)"),
        (lambda b, h, i, j: (i < 1) == (j < 1), "where(i < 1, j < 1, not j < 1)"),
        (lambda b, h, i, j: (i < 1) != True, "where(i < 1, not true, true)"),  # noqa: E712
        (lambda b, h, i, j: np.logical_and(i < 1, np.logical_not(j <= 2)), "i < 1 and not j <= 2"),
        (lambda b, h, i, j: np.int64(3) > i, "3 > i"),
        (lambda b, h, i, j: IDS[i] == IDS[j], "%table0[i] == %table0[j]"),
        (lambda b, h, i, j: GRID[1, j], "%table0[1, j]"),
        (lambda b, h, i, j: GRID[-1, j], "%table0[1, j]"),
        (lambda b, h, i, j: GRID[1][j], "%table0[j]"),
        (lambda b, h, i, j: attnc.table([1, 2, 3])[i] == j, "%table0[i] == j"),
        (functools.partial(lambda w, b, h, i, j: i - j < w, 7), "i - j < 7"),
        (functools.partial(lambda b, h, i, j, ids: ids[i] == 1, ids=IDS), "%table0[i] == 1"),
    ],
)
def test_conditions(function, expected):
    assert mask(function) == expected


def test_whatever_python_decides_beforehand_leaves_no_trace():
    strict, width = True, 4

    def both(*terms):
        found = terms[0]
        for term in terms[1:]:
            found = found & term
        return found

    def rule(b, h, i, j):
        if strict:
            return both(i > j, *(j != n for n in range(width) if n % 2))
        return i >= j

    assert mask(rule) == "i > j and j != 1 and j != 3"


def test_arrays_of_functions_that_are_called():
    near = np.arange(4)

    def helper(i, table=IDS, *, more=near):
        return table[i] + more[i] + near[i]

    def rule(b, h, i, j):
        return helper(i) > IDS[j]

    found = trace(rule, MASK_MOD)
    assert EXPR.write(found.expr) == "%table0[i] + %table1[i] + %table2[i] > %table3[j]"
    assert [table.name for table in found.tables] == ["default0", "more", "near", "IDS"]
    assert all(a.array is b for a, b in zip(found.tables, [IDS, near, near, IDS], strict=True))


class Model:
    def __init__(self):
        self.ids = IDS

    def __call__(self, b, h, i, j):
        return attnc.table(self.ids)[i] == attnc.table(self.ids)[j]

    def method(self, b, h, i, j):
        return self(b, h, i, j)


def test_methods_and_callable_objects():
    assert mask(Model()) == mask(Model().method) == "%table0[i] == %table0[j]"


# --- what is refused ---


def refused(function, convention=MASK_MOD):
    with pytest.raises(attnc.TraceError) as caught:
        trace(function, convention)
    (found,) = caught.value.diagnostics
    return found


def pointed(found):
    """The text that a diagnostic points at."""
    return found.excerpt[found.location.column - 1 : found.location.end - 1]


TRUTH = "this condition is not known yet: it is neither true nor false"


@pytest.mark.parametrize(
    ("function", "message", "at"),
    [
        (lambda b, h, i, j: j > 1 if i >= j else False, TRUTH, "i >= j"),
        (lambda b, h, i, j: i >= j and h > 2, TRUTH, "i >= j and h > 2"),
        (lambda b, h, i, j: not (i >= j), TRUTH, "not (i >= j)"),
        (lambda b, h, i, j: 0 <= i <= j, TRUTH, "0 <= i <= j"),
        (lambda b, h, i, j: min(i, j) > 2, "min compares numbers that are not known yet", "min(i, j)"),
        (lambda b, h, i, j: [1, 2][i] > 2, "this number is not known yet: it is no index and no length", "[1, 2][i]"),
        (lambda b, h, i, j: np.arange(3)[i] > 2, "this number is not known yet: it is no index and no length", "np.arange(3)[i]"),
        (lambda b, h, i, j: any(n == 1 for n in range(i)), "this number is not known yet: it is no index and no length", "range(i)"),
        (lambda b, h, i, j: int(i) > 2, "this number is not known yet: int() cannot make a Python number of it", "int(i)"),
        (lambda b, h, i, j: math.exp(i) > 2, "this number is not known yet: float() cannot make a Python number of it", "math.exp(i)"),
        (lambda b, h, i, j: {1: 2}[i] > 2, "this number is not known yet: it is no key of a dictionary and no member of a set", "{1: 2}[i]"),
        (lambda b, h, i, j: [*i], "this number is no sequence", "[*i]"),
        (lambda b, h, i, j: i[0] > 2, "this number is no sequence", "i[0]"),
        (lambda b, h, i, j: i >= j & h, "'and' needs two conditions; a number is not one", "j & h"),
        (lambda b, h, i, j: ~i, "~ does not apply to a int", "~i"),
        (lambda b, h, i, j: (i > j) + 1 > 0, "+ mixes a bool and a int", "(i > j) + 1"),
        (lambda b, h, i, j: i % j == 0, "'%' divides an integer by a positive integer literal", "i % j"),
        (lambda b, h, i, j: i // -2 == 0, "'//' divides an integer by a positive integer literal", "i // -2"),
        (lambda b, h, i, j: i**j > 2, "** takes a whole number from 1 to 16 known beforehand, or 0.5", "i**j"),
        (lambda b, h, i, j: i > 2**64, "1.845e+19 does not fit 64 bits", "i > 2**64"),
        (lambda b, h, i, j: i > "3", "a str has no place in an expression", 'i > "3"'),
        (lambda b, h, i, j: i > 1j, "a complex has no place in an expression", "i > 1j"),
        (lambda b, h, i, j: np.floor(i / 2) > 1, "np.floor cannot be traced", "np.floor(i / 2)"),
        (lambda b, h, i, j: np.add.reduce(i) > 1, "np.add with reduce cannot be traced", "np.add.reduce(i)"),
        (lambda b, h, i, j: np.concatenate([i, j]) > 1, "np.concatenate cannot be traced", "np.concatenate([i, j])"),
        (lambda b, h, i, j: i == IDS, "an array of shape (3,) meets a symbol, which stands for one number", "i == IDS"),
        (lambda b, h, i, j: GRID[i], "the array GRID has 2 axes, the look-up gives 1 index(es)", "GRID[i]"),
        (lambda b, h, i, j: GRID[i, 1:], "the array GRID is indexed by a slice beside a symbol", "GRID[i, 1:]"),
        (lambda b, h, i, j: GRID[2, j], "index 2 is outside an axis of size 2 of the array GRID", "GRID[2, j]"),
        (lambda b, h, i, j: IDS[0.5 * i] == 1, "an index into %table0 is not an integer", "IDS[0.5 * i]"),
        (lambda b, h, i, j: BYTES[i] > 1, "the array BYTES has element type uint8; attnc takes float64, float32, float16, bfloat16, int64, int32, bool. Convert it with astype", "BYTES[i]"),
        (lambda b, h, i, j: undefined > i, "mask_mod raised NameError: name 'undefined' is not defined", "undefined"),  # noqa: F821
        (lambda b, h, i, j: 1 / 0, "mask_mod raised ZeroDivisionError: division by zero", "1 / 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_traced_is_shown(function, message, at):
    found = refused(function)
    assert (found.message, pointed(found)) == (message, at)
    assert found.location.filename == __file__


def no_return(b, h, i, j):
    i >= j  # noqa: B015 - that it is forgotten is the test


def test_the_whole_message():
    with pytest.raises(attnc.TraceError) as caught:
        trace(no_return, MASK_MOD)
    line = no_return.__code__.co_firstlineno
    assert str(caught.value) == (
        f"{__file__}:{line}:1: error: mask_mod returns None, not a condition\n"
        "def no_return(b, h, i, j):\n^^^^^^^^^^^^^^^^^^^^^^^^^^\nhelp: is a return missing?"
    )
    assert isinstance(caught.value, attnc.SpecError)


@pytest.mark.parametrize(
    ("function", "convention", "message"),
    [
        (lambda b, h, i, j: i - j, MASK_MOD, "mask_mod returns a number, i - j, not a condition"),
        (lambda b, h, i, j: 1, MASK_MOD, "mask_mod returns a number, 1, not a condition"),
        (lambda b, h, i, j: "yes", MASK_MOD, "mask_mod returns a str, not a condition"),
        (lambda b, h, i, j: IDS, MASK_MOD, "mask_mod returns a Table, not a condition"),
        (lambda s, b, h, i, j: s > 1, SCORE_MOD, "score_mod returns a condition, not a number"),
        (lambda i, j: i > j, MASK_MOD, "mask_mod is called as mask_mod(b, h, q_idx, kv_idx): too many positional arguments"),
        (lambda s, b, h, i, j, x: s, SCORE_MOD, "score_mod is called as score_mod(score, b, h, q_idx, kv_idx): missing a required argument: 'x'"),
        (3, SCORE_MOD, "score_mod is a int, not a function"),
    ],
)  # fmt: skip
def test_what_a_function_has_to_be(function, convention, message):
    assert refused(function, convention).message == message


def endless(s, b, h, i, j):
    while True:
        s = s + 1


def doubling(s, b, h, i, j):
    for _ in range(1000):
        s = s * s
    return s


def thrown_away(s, b, h, i, j):
    while True:
        s + 1


def recursive(s, b, h, i, j):
    return recursive(s, b, h, i, j)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (endless, f"score_mod grows to operations nested more than {MAX_DEPTH} deep"),
        (doubling, f"score_mod grows to more than {MAX_NODES} operations"),
        (thrown_away, "score_mod grows to more than 100000 steps"),
        (recursive, "score_mod raised RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_what_runs_away_is_stopped(function, message):
    assert refused(function, SCORE_MOD).message.startswith(message)


def test_symbols_mean_nothing_outside():
    kept = []
    trace(lambda b, h, i, j: kept.append(i) or i > j, MASK_MOD)
    assert "a symbol of another function" in refused(lambda b, h, i, j: kept[0] > j).message
    with pytest.raises(attnc.TraceError, match="used after the function was traced"):
        kept[0] + 1


def test_a_function_without_source_has_no_excerpt():
    scope = {}
    exec(compile("def f(b, h, i, j):\n    return i if i > j else j\n", "<made\nup>", "exec"), scope)
    linecache.checkcache()
    found = refused(scope["f"])
    assert str(found.location) == "<made\\nup>:2:1"
    assert found.excerpt == ""


# --- names ---


@pytest.mark.parametrize("name", ["x; import os", "%q", "ä", "a" * 300, "", "é}\n  return %q"])
def test_a_name_is_never_text_of_the_graph(name):
    code = (lambda b, h, i, j: IDS[i] > j).__code__.replace(co_names=(name,))
    found = trace(types.FunctionType(code, {name: IDS}), MASK_MOD)
    assert found.tables[0].name == "table"
    q = np.zeros((1, 1, 3, 2))
    attnc.attention(q, q, q, mask_mod=types.FunctionType(code, {name: IDS}))


class Loud(int):
    def __str__(self):
        return "0) } graph @stolen("

    __repr__ = __format__ = __str__


class LoudFloat(float):
    def __repr__(self):
        return "__import__('os')"

    __str__ = __repr__


def test_a_number_is_never_other_text():
    loud, low = Loud(3), LoudFloat(-0.0)
    assert text(lambda s, b, h, i, j: s * loud + low) == "score * 3 + -0.0"
    assert remembered() == 0


# --- when it is called again ---


def counting(make):
    """How often the functions that `make` gives are called in two traces."""
    calls = []
    for _ in range(2):
        trace(make(calls), MASK_MOD)
    return len(calls)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(tracer, "_traces", type(tracer._traces)())


def remembered():
    return len(tracer._traces)


def test_a_function_is_traced_once_for_what_it_captures():
    def rule(width, ids):
        return lambda b, h, i, j: (i - j < width) & (ids[i] == ids[j])

    first = trace(rule(3, IDS), MASK_MOD)
    other = trace(rule(3, np.array([7, 8, 9])), MASK_MOD)
    assert remembered() == 1
    assert other.expr is first.expr
    assert other.tables[0].array.tolist() == [7, 8, 9]
    trace(rule(4, IDS), MASK_MOD)
    trace(rule(3, IDS[:2]), MASK_MOD)
    trace(rule(3, IDS.astype(np.int32)), MASK_MOD)
    trace(rule(3.0, IDS), MASK_MOD)
    assert remembered() == 5
    with pytest.raises(attnc.TraceError, match="< mixes a int and a bool"):
        trace(rule(True, IDS), MASK_MOD)  # which equals 1, but is no number here


def test_zeros_of_either_sign_are_told_apart():
    def times(factor):
        return lambda s, b, h, i, j: s * factor

    assert [text(times(0.0)), text(times(-0.0))] == ["score * 0.0", "score * -0.0"]


def test_what_may_change_unseen_is_traced_each_time():
    bounds, model = [3], types.SimpleNamespace(width=3)
    makes = [
        lambda: lambda b, h, i, j: i < bounds[0],
        lambda: lambda b, h, i, j: i < model.width,
        lambda: lambda b, h, i, j: (i < IDS[0]) & (IDS[i] > 0),
        lambda: lambda b, h, i, j: i < IDS.sum(),
        lambda: lambda b, h, i, j: (IDS + 1)[i] > j,
        lambda: lambda b, h, i, j: attnc.table(model.ids)[i] > j,
        lambda: Model().method,
    ]
    model.ids = IDS
    for make in makes:
        trace(make(), MASK_MOD)
        assert remembered() == 0
    first = mask(makes[0]())
    bounds[0] = 5
    assert (first, mask(makes[0]())) == ("i < 3", "i < 5")


def test_a_global_that_changes_is_seen(monkeypatch):
    monkeypatch.setitem(globals(), "WIDTH", 3)
    assert mask(lambda b, h, i, j: i < WIDTH) == "i < 3"  # noqa: F821
    monkeypatch.setitem(globals(), "WIDTH", 5)
    assert mask(lambda b, h, i, j: i < WIDTH) == "i < 5"  # noqa: F821


def test_only_so_many_traces_are_kept(monkeypatch):
    monkeypatch.setattr(tracer, "MAX_TRACES", 3)

    def below(width):
        return lambda b, h, i, j: i < width

    for width in range(9):
        trace(below(width), MASK_MOD)
    assert remembered() == 3
