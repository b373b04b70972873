"""Pipeline strings: `canonicalize,simplify-masks,select-strategy{machine=flat}`.

A string is a list of passes, each with options in braces; it reads into pass values and prints back from
them.

>>> [p] = parse_pipeline("select-strategy{machine=flat, N=65536}")
>>> p.machine, p.sizes
('flat', (('N', 65536),))
>>> format_pipeline([p])
'select-strategy{machine=flat,N=65536}'
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from attnc.passes import registered_passes
from attnc.passes.base import SIZE, Pass, options_of, sizes_field
from attnc_ir.diagnostics import Diagnostic, quoted
from attnc_ir.errors import PipelineError
from attnc_ir.kinds import suggest
from attnc_ir.location import Location
from attnc_ir.parsers import parser_of

DEFAULT_PIPELINE = (
    "infer,canonicalize,simplify-masks,simplify-scores,narrow-keys,lift-biases,simplify-scores,"
    "canonicalize,cse,share-caches,canonicalize,cse,dce,select-strategy"
)
"""What `attnc.compile` runs when it is given no pipeline.

Scores are simplified twice, because a bias that was lifted leaves a scale that then vanishes; expressions
are merged again after caches are shared, because two reads of one cache may have become one.
"""

_GRAMMAR = r"""
start: [pass ("," pass)*]
pass: NAME ["{" [option ("," option)*] "}"]
option: NAME "=" VALUE
NAME: /[A-Za-z_][A-Za-z0-9_-]*/
VALUE: /[^,{}=\s]+/
%ignore /\s+/
"""

MAX_PIPELINE = 100_000
"""Characters in a pipeline string. Nobody writes as much; a reproducer's header stays readable."""


@cache
def _parser() -> Lark:
    return parser_of(_GRAMMAR)


def parse_pipeline(text: str) -> tuple[Pass, ...]:
    """The passes that a pipeline string names, in order; the empty string gives none.

    Raises `PipelineError`, which points at the place and suggests what was meant.
    """
    if len(text) > MAX_PIPELINE:
        raise PipelineError(f"a pipeline of {len(text)} characters; at most {MAX_PIPELINE}")
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    return tuple(_read_pass(text, node) for node in tree.children if isinstance(node, Tree))


def format_pipeline(passes: Iterable[Pass]) -> str:
    """The pipeline string that gives these passes."""
    return ",".join(map(str, passes))


def _read_pass(text: str, node: Tree[Token]) -> Pass:
    name, *options = [child for child in node.children if child is not None]
    assert isinstance(name, Token)
    known = registered_passes()
    if name not in known:
        raise _fault(text, name, f"unknown pass {quoted(name)}", suggest(name, sorted(known)))
    cls = known[name]
    declared, hints = options_of(cls), sizes_field(cls)
    values: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    given: set[str] = set()
    for child in options:
        assert isinstance(child, Tree)
        key, value = (token for token in child.children if isinstance(token, Token))
        if key not in declared and hints is None:
            known_options = suggest(key, list(declared)) if declared else f"{name} takes no options"
            raise _fault(text, key, f"{name} has no option {quoted(key)}", known_options)
        if key in given:
            raise _fault(text, key, f"option {quoted(key)} is given twice")
        given.add(key)
        field, kind = declared.get(key, ("", SIZE))
        try:
            result = kind.read(str(value))
        except ValueError:
            help = suggest(key, list(declared)) if key not in declared else None
            raise _fault(text, value, f"{key} is {quoted(value)}, expected {kind.expects}", help) from None
        if key in declared:
            values[field] = result
        else:
            sizes[str(key)] = result
    if hints is not None:
        values[hints] = tuple(sizes.items())
    return cls(**values)


def _fault(text: str, token: Token, message: str, help: str | None = None) -> PipelineError:
    line, column = token.line or 1, token.column or 1
    location = Location("pipeline", line, column, column + len(token))
    return PipelineError(Diagnostic(message, location, help, text.split("\n")[line - 1]).render())


def _syntax_error(text: str, error: UnexpectedInput) -> PipelineError:
    help = (
        "write passes with commas between them, options in braces: canonicalize,select-strategy{machine=flat}"
    )
    if isinstance(error, UnexpectedToken) and error.token.type == "$END":
        lines = text.split("\n")
        location = Location("pipeline", len(lines), len(lines[-1]) + 1, len(lines[-1]) + 2)
        return PipelineError(Diagnostic("the pipeline ends too early", location, help, lines[-1]).render())
    if isinstance(error, UnexpectedToken):
        return _fault(text, error.token, f"unexpected {quoted(error.token)}", help)
    assert isinstance(error, UnexpectedCharacters)
    bad = Token("BAD", text[error.pos_in_stream or 0], line=error.line, column=error.column)
    return _fault(text, bad, f"unexpected {quoted(bad)}", help)
