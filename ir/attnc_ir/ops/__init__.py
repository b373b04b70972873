"""The operations. Importing this package registers all of them."""

from attnc_ir.ops.attend import Attend, AttendStep
from attnc_ir.ops.attention import AttentionOp, Geometry
from attnc_ir.ops.constant import Constant, Iota
from attnc_ir.ops.elementwise import (
    Add,
    Binary,
    Compare,
    Convert,
    Div,
    Elementwise,
    Equal,
    Less,
    LessEqual,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Select,
    Sub,
)
from attnc_ir.ops.shape import Broadcast, Concat, Slice
from attnc_ir.ops.state import Append, Cache

__all__ = [
    "Add",
    "Append",
    "Attend",
    "AttendStep",
    "AttentionOp",
    "Binary",
    "Broadcast",
    "Cache",
    "Compare",
    "Concat",
    "Constant",
    "Convert",
    "Div",
    "Elementwise",
    "Equal",
    "Geometry",
    "Iota",
    "Less",
    "LessEqual",
    "Maximum",
    "Minimum",
    "Mul",
    "Neg",
    "Select",
    "Slice",
    "Sub",
]
