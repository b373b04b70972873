"""The Numba backend: `emit` writes one Python module, `build` compiles it or finds it compiled."""

from __future__ import annotations

from attnc_backends.interface import Emitted
from attnc_backends.numba.emit import emit_source
from attnc_backends.numba.executable import NumbaExecutable
from attnc_backends.numba.lower import GraphProgram, lower_graph
from attnc_backends.numba.modules import import_module, write_module
from attnc_ir.graph import Module


class NumbaBackend:
    """Compiled CPU code through Numba, cached on disk by content."""

    name = "numba"

    def emit(self, module: Module) -> Emitted:
        """The module's source, and what its nodes do beyond their strategies' names."""
        programs = _programs(module)
        notes = {
            f"{p.graph.name}.{name}": texts for p in programs for name, texts in p.notes.items() if texts
        }
        return Emitted(module, emit_source(programs), notes)

    def build(self, emitted: Emitted) -> NumbaExecutable:
        """Compile the source, or load it. Raises `CacheError` when the cache directory cannot be used."""
        path = write_module(emitted.source)
        return NumbaExecutable(_programs(emitted.module), import_module(path), path)


def _programs(module: Module) -> list[GraphProgram]:
    return [lower_graph(graph, index) for index, graph in enumerate(module)]
