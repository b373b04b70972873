"""Machine profiles: what one floating-point operation, byte, probe or call costs here, in nanoseconds.

A profile is measured once by [`calibrate`][attnc.calibrate.calibrate] and kept as JSON in the user's data
directory (or in the directory that `ATTNC_DATA_DIR` names), with the machine and the date. Until then
`builtin` serves.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import tempfile
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import platformdirs

from attnc_ir.errors import ArgumentError
from attnc_ir.kinds import suggest
from attnc_ir.types import DType

HOST = "host"
"""The name that `attnc calibrate` stores under, and the profile that is taken when none is named."""

_FORMAT = 2


@dataclass(frozen=True)
class Machine:
    """Coefficients of the cost model, in nanoseconds on one core.

    >>> flat = load_machine("flat")
    >>> flat.flop(DType.F64), flat.probe
    (1.0, 1.0)
    """

    name: str
    flop_f32: float
    """One multiplication or addition inside an f32 dot product."""
    flop_f64: float
    """The same in f64."""
    exp_f32: float
    """One exponential of a softmax, in f32."""
    exp_f64: float
    """The same in f64."""
    lane_flop_f32: float
    """One multiplication or addition of an f32 kernel in explicit vectors."""
    lane_flop_f64: float
    """The same in f64."""
    lane_exp_f32: float
    """One exponential of such a kernel, in f32."""
    lane_exp_f64: float
    """The same in f64."""
    byte: float
    """Streaming one byte in from memory."""
    probe: float
    """One step of a binary search, cache misses included."""
    insert: float
    """Moving one key into place in a sorted structure."""
    compare: float
    """One score comparison whose floating-point filter decides."""
    call: float
    """Entering a compiled kernel."""
    thread: float
    """Starting and joining a parallel loop."""
    measured: str = ""
    """Date of the measurement, `YYYY-MM-DD`; empty when it was not measured here."""
    host: str = ""
    """The machine it was measured on, in words."""
    note: str = ""
    """Why this profile stands in for another, if it does. Not stored."""

    def flop(self, dtype: DType) -> float:
        """One multiplication or addition with sums of type `dtype`."""
        return self.flop_f64 if dtype is DType.F64 else self.flop_f32

    def exp(self, dtype: DType) -> float:
        """One exponential in `dtype`."""
        return self.exp_f64 if dtype is DType.F64 else self.exp_f32

    def lane_flop(self, dtype: DType) -> float:
        """One multiplication or addition in explicit vectors, with sums of type `dtype`."""
        return self.lane_flop_f64 if dtype is DType.F64 else self.lane_flop_f32

    def lane_exp(self, dtype: DType) -> float:
        """One exponential in explicit vectors of `dtype`."""
        return self.lane_exp_f64 if dtype is DType.F64 else self.lane_exp_f32

    def describe(self) -> str:
        """Name, machine and date in one line."""
        origin = " on ".join(part for part in (self.measured, self.host) if part)
        return f"{self.name} ({origin})" if origin else self.name


COEFFICIENTS = tuple(f.name for f in fields(Machine) if f.type == "float")

# Round numbers of the order that `attnc calibrate` finds on a shared x86 server core: good enough to rank
# strategies whose costs differ by large factors, and no more. A calibrated profile replaces them.
BUILTIN = Machine(
    name="builtin",
    flop_f32=0.12,
    flop_f64=0.24,
    exp_f32=3.0,
    exp_f64=6.0,
    lane_flop_f32=0.01,
    lane_flop_f64=0.02,
    lane_exp_f32=0.15,
    lane_exp_f64=0.5,
    byte=0.1,
    probe=6.0,
    insert=25.0,
    compare=0.8,
    call=300.0,
    thread=10_000.0,
)

_ONES: dict[str, Any] = dict.fromkeys(COEFFICIENTS, 1.0)
FLAT = Machine(name="flat", **_ONES)
"""Every coefficient is one: costs are then counts, which is what tests compare."""

_PROFILES = {machine.name: machine for machine in (BUILTIN, FLAT)}


def data_dir() -> Path:
    """Where profiles are kept: `$ATTNC_DATA_DIR`, or the user's data directory."""
    override = os.environ.get("ATTNC_DATA_DIR")
    return Path(override) if override else Path(platformdirs.user_data_dir("attnc", appauthor=False))


def profile_path(name: str) -> Path:
    """The file of a stored profile. Raises `ArgumentError` when `name` is no plain word."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", name):
        raise ArgumentError(
            f"{name!r:.80} does not name a machine profile: use letters, digits, '-', '_' and '.'"
        )
    return data_dir() / "machines" / f"{name}.json"


def load_machine(name: str | None = None) -> Machine:
    """The profile called `name`, built in or stored.

    Without a name, the calibrated profile of this host; where there is none, or it is damaged, the built-in
    one, with a `note` that says so. Raises `ArgumentError` when a named profile does not exist or is
    damaged.
    """
    if name is None:
        path = profile_path(HOST)
        if not path.exists():
            return BUILTIN
        try:
            return _read(path)
        except ArgumentError as error:
            return replace(BUILTIN, note=f"{error}; the built-in profile stands in")
    if name in _PROFILES:
        return _PROFILES[name]
    path = profile_path(name)
    if not path.exists():
        known = sorted({*_PROFILES, *(p.stem for p in path.parent.glob("*.json"))})
        raise ArgumentError(f"no machine profile is called {name!r}; {suggest(name, known)}")
    return _read(path)


def save_machine(machine: Machine) -> Path:
    """Store a profile under its name, all or nothing, and return its file."""
    if machine.name in _PROFILES:
        raise ArgumentError(f"the profile {machine.name!r} is built in; choose another name")
    path = profile_path(machine.name)
    content = {"format": _FORMAT, **asdict(machine)}
    del content["note"]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=2)
                file.write("\n")
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise ArgumentError(
            f"cannot store the profile in {path}: {error}; set ATTNC_DATA_DIR to a folder you own"
        ) from error
    return path


def _read(path: Path) -> Machine:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    return _checked(path, content)


def _checked(path: Path, content: Any) -> Machine:
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise _damaged(path, f"not a profile of format {_FORMAT}")
    values: dict[str, Any] = {"name": path.stem}
    for key in COEFFICIENTS:
        value = content.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _damaged(path, f"{key} is {value!r:.40}, not a number")
        if not (math.isfinite(value) and 0 < value < 1e12):
            raise _damaged(path, f"{key} is {value}, not a time in nanoseconds")
        values[key] = float(value)
    for key in ("measured", "host"):
        text = content.get(key)
        if not isinstance(text, str) or len(text) > 200 or not text.isprintable():
            raise _damaged(path, f"{key} is not a line of text")
        values[key] = text
    return Machine(**values)


def _damaged(path: Path, why: str) -> ArgumentError:
    return ArgumentError(f"the machine profile {path} is damaged ({why}); measure again with attnc calibrate")
