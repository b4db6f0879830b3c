"""The arithmetic of batch normalisation in inference, written as operations on its parameters."""

from __future__ import annotations

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.reductions.normalization import BatchNorm
from ..types import DType

Numbers = dict[tuple[float, DType], Value]
"""Constants of rank 0, so that a deep network has one for all its layers."""


def scale_of(b: Rewriter, op: Operation, numbers: Numbers | None = None) -> Value:
    """Gamma / sqrt(variance + eps) of a batch_norm, for each channel; eps is one of `numbers`, or joins them.

    A square root and a division, each rounded once, lose less than a reciprocal square root followed by a product.
    """
    gamma, variance = b[op.operands[1]], b[op.operands[4]]
    number = op.attributes["eps"], variance.type.dtype
    eps = numbers.get(number) if numbers is not None else None
    if eps is None:
        eps = b.scalar(*number, op.location)
        if numbers is not None:
            numbers[number] = eps
    deviation = b.emit("sqrt", b.emit("add", variance, eps, location=op.location), location=op.location)
    return b.emit("div", gamma, deviation, location=op.location)


def shift_of(b: Rewriter, op: Operation, scale: Value, bias: Value | None = None) -> Value:
    """Beta + (bias - mean) * scale: what a batch_norm adds, for each channel, after a bias of what goes into it.

    Bias and mean are subtracted first because they are often close to each other.
    """
    beta, mean = b[op.operands[2]], b[op.operands[3]]
    if bias is None:
        return b.emit("sub", beta, b.emit("mul", mean, scale, location=op.location), location=op.location)
    centred = b.emit("sub", bias, mean, location=op.location)
    return b.emit("add", b.emit("mul", centred, scale, location=op.location), beta, location=op.location)


def alone_as_convolutions(graph: Graph) -> Graph:
    """The graph with each batch_norm of pictures that can't be folded as a depthwise convolution with 1x1 windows.

    In 8 bits it has a scale for each channel and a sum of 32 bits; a product and a sum by themselves share one range
    among all channels and round twice.

    Before::

        %0 = batch_norm(%x, %gamma, %beta, %mean, %variance) : f32[1,8,8,6]

    After::

        %0 = reshape(div(%gamma, sqrt(add(%variance, eps)))) {shape = [1,1,1,6]}
        %1 = conv2d(%x, %0, sub(%beta, mul(%mean, %0))) {groups = 6} : f32[1,8,8,6]
    """

    def convolution(b: Rewriter, op: Operation) -> Value | None:
        if not isinstance(op.operator, BatchNorm) or op.operands[0].type.rank != 4:
            return None
        channels = op.operands[0].type.shape[-1]
        scale = scale_of(b, op)
        shift = shift_of(b, op, scale)
        weight = b.emit("reshape", scale, shape=(1, 1, 1, channels), location=op.location)
        attributes = {"strides": (1, 1), "padding": "valid", "dilations": (1, 1), "groups": channels}
        x = b[op.operands[0]]
        return b.emit("conv2d", x, weight, shift, location=op.location, name=op.result.name, **attributes)

    return rewritten(graph, convolution)
