"""Every `.attn` file here is wrong, and says so beside each faulty line.

    // expect-error: words of the message        a fault on this line
    // expect-error@-1: words of the message     a fault on the line above (any offset)
    // expect-help: words of the help line       of the fault named just before it

The faults found must be exactly those expected, so a case also shows that one mistake gives one message.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from attnc_ir.diagnostics import Diagnostic
from attnc_ir.errors import SpecError
from attnc_ir.text import load

CASES = sorted(Path(__file__).parent.glob("*.attn"))
_MARK = re.compile(
    r"// expect-(?P<sort>error|help)(?:@(?P<offset>[+-]\d+))?: (?P<words>.*?)(?=\s+// expect-|\s*$)"
)


@dataclass
class Expected:
    line: int
    words: str
    help: str | None = None

    def is_met_by(self, found: Diagnostic) -> bool:
        assert found.location is not None
        met = found.location.line == self.line and self.words in found.message
        return met and (self.help is None or self.help in (found.help or ""))


def expectations(text: str) -> list[Expected]:
    expected: list[Expected] = []
    for number, line in enumerate(text.split("\n"), start=1):
        for mark in _MARK.finditer(line):
            if mark["sort"] == "help":
                expected[-1].help = mark["words"]
            else:
                expected.append(Expected(number + int(mark["offset"] or 0), mark["words"]))
    return expected


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_invalid(path: Path) -> None:
    expected = expectations(path.read_text(encoding="utf-8"))
    assert expected, "a case expects at least one error"
    with pytest.raises(SpecError) as caught:
        load(path)
    found = caught.value.diagnostics
    missing = [e for e in expected if not any(e.is_met_by(d) for d in found)]
    surplus = [d for d in found if not any(e.is_met_by(d) for e in expected)]
    assert (missing, surplus) == ([], []), f"found\n{caught.value}"
    assert len(found) == len(expected)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_place_and_carets(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    with pytest.raises(SpecError) as caught:
        load(path)
    for found in caught.value.diagnostics:
        place = found.location
        assert place is not None
        rendered = found.render().split("\n")
        assert rendered[0] == f"{path}:{place.line}:{place.column}: error: {found.message}"
        assert 1 <= place.column < place.end <= len(lines[place.line - 1]) + 2
        assert rendered[2].strip() == "^" * rendered[2].count("^") != ""


def test_there_are_many() -> None:
    assert len(CASES) >= 35
