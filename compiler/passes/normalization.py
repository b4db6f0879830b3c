"""The arithmetic of batch normalisation in inference, written as operations on its parameters."""

from __future__ import annotations

from ..graph.builder import Rewriter
from ..graph.ir import Operation, Value


def scale_of(b: Rewriter, op: Operation) -> Value:
    """Gamma / sqrt(variance + eps) of a batch_norm, for each channel.

    A square root and a division, each rounded once, lose less than a reciprocal square root followed by a product.
    """
    gamma, variance = b[op.operands[1]], b[op.operands[4]]
    eps = b.scalar(op.attributes["eps"], variance.type.dtype, op.location)
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
