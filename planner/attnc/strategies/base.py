"""Judges: what decides whether a strategy may carry out a node, and what that would cost.

A judge is registered for the noun that names its strategy in the IR. A package outside adds one through the
entry-point group `attnc.strategies`: the entry point names a [`Judge`][attnc.strategies.base.Judge] class,
or a module that registers some.
"""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import ClassVar, TypeVar

from attnc.facts import Fact, Facts
from attnc.machine import Machine
from attnc.plan import Cost
from attnc_ir.attributes.strategy import Strategy
from attnc_ir.errors import PlanError
from attnc_ir.kinds import suggest
from attnc_ir.ops import AttendStep, AttentionOp
from attnc_ir.types import Dim

ENTRY_POINTS = "attnc.strategies"


@dataclass
class Sizes:
    """Numbers for dimensions that a graph leaves open, for cost estimates only: no plan is wrong with other
    sizes.

    `hints` are by name of a dimension, or of a cache for its length. Lengths without a hint are `assumed`,
    batches and heads 1, widths 64. What was used is remembered in `used`.
    """

    hints: Mapping[str, int] = field(default_factory=dict)
    assumed: int = 1024
    used: dict[str, str] = field(default_factory=dict)

    def length(self, dim: Dim) -> int:
        """A number of queries or keys."""
        return self._of(dim, self.assumed)

    def count(self, dim: Dim) -> int:
        """A number of sequences or heads."""
        return self._of(dim, 1)

    def width(self, dim: Dim) -> int:
        """The width of keys or values."""
        return self._of(dim, 64)

    def rows(self, cache: str) -> int:
        """How many rows the cache called `cache` holds."""
        return self._named(cache, f"the length of %{cache}", self.assumed)

    def _of(self, dim: Dim, otherwise: int) -> int:
        return dim if isinstance(dim, int) else self._named(dim.name, dim.name, otherwise)

    def _named(self, name: str, what: str, otherwise: int) -> int:
        hinted = name in self.hints
        size = self.hints[name] if hinted else otherwise
        self.used[name] = f"{what} = {size}" + (" (hinted)" if hinted else "")
        return size


class Judge(ABC):
    """Knows one strategy: when it may be used, and what it costs."""

    noun: ClassVar[type[Strategy]]
    """The strategy as the IR names it."""
    keeps_structure: ClassVar[bool] = True
    """Whether a cache that it reads keeps more for it than the rows."""

    @property
    def keyword(self) -> str:
        """The strategy's name in text."""
        return self.noun.keyword

    def choose(self, node: AttentionOp, facts: Facts) -> Strategy:
        """The attribute to set on a node: the noun, with parameters where it has some."""
        return self.noun()

    @abstractmethod
    def why_not(self, node: AttentionOp, facts: Facts) -> tuple[str, ...]:
        """Every reason why the strategy may not carry out `node`, each a sentence; empty when it may."""

    def grounds(self, node: AttentionOp, facts: Facts) -> tuple[Fact, ...]:
        """The facts that make a legal node legal, for the plan; none where the node's form is enough."""
        return ()

    @abstractmethod
    def cost(self, node: AttentionOp, facts: Facts, machine: Machine, sizes: Sizes, length: int) -> Cost:
        """What a legal node is expected to take: one call of a stateless node, one step of a stateful one.

        `length` is the number of keys, for a step the assumed one.
        """


def rows_of(node: AttentionOp, sizes: Sizes) -> tuple[int, int, int]:
    """How many query rows a node answers, how many key heads it has (both times batch), and queries per
    head.
    """
    g = node.geometry
    batch = sizes.count(g.batch)
    queries = sizes.length(g.queries)
    return batch * sizes.count(g.query_heads) * queries, batch * sizes.count(g.key_heads), queries


def row_bytes(node: AttentionOp, sizes: Sizes) -> int:
    """Bytes of one key and its value."""
    g = node.geometry
    return (
        sizes.width(g.key_width) * node.key_type.dtype.itemsize
        + sizes.width(g.value_width) * node.value_type.dtype.itemsize
    )


def overhead(node: AttentionOp, machine: Machine) -> float:
    """What a call costs before any work: a stateless node starts a parallel loop as well."""
    return machine.call if isinstance(node, AttendStep) else machine.call + machine.thread


J = TypeVar("J", bound=Judge)
_JUDGES: dict[type[Strategy], Judge] = {}
_LOADED: list[str] = []


def register_strategy(cls: type[J]) -> type[J]:
    """Class decorator: let `select-strategy` ask this judge. Registering the same class twice changes
    nothing.
    """
    there = _JUDGES.get(cls.noun)
    if there is not None and type(there) is not cls:
        raise PlanError(
            f"{cls.__module__}.{cls.__name__} judges the strategy {cls.noun.keyword!r}, "
            f"which {type(there).__module__}.{type(there).__name__} does already"
        )
    _JUDGES.setdefault(cls.noun, cls())
    return cls


def judges() -> tuple[Judge, ...]:
    """Every registered judge, plug-ins included, in order of registration."""
    _load_plugins()
    return tuple(_JUDGES.values())


def judge_of(noun: type[Strategy] | str) -> Judge:
    """The judge of a strategy, by its class or keyword. Raises `PlanError` when there is none."""
    known = judges()
    for judge in known:
        if noun in (judge.noun, judge.keyword):
            return judge
    name = noun if isinstance(noun, str) else noun.keyword
    raise PlanError(f"no strategy is called {name!r:.80}; {suggest(name, [j.keyword for j in known])}")


def _load_plugins() -> None:
    """Load what other packages offer, once; a broken one is an error that names it, each time it is asked
    for.
    """
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if entry.value in _LOADED:
            continue
        origin = f" of {entry.dist.name}" if entry.dist is not None else ""
        try:
            loaded = entry.load()
        except Exception as error:
            raise PlanError(
                f"the strategy plug-in {entry.name!r}{origin} ({entry.value}) cannot be loaded: "
                f"{type(error).__name__}: {error}; repair or uninstall it"
            ) from error
        if isinstance(loaded, type) and issubclass(loaded, Judge):
            register_strategy(loaded)
        elif not isinstance(loaded, ModuleType):
            raise PlanError(
                f"the strategy plug-in {entry.name!r}{origin} ({entry.value}) "
                "is neither a Judge class nor a module"
            )
        _LOADED.append(entry.value)
