"""The directory of what is kept between processes: generated code, machine code, the parser's tables."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs

ENV_CACHE_DIR = "ATTNC_CACHE_DIR"


def cache_dir() -> Path:
    """Where it lies: `$ATTNC_CACHE_DIR`, else the user's cache directory."""
    override = os.environ.get(ENV_CACHE_DIR)
    return Path(override) if override else Path(platformdirs.user_cache_dir("attnc")) / "code"


def write_whole(path: Path, content: bytes, *, written: int | None = None) -> None:
    """Write a file, and its directory: aside first, then renamed, so that no process ever reads half of it.
    `written` is the time stamp it gets, in seconds since 1970. Raises `OSError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        if written is not None:
            os.utime(temporary, (written, written))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
