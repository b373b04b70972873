"""A short run of the sweep that holds every strategy against integer arithmetic; the long one is a command."""

import numpy as np
import pytest

import attnc
import soak
from attnc.strategies import judges
from exact_modes import Derived, Mode, modes
from exact_oracle import answers, tied
from exact_sweep import sweep

# Lives of states over every kind of structure, and a batch; the long sweep draws many more modes.
SHORT = [
    Mode(2, "f64", "mean", "everything", "1.0", step=True),
    Mode(2, "f64", "first", "window", "1.0", step=True),
    Mode(3, "f32", "last", "documents", "0.1", step=False),
    Mode(3, "f64", "mean", "ragged", "-0.75", step=False),
    Derived("between two positions", "mean", "causal"),
]


def test_drawn_cases_agree_with_integer_arithmetic():
    by_mode, by_strategy = sweep(SHORT, seed=1, cases=12_000)
    assert len(by_mode) == len(SHORT)
    assert {name.split(",")[0] for name in by_strategy} >= {
        "dense",
        "scan",
        "hull",
        "tree",
        "hierarchy",
        "position",
    }


def test_every_strategy_for_hardmax_is_drawn():
    """The full sweep asks every strategy that needs no facts about its inputs."""
    drawn = {strategy.keyword for mode in modes()[:160] for strategy in mode.strategies}
    assert drawn >= {"dense", "scan", "hull", "extremum", "uniform", "sweep", "tree", "hierarchy"}
    assert drawn <= {judge.keyword for judge in judges()}


def test_the_oracle_knows_the_cases_that_other_engines_get_wrong():
    keys = np.array([[0.0, 0.0], [1169713601280381.0, -1881826492714166.0]])
    query = np.array([[6554730440190525.0, 4074316829049964.0]])
    assert tied(query, keys, np.ones((1, 2), bool), 1).tolist() == [[False, True]]
    assert tied(query, keys, np.ones((1, 2), bool), -1).tolist() == [[True, False]]
    assert tied(query, keys, np.ones((1, 2), bool), 0).tolist() == [[True, True]]
    keys = np.array([[84.0, -1e30], [62.0, -1e30], [84.0, -1e30]])
    ties = tied(np.array([[20.0, 1.0]]), keys, np.ones((1, 3), bool), 1)
    assert ties.tolist() == [[True, False, True]]
    values = np.array([[1e300, 1.0], [0.0, 0.0], [1e300, 2.0]])
    assert [[x.tolist() for x in answers(ties, values, tie)] for tie in ("first", "last", "mean")] == [
        [[[1e300, 1.0]], [0]],
        [[[1e300, 2.0]], [2]],
        [[[1e300, 1.5]], [-1]],
    ]


def test_a_difference_is_found(monkeypatch):
    """An oracle that is wrong about ties must be contradicted."""
    monkeypatch.setattr("exact_sweep.tied", lambda queries, keys, allowed, sign: allowed)
    with pytest.raises(Exception, match="wanted"):
        sweep(SHORT[:1], seed=1, cases=2_000)


def test_states_under_random_interleaving_answer_as_those_built_from_nothing():
    soak.interleave(attnc.compile(soak.SPEC), rounds=25, size=300, seed=4)
