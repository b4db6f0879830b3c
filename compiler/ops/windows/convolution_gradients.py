"""The two other bilinear operators of convolution: cotangents of its input and of its weight.

With y = conv(x, weight), the number <conv(x, weight), dy> is linear in x, weight and dy. `conv`, `input_gradient`
and `weight_gradient` are its derivatives with respect to dy, x and weight, so that the three are closed under
differentiation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Expr, Select, const
from ...types import TensorType
from .convolution import WINDOW_ATTRIBUTES
from .transpose_convolution import exchanged
from .window import Window, sums_of_products, window_of


class ConvolutionGradient(Operator):
    """What both have in common: the window is that of the convolution, whose attributes they carry."""

    floats_only = True
    internal = True
    anchor = True
    spatial: ClassVar[int]

    @property
    def convolution(self) -> str:
        """The operator that this is a derivative of."""
        return f"conv{self.spatial}d"

    def check(self, x: tuple[int, ...], weight: tuple[int, ...], dy: TensorType, attributes: Attributes) -> Window:
        """The window; raises `ShapeError` unless a convolution of these shapes gives dy's."""
        groups = attributes["groups"]
        if groups < 1:
            raise ShapeError(f"{self.name} can't have {groups} groups")
        window = window_of(self.name, x[1:-1], weight[:-2], attributes)
        if dy.shape != (x[0], *window.output, weight[-1]) or weight[-1] % groups or weight[-2] * groups != x[-1]:
            raise ShapeError(
                f"{self.name}: {groups} group(s) of {list(x)} and weight {list(weight)} don't give {dy}",
                hint=f"{self.convolution} gives {list(window.output)} places there",
            )
        return window

    def check_ranks(self, *operands: TensorType) -> None:
        """Raise `ShapeError` unless the operands have the rank of images and weights."""
        for operand in operands:
            if operand.rank != self.spatial + 2:
                raise ShapeError(f"{self.name} takes tensors of rank {self.spatial + 2}, not {operand}")


def _group(tensor: Array, group: int, groups: int) -> Array:
    """The part of the last dimension that belongs to a group."""
    size = tensor.shape[-1] // groups
    return tensor[..., group * size : (group + 1) * size]


