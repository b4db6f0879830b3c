"""The best elements of rows, found with a heap, and top_k of rows that are long enough for it."""

from __future__ import annotations

from netc.compiler.types import DType

from .case import OpCase

CASES = (
    OpCase("best_positions", ((3, 40),), {"k": 7}),
    OpCase("best_positions", ((2, 9),), {"k": 9, "largest": False}),
    OpCase("best_positions", ((2, 33),), {"k": 12}, dtypes={0: DType.I8}, below={0: 4}),
    OpCase("best_positions", ((1, 1),), {"k": 1}),
    OpCase("best_positions", ((2, 5),), {"k": 0}),
    OpCase("best_positions", ((0, 5),), {"k": 2}),
    OpCase("top_k_values", ((2, 300, 3),), {"k": 5, "axis": 1}),
    OpCase("top_k_indices", ((2, 300),), {"k": 20, "largest": False}),
)
