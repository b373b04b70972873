"""Promises about the keys of a cache: the check that runs before a row is stored.

Compiled code only says that some key breaks some promise. Which key, and what the message says, is worked out
by the same code that checks whole arrays, so every backend gives one message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attnc_backends.numba.source import Function
from attnc_ir.attributes.promise import PARABOLA_REACH, Integer, Monotone, Parabola, Promise

Element = Callable[[str], str]
"""An expression for the key element, as a double, in the column that is given as an expression."""


def promise_lines(
    f: Function,
    promises: Iterable[Promise],
    width: int,
    new: Element,
    before: Element,
    first: str,
    broken: str,
) -> None:
    """Statements that carry out `broken` if the key read by `new` breaks a promise. `before` reads the key one
    position earlier, which there is unless the condition `first` holds.
    """
    for promise in dict.fromkeys(promises):
        match promise:
            case Integer(low, high):
                with f.block(f"for c in range({width})"):
                    f.line(f"x = {new('c')}")
                    kept = "x == np.floor(x)"
                    if low is not None:
                        kept += f" and {float(low)!r} <= x <= {float(high or 0)!r}"
                    with f.block(f"if not ({kept})"):
                        f.line(broken)
            case Monotone(axis):
                with f.block(f"if not ({first} or {new(str(axis))} > {before(str(axis))})"):
                    f.line(broken)
            case Parabola():
                f.line(f"x = 0.5 * {new('0')}")
                with f.block(
                    f"if not (abs(x) <= {float(PARABOLA_REACH)!r} and x == np.floor(x) and {new('1')} == -(x * x))"
                ):
                    f.line(broken)
            case _:
                raise AssertionError(promise)
