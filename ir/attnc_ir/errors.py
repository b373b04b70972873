"""The exception hierarchy that every part of attnc raises from.

One root, [`AttncError`][attnc_ir.errors.AttncError], so that a caller can catch "attnc says no" in one
clause. A subclass says whose fault it is and what is still true afterwards; none of them is raised after a
state was changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from attnc_ir.diagnostics import Diagnostic


class AttncError(Exception):
    """Something the caller can put right. The message is complete: what, where, what to do."""


class SpecError(AttncError):
    """A spec is malformed or breaks an invariant of the IR. Carries every fault that was found, not the
    first.

    `diagnostics` are in source order; `str(error)` renders them with their lines and carets.
    """

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        super().__init__("\n".join(diagnostic.render() for diagnostic in self.diagnostics))


class TraceError(SpecError):
    """A Python function cannot be traced into an expression. The place is a line of the caller's source."""


class ArgumentError(AttncError):
    """An array or option handed to attnc does not fit: rank, dtype, size, name, value. Nothing was
    computed.
    """


class StateError(AttncError):
    """A state cannot take this step. The state is exactly as it was before the call."""


class EmptyRowError(AttncError):
    """A row of a node with `empty = error` may see no key. The message names the row."""


class PromiseError(AttncError):
    """A key breaks what the spec promises about it. The message names node, head, position, key and promise.
    Nothing was computed, and a state is exactly as it was before the call.
    """


class PlanError(AttncError):
    """No plan satisfies the request, for example a strategy was demanded that is not legal for a node."""


class PipelineError(AttncError):
    """A pipeline string names an unknown pass or option, or gives an option a wrong value."""


class CacheError(AttncError):
    """The directory for generated code cannot be used."""


class InternalError(AttncError):
    """A fault of attnc itself. The message names a reproducer file whose first line reruns the crash."""
