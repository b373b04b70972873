"""Compiled modules: what `attnc.compile` gives."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from attnc.manager import PassManager, PassRecord
from attnc.passes import Infer, Pass, SelectStrategy
from attnc.pipeline import DEFAULT_PIPELINE, parse_pipeline
from attnc.plan import Plan
from attnc_backends.interface import Emitted, Executable
from attnc_backends.interface import State as BackendState
from attnc_backends.interface import backend as find_backend
from attnc_ir.arguments import Signature, check_sizes
from attnc_ir.attributes.strategy import Strategy
from attnc_ir.errors import ArgumentError, StateError
from attnc_ir.graph import Graph, Module
from attnc_ir.kinds import suggest
from attnc_ir.snapshot import Snapshot, read_snapshot, write_snapshot
from attnc_ir.text import format_module, load, parse
from attnc_ir.types import UNKNOWN, Symbol
from attnc_ir.verifier import dims_of, verify

Array = npt.NDArray[Any]
Spec = Module | str | os.PathLike[str]


def read_spec(spec: Spec) -> Module:
    """A module as it is, the text of one, or the path of a file with one. A string with a brace or a line
    break is text.
    """
    if isinstance(spec, Module):
        verify(spec)
        return spec
    if isinstance(spec, str):
        return parse(spec) if "{" in spec or "\n" in spec else load(spec)
    if isinstance(spec, os.PathLike):
        return load(spec)
    raise ArgumentError(f"a spec is a Module, its text or a path, not {type(spec).__name__}")


def passes_for(
    pipeline: str | Iterable[Pass] | None, strategy: str | Strategy | None, sizes: Mapping[str, int] | None
) -> tuple[Pass, ...]:
    """The passes to run: the default pipeline or the given one, which always ends in a choice of
    strategies. Raises `ArgumentError` for what is neither, and for hints that are no sizes.
    """
    passes = _passes(DEFAULT_PIPELINE if pipeline is None else pipeline)
    if not any(isinstance(p, SelectStrategy) for p in passes):
        passes = (*passes, SelectStrategy())
    changes: dict[str, Any] = {}
    if strategy is not None:
        changes["strategy"] = strategy_keyword(strategy)
    if sizes:
        if not isinstance(sizes, Mapping) or not all(isinstance(name, str) for name in sizes):
            raise ArgumentError(f"sizes is {sizes!r:.60}; give a dict of names, as in {{'N': 65536}}")
        check_sizes("sizes: ", sizes)
        changes["sizes"] = tuple(sizes.items())
    if not changes:
        return passes
    # The last choice is the one that counts.
    last = max(i for i, p in enumerate(passes) if isinstance(p, SelectStrategy))
    return (*passes[:last], dataclasses.replace(passes[last], **changes), *passes[last + 1 :])


def strategy_keyword(strategy: str | Strategy) -> str:
    """The keyword of a strategy; `ArgumentError` for anything else."""
    keyword = strategy.keyword if isinstance(strategy, Strategy) else strategy
    if not isinstance(keyword, str) or not keyword:
        raise ArgumentError(
            f"strategy is {keyword!r:.60}; give a keyword such as 'dense', or None for the best"
        )
    return keyword


def _passes(pipeline: str | Iterable[Pass]) -> tuple[Pass, ...]:
    if isinstance(pipeline, str):
        return parse_pipeline(pipeline)
    passes = tuple(pipeline) if isinstance(pipeline, Iterable) else (pipeline,)
    for one in passes:
        if not isinstance(one, Pass):
            raise ArgumentError(
                f"a pipeline is text such as 'canonicalize,dce' or a list of passes; {one!r:.60} is no pass"
            )
    return passes


def compile_spec(
    spec: Spec,
    *,
    strategy: str | Strategy | None = None,
    threads: int | None = None,
    backend: str = "numba",
    pipeline: str | Iterable[Pass] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Program:
    """Verify, plan, emit and build a module.

    Args:
        spec: a `Module`, the text of one, or the path of a file with one.
        strategy: the strategy for every attention node, by keyword; default: the cheapest legal one each.
        threads: how many threads a call may use; default: one per processor.
        backend: `numba` (compiled) or `numpy` (the reference interpreter).
        pipeline: passes as a pipeline string or as values; default `attnc.DEFAULT_PIPELINE`. Ends in a choice
            of strategies, and begins with `infer` where sizes are open, whether it says so or not.
        sizes: expected sizes of symbolic dimensions, for the cost model only, as in `{"N": 65536}`.

    Raises:
        SpecError: the spec is at fault; carries every fault.
        PlanError: a strategy was asked for that is not legal.
        PipelineError: the pipeline string is at fault.
        ArgumentError: an argument is none of the above.
    """
    chosen = find_backend(backend)
    module = read_spec(spec)
    stages = [("input", module)]
    passes = passes_for(pipeline, strategy, sizes)
    if not any(isinstance(p, Infer) for p in passes) and _has_open_sizes(module):
        passes = (Infer(), *passes)
    manager = PassManager.of(passes, on_stage=lambda name, m: stages.append((name, m)))
    run = manager.run(module)
    emitted = chosen.emit(run.module)
    return Program(
        module,
        run.module,
        run.plan.with_notes(emitted.notes),
        run.records,
        stages,
        emitted,
        chosen.build(emitted),
        threads,
    )


def _has_open_sizes(module: Module) -> bool:
    """Whether a type leaves a dimension open, which no backend can carry out."""
    return any(UNKNOWN in dims_of(value.type) for graph in module for value in graph.values())


class Program:
    """A compiled module. Call a graph by name with arrays, positional in the order of its inputs or by name.

    `program("g", q, k, v)`, `program.g(q, k=k, v=v)` and `program["g"](...)` are the same. One output comes
    as an array, several as a tuple. Results are new arrays; arguments are never written to.
    """

    def __init__(
        self,
        source_module: Module,
        module: Module,
        plan: Plan,
        records: tuple[PassRecord, ...],
        stages: list[tuple[str, Module]],
        emitted: Emitted,
        executable: Executable,
        threads: int | None,
    ) -> None:
        from attnc_backends.numba.threads import resolve_threads

        self.source_module = source_module
        self.module = module
        self.plan = plan
        self.records = records
        self.threads = resolve_threads(threads)
        self._stages = stages
        self._emitted = emitted
        self._executable = executable
        self._quick = {name: quick for name in module.names if (quick := executable.quick(name)) is not None}

    def __repr__(self) -> str:
        return f"<attnc program: {', '.join('@' + name for name in self.module.names)}>"

    # --- calling ---

    def _graph(self, name: str | None) -> Graph:
        if name is None:
            if len(self.module.graphs) == 1:
                return self.module.graphs[0]
            raise ArgumentError(f"which graph? there are {', '.join('@' + n for n in self.module.names)}")
        if name not in self.module.names:
            raise ArgumentError(f"no graph @{name}; {suggest(str(name), list(self.module.names))}")
        return self.module[name]

    @staticmethod
    def _named(graph: Graph, args: tuple[object, ...], arrays: Mapping[str, object]) -> Mapping[str, object]:
        """Arguments by name."""
        if not args:
            return arrays
        names = [v.name for v in graph.inputs]
        if len(args) > len(names):
            raise ArgumentError(
                f"graph @{graph.name} takes {len(names)} array(s) ({', '.join(names)}), got {len(args)}"
            )
        twice = [n for n in names[: len(args)] if n in arrays]
        if twice:
            raise ArgumentError(f"graph @{graph.name}: argument {twice[0]} is given by position and by name")
        return {**dict(zip(names, args, strict=False)), **arrays}

    def __call__(self, graph: str, /, *args: object, **arrays: object) -> Any:
        """Run a stateless graph; a stateful one runs from an empty state over arrays with a leading axis of
        positions.
        """
        quick = self._quick.get(graph) if type(graph) is str else None
        if quick is not None and (results := quick(args, arrays)) is not None:
            return results[0] if len(results) == 1 else results
        found = self._graph(graph)
        if found.is_stateful:
            return self.extend(self.state(graph), *args, **arrays)
        return self.run(found.name, self._named(found, args, arrays))

    def run(self, graph: str, arrays: Mapping[str, object], *, threads: int | None = None) -> Any:
        """Run a stateless graph on arrays by name, with `threads` instead of the program's own number."""
        from attnc_backends.numba.threads import resolve_threads

        found = self._graph(graph)
        if found.is_stateful:
            raise ArgumentError(f"graph @{found.name} has a cache; call it, or step a state of it")
        workers = self.threads if threads is None else resolve_threads(threads)
        return _unwrapped(self._executable.run(found.name, arrays, workers))

    def quick(self, graph: str, args: Sequence[object]) -> tuple[Array, ...] | None:
        """What `run` would give for arrays in the order of inputs, as a tuple, if a call of just this kind
        was made before and nothing is wrong with it; else None, and nothing was done.
        """
        quick = self._quick.get(graph)
        return None if quick is None else quick(tuple(args), {})

    def __getitem__(self, graph: str) -> GraphCall:
        return GraphCall(self, self._graph(graph).name)

    def __getattr__(self, name: str) -> GraphCall:
        if name.startswith("_") or name not in self.module.names:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r} and no graph of that name")
        return GraphCall(self, name)

    # --- state ---

    def state(self, graph: str | None = None, /, **dims: int) -> State:
        """An empty state of a stateful graph (of the only one, when no name is given).

        `dims` are the sizes of the symbolic dimensions among its caches' heads, as in
        `program.state("memory", H=4)`. Sizes left out are learned from the first step.
        """
        if graph is None:
            stateful = [g.name for g in self.module if g.is_stateful]
            if len(stateful) != 1:
                raise ArgumentError(
                    f"which graph? stateful ones: {', '.join('@' + n for n in stateful) or 'none'}"
                )
            graph = stateful[0]
        return State(self, self._graph(graph), dims)

    def load_state(self, path: str | os.PathLike[str], graph: str | None = None) -> State:
        """The state that `State.save` wrote to `path`, for `graph` (the only stateful one, when no name is
        given).

        Raises `StateError` when the file is missing, cut short, altered, or of another graph's caches.
        """
        state = self.state(graph)
        state._restore(read_snapshot(path, state._graph))
        return state

    def step(self, state: State, /, *args: object, **arrays: object) -> Any:
        """Take one position: arrays as the graph declares its inputs. On an error the state is as before."""
        return _own_state(state)._advance(self, args, arrays, single=True)

    def extend(self, state: State, /, *args: object, **arrays: object) -> Any:
        """Take many positions: every array has a leading axis of positions, and so has every result. All or
        nothing.
        """
        return _own_state(state)._advance(self, args, arrays, single=False)

    # --- inspection ---

    @property
    def stages(self) -> tuple[str, ...]:
        """What `ir` accepts: `input`, the passes that ran, `canonical`, `planned`."""
        return tuple(
            dict.fromkeys(["input", *(name for name, _ in self._stages[1:]), "canonical", "planned"])
        )

    def ir(self, stage: str = "planned") -> str:
        """The module as text at a stage: `input`, `canonical`, `planned`, or after a pass (the last run of
        it).
        """
        if stage == "planned":
            return format_module(self.module)
        names = [name for name, _ in self._stages]
        if stage == "canonical":
            # What is asked, in its simplest form: everything before strategies are chosen.
            until = names.index(SelectStrategy.name) if SelectStrategy.name in names else len(names)
            return format_module(self._stages[until - 1][1])
        if stage not in names:
            raise ArgumentError(f"no stage {stage!r:.60}; {suggest(str(stage), list(self.stages))}")
        return format_module([m for name, m in self._stages if name == stage][-1])

    def source(self) -> str:
        """The generated source."""
        return self._emitted.source

    def llvm(self, graph: str | None = None) -> str:
        """LLVM IR of a graph (of the only one, when no name is given)."""
        return self._executable.llvm(self._graph(graph).name)

    def asm(self, graph: str | None = None) -> str:
        """Assembly of a graph (of the only one, when no name is given)."""
        return self._executable.asm(self._graph(graph).name)

    @property
    def compilations(self) -> int:
        """Functions compiled in this process for this program; 0 when all came from the cache on disk."""
        return self._executable.compilations

    @property
    def path(self) -> Path | None:
        """The generated module file."""
        return self._executable.path


