"""Small graphs around one attention node, and calls of the reference on them."""

import dataclasses

import numpy as np

from attnc_ir.attributes.normalizer import Softmax
from attnc_ir.graph import Graph, Module
from attnc_ir.ops import Append, Attend, AttendStep, Cache
from attnc_ir.reference import run
from attnc_ir.types import DType, Symbol, TensorType
from attnc_ir.values import Value
from attnc_ir.verifier import verify

B, H, HKV, N, M, D, DV = (Symbol(name) for name in ("B", "H", "Hkv", "N", "M", "D", "Dv"))


def tensor(name, dtype, *shape):
    """A value of tensor type."""
    return Value(name, TensorType(DType(dtype), shape))


def with_results(op, *names):
    """The op with fresh results of the types its rule gives."""
    results = tuple(Value(name, kind) for name, kind in zip(names, op.infer(), strict=True))
    return dataclasses.replace(op, results=results)


def graph_of(inputs, ops, outputs, name="g"):
    """A verified graph."""
    graph = Graph(name, tuple(inputs), tuple(ops), tuple(outputs))
    verify(Module((graph,)))
    return graph


def attend_graph(extra=(), *, dtype="f64", width=D, rank=2, lse=False, **attributes):
    """`@g(%q, %k, %v, extra...)` returning one attention over them, of the given rank; attributes as for `Attend`."""
    lead, kv_lead = {2: ((), ()), 3: ((H,), (HKV,)), 4: ((B, H), (B, HKV))}[rank]
    q = tensor("q", dtype, *lead, N, width)
    k = tensor("k", dtype, *kv_lead, M, width)
    v = tensor("v", dtype, *kv_lead, M, DV)
    attributes.setdefault("normalizer", Softmax())
    op = Attend(query=q, key=k, value=v, with_lse=lse, **attributes)
    op = with_results(op, "o", "lse") if lse else with_results(op, "o")
    return graph_of([q, k, v, *extra], [op], op.results)


def attend(q, k, v, extra=(), arrays=None, **attributes):
    """The outputs of `attend_graph` on arrays of one dtype; `extra` are values, `arrays` their contents by name."""
    q, k, v = (np.asarray(x) if isinstance(x, np.ndarray) else np.asarray(x, np.float64) for x in (q, k, v))
    dtype = {np.dtype(np.float64): "f64", np.dtype(np.float32): "f32", np.dtype(np.float16): "f16"}[q.dtype]
    graph = attend_graph(extra, dtype=attributes.pop("dtype", dtype), rank=q.ndim, **attributes)
    outputs = run(graph, {"q": q, "k": k, "v": v, **(arrays or {})})
    return outputs if len(outputs) > 1 else outputs[0]


def memory_graph(
    normalizer, *, heads=(H,), query_heads=None, width=2, value_width=1, lse=False, before=False, **attributes
):
    """`@g(%q, %k, %v)`: append, then read; `before` reads the cache as it stood before the append."""
    q = tensor("q", "f64", *(heads if query_heads is None else query_heads), width)
    k, v = tensor("k", "f64", *heads, width), tensor("v", "f64", *heads, value_width)
    cache = with_results(
        Cache(heads=heads, key=TensorType(DType.F64, (width,)), value=TensorType(DType.F64, (value_width,))),
        "c",
    )
    append = with_results(Append(cache=cache.results[0], key=k, value=v), "c1")
    read = cache if before else append
    step = AttendStep(query=q, cache=read.results[0], normalizer=normalizer, with_lse=lse, **attributes)
    step = with_results(step, "o", "lse") if lse else with_results(step, "o")
    return graph_of([q, k, v], [cache, step, append] if before else [cache, append, step], step.results)
