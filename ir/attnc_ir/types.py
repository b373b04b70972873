"""Types of values: tensors with symbolic dimensions, and caches."""

from __future__ import annotations

import enum
from dataclasses import dataclass

MAX_DIM = 2**40
"""The largest constant dimension a type may name: products of two still fit an int64 with room for an element
size.
"""


class DType(enum.Enum):
    """Element types. `f16` and `bf16` are storage only: arithmetic on them runs in f32."""

    F64 = "f64"
    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    I64 = "i64"
    I32 = "i32"
    BOOL = "bool"

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return _ITEMSIZE[self]

    @property
    def is_float(self) -> bool:
        """True for the four floating-point types."""
        return self in _FLOATS

    @property
    def is_int(self) -> bool:
        """True for the two integer types."""
        return self in (DType.I64, DType.I32)

    @property
    def accumulator(self) -> DType:
        """What sums over this type run in: f64 for f64, f32 for anything narrower."""
        return DType.F64 if self is DType.F64 else DType.F32

    @property
    def default_tolerance(self) -> float:
        """Relative tolerance of a softmax over this type when its node names none."""
        return _TOLERANCE[self]

    def __str__(self) -> str:
        return self.value


_ITEMSIZE = {
    DType.F64: 8, DType.F32: 4, DType.F16: 2, DType.BF16: 2, DType.I64: 8, DType.I32: 4, DType.BOOL: 1,
}  # fmt: skip
_FLOATS = frozenset({DType.F64, DType.F32, DType.F16, DType.BF16})
_TOLERANCE = {DType.F64: 1e-12, DType.F32: 1e-5, DType.F16: 1e-2, DType.BF16: 1e-2}


@dataclass(frozen=True)
class Symbol:
    """A dimension known by name only. Within a graph, equal names are equal sizes."""

    name: str

    def __str__(self) -> str:
        return self.name


UNKNOWN = Symbol("?")
"""A dimension the writer left open; the `infer` pass gives it a name or a number."""

Dim = int | Symbol
Shape = tuple[Dim, ...]


def format_shape(shape: Shape) -> str:
    """`[B x H x 64]`; the empty shape is `[]`."""
    return f"[{' x '.join(str(d) for d in shape)}]"


def may_equal(a: Dim, b: Dim) -> bool:
    """Whether two dimensions could be the same size: equal, or one of them still open."""
    return a == b or UNKNOWN in (a, b)


def resolve(a: Dim, b: Dim) -> Dim:
    """The better known of two dimensions that `may_equal`."""
    return b if a == UNKNOWN else a


@dataclass(frozen=True)
class TensorType:
    """An array of `dtype` with `shape`; dimensions are sizes or symbols."""

    dtype: DType
    shape: Shape

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def with_shape(self, shape: Shape) -> TensorType:
        """The same elements in another shape."""
        return TensorType(self.dtype, shape)

    def __str__(self) -> str:
        return f"{self.dtype}{format_shape(self.shape)}"


@dataclass(frozen=True)
class CacheType:
    """A growing sequence of key and value rows, one for each element of `heads` (sequences x key heads).

    `key` and `value` are the types of one row. The length is not part of the type: it grows from step to
    step.
    """

    heads: Shape
    key: TensorType
    value: TensorType

    def __str__(self) -> str:
        return f"cache<{format_shape(self.heads)}, {self.key}, {self.value}>"


Type = TensorType | CacheType
