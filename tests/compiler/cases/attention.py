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
    OpCase("attention", ((1, 3), (1, 3), (1, 2), (1,))),
    OpCase("attention", ((5, 1), (3, 1), (3, 1), (5, 1))),
)
