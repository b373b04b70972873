"""The pass manager: runs passes over modules, checks, reports, and leaves a reproducer when something
breaks.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from attnc.passes.base import Context, Pass
from attnc.passes.rewrite import same_graph
from attnc.pipeline import format_pipeline, parse_pipeline
from attnc.plan import Plan
from attnc_ir.errors import AttncError, InternalError, SpecError
from attnc_ir.graph import Graph, Module
from attnc_ir.text import format_module
from attnc_ir.verifier import verify


@dataclass(frozen=True)
class PassRecord:
    """One pass of a run: what it decided, in words and numbers, whether it changed the module, and how long
    it took.
    """

    name: str
    statistics: Mapping[str, int]
    changed: bool
    seconds: float

    def describe(self) -> str:
        """`chose-hull=6 chose-dense=1`, or that nothing changed."""
        words = " ".join(f"{name}={count}" for name, count in sorted(self.statistics.items()))
        if self.changed:
            return words or "changed"
        return f"unchanged {words}".rstrip()


@dataclass(frozen=True)
class PipelineRun:
    """What a pipeline made of a module: the module after it, the plan if strategies were chosen, and a
    record per pass.
    """

    module: Module
    plan: Plan
    records: tuple[PassRecord, ...]

    @property
    def statistics(self) -> dict[str, dict[str, int]]:
        """Decisions by pass name; counts of a pass that ran twice are added."""
        table: dict[str, dict[str, int]] = {}
        for record in self.records:
            row = table.setdefault(record.name, {})
            for decision, count in record.statistics.items():
                row[decision] = row.get(decision, 0) + count
        return table

    @property
    def seconds(self) -> dict[str, float]:
        """Time by pass name, added up."""
        table: dict[str, float] = {}
        for record in self.records:
            table[record.name] = table.get(record.name, 0.0) + record.seconds
        return table


@dataclass(frozen=True)
class PassManager:
    """Runs `passes` in order.

    `verify_each` verifies after every pass. `print_after_change` is called with a dump after every pass
    that changed something; a dump is a comment and a module, itself valid input. `on_stage` is called with
    a pass's name and its result, changed or not. A pass that crashes or breaks an invariant leaves a
    reproducer in `reproducer_dir` (default: the directory for temporary files) and raises `InternalError`;
    faults of the input pass through as they are.

    >>> from attnc_ir.text import parse
    >>> module = parse("graph @g(%x: f64[2]) { %y = neg %x  %z = neg %y  return %z }")
    >>> run = PassManager.of("canonicalize,dce").run(module)
    >>> [record.describe() for record in run.records]
    ['dropped-double-negation=1', 'removed-op=1']
    """

    passes: tuple[Pass, ...]
    verify_each: bool = False
    print_after_change: Callable[[str], None] | None = None
    on_stage: Callable[[str, Module], None] | None = None
    reproducer_dir: Path | None = None

    @classmethod
    def of(
        cls,
        pipeline: str | Iterable[Pass],
        *,
        verify_each: bool = False,
        print_after_change: Callable[[str], None] | None = None,
        on_stage: Callable[[str, Module], None] | None = None,
        reproducer_dir: Path | None = None,
    ) -> PassManager:
        """A manager for a pipeline string or for pass values."""
        passes = parse_pipeline(pipeline) if isinstance(pipeline, str) else tuple(pipeline)
        return cls(passes, verify_each, print_after_change, on_stage, reproducer_dir)

    def run(self, module: Module) -> PipelineRun:
        """Run all passes over every graph of a verified `module`."""
        context = Context(module)
        records: list[PassRecord] = []
        for position, step in enumerate(self.passes):
            context.module = module
            context.statistics.clear()
            started = time.perf_counter()
            after = self._run_one(position, step, module, context)
            seconds = time.perf_counter() - started
            changed = not _same_module(module, after)
            record = PassRecord(step.name, dict(context.statistics), changed, seconds)
            records.append(record)
            module = after if changed else module
            if changed and self.print_after_change is not None:
                self.print_after_change(self._dump(position, record, module))
            if self.on_stage is not None:
                self.on_stage(step.name, module)
        return PipelineRun(
            module, Plan(tuple(context.nodes), tuple(context.caches), context.machine), tuple(records)
        )

    def _run_one(self, position: int, step: Pass, module: Module, context: Context) -> Module:
        try:
            after = replace(module, graphs=tuple(step.run(graph, context) for graph in module))
        except AttncError:
            raise
        except Exception as error:
            what = f"pass {step.name} crashed: {type(error).__name__}: {error}"
            raise self._internal_error(position, module, what) from error
        if self.verify_each:
            try:
                verify(replace(after, text=""))
            except SpecError as error:
                what = f"pass {step.name} broke the module:\n{error}"
                raise self._internal_error(position, module, what) from error
        return after

    def _dump(self, position: int, record: PassRecord, module: Module) -> str:
        rest = format_pipeline(self.passes[position + 1 :])
        return f"// attnc opt -p '{rest}'   after {record.name}: {record.describe()}\n{format_module(module)}"

    def _internal_error(self, position: int, module: Module, what: str) -> InternalError:
        """Write what is needed to see the fault again, and say where it is."""
        rest = format_pipeline(self.passes[position:])
        flag = " --verify-each" if self.verify_each else ""
        comments = "".join(f"// {line}\n" for line in what.splitlines())
        text = f"// RUN: attnc opt{flag} -p '{rest}' %s\n{comments}{format_module(module)}"
        digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        path = (self.reproducer_dir or Path(tempfile.gettempdir())) / f"attnc-reproducer-{digest}.attn"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            return InternalError(f"{what}\nthe reproducer {path} could not be written: {error}")
        return InternalError(
            f"{what}\nthis is a fault of attnc; {path} shows it again, its first line says how"
        )


def _same_module(a: Module, b: Module) -> bool:
    return len(a.graphs) == len(b.graphs) and all(map(same_graph, a.graphs, b.graphs))


def run_pass(step: Pass, graph: Graph, context: Context | None = None) -> Graph:
    """One pass over one graph, without a manager: for scripts and tests."""
    return step.run(graph, context or Context(Module((graph,))))
