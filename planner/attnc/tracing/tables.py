"""Tables: arrays that a traced function looks up in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from attnc.arguments import Array, as_array, dtype_of
from attnc.tracing.faults import fault
from attnc.tracing.symbols import Session, Symbol, placeholder
from attnc_ir.errors import ArgumentError
from attnc_ir.types import TensorType
from attnc_ir.values import Value, is_name

_FIXED = ("dtype", "size", "itemsize")
"""Attributes of an array that do not depend on its elements."""


class Table(NDArrayOperatorsMixin):
    """An array, or a value of a graph, that can be indexed by symbols: `table[h, q_idx]` is one element.

    Indexed by numbers, or computed with, it behaves like the array. `slot` says which of the captured arrays
    it is; None for an array that the function made or found elsewhere.
    """

    def __init__(self, source: Array | Value, name: str = "table", slot: int | None = None) -> None:
        self._source = source
        self._slot = slot
        self._session: Session | None = None
        self._name = stem_of(name)

    # --- what the tracer asks ---

    @property
    def source(self) -> Array | Value:
        """The array, or the value of a graph."""
        return self._source

    @property
    def slot(self) -> int | None:
        """Its number among the captured arrays."""
        return self._slot

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._name

    def of(self, session: Session) -> Table:
        """This table as one that tells `session` when its elements are read."""
        self._session = session
        return self

    def as_number(self) -> object:
        """The element of an array without axes."""
        return self._read() if self.ndim == 0 else self

    # --- what the traced function asks ---

    @property
    def shape(self) -> tuple[Any, ...]:
        """Sizes of the axes; names for those of a graph's value that a call decides."""
        source = self._source
        return source.tensor.shape if isinstance(source, Value) else source.shape

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    def __len__(self) -> int:
        return int(self.shape[0]) if self.shape else len(self._read())

    def __getitem__(self, index: Any) -> Any:
        indices = index if isinstance(index, tuple) else (index,)
        session = next((i.session for i in indices if isinstance(i, Symbol)), None)
        if session is None:
            return _wrapped(self._read()[index], self._name)
        if len(indices) != self.ndim or not all(isinstance(i, Symbol | int | np.integer) for i in indices):
            raise fault(
                f"the array {self._name} has {self.ndim} axes, the look-up gives {len(indices)} index(es)"
                if len(indices) != self.ndim
                else f"the array {self._name} is indexed by a slice beside a symbol",
                "give one whole number for each axis: a look-up is one element",
            )
        return session.lookup(self._value(session), tuple(map(self._forward, indices, self.shape)))

    def _forward(self, index: Any, size: Any) -> Any:
        """A number that counts from the end, counted from the start."""
        if isinstance(index, Symbol) or not isinstance(size, int):
            return index
        if not -size <= index < size:
            raise fault(f"index {index} is outside an axis of size {size} of the array {self._name}")
        return int(index) % size

    def _value(self, session: Session) -> Value:
        if isinstance(self._source, Value):
            return self._source
        for value, known in session.tables:
            if known is self or (known.slot is None and known.source is self._source):
                return value  # type: ignore[no-any-return]
        try:
            dtype = dtype_of(as_array(self._source, f"the array {self._name}"))
        except ArgumentError as error:
            raise fault(str(error)) from None
        value = placeholder(f"table{len(session.tables)}", dtype, self.ndim)
        session.tables.append((value, self))
        return value

    def _read(self) -> Any:
        """The array itself; what is made of it is part of the expression."""
        if self._session is not None:
            self._session.elements_read = True
        if isinstance(self._source, Value):
            raise fault(
                f"{self._source} is a value of a graph: it is not known yet", "index it by symbols only"
            )
        return self._source

    def __array__(self, *args: Any, **options: Any) -> Array:
        return np.asarray(self._read(), *args, **options)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        symbols = [x for x in inputs if isinstance(x, Symbol)]
        if symbols:
            return symbols[0].__array_ufunc__(ufunc, method, *inputs, **options)
        plain = [x._read() if isinstance(x, Table) else x for x in inputs]
        return _wrapped(getattr(ufunc, method)(*plain, **options), self._name)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._source if name in _FIXED else self._read(), name)

    def __iter__(self) -> Any:
        return iter([_wrapped(x, self._name) for x in self._read()])

    def __contains__(self, item: object) -> bool:
        return bool(np.any(self._read() == item))

    def __bool__(self) -> bool:
        return bool(self._read())

    def __float__(self) -> float:
        return float(self._read())

    def __int__(self) -> int:
        return int(self._read())

    def __index__(self) -> int:
        return int(self._read().__index__())

    def __repr__(self) -> str:
        return f"<table {self._name} {self.shape}>"


def stem_of(name: str) -> str:
    """A name for a graph's input, near to what the array is called; whatever else it may hold is dropped."""
    return name if is_name(name) and len(name) < 64 else "table"


def _wrapped(found: Any, name: str) -> Any:
    """A part of an array as a table of its own; a number as it is."""
    return Table(found, name) if isinstance(found, np.ndarray) and found.ndim else found


def table(array: object) -> Table:
    """An array as one that may be indexed by what a traced function gets: `attnc.table(slopes)[h]`.

    Arrays that a function captures by name are tables already; this is for those it finds elsewhere, such as
    in an attribute or a list. For `attnc.traced_mask` and `attnc.traced_score` it may be a value of the
    graph.
    """
    if isinstance(array, Table):
        return array
    if isinstance(array, Value):
        if not isinstance(array.type, TensorType):
            raise ArgumentError(f"{array} is a cache, not a tensor to look up in")
        return Table(array)
    return Table(as_array(array, "the array of a table"))
