import dataclasses
import re
from dataclasses import dataclass
from typing import ClassVar

import pytest

from attnc.manager import PassManager, run_pass
from attnc.passes import Canonicalize, Pass
from attnc.pipeline import DEFAULT_PIPELINE
from attnc_ir.errors import InternalError, SpecError
from attnc_ir.ops import Neg
from attnc_ir.text import parse

TEXT = """graph @g(%x: f64[4], %y: f64[4]) {
  %a = slice %x {start = 0, stop = 4}
  %b = neg %a
  %c = neg %x
  %d = add %b, %c
  %e = mul %y, %y
  return %d
}
graph @h(%q: f64[N x 2], %k: f64[M x 2], %v: f64[M x 1]) {
  %o = attend %q, %k, %v {normalizer = hardmax(last), scale = 2.0}
  return %o
}
"""


@dataclass(frozen=True)
class Crash(Pass):
    """A pass with a bug."""

    name: ClassVar[str] = "crash"

    def run(self, graph, context):
        raise ZeroDivisionError("the bug\nof the pass")


@dataclass(frozen=True)
class Break(Pass):
    """A pass that forgets a definition."""

    name: ClassVar[str] = "break"

    def run(self, graph, context):
        return dataclasses.replace(graph, ops=graph.ops[1:])


def test_a_run_reports_what_was_decided_and_what_changed():
    run = PassManager.of("canonicalize,cse,dce,canonicalize").run(parse(TEXT))
    assert [(r.name, dict(r.statistics), r.changed) for r in run.records] == [
        ("canonicalize", {"dropped-identity": 1}, True),
        ("cse", {"merged-op": 1}, True),
        ("dce", {"removed-op": 1}, True),
        ("canonicalize", {}, False),
    ]
    assert run.statistics == {
        "canonicalize": {"dropped-identity": 1},
        "cse": {"merged-op": 1},
        "dce": {"removed-op": 1},
    }
    assert set(run.seconds) == {"canonicalize", "cse", "dce"}
    assert [type(op) for op in run.module["g"].ops] == [Neg, type(run.module["g"].ops[1])]


def test_the_input_stays_as_it_is():
    module = parse(TEXT)
    PassManager.of(DEFAULT_PIPELINE).run(module)
    assert module == parse(TEXT)


def test_every_dump_is_an_input_and_its_header_runs_the_rest():
    dumps = []
    run = PassManager.of(DEFAULT_PIPELINE, print_after_change=dumps.append).run(parse(TEXT))
    assert len(dumps) == sum(record.changed for record in run.records) >= 4
    for dump in dumps:
        rest = re.match(r"// attnc opt -p '([^']*)'   after [a-z-]+: .+\n", dump)
        assert rest, dump
        assert PassManager.of(rest.group(1)).run(parse(dump)).module == run.module


def test_stages_are_shown_whether_or_not_they_changed_anything():
    stages = []
    manager = PassManager.of(
        "cse,cse", on_stage=lambda name, module: stages.append((name, len(module["g"].ops)))
    )
    manager.run(parse(TEXT))
    assert stages == [("cse", 5), ("cse", 5)]


def test_a_crash_leaves_a_file_whose_first_line_reruns_it(tmp_path):
    manager = PassManager((Canonicalize(), Crash(), Canonicalize()), reproducer_dir=tmp_path / "new")
    with pytest.raises(InternalError, match="pass crash crashed: ZeroDivisionError") as caught:
        manager.run(parse(TEXT))
    (file,) = (tmp_path / "new").glob("attnc-reproducer-*.attn")
    assert str(file) in str(caught.value)
    text = file.read_text()
    assert text.splitlines()[0] == "// RUN: attnc opt -p 'crash,canonicalize' %s"
    # It holds the module as the pass met it: the identity slice is gone.
    assert "slice" not in text
    assert parse(text) == PassManager.of("canonicalize").run(parse(TEXT)).module


def test_the_same_crash_writes_the_same_file(tmp_path):
    for _ in range(2):
        with pytest.raises(InternalError):
            PassManager((Crash(),), reproducer_dir=tmp_path).run(parse(TEXT))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_broken_invariant_is_found_after_the_pass_that_broke_it(tmp_path):
    module = parse(TEXT)
    PassManager((Break(),), reproducer_dir=tmp_path).run(module)
    with pytest.raises(InternalError, match=r"pass break broke the module:\n.*%a is not defined"):
        PassManager((Break(),), verify_each=True, reproducer_dir=tmp_path).run(module)
    (file,) = tmp_path.iterdir()
    assert file.read_text().startswith("// RUN: attnc opt --verify-each -p 'break' %s\n")
    assert parse(file.read_text()) == module


def test_a_reproducer_that_cannot_be_written_does_not_hide_the_crash(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InternalError, match=r"the bug\nof the pass\nthe reproducer .* could not be written"):
        PassManager((Crash(),), reproducer_dir=tmp_path / "file" / "below").run(parse(TEXT))


def test_a_fault_of_the_input_is_no_crash(tmp_path):
    text = "graph @g(%x: f64[?], %y: f64[2], %z: f64[3]) { %a = add %x, %y  %b = add %x, %z  return %a, %b }"
    with pytest.raises(SpecError, match="to be one size"):
        PassManager.of("infer", reproducer_dir=tmp_path).run(parse(text))
    assert not list(tmp_path.iterdir())


def test_one_pass_runs_without_a_manager():
    graph = run_pass(Canonicalize(), parse(TEXT)["g"])
    assert [op.mnemonic for op in graph.ops] == ["neg", "neg", "add", "mul"]
