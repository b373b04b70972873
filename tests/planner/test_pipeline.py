import pytest
from hypothesis import given
from hypothesis import strategies as st

from attnc.passes import Canonicalize, LiftBiases, SelectStrategy, registered_passes
from attnc.pipeline import DEFAULT_PIPELINE, format_pipeline, parse_pipeline
from attnc_ir.errors import PipelineError


def test_a_pipeline_is_a_list_of_constructor_calls():
    text = (
        "canonicalize, lift-biases{max-width=3},\n  select-strategy{machine=flat, assume=64, N=65536, c=10}"
    )
    assert parse_pipeline(text) == (
        Canonicalize(),
        LiftBiases(max_width=3),
        SelectStrategy(machine="flat", assume=64, sizes=(("N", 65536), ("c", 10))),
    )


def test_the_default_pipeline_reads_back_and_uses_every_pass():
    passes = parse_pipeline(DEFAULT_PIPELINE)
    assert format_pipeline(passes) == DEFAULT_PIPELINE
    assert {step.name for step in passes} == set(registered_passes())
    assert passes[-1].name == "select-strategy"


def test_nothing_is_a_pipeline():
    assert parse_pipeline("") == parse_pipeline("  \n ") == ()


words = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,6}", fullmatch=True)
steps = st.one_of(
    st.sampled_from([cls() for cls in registered_passes().values()]),
    st.builds(LiftBiases, st.integers(1, 2**40)),
    st.builds(
        SelectStrategy,
        words,
        words,
        st.integers(0, 2**40),
        st.dictionaries(st.sampled_from(["N", "M", "B", "cache_1"]), st.integers(0, 2**40)).map(
            lambda d: tuple(d.items())
        ),
    ),
)


@given(st.lists(steps, max_size=4))
def test_printing_and_reading_is_the_identity(passes):
    text = format_pipeline(passes)
    assert parse_pipeline(text) == tuple(passes)
    assert format_pipeline(parse_pipeline(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("canonicalise", "pipeline:1:1: error: unknown pass 'canonicalise'\ncanonicalise\n^^^^^^^^^^^^\nhelp: did you mean canonicalize?"),
        ("cse,\n dcee", "pipeline:2:2: error: unknown pass 'dcee'\n dcee\n ^^^^\nhelp: did you mean dce?"),
        ("cse{x=1}", "pipeline:1:5: error: cse has no option 'x'\ncse{x=1}\n    ^\nhelp: cse takes no options"),
        ("lift-biases{max-widht=3}", "did you mean max-width?"),
        ("lift-biases{max-width=0}", "pipeline:1:23: error: max-width is '0', expected an integer from 1 to 1099511627776"),
        ("lift-biases{max-width=2,max-width=2}", "option 'max-width' is given twice"),
        ("select-strategy{N=1,N=2}", "option 'N' is given twice"),
        ("select-strategy{machin=flat}", "machin is 'flat', expected an integer from 0 to 1099511627776"),
        ("select-strategy{machin=flat}", "did you mean machine?"),
        ("select-strategy{assume=many}", "assume is 'many', expected an integer"),
        ("select-strategy{machine=a/b}", "machine is 'a/b', expected a word"),
        ("select-strategy{N=99999999999999999999999}", "expected an integer from 0"),
        ("cse,,dce", "pipeline:1:5: error: unexpected ','"),
        ("cse,", "pipeline:1:5: error: the pipeline ends too early"),
        ("cse{", "the pipeline ends too early"),
        ("cse dce", "pipeline:1:5: error: unexpected 'dce'"),
        ("(cse)", "pipeline:1:1: error: unexpected '(cse)'"),
        ("cse;\x1b[31m", "unexpected ';"),
        ("c" * 200_000, "a pipeline of 200000 characters"),
    ],
)  # fmt: skip
def test_a_wrong_pipeline_is_shown_with_its_place(text, expected):
    with pytest.raises(PipelineError) as caught:
        parse_pipeline(text)
    assert expected in str(caught.value)
    assert "\x1b" not in str(caught.value)


@given(st.text(alphabet="cse,{}=1 -\n%\u2028é", max_size=12))
def test_any_text_is_a_pipeline_or_a_pipeline_error(text):
    try:
        passes = parse_pipeline(text)
    except PipelineError:
        return
    assert parse_pipeline(format_pipeline(passes)) == passes
