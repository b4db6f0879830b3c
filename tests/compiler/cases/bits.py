"""The same bits as other numbers."""

from __future__ import annotations

from netc.compiler.types import DType

from .case import OpCase

CASES: tuple[OpCase, ...] = tuple(
    OpCase("bitcast", shape, {"dtype": str(goal)}, dtypes={0: source}, tolerance=0)
    for shape, source, goal in (
        (((3, 37),), DType.F32, DType.I32),
        (((3, 37),), DType.U8, DType.I8),
        (((5, 7),), DType.I32, DType.U8),
        (((5, 7),), DType.F32, DType.I16),
        (((),), DType.I64, DType.I32),
        (((6, 4),), DType.U8, DType.I32),
        (((3, 5, 2),), DType.I16, DType.I32),
        (((8,),), DType.I8, DType.I64),
    )
)
