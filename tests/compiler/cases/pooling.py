"""Pooling, and what it is differentiated to."""

from __future__ import annotations

import math
from typing import Any

from .case import OpCase, Shape


def pool(op: str, x: Shape, size: Shape, strides: Shape, padding: Any) -> OpCase:
    return OpCase(op, (x,), {"size": size, "strides": strides, "padding": padding})


def pool_gradients(x: Shape, size: Shape, strides: Shape, padding: Any) -> tuple[OpCase, ...]:
    """What pooling is differentiated to, given like the pooling."""
    case = pool("max_pool", x, size, strides, padding)
    (y,) = (v.type.shape for v in case.graph().outputs)
    back = {"input_size": x[1:-1], **case.attributes}
    elements = math.prod(size)
    return (
        OpCase("avg_pool_gradient", (y,), back),
        OpCase("max_pool_index", (x, y), case.attributes, below={0: 3, 1: 3}),
        OpCase("max_pool_gradient", (y, y), back, below={0: elements}),
        OpCase("max_pool_gather", (x, y), case.attributes, below={1: elements}),
    )


CASES: tuple[OpCase, ...] = (
    *(
        pool(op, x, size, strides, padding)
        for op in ("max_pool", "avg_pool")
        for x, size, strides, padding in (
            ((1, 8, 8, 19), (2, 2), (2, 2), "valid"),
            ((2, 9, 7, 5), (3, 3), (2, 2), ((1, 1), (1, 1))),
            ((1, 10, 10, 32), (3, 3), (2, 2), "same"),
            ((1, 12, 3), (4,), (3,), "same"),
        )
    ),
    *pool_gradients((1, 8, 8, 19), (2, 2), (2, 2), "valid"),
    *pool_gradients((2, 9, 7, 5), (3, 3), (2, 2), ((1, 1), (1, 1))),
    *pool_gradients((1, 10, 10, 32), (3, 3), (2, 2), "same"),
    *pool_gradients((1, 12, 3), (4,), (3,), "same"),
    *pool_gradients((1, 11, 3), (2,), (3,), "valid"),
)
