"""Convolutions, transposed ones, and what they are differentiated to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .case import OpCase, Shape


def conv(
    x: Shape,
    filters: int,
    kernel: Shape,
    strides: Shape,
    padding: Any,
    *,
    dilations: Shape | None = None,
    groups: int = 1,
    bias: bool = True,
) -> OpCase:
    spatial = len(kernel)
    shapes: tuple[Shape, ...] = (x, (*kernel, x[-1] // groups, filters), (filters,))
    attributes = {
        "strides": strides,
        "padding": padding,
        "dilations": dilations or (1,) * spatial,
        "groups": groups,
    }
    return OpCase(f"conv{spatial}d", shapes if bias else shapes[:2], attributes, weights=1, tolerance=5e-6)


def conv_gradients(x: Shape, *arguments: Any, **options: Any) -> tuple[OpCase, OpCase]:
    """The derivatives of a convolution, given like the convolution."""
    case = conv(x, *arguments, **options, bias=False)
    weight = case.shapes[1]
    (y,) = (v.type.shape for v in case.graph().outputs)
    return (
        OpCase(
            f"{case.op}_input_gradient", (y, weight), {"size": x[1:-1], **case.attributes}, weights=1, tolerance=5e-6
        ),
        OpCase(f"{case.op}_weight_gradient", (x, y), {"kernel": weight[:-2], **case.attributes}, tolerance=5e-6),
    )


CASES: tuple[OpCase, ...] = (
    # conv2d: sizes that no tile divides, strides, dilation, asymmetric and absent padding, groups
    conv((1, 9, 9, 3), 8, (3, 3), (1, 1), "same"),
    conv((2, 10, 7, 5), 33, (3, 3), (2, 2), "same"),
    conv((1, 11, 13, 16), 48, (3, 3), (1, 1), ((1, 1), (1, 1))),
    conv((1, 14, 14, 24), 40, (1, 1), (1, 1), "valid"),
    conv((2, 7, 7, 32), 20, (1, 1), (2, 2), "valid"),
    conv((1, 15, 15, 3), 17, (7, 7), (2, 2), ((3, 3), (3, 3))),
    conv((1, 12, 12, 4), 6, (3, 3), (1, 1), "same", dilations=(2, 2)),
    conv((1, 8, 9, 4), 6, (2, 4), (1, 2), ((0, 1), (2, 0)), bias=False),
    conv((1, 3, 3, 4), 5, (3, 3), (1, 1), "valid"),
    replace(conv((1, 32, 32, 64), 64, (3, 3), (1, 1), "same"), tolerance=2e-5),  # Winograd's filtering rounds more
    conv((1, 9, 9, 12), 8, (3, 3), (1, 1), "same", groups=4),
    conv((1, 6, 6, 512), 32, (1, 1), (1, 1), "valid"),
    conv((3, 9, 9, 20), 20, (3, 3), (1, 1), "same", groups=20),
    conv((1, 13, 13, 37), 37, (5, 5), (2, 2), "same", groups=37, bias=False),
    conv((1, 6, 6, 8), 16, (3, 3), (1, 1), "same", groups=8),
    conv((2, 19, 6), 11, (5,), (2,), "same"),
    conv((1, 4, 5, 6, 3), 7, (2, 3, 3), (1, 2, 1), "same"),
    *(
        OpCase(
            "transpose_conv2d",
            (x, weight, weight[-1:])[: 2 + bias],
            {"size": size, "strides": strides, "padding": padding},
            weights=1,
            tolerance=5e-6,
        )
        for x, weight, size, strides, padding, bias in (
            ((1, 5, 6, 8), (3, 3, 8, 20), (5, 6), (1, 1), ((1, 1), (1, 1)), True),
            ((2, 7, 7, 16), (3, 3, 16, 33), (14, 14), (2, 2), ((1, 1), (1, 1)), False),
            ((1, 4, 5, 6), (1, 1, 6, 16), (8, 9), (2, 2), ((0, 0), (0, 0)), True),
            ((1, 6, 4, 5), (7, 2, 5, 9), (13, 9), (2, 3), ((3, 2), (0, 1)), False),
            ((1, 3, 3, 4), (2, 2, 4, 5), (9, 7), (2, 2), ((0, 0), (0, 0)), True),
        )
    ),
    OpCase("winograd_filter", ((3, 3, 4, 18),), {"flip": False}),
    OpCase("winograd_filter", ((2, 3, 3, 3, 5),), {"flip": True}),
    OpCase("winograd_filter", ((3, 3, 2, 17),), {"stage": "halfway"}),
    OpCase("winograd_filter", ((3, 3, 2, 17),), {"stage": "scaled", "flip": True}),
    OpCase("winograd_filter", ((2, 3, 3, 2, 17),), {"tile": 2, "flip": True}),
    OpCase("winograd_filter", ((3, 3, 2, 17),), {"stride": 2}),
    OpCase("winograd_filter", ((3, 3, 3, 5),), {"tile": 2, "stride": 2, "flip": True}),
    OpCase("strassen_filter", ((10, 36), (10,), (36,)), {"half": 18, "width": 18}),
    OpCase("strassen_filter", ((6, 27), (6,), (27,)), {"half": 16, "width": 6}),
    OpCase("strassen_filter", ((2, 1), (2,), (1,)), {"half": 1, "width": 1}),
    OpCase("filter_scales", ((7, 18), (7,))),
    OpCase("filter_scales", ((1, 1), (1,))),
    OpCase("channel_scales", ((7, 18),)),
    OpCase("channel_scales", ((1, 1),)),
    *conv_gradients((2, 9, 9, 3), 8, (3, 3), (1, 1), "same"),
    *conv_gradients((3, 12, 12, 32), 40, (3, 3), (1, 1), "same"),
    *conv_gradients((1, 28, 28, 1), 32, (3, 3), (1, 1), "same"),
    *conv_gradients((2, 10, 7, 5), 20, (3, 3), (2, 2), "same"),
    *conv_gradients((1, 8, 9, 4), 6, (2, 4), (1, 3), ((0, 1), (2, 0))),
    *conv_gradients((1, 12, 12, 4), 6, (3, 3), (1, 1), "same", dilations=(2, 2)),
    *conv_gradients((1, 12, 11, 4), 6, (3, 2), (2, 3), "valid", dilations=(2, 3)),
    *conv_gradients((1, 9, 9, 12), 8, (3, 3), (1, 1), "same", groups=4),
    *conv_gradients((2, 9, 9, 20), 20, (3, 3), (2, 2), "same", groups=20),
    *conv_gradients((2, 14, 14, 48), 48, (3, 3), (1, 1), "same", groups=48),
    *conv_gradients((1, 13, 12, 37), 37, (5, 5), (2, 2), "same", groups=37),
    *conv_gradients((1, 9, 11, 24), 24, (7, 7), (1, 1), "same", groups=24),
    *conv_gradients((1, 11, 8, 16), 16, (2, 2), (3, 3), "valid", groups=16),
    *conv_gradients((1, 9, 9, 6), 6, (3, 3), (1, 1), "same", groups=6, dilations=(2, 2)),
    *conv_gradients((2, 7, 7, 32), 20, (1, 1), (2, 2), "valid"),
    *conv_gradients((2, 19, 6), 11, (5,), (2,), "same"),
    *conv_gradients((1, 4, 5, 6, 3), 7, (2, 3, 3), (1, 2, 1), "same"),
)
