"""The reader of fenced blocks, on which the tests of the documentation stand."""

from pathlib import Path

import pytest

from fences import Block, PageError, blocks, commands, matches


def page(tmp_path: Path, text: str) -> list[Block]:
    path = tmp_path / "page.md"
    path.write_text(text, encoding="utf-8")
    return blocks(path, Path("page.md"))


def console(text: str) -> Block:
    return Block(Path("page.md"), 10, "console", text, follows=False, not_run=None)


def test_a_block_knows_its_line_language_and_neighbour(tmp_path: Path) -> None:
    one, two, three = page(tmp_path, "# T\n\n```python\na\n```\n\n```text\nb\n```\nwords\n```\nc\n```\n")
    assert (one.where, one.language, one.text, one.follows) == ("page.md:3", "python", "a\n", False)
    assert (two.where, two.language, two.text, two.follows) == ("page.md:7", "text", "b\n", True)
    assert (three.where, three.language, three.follows) == ("page.md:11", "", False)


def test_a_block_in_a_list_loses_the_indent_of_its_fence(tmp_path: Path) -> None:
    (block,) = page(tmp_path, "- item\n\n  ```python\n  if a:\n      b\n  ```\n")
    assert block.text == "if a:\n    b\n"


def test_a_longer_fence_holds_a_shorter_one(tmp_path: Path) -> None:
    (block,) = page(tmp_path, "````text\n```python\n```\n````\n")
    assert block.text == "```python\n```\n"


def test_a_reason_reaches_only_the_next_block(tmp_path: Path) -> None:
    one, two = page(tmp_path, "<!-- not run: needs\na GPU -->\n\n```sh\n$ a\n```\n\n```sh\n$ b\n```\n")
    assert one.not_run == "needs\na GPU"
    assert two.not_run is None


@pytest.mark.parametrize("comment", ["<!-- not run -->", "<!-- not run: -->", "<!--not run:  -->"])
def test_a_missing_reason_is_an_error(tmp_path: Path, comment: str) -> None:
    with pytest.raises(PageError, match=r"page\.md:2: say why"):
        page(tmp_path, f"{comment}\n```sh\n$ a\n```\n")


def test_an_open_block_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PageError, match=r"page\.md:1: this block is not closed"):
        page(tmp_path, "```python\na\n")


def test_a_command_goes_on_over_backslashes_and_here_documents() -> None:
    one, two, three = commands(
        console("$ a \\\n>   -b\n1\n\n2\n$ cat >f <<'EOF'\n> x\ny\nEOF\n$ c\n"),
    )
    assert (one.line, one.text, one.expected) == (11, "a \\\n  -b", "1\n\n2\n")
    assert (two.line, two.text, two.expected) == (16, "cat >f <<'EOF'\nx\ny\nEOF", "")
    assert (three.line, three.text, three.expected) == (20, "c", "")


@pytest.mark.parametrize("text", ["", "\n", "attnc plan x.attn\n"])
def test_a_console_block_without_a_command_is_an_error(text: str) -> None:
    with pytest.raises(PageError, match=r"page\.md:1[01]: "):
        commands(console(text))


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("a\n", "a", True),
        ("a\n", "a  \n\n", True),
        ("a\nb\n", "a\nc\n", False),
        ("a\n", "a\nb\n", False),
        ("", "a\n", False),
        ("a\n...\n", "a\n", True),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a ... c\n", "a b c\n", True),
        ("a ... c\n", "a\nc\n", False),
        ("  ...\nz\n", "x\ny\nz\n", True),
        ("(1+2)*\n", "(1+2)*\n", True),
    ],
)
def test_what_counts_as_the_same_output(expected: str, actual: str, same: bool) -> None:
    assert matches(expected, actual) is same