class InputGradient(ConvolutionGradient):
    """Base: dy [N, output..., F], weight [kernel..., C / groups, F] to [N, size..., C]."""

    operands = ("dy", "weight")
    attributes = {"size": AttributeSpec(tuple, "spatial size of the convolution's input"), **WINDOW_ATTRIBUTES}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        dy, weight = operands
        self.check_ranks(dy, weight)
        x = (dy.shape[0], *attributes["size"], weight.shape[-2] * attributes["groups"])
        self.check(x, weight.shape, dy, attributes)
        return (TensorType(dy.dtype, x),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        dy, weight = operands
        groups, last = attributes["groups"], self.spatial + 1
        window = window_of(self.name, attributes["size"], weight.shape[:-2], attributes)
        parts = []
        for g in range(groups):
            products = sums_of_products(_group(dy, g, groups), _group(weight, g, groups), ((-1,), (-1,)))
            parts.append(window.scatter(np.moveaxis(products, -1, last)))  # [N, output..., C, kernel...]
        return (np.concatenate(parts, axis=-1).astype(dy.dtype, copy=False),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        weight, groups = c.type(1).shape, attributes["groups"]
        window = window_of(self.name, attributes["size"], weight[:-2], attributes)
        channels, filters = weight[-2], weight[-1] // groups
        n, *place, ch = index
        first = ch // channels * filters if groups > 1 else 0
        channel = ch % channels if groups > 1 else ch

        def term(r: tuple[Expr, ...]) -> Expr:
            *candidate, f = r
            window_there = window.covering(place, candidate)
            dy = c.load(0, (n, *window_there.out, first + f))
            kept = Select(c.splat(window_there.valid), dy, const(0, dy.type))
            return kept * c.load(1, (*window_there.element, channel, first + f))

        return Reduction("add", (*window.reach, filters), term)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        """The transposed convolution that it is."""
        dy, weight = operands
        window = window_of(self.name, attributes["size"], weight.type.shape[:-2], attributes)
        given = {key: attributes[key] for key in ("size", "strides", "dilations", "groups")}
        filters = exchanged(b, weight, attributes["groups"])
        return b.emit(f"transpose_conv{self.spatial}d", dy, filters, padding=window.padding, **given)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return operands[0].size * math.prod(operands[1].shape[:-1])

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dx,) = cotangents
        weight = op.operands[1]
        convolved = {k: v for k, v in op.attributes.items() if k != "size"}
        kernel = weight.type.shape[: self.spatial]
        return (
            b.emit(self.convolution, dx, weight, **convolved),
            b.emit(f"{self.convolution}_weight_gradient", dx, op.operands[0], kernel=kernel, **convolved),
        )


class WeightGradient(ConvolutionGradient):
    """Base: x [N, size..., C], dy [N, output..., F] to [kernel..., C / groups, F]."""

    anchor = False  # kernels add to the result block by block, so nothing can be done with it in registers
    operands = ("x", "dy")
    attributes = {"kernel": AttributeSpec(tuple, "extent of the window"), **WINDOW_ATTRIBUTES}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, dy = operands
        self.check_ranks(x, dy)
        weight = (*attributes["kernel"], x.shape[-1] // max(attributes["groups"], 1), dy.shape[-1])
        self.check(x.shape, weight, dy, attributes)
        return (TensorType(x.dtype, weight),)

    def input_margins(self, operands: Sequence[TensorType], attributes: Attributes) -> tuple[tuple[int, int], ...]:
        return window_of(self.name, operands[0].shape[1:-1], attributes["kernel"], attributes).margins

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, dy = operands
        groups = attributes["groups"]
        window = window_of(self.name, x.shape[1:-1], attributes["kernel"], attributes)
        axes = tuple(range(self.spatial + 1))
        parts = []
        for g in range(groups):
            patches = window.patches(_group(x, g, groups), 0)  # [N, output..., C, kernel...]
            products = sums_of_products(patches, _group(dy, g, groups), (axes, axes))
            parts.append(np.moveaxis(products, 0, -2))
        return (np.concatenate(parts, axis=-1).astype(x.dtype, copy=False),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        x, dy, groups = c.type(0).shape, c.type(1).shape, attributes["groups"]
        window = window_of(self.name, x[1:-1], attributes["kernel"], attributes)
        channels, filters = x[-1] // groups, dy[-1] // groups
        *element, ch, f = index
        channel = f // filters * channels + ch if groups > 1 else ch

        def term(r: tuple[Expr, ...]) -> Expr:
            n, *out = r
            place = window.input_index(out, element)
            return c.load_padded(0, (n, *place, channel), 0.0) * c.load(1, (n, *out, f))

        return Reduction("add", (x[0], *window.output), term)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return operands[1].size * math.prod(results[0].shape[:-1])

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dweight,) = cotangents
        x, dy = op.operands
        convolved = {k: v for k, v in op.attributes.items() if k != "kernel"}
        return (
            b.emit(f"{self.convolution}_input_gradient", dy, dweight, size=x.type.shape[1:-1], **convolved),
            b.emit(self.convolution, x, dweight, **convolved),
        )


@register
class Conv1DInputGradient(InputGradient):
    """Cotangent of conv1d's x from dy [N, W, F] and the weight."""

    name = "conv1d_input_gradient"
    spatial = 1


@register
class Conv2DInputGradient(InputGradient):
    """Cotangent of conv2d's x from dy [N, H, W, F] and the weight."""

    name = "conv2d_input_gradient"
    spatial = 2


@register
class Conv3DInputGradient(InputGradient):
    """Cotangent of conv3d's x from dy [N, D, H, W, F] and the weight."""

    name = "conv3d_input_gradient"
    spatial = 3


@register
class Conv1DWeightGradient(WeightGradient):
    """Cotangent of conv1d's weight from x [N, W, C] and dy [N, W, F]."""

    name = "conv1d_weight_gradient"
    spatial = 1


@register
class Conv2DWeightGradient(WeightGradient):
    """Cotangent of conv2d's weight from x [N, H, W, C] and dy [N, H, W, F]."""

    name = "conv2d_weight_gradient"
    spatial = 2


@register
class Conv3DWeightGradient(WeightGradient):
    """Cotangent of conv3d's weight from x [N, D, H, W, C] and dy [N, D, H, W, F]."""

    name = "conv3d_weight_gradient"
    spatial = 3
