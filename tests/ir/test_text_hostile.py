"""Whatever the input is, the answer is a module or a located SpecError."""

import inspect
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attnc_ir import text as text_form
from attnc_ir.attributes.mask import Predicate
from attnc_ir.errors import ArgumentError, SpecError
from attnc_ir.expr import type_of
from attnc_ir.ops import Attend
from attnc_ir.text import format_module, load, parse
from drawn_modules import modules

SPEC = """// what the mutations start from
graph @prefill(%q: f32[B x 4 x N x 8], %k: f32[B x 2 x M x 8], %t: i64[N]) -> f32[B x 4 x N x 8], f32[B x 4 x N] {
  %o, %lse = attend %q, %k, %k {normalizer = softmax, mask = causal(bottom_right) & window(4, 0) | ~predicate(%t[i] // 2 == j % 3),
    scale = rsqrt(8), bias = expression(-(3) * tanh(i - j) + 1e-3)}  // over two lines
  return %o, %lse
}

graph @memory(%q: f64[H x 2], %v: f64[H x 3]) {
  %w: f64[2] = constant {type = f64[2], values = [-0.0, 1e300]}
  %c = cache {heads = H, key = f64[2], value = f64[3]}
  %c1 = append %c, %q, %v
  %o = attend.step %q, %c1 {normalizer = hardmax(last)}
  return %o
}
"""
PIECES = st.sampled_from(
    ["(", ")", "[", "]", "{", "}", "%", "//", "=", ",", "\n", "return", "graph @", "%o", " x ", "-", "not ", "1e999", "\0", "\ud800",
     "\u2028", "\x1b[31m", "é", "?", "->", "@", ":", "9" * 5000, "~" * 300, "i + " * 300]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        change = draw(st.integers(0, 4))
        if change == 0:
            text = text[:start]
        elif change == 1:
            text = text[:start] + text[end:]
        elif change == 2:
            text = text[:start] + text[start:end] * 2 + text[end:]
        elif change == 3:
            text = text[:start] + draw(PIECES) + text[start:]
        else:
            text = text[:start] + draw(st.characters()) + text[start + 1 :]
    return text


def module_or_spec_error(text: str) -> None:
    error: SpecError | None = None
    try:
        module = parse(text, "hostile.attn")
    except SpecError as caught:
        error = caught
    if error is None:
        assert parse(format_module(module)) == module
        return
    assert error.diagnostics
    for found in error.diagnostics:
        assert found.message.isprintable()
        assert (found.help or "").isprintable()
        if found.location is None:
            assert "more faults" in found.message
        else:
            assert 1 <= found.location.line <= text.count("\n") + 1
            assert 1 <= found.location.column < found.location.end
    assert all(line.isprintable() for line in str(error).split("\n"))


@given(mutated(SPEC))
@settings(max_examples=settings().max_examples * 4)
def test_mutations_of_a_spec(text: str) -> None:
    module_or_spec_error(text)


@given(modules().map(format_module).flatmap(mutated))
@settings(max_examples=settings().max_examples // 3)
def test_mutations_of_drawn_modules(text: str) -> None:
    module_or_spec_error(text)


@given(st.text() | st.lists(PIECES | st.sampled_from(SPEC.split())).map(" ".join))
def test_any_text(text: str) -> None:
    module_or_spec_error(text)


@given(st.binary(max_size=30), st.integers(0, len(SPEC)))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes, at: int) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.attn"
    path.write_bytes(SPEC.encode()[:at] + content + SPEC.encode()[at:])
    said = f"{path}:"
    try:
        load(path)
    except SpecError as error:
        said = str(error)
    assert said.startswith(f"{path}:")


@pytest.mark.parametrize("cut", range(0, len(SPEC), 7))
def test_truncated(cut: int) -> None:
    module_or_spec_error(SPEC[:cut])


def masked(condition: str) -> str:
    return f"graph @f(%x: f64[N x 2]) {{\n  %o = attend %x, %x, %x {{normalizer = softmax, mask = predicate({condition})}}\n  return %o\n}}"


def refused(text: str, message: str, line: int = 2) -> None:
    with pytest.raises(SpecError) as caught:
        parse(text)
    (found,) = caught.value.diagnostics
    assert message in found.message
    assert found.location is not None
    assert found.location.line == line


def test_deep_brackets_are_refused() -> None:
    refused(masked("(" * 100_000 + "i" + ")" * 100_000 + " < 3"), "brackets nest deeper than 64")


def test_deep_mixed_brackets_are_refused() -> None:
    refused(masked("abs(" * 200 + "i" + ")" * 200 + " < 3"), "brackets nest deeper than 64")


@pytest.mark.parametrize(
    "chain", ["i + " * 20_000 + "i < 3", "-" * 20_000 + "i < 3", "not " * 20_000 + "true"]
)
def test_long_chains_are_refused(chain: str) -> None:
    refused(masked(chain), "an expression more than 128 levels deep")


def test_the_deepest_expressions_pass_everywhere() -> None:
    grouped = masked("(" * 50 + "i" + " + j)" * 50 + " < 3")
    chained = masked("j" + " + i" * 120 + " < 3")
    masks = masked("i < j").replace("predicate(i < j)", "(~" * 40 + "causal" + " | causal)" * 40)
    for text in (grouped, chained, masks):
        module = parse(text)
        assert parse(format_module(module)) == module
        assert isinstance(hash(module), int)
        assert repr(module)
        (op,) = module["f"].ops
        assert isinstance(op, Attend)
        if isinstance(op.mask, Predicate):
            type_of(op.mask.condition)
        assert op.with_operands({}) == op


def test_recursion_limit_is_far() -> None:
    """The deepest text is read with half of what Python allows."""
    limit = sys.getrecursionlimit()
    depth = len(inspect.stack())
    sys.setrecursionlimit(depth + 500)
    try:
        test_the_deepest_expressions_pass_everywhere()
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("9" * 100_000, "a number of 100000 characters"),
        ("9" * 500, "integer does not fit 64 bits"),
        ("1e999", "too large for a double"),
        ("0." + "1" * 10_000, "a number of 10002 characters"),
    ],
)
def test_huge_numbers(number: str, message: str) -> None:
    refused(masked(f"i < {number}"), message)


