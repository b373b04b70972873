"""Strategies as the planner sees them: one judge per file."""

from attnc.strategies.base import Judge, Sizes, judge_of, judges, register_strategy
from attnc.strategies.dense import DenseJudge
from attnc.strategies.hull import HullJudge
from attnc.strategies.scan import ScanJudge

__all__ = [
    "DenseJudge",
    "HullJudge",
    "Judge",
    "ScanJudge",
    "Sizes",
    "judge_of",
    "judges",
    "register_strategy",
]
