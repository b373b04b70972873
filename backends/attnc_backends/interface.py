"""What a backend is: two steps, `emit` and `build`, and what comes out of the second.

`emit` is pure: it turns a planned module into text that can be read, compared and committed. `build` turns
that text into an `Executable`. Nothing here knows how; the planner reaches backends through `backend(name)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from attnc_ir.errors import ArgumentError
from attnc_ir.graph import Module
from attnc_ir.snapshot import Snapshot

Arrays = Mapping[str, object]
Results = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Emitted:
    """A planned module as source text of a backend. `notes` are things the plan has to say about the code."""

    module: Module
    source: str
    notes: Mapping[str, tuple[str, ...]]
    """Sentences by result name, for each node that does more than its strategy's name says."""


class State(Protocol):
    """The caches of one stateful graph. Made by `Executable.state`; every later answer depends on it
    alone.
    """

    def __len__(self) -> int:
        """The number of steps taken."""
        ...

    def truncate(self, length: int) -> None:
        """Forget every step from `length` on."""
        ...

    def fork(self) -> State:
        """An independent copy."""
        ...

    def snapshot(self) -> Snapshot:
        """The rows of every cache, as they were appended."""
        ...

    def restore(self, snapshot: Snapshot) -> None:
        """Become the state that `snapshot` was taken of. Every later answer is the same."""
        ...


class QuickCall(Protocol):
    """`run` for calls like earlier ones, with arrays in the order of inputs, or else by name."""

    def __call__(self, args: tuple[object, ...], named: Arrays, /) -> Results | None:
        """What `run` gives, or None: the call is not like an earlier one, or not right, and `run` has to see
        it.
        """
        ...


class Executable(Protocol):
    """Compiled graphs, called by name."""

    @property
    def compilations(self) -> int:
        """How many functions were compiled, as opposed to loaded from the cache, to make this executable."""
        ...

    @property
    def path(self) -> Path | None:
        """The generated module file, when there is one."""
        ...

    def run(self, graph: str, arrays: Arrays, threads: int) -> Results:
        """Run a stateless graph."""
        ...

    def quick(self, graph: str) -> QuickCall | None:
        """Quick calls of a stateless graph, where there are such."""
        ...

    def quick_step(self, state: State, args: tuple[object, ...], arrays: Arrays) -> Results | None:
        """`step` as a quick call; the state is one that this executable made."""
        ...

    def state(self, graph: str, dims: Mapping[str, int]) -> State:
        """A fresh state of a stateful graph whose symbolic dimensions have these sizes."""
        ...

    def step(self, state: State, arrays: Arrays) -> Results:
        """One position: arrays as the graph declares its inputs."""
        ...

    def extend(self, state: State, arrays: Arrays) -> Results:
        """Many positions: every array has a leading axis of positions, and so has every result."""
        ...

    def llvm(self, graph: str) -> str:
        """LLVM IR of a graph's code."""
        ...

    def asm(self, graph: str) -> str:
        """Assembly of a graph's code."""
        ...


class Backend(Protocol):
    """Turns planned modules into executables."""

    @property
    def name(self) -> str:
        """The name users choose it by."""
        ...

    def emit(self, module: Module) -> Emitted:
        """The module as source text; no side effects."""
        ...

    def build(self, emitted: Emitted) -> Executable:
        """Compile the text, or load it from the cache."""
        ...


_FACTORIES: dict[str, Callable[[], Backend]] = {}


def register_backend(name: str, factory: Callable[[], Backend]) -> None:
    """Make a backend known under `name`; the factory runs when it is first asked for."""
    _FACTORIES[name] = factory


def backend(name: str) -> Backend:
    """The backend called `name`; `ArgumentError` when there is none."""
    if not isinstance(name, str) or name not in _FACTORIES:
        raise ArgumentError(f"no backend {name!r:.60}; there are: {', '.join(sorted(_FACTORIES))}")
    return _FACTORIES[name]()


def _numba() -> Backend:
    from attnc_backends.numba.backend import NumbaBackend

    return NumbaBackend()


def _numpy() -> Backend:
    from attnc_backends.numpy import NumpyBackend

    return NumpyBackend()


register_backend("numba", _numba)
register_backend("numpy", _numpy)
