"""What is stated about columns holds for the numbers that drawn graphs compute."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc.facts import ColumnsFact, analyze, columns
from attnc_ir.reference import run
from attnc_ir.text import parse

HEAD = """graph @g(%x: f64[3 x 2], %row: f64[1 x 2], %n: i32[3 x 1]) {
  %zero = constant {type = f64[1], values = [0.0]}
  %one = constant {type = f64[1], values = [1.0]}
  %minus = constant {type = f64[1], values = [-1.0]}
  %table = constant {type = f64[3 x 2], values = [0.0, 7.5, -0.0, 7.5, 0.0, 7.5]}
  %bad = constant {type = f64[3 x 2], values = [inf, 1.0, inf, nan, inf, 1.0]}
  %i = iota {type = f64[3 x 1], axis = 0}
  %w = convert %n {to = f64}
  %wide = broadcast %row {shape = [3 x 2]}
"""
WIDTHS = {"x": 2, "row": 2, "zero": 1, "one": 1, "minus": 1, "table": 2, "bad": 2, "i": 1, "w": 1, "wide": 2}
ROWS = {name: 1 if name in ("row", "zero", "one", "minus") else 3 for name in WIDTHS}


@st.composite
def programs(draw):
    """The text of a graph that returns all that it computes."""
    widths, rows, lines = dict(WIDTHS), dict(ROWS), []
    for number in range(draw(st.integers(1, 7))):
        name = f"r{number}"
        x = draw(st.sampled_from(sorted(widths)))
        y = draw(
            st.sampled_from(
                [y for y in sorted(widths) if 1 in (widths[x], widths[y]) or widths[x] == widths[y]]
            )
        )
        op = draw(st.sampled_from(["neg", "add", "sub", "mul", "concat", "slice", "cut", "broadcast", "f32"]))
        width, length = max(widths[x], widths[y]), max(rows[x], rows[y])
        if op in ("concat", "cut", "broadcast", "slice") and rows[x] == 1:
            op = "add"
        match op:
            case "neg":
                lines.append(f"%{name} = neg %{x}")
                width, length = widths[x], rows[x]
            case "concat":
                y = draw(st.sampled_from([y for y in sorted(widths) if rows[y] == 3]))
                lines.append(f"%{name} = concat %{x}, %{y}")
                width, length = widths[x] + widths[y], 3
            case "slice":
                start = draw(st.integers(0, widths[x] - 1))
                lines.append(f"%{name} = slice %{x} {{start = {start}, stop = {widths[x]}}}")
                width, length = widths[x] - start, 3
            case "cut":
                start = draw(st.integers(0, 2))
                lines.append(f"%{name}_cut = slice %{x} {{start = {start}, stop = {start + 1}, axis = 0}}")
                lines.append(f"%{name} = broadcast %{name}_cut {{shape = [3 x {widths[x]}]}}")
                width, length = widths[x], 3
            case "broadcast":
                width, length = (2 if widths[x] == 1 else widths[x]), 3
                lines.append(f"%{name} = broadcast %{x} {{shape = [3 x {width}]}}")
            case "f32":
                lines += [
                    f"%{name}_low = convert %{x} {{to = f32}}",
                    f"%{name} = convert %{name}_low {{to = f64}}",
                ]
                width, length = widths[x], rows[x]
            case _:
                lines.append(f"%{name} = {op} %{x}, %{y}")
        widths[name], rows[name] = width, length
    names = [f"%{name}" for name in widths if rows[name] == 3]
    return HEAD + "\n".join(lines) + f"\n  return {', '.join(names)}\n}}"


elements = st.sampled_from([0.0, -0.0, 1.0, -2.0, 0.1, 1e300, 1e-300, np.inf, -np.inf, np.nan])


@settings(max_examples=max(300, settings.default.max_examples))
@given(
    text=programs(),
    free=st.lists(elements, min_size=8, max_size=8),
    whole=st.lists(st.sampled_from([0, 1, -3, 2**31 - 1, -(2**31)]), min_size=3, max_size=3),
)
def test_columns_are_as_stated(text, free, whole):
    graph = parse(text)["g"]
    facts = analyze(graph)
    arrays = {
        "x": np.array(free[:6]).reshape(3, 2),
        "row": np.array(free[6:]).reshape(1, 2),
        "n": np.array(whole, np.int32).reshape(3, 1),
    }
    by_source = {}
    for value, array in zip(graph.outputs, run(graph, arrays), strict=True):
        for column, numbers in zip(columns(value, facts), array.T, strict=True):
            if column.constant is not None:
                assert (numbers == column.constant).all()
            if column.steady:
                assert np.array_equal(numbers, np.full(3, numbers[0]), equal_nan=True)
            if column.finite:
                assert np.isfinite(numbers).all()
            if column.integers is not None:
                low, high = column.integers
                assert ((numbers >= low) & (numbers <= high) & (numbers == np.floor(numbers))).all()
            expected = by_source.setdefault(column.source, column.sign * numbers)
            assert np.array_equal(column.sign * numbers, expected, equal_nan=True)


@pytest.mark.parametrize(
    ("body", "known"),
    [
        ("%r = concat %x, %one", [None, None, 1.0]),
        ("%a = concat %one, %x\n%r = mul %a, %zero", [0.0, None, None]),  # an infinite %x makes NaN
        ("%a = concat %one, %x\n%r = sub %a, %one", [0.0, None, None]),
        ("%a = concat %x, %one\n%r = slice %a {start = 2, stop = 3}", [1.0]),
        ("%a = concat %x, %one\n%r = convert %a {to = f32}", [None, None, 1.0]),
        ("%r = neg %x", [None, None]),
    ],
)
def test_constants_are_followed(body, known):
    graph = parse(f"""graph @g(%x: f64[N x 2]) {{
      %zero = constant {{type = f64[1], values = [0.0]}}
      %one = constant {{type = f64[N x 1], values = [1.0]}}
      {body}
      return %r
    }}""")["g"]
    found = columns(graph.outputs[0], analyze(graph))
    assert [column.constant for column in found] == known


def test_the_plan_can_name_what_is_known():
    graph = parse("""graph @g(%x: f64[N x 1]) {
      %one = constant {type = f64[N x 1], values = [1.0]}
      %r = concat %x, %one, %x
      return %r
    }""")["g"]
    facts = analyze(graph)
    (reason, *_) = facts.chain(facts.get(graph.outputs[0], ColumnsFact))
    assert reason == "%r has columns followed one by one: column 1 is 1, column 2 repeats another"
