"""The passes, one per file of its name. Importing this package registers all of them."""

from attnc.passes.base import Context, Pass, option, register_pass, registered_passes, size_hints
from attnc.passes.canonicalize import Canonicalize
from attnc.passes.cse import CommonSubexpressions
from attnc.passes.dce import DeadCode
from attnc.passes.infer import Infer
from attnc.passes.lift_biases import LiftBiases
from attnc.passes.narrow_keys import NarrowKeys
from attnc.passes.select_strategy import SelectStrategy
from attnc.passes.share_caches import ShareCaches
from attnc.passes.simplify_masks import SimplifyMasks
from attnc.passes.simplify_scores import SimplifyScores

__all__ = [
    "Canonicalize",
    "CommonSubexpressions",
    "Context",
    "DeadCode",
    "Infer",
    "LiftBiases",
    "NarrowKeys",
    "Pass",
    "SelectStrategy",
    "ShareCaches",
    "SimplifyMasks",
    "SimplifyScores",
    "option",
    "register_pass",
    "registered_passes",
    "size_hints",
]
