"""Statistics of channels, for batch normalisation in training."""

from __future__ import annotations

import math

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Expr
from ...types import TensorType
from ..gradients import scaled
from .reduction import check_some


@register
class ChannelVariance(Operator):
    """Mean of (x - mean)^2 for each channel (the last dimension), given the mean of each channel of x.

    Two passes over x, but no cancellation. The derivative with respect to the mean is zero at the mean, so the
    gradient rule is that of x alone.
    """

    name = "channel_variance"
    operands = ("x", "mean")
    floats_only = True
    anchor = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, mean = operands
        if x.rank < 1 or mean.dense() != TensorType(x.dtype, x.shape[-1:]):
            raise ShapeError(f"channel_variance: the mean {mean} doesn't fit the channels of {x}")
        check_some(self, x, tuple(range(x.rank - 1)))
        return (mean.dense(),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, mean = operands
        deviation: Array = x - mean
        return (np.asarray(np.mean(deviation * deviation, axis=tuple(range(x.ndim - 1))), x.dtype),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        x = c.type(0)
        mean = c.load(1, index)

        def squared_deviation(r: tuple[Expr, ...]) -> Expr:
            deviation = c.load(0, (*r, *index)) - mean
            return deviation * deviation

        share = 1 / math.prod(x.shape[:-1])
        return Reduction("add", x.shape[:-1], squared_deviation, lambda total: total * share)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        x, mean = op.operands
        slope = scaled(b, cotangents[0], 2 / math.prod(x.type.shape[:-1]))
        return b.emit("mul", b.emit("sub", x, mean), slope), None
