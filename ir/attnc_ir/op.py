"""What every operation has in common."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar, cast

from attnc_ir.diagnostics import Report
from attnc_ir.kinds import Field, kind_of, parameters_of, role_of
from attnc_ir.location import Location
from attnc_ir.types import Type
from attnc_ir.values import Value

T = TypeVar("T")


class TypeRuleError(ValueError):
    """Operands whose types do not fit an op. `at` names the field whose place is shown."""

    def __init__(self, message: str, *, at: str = "", help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.at = at
        self.help = help


@dataclass(frozen=True, kw_only=True)
class Op:
    """One operation: operands and attributes as typed fields, `results` as fresh values.

    Subclasses are frozen dataclasses with a `mnemonic`; fields are declared with `operand()`, `operands()`
    and `attribute(kind)` and are all that parser, printer and passes need. `infer` gives the result types and
    raises `TypeRuleError` for the first operands that do not fit; `verify` reports everything else that must
    hold.
    """

    mnemonic: ClassVar[str]
    pure: ClassVar[bool] = True
    """False for ops that may be neither removed, doubled nor merged."""

    results: tuple[Value, ...] = ()
    location: Location | None = field(default=None, compare=False, repr=False)
    places: Mapping[str, Location] = field(default_factory=dict, compare=False, repr=False)
    """Where each field stands in the source, for carets."""

    def infer(self) -> tuple[Type, ...]:
        """The types of the results."""
        raise AssertionError(f"{type(self).__name__} has no type rule")

    def verify(self, report: OpReport) -> None:
        """Report every broken rule that the type rule does not cover."""

    @classmethod
    def result_fields(cls, written: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Fields that follow from how many results the text names, beside the fields that are `given`; raises
        `TypeRuleError` when that is no number of results.
        """
        if written != 1:
            raise TypeRuleError(f"{cls.mnemonic} gives 1 result, {written} are named")
        return {}

    @property
    def operands(self) -> tuple[Value, ...]:
        """Every value the op reads, those inside attributes included, in field order."""
        return tuple(v for spec in parameters_of(type(self)) for v in values_in(getattr(self, spec.name)))

    def with_operands(self, replace: Mapping[Value, Value]) -> Self:
        """The same op reading `replace.get(v, v)` instead of `v`."""
        changes = {}
        for spec in parameters_of(type(self)):
            old = getattr(self, spec.name)
            new = replace_values(old, replace)
            if new is not old:
                changes[spec.name] = new
        return dataclasses.replace(self, **changes) if changes else self

    def place(self, at: str = "") -> Location | None:
        """Where field `at` stands, or the op itself."""
        return self.places.get(at) or self.location

    def fingerprint(self) -> tuple[str, ...]:
        """Equal for two ops that compute the same thing: mnemonic, number of results, operands and attributes
        as text.

        Text, because `0.0 == -0.0` in Python and the two must not be merged.
        """
        fields = [_written(spec, getattr(self, spec.name)) for spec in parameters_of(type(self))]
        return (self.mnemonic, str(len(self.results)), *fields)


O = TypeVar("O", bound=Op)  # noqa: E741 - the op type; short because it stands beside self only


def _written(spec: Field, value: Any) -> str:
    """One field as text."""
    return ",".join(map(str, value)) if role_of(spec) == "operands" else kind_of(spec).write(value)


@dataclass(frozen=True)
class OpReport:
    """A report that already knows which op it speaks of."""

    report: Report
    op: Op

    def error(self, message: str, *, at: str = "", help: str | None = None) -> None:
        """Note a fault of the op, placed at its field `at`."""
        self.report.error(message, self.op.place(at), help=help)


def values_in(thing: object) -> Iterator[Value]:
    """Every value inside an operand or attribute, depth first in field order."""
    if isinstance(thing, Value):
        yield thing
    elif isinstance(thing, tuple):
        if not _is_numbers(thing):
            for item in thing:
                yield from values_in(item)
    elif dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        for spec in dataclasses.fields(thing):
            yield from values_in(getattr(thing, spec.name))


def _is_numbers(items: tuple[object, ...]) -> bool:
    """True for the values of a constant: all of one kind, too many to look at each, and without a value
    inside.
    """
    return bool(items) and isinstance(items[0], float)


def replace_values(thing: T, replace: Mapping[Value, Value]) -> T:
    """`thing` with values replaced, everywhere inside; the same object when nothing changes."""
    return cast(T, _mapped(thing, lambda v: replace.get(v, v)))


def _mapped(thing: object, change: Callable[[Value], Value]) -> object:
    if isinstance(thing, Value):
        return change(thing)
    if isinstance(thing, tuple):
        if _is_numbers(thing):
            return thing
        items = tuple(_mapped(item, change) for item in thing)
        return items if any(a is not b for a, b in zip(items, thing, strict=True)) else thing
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        changes = {}
        for spec in dataclasses.fields(thing):
            old = getattr(thing, spec.name)
            new = _mapped(old, change)
            if new is not old:
                changes[spec.name] = new
        return dataclasses.replace(thing, **changes) if changes else thing
    return thing


_OPS: dict[str, type[Op]] = {}


def register_op(cls: type[O]) -> type[O]:
    """Class decorator: make an op known to the parser by its mnemonic."""
    assert cls.mnemonic not in _OPS, f"op {cls.mnemonic} registered twice"
    _OPS[cls.mnemonic] = cls
    return cls


def registered_ops() -> Mapping[str, type[Op]]:
    """All ops by mnemonic."""
    return _OPS


def operand_fields(cls: type[Op]) -> list[Field]:
    """The fields that stand before the braces, in order."""
    return [spec for spec in parameters_of(cls) if role_of(spec) in ("operand", "operands")]


def attribute_fields(cls: type[Op]) -> list[Field]:
    """The fields that stand in the braces, in order."""
    return [spec for spec in parameters_of(cls) if role_of(spec) == "attribute"]
