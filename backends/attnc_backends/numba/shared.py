"""The part of the runtime that is compiled once for all programs: super-accumulator, hull, running
structures.

These functions are large and the same in every program, so they live in generated modules of their own, one a
library, named by their content like any other, and are exported with the C calling convention. A program
reaches them through a table of addresses that its frame points to, and loads only the libraries it calls;
what is called for every key stays inlined in the program itself.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from attnc_backends.numba.compact import compact
from attnc_backends.numba.inline import HEADER, runtime_text
from attnc_backends.numba.modules import (
    MODULE_NAME,
    import_module,
    keep,
    kept_module,
    write_module,
)
from attnc_ir.kept import cache_dir

_C, _LLVM = {"i": "int64", "d": "float64"}, {"i": "ir.IntType(64)", "d": "ir.DoubleType()"}


@dataclass(frozen=True)
class Export:
    """A function of the shared runtime: result and parameters as letters, `i` int64 and `d` double; one
    without a result returns 0 to its caller.
    """

    name: str
    parameters: str
    result: str = ""
    function: str = ""
    """What it is in the source, where that is not the name."""
    witness: str = ""
    """The last argument, where the function is compiled for one sort of vectors."""


@dataclass(frozen=True)
class Library:
    """Runtime pieces that are compiled together, and what programs may call of them."""

    name: str
    pieces: frozenset[str]
    exports: tuple[Export, ...]


def _in_vectors(family: str, pieces: set[str], phases: dict[str, str], element: str, lanes: int) -> Library:
    """A library of `phases` (parameters by name) over vectors of one sort."""
    sort = f"{element}_{lanes}"
    exports = [
        Export(
            f"{family}_{name}_{sort}", letters, function=f"{family}_{name}", witness=f"vec_{element}({lanes})"
        )
        for name, letters in phases.items()
    ]
    return Library(f"{family}_{sort}", frozenset(pieces), tuple(exports))


def _flash(element: str, lanes: int) -> Library:
    """The phases of dense attention over vectors of one sort."""
    phases = {
        "begin": "iiiiiiii",
        "pack_negated": "ii",
        "scores": "iiiiiiiii",
        "range_mask": "iiiiii",
        "join": "iiiidiiiiii",
        "flush": "iiiidi",
        "restore": "iii",
        "end": "iiiiii",
    }
    return _in_vectors("flash", {"flash", "flash_pack"}, phases, element, lanes)


def _decode(stored: str, lanes: int) -> Library:
    """The phases of attention of few query rows, over keys and values stored in one way."""
    phases = {"copy": "iiiiii", "scores": "iiiiiiii", "join": "iiiiiidiiiii", "merge": "iiiidi"}
    return _in_vectors("decode", {"decode"}, phases, stored, lanes)


LIBRARIES = (
    Library(
        "exact",
        frozenset({"exact", "hardmax_row"}),
        (
            Export("acc_clear", "i"),
            Export("acc_add", "id"),
            Export("acc_add_product", "idd"),
            Export("acc_add_product3", "iddd"),
            Export("acc_sign", "i", "i"),
            Export("acc_round", "i", "d"),
            Export("hardmax_row", "i", "i"),
            Export("hardmax_compare", "iii", "i"),
        ),
    ),
    Library(
        "hull",
        frozenset({"hull", "hull_layout"}),
        (
            Export("hull_scratch_bytes", "i", "i"),
            Export("hull_bytes", "iii", "i"),
            Export("hull_init", "iiii", "i"),
            Export("hull_move", "iii", "i"),
            Export("hull_append", "iii", "i"),
            Export("hull_first", "iiddi", "i"),
            Export("hull_last", "iiddi", "i"),
            Export("hull_mean", "iiiiiddii", "i"),
        ),
    ),
    Library(
        "running",
        frozenset({"running"}),
        (
            Export("running_bytes", "iii", "i"),
            Export("running_start", "iiii"),
            Export("running_move", "iii"),
            Export("running_equal", "iiiiiii", "i"),
            Export("running_best", "iiiiiiiiiii", "i"),
            Export("running_best_mean", "iii", "i"),
            Export("running_mean", "iiiiiiii", "i"),
        ),
    ),
    Library(
        "hull_ties",
        frozenset({"hull_ties"}),
        (
            Export("hull_tied_sums", "iiiiiiii"),
            Export("hull_sums_add", "iii"),
            Export("hull_sums_mean", "iiii", "i"),
        ),
    ),
    Library(
        "tree",
        frozenset({"tree"}),
        (
            Export("tree_bytes", "ii", "i"),
            Export("tree_start", "iii"),
            Export("tree_move", "iii"),
            Export("tree_fill", "iiiiii", "i"),
            Export("tree_reach", "iiiiii", "i"),
            Export("tree_scratch_bytes", "i", "i"),
            Export("tree_sums_bytes", "i", "i"),
            Export("tree_best", "iiiiiii", "i"),
            Export("tree_mean", "iiiiiiiiii"),
        ),
    ),
    Library(
        "index",
        frozenset({"index", "index_table"}),
        (
            Export("index_scratch_bytes", "", "i"),
            Export("index_bytes", "iiii", "i"),
            Export("index_start", "iiiiidddddi"),
            Export("index_move", "iiii"),
            Export("index_extend", "iiiiiiiiii", "i"),
            Export("index_best", "iddi", "i"),
            Export("index_versus", "iddii", "i"),
            Export("index_aside", "ii", "i"),
            Export("index_mean", "iiiiiiii", "i"),
        ),
    ),
    Library(
        "sweep",
        frozenset({"sweep", "sweep_layout"}),
        (
            Export("sweep_bytes", "iii", "i"),
            Export("sweep", "i", "i"),
        ),
    ),
    Library(
        "hierarchy",
        frozenset({"hierarchy"}),
        (
            Export("hierarchy_bytes", "i", "i"),
            Export("hierarchy_build", "iiiiiii", "i"),
            Export("hierarchy_sums_bytes", "i", "i"),
            Export("hierarchy_best", "iii", "i"),
            Export("hierarchy_mean", "iiiiiiii"),
        ),
    ),
    *(_flash(f"f{bits}", 8 * size // bits) for bits in (32, 64) for size in (16, 32, 64)),
    *(_decode(f"f{bits}", 8 * size // bits) for bits in (32, 64) for size in (16, 32, 64)),
    *(_decode(stored, size // 4) for stored in ("bf16", "f16") for size in (16, 32, 64)),
)
"""A library more, and programs that call its functions load it."""

EXPORTS = tuple(export for library in LIBRARIES for export in library.exports)


def _wrapper(export: Export) -> str:
    names = [f"a{i}" for i in range(len(export.parameters))]
    signature = f"{_C[export.result or 'i']}({', '.join(_C[p] for p in export.parameters)})"
    entry = f'cfunc("{signature}", cache=True, error_model="numpy", boundscheck=False)'
    if export.result and not export.witness:
        # Not a function that calls it: what a function calls is optimized once more with every caller.
        return f"export_{export.name} = {entry}({export.name}.py_func)"
    passed = [*names, export.witness] if export.witness else names
    call = f"{export.function or export.name}({', '.join(passed)})"
    body = f"    return {call}" if export.result else f"    {call}\n    return 0"
    return f"@{entry}\ndef export_{export.name}({', '.join(names)}):\n{body}"


def library_source(library: Library) -> str:
    """The module of one library."""
    parts = [
        f'"""Generated by attnc: {library.name}, shared by all programs. Named after its content."""',
        "# ruff: noqa",
        HEADER.strip() + "\nfrom numba import cfunc",
        compact(runtime_text(set(library.pieces))),
        *(_wrapper(export) for export in library.exports),
    ]
    return "\n\n\n".join(parts) + "\n"


def libraries_called(text: str) -> tuple[Library, ...]:
    """The libraries whose functions `text` calls, as `shared_NAME(...)`."""
    called = _called(text)
    return tuple(x for x in LIBRARIES if called & {export.name for export in x.exports})


def _called(text: str) -> set[str]:
    return set(re.findall(r"\bshared_(\w+)\(", text))


def shared_intrinsics(layout_slot: int, text: str) -> str:
    """Intrinsics for the shared functions that `text` calls: load the address from the table, call it."""
    parts, called = [], _called(text)
    for index, export in enumerate(EXPORTS):
        if export.name not in called:
            continue
        names = [f"a{i}" for i in range(len(export.parameters))]
        types = ", ".join(f"types.{_C[p]}" for p in "i" + export.parameters)
        llvm = ", ".join(_LLVM[p] for p in export.parameters)
        parts.append(
            f"@intrinsic\n"
            f"def shared_{export.name}(typingctx, frame, {', '.join(names)}):\n"
            f"    def codegen(context, builder, signature, args):\n"
            f"        i64 = ir.IntType(64)\n"
            f"        slot = builder.inttoptr(builder.add(args[0], i64({8 * layout_slot})), i64.as_pointer())\n"
            f"        entry = builder.inttoptr(builder.add(builder.load(slot), i64({8 * index})), i64.as_pointer())\n"
            f"        function = ir.FunctionType({_LLVM[export.result or 'i']}, [{llvm}])\n"
            f"        target = builder.inttoptr(builder.load(entry), function.as_pointer())\n"
            f"        return builder.call(target, args[1:])\n\n"
            f"    return types.{_C[export.result or 'i']}({types}), codegen"
        )
    return "\n\n\n".join(parts)


_TABLE = np.zeros(len(EXPORTS), np.int64)
"""Addresses in the order of `EXPORTS`, 0 where the library is not loaded. It stays alive for the life of the
process, like the code it points to.
"""


@cache
def _sources() -> str:
    """A name for everything that `library_source` reads."""
    text = hashlib.sha256(sys.version.encode())
    package = resources.files("attnc_backends.numba")
    pieces = [x for x in package.joinpath("runtime").iterdir() if x.name.endswith(".py")]
    makers = [package.joinpath(f"{name}.py") for name in ("compact", "inline", "shared", "vectors")]
    for file in sorted([*pieces, *makers], key=lambda x: x.name):
        text.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return text.hexdigest()[:40]


def _library_file(library: Library) -> Path:
    """The library's module in the cache. Making its text takes longer than loading its code, so the cache
    also has a note of which module came of which sources.
    """
    note = f"library_{library.name}_{_sources()}.txt"
    try:
        name = (cache_dir() / note).read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        name = ""
    kept = kept_module(name) if MODULE_NAME.fullmatch(name) else None
    if kept is None:
        kept = write_module(library_source(library))
        keep(note, kept.stem)
    return kept


@cache
def _loaded(library: Library) -> ModuleType:
    """The library's module; its addresses stand in the table."""
    module = import_module(_library_file(library))
    for export in library.exports:
        _TABLE[EXPORTS.index(export)] = getattr(module, f"export_{export.name}").address
    return module


def shared_table(libraries: Iterable[Library]) -> npt.NDArray[np.int64]:
    """The table of addresses, with those of `libraries`."""
    for library in libraries:
        _loaded(library)
    return _TABLE


def shared_compilations() -> int:
    """How many of the shared functions were compiled in this process instead of loaded."""
    return sum(
        getattr(_loaded(library), f"export_{export.name}").cache_hits == 0
        for library in LIBRARIES
        if any(_TABLE[EXPORTS.index(export)] for export in library.exports)
        for export in library.exports
    )
