"""From a planned graph to a program: which function runs each op, what each cache keeps, where values lie."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

from attnc_backends.numba.access import GraphContext
from attnc_backends.numba.emit_append import emit_append
from attnc_backends.numba.emit_decode import parts_slot
from attnc_backends.numba.emit_elementwise import constant_slot, emit_elementwise
from attnc_backends.numba.makers import making_of, notes_of, structure_of
from attnc_backends.numba.node import OK, Node
from attnc_backends.numba.shared import Library, libraries_called
from attnc_backends.numba.source import KINDS_SLOT, FrameLayout, Function
from attnc_backends.numba.structures import Structure, kept_once, slot_of
from attnc_ir.attributes.mask import Lengths, Prefix
from attnc_ir.graph import Graph
from attnc_ir.op import Op
from attnc_ir.ops import Append, AttendStep, AttentionOp, Cache, Constant
from attnc_ir.promises import first_readers
from attnc_ir.types import DType


@dataclass(frozen=True)
class CachePlan:
    """What a cache keeps: rows of keys and values per head and the structures that nodes ask for."""

    op: Cache
    number: int
    structures: tuple[Structure, ...] = ()

    def number_of(self, wanted: Structure) -> int:
        """The number of a reader's structure, or of the one that stands in for it."""
        return next(self.structures.index(s) for s in (wanted, *wanted.within) if s in self.structures)

    @property
    def key_dtype(self) -> DType:
        """The element type of stored keys: doubles where a structure reads them as such."""
        return DType.F64 if any(s.wide_keys for s in self.structures) else self.op.key.dtype

    @property
    def key_width(self) -> int:
        """Elements of a key."""
        (width,) = self.op.key.shape
        assert isinstance(width, int)
        return width

    @property
    def key_bytes(self) -> int:
        """Bytes of one stored key."""
        return self.key_width * self.key_dtype.itemsize

    @property
    def value_bytes(self) -> int:
        """Bytes of one stored value row."""
        return self.value_width * self.op.value.dtype.itemsize

    @property
    def value_width(self) -> int:
        """Elements of a value row."""
        (width,) = self.op.value.shape
        assert isinstance(width, int)
        return width


@dataclass
class GraphProgram:
    """One graph, ready to be emitted: its frame, its caches, the ops that run, and the source of their
    functions.
    """

    graph: Graph
    context: GraphContext
    caches: tuple[CachePlan, ...]
    ops: tuple[Op, ...] = ()
    functions: list[str] = field(default_factory=list)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    unsettled: frozenset[int] = frozenset()
    """The numbers of nodes whose rows may be left to rational arithmetic."""
    of_objects: bool = False
    """Whether compiled code can do with the array objects of inputs and outputs."""
    shared: frozenset[int] = frozenset()
    """The numbers of nodes whose workers share memory, from which one of them then makes the results."""

    @property
    def entry(self) -> str:
        """The name of the graph's compiled function."""
        return f"g{self.context.index}_entry"

    @property
    def structures(self) -> tuple[tuple[CachePlan, int], ...]:
        """Every structure of every cache, as the cache and the structure's number in it; commands count
        them in this order.
        """
        return tuple((plan, number) for plan in self.caches for number in range(len(plan.structures)))

    @cached_property
    def libraries(self) -> tuple[Library, ...]:
        """The libraries of the shared runtime that its functions, all of them written, call."""
        return libraries_called("\n".join(self.functions))

    @property
    def constants(self) -> tuple[Constant, ...]:
        """Constants whose values the driver places in memory."""
        return tuple(op for op in self.ops if isinstance(op, Constant) and len(op.values) != 1)


def lower_graph(graph: Graph, index: int) -> GraphProgram:
    """Lay out frame and caches of a planned graph and write all its functions."""
    layout = FrameLayout()
    for name in ("fault_b", "fault_h", "fault_i"):
        layout.slot(name)
    if graph.is_stateful:
        for name in ("resume", "trouble_step", "trouble_op", "move_from", "move_stride"):
            layout.slot(name)
    context = GraphContext(graph, layout, index)
    plans = _cache_plans(graph)
    program = GraphProgram(graph, context, tuple(plans.values()))
    program.ops = tuple(op for op in graph.ops if not isinstance(op, Cache))
    roots = graph.cache_roots()
    unsettled, shared = set(), set()
    for number, op in enumerate(program.ops):
        if isinstance(op, AttentionOp):
            plan = plans[roots[op.cache.name].results[0].name] if isinstance(op, AttendStep) else None
            node = Node(context, op, number, plan.number if plan else None, plan.key_dtype if plan else None)
            kept = structure_of(op) if isinstance(op, AttendStep) else None
            if plan is not None and kept is not None:
                node = replace(node, structure=plan.number_of(kept))
            program.functions += making_of(node).maker(node)
            shares = making_of(node).shares(node)
            program.functions.append(_op_entry(context, number, shares=shares))
            program.notes[op.output.name] = notes_of(node)
            if node.may_be_unsettled:
                unsettled.add(number)
            if shares:
                shared.add(number)
        elif isinstance(op, Append):
            program.functions.append(
                emit_append(context, op, number, plans[roots[op.cache.name].results[0].name])
            )
        else:
            program.functions.append(emit_elementwise(context, op, f"op{number}"))
    program.unsettled, program.shared = frozenset(unsettled), frozenset(shared)
    for constant in program.constants:
        layout.slot(constant_slot(constant))
    program.functions += _structure_commands(program)
    program.of_objects = _of_objects(program)
    if program.of_objects:
        layout.slot(KINDS_SLOT)
    return program


