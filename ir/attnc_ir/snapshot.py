"""States on disk: the rows of every cache, in one file that says of itself whether it is whole.

A snapshot holds keys and values as they were appended and nothing that is derived from them. Structures such
as hulls are built anew on loading: they come out the same, and no file, however made, can put anything but
rows into a state. A state saved by one backend loads into another.

The file is a magic line, a header of JSON (its length first), the rows, and the SHA-256 of everything before
it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from attnc_ir.errors import StateError
from attnc_ir.graph import Graph
from attnc_ir.ops import Append, Cache
from attnc_ir.promises import check_rows
from attnc_ir.storage import NUMPY, Array, to_float64
from attnc_ir.types import Dim, DType, Shape, Symbol, format_shape

MAGIC = b"attnc state 1\n"
_MAX_HEADER = 1 << 20
_CHUNK = 1 << 24
_DIGEST = 32

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class CacheRows:
    """What one cache holds: `keys` `[heads..., rows, D]` and `values` `[heads..., rows, Dv]` as they were
    appended.
    """

    keys: Array
    values: Array


@dataclass(frozen=True)
class Snapshot:
    """A state: sizes of symbolic dimensions, number of steps, and the rows of each cache in the graph's
    order.
    """

    dims: Mapping[str, int]
    length: int
    caches: tuple[CacheRows, ...]


def describe_caches(graph: Graph) -> list[dict[str, str]]:
    """What has to agree between the graph that saved a state and the one that loads it."""
    return [
        {
            "name": op.results[0].name,
            "heads": format_shape(op.heads),
            "key": str(op.key),
            "value": str(op.value),
        }
        for op in graph.caches
    ]


def check_snapshot(graph: Graph, snapshot: Snapshot) -> None:
    """Raise `StateError` unless `snapshot` can be a state of `graph`: as many rows as steps append, keys
    finite; `PromiseError` where a key breaks a promise.
    """
    roots = graph.cache_roots()
    appended = [roots[op.cache.name] for op in graph.ops if isinstance(op, Append)]
    for op, rows in zip(graph.caches, snapshot.caches, strict=True):
        wanted = snapshot.length * sum(root is op for root in appended)
        if rows.keys.shape[-2] != wanted or rows.values.shape[-2] != wanted:
            raise StateError(
                f"{op.results[0]} has {rows.keys.shape[-2]} rows; {snapshot.length} steps append {wanted}"
            )
        if not np.isfinite(to_float64(rows.keys, op.key.dtype)).all():
            raise StateError(f"cache {op.results[0]} holds a key that is not finite")
        check_rows(graph, op, rows.keys)


def write_snapshot(path: PathLike, graph: Graph, snapshot: Snapshot) -> None:
    """Write `snapshot` to `path`, whole or not at all.

    Raises `StateError` when the file cannot be written; an older file of that name then stays as it was.
    """
    header = json.dumps(
        {
            "graph": graph.name,
            "caches": describe_caches(graph),
            "dims": dict(snapshot.dims),
            "length": snapshot.length,
            "rows": [rows.keys.shape[-2] for rows in snapshot.caches],
        }
    ).encode()
    target = Path(path)
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            digest = hashlib.sha256()
            pieces = [MAGIC, len(header).to_bytes(8, "little"), header]
            for piece in [*pieces, *_chunks(snapshot)]:
                digest.update(piece)
                file.write(piece)
            file.write(digest.digest())
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except OSError as error:
        raise StateError(f"cannot save the state to {str(path)!r}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _chunks(snapshot: Snapshot) -> Iterator[bytes]:
    """The bytes of all rows, in pieces."""
    for cache in snapshot.caches:
        for array in (cache.keys, cache.values):
            flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            for start in range(0, len(flat), _CHUNK):
                yield flat[start : start + _CHUNK].tobytes()


def read_snapshot(path: PathLike, graph: Graph) -> Snapshot:
    """The state in the file at `path`, for `graph`.

    Raises `StateError` when there is no such file, it is cut short or altered, or it belongs to other caches.
    Never reads or allocates more than the file holds.
    """
    try:
        with Path(path).open("rb") as file:
            return _read(file, os.fstat(file.fileno()).st_size, str(path), graph)
    except (OSError, ValueError) as error:  # a name with a NUL byte is a ValueError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StateError(f"cannot load a state from {str(path)!r}: {reason}") from None


def _read(file: BinaryIO, size: int, name: str, graph: Graph) -> Snapshot:
    digest = hashlib.sha256()

    def take(count: int) -> bytes:
        piece = file.read(count)
        if len(piece) != count:
            raise StateError(f"{name!r} is cut short; it is no whole state file")
        digest.update(piece)
        return piece

    if file.read(len(MAGIC)) != MAGIC:
        raise StateError(f"{name!r} is no state file of this version of attnc")
    digest.update(MAGIC)
    length = int.from_bytes(take(8), "little")
    if length > min(_MAX_HEADER, size):
        raise StateError(f"{name!r} is damaged: its header would have {length} bytes")
    header = _header(take(length), name, graph)
    shapes = [
        _shapes(op, rows, header["dims"], name) for op, rows in zip(graph.caches, header["rows"], strict=True)
    ]
    total = sum(math.prod(shape) * NUMPY[dtype].itemsize for pair in shapes for shape, dtype in pair)
    if len(MAGIC) + 8 + length + total + _DIGEST != size:
        raise StateError(
            f"{name!r} is damaged: it has {size} bytes, its header speaks of {total} bytes of rows"
        )
    caches = []
    for pair in shapes:
        arrays = []
        for shape, dtype in pair:
            array = np.empty(shape, NUMPY[dtype])
            flat = array.reshape(-1).view(np.uint8)
            for start in range(0, len(flat), _CHUNK):
                end = min(start + _CHUNK, len(flat))
                flat[start:end] = np.frombuffer(take(end - start), np.uint8)
            arrays.append(array)
        caches.append(CacheRows(*arrays))
    if file.read(_DIGEST) != digest.digest():
        raise StateError(f"{name!r} is damaged: its checksum does not match")
    return Snapshot(header["dims"], header["length"], tuple(caches))


def _header(text: bytes, name: str, graph: Graph) -> dict[str, Any]:
    try:
        header = json.loads(text)
        dims, rows = header["dims"], header["rows"]
        counts = [header["length"], *rows, *dims.values()]
        whole = all(type(n) is int and 0 <= n < 2**40 for n in counts) and len(rows) == len(header["caches"])
        saved = list(header["caches"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise StateError(f"{name!r} is damaged: its header does not read")
    if saved != describe_caches(graph):
        raise StateError(
            f"{name!r} holds a state of other caches than those of @{graph.name}; "
            "load it with the program that saved it, or one compiled alike"
        )
    return dict(header)


def _shapes(op: Cache, rows: int, dims: Mapping[str, int], name: str) -> list[tuple[tuple[int, ...], DType]]:
    """Shape and element type of a cache's keys and of its values."""

    def sizes(shape: Shape) -> tuple[int, ...]:
        return tuple(size(d) for d in shape)

    def size(dim: Dim) -> int:
        if isinstance(dim, Symbol):
            if dim.name not in dims:
                raise StateError(f"{name!r} is damaged: it does not give the size of {dim}")
            return dims[dim.name]
        return dim

    return [((*sizes(op.heads), rows, *sizes(row.shape)), row.dtype) for row in (op.key, op.value)]
