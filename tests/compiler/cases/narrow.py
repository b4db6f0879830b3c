"""Numbers in two bytes: bfloat16, half precision."""

from __future__ import annotations

from netc.compiler.types import DType

from .case import OpCase

CASES: tuple[OpCase, ...] = (
    *(OpCase("to_bfloat16", (shape,), tolerance=0) for shape in ((3, 37), (), (1, 1), (2, 0), (5, 64))),
    *(OpCase("half_weight", (shape,), weights=0, tolerance=0) for shape in ((3, 37), (), (2, 0))),
    *(
        OpCase("from_bfloat16", (shape,), dtypes={0: DType.I16}, tolerance=0, scale=100, offset=0x3F80)
        for shape in ((3, 37), (), (2, 0), (5, 64))
    ),
)
