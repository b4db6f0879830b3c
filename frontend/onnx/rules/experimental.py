"""Operators that ONNX had on trial: converters of Core ML and of Windows used them, and ONNX Runtime still has them."""

from __future__ import annotations

import numpy as np

from ....compiler.graph.ir import Value
from ..node import Node
from ..registry import EXPERIMENTAL, onnx


def _picture(c: Node) -> Value:
    x = c.value(0)
    if x.type.rank != 4:
        c.unsupported(f"{x.type} are no pictures [N, C, H, W]")
    return x


@onnx("ImageScaler", domain=EXPERIMENTAL)
def image_scaler(c: Node) -> Value:
    """Pictures [N, C, H, W] times a number, plus one for each channel."""
    x = _picture(c)
    bias = np.array(c.needed("bias"), x.type.dtype.numpy)
    if len(bias) != x.type.shape[1]:
        c.unsupported(f"{len(bias)} numbers for the channels of {x.type}")
    scaled = c.emit("mul", x, c.scalar(float(c.attribute("scale", 1.0)), x))
    return c.emit("add", scaled, c.made(bias.reshape(-1, 1, 1)))


@onnx("Crop", domain=EXPERIMENTAL)
def crop(c: Node) -> Value:
    """Pictures [N, C, H, W] without a border (left, top, right, bottom), or of a size (height, width) behind it."""
    x = _picture(c)
    left, top, right, bottom = (int(n) for n in c.needed("border"))
    height, width = c.attribute("scale", (x.type.shape[2] - top - bottom, x.type.shape[3] - left - right))
    size = (*x.type.shape[:2], int(height), int(width))
    fits = all(b >= 0 and n > 0 and b + n <= s for b, n, s in zip((top, left), size[2:], x.type.shape[2:], strict=True))
    if not fits:
        c.unsupported(f"{list(size[2:])} from {top}, {left} on is no part of {x.type}")
    return c.emit("slice", x, begin=(0, 0, top, left), size=size)


@onnx("Affine", domain=EXPERIMENTAL)
def affine(c: Node) -> Value:
    """Alpha * x + beta."""
    x = c.value(0)
    alpha, beta = float(c.attribute("alpha", 1.0)), float(c.attribute("beta", 0.0))
    return c.emit("add", c.emit("mul", x, c.scalar(alpha, x)), c.scalar(beta, x))


@onnx("ScaledTanh", domain=EXPERIMENTAL)
def scaled_tanh(c: Node) -> Value:
    """Alpha * tanh(beta * x)."""
    return _scaled(c, "tanh")


@onnx("ParametricSoftplus", domain=EXPERIMENTAL)
def parametric_softplus(c: Node) -> Value:
    """Alpha * softplus(beta * x)."""
    return _scaled(c, "softplus")


def _scaled(c: Node, operator: str) -> Value:
    x = c.value(0)
    alpha, beta = (float(c.needed(name)) for name in ("alpha", "beta"))
    return c.emit("mul", c.emit(operator, c.emit("mul", x, c.scalar(beta, x))), c.scalar(alpha, x))
