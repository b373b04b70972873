"""Comparing what compiled code gives with what the reference interpreter gives."""

from __future__ import annotations

from dataclasses import dataclass

import networkx as nx
import numpy as np

from attnc_ir.attributes.normalizer import Hardmax
from attnc_ir.graph import Graph
from attnc_ir.graphview import to_networkx
from attnc_ir.ops import AttentionOp
from attnc_ir.storage import Array, to_float64
from attnc_ir.types import TensorType


@dataclass(frozen=True)
class Difference:
    """How far one output is from the reference.

    `largest` is the largest absolute difference of two finite numbers; `relative` is that over the largest
    finite magnitude in the reference; `misplaced` counts elements where one is NaN or infinite and the other
    is not the same.
    """

    name: str
    largest: float
    relative: float
    misplaced: int
    tolerance: float

    @property
    def ok(self) -> bool:
        """Within the tolerance, everywhere."""
        return self.misplaced == 0 and self.relative <= self.tolerance


def tolerances(graph: Graph) -> list[float]:
    """What each output may differ by, relatively: the largest tolerance of the nodes that it comes from.

    Hard-max is exact, and so is what moves elements or does one rounded operation on them; so an output that
    comes from no other normaliser has tolerance 0. What a cache holds may come from any node.
    """
    view = to_networkx(graph)
    nodes = {str(op.results[0]): op for op in graph.ops if isinstance(op, AttentionOp)}
    found = []
    for value in graph.outputs:
        home = next(node for node, data in view.nodes(data=True) if value in data["values"])
        behind = nodes.keys() if graph.is_stateful else {home, *nx.ancestors(view, home)}
        found.append(max((_tolerance(op) for name, op in nodes.items() if name in behind), default=0.0))
    return found


def _tolerance(op: AttentionOp) -> float:
    return 0.0 if isinstance(op.normalizer, Hardmax) and op.lse is None else op.effective_tolerance


def difference(name: str, kind: TensorType, given: Array, wanted: Array, tolerance: float) -> Difference:
    """How far `given` is from `wanted`, two stored tensors of type `kind` and of one shape."""
    a, b = numbers(given, kind), numbers(wanted, kind)
    both = np.isfinite(a) & np.isfinite(b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(over="ignore"):
        gaps = np.abs(a[both] - b[both])
    largest = float(gaps.max(initial=0.0))
    magnitude = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
    relative = largest / magnitude if magnitude else largest
    return Difference(name, largest, relative, int(np.count_nonzero(~both & ~same)), tolerance)


def numbers(array: Array, kind: TensorType) -> Array:
    """A stored tensor as doubles."""
    return to_float64(array, kind.dtype) if kind.dtype.is_float else array.astype(np.float64)
