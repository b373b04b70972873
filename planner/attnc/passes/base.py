"""What every pass is: a value whose fields are its options, from a graph to a graph.

```python
@register_pass
@dataclass(frozen=True)
class DropEverything(Pass):
    name: ClassVar[str] = "drop-everything"
    keep: int = option(INT_OPTION, 0)

    def run(self, graph: Graph, context: Context) -> Graph: ...
```

is then written `drop-everything{keep=3}` in a pipeline string.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar, cast

from attnc.plan import CachePlan, NodePlan
from attnc_ir.graph import Graph, Module
from attnc_ir.op import Op

T = TypeVar("T")


class OptionKind(Protocol[T]):
    """Reads one option's text and writes it back. `expects` completes "expected ..."."""

    @property
    def expects(self) -> str: ...

    def read(self, text: str) -> T:
        """The value; raises `ValueError` when the text is none."""
        ...

    def write(self, value: T) -> str: ...


@dataclass(frozen=True)
class IntOption:
    """An integer within `[low, high]`."""

    low: int = -(2**63)
    high: int = 2**63 - 1

    @property
    def expects(self) -> str:
        unbounded = self.low == -(2**63) and self.high == 2**63 - 1
        return "an integer" if unbounded else f"an integer from {self.low} to {self.high}"

    def read(self, text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,20}", text) or not self.low <= int(text) <= self.high:
            raise ValueError(text)
        return int(text)

    def write(self, value: int) -> str:
        return str(value)


class FloatOption:
    """A finite number."""

    expects = "a number"

    def read(self, text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value

    def write(self, value: float) -> str:
        return repr(value)


class BoolOption:
    """`true` or `false`."""

    expects = "true or false"

    def read(self, text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"

    def write(self, value: bool) -> str:
        return "true" if value else "false"


class WordOption:
    """A word, such as the name of a machine profile. The empty string stands for "not given" and is never
    written.
    """

    expects = "a word of letters, digits, '-', '_' and '.'"

    def read(self, text: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
            raise ValueError(text)
        return text

    def write(self, value: str) -> str:
        return value


INT_OPTION = IntOption()
FLOAT_OPTION = FloatOption()
BOOL_OPTION = BoolOption()
WORD_OPTION = WordOption()

_KIND = "attnc.option"
_SIZES = "attnc.sizes"
SIZE = IntOption(0, 2**40)
"""What a size hint may be."""


def option(kind: OptionKind[Any], default: Any) -> Any:
    """A field of a pass that a pipeline string can set, by the field's name with `-` for `_`."""
    return dataclasses.field(default=default, metadata={_KIND: kind})


def size_hints() -> Any:
    """A field `tuple[tuple[str, int], ...]` that takes every option not declared otherwise: `N=65536`."""
    return dataclasses.field(default=(), metadata={_SIZES: True})


@dataclass(frozen=True)
class Pass:
    """Base of passes: frozen dataclasses. `run` never changes its input and preserves what the graph means.

    Raises errors from [`attnc_ir.errors`][attnc_ir.errors] where the spec or an option is at fault.
    """

    name: ClassVar[str]

    def run(self, graph: Graph, context: Context) -> Graph:
        """The rewritten graph; the same object where there is nothing to do."""
        raise AssertionError(f"{type(self).__name__} does not say how it runs")

    def __str__(self) -> str:
        """The pass as a pipeline string: its name, and the options that are not at their default."""
        written = []
        for spec in dataclasses.fields(self):
            value = getattr(self, spec.name)
            if spec.metadata.get(_SIZES):
                written += [f"{key}={size}" for key, size in value]
            elif value != spec.default:
                written.append(f"{option_name(spec)}={spec.metadata[_KIND].write(value)}")
        return f"{self.name}{{{','.join(written)}}}" if written else self.name


def option_name(spec: dataclasses.Field[Any]) -> str:
    """How a field is called in a pipeline string."""
    return spec.name.replace("_", "-")


def options_of(cls: type[Pass]) -> dict[str, tuple[str, OptionKind[Any]]]:
    """The declared options of a pass: name in a pipeline -> field name and kind."""
    return {
        option_name(spec): (spec.name, cast("OptionKind[Any]", spec.metadata[_KIND]))
        for spec in dataclasses.fields(cls)
        if _KIND in spec.metadata
    }


def sizes_field(cls: type[Pass]) -> str | None:
    """The field that takes size hints, if the pass has one."""
    return next((spec.name for spec in dataclasses.fields(cls) if spec.metadata.get(_SIZES)), None)


P = TypeVar("P", bound=Pass)
_PASSES: dict[str, type[Pass]] = {}


def register_pass(cls: type[P]) -> type[P]:
    """Class decorator: make a pass known to pipeline strings by its name."""
    assert cls.name not in _PASSES, f"pass {cls.name} registered twice"
    _PASSES[cls.name] = cls
    return cls


def registered_passes() -> Mapping[str, type[Pass]]:
    """All passes by name."""
    return _PASSES


Place = tuple[str, str]
"""A graph's name and the name of a value in it."""


@dataclass
class Context:
    """What a pass may look at and report to while it runs. One per run of a pipeline.

    `module` is the module as it stands before the current pass.
    """

    module: Module
    statistics: Counter[str] = field(default_factory=Counter)
    notes: dict[Place, list[str]] = field(default_factory=dict)
    nodes: list[NodePlan] = field(default_factory=list)
    caches: list[CachePlan] = field(default_factory=list)
    machine: str = ""
    """The profile that strategies were chosen for, in one line."""

    def count(self, decision: str, times: int = 1) -> None:
        """Count a decision under a name in words, `chose-hull`."""
        if times:
            self.statistics[decision] += times

    def note(self, graph: Graph, op: Op, sentence: str) -> None:
        """Say something about an op that its reader should see in the plan."""
        for result in op.results[:1]:
            said = self.notes.setdefault((graph.name, result.name), [])
            if sentence not in said:
                said.append(sentence)

    def move_notes(self, graph: Graph, old: str, new: str) -> None:
        """Let what was noted about value `old` stand beside `new`, which took over its work."""
        for sentence in self.notes.pop((graph.name, old), []):
            said = self.notes.setdefault((graph.name, new), [])
            if sentence not in said:
                said.append(sentence)
