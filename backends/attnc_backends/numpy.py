"""The NumPy backend: the reference interpreter behind the interface that every backend has.

Slow and exact; what every other backend is measured against. Its source is the planned text itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attnc_backends.interface import Emitted, State
from attnc_ir.errors import ArgumentError
from attnc_ir.graph import Module
from attnc_ir.reference import ReferenceState, run
from attnc_ir.storage import Array
from attnc_ir.text import format_module


class NumpyExecutable:
    """Graphs, interpreted."""

    compilations = 0
    path: Path | None = None

    def __init__(self, module: Module) -> None:
        self.module = module

    def run(self, graph: str, arrays: Mapping[str, object], threads: int) -> tuple[Array, ...]:
        return run(self.module[graph], arrays)

    def quick(self, graph: str) -> None:
        return None

    def quick_step(self, state: State, args: Sequence[object], arrays: Mapping[str, object]) -> None:
        return None

    def state(self, graph: str, dims: Mapping[str, int]) -> ReferenceState:
        return ReferenceState(self.module[graph], dims)

    def step(self, state: State, arrays: Mapping[str, object]) -> tuple[Array, ...]:
        return _reference(state).step(arrays)

    def extend(self, state: State, arrays: Mapping[str, object]) -> tuple[Array, ...]:
        return _reference(state).extend(arrays)

    def llvm(self, graph: str) -> str:
        raise ArgumentError(
            "the numpy backend interprets the graph; there is no LLVM IR. Compile with backend='numba'"
        )

    def asm(self, graph: str) -> str:
        raise ArgumentError(
            "the numpy backend interprets the graph; there is no assembly. Compile with backend='numba'"
        )


def _reference(state: State) -> ReferenceState:
    if not isinstance(state, ReferenceState):
        raise ArgumentError(
            f"a state of another backend ({type(state).__name__}); make one with this program's state()"
        )
    return state


class NumpyBackend:
    """The reference interpreter as a backend."""

    name = "numpy"

    def emit(self, module: Module) -> Emitted:
        """The planned text: it is what is interpreted."""
        return Emitted(module, format_module(module), {})

    def build(self, emitted: Emitted) -> NumpyExecutable:
        """Nothing to compile."""
        return NumpyExecutable(emitted.module)
