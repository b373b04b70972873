"""Sorting doubles that carry a number each: stable, by the digits of their bits.

Pairs lie side by side in 16 bytes: the double as an integer of the same order, and the number. Digits that no
two doubles differ in are skipped, so small integers and narrow types take fewer rounds.
"""

from numba import njit

from attnc_backends.numba.runtime.memory import (
    copy_bytes,
    fill_zero,
    float64_bits,
    load_i64,
    store_i64,
)

_SORT_DIGIT_BITS = 11
_SORT_DIGITS = 6
_SORT_DIGIT_MASK = (1 << _SORT_DIGIT_BITS) - 1
_SORT_MAGNITUDE = (1 << 63) - 1
_SORT_SIGN = -(1 << 63)

SORT_COUNTS_BYTES = 8 << _SORT_DIGIT_BITS
"""Bytes of scratch that `sort_pairs` needs."""


@njit(nogil=True, error_model="numpy", forceinline=True)
def sort_key(x: float) -> int:
    """The bits of a number, zeros without sign, such that they order as the numbers do when read unsigned."""
    bits = float64_bits(x + 0.0)
    return bits ^ ((bits >> 63) & _SORT_MAGNITUDE) ^ _SORT_SIGN


@njit(nogil=True, error_model="numpy")
def sort_pairs(pairs: int, spare: int, count: int, counts: int) -> None:
    """Sort the `count` pairs at `pairs` by their keys; equal ones keep their order.

    `spare` has room for as many pairs, `counts` for SORT_COUNTS_BYTES. O(count) for each digit that varies.
    """
    varying = 0
    sorted_already = True
    if count > 0:
        first = load_i64(pairs)
        before = first ^ _SORT_SIGN
        for index in range(count):
            key = load_i64(pairs + 16 * index)
            varying |= key ^ first
            here = key ^ _SORT_SIGN
            sorted_already = sorted_already and before <= here
            before = here
    if sorted_already:
        return
    source = pairs
    target = spare
    for digit in range(_SORT_DIGITS):
        shift = digit * _SORT_DIGIT_BITS
        # The highest digit has copies of the top bit above its own bits, which keeps the order.
        if (varying >> shift) & _SORT_DIGIT_MASK == 0:
            continue
        fill_zero(counts, SORT_COUNTS_BYTES)
        for index in range(count):
            at = counts + 8 * ((load_i64(source + 16 * index) >> shift) & _SORT_DIGIT_MASK)
            store_i64(at, load_i64(at) + 1)
        total = 0
        for place in range(_SORT_DIGIT_MASK + 1):
            size = load_i64(counts + 8 * place)
            store_i64(counts + 8 * place, total)
            total += size
        for index in range(count):
            key = load_i64(source + 16 * index)
            at = counts + 8 * ((key >> shift) & _SORT_DIGIT_MASK)
            place = load_i64(at)
            store_i64(at, place + 1)
            store_i64(target + 16 * place, key)
            store_i64(target + 16 * place + 8, load_i64(source + 16 * index + 8))
        source, target = target, source
    if source != pairs:
        copy_bytes(pairs, source, 16 * count)
