"""From Python functions to expressions: `score_mod` and `mask_mod` in FlexAttention's convention."""

from attnc.tracing.functions import exp, log, maximum, minimum, sigmoid, sqrt, tanh, where
from attnc.tracing.tables import table
from attnc.tracing.tracer import MASK_MOD, SCORE_MOD, Trace, TracedTable, trace

__all__ = [
    "MASK_MOD",
    "SCORE_MOD",
    "Trace",
    "TracedTable",
    "exp",
    "log",
    "maximum",
    "minimum",
    "sigmoid",
    "sqrt",
    "table",
    "tanh",
    "trace",
    "where",
]
