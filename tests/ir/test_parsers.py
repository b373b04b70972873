"""Parsers whose tables are kept: the same parser, whatever has become of the file."""

import pytest

from attnc_ir.kept import ENV_CACHE_DIR
from attnc_ir.parsers import parser_of

GRAMMAR = 'start: WORD ("," WORD)* ["!"]\nWORD: /[a-z]+/\n'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache directory."""
    monkeypatch.setenv(ENV_CACHE_DIR, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_kept_tables_parse_alike(cache):
    made = parser_of(GRAMMAR)
    (file,) = cache.iterdir()
    before = file.stat().st_mtime_ns
    kept = parser_of(GRAMMAR)
    assert file.stat().st_mtime_ns == before
    assert made.parse("a,b") == kept.parse("a,b")
    assert [token.column for token in kept.parse("a,b").children] == [1, 3]


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"\x80\x04N."])
def test_a_file_that_cannot_be_read_is_made_anew(cache, content):
    parser_of(GRAMMAR)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(content)
    assert parser_of(GRAMMAR).parse("a").children == ["a"]
    assert file.read_bytes()[:20] == whole[:20]
    assert parser_of(GRAMMAR).parse("a").children == ["a"]


def test_options_are_part_of_the_name(cache):
    assert parser_of(GRAMMAR, start=("start",)).parse("a") is not None
    parser_of(GRAMMAR, placeholders=False)
    assert len(list(cache.iterdir())) == 2


def test_a_directory_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv(ENV_CACHE_DIR, str(file))
    assert parser_of(GRAMMAR).parse("a,b").children == ["a", "b"]
