"""Where errors end: every exception of a command becomes a message and an exit code.

| code | meaning |
|---|---|
| 0 | done |
| 1 | the input is at fault: every `AttncError`, printed as it is |
| 2 | usage |
| 70 | a fault of attnc itself |
| 130 | stopped by Ctrl-C |
| 141 | the reader of the output went away |
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shlex
import sys
import traceback
from typing import TextIO

from attnc.cli.console import complain
from attnc_ir.errors import AttncError, InternalError

OK, AT_FAULT, USAGE, INTERNAL, INTERRUPTED, READER_GONE = 0, 1, 2, 70, 130, 141

DEBUG = "ATTNC_DEBUG"
"""The environment variable that shows the traceback of an internal error."""


def exit_code(error: BaseException) -> int:
    """Tell the user about an error, as far as there is something to tell; the exit code for it."""
    # With stderr gone, too, there is nobody left to tell.
    with contextlib.suppress(OSError, AttncError):
        return _told(error)
    return READER_GONE


def _told(error: BaseException) -> int:
    match error:
        case InternalError():
            complain(f"attnc: {error}\n{_versions()}")
            _show_traceback()
            return INTERNAL
        case AttncError():
            complain(str(error))
            return AT_FAULT
        case KeyboardInterrupt():
            return INTERRUPTED
        case BrokenPipeError():
            _abandon(sys.stdout)
            return READER_GONE
        case MemoryError():
            detail = f": {error}" if str(error) else ""
            complain(
                f"attnc: error: not enough memory{detail}\nhelp: use smaller sizes, or a machine with more"
            )
            return AT_FAULT
        case _:
            complain(_internal(error))
            _show_traceback()
            return INTERNAL


def _internal(error: BaseException) -> str:
    command = shlex.join(["attnc", *sys.argv[1:]])
    hint = "" if os.environ.get(DEBUG) else f"; {DEBUG}=1 shows the traceback"
    return (
        f"attnc: internal error: {type(error).__name__}: {str(error)[:500]}\n"
        f"this is a fault of attnc, not of your input; to report it, send the files this command names:\n"
        f"  {command[:2000]}\n"
        f"{_versions()}{hint}"
    )


def _show_traceback() -> None:
    if os.environ.get(DEBUG):
        complain(traceback.format_exc())


def version(package: str) -> str:
    """The version of an installed package, without importing it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


def _versions() -> str:
    import attnc

    return (
        f"attnc {attnc.__version__}, Python {platform.python_version()}, "
        f"numba {version('numba')}, numpy {version('numpy')}"
    )


def finished(code: int) -> int:
    """Write what is still buffered for stdout; the exit code, which says if that fails."""
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _abandon(sys.stdout)
        return code or READER_GONE
    except OSError as error:
        _abandon(sys.stdout)
        if code == OK:
            complain(f"attnc: error: cannot write to standard output: {error.strerror or error}")
        return code or AT_FAULT
    return code


def _abandon(stream: TextIO) -> None:
    """Drop what is buffered for a stream that takes nothing more, or Python would complain at exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
