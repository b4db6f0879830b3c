"""Transposed convolution: what a strided convolution does to gradients, and what decoders use to enlarge maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ..graph.registry import register
from ..loops.compute import Compute, Reduction
from ..loops.ir import Binary, Const, Expr, Select
from ..types import TensorType
from .gradients import sum_to
from .window import Phase, check_pairs, phase_margins, phases_of


@register
class TransposeConv2D(Operator):
    """Adjoint of conv2d: x [N, H, W, F] and weight [KH, KW, F, C] to [N, size..., C].

    Result [n, sy * y + ky - top, sx * x + kx - left, c] collects x [n, y, x, f] * weight [ky, kx, f, c] for all y, x,
    ky, kx, f; `padding` holds (top, bottom), (left, right), of which only top and left matter. Source: Dumoulin and
    Visin, "A guide to convolution arithmetic for deep learning", 2016.
    """

    name = "transpose_conv2d"
    operands = ("x", "weight", "bias?")
    floats_only = True
    attributes = {
        "size": AttributeSpec(tuple, "height and width of the result"),
        "strides": AttributeSpec(tuple, "distance of neighbouring inputs in the result"),
        "padding": AttributeSpec(tuple, "(before, after) in each spatial dimension: rows and columns cut off"),
    }
    contraction = True
    anchor = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, weight, *bias = operands
        if x.rank != 4 or weight.rank != 4 or x.shape[-1] != weight.shape[2]:
            raise ShapeError(f"transpose_conv2d can't apply weight {weight} to {x}")
        if bias and bias[0].shape != weight.shape[-1:]:
            raise ShapeError(f"transpose_conv2d: bias {bias[0]} doesn't fit {weight.shape[-1]} channels")
        size, strides, padding = attributes["size"], attributes["strides"], attributes["padding"]
        if not len(size) == len(strides) == len(padding) == 2 or min(*size, *strides) < 1:
            raise ShapeError("transpose_conv2d needs size, strides and padding for height and width")
        check_pairs(self.name, padding, 2)
        return (TensorType(x.dtype, (x.shape[0], *size, weight.shape[-1])),)

    def phases(self, x: TensorType, weight: TensorType, attributes: Attributes, dimension: int) -> tuple[Phase, ...]:
        """The phases of spatial dimension 0 or 1."""
        stride, size = attributes["strides"][dimension], attributes["size"][dimension]
        return phases_of(weight.shape[dimension], stride, attributes["padding"][dimension][0], size)

    def input_margins(self, operands: Sequence[TensorType], attributes: Attributes) -> tuple[tuple[int, int], ...]:
        x, weight = operands[:2]
        phases = (self.phases(x, weight, attributes, d) for d in range(2))
        return phase_margins(phases, x.shape[1:-1])

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, weight, *bias = operands
        (sy, sx), padding, (height, width) = attributes["strides"], attributes["padding"], attributes["size"]
        kh, kw = weight.shape[:2]
        n, h, w, _ = x.shape
        top, left = padding[0][0], padding[1][0]
        rows, columns = max((h - 1) * sy + kh, top + height), max((w - 1) * sx + kw, left + width)
        full: Any = np.zeros((n, rows, columns, weight.shape[-1]), x.dtype)
        for ky, kx in np.ndindex(*((kh, kw) if x.size else (0, 0))):
            full[:, ky : ky + (h - 1) * sy + 1 : sy, kx : kx + (w - 1) * sx + 1 : sx] += x @ weight[ky, kx]
        y = full[:, top : top + height, left : left + width]
        return (y + bias[0] if bias else y,)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        kh, kw, features, _ = c.type(1).shape
        n, *place, channel = index

        def term(r: tuple[Expr, ...]) -> Expr:
            *taps, feature = r
            inputs: list[Expr] = []
            hit: Expr | None = None
            for o, k, stride, (before, _) in zip(
                place, taps, attributes["strides"], attributes["padding"], strict=True
            ):
                position = o + before - k
                inputs.append(position // stride)
                if stride > 1:
                    test = Binary("eq", position % stride, Const(0))
                    hit = test if hit is None else Binary("and", hit, test)
            element = c.load_padded(0, (n, *inputs, feature), 0.0)
            if hit is not None:
                element = Select(c.splat(hit), element, c.splat(Const(0.0, c.type(0).dtype)))
            return element * c.load(1, (*taps, feature, channel))

        bias = (lambda total: total + c.load(2, (channel,))) if c.count > 2 else None
        return Reduction("add", (kh, kw, features), term, bias)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return operands[0].size * operands[1].shape[0] * operands[1].shape[1] * operands[1].shape[3]

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,) = cotangents
        x, weight, *bias = op.operands
        # The convolution that this is the adjoint of. Its last windows lie outside x where the result has rows or
        # columns that no input reaches.
        padding, surplus = [], []
        for d, (stride, (before, _)) in enumerate(zip(op.attributes["strides"], op.attributes["padding"], strict=True)):
            reached = (x.type.shape[1 + d] - 1) * stride + weight.type.shape[d] - before
            after = max(reached - dy.type.shape[1 + d], 0)
            padding.append((before, after))
            surplus.append((dy.type.shape[1 + d] + after - reached) // stride)
        window = {"strides": op.attributes["strides"], "padding": tuple(padding), "dilations": (1, 1)}
        filters = b.emit("transpose", weight, permutation=(0, 1, 3, 2))
        dx = b.emit("conv2d", dy, filters, **window)
        if any(surplus):
            dx = b.emit("slice", dx, begin=(0, 0, 0, 0), size=x.type.shape)
            x = b.emit("pad", x, padding=((0, 0), *((0, n) for n in surplus), (0, 0)))
        dfilters = b.emit("conv2d_weight_gradient", dy, x, kernel=weight.type.shape[:2], **window)
        dweight = b.emit("transpose", dfilters, permutation=(0, 1, 3, 2))
        return dx, dweight, *(sum_to(b, dy, v.type.shape) for v in bias)
