"""Rows scaled to length 1, and channels scaled by their neighbours' squares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import NetcError, ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ...graph.registry import register
from ...types import Quantization, TensorType
from ..facets import EDGETPU, INTEGER, PERMUTED, TFLITE, IntegerForm, Permuted, TfliteForm, along_axis, reads
from ..gradients import scaled, where
from ..moves.axes import Permutation
from ..quantized.rows import QL2Normalize
from ..rules import version
from .reduction import check_some, normalize_axis

SHORTEST = 1e-6
"""TensorFlow doesn't make rows longer that are shorter than this."""


@register
class L2Normalize(Operator):
    """x / max(sqrt(sum(x^2)), eps) along an axis; eps is that of TensorFlow (PyTorch's is 1e-12)."""

    name = "l2_normalize"
    fixed_scale = Quantization.of(1 / 128, 0)
    operands = ("x",)
    floats_only = True
    attributes = {
        "axis": AttributeSpec(int, "dimension along which the results have length 1", -1),
        "eps": AttributeSpec((int, float), "rows shorter than this are divided by it", SHORTEST),
    }

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return -1.0, 1.0

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_some(self, operands[0], (normalize_axis(self.name, attributes["axis"], operands[0].rank),))
        return (operands[0].dense(),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        length = np.sqrt((x * x).sum(axis=attributes["axis"], keepdims=True))
        return (x / np.maximum(length, np.asarray(attributes["eps"], x.dtype)),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        return b.emit("div", operands[0], self._divisor(b, operands[0], attributes)[0])

    def _divisor(self, b: Builder, x: Value, attributes: Attributes) -> tuple[Value, Value]:
        """The number that each row is divided by, and its length."""
        length = b.emit("sqrt", b.emit("reduce_sum", b.emit("mul", x, x), axes=(attributes["axis"],), keepdims=True))
        return b.emit("maximum", length, b.scalar(attributes["eps"], x.type.dtype)), length

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,), (x,) = cotangents, op.operands
        divisor, length = self._divisor(b, x, op.attributes)
        along = b.emit("reduce_sum", b.emit("mul", dy, op.result), axes=(op.attributes["axis"],), keepdims=True)
        is_long = b.emit("greater", length, b.scalar(op.attributes["eps"], x.type.dtype))
        return (b.emit("div", b.emit("sub", dy, b.emit("mul", op.result, where(b, is_long, along))), divisor),)


def _is_last(op: Operation) -> bool:
    rank = op.operands[0].type.rank
    return normalize_axis(op.name, op.attributes.get("axis", -1), rank) == rank - 1


def _integer(q: Any, op: Operation) -> Value:
    if not _is_last(op):
        hint = "transpose the tensor first, or keep this one in floats"
        raise NetcError("l2_normalize on integers runs over the last dimension", location=op.location, hint=hint)
    (x,) = op.operands
    result: Value = q.emit(op, "q_l2_normalize", q.integer(x), x=q.scale(x), y=q.scale(op.result))
    return result


def _predict_l2(c: Any, op: Operation, operands: list[Any]) -> None:
    """L2_NORMALIZATION where that can be written, else something that doesn't map."""
    if _is_last(op) and op.attributes["eps"] == SHORTEST:
        c.plain(op, operands)
    else:
        c.unknown(op, operands)


def _write_l2(c: Any, op: Operation) -> None:
    if not _is_last(op):
        c.fail(op, "TFLite's L2_NORMALIZATION runs over the last dimension", "transpose the tensor first")
    if op.attributes.get("eps", SHORTEST) != SHORTEST:
        c.fail(op, f"TFLite's L2_NORMALIZATION has an eps of {SHORTEST}", f"use eps = {SHORTEST}")
    c.node("L2_NORMALIZATION", [c.place(op.operands[0])], [c.result(op)], "L2NormOptions", version(op, 1, 2))


def _read_l2(c: Any) -> Value:
    x = c.value(0)
    if c.is_quantized:
        c.check_form(0)
        quantized: Value = c.emit("q_l2_normalize", x, x=c.quantization(0), y=c.output_quantization())
        return quantized
    result: Value = c.activated(c.emit("l2_normalize", x, axis=-1))
    return result


EDGETPU.add(_predict_l2, L2Normalize)
INTEGER.add(IntegerForm(_integer, short=False), L2Normalize)
TFLITE.add(TfliteForm(_write_l2, "L2_NORMALIZATION"), L2Normalize, QL2Normalize)
PERMUTED.add(along_axis, L2Normalize)
reads(_read_l2, "L2_NORMALIZATION")


@register
class LocalResponseNorm(Operator):
    """x * (k + alpha / size * the sum of x^2 over `size` neighbouring channels) ** -beta.

    Channels beyond the ends count as 0; of an even number of neighbours one more stands before. Source: Krizhevsky,
    Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks", 2012; the attributes have
    the meaning that PyTorch and ONNX give them.
    """

    name = "local_response_norm"
    operands = ("x",)
    floats_only = True
    attributes = {
        "size": AttributeSpec(int, "number of neighbouring channels, the channel itself among them"),
        "alpha": AttributeSpec((int, float), "factor of the mean square", 1e-4),
        "beta": AttributeSpec((int, float), "exponent", 0.75),
        "k": AttributeSpec((int, float), "added to the mean square, above 0", 1.0),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        if x.rank < 1 or attributes["size"] < 1 or attributes["k"] <= 0:
            size, k = attributes["size"], attributes["k"]
            raise ShapeError(f"local_response_norm needs channels, size >= 1 and k > 0, not {x}, {size} and {k}")
        return (x.dense(),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        size, channels = attributes["size"], x.shape[-1]
        squares = np.pad(x * x, (*((0, 0),) * (x.ndim - 1), (size // 2, (size - 1) // 2)))
        total = sum((squares[..., i : i + channels] for i in range(1, size)), squares[..., :channels])
        base = total * x.dtype.type(attributes["alpha"] / size) + x.dtype.type(attributes["k"])
        return ((x * base ** x.dtype.type(-attributes["beta"])).astype(x.dtype),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        return b.emit("mul", operands[0], _power(b, self._base(b, operands[0], attributes), -attributes["beta"]))

    def _base(self, b: Builder, x: Value, attributes: Attributes) -> Value:
        size = attributes["size"]
        total = _window_sum(b, b.emit("mul", x, x), size // 2, (size - 1) // 2)
        return b.emit("add", scaled(b, total, attributes["alpha"] / size), b.scalar(attributes["k"], x.type.dtype))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (dy,), (x,), attributes = cotangents, op.operands, op.attributes
        size, beta = attributes["size"], attributes["beta"]
        base = self._base(b, x, attributes)
        share = b.emit("mul", b.emit("mul", dy, x), _power(b, base, -beta - 1))
        spread = scaled(b, _window_sum(b, share, (size - 1) // 2, size // 2), 2 * beta * attributes["alpha"] / size)
        return (b.emit("sub", b.emit("mul", dy, _power(b, base, -beta)), b.emit("mul", x, spread)),)


def _window_sum(b: Builder, x: Value, before: int, after: int) -> Value:
    """The sum over neighbouring channels, `before` and `after` of them; those beyond the ends count as 0."""
    padded = b.emit("pad", x, padding=(*((0, 0),) * (x.type.rank - 1), (before, after)), value=0.0)
    begin = (0,) * (x.type.rank - 1)
    total = b.emit("slice", padded, begin=(*begin, 0), size=x.type.shape)
    for i in range(1, before + after + 1):
        total = b.emit("add", total, b.emit("slice", padded, begin=(*begin, i), size=x.type.shape))
    return total


def _power(b: Builder, base: Value, exponent: float) -> Value:
    """A positive number to a negative power; roots where they will do."""
    one = b.scalar(1.0, base.type.dtype)
    quarters = -exponent * 4
    if quarters != math.floor(quarters) or not 1 <= quarters <= 8:
        return b.emit("exp", scaled(b, b.emit("log", base), exponent))
    root = b.emit("sqrt", base)
    factors = [base] * int(quarters // 4)
    factors += [root] if quarters % 4 >= 2 else []
    factors += [b.emit("sqrt", root)] if quarters % 2 else []
    product = factors[0]
    for factor in factors[1:]:
        product = b.emit("mul", product, factor)
    return b.emit("div", one, product)


def _read_lrn(c: Any) -> Value:
    size = 2 * int(c.option("radius", 0)) + 1
    alpha, beta, k = (float(c.option(name, 0.0)) for name in ("alpha", "beta", "bias"))
    if c.is_quantized or k <= 0 or size < 1:
        c.unsupported("only floats, a bias above 0 and a radius of 0 or more are supported")
    result: Value = c.emit("local_response_norm", c.value(0), size=size, alpha=alpha * size, beta=beta, k=k)
    return result


def _channels_last(operands: tuple[TensorType, ...], attributes: Attributes, permutation: Permutation) -> Any:
    stays = permutation[-1] == len(permutation) - 1
    return Permuted(attributes, permutation, (permutation,)) if stays else None


INTEGER.none("TFLite has no kernel for 8 bits", LocalResponseNorm)
TFLITE.none(
    "made of others: LiteRT's two kernels disagree, its reference leaves out the last channel", LocalResponseNorm
)
PERMUTED.add(_channels_last, LocalResponseNorm)
reads(_read_lrn, "LOCAL_RESPONSE_NORMALIZATION")
