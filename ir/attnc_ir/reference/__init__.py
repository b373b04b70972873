"""The reference interpreter: what a graph means, slow and meant to be checked against the definition by
reading.

Softmax runs in f64; hard-max and top-k select in exact arithmetic. Every strategy and every pass is tested
against it.
"""

from attnc_ir.reference.attention import Row, attend_node_row, exact_winners
from attnc_ir.reference.interpreter import ReferenceState, run

__all__ = ["ReferenceState", "Row", "attend_node_row", "exact_winners", "run"]
