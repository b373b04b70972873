"""Reading what the command line names, and writing what it asks for."""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import struct
import sys
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

import attnc
from attnc.cli.console import on_terminal, say
from attnc_ir.diagnostics import Diagnostic, printable
from attnc_ir.errors import ArgumentError, SpecError
from attnc_ir.graph import Module
from attnc_ir.storage import Array
from attnc_ir.text import MAX_BYTES, decode

STDIN = "-"
SEPARATOR = "// -----"
"""A line that parts one module from the next: between the dumps of a pipeline, say."""

_PARTED = re.compile(r"^// -----[ \t]*\r?$", re.MULTILINE)
_REMARKS = re.compile(r"(?:\s|//[^\n]*(?:\n|\Z))*\Z")


# --- specs --------------------------------------------------------------------------------------------------


def shown(path: str) -> str:
    """What messages call the file at `path`."""
    return "<stdin>" if path == STDIN else printable(path)


def read_text(path: str) -> str:
    """The text of a file, or of stdin for `-`; errors as those of `attnc.load`."""
    name = shown(path)
    try:
        with _opened(path) as file:
            if path == STDIN and on_terminal(sys.stdin):
                say("reading a spec from the keyboard; end it with Ctrl-D, or see --help")
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # a name with a NUL byte is a ValueError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ArgumentError(f"cannot read {name}: {reason}") from None
    if len(content) > MAX_BYTES:
        limit = f"{MAX_BYTES // 2**20} MiB"
        raise ArgumentError(f"{name} is larger than {limit}; give large tensors to the graph as inputs")
    return decode(content, name)


def read_spec(path: str) -> Module:
    """The module in a file, or on stdin for `-`."""
    return attnc.parse(read_text(path), filename=shown(path))


def read_modules(path: str) -> list[Module]:
    """The modules that lines `// -----` part in a file, or on stdin for `-`; one error holds all faults."""
    modules: list[Module] = []
    faults: list[Diagnostic] = []
    for section in sections(read_text(path)):
        try:
            modules.append(attnc.parse(section, filename=shown(path)))
        except SpecError as error:
            faults += error.diagnostics
    if faults:
        raise SpecError(faults)
    return modules


def sections(text: str) -> list[str]:
    r"""The modules of a text that lines `// -----` part, each on the lines where it stood.

    >>> sections("graph A\n// -----\ngraph B\n// -----\n// that is all\n")
    ['graph A\n', '\n// -----\ngraph B\n']
    """
    edges = [0, *(match.start() for match in _PARTED.finditer(text)), len(text)]
    bodies = [(start, text[start:end]) for start, end in pairwise(edges)]
    found = ["\n" * text.count("\n", 0, start) + body for start, body in bodies if not _REMARKS.match(body)]
    return found or [text]


# --- arrays -------------------------------------------------------------------------------------------------


_HOW = "write one with np.savez(path, q=q, k=k), an array for each input of the graph"


def read_arrays(path: str) -> dict[str, Array]:
    """The arrays of an `.npz` file by name, or of one on stdin for `-`. Nothing in it is ever unpickled."""
    name = shown(path)
    try:
        with _opened(path) as file:
            # An archive must be seekable, which a pipe is not.
            archive = np.load(file if file.seekable() else io.BytesIO(file.read()), allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise ArgumentError(f"{name} holds one array without a name; {_HOW}")
            with archive:
                return {key: _member(archive, key, name) for key in archive.files}
    except OSError as error:
        raise ArgumentError(f"cannot read {name}: {error.strerror or error}") from None
    except _DAMAGED as error:
        detail = "" if "pickle" in str(error) or not str(error) else f" ({error})"
        raise ArgumentError(f"{name} is not an .npz file{detail}; {_HOW}") from None


def _opened(path: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if path != STDIN:
        return Path(path).open("rb")
    if sys.stdin is None:
        raise ArgumentError("there is no standard input; name a file")
    return contextlib.nullcontext(sys.stdin.buffer)


def _member(archive: Mapping[str, Array], key: str, name: str) -> Array:
    what = f"{name}: array {printable(key[:60])!r}"
    try:
        array = archive[key]
    except _DAMAGED as error:
        if "Object arrays" in str(error):
            raise ArgumentError(f"{what} holds Python objects, which are not read; save numbers") from None
        raise ArgumentError(f"{what} is damaged: {error or type(error).__name__}") from None
    if not isinstance(array, np.ndarray):
        raise ArgumentError(f"{what} is no array; save the file with np.savez")
    return array


_DAMAGED = (
    EOFError,
    KeyError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the readers of zip files and arrays raise, between them, for a file that is damaged or hostile."""


# --- output -------------------------------------------------------------------------------------------------


def write_text(path: str, text: str) -> None:
    """Put `text` into the file at `path`, all or nothing; `-` is stdout."""
    write(path, lambda file: file.write(text.encode("utf-8")))


def write_arrays(path: str, arrays: Mapping[str, Array]) -> None:
    """Put arrays into an `.npz` file at `path`, all or nothing; `-` is stdout."""

    def save(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, array in arrays.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)

    write(path, save)


def write(path: str, save: Callable[[BinaryIO], object]) -> None:
    """Let `save` write the file at `path`: aside first, then renamed, so that nobody reads half of it.

    A name that stands for something else than a file, `/dev/null` or a pipe, is written to as it is.
    """
    if "\0" in path:
        raise ArgumentError(f"cannot write {printable(path)}: a file name has no NUL character")
    try:
        if path == STDIN:
            save(sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        target = Path(path).resolve()  # through a link, to the file it names
        mode = _mode(target)
        if mode is None:
            with target.open("wb") as file:
                save(file)
            return
        handle, aside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                save(file)
            Path(aside).chmod(mode)
            Path(aside).replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(aside).unlink()
            raise
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ArgumentError(f"cannot write {printable(path)}: {error.strerror or error}") from None


def _mode(target: Path) -> int | None:
    """The permissions for a new file at `target`; None where it is no plain file to be replaced."""
    try:
        found = target.stat().st_mode
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
    return stat.S_IMODE(found) if stat.S_ISREG(found) else None
