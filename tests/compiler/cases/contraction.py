"""Products of matrices."""

from __future__ import annotations

from .case import OpCase

CASES: tuple[OpCase, ...] = (
    # dense: matrix-vector, odd sizes, more rows than registers, leading dimensions
    OpCase("dense", ((1, 7), (7, 10), (10,)), weights=1),
    OpCase("dense", ((1, 300), (300, 1001), (1001,)), weights=1, tolerance=5e-6),
    OpCase("dense", ((5, 33), (33, 65)), weights=1),
    OpCase("dense", ((67, 40), (40, 130), (130,)), weights=1),
    OpCase("dense", ((2, 3, 12), (12, 9), (9,)), weights=1),
    OpCase("dense", ((12,), (12, 9), (9,)), weights=1),
    *(
        OpCase("matmul", (a[:: -1 if ta else 1], b[:: -1 if tb else 1]), {"transpose_a": ta, "transpose_b": tb})
        for a, b in (((5, 33), (33, 65)), ((1, 7), (7, 10)), ((70, 50), (50, 37)))
        for ta in (False, True)
        for tb in (False, True)
    ),
)
