"""Numbers in two bytes: bfloat16."""

from __future__ import annotations

from netc.compiler.types import DType

from .case import OpCase

CASES: tuple[OpCase, ...] = (
    *(OpCase("to_bfloat16", (shape,), tolerance=0) for shape in ((3, 37), (), (1, 1), (2, 0), (5, 64))),
    *(
        OpCase("from_bfloat16", (shape,), dtypes={0: DType.I16}, tolerance=0, scale=3000)
        for shape in ((3, 37), (), (2, 0), (5, 64))
    ),
)
