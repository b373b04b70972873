"""Array objects as they lie in memory: whether the arguments of a call are like those of an earlier one.

The places are those of CPython's tuples and of NumPy's arrays; `quick.py` looks whether this process has them
there. A table of *kinds* says what is expected: how many arguments, the type of arrays, then for each
argument its dtype object, its rank, its shape and its strides, all numbers of 8 bytes.
"""

from numba import njit

from attnc_backends.numba.runtime.memory import load_i32, load_i64

OBJECT_TYPE = 8
TUPLE_SIZE = 16
TUPLE_ITEMS = 24
ARRAY_DATA = 16
ARRAY_RANK = 24
ARRAY_SHAPE = 32
ARRAY_STRIDES = 40
ARRAY_DTYPE = 56


@njit(nogil=True, error_model="numpy")
def objects_alike(args: int, kinds: int) -> bool:
    """Whether the items of the tuple at `args` are arrays as the table at `kinds` says. Nothing else is read
    of what is no array.
    """
    count, array = load_i64(kinds), load_i64(kinds + 8)
    if load_i64(args + TUPLE_SIZE) != count:
        return False
    at = kinds + 16
    for n in range(count):
        item = load_i64(args + TUPLE_ITEMS + 8 * n)
        if load_i64(item + OBJECT_TYPE) != array or load_i64(item + ARRAY_DTYPE) != load_i64(at):
            return False
        rank = load_i64(at + 8)
        if load_i32(item + ARRAY_RANK) != rank:
            return False
        shape, strides = load_i64(item + ARRAY_SHAPE), load_i64(item + ARRAY_STRIDES)
        at += 16
        for axis in range(rank):
            if load_i64(shape + 8 * axis) != load_i64(at + 8 * axis):
                return False
            if load_i64(strides + 8 * axis) != load_i64(at + 8 * (rank + axis)):
                return False
        at += 16 * rank
    return True


@njit(nogil=True, error_model="numpy")
def objects_data(items: int, number: int) -> int:
    """Where the elements of an array of a tuple lie."""
    return load_i64(load_i64(items + TUPLE_ITEMS + 8 * number) + ARRAY_DATA)