def test_huge_dimension() -> None:
    refused(
        f"graph @f(%x: f64[{'9' * 500}]) {{ return %x }}", "dimension a huge integer is too large", line=1
    )


def test_huge_numbers_in_lists() -> None:
    for item in ("9" * 601, "1e999"):
        refused(
            f"graph @f() {{\n %x = constant {{type = f64[2], values = [1, {item}]}}\n return %x }}", "number"
        )


def test_too_many_values() -> None:
    values = ", ".join(["1"] * 1_000_002)
    refused(
        f"graph @f() {{\n%x = constant {{type = f64[2], values = [{values}]}}\nreturn %x}}",
        "a list of more than 1000000 items",
    )


def test_a_million_values() -> None:
    values = ",".join(map(str, range(1_000_000)))
    module = parse(f"graph @f() {{ %x = constant {{type = f64[1000000], values = [{values}]}} return %x }}")
    assert (
        module["f"].outputs[0].type == parse("graph @f(%x: f64[1000000]) { return %x }")["f"].outputs[0].type
    )


def test_long_names() -> None:
    assert parse(f"graph @f(%{'a' * 128}: f64[{'N' * 128}]) {{ return %{'a' * 128} }}").names == ("f",)
    refused(f"graph @f(%{'a' * 129}: f64[2]) {{ }}", "a name of 129 characters", line=1)
    refused(f"graph @f(%a: f64[{'N' * 129}]) {{ }}", "a name of 129 characters", line=1)
    refused(f"graph @{'f' * 129}() {{ }}", "a name of 129 characters", line=1)


def test_every_line_is_wrong() -> None:
    lines = "\n".join(f"  %a{n} = ned %x" for n in range(1000))
    with pytest.raises(SpecError) as caught:
        parse(f"graph @f(%x: f64[2]) {{\n{lines}\n  return %x\n}}")
    assert len(caught.value.diagnostics) == 101
    assert caught.value.diagnostics[-1].message == "900 more faults are not shown"


def test_many_statements() -> None:
    lines = "\n".join(f"  %a{n + 1} = neg %a{n}" for n in range(5000))
    module = parse(f"graph @f(%a0: f64[2]) {{\n{lines}\n  return %a5000\n}}")
    assert len(module["f"].ops) == 5000


def test_nul_bytes_and_escapes_do_not_reach_the_terminal() -> None:
    with pytest.raises(SpecError) as caught:
        parse("graph @f(%x: f64[2]) {\n  %a = neg %x \0\n  %b = neg %x \x1b\n  return %a\n}")
    said = str(caught.value)
    assert "\0" not in said
    assert "\x1b" not in said
    assert "unexpected '\\x00'" in said
    assert "unexpected '\\x1b'" in said


@pytest.mark.parametrize("text", ["", " \r\n\t", "// only a comment", "\ufeff"])
def test_nothing(text: str) -> None:
    refused(text, "there is no graph in this file", line=1)


def test_comments_at_the_end_of_the_file() -> None:
    assert parse("graph @f(%x: f64[2]) { return %x } // end").names == ("f",)
    assert parse("// attnc opt -p cse   changed\n//   more\ngraph @f(%x: f64[2]) { return %x }").names == (
        "f",
    )


def test_bytes_are_not_text() -> None:
    with pytest.raises(ArgumentError, match="parse reads text, not bytes"):
        parse(b"graph")


# --- files ---


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.attn"
    path.write_bytes("graph @f(%x: f64[2]) {\n  // für alle\n  return %x }".encode("latin-1"))
    with pytest.raises(SpecError) as caught:
        load(path)
    lines = str(caught.value).split("\n")
    assert lines[0] == f"{path}:2:7: error: byte 0xfc is not UTF-8 text"
    assert lines[2] == "      ^"
    assert lines[3] == "help: save the file as UTF-8"


@pytest.mark.parametrize(
    ("name", "reason"), [("none.attn", "No such file"), (".", "Is a directory"), ("a\0b", "null byte")]
)
def test_unreadable(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ArgumentError, match=reason):
        load(tmp_path / name)


def test_not_a_path() -> None:
    with pytest.raises(ArgumentError, match="needs its path, not bytes"):
        load(b"name.attn")


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.attn"
    path.write_text(SPEC, encoding="utf-8")
    monkeypatch.setattr(text_form, "MAX_BYTES", len(SPEC))
    load(path)
    monkeypatch.setattr(text_form, "MAX_BYTES", len(SPEC) - 1)
    with pytest.raises(ArgumentError, match="is larger than"):
        load(path)
