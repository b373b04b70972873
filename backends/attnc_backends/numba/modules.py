"""Generated modules on disk: named by a hash of their content, so that a second process finds them
compiled.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
import threading
from pathlib import Path
from types import ModuleType

from attnc_ir.errors import CacheError
from attnc_ir.kept import ENV_CACHE_DIR, cache_dir, write_whole

MODULE_NAME = re.compile(r"attnc_[0-9a-f]{40}")
"""What `module_name` gives."""

_WRITTEN = 946_684_800
"""When every generated file was written, as far as its time stamp says: at the beginning of 2000."""


def module_name(source: str) -> str:
    """The name of the module that holds exactly this source."""
    return "attnc_" + hashlib.sha256(source.encode()).hexdigest()[:40]


def write_module(source: str) -> Path:
    """Put `source` where its name says and return the file.

    Raises `CacheError` when the directory cannot be written.
    """
    return keep(f"{module_name(source)}.py", source)


def kept_module(name: str) -> Path | None:
    """The file of the module `name`, if it is there and its content is what the name says."""
    path = cache_dir() / f"{name}.py"
    try:
        return path if module_name(path.read_text(encoding="utf-8")) == name else None
    except (OSError, UnicodeError):
        return None


def keep(name: str, text: str) -> Path:
    """Write a file of the cache; an existing one with the right content stays untouched.

    Raises `CacheError` when the directory cannot be written.
    """
    directory = cache_dir()
    path = directory / name
    content = text.encode()
    try:
        if path.is_file() and path.read_bytes() == content:
            return path
        # Numba asks a file's time whether its machine code is still good. The name says so already; with one
        # time for all it stays good when two processes write the same file or a cache is copied.
        write_whole(path, content, written=_WRITTEN)
    except OSError as error:
        raise CacheError(
            f"cannot keep generated code in {directory}: {error.strerror or error}; "
            f"set {ENV_CACHE_DIR} to a directory you can write"
        ) from error
    return path


_importing = threading.RLock()


def import_module(path: Path) -> ModuleType:
    """Import a generated module file, once per process.

    Machine code in the cache that cannot be read is thrown away and made anew.
    """
    # One thread at a time: a module under execution is already in `sys.modules`, but not yet whole.
    with _importing:
        if path.stem in sys.modules:
            return sys.modules[path.stem]
        try:
            return _execute(path)
        except Exception:
            if not _forget_machine_code(path):
                raise
            return _execute(path)


def _forget_machine_code(path: Path) -> bool:
    """Remove what Python and Numba keep beside a generated module; whether there was anything."""
    kept = list((path.parent / "__pycache__").glob(f"{path.stem}.*"))
    for file in kept:
        file.unlink(missing_ok=True)
    return bool(kept)


def _execute(path: Path) -> ModuleType:
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Registered before execution, because Numba looks its functions' module up by name; withdrawn if
    # execution fails.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