def _of_objects(program: GraphProgram) -> bool:
    """Whether no output needs a copy, no row rational arithmetic, and no argument a look at its values."""
    graph = program.graph
    names = [v.name for v in (*graph.inputs, *graph.outputs)]
    counted = any(
        isinstance(mask, Lengths) or (isinstance(mask, Prefix) and not isinstance(mask.count, int))
        for op in program.ops
        if isinstance(op, AttentionOp)
        for mask in op.mask.walk()
    )
    plain = len(set(names)) == len(names) and not program.unsettled and not counted
    return plain and not first_readers(graph)


def _cache_plans(graph: Graph) -> dict[str, CachePlan]:
    """What each cache has to keep for the nodes that read it."""
    roots = graph.cache_roots()
    plans = {}
    for number, cache in enumerate(graph.caches):
        readers = [op for op in graph.ops if isinstance(op, AttendStep) and roots[op.cache.name] is cache]
        kept = kept_once(s for op in readers if (s := structure_of(op)) is not None)
        plans[cache.results[0].name] = CachePlan(cache, number, kept)
    return plans


class Workers:
    """What an op's entry is asked for in place of a number of workers."""

    SCRATCH: Final = 0
    """The bytes of scratch of one of them."""
    PARTS: Final = -1
    """The bytes of memory that several share, which the frame points to; one alone has it in its scratch."""
    MERGE: Final = -2
    """To make the results of what they shared, when all are done."""


def _op_entry(context: GraphContext, number: int, *, shares: bool) -> str:
    """`opN(frame, t, worker, workers, scratch)` around a node's rows: the share of one worker, or `Workers`."""
    f = context.function(
        f"op{number}", "worker", "workers", "scratch", doc="the share of one of several workers"
    )
    node = f"g{context.index}_n{number}"
    if not shares:
        with f.block(f"if workers == {Workers.SCRATCH}"):
            f.line(f"return {node}_scratch(frame, t)")
        f.line(f"blocks = {node}_blocks(frame, t)")
        f.line(
            f"return {node}_rows(frame, t, blocks * worker // workers, blocks * (worker + 1) // workers, scratch)"
        )
        return f.text()
    f.line(f"shared = {node}_parts_bytes(frame, t)")
    with f.block(f"if workers == {Workers.SCRATCH}"):
        f.line(f"return {node}_scratch(frame, t) + shared")
    with f.block(f"if workers == {Workers.PARTS}"):
        f.line("return shared")
    with f.block("if workers > 0"):
        f.line(f"blocks, place = {node}_blocks(frame, t), scratch")
        with f.block("if workers == 1"):
            f.line(
                f"store_i64(frame + {8 * context.layout.slot(parts_slot(number))}, scratch)\nplace += shared"
            )
        f.line(
            f"status = {node}_rows(frame, t, blocks * worker // workers, blocks * (worker + 1) // workers, place)"
        )
        with f.block(f"if status != {OK} or workers > 1"):
            f.line("return status")
    # The slot may have been written since this function began.
    parts = f"(load_i64(frame + {8 * context.layout.slot(parts_slot(number))}) + 63) // 64 * 64"
    f.line(f"return {node}_merge(frame, t, {parts}, scratch + shared)")
    return f.text()


def _heads_text(context: GraphContext, plan: CachePlan, f: Function) -> str:
    return " * ".join(context.dim(f, d) for d in plan.op.heads) or "1"


def _structure_at(f: Function, plan: CachePlan, number: int) -> str:
    """The address of a structure for `head`."""
    slot = slot_of(plan.number, number)
    return f"{f.slot(slot)} + head * {f.slot(slot + '_stride')}"


def _structure_commands(program: GraphProgram) -> list[str]:
    """Functions that size, start, move and refill every structure, over all heads."""
    context = program.context
    parts = []

    def command(plan: CachePlan, number: int, what: str, *params: str, doc: str) -> Function:
        return context.function(f"{slot_of(plan.number, number)}_{what}", *params, doc=doc)

    for plan, number in program.structures:
        structure = plan.structures[number]
        f = command(plan, number, "bytes", "capacity", doc=f"bytes for one head: {structure.name}")
        f.line(f"return {structure.size}")
        parts.append(f.text())
        f = command(plan, number, "start", "capacity", doc="empty, for every head")
        with f.block(f"for head in range({_heads_text(context, plan, f)})"):
            f.line(f"at = {_structure_at(f, plan, number)}\n{structure.start}")
        f.line("return 0")
        parts.append(f.text())
        f = command(
            plan, number, "move", "place", "stride", "capacity", doc="every head's into a larger place"
        )
        with f.block(f"for head in range({_heads_text(context, plan, f)})"):
            f.line(f"source = place + head * stride\nat = {_structure_at(f, plan, number)}\n{structure.move}")
        f.line("return 0")
        parts.append(f.text())
        f = command(plan, number, "refill", "count", "scratch", doc="told of the first rows")
        if structure.append:
            c = f"cache{plan.number}"
            with f.block(f"for head in range({_heads_text(context, plan, f)})"):
                f.line(f"keys = {f.slot(f'{c}_keys')} + head * {f.slot(f'{c}_key_stride')}")
                f.line(f"values = {f.slot(f'{c}_values')} + head * {f.slot(f'{c}_value_stride')}")
                f.line(f"at = {_structure_at(f, plan, number)}")
                with f.block("for row in range(count)"):
                    f.line(structure.append)
        f.line("return 0")
        parts.append(f.text())
    return parts
