"""Scaled dot-product attention."""

from __future__ import annotations

from .case import OpCase

CASES: tuple[OpCase, ...] = (
    OpCase("attention", ((2, 5, 8), (2, 7, 8), (2, 7, 6))),
    OpCase("attention", ((1, 2, 19, 16), (1, 2, 37, 16), (1, 2, 37, 20)), {"scale": 0.5}),
    OpCase("attention", ((2, 2, 9, 4), (2, 2, 9, 4), (2, 2, 9, 4)), {"causal": True}),
    OpCase("attention", ((6, 4), (9, 4), (9, 5), (6, 9)), {"causal": True}),
    OpCase("attention", ((2, 3, 7, 4), (2, 1, 7, 4), (3, 7, 4), (3, 7, 7))),  # a bias of each head; shared keys
    OpCase("attention", ((3, 4, 5), (3, 11, 5), (3, 11, 3), (3, 1, 11))),  # keys that are masked for all queries
    # more keys than one block, which whole panels don't fill
    OpCase("attention", ((40, 8), (600, 8), (600, 3)), {"causal": True}),
    OpCase("attention", ((700, 2), (520, 2), (520, 3)), {"causal": True}),
    OpCase("attention", ((2, 3, 4), (2, 1, 777, 4), (777, 20), (3, 777))),
    OpCase("attention", ((1, 3), (1, 3), (1, 2), (1,))),
    OpCase("attention", ((2, 5, 3, 8), (2, 7, 3, 8), (2, 7, 3, 6)), {"heads_inside": True}),
    OpCase("attention", ((2, 19, 3, 16), (2, 37, 1, 16), (37, 3, 20), (3, 1, 37)), {"heads_inside": True}),
    OpCase("attention", ((1, 40, 2, 8), (1, 600, 2, 8), (1, 600, 2, 3)), {"heads_inside": True, "causal": True}),
    OpCase("attention", ((5, 1), (3, 1), (3, 1), (5, 1))),
)
