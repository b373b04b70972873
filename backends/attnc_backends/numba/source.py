"""Writing Python source, function by function.

A `Function` collects its body first and learns on the way which slots of the frame it reads; when it is
printed, those loads stand at its top. Everything that reaches the text is a number or a name made here or
checked by `attnc_ir.values`; user text never does.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from attnc_backends.numba.inline import HELPER

DECORATOR = HELPER + ")"
INLINE_DECORATOR = HELPER + ", forceinline=True)"

FAULT_SLOT = 0
"""The slot that a look-up outside its table sets."""

RUNTIME_SLOT = 1
"""The slot with the address of the shared runtime's table of functions."""

KINDS_SLOT = "kinds"
"""The slot, by name, with the address of the table that says how the array objects of a call lie."""


class FrameLayout:
    """Named int64 slots of a frame: the one argument block that kernels read addresses, strides and sizes
    from.
    """

    def __init__(self) -> None:
        self.slots: dict[str, int] = {"fault": FAULT_SLOT, "runtime": RUNTIME_SLOT}

    def slot(self, name: str) -> int:
        """The index of slot `name`, new ones after the old."""
        return self.slots.setdefault(name, len(self.slots))

    @property
    def size(self) -> int:
        """How many slots there are."""
        return len(self.slots)


class Function:
    """The source of one function `name(*params)`; `frame` is its first parameter. `inline`: its callers get a
    copy of it, and so do those of what it calls, unless that is said to stay out of line.
    """

    def __init__(
        self, layout: FrameLayout, name: str, *params: str, doc: str = "", inline: bool = False
    ) -> None:
        self.layout = layout
        self.name = name
        self.params = ("frame", *params)
        self.doc = doc
        self.inline = inline
        self._body: list[str] = []
        self._loads: dict[str, str] = {}
        self._depth = 1
        self._fresh = 0

    def line(self, text: str) -> None:
        """One or more lines at the current depth."""
        for part in text.split("\n"):
            self._body.append("    " * self._depth + part if part else "")

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """`head` with a colon, and everything written inside one level deeper."""
        self.line(head + ":")
        before = len(self._body)
        self._depth += 1
        try:
            yield
        finally:
            if len(self._body) == before:
                self.line("pass")
            self._depth -= 1

    def slot(self, name: str, comment: str = "") -> str:
        """A local variable that holds slot `name` of the frame."""
        if name not in self._loads:
            text = f"{name} = load_i64(frame + {8 * self.layout.slot(name)})"
            self._loads[name] = text + (f"  # {comment}" if comment else "")
        return name

    def derived(self, name: str, text: str) -> str:
        """A local variable computed once at the top, after the loads written so far."""
        self._loads.setdefault(name, f"{name} = {text}")
        return name

    def fresh(self, stem: str = "t") -> str:
        """A local name not used before."""
        self._fresh += 1
        return f"{stem}{self._fresh}"

    def text(self) -> str:
        """The function as source."""
        lines = [
            INLINE_DECORATOR if self.inline else DECORATOR,
            f"def {self.name}({', '.join(self.params)}):",
        ]
        if self.doc:
            lines.append(f'    """{self.doc}"""')
        lines += [f"    {load}" for load in self._loads.values()]
        return "\n".join(lines + self._body) + "\n"
