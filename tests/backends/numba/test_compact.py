"""Runtime as text: one-line helpers written out mean the same, and what code depends on is in its text."""

import math

import numba
import numpy as np

from attnc_backends.numba import inline
from attnc_backends.numba.compact import compact
from attnc_backends.numba.inline import runtime_text

TEXT = '''
LIMIT = 8


@njit(nogil=True)
def twice(x):
    """Two of them."""
    return 2 * x


@njit(nogil=True)
def place(base, index):
    return base + twice(index) * LIMIT


@njit(nogil=True)
def square(x):
    return x * x


@njit(nogil=True)
def pair(x):
    return x, x


@njit(nogil=True)
def clipped(x, limit):
    if x > limit:
        return limit
    return x


@njit(nogil=True)
def all_of_it(n):
    first, second = pair(n)
    return place(first - 1, n + 1) - place(second, 3) + square(n + 1) + square(n) + clipped(n, LIMIT) + clipped(n, -2)
'''


def functions(text):
    found = {"njit": numba.njit, "math": math, "np": np}
    exec(text, found)
    return found


def test_compact_text_computes_the_same_with_fewer_functions():
    plain, small = functions(TEXT), functions(compact(TEXT))
    for n in (-3, 0, 5, 100):
        assert small["all_of_it"](n) == plain["all_of_it"](n) == plain["all_of_it"].py_func(n)
    built = {name: len(x.signatures) for name, x in small.items() if hasattr(x, "signatures")}
    # `square(n + 1)` stays a call, for written out it would add twice; a constant makes no variant.
    assert built == {"twice": 0, "place": 0, "square": 1, "pair": 1, "clipped": 1, "all_of_it": 1}


def test_text_without_helpers_stays_as_it_is():
    assert compact("\nx = 3\n") == "\nx = 3\n"


def test_code_made_with_other_vector_types_is_another_module(monkeypatch):
    """Numba's cache looks at a module's own text only, and vector types stay an import."""
    before, plain = runtime_text({"flash"}), runtime_text({"sums"})
    monkeypatch.setattr(inline, "_vectors", lambda: "of another version")
    assert runtime_text({"flash"}) != before
    assert runtime_text({"sums"}) == plain