class GraphCall:
    """One graph of a program, ready to be called."""

    def __init__(self, program: Program, name: str) -> None:
        self.program = program
        self.name = name
        self._quick = program._quick.get(name)

    def __call__(self, /, *args: object, **arrays: object) -> Any:
        """As `program(name, ...)`."""
        if self._quick is not None and (results := self._quick(args, arrays)) is not None:
            return results[0] if len(results) == 1 else results
        return self.program(self.name, *args, **arrays)

    def __repr__(self) -> str:
        return f"<graph @{self.name} of {self.program!r}>"


class State:
    """The caches of one stateful graph: everything that earlier steps appended. `len(state)` is the number of
    steps taken.

    A state serves one thread at a time; two threads take one each.
    """

    def __init__(self, program: Program, graph: Graph, dims: Mapping[str, int]) -> None:
        if not graph.is_stateful:
            raise ArgumentError(f"graph @{graph.name} has no cache, so it has no state; call it instead")
        self._program = program
        self._graph = graph
        self._dims = dict(dims)
        self._inner: BackendState | None = None
        self._first = threading.Lock()
        wanted = {d.name for cache in graph.caches for d in cache.heads if isinstance(d, Symbol)}
        unknown = [name for name in dims if name not in wanted]
        if unknown:
            known = (
                suggest(unknown[0], sorted(wanted)) if wanted else "its caches have no symbolic dimensions"
            )
            raise ArgumentError(
                f"graph @{graph.name}: {unknown[0]!r:.60} is no dimension of its caches' heads; {known}"
            )
        if wanted == set(dims):
            self._inner = program._executable.state(graph.name, self._dims)

    def __len__(self) -> int:
        return 0 if self._inner is None else len(self._inner)

    def __repr__(self) -> str:
        return f"<state of @{self._graph.name}, {len(self)} steps>"

    def _restore(self, snapshot: Snapshot) -> None:
        inner = self._program._executable.state(self._graph.name, snapshot.dims)
        inner.restore(snapshot)
        self._dims, self._inner = dict(snapshot.dims), inner

    def truncate(self, length: int) -> None:
        """Forget every step from `length` on. Takes time in proportion to the steps that stay."""
        if self._inner is not None:
            self._inner.truncate(length)
        elif isinstance(length, bool) or not isinstance(length, int) or length < 0:
            raise ArgumentError(f"cannot truncate to {length!r:.60}; give a number of steps from 0 up")

    def fork(self) -> State:
        """An independent copy."""
        other = State(self._program, self._graph, self._dims)
        other._inner = None if self._inner is None else self._inner.fork()
        return other

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write everything this state holds to a file, whole or not at all.

        `program.load_state(path)` reads it, in this process or another; every later answer is the same, bit
        for bit. Raises `StateError` when the file cannot be written.
        """
        if self._inner is None:
            raise StateError(
                "this state has no sizes yet, so there is nothing to save; "
                "take a step, or give sizes to state()"
            )
        write_snapshot(path, self._graph, self._inner.snapshot())

    def _advance(
        self, program: Program, args: tuple[object, ...], arrays: Mapping[str, object], *, single: bool
    ) -> Any:
        if program is not self._program:
            raise StateError("this state belongs to another program; make one with this program's state()")
        if single and self._inner is not None:
            results = program._executable.quick_step(self._inner, args, arrays)
            if results is not None:
                return results[0] if len(results) == 1 else results
        named = program._named(self._graph, args, arrays)
        take = program._executable.step if single else program._executable.extend
        if self._inner is not None:
            return _unwrapped(take(self._inner, named))
        if not self._first.acquire(blocking=False):
            raise StateError("this state is in use by another thread; give each thread a state of its own")
        try:
            inner, dims = self._inner, self._dims
            if inner is None:
                bound = Signature(self._graph).bind(named, steps=not single, dims=dims)
                heads = {d.name for cache in self._graph.caches for d in cache.heads if isinstance(d, Symbol)}
                dims = {name: size for name, size in bound.dims.items() if name in heads}
                inner = program._executable.state(self._graph.name, dims)
            result = take(inner, named)
            # Only now: a first step that fails settles no size.
            self._inner, self._dims = inner, dims
        finally:
            self._first.release()
        return _unwrapped(result)


def _own_state(state: State) -> State:
    if not isinstance(state, State):
        raise ArgumentError(
            f"expected a state, got a {type(state).__name__}; make one with this program's state()"
        )
    return state


def _unwrapped(results: tuple[Array, ...]) -> Any:
    return results[0] if len(results) == 1 else results


def reference(module: Spec, graph: str, /, **arrays: object) -> Any:
    """The reference interpreter's answer: slow, f64 softmax, hard-max in rational arithmetic.

    A stateful graph runs from an empty state over arrays with a leading axis of positions.
    """
    from attnc_ir.reference import run

    found = read_spec(module)
    if graph not in found.names:
        raise ArgumentError(f"no graph @{graph}; {suggest(str(graph), list(found.names))}")
    return _unwrapped(run(found[graph], arrays))


__all__ = ["Program", "State", "compile_spec", "read_spec", "reference"]
