"""The tool that passes rebuild graphs with: ops go in one by one, values are replaced as they pass by."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

from attnc.passes.base import Context, Pass
from attnc_ir.graph import Graph
from attnc_ir.op import Op
from attnc_ir.text import parse
from attnc_ir.values import MAX_NAME, Value

O = TypeVar("O", bound=Op)  # noqa: E741 - the op type, short as in attnc_ir.op


class Rewriter:
    """Builds the successor of `graph`.

    Every op that is added reads the replacements of what it read before. New values get names that the
    graph does not use.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.ops: list[Op] = []
        self.definitions: dict[str, Op] = {}
        """By value name, the op that was added and defines it."""
        self._replaced: dict[Value, Value] = {}
        self._names = {value.name for value in graph.values()}

    @property
    def replaced(self) -> Mapping[Value, Value]:
        """What stands for what from here on."""
        return self._replaced

    def current(self, op: O) -> O:
        """The op as it reads after all replacements so far."""
        return op.with_operands(self._replaced)

    def add(self, op: Op) -> None:
        """Append an op that has its results already; operands are taken as they are."""
        self.ops.append(op)
        for result in op.results:
            self.definitions[result.name] = op

    def replace(self, old: Value, new: Value) -> None:
        """From here on, whatever read `old` reads `new`."""
        if old != new:
            self._replaced[old] = new

    def fresh_name(self, hint: str) -> str:
        """A value name that is not in use, near to `hint`."""
        hint = hint[: MAX_NAME - 8]
        name, count = hint, 1
        while name in self._names:
            name, count = f"{hint}_{count}", count + 1
        self._names.add(name)
        return name

    def with_results(self, op: O, hint: str) -> O:
        """`op` with fresh results, of the types its rule gives."""
        types = op.infer()
        return dataclasses.replace(
            op, results=tuple(Value(self.fresh_name(hint), t, op.location) for t in types)
        )

    def insert(self, op: Op, hint: str) -> Value:
        """Append an op without results yet, and return its (first) fresh result."""
        finished = self.with_results(op, hint)
        self.add(finished)
        return finished.results[0]

    def finish(self) -> Graph:
        """The rewritten graph; the old object if nothing is different."""
        outputs = tuple(self._replaced.get(v, v) for v in self.graph.outputs)
        new = dataclasses.replace(self.graph, ops=tuple(self.ops), outputs=outputs)
        return self.graph if same_graph(self.graph, new) else new


def same_graph(a: Graph, b: Graph) -> bool:
    """Whether two graphs read the same.

    Compares text, not values: `0.0 == -0.0`, and NaN is not equal to itself.
    """
    if a is b:
        return True
    if (a.name, a.inputs, a.outputs, len(a.ops)) != (b.name, b.inputs, b.outputs, len(b.ops)):
        return False
    return all(
        x is y or (x.results == y.results and x.fingerprint() == y.fingerprint())
        for x, y in zip(a.ops, b.ops, strict=True)
    )


def uses(graph: Graph) -> dict[str, int]:
    """How often each value is read, graph outputs counted too."""
    counts: dict[str, int] = {}
    for op in graph.ops:
        for value in op.operands:
            counts[value.name] = counts.get(value.name, 0) + 1
    for value in graph.outputs:
        counts[value.name] = counts.get(value.name, 0) + 1
    return counts


def run_on_text(step: Pass, text: str) -> Graph:
    """One pass over the first graph of `text`: for examples and tests."""
    module = parse(text)
    return step.run(module.graphs[0], Context(module))
