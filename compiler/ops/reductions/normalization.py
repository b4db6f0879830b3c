"""Batch normalisation and dropout: operators that training and inference see differently."""

from __future__ import annotations

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Expr, Unary
from ...types import TensorType
from ..core import PassThrough
from ..facets import PERMUTED, Permuted
from ..gradients import scaled, sum_to
from ..layer import LayerBuilder, layer
from ..moves.axes import Permutation


@register
class BatchNorm(Operator):
    """(x - mean) * (gamma / sqrt(variance + eps)) + beta, for each channel (the last dimension).

    Source: Ioffe and Szegedy, "Batch Normalization", 2015 (with running statistics, as in inference).
    """

    name = "batch_norm"
    memory_bound = True
    operands = ("x", "gamma", "beta", "mean", "variance")
    floats_only = True
    attributes = {
        "eps": AttributeSpec((int, float), "added to the variance", 1e-5),
        "momentum": AttributeSpec((int, float), "share of the new batch in the running statistics", 0.1),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, *channels = operands
        for name, operand in zip(self.operands[1:], channels, strict=True):
            if operand.shape != x.shape[-1:]:
                raise ShapeError(f"batch_norm: {name} {operand} doesn't fit the {x.shape[-1]} channels of {x}")
        return (x.dense(),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, gamma, beta, mean, variance = operands
        eps = np.asarray(attributes["eps"], x.dtype)
        return ((x - mean) * (gamma / np.sqrt(variance + eps)) + beta,)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        gamma, beta, mean, variance = (c.load(i, index[-1:]) for i in range(1, 5))
        deviation = Unary("sqrt", variance + float(attributes["eps"]))
        return (c.load(0, index) - mean) * (gamma / deviation) + beta

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value | None:
        # One division for each channel instead of one for each element.
        x, gamma, beta, mean, variance = operands
        shifted = b.emit("add", variance, b.scalar(attributes["eps"], x.type.dtype))
        scale = b.emit("div", gamma, b.emit("sqrt", shifted))
        return b.emit("add", b.emit("mul", b.emit("sub", x, mean), scale), beta)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,) = cotangents
        x, gamma, _, mean, variance = op.operands
        channels = gamma.type.shape
        shifted = b.emit("add", variance, b.scalar(op.attributes["eps"], x.type.dtype))
        deviation = b.emit("sqrt", shifted)
        scale = b.emit("div", gamma, deviation)
        dbeta = sum_to(b, dy, channels)
        centred = b.emit("sub", x, mean)
        dgamma = b.emit("div", sum_to(b, b.emit("mul", dy, centred), channels), deviation)
        dvariance = scaled(b, b.emit("div", b.emit("mul", gamma, dgamma), shifted), -0.5)
        return b.emit("mul", dy, scale), dgamma, dbeta, b.emit("neg", b.emit("mul", dbeta, scale)), dvariance


@layer("batch_norm")
def batch_norm(b: LayerBuilder, x: Value, eps: float = 1e-5, momentum: float = 0.1) -> Value:
    """Normalise each channel to mean beta and deviation gamma."""
    if x.type.rank < 2:
        raise ShapeError(f"batch_norm takes [N, ..., channels], not {x.type}")
    channels = x.type.shape[-1:]
    return b.emit(
        "batch_norm",
        x,
        b.param("weight", channels, init="ones"),
        b.param("bias", channels, init="zeros"),
        b.param("running_mean", channels, init="zeros", trainable=False),
        b.param("running_var", channels, init="ones", trainable=False),
        eps=eps,
        momentum=momentum,
    )


@layer("batch_normalize")
def batch_normalize(
    b: LayerBuilder,
    x: Value,
    gamma: Value,
    beta: Value,
    mean: Value,
    variance: Value,
    eps: float = 1e-5,
    momentum: float = 0.1,
) -> Value:
    """Normalise each channel by given statistics: `batch_norm` with tensors in place of parameters of its own."""
    return b.emit("batch_norm", x, gamma, beta, mean, variance, eps=eps, momentum=momentum)


@register
class Dropout(PassThrough):
    """Zero a random share `rate` of the elements while training; inference passes x on.

    Elements that differ only in the dimensions `shared` stay or go together.
    Source: Srivastava et al., "Dropout", 2014.
    """

    name = "dropout"
    attributes = {
        "rate": AttributeSpec((int, float), "share of elements that is dropped, 0 <= rate < 1"),
        "shared": AttributeSpec(tuple, "dimensions along which one draw holds", ()),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        if not 0 <= attributes["rate"] < 1:
            raise ShapeError(f"dropout rate must lie in 0 <= rate < 1, not {attributes['rate']}")
        if any(not 0 <= d < operands[0].rank for d in attributes["shared"]):
            raise ShapeError(f"dropout: {operands[0]} hasn't all dimensions of {list(attributes['shared'])}")
        return super().infer(operands, attributes)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        return cotangents

    def while_training(self, rate: float) -> tuple[float, float, float]:
        """What stands for a dropped element; factor and summand of the others."""
        return 0.0, 1 / (1 - rate), 0.0


SATURATION = 1.0507009873554805 * 1.6732632423543772
"""Minus the limit of selu toward minus infinity."""


@register
class AlphaDropout(Dropout):
    """Replace a random share `rate` of the elements by selu's lower limit while training; inference passes x on.

    Then all are brought back to the mean 0 and the variance 1 that they had. Elements that differ only in the
    dimensions `shared` stay or go together. Source: Klambauer et al., "Self-normalizing neural networks", 2017.
    """

    name = "alpha_dropout"

    def while_training(self, rate: float) -> tuple[float, float, float]:
        factor = ((1 - rate) * (1 + rate * SATURATION**2)) ** -0.5
        shift = factor * rate * SATURATION
        return shift - factor * SATURATION, factor, shift


def _shared_moves(operands: tuple[TensorType, ...], attributes: Attributes, permutation: Permutation) -> Permuted:
    moved = {**attributes, "shared": tuple(sorted(permutation.index(d) for d in attributes["shared"]))}
    return Permuted(moved, permutation, (permutation,))


PERMUTED.add(_shared_moves, Dropout)


@layer("spatial_dropout")
def spatial_dropout(b: LayerBuilder, x: Value, rate: float) -> Value:
    """Drop whole channels of a sample while training (Tompson et al., "Efficient object localization", 2015)."""
    return b.emit("dropout", x, rate=rate, shared=tuple(range(1, x.type.rank - 1)))


@layer("stochastic_depth")
def stochastic_depth(b: LayerBuilder, x: Value, rate: float) -> Value:
    """Drop whole samples of a residual branch while training (Huang et al., "Deep networks with stochastic depth")."""
    return b.emit("dropout", x, rate=rate, shared=tuple(range(1, x.type.rank)))
