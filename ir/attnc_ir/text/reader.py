"""Turns one header or statement into syntax nodes: lark finds the structure, this adds places and limits."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn, cast

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from attnc_ir.diagnostics import quoted
from attnc_ir.kinds import MAX_ITEMS
from attnc_ir.location import Location
from attnc_ir.parsers import parser_of
from attnc_ir.syntax import (
    Assignment,
    Binding,
    Call,
    Definition,
    Header,
    Listing,
    Name,
    Node,
    Number,
    Operator,
    Ref,
    Return,
    Subscript,
)
from attnc_ir.text.scanner import Chunk
from attnc_ir.text.source import Source
from attnc_ir.values import MAX_NAME

MAX_DEPTH = 128
"""How many operators, calls and brackets may stand inside one another; a chain `a + b + c` counts, too."""

_MAX_DIGITS = 600  # Python reads an integer in quadratic time, and refuses one of thousands of digits
_EACH_PLACED = 1000  # items of a longer list of numbers all carry the place of the list

Syntax = Tree[Token]


class SyntaxFault(Exception):
    """A chunk that is not a statement. `location` is where reading stopped making sense."""

    def __init__(self, message: str, location: Location, help: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.location = location
        self.help = help


def read_header(source: Source, clean: str, chunk: Chunk) -> Header:
    """The header in a chunk of `clean`; raises `SyntaxFault`."""
    reader, tree = _parsed(source, clean, chunk, "header")
    return reader.header(tree)


def read_statement(source: Source, clean: str, chunk: Chunk) -> Assignment | Return:
    """The statement in a chunk of `clean`; raises `SyntaxFault`."""
    reader, tree = _parsed(source, clean, chunk, "statement")
    (statement,) = _trees(tree)
    return reader.assignment(statement) if statement.data == "assignment" else reader.result(statement)


def read_expression(source: Source) -> Node:
    """The expression that all of `source` is: the value of one attribute; raises `SyntaxFault`."""
    reader, tree = _parsed(source, source.text, Chunk(0, len(source.text)), "expression")
    return reader.expression(tree)


@functools.cache
def _grammar() -> Lark:
    text = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return parser_of(text, start=("header", "statement", "expression"), placeholders=False)


def _parsed(source: Source, clean: str, chunk: Chunk, start: str) -> tuple[_Reader, Syntax]:
    reader = _Reader(source, chunk)
    try:
        tree = _grammar().parse(clean[chunk.start : chunk.end], start=start)
    except UnexpectedInput as error:
        raise _explained(error, source, clean, chunk, start) from None
    reader.check_depth(tree)
    return reader, tree


class _Reader:
    """Reads the tree of one chunk."""

    def __init__(self, source: Source, chunk: Chunk) -> None:
        self._source = source
        self._base = chunk.start

    # --- statements ---

    def header(self, tree: Syntax) -> Header:
        name = self._sigiled(_tokens(tree)[0])
        inputs: list[Definition] = []
        declared: tuple[Node, ...] | None = None
        for part in _trees(tree):
            if part.data == "input":
                inputs.append(self._definition(part))
            else:
                declared = tuple(self._type(kind) for kind in _trees(part))
        return Header(self._span(_tokens(tree)[0]), name, tuple(inputs), declared)

    def assignment(self, tree: Syntax) -> Assignment:
        results: list[Definition] = []
        operands: tuple[Ref, ...] = ()
        bindings: tuple[Binding, ...] = ()
        for part in _trees(tree):
            if part.data == "result":
                results.append(self._definition(part))
            elif part.data == "operands":
                operands = tuple(self._ref(token) for token in _tokens(part))
            else:
                bindings = tuple(self._binding(binding) for binding in _trees(part))
        (mnemonic,) = _tokens(tree)
        return Assignment(self._span(mnemonic), tuple(results), str(mnemonic), operands, bindings)

    def result(self, tree: Syntax) -> Return:
        place = self._source.place(self._base, self._base + len("return"))
        return Return(place, tuple(self._ref(token) for token in _tokens(tree)))

    def _definition(self, tree: Syntax) -> Definition:
        (name,) = _tokens(tree)
        kinds = [self._type(kind) for kind in _trees(tree)]
        return Definition(self._span(name), self._sigiled(name), kinds[0] if kinds else None)

    def _type(self, tree: Syntax) -> Node:
        name, *dims = tree.children
        return Subscript(self._span(tree), self._name(cast(Token, name)), tuple(map(self._node, dims)))

    def _binding(self, tree: Syntax) -> Binding:
        name, value = tree.children
        return Binding(self._span(tree), self._name(cast(Token, name)), self._node(value))

    # --- expressions ---

    def expression(self, tree: Syntax) -> Node:
        return self._node(tree.children[0])

    def _node(self, tree: Token | Syntax) -> Node:
        assert isinstance(tree, Tree), "every token of an expression stands in a tree of its own"
        place = self._span(tree)
        parts = tree.children
        match tree.data:
            case "name":
                return self._name(cast(Token, parts[0]))
            case "number":
                return self._number(str(parts[0]), place)
            case "ref":
                return self._ref(cast(Token, parts[0]))
            case "numbers":
                return self._numbers(cast(Token, parts[0]))
            case "listing":
                return Listing(place, tuple(map(self._node, parts)))
            case "group":
                return self._node(parts[0])
            case "subscript":
                base = cast(Token, parts[0])
                named = self._ref(base) if base.type == "REF" else self._name(base)
                return Subscript(place, named, tuple(map(self._node, parts[1:])))
            case "call":
                return self._call(tree, place)
            case "prefix":
                symbol = str(parts[0])
                operand = self._negated(parts[1]) if symbol == "-" else self._node(parts[1])
                return Operator(place, symbol, (operand,))
            case "infix":
                return Operator(place, str(parts[1]), (self._node(parts[0]), self._node(parts[2])))
            case _:
                raise AssertionError(tree.data)

    def _negated(self, tree: Token | Syntax) -> Node:
        """What stands behind a minus. A literal in parentheses is kept apart from one without."""
        node = self._node(tree)
        grouped = isinstance(tree, Tree) and tree.data == "group"
        return Operator(node.location, "()", (node,)) if grouped and isinstance(node, Number | Name) else node

    def _call(self, tree: Syntax, place: Location) -> Call:
        callee, *parts = tree.children
        args: list[Node] = []
        named: list[tuple[str, Node]] = []
        for part in parts:
            if isinstance(part, Tree) and part.data == "named":
                name, value = part.children
                named.append((self._name(cast(Token, name)).text, self._node(value)))
            elif named:
                self._fault(
                    "a parameter without a name behind one with a name",
                    part,
                    "put the ones without names first",
                )
            else:
                args.append(self._node(part))
        return Call(place, self._name(cast(Token, callee)).text, tuple(args), tuple(named))

    def _number(self, text: str, place: Location) -> Number:
        if len(text) > _MAX_DIGITS:
            raise SyntaxFault(f"a number of {len(text)} characters", place, f"at most {_MAX_DIGITS}")
        if text.isdigit():
            return Number(place, int(text))
        try:
            value = float(text)
        except ValueError:
            raise SyntaxFault(f"{quoted(text, 20)} is not a number", place) from None
        if math.isinf(value):
            raise SyntaxFault(
                f"number {quoted(text, 20)} is too large for a double", place, "the largest is about 1.8e308"
            )
        return Number(place, value)

    def _numbers(self, token: Token) -> Listing:
        place = self._span(token)
        items = token.count(",") + 1
        if items > MAX_ITEMS + 1:  # a trailing comma counts as well
            raise SyntaxFault(
                f"a list of more than {MAX_ITEMS} items", place, "use broadcast, iota or an input"
            )
        nodes: list[Node] = []
        for match in _ITEM.finditer(token):
            text = match["text"]
            at = place
            if items <= _EACH_PLACED:
                start = self._base + cast(int, token.start_pos)
                at = self._source.place(start + match.start("text"), start + match.end("text"))
            item: Node = Name(at, text) if text in ("inf", "nan") else self._number(text, at)
            nodes.append(Operator(at, "-", (item,)) if match["minus"] else item)
        return Listing(place, tuple(nodes))

    # --- tokens ---

    def _ref(self, token: Token) -> Ref:
        return Ref(self._span(token), self._sigiled(token))

    def _sigiled(self, token: Token) -> str:
        """The name behind `%` or `@`."""
        self._check_length(token, token[1:])
        return str(token[1:])

    def _name(self, token: Token) -> Name:
        self._check_length(token, token)
        return Name(self._span(token), str(token))

    def _check_length(self, token: Token, name: str) -> None:
        if len(name) > MAX_NAME:
            self._fault(f"a name of {len(name)} characters", token, f"at most {MAX_NAME}")

    def _span(self, part: Token | Syntax) -> Location:
        where = part if isinstance(part, Token) else part.meta
        return self._source.place(
            self._base + cast(int, where.start_pos), self._base + cast(int, where.end_pos)
        )

    def _fault(self, message: str, part: Token | Syntax, help: str) -> NoReturn:
        raise SyntaxFault(message, self._span(part), help)

    def check_depth(self, tree: Syntax) -> None:
        """`SyntaxFault` for a tree deeper than `MAX_DEPTH`: what comes behind the parser is recursive."""
        level = _trees(tree)
        for _ in range(MAX_DEPTH):
            level = [child for node in level for child in _trees(node)]
            if not level:
                return
        self._fault(
            f"an expression more than {MAX_DEPTH} levels deep",
            level[0],
            "shorten the chain: a tensor can hold a long list of cases",
        )


_ITEM = re.compile(r"(?P<minus>-?)(?P<text>[0-9.][0-9.eE+-]*|inf|nan)")


def _trees(tree: Syntax) -> list[Syntax]:
    return [child for child in tree.children if isinstance(child, Tree)]


def _tokens(tree: Syntax) -> list[Token]:
    return [child for child in tree.children if isinstance(child, Token)]


# --- what is said about text that does not parse ---

_OPERATORS = frozenset(
    {"OR", "AND", "COMPARE", "BAR", "AMPERSAND", "PLUS", "MINUS", "STAR", "SLASH", "FLOORDIV", "MODULO"}
)
_OPERANDS = frozenset(
    {"NAME", "NUMBER", "REF", "NUMBERS", "QUESTION", "LPAR", "LSQB", "MINUS", "TILDE", "NOT"}
)
_WORDS = {
    "REF": "a value such as %x",
    "AT": "a graph name such as @f",
    "NAME": "a name",
    "NUMBER": "a number",
    "MNEMONIC": "an op",
    "_X": "x",
    "_RETURN": "return",
    "_GRAPH": "graph",
    "COMMA": "','",
    "COLON": "':'",
    "EQUAL": "'='",
    "LBRACE": "'{'",
    "RBRACE": "'}'",
    "LPAR": "'('",
    "RPAR": "')'",
    "LSQB": "'['",
    "RSQB": "']'",
    "$END": "the end of the statement",
}
_WHOLE = {"header": "the header", "statement": "the statement", "expression": "the text"}


def _explained(error: UnexpectedInput, source: Source, clean: str, chunk: Chunk, start: str) -> SyntaxFault:
    """The fault that lark found, in the words of a reader."""
    if isinstance(error, UnexpectedToken) and error.token.type != "$END":
        at = chunk.start + cast(int, error.token.start_pos)
        got = str(error.token)
        place = source.place(at, at + len(got))
        message = f"unexpected {quoted(got, 20)}"
        expected = error.accepts
    elif isinstance(error, UnexpectedCharacters):
        at = chunk.start + cast(int, error.pos_in_stream)
        got = clean[at]
        place = source.place(at, at + 1)
        message = f"unexpected {quoted(got)}"
        expected = error.allowed or set()
    else:
        at = chunk.start + len(clean[chunk.start : chunk.end].rstrip())
        got = ""
        place = source.place(at, at + 1)
        message = f"{_WHOLE[start]} ends too early"
        expected = error.accepts if isinstance(error, UnexpectedToken) else set()
    return SyntaxFault(message, place, _advice(got, expected, clean, chunk, at))


def _advice(got: str, expected: Iterable[str], clean: str, chunk: Chunk, at: int) -> str | None:
    """A help line for an unexpected token."""
    names = set(expected)
    line = clean[max(chunk.start, clean.rfind("\n", chunk.start, at) + 1) : at]
    if got in ("<", ">", "<=", ">=", "==", "!=") and "AND" in names:
        return "comparisons do not chain; join two of them with 'and'"
    if "//" in line:
        return "behind an operand within parentheses, // divides; put a comment on a line of its own"
    if got == "x" and "NAME" in names:
        return "x separates dimensions and cannot name one"
    if got == "%":
        return "a value's name begins with a letter or _"
    if got.isalpha() and not got.isascii():
        return "names are made of ASCII letters, digits and _"
    if names >= {"NAME", "NUMBER"}:
        names = (names - _OPERANDS) | {"an operand"}
    if names >= _OPERATORS - {"COMPARE", "FLOORDIV"}:
        names = (names - _OPERATORS) | {"an operator"}
    if not names or len(names) > 4:
        return None
    return "expected " + " or ".join(sorted(_WORDS.get(name, name) for name in names))
