"""Convolutions in groups, of one and three dimensions, and transposed ones, with what they are differentiated to."""

from __future__ import annotations

from typing import Any

from .case import OpCase, Shape
from .convolution import conv, conv_gradients


def transpose_conv(
    x: Shape,
    filters: int,
    kernel: Shape,
    strides: Shape,
    size: Shape,
    *,
    before: Shape | None = None,
    dilations: Shape | None = None,
    groups: int = 1,
    bias: bool = True,
) -> OpCase:
    spatial = len(kernel)
    shapes: tuple[Shape, ...] = (x, (*kernel, x[-1] // groups, filters), (filters,))
    attributes: dict[str, Any] = {
        "size": size,
        "strides": strides,
        "padding": tuple((b, b) for b in before or (0,) * spatial),
        "dilations": dilations or (1,) * spatial,
        "groups": groups,
    }
    return OpCase(f"transpose_conv{spatial}d", shapes if bias else shapes[:2], attributes, weights=1, tolerance=5e-6)


CASES: tuple[OpCase, ...] = (
    # Narrow groups, whose results share a vector; wide ones; those that no vector fits; 1x1 windows; partial vectors
    conv((1, 9, 10, 32), 32, (3, 3), (1, 1), "same", groups=8),
    conv((2, 9, 8, 24), 24, (3, 3), (2, 2), ((1, 1), (1, 1)), groups=12, bias=False),
    conv((1, 7, 7, 40), 40, (3, 3), (1, 1), "same", groups=5),
    conv((1, 6, 7, 32), 64, (3, 3), (1, 1), "same", groups=2),
    conv((1, 6, 7, 48), 72, (3, 3), (1, 1), "same", groups=3),
    conv((1, 5, 6, 12), 36, (2, 3), (1, 2), "same", dilations=(2, 1), groups=4),
    conv((1, 7, 9, 64), 32, (1, 1), (1, 1), "valid", groups=16),
    conv((2, 5, 7, 24), 48, (1, 1), (1, 1), "valid", groups=3),
    conv((1, 4, 5, 6), 3, (2, 2), (1, 1), "same", groups=3),
    conv((1, 4, 5, 19), 38, (2, 2), (1, 1), "same", groups=19),
    conv((1, 6, 6, 10), 20, (3, 3), (1, 1), "same", groups=10),
    conv((1, 6, 6, 10), 30, (3, 3), (2, 2), "same", groups=10),
    conv((2, 21, 32), 32, (5,), (2,), "same", groups=8),
    conv((2, 20, 18), 18, (3,), (1,), ((1, 1),), groups=18),
    conv((1, 4, 5, 6, 16), 16, (3, 3, 3), (1, 1, 1), "same", groups=4),
    conv((1, 5, 5, 6, 19), 19, (3, 3, 3), (2, 2, 2), "same", groups=19),
    # One and three dimensions
    conv((1, 40, 16), 32, (5,), (1,), "same", dilations=(3,)),
    conv((2, 5, 6, 7, 4), 20, (3, 3, 3), (1, 1, 1), "same"),
    conv((2, 6, 5, 7, 8), 16, (3, 1, 2), (2, 1, 2), ((2, 1), (0, 0), (1, 0)), dilations=(2, 1, 1), bias=False),
    conv((2, 3, 4, 5, 8), 24, (1, 1, 1), (1, 1, 1), "valid"),
    # Transposed
    transpose_conv((2, 7, 12), 20, (4,), (2,), (16,), before=(1,)),
    transpose_conv((1, 6, 16), 32, (3,), (3,), (20,), dilations=(2,), groups=4),
    transpose_conv((1, 5, 6, 8), 12, (3, 3), (2, 2), (11, 14), before=(1, 1), dilations=(2, 3)),
    transpose_conv((1, 5, 6, 16), 32, (3, 2), (1, 2), (5, 12), before=(1, 0), groups=2, bias=False),
    transpose_conv((1, 5, 4, 18), 18, (3, 3), (2, 2), (10, 8), before=(1, 1), groups=18),
    transpose_conv((1, 5, 4, 10), 20, (2, 3), (2, 2), (10, 9), groups=10),
    transpose_conv((1, 3, 4, 5, 6), 17, (3, 2, 3), (2, 2, 1), (6, 8, 5), before=(1, 0, 1)),
    transpose_conv((2, 2, 3, 4, 8), 8, (2, 3, 3), (1, 2, 2), (4, 7, 9), dilations=(2, 1, 1), groups=2, bias=False),
    # Gradients
    *conv_gradients((1, 4, 5, 6), 3, (2, 2), (1, 1), "same", groups=3),
    *conv_gradients((1, 4, 5, 19), 38, (2, 2), (1, 1), "same", groups=19),
    *conv_gradients((2, 9, 10, 32), 32, (3, 3), (1, 1), "same", groups=8),
    *conv_gradients((1, 9, 8, 24), 24, (3, 3), (2, 2), ((1, 1), (1, 1)), groups=12),
    *conv_gradients((1, 6, 7, 48), 72, (3, 3), (1, 1), "same", groups=3),
    *conv_gradients((1, 5, 6, 12), 36, (2, 3), (1, 2), "same", dilations=(2, 1), groups=4),
    *conv_gradients((2, 5, 7, 64), 32, (1, 1), (1, 1), "valid", groups=16),
    *conv_gradients((1, 6, 6, 10), 20, (3, 3), (1, 1), "same", groups=10),
    *conv_gradients((2, 21, 32), 32, (5,), (2,), "same", groups=8),
    *conv_gradients((1, 40, 16), 24, (5,), (1,), "same", dilations=(3,)),
    *conv_gradients((2, 5, 6, 7, 4), 20, (3, 3, 3), (1, 1, 1), "same"),
    *conv_gradients((2, 5, 6, 5, 8), 16, (3, 2, 2), (2, 1, 2), ((1, 1), (0, 0), (1, 0)), dilations=(2, 1, 1)),
    *conv_gradients((1, 4, 5, 6, 16), 16, (3, 3, 3), (1, 1, 1), "same", groups=4),
    *conv_gradients((1, 4, 5, 6, 32), 32, (3, 3, 3), (1, 2, 1), "same", groups=2),
)
