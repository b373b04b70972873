"""attnc, the attention compiler: verify an attention graph, choose a strategy for every node and say why, run
compiled code.

```python
program = attnc.compile(text)  # or a path, or a module built in Python
out = program("graph", q, k, v)
print(program.plan.render())
```

Compiling needs Numba, which takes a while to import; reading and checking specs does not, so the parts that
need it are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from attnc_ir.errors import (
    ArgumentError,
    AttncError,
    CacheError,
    EmptyRowError,
    InternalError,
    PipelineError,
    PlanError,
    PromiseError,
    SpecError,
    StateError,
    TraceError,
)
from attnc_ir.graph import Graph, Module
from attnc_ir.text import format_module as format
from attnc_ir.text import load, parse
from attnc_ir.verifier import verify

if TYPE_CHECKING:
    from attnc.arguments import alibi, causal, documents, lengths, prefix, relative, topk, window
    from attnc.functional import attention
    from attnc.functions import traced_mask, traced_score
    from attnc.pipeline import DEFAULT_PIPELINE
    from attnc.plan import Plan
    from attnc.program import Program, State, reference
    from attnc.program import compile_spec as compile
    from attnc.tracing import exp, log, maximum, minimum, sigmoid, sqrt, table, tanh, where

__version__ = "0.1.0"

_LAZY = {
    "attention": "attnc.functional:attention",
    "compile": "attnc.program:compile_spec",
    "reference": "attnc.program:reference",
    "Program": "attnc.program:Program",
    "State": "attnc.program:State",
    "Plan": "attnc.plan:Plan",
    "DEFAULT_PIPELINE": "attnc.pipeline:DEFAULT_PIPELINE",
    **{name: f"attnc.arguments:{name}" for name in (
        "alibi", "causal", "documents", "lengths", "prefix", "relative", "topk", "window")},
    **{name: f"attnc.functions:{name}" for name in ("traced_mask", "traced_score")},
    **{name: f"attnc.tracing:{name}" for name in (
        "exp", "log", "maximum", "minimum", "sigmoid", "sqrt", "table", "tanh", "where")},
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'attnc' has no attribute {name!r}")
    module, _, attribute = _LAZY[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


__all__ = [
    "DEFAULT_PIPELINE",
    "ArgumentError",
    "AttncError",
    "CacheError",
    "EmptyRowError",
    "Graph",
    "InternalError",
    "Module",
    "PipelineError",
    "Plan",
    "PlanError",
    "Program",
    "PromiseError",
    "SpecError",
    "State",
    "StateError",
    "TraceError",
    "alibi",
    "attention",
    "causal",
    "compile",
    "documents",
    "exp",
    "format",
    "lengths",
    "load",
    "log",
    "maximum",
    "minimum",
    "parse",
    "prefix",
    "reference",
    "relative",
    "sigmoid",
    "sqrt",
    "table",
    "tanh",
    "topk",
    "traced_mask",
    "traced_score",
    "verify",
    "where",
    "window",
]
