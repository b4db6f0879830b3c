"""Normalisation by a sample's own statistics."""

from __future__ import annotations

from netc.compiler.types import DType

from .case import OpCase

CASES: tuple[OpCase, ...] = (
    OpCase("normalize", ((3, 5, 37),), {"axes": (-1,)}),
    OpCase("normalize", ((2, 3, 197),), {"axes": (-1,), "eps": 1e-6, "center": False}),
    OpCase("normalize", ((2, 4, 5, 21),), {"axes": (1, 2, 3)}),
    OpCase("normalize", ((2, 4, 5, 21),), {"axes": (1, 2)}),
    OpCase("normalize", ((3, 6, 40),), {"axes": (0,), "center": False}),
    OpCase("normalize", ((2, 4, 5, 24),), {"axes": (1, 2, 3), "groups": 4}),
    OpCase("normalize", ((2, 4, 3, 6),), {"axes": (1, 2, 3), "groups": 2, "center": False}),
    OpCase("normalize", ((5, 12),), {"axes": (1,), "groups": 3}),
    OpCase("normalize", ((1, 33, 32, 64),), {"axes": (1, 2, 3)}),
    OpCase("normalize", ((4, 1),), {"axes": (1,)}),
    OpCase("normalize", ((3, 5, 37),), {"axes": (-1,)}, dtypes={0: DType.F16}, tolerance=2e-3),
    OpCase("l2_normalize", ((3, 5, 37),)),
    OpCase("l2_normalize", ((3, 5, 7),), {"axis": 1, "eps": 1e-12}),
    OpCase("l2_normalize", ((3, 5, 7),), {"eps": 2.5}),
    OpCase("local_response_norm", ((2, 3, 4, 19),), {"size": 5, "alpha": 0.3, "k": 2}),
    OpCase("local_response_norm", ((3, 8),), {"size": 4, "alpha": 0.5, "beta": 0.6}),
    OpCase("local_response_norm", ((3, 8),), {"size": 1, "beta": 1, "k": 0.5}),
)
