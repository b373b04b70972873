"""Printing and parsing are each other's inverse, whatever the module and however the text is laid out."""

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attnc_ir.graph import Module
from attnc_ir.kinds import kind_of
from attnc_ir.op import attribute_fields, operand_fields, registered_ops
from attnc_ir.text import format_module, parse
from drawn_modules import modules

OPS = registered_ops()
EVERY = [*OPS, *(f"{name}.{spec.name}" for name, cls in OPS.items() for spec in attribute_fields(cls))]


@given(modules())
def test_parse_after_print_is_the_identity(module: Module) -> None:
    text = format_module(module)
    again = parse(text)
    assert again == module
    assert format_module(again) == text  # which tells 0.0 from -0.0, too


@pytest.mark.parametrize(
    "wanted", sorted(set(EVERY) - {"attend.step.sinks"})
)  # a step is drawn without tensors
@given(data=st.data())
@settings(max_examples=settings().max_examples // 20, suppress_health_check=list(HealthCheck))
def test_of_each_op_and_attribute(wanted: str, data: st.DataObject) -> None:
    module = data.draw(modules(wanted))
    text = format_module(module)
    assert f"{wanted.rsplit('.', maxsplit=1)[-1]} = " in text or f" = {wanted}" in text
    assert parse(text) == module


def test_sinks_of_a_step() -> None:
    text = """graph @f(%q: f64[4 x 2], %s: f64[4]) -> f64[4 x 2] {
  %c = cache {heads = [4], key = f64[2], value = f64[2]}
  %o = attend.step %q, %c {normalizer = softmax, sinks = %s}
  return %o
}
"""
    assert format_module(parse(text)) == text


@given(modules())
@settings(max_examples=settings().max_examples // 3)
def test_layout_does_not_matter(module: Module) -> None:
    text = format_module(module)
    commented = "\n".join(f"{line} // graph @no(%x: f64[2]) {{ return" for line in text.split("\n"))
    assert parse(commented) == module
    assert parse(" ".join(text.split())) == module  # all on one line
    assert parse(text.replace("\n", "\r\n")) == module
    assert parse("\ufeff" + text.replace("  ", "\t")) == module
    if all(len(op.results) == 1 for graph in module for op in graph.ops):  # results stand on one line
        assert parse(text.replace(", ", " ,\n ")) == module


@given(modules())
@settings(max_examples=settings().max_examples // 3)
def test_every_field_knows_its_place(module: Module) -> None:
    text = format_module(module)
    lines = text.split("\n")
    for graph in parse(text):
        for op in graph.ops:
            assert op.location is not None
            for spec in operand_fields(type(op)):
                place = op.places[spec.name]
                assert lines[place.line - 1][place.column - 1] == "%"
            for spec in attribute_fields(type(op)):
                written = kind_of(spec).write(getattr(op, spec.name))
                if spec.name in op.places:
                    place = op.places[spec.name]
                    assert (
                        lines[place.line - 1][place.column - 1 : place.end - 1] == f"{spec.name} = {written}"
                    )
                else:
                    assert spec.default is not dataclasses.MISSING
