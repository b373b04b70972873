"""SSA values."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from attnc_ir.errors import ArgumentError
from attnc_ir.location import Location
from attnc_ir.types import CacheType, TensorType, Type

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
MAX_NAME = 128


def check_name(name: str, what: str) -> str:
    """Return `name` if it is an identifier of at most 128 ASCII characters, else raise `ArgumentError`.

    The text form, generated source and DOT output rely on this: no name needs escaping anywhere.
    """
    if not is_name(name):
        raise ArgumentError(
            f"{what} {name!r:.200} is not a name: use up to {MAX_NAME} letters, digits and _, no digit first"
        )
    return name


def is_name(name: object) -> bool:
    """Whether `name` is an identifier of at most 128 ASCII characters."""
    return isinstance(name, str) and len(name) <= MAX_NAME and _NAME.match(name) is not None


@dataclass(frozen=True)
class Value:
    """A name with a type, assigned once in its graph. Equality is by name and type, not by place."""

    name: str
    type: Type
    location: Location | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_name(self.name, "value name")

    @property
    def tensor(self) -> TensorType:
        """The type as a tensor type. Only for code that runs after verification."""
        assert isinstance(self.type, TensorType), f"%{self.name} is a cache"
        return self.type

    @property
    def cache(self) -> CacheType:
        """The type as a cache type. Only for code that runs after verification."""
        assert isinstance(self.type, CacheType), f"%{self.name} is a tensor"
        return self.type

    def __str__(self) -> str:
        return f"%{self.name}"
