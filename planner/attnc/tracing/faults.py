"""Errors of tracing: they point into the source of the function that is traced."""

from __future__ import annotations

import itertools
import linecache
import sys
from types import CodeType, FrameType, TracebackType

from attnc_ir.diagnostics import Diagnostic, printable
from attnc_ir.errors import TraceError
from attnc_ir.location import Location

_OURS = ("attnc", "numpy")
"""Packages whose frames lie between the caller's line and the fault."""


def fault(message: str, help: str | None = None) -> TraceError:
    """An error at the line of the traced function that is being executed."""
    frame = _user_frame(sys._getframe(1))
    place = None if frame is None else _instruction(frame.f_code, frame.f_lasti, frame.f_lineno)
    return _error(message, place, help)


def fault_of_definition(code: CodeType | None, message: str, help: str | None = None) -> TraceError:
    """An error at the line where a function begins."""
    return _error(message, None if code is None else _line(code.co_filename, code.co_firstlineno), help)


def fault_of_exception(error: BaseException, what: str, code: CodeType | None) -> TraceError:
    """An error for an exception that came out of the traced function, at the line that raised it."""
    place = None
    for frame, lasti, lineno in _steps(error.__traceback__):
        if not _is_ours(frame):
            place = _instruction(frame.f_code, lasti, lineno)
    if place is None and code is not None:
        place = _line(code.co_filename, code.co_firstlineno)
    said = printable(str(error))
    text = f"{what} raised {type(error).__name__}{f': {said:.300}' if said else ''}"
    return _error(text, place, "it is called once, with symbols in place of numbers")


def source_segment() -> str:
    """The text of the expression of the traced function that is being executed; empty without source."""
    frame = _user_frame(sys._getframe(1))
    if frame is None:
        return ""
    place, excerpt = _instruction(frame.f_code, frame.f_lasti, frame.f_lineno)
    return excerpt[place.column - 1 : place.end - 1]


_Place = tuple[Location, str]
"""Where something stands, and the text of that line."""


def _error(message: str, place: _Place | None, help: str | None) -> TraceError:
    location, excerpt = place or (None, "")
    return TraceError([Diagnostic(message, location, help, excerpt)])


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and name.split(".", maxsplit=1)[0] in _OURS


def _user_frame(frame: FrameType | None) -> FrameType | None:
    while frame is not None and _is_ours(frame):
        frame = frame.f_back
    return frame


def _steps(trace: TracebackType | None) -> list[tuple[FrameType, int, int]]:
    found = []
    while trace is not None:
        found.append((trace.tb_frame, trace.tb_lasti, trace.tb_lineno))
        trace = trace.tb_next
    return found


def _instruction(code: CodeType, lasti: int, lineno: int) -> _Place:
    """The place of one instruction: its columns where the compiler kept them, else its line."""
    first, last, start, end = next(itertools.islice(code.co_positions(), lasti // 2, None), (None,) * 4)
    if first is None or start is None:
        return _line(code.co_filename, lineno)
    text = _text(code.co_filename, first)
    # Columns are counted in bytes of UTF-8.
    column = len(text.encode()[:start].decode(errors="ignore"))
    until = (
        len(text.encode()[:end].decode(errors="ignore")) if last == first and end is not None else len(text)
    )
    return Location(printable(code.co_filename), first, column + 1, max(until, column + 1) + 1), text


def _line(filename: str, lineno: int) -> _Place:
    text = _text(filename, lineno)
    start = len(text) - len(text.lstrip())
    return Location(printable(filename), lineno, start + 1, len(text) + 1), text


def _text(filename: str, lineno: int) -> str:
    return linecache.getline(filename, lineno).rstrip("\r\n")
