"""Strategies as the planner sees them: one judge per file."""

from attnc.strategies.base import Judge, Sizes, judge_of, judges, register_strategy
from attnc.strategies.dense import DenseJudge
from attnc.strategies.extremum import ExtremumJudge
from attnc.strategies.hierarchy import HierarchyJudge
from attnc.strategies.hull import HullJudge
from attnc.strategies.index import IndexJudge
from attnc.strategies.monotone import MonotoneJudge
from attnc.strategies.position import PositionJudge
from attnc.strategies.scan import ScanJudge
from attnc.strategies.sweep import SweepJudge
from attnc.strategies.tree import TreeJudge
from attnc.strategies.uniform import UniformJudge

__all__ = [
    "DenseJudge",
    "ExtremumJudge",
    "HierarchyJudge",
    "HullJudge",
    "IndexJudge",
    "Judge",
    "MonotoneJudge",
    "PositionJudge",
    "ScanJudge",
    "Sizes",
    "SweepJudge",
    "TreeJudge",
    "UniformJudge",
    "judge_of",
    "judges",
    "register_strategy",
]
