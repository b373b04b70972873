"""Gives syntax its meaning: names become values, statements become ops with typed results.

A fault is reported where it stands and costs only what depends on it: the results of a faulty op are *lost*,
and whatever uses a lost value is left out without another word, so that one mistake gives one message.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from typing import Any

from attnc_ir.diagnostics import Report, quoted
from attnc_ir.graph import Graph
from attnc_ir.kinds import TYPE, Field, kind_of, role_of, suggest
from attnc_ir.location import Location
from attnc_ir.op import Op, TypeRuleError, attribute_fields, operand_fields, registered_ops
from attnc_ir.syntax import Assignment, Binding, Definition, Header, Misread, Node, Ref, Return
from attnc_ir.text.reader import SyntaxFault, read_header, read_statement
from attnc_ir.text.scanner import Chunk, GraphOutline
from attnc_ir.text.source import Source
from attnc_ir.types import TensorType, Type, may_equal
from attnc_ir.values import Value


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A graph as far as it could be read; `whole` when nothing of it is missing."""

    graph: Graph
    whole: bool


class _Lost(Misread):
    """A use of a value whose definition was at fault: reported there, not here."""


class GraphResolver:
    """Reads one graph. It is the scope that the attributes of its ops are read in."""

    def __init__(self, source: Source, clean: str, outline: GraphOutline, report: Report) -> None:
        self._source = source
        self._clean = clean
        self._outline = outline
        self._report = report
        self._values: dict[str, Value] = {}
        self._defined: dict[str, Location | None] = {}
        self._lost: set[str] = set()
        self._later: set[str] = set()
        self._whole = True
        self._inputs: list[Value] = []
        self._ops: list[Op] = []
        self._outputs: list[Value] = []

    def resolve(self) -> Resolved | None:
        """The graph, or None when not even its header could be read."""
        header = self._header_of(self._outline.header)
        statements = [self._statement_of(chunk) for chunk in self._outline.statements]
        self._later = {r.name for s in statements if isinstance(s, Assignment) for r in s.results}
        if header is not None:
            for definition in header.inputs:
                self._input(definition)
        self._statements(statements)
        if header is None:
            return None
        declared = self._declared(header)
        graph = Graph(
            header.name,
            tuple(self._inputs),
            tuple(self._ops),
            tuple(self._outputs),
            header.location,
            declared,
        )
        return Resolved(graph, self._whole)

    def value(self, ref: Ref) -> Value:
        """The value that `ref` names; raises `Misread` when there is none above."""
        if ref.name in self._lost:
            raise _Lost(ref, "")
        if ref.name not in self._values:
            self._lost.add(ref.name)  # one message per name
            if ref.name in self._later:
                raise Misread(
                    ref, f"%{ref.name} is used before it is defined", "values are defined above their use"
                )
            raise Misread(ref, f"%{ref.name} is not defined", self._nearest(ref.name))
        return self._values[ref.name]

    def _nearest(self, name: str) -> str | None:
        known = [f"%{known}" for known in self._values][-200:]
        return suggest(f"%{name}", known) if known else None

    # --- statements ---

    def _header_of(self, chunk: Chunk) -> Header | None:
        try:
            return read_header(self._source, self._clean, chunk)
        except SyntaxFault as fault:
            self._syntax_fault(fault)
            self._lost.update(_NAMES.findall(self._clean, chunk.start, chunk.end))
            return None

    def _statement_of(self, chunk: Chunk) -> Assignment | Return | set[str]:
        """The statement, or the names it would have defined."""
        if not chunk.broken:
            try:
                return read_statement(self._source, self._clean, chunk)
            except SyntaxFault as fault:
                self._syntax_fault(fault)
        results = _RESULTS.match(self._clean, chunk.start, chunk.end)
        return set(_NAMES.findall(results[0])) if results else set()

    def _statements(self, statements: list[Assignment | Return | set[str]]) -> None:
        returned: Return | None = None
        for statement in statements:
            if isinstance(statement, set):
                self._whole = False
                self._lost |= statement
                self._defined |= dict.fromkeys(statement - self._defined.keys())
            elif returned is not None:
                self._fault(
                    "a statement behind return",
                    statement,
                    f"return on line {returned.location.line} ends the graph",
                )
            elif isinstance(statement, Return):
                returned = statement
                for ref in statement.values:
                    self._output(ref)
            else:
                self._assignment(statement)

    def _input(self, definition: Definition) -> None:
        self._name(definition)
        kind = self._type(definition.type)
        if kind is None:
            self._lost.add(definition.name)
        else:
            value = Value(definition.name, kind, definition.location)
            self._inputs.append(value)
            self._define(value)

    def _output(self, ref: Ref) -> None:
        value = self._use(ref)
        if value is not None:
            self._outputs.append(dataclasses.replace(value, location=ref.location))

    def _declared(self, header: Header) -> tuple[TensorType, ...] | None:
        if header.declared is None:
            return None
        kinds = [kind for node in header.declared if (kind := self._type(node)) is not None]
        return tuple(kinds) if len(kinds) == len(header.declared) else None

    def _assignment(self, statement: Assignment) -> None:
        op = self._op(statement)
        for result in statement.results:
            self._name(result)
        if op is None:
            self._whole = False
            self._lost.update(result.name for result in statement.results)
        else:
            self._ops.append(op)
            for value in op.results:
                self._define(value)

    def _name(self, definition: Definition) -> None:
        """Note that a name is taken, and report one that is taken already."""
        if definition.name in self._defined:
            first = self._defined[definition.name]
            where = f", first on line {first.line}" if first else ""
            # In the words of the verifier, which finds the same fault where both definitions could be read.
            self._fault(
                f"%{definition.name} is defined twice{where}",
                definition,
                "a value is assigned once; choose another name",
            )
        else:
            self._defined[definition.name] = definition.location

    def _define(self, value: Value) -> None:
        first = self._values.setdefault(value.name, value)
        if first.type != value.type:
            self._lost.add(value.name)  # which of the two a later use means is anyone's guess

    # --- ops ---

    def _op(self, statement: Assignment) -> Op | None:
        cls = registered_ops().get(statement.mnemonic)
        if cls is None:
            name = quoted(statement.mnemonic, 40)
            self._fault(f"unknown op {name}", statement, suggest(statement.mnemonic, list(registered_ops())))
            for ref in statement.operands:
                self._use(ref)
            return None
        fields: dict[str, Any] = {}
        places = {}
        complete = self._operands(cls, statement, fields)
        complete &= self._bindings(cls, statement, fields)
        for spec, ref in zip(operand_fields(cls), statement.operands, strict=False):
            places[spec.name] = ref.location
        for binding in statement.bindings:
            places.setdefault(binding.name.text, binding.location)
        try:
            fields |= cls.result_fields(len(statement.results), fields)
            if not complete:
                return None
            op = cls(**fields, location=statement.location, places=places)
            kinds = op.infer()
        except TypeRuleError as error:
            place = places.get(error.at, statement.location)
            self._report.error(error.message, place, help=error.help)
            return None
        results = [self._result(*pair, statement) for pair in zip(statement.results, kinds, strict=True)]
        return dataclasses.replace(op, results=tuple(results))

    def _operands(self, cls: type[Op], statement: Assignment, fields: dict[str, Any]) -> bool:
        """Read the operands into `fields`; whether all of them could be read."""
        values = [self._use(ref) for ref in statement.operands]
        specs = operand_fields(cls)
        variadic = bool(specs) and role_of(specs[-1]) == "operands"
        least = len(specs) - variadic
        if len(values) < least or (len(values) > least and not variadic):
            names = ", ".join(spec.name for spec in specs)
            wanted = (
                f"{cls.mnemonic} takes {least} operand(s)" if least else f"{cls.mnemonic} takes no operands"
            )
            extra = statement.operands[least] if len(values) > least else statement
            help = f"in this order: {names}" if least else "what it needs stands in braces"
            self._fault(f"{wanted}, {len(values)} are given", extra, help)
            return False
        fields |= {spec.name: value for spec, value in zip(specs[:least], values, strict=False)}
        if variadic:
            fields[specs[-1].name] = tuple(values[least:])
        return None not in values

    def _bindings(self, cls: type[Op], statement: Assignment, fields: dict[str, Any]) -> bool:
        """Read the attributes into `fields`; whether all that are given or needed could be read."""
        specs = {spec.name: spec for spec in attribute_fields(cls)}
        given: set[str] = set()
        complete = True
        for binding in statement.bindings:
            name = binding.name.text
            complete &= self._binding(cls, binding, specs, given, fields)
            given.add(name)
        for name, spec in specs.items():
            if name not in given and spec.default is dataclasses.MISSING:
                complete = False
                self._fault(
                    f"{cls.mnemonic} needs {name}",
                    statement,
                    f"write {{{name} = ...}}: {kind_of(spec).expects}",
                )
        return complete

    def _binding(
        self,
        cls: type[Op],
        binding: Binding,
        specs: dict[str, Field],
        given: set[str],
        fields: dict[str, Any],
    ) -> bool:
        name = binding.name.text
        if name not in specs:
            self._fault(
                f"{cls.mnemonic} has no attribute {quoted(name, 40)}",
                binding.name,
                _attributes_help(cls, name, list(specs)),
            )
            return False
        if name in given:
            self._fault(f"{name} is given twice", binding.name, "leave one of them out")
            return False
        try:
            fields[name] = kind_of(specs[name]).read(binding.value, self)
        except Misread as error:
            self._misread(error)
            return False
        return True

    def _result(self, definition: Definition, kind: Type, statement: Assignment) -> Value:
        written = self._type(definition.type)
        if written is not None and not _fits(written, kind):
            self._fault(
                f"%{definition.name} is written as {written}, {statement.mnemonic} gives {kind}", definition
            )
        return Value(definition.name, kind, definition.location)

    # --- reading, and what is said when it fails ---

    def _use(self, ref: Ref) -> Value | None:
        try:
            return self.value(ref)
        except Misread as error:
            self._misread(error)
            return None

    def _type(self, node: Node | None) -> TensorType | None:
        """The type that a node spells; None without one, or after a report."""
        if node is None:
            return None
        try:
            return TYPE.read(node, self)
        except Misread as error:
            self._misread(error)
            return None

    def _misread(self, error: Misread) -> None:
        self._whole = False
        if not isinstance(error, _Lost):
            self._report.error(error.message, error.node.location, help=error.help)

    def _syntax_fault(self, fault: SyntaxFault) -> None:
        self._whole = False
        self._report.error(fault.message, fault.location, help=fault.help)

    def _fault(self, message: str, at: Node, help: str | None = None) -> None:
        self._whole = False
        self._report.error(message, at.location, help=help)


def _fits(written: TensorType, kind: Type) -> bool:
    return (
        isinstance(kind, TensorType)
        and written.dtype is kind.dtype
        and written.rank == kind.rank
        and all(map(may_equal, written.shape, kind.shape))
    )


def _attributes_help(cls: type[Op], name: str, known: list[str]) -> str:
    if not known:
        return f"{cls.mnemonic} has none; leave the braces out"
    near = difflib.get_close_matches(name[:64], known, n=1)
    return (f"did you mean {near[0]}? " if near else "") + f"{cls.mnemonic} has: {', '.join(known)}"


_NAMES = re.compile(r"(?<=%)[A-Za-z_][A-Za-z0-9_]*")
_RESULTS = re.compile(r"\s*%[^=]*")
