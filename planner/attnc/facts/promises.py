"""Facts that callers vouch for. The run-time check stands behind them: a key that breaks a promise ends the
call with an error, before any node reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from attnc.facts.kinds import Facts, FiniteFact, IntegerFact, MonotoneFact, ParabolaFact
from attnc.facts.polynomial import Polynomial, largest_integer
from attnc_ir.attributes.mask import Lengths
from attnc_ir.attributes.promise import PARABOLA_REACH, PROMISE, Integer, Monotone, Parabola, Promise
from attnc_ir.graph import Graph
from attnc_ir.ops import Attend, AttendStep, AttentionOp, Cache
from attnc_ir.types import MAX_DIM
from attnc_ir.values import Value


def transfer_promises(graph: Graph, facts: Facts) -> None:
    """State what the nodes of a graph promise about their keys, for the key operand or for all versions of
    the cache.

    It is not handed on to what other ops make of the keys: those may run before the check.
    """
    roots = graph.cache_roots()
    for op in graph.ops:
        if not isinstance(op, Attend | AttendStep) or not op.keys:
            continue
        about = [op.key] if isinstance(op, Attend) else [v for v in graph.values() if _is_of(v, op, roots)]
        for value in about:
            for promise in op.keys:
                _state(value, promise, op, facts)


def _is_of(value: Value, op: AttendStep, roots: Mapping[str, Cache]) -> bool:
    """Whether `value` is a version of the cache that `op` reads."""
    return roots.get(value.name) is roots[op.cache.name]


def _is_ragged(op: AttentionOp) -> bool:
    """Whether keys beyond the lengths of a batch are exempt from the check."""
    return any(isinstance(term, Lengths) for term in op.mask.conjuncts)


def _state(value: Value, promise: Promise, op: AttentionOp, facts: Facts) -> None:
    reason = f"is promised by {op.output}: keys = {PROMISE.write(promise)}"
    match promise:
        case Parabola():
            # The keys of a ragged batch beyond its lengths are not checked, but code that relies on this
            # fact checks every key that it reads.
            facts.add(
                ParabolaFact(
                    value,
                    reason,
                    (),
                    axis=0,
                    linear=Polynomial(linear=Fraction(2)),
                    square=Polynomial(square=Fraction(-1)),
                    bound=PARABOLA_REACH,
                    proved=not _is_ragged(op),
                )
            )
        case _ if _is_ragged(op):
            pass
        case Integer(low, high):
            most = largest_integer(op.key_type.dtype)
            span = (-most, most) if low is None or high is None else (low, high)
            facts.add(IntegerFact(value, reason, (), *span))
            facts.add(FiniteFact(value, reason))
        case Monotone(axis):
            facts.add(MonotoneFact(value, reason, (), axis, MAX_DIM))
        case _:
            pass
