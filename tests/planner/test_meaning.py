"""Every pass preserves meaning: drawn graphs run alike in the reference interpreter before and after."""

import numpy as np
import pytest
from hypothesis import given, settings

from attnc.pipeline import DEFAULT_PIPELINE, parse_pipeline
from attnc_ir.text import format_module, parse
from planner_graphs import apply, arithmetic, assert_same_meaning, outcome, stateful, stateless

EXACT = [
    "infer",
    "canonicalize",
    "simplify-masks",
    "narrow-keys",
    "lift-biases{max-width=3}",
    "cse",
    "dce",
    "share-caches",
    "select-strategy",
]
HARD = ["hardmax(first)", "hardmax(last)", "hardmax(mean)"]


@pytest.mark.parametrize("pipeline", EXACT)
@settings(max_examples=25)
@given(case=stateless())
def test_a_pass_on_stateless_graphs_changes_no_bit(pipeline, case):
    text, arrays = case
    assert_same_meaning(text, pipeline, arrays)


@pytest.mark.parametrize("pipeline", EXACT)
@settings(max_examples=20)
@given(case=stateful())
def test_a_pass_on_stateful_graphs_changes_no_bit(pipeline, case):
    text, arrays = case
    assert_same_meaning(text, pipeline, arrays)


@pytest.mark.parametrize("pipeline", ["simplify-scores", DEFAULT_PIPELINE])
@settings(max_examples=40)
@given(case=stateless())
def test_scores_are_simplified_within_the_declared_tolerance(pipeline, case):
    text, arrays = case
    assert_same_meaning(text, pipeline, arrays, rtol=1e-12)


@pytest.mark.parametrize("pipeline", ["simplify-scores", DEFAULT_PIPELINE])
@settings(max_examples=30)
@given(case=stateful())
def test_scores_of_steps_are_simplified_within_the_declared_tolerance(pipeline, case):
    text, arrays = case
    assert_same_meaning(text, pipeline, arrays, rtol=1e-12)


@settings(max_examples=50)
@given(case=stateless(normalizers=HARD))
def test_hard_max_keeps_every_bit_through_the_whole_pipeline(case):
    text, arrays = case
    # A log-sum-exp is a sum of exponentials, whatever the normaliser; the rows themselves are exact.
    module, _ = apply(DEFAULT_PIPELINE, text)
    before, after = outcome(parse(text).graphs[0], arrays), outcome(module.graphs[0], arrays)
    if isinstance(before, type):
        assert before is after
    else:
        for x, y in zip(before[:2], after[:2], strict=True):
            np.testing.assert_array_equal(x, y)


@settings(max_examples=40)
@given(case=stateful(normalizers=HARD, biases=False))
def test_hard_max_state_keeps_every_bit_through_the_whole_pipeline(case):
    text, arrays = case
    assert_same_meaning(text, DEFAULT_PIPELINE, arrays)


@pytest.mark.parametrize("pipeline", ["canonicalize", "cse", "dce", "canonicalize,cse,dce"])
@settings(max_examples=80)
@given(case=arithmetic())
def test_arithmetic_keeps_its_elements_and_the_signs_of_zeros(pipeline, case):
    text, arrays = case
    module, _ = apply(pipeline, text)
    before, after = outcome(parse(text).graphs[0], arrays), outcome(module.graphs[0], arrays)
    for x, y in zip(before, after, strict=True):
        np.testing.assert_array_equal(x, y)
        np.testing.assert_array_equal(np.signbit(x[~np.isnan(x)]), np.signbit(y[~np.isnan(y)]))


@settings(max_examples=20)
@given(case=stateless())
def test_a_pipeline_settles(case):
    # Every pass of the default pipeline but the choice itself has nothing left to do on what it made.
    text, _ = case
    once, _ = apply(DEFAULT_PIPELINE, text)
    for step in parse_pipeline(DEFAULT_PIPELINE):
        twice, counts = apply([step], format_module(once))
        assert twice == once, (step, counts)
