"""Running a generated module: checking arguments, sharing work among threads, turning status codes into
errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numba
import numpy as np
import numpy.typing as npt

from attnc_backends.interface import QuickCall, State
from attnc_backends.numba.arena import FIRST_CAPACITY, Entry
from attnc_backends.numba.emit import Command
from attnc_backends.numba.emit_decode import parts_slot
from attnc_backends.numba.lower import GraphProgram, Workers
from attnc_backends.numba.memory import Frames, address_of, allocate
from attnc_backends.numba.node import BROKEN_PROMISE, EMPTY_ROW, NON_FINITE_KEY, OK, UNSETTLED
from attnc_backends.numba.quick import LANE_BYTES, Quick
from attnc_backends.numba.state import NumbaState
from attnc_backends.numba.threads import resolve_threads, run_workers
from attnc_ir.arguments import Bound, Signature, check_counts, check_sizes
from attnc_ir.attributes.bias import ExprBias
from attnc_ir.attributes.mask import Lengths, Predicate, Prefix
from attnc_ir.attributes.modifier import ExprModifier
from attnc_ir.errors import ArgumentError, EmptyRowError, StateError
from attnc_ir.expr import Lookup
from attnc_ir.op import Op
from attnc_ir.ops import Append, Attend, AttendStep, AttentionOp
from attnc_ir.promises import check_append, check_operand, first_readers, promised_for_cache
from attnc_ir.reference import attend_node_row
from attnc_ir.storage import NUMPY, Array, convert, from_float64
from attnc_ir.types import Symbol
from attnc_ir.values import Value

Results = tuple[Array, ...]

PARALLEL_WORK = 4_000_000
"""Multiply-adds (or elements moved) from which an op is worth sharing among threads."""

_INT64 = numba.int64


class NumbaGraph:
    """One compiled graph."""

    def __init__(self, program: GraphProgram, module: ModuleType) -> None:
        self.program = program
        self.graph = program.graph
        self.dispatcher = getattr(module, program.entry)
        self.entry: Entry = self.dispatcher
        self.signature = Signature(program.graph)
        self.frames = Frames(program)
        self.slots = program.context.layout.slots
        made = {result.name for op in program.ops for result in op.results}
        self.computed_counts = {
            number
            for number, op in enumerate(program.ops)
            if isinstance(op, AttentionOp) and made & {count.name for count in _counts(op)}
        }
        """Ops whose masks have lengths or prefix counts that other ops compute."""
        self.promised = first_readers(program.graph)
        self.quick = Quick(program, self.entry)

    def _where(self, op: Op) -> str:
        return f"graph @{self.graph.name}, {op.results[0]}"

    # --- stateless ---

    def run(self, arrays: Mapping[str, object], threads: int) -> Results:
        """All ops in order, each shared among workers where that pays."""
        bound = self.signature.bind(arrays)
        self.signature.check_values(bound)
        frame, values = self.frames.new(bound)
        quick, most = self.quick.possible, 0
        for number, op in enumerate(self.program.ops):
            if number in self.computed_counts:
                self._check_counts(op, values, bound)
            check_operand(self.graph, self.promised.get(op.results[0].name, ()), values)
            large = self._work(op, bound) >= PARALLEL_WORK
            workers = min(threads, self._units(op, bound)) if large else 1
            most = max(most, self._run_op(number, op, frame, values, bound, workers))
            quick = quick and not large
        if quick and most <= LANE_BYTES:
            self.quick.learn(frame, values, np.empty(max(most, 1), np.uint8))
        return self.frames.results(values)

    def _run_op(
        self,
        number: int,
        op: Op,
        frame: npt.NDArray[np.int64],
        values: dict[str, Array],
        bound: Bound,
        workers: int,
    ) -> int:
        """One op, by so many workers. Returns the bytes of scratch that one of them needs."""
        at = address_of(frame)
        marks = None
        if number in self.program.unsettled:
            assert isinstance(op, Attend)
            g = op.geometry
            marks = np.zeros(
                bound.size(g.batch) * bound.size(g.query_heads) * bound.size(g.queries), np.uint8
            )
            frame[self.slots[f"unsettled_{number}"]] = address_of(marks)
        size = self.entry(at, number, 0, Workers.SCRATCH, 0)
        scratch = [np.empty(max(size, 1), np.uint8) for _ in range(workers)]
        parts = None
        if (
            workers > 1
            and number in self.program.shared
            and (shared := self.entry(at, number, 0, Workers.PARTS, 0))
        ):
            parts = allocate((shared,), np.dtype(np.uint8), self._where(op))
            frame[self.slots[parts_slot(number)]] = address_of(parts)

        def share(worker: int, workers: int) -> int:
            return self.entry(at, number, worker, workers, address_of(scratch[worker]))

        statuses = run_workers(share, workers)
        if parts is not None:
            statuses.append(self.entry(at, number, 0, Workers.MERGE, address_of(scratch[0])))
        if EMPTY_ROW in statuses:
            if parts is None:
                # Workers that met empty rows at once may have mixed up their places; alone, the first is
                # found.
                share(0, 1)
            self._raise_empty(op, frame)
        self._check_fault(op, frame)
        if marks is not None:
            self._settle(op, values, np.flatnonzero(marks), bound)
        return size

    def _settle(self, op: Op, values: dict[str, Array], rows: npt.NDArray[np.int64], bound: Bound) -> None:
        """Answer the marked rows by rational arithmetic."""
        assert isinstance(op, AttentionOp)
        g = op.geometry
        heads, queries = bound.size(g.query_heads), bound.size(g.queries)
        for unit in rows.tolist():
            b, h, i = unit // (heads * queries), unit // queries % heads, unit % queries
            row = attend_node_row(op, values, b, h, i, graph=self.graph.name)
            index = (b, h, i)[3 - (op.output.tensor.rank - 1) :]
            values[op.output.name][index] = row.output
            if op.lse is not None:
                values[op.lse.name][index] = row.lse
            if op.argmax is not None:
                _put_positions(values[op.argmax.name], index, row.positions)

    def _check_counts(self, op: Op, values: Mapping[str, Array], bound: Bound) -> None:
        assert isinstance(op, AttentionOp)
        g = op.geometry
        keys = None if g.keys is None else bound.size(g.keys)
        check_counts(f"{self._where(op)}: ", op, values, queries=bound.size(g.queries), keys=keys)

    @staticmethod
    def _units(op: Op, bound: Bound) -> int:
        """An upper bound of the useful number of workers."""
        (first, *_) = op.results
        return max(1, math.prod(bound.shape(first.tensor.shape)))

    @staticmethod
    def _work(op: Op, bound: Bound) -> int:
        if isinstance(op, AttentionOp):
            g = op.geometry
            keys = bound.size(g.keys) if g.keys is not None else 1
            rows = bound.size(g.batch) * bound.size(g.query_heads) * bound.size(g.queries)
            return rows * keys * (bound.size(g.key_width) + bound.size(g.value_width) + 4)
        return sum(math.prod(bound.shape(r.tensor.shape)) for r in op.results)

    # --- errors ---

    def _raise_empty(self, op: Op, frame: npt.NDArray[np.int64], step: int | None = None) -> None:
        b, h, i = (int(frame[self.slots[name]]) for name in ("fault_b", "fault_h", "fault_i"))
        place = f"row {i}" if step is None else f"step {step}"
        raise EmptyRowError(
            f"{self._where(op)}: batch {b}, head {h}, {place} may see no key; "
            f"allow one, or give the node empty = zero or default(%row)"
        )

    def _check_fault(self, op: Op, frame: npt.NDArray[np.int64]) -> None:
        if frame[0] != 0:
            self._raise_lookup(self._where(op), ", ".join(dict.fromkeys(str(e.table) for e in _lookups(op))))

    @staticmethod
    def _raise_lookup(where: str, tables: str) -> None:
        raise ArgumentError(
            f"{where}: a look-up into {tables} uses an index outside the table; "
            "guard it with where(...) or clamp it"
        )

    # --- stateful ---

    def new_state(self, dims: Mapping[str, int]) -> NumbaState:
        """An empty state."""
        where = f"graph @{self.graph.name}: "
        if not self.graph.is_stateful:
            raise ArgumentError(f"{where}it has no cache, so it has no state; call it instead")
        check_sizes(where, dims)
        wanted = list(
            dict.fromkeys(d.name for cache in self.graph.caches for d in cache.heads if isinstance(d, Symbol))
        )
        missing = [name for name in wanted if name not in dims]
        unknown = [name for name in dims if name not in wanted]
        if missing or unknown:
            what = (
                f"needs the size of {', '.join(missing)}"
                if missing
                else f"has no dimension {', '.join(unknown)} among its cache heads"
            )
            raise ArgumentError(
                f"{where}a state {what}; give {', '.join(f'{n}=...' for n in wanted) or 'none'}"
            )
        return NumbaState(self.frames, self.entry, dims)

    def extend(self, state: NumbaState, arrays: Mapping[str, object], *, single: bool) -> Results:
        """Take the steps that `arrays` hold; on any error the state is as before."""
        if state.program is not self.program:
            raise StateError(
                f"this state belongs to another graph than @{self.graph.name}, or to another compilation"
            )
        if single:
            bound = self.signature.bind(arrays, dims=state.dims)
            bound = Bound(bound.dims, {name: a[np.newaxis] for name, a in bound.arrays.items()}, 1)
        else:
            bound = self.signature.bind(arrays, steps=True, dims=state.dims)
        self.signature.check_values(bound)
        with state:
            steps = bound.steps if bound.steps is not None else 1
            bound = Bound(bound.dims, bound.arrays, steps)
            frame, values = self.frames.new(bound)
            before = len(state)
            state.reserve(steps)
            state.place(frame)
            try:
                self._steps(state, frame, values, bound, steps)
            except BaseException:
                # Ctrl-C included: whatever was appended is taken back.
                state.cut(before)
                raise
            state.advance(steps)
            results = self.frames.results(values)
            if single and self.quick.possible and not state.large:
                self._learn_step(state, frame, values)
        return tuple(r[0, ...] for r in results) if single else results

    def _learn_step(self, state: NumbaState, frame: npt.NDArray[np.int64], values: dict[str, Array]) -> None:
        """Keep this step's frame for the next, with scratch for as many steps again, while there is room."""
        rows = min(max(FIRST_CAPACITY, 2 * len(state)), state.arena.capacity // max(state.appends, default=1))
        if rows > len(state):
            scratch = self._scratch(state, frame, rows - len(state))
            state.large = not self.quick.learn_step(state, frame, values, scratch, rows)

    def _scratch(self, state: NumbaState, frame: npt.NDArray[np.int64], steps: int) -> npt.NDArray[np.uint8]:
        """Scratch for any op at the longest the caches will be."""
        saved = frame.copy()
        counts = np.array([(len(state) + steps) * n for n in state.appends], np.int64)
        for plan, place in zip(self.program.caches, range(len(counts)), strict=True):
            slot = self.slots.get(f"cache{plan.number}_count")
            if slot is not None:
                frame[slot] = address_of(counts) + 8 * place
        at = address_of(frame)
        size = max(
            (self.entry(at, Command.SCRATCH, n, -1, 0) for n in range(len(self.program.ops))), default=0
        )
        frame[:] = saved
        return np.empty(max(size, 1), np.uint8)

    def _steps(
        self,
        state: NumbaState,
        frame: npt.NDArray[np.int64],
        values: dict[str, Array],
        bound: Bound,
        steps: int,
    ) -> None:
        scratch = self._scratch(state, frame, steps)
        at, t = address_of(frame), 0
        while True:
            status = self.entry(at, Command.STEPS, t, steps, address_of(scratch))
            if status == OK:
                self._check_step_faults(frame)
                return
            t, number = int(frame[self.slots["trouble_step"]]), int(frame[self.slots["trouble_op"]])
            op = self.program.ops[number]
            self._check_step_faults(frame)
            if status == EMPTY_ROW:
                self._raise_empty(op, frame, len(state) + t)
            if status == NON_FINITE_KEY:
                self._raise_non_finite(op, state, bound, int(frame[self.slots["fault_h"]]))
            if status == BROKEN_PROMISE:
                self._raise_broken(op, state, values, bound, t)
            assert status == UNSETTLED, status
            assert isinstance(op, AttendStep)
            self._settle_step(state, op, values, bound, t)
            frame[self.slots["resume"]] = number + 1

    def _check_step_faults(self, frame: npt.NDArray[np.int64]) -> None:
        if frame[0] != 0:
            # Steps run on after a fault; of several ops with look-ups, any may have been the one.
            ops = [op for op in self.program.ops if _lookups(op)]
            tables = ", ".join(dict.fromkeys(str(e.table) for op in ops for e in _lookups(op)))
            self._raise_lookup(self._where(ops[0]) if len(ops) == 1 else f"graph @{self.graph.name}", tables)

    def _raise_non_finite(self, op: Op, state: NumbaState, bound: Bound, head: int) -> None:
        assert isinstance(op, Append)
        root = self.graph.cache_roots()[op.cache.name]
        plan = next(plan for plan in self.program.caches if plan.op is root)
        position = state.arena.count(state.arena.sections[plan.number])
        index = np.unravel_index(head, bound.shape(root.heads)) if root.heads else ()
        names = ("batch", "head")[2 - len(index) :]
        place = "".join(f"{name} {n}, " for name, n in zip(names, index, strict=True))
        raise StateError(
            f"graph @{self.graph.name}, append to {root.results[0]}: "
            f"the key {op.key} for {place}position {position} is not finite; "
            f"the state is unchanged, append a finite key"
        )

    def _raise_broken(
        self, op: Op, state: NumbaState, values: dict[str, Array], bound: Bound, t: int
    ) -> None:
        """Check again what compiled code found, by the code that makes the message."""
        assert isinstance(op, Append)
        root = self.graph.cache_roots()[op.cache.name]
        plan = next(plan for plan in self.program.caches if plan.op is root)
        section = state.arena.sections[plan.number]
        position = state.arena.count(section)
        before = None
        if position:
            rows = [
                state.arena.rows(section, head, "keys", plan.key_bytes, position)[-plan.key_bytes :]
                for head in range(section.heads)
            ]
            stored = np.concatenate(rows).view(NUMPY[plan.key_dtype])
            before = convert(stored, plan.key_dtype, op.key.tensor.dtype)
            before = before.reshape(*bound.shape(root.heads), -1)
        key = np.asarray(self._at(op.key.name, values[op.key.name], t))
        promised = promised_for_cache(self.graph, root)
        check_append(self.graph, op, promised, key, before, position)
        raise AssertionError("compiled code found a broken promise")

    def _settle_step(
        self, state: NumbaState, op: AttendStep, values: dict[str, Array], bound: Bound, t: int
    ) -> None:
        """Answer every row of one step's node by rational arithmetic."""
        plan = next(p for p in self.program.caches if p.op is self.graph.cache_roots()[op.cache.name])
        section = state.arena.sections[plan.number]
        count = state.arena.count(section)
        heads = bound.shape(plan.op.heads)
        stored = {}
        for which, dtype, row in (
            ("keys", plan.key_dtype, plan.key_bytes),
            ("values", plan.op.value.dtype, plan.value_bytes),
        ):
            parts = [state.arena.rows(section, head, which, row, count) for head in range(section.heads)]
            flat = (
                np.concatenate([p.view(NUMPY[dtype]) for p in parts]) if parts else np.empty(0, NUMPY[dtype])
            )
            stored[which] = flat.reshape(*heads, count, row // dtype.itemsize)
        if plan.key_dtype is not plan.op.key.dtype:
            stored["keys"] = from_float64(stored["keys"], plan.op.key.dtype)
        now = {name: self._at(name, array, t) for name, array in values.items()}
        shape = bound.shape(op.query.tensor.shape[:-1])
        for index in np.ndindex(*shape):
            b, h = (0, 0, *index)[-2:]
            settled = attend_node_row(
                op, now, b, h, 0, keys=stored["keys"], rows=stored["values"], graph=self.graph.name
            )
            now[op.output.name][index] = settled.output
            if op.lse is not None:
                now[op.lse.name][index] = settled.lse
            if op.argmax is not None:
                _put_positions(now[op.argmax.name], index, settled.positions)

    def _at(self, name: str, array: Array, t: int) -> Array:
        """A value at one step: inputs and outputs have an axis of steps, intermediates do not."""
        stacked = name in {v.name for v in self.graph.inputs} or self.frames.is_output[name]
        return array[t, ...] if stacked else array

    # --- inspection ---

    def inspect(self, what: str) -> str:
        """LLVM IR or assembly. Compiled afresh: code loaded from the cache keeps no text."""
        fresh = numba.njit(nogil=True, error_model="numpy", boundscheck=False)(self.dispatcher.py_func)
        signature = (_INT64,) * 5
        fresh.compile(signature)
        return str(fresh.inspect_llvm(signature) if what == "llvm" else fresh.inspect_asm(signature))


def _lookups(op: Op) -> list[Lookup]:
    if not isinstance(op, AttentionOp):
        return []
    roots = [m.condition for m in op.mask.walk() if isinstance(m, Predicate)]
    roots += [t.value for t in (op.modifier, *op.bias) if isinstance(t, ExprBias | ExprModifier)]
    return [e for root in roots for e in root.walk() if isinstance(e, Lookup)]


def _put_positions(array: Array, index: tuple[int, ...], positions: tuple[int, ...]) -> None:
    """The positions that a row selected; -1 where there are fewer than there is room for."""
    row = array[(*index, np.newaxis)] if array.ndim == len(index) else array[index]
    row[...] = -1
    row[: len(positions)] = positions


def _counts(op: AttentionOp) -> list[Value]:
    """Lengths and prefix counts that are values."""
    found = []
    for mask in op.mask.walk():
        match mask:
            case Lengths(queries, keys):
                found += [queries, keys]
            case Prefix(Value() as count):
                found.append(count)
            case _:
                pass
    return found


def _own(state: State) -> NumbaState:
    if not isinstance(state, NumbaState):
        raise StateError(
            f"a state of another backend ({type(state).__name__}); make one with this program's state()"
        )
    return state


class NumbaExecutable:
    """The graphs of one generated module."""

    def __init__(self, programs: list[GraphProgram], module: ModuleType, path: Path) -> None:
        self._path = path
        self.graphs = {program.graph.name: NumbaGraph(program, module) for program in programs}

    @property
    def path(self) -> Path | None:
        return self._path

    @property
    def compilations(self) -> int:
        return sum(sum(graph.dispatcher.stats.cache_misses.values()) for graph in self.graphs.values())

    def run(self, graph: str, arrays: Mapping[str, object], threads: int) -> Results:
        return self.graphs[graph].run(arrays, resolve_threads(threads))

    def state(self, graph: str, dims: Mapping[str, int]) -> NumbaState:
        return self.graphs[graph].new_state(dims)

    def quick(self, graph: str) -> QuickCall | None:
        quick = self.graphs[graph].quick
        return quick if quick.possible else None

    def quick_step(
        self, state: State, args: tuple[object, ...], arrays: Mapping[str, object]
    ) -> Results | None:
        own = _own(state)
        graph = self.graphs.get(own.program.graph.name)
        return (
            None if graph is None or graph.program is not own.program else graph.quick.step(own, args, arrays)
        )

    def step(self, state: State, arrays: Mapping[str, object]) -> Results:
        own = _own(state)
        return self.graphs[own.program.graph.name].extend(own, arrays, single=True)

    def extend(self, state: State, arrays: Mapping[str, object]) -> Results:
        own = _own(state)
        return self.graphs[own.program.graph.name].extend(own, arrays, single=False)

    def llvm(self, graph: str) -> str:
        return self.graphs[graph].inspect("llvm")

    def asm(self, graph: str) -> str:
        return self.graphs[graph].inspect("asm")
