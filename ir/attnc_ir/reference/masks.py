"""Which key positions a query position may see."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attnc_ir.attributes.mask import (
    Alignment,
    And,
    Causal,
    Corner,
    Documents,
    Everything,
    Lengths,
    Mask,
    Not,
    Nothing,
    Or,
    Predicate,
    Prefix,
    TensorMask,
    Window,
)
from attnc_ir.reference.expressions import Evaluator, Position
from attnc_ir.storage import Array
from attnc_ir.values import Value


class MaskReader:
    """Decides one position at a time. `shape` is `(B, Hq, N, M)`; `arrays` are the mask's tensors by value
    name.

    In a step `N` is 1 and the query stands at the last key, `i = M - 1`: both corners then mean offset 0.
    Terms of `&` and `|` are asked from left to right until the answer is known, so a term may guard the
    look-ups of a later one. Predicates compute in doubles under every normaliser: which keys are allowed does
    not depend on how scores are compared.
    """

    def __init__(
        self, arrays: Mapping[str, Array], shape: tuple[int, int, int, int], *, step: bool, where: str
    ) -> None:
        self.arrays = arrays
        self.shape = shape
        self.step = step
        self.evaluator = Evaluator(arrays, where=where)

    def allowed(self, mask: Mask, b: int, h: int, i: int, j: int) -> bool:
        """Whether query position `i` of query head `h` may see key position `j`. Every alignment in `mask` is
        written out.
        """
        match mask:
            case Everything():
                return True
            case Nothing():
                return False
            case And(terms):
                return all(self.allowed(t, b, h, i, j) for t in terms)
            case Or(terms):
                return any(self.allowed(t, b, h, i, j) for t in terms)
            case Not(term):
                return not self.allowed(term, b, h, i, j)
            case Causal(alignment):
                return j <= i + self._offset(alignment)
            case Window(left, right, alignment):
                return i + self._offset(alignment) - left <= j <= i + self._offset(alignment) + right
            case Prefix(count):
                return j < (self._per_batch(count, b) if isinstance(count, Value) else count)
            case Documents(ids, key_ids):
                return self._document(ids, b, i) == self._document(ids if key_ids is None else key_ids, b, j)
            case Lengths(queries, keys):
                return i < self._per_batch(queries, b) and j < self._per_batch(keys, b)
            case TensorMask(tensor):
                return bool(np.broadcast_to(self.arrays[tensor.name], self.shape)[b, h, i, j])
            case Predicate(condition):
                return bool(self.evaluator.value(condition, Position(b, h, i, j)))
            case _:
                raise AssertionError(mask)

    def _offset(self, alignment: Alignment | None) -> int:
        assert alignment is not None, "the mask went through attnc_ir.ops.attend.aligned"
        if isinstance(alignment, int):
            return alignment
        _, _, queries, keys = self.shape
        return keys - queries if alignment is Corner.BOTTOM_RIGHT and not self.step else 0

    def _per_batch(self, counts: Value, b: int) -> int:
        array = self.arrays[counts.name]
        return int(array[b] if array.ndim else array)

    def _document(self, ids: Value, b: int, position: int) -> int:
        array = self.arrays[ids.name]
        return int(array[b, position] if array.ndim == 2 else array[position])
