"""Operators of ONNX Runtime's own domain that its quantizer writes: of quantized tensors, to and from them.

Source: ONNX Runtime's list of contributed operators. Each is the operator on the numbers that the integers stand for,
quantized again.
"""

from __future__ import annotations

from ....compiler.graph.ir import Value
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx
from .convolutions import product
from .indexing import trilu
from .pooling import Windows, largest_of_windows, mean_of_windows
from .quantized import (
    again,
    bias_of,
    centred,
    dequantize_linear,
    dynamic_bytes,
    qlinear_conv,
    quantize_linear,
    reals,
)
from .sampling import grid_sample

DOMAIN = "com.microsoft"

onnx("QuantizeLinear", domain=DOMAIN)(quantize_linear)
onnx("DequantizeLinear", domain=DOMAIN)(dequantize_linear)
onnx("QLinearConv", domain=DOMAIN)(qlinear_conv)
onnx("GridSample", domain=DOMAIN)(grid_sample)
onnx("Trilu", domain=DOMAIN)(trilu)


def _real(c: Node, place: int = 0) -> Value:
    return reals(c, place, DType.F32)


@onnx("QLinearAdd", domain=DOMAIN)
def qlinear_add(c: Node) -> Value:
    """Sum of two quantized tensors."""
    return again(c, c.emit("add", _real(c), _real(c, 3)), 6)


@onnx("QLinearMul", domain=DOMAIN)
def qlinear_mul(c: Node) -> Value:
    """Product of two quantized tensors."""
    return again(c, c.emit("mul", _real(c), _real(c, 3)), 6)


@onnx("QLinearSigmoid", domain=DOMAIN)
def qlinear_sigmoid(c: Node) -> Value:
    """Logistic function."""
    return again(c, c.emit("sigmoid", _real(c)), 3)


@onnx("QLinearLeakyRelu", domain=DOMAIN)
def qlinear_leaky_relu(c: Node) -> Value:
    """X, times alpha below zero."""
    return again(c, c.emit("leaky_relu", _real(c), alpha=float(c.attribute("alpha", 0.01))), 3)


@onnx("QLinearSoftmax", domain=DOMAIN)
def qlinear_softmax(c: Node) -> Value:
    """Softmax, over one axis or, by the operator sets before 13, from it on."""
    x = _real(c)
    shape = x.type.shape
    axis = c.axis(int(c.attribute("axis", -1)), x.type.rank)
    if int(c.attribute("opset", 13)) < 13:
        size = 1
        for length in shape[axis:]:
            size *= length
        flat = c.emit("softmax", c.reshape(x, (*shape[:axis], size)), axis=axis)
        return again(c, c.reshape(flat, shape), 3)
    return again(c, c.emit("softmax", x, axis=axis), 3)


@onnx("QLinearGlobalAveragePool", domain=DOMAIN)
def qlinear_global_average_pool(c: Node) -> Value:
    """Mean of each channel."""
    x = _real(c)
    rank = x.type.rank
    spatial = tuple(range(1, rank - 1)) if c.flag("channels_last") else tuple(range(2, rank))
    return again(c, c.emit("reduce_mean", x, axes=spatial, keepdims=True), 3)


@onnx("QLinearAveragePool", domain=DOMAIN)
def qlinear_average_pool(c: Node) -> Value:
    """Mean of each window."""
    is_last, counts = c.flag("channels_last"), c.flag("count_include_pad")
    x, windows = _real(c) if is_last else c.channels_last(_real(c)), Windows(c, is_last=is_last)
    windows.counted = windows.padding  # also what rounding up adds, unlike in AveragePool
    y = mean_of_windows(c, x, windows, counts=counts)
    return again(c, y if is_last else c.channels_first(y), 3)


@onnx("NhwcMaxPool", domain=DOMAIN)
def nhwc_max_pool(c: Node) -> Value:
    """Largest byte of each window of [N, H, W, C]."""
    return largest_of_windows(c, c.value(0), Windows(c, is_last=True))


@onnx("QLinearConcat", domain=DOMAIN)
def qlinear_concat(c: Node) -> Value:
    """Tensors of different scales, joined along an axis."""
    parts = [_real(c, place) for place in range(2, c.count, 3)]
    axis = c.axis(int(c.needed("axis")), parts[0].type.rank)
    return again(c, c.emit("concat", *parts, axis=axis), 0, operand=2)


@onnx("QGemm", domain=DOMAIN)
def qgemm(c: Node) -> Value:
    """Alpha * A' * B' + C, where A' and B' may be transposed, and C has the scale of the product."""
    a, b = _real(c), reals(c, 3, DType.F32, 0 if c.flag("transB") else 1)
    a = c.transpose(a, (1, 0)) if c.flag("transA") else a
    y = c.emit("dense", a, c.transpose(b, (1, 0)) if c.flag("transB") else b)
    alpha = float(c.attribute("alpha", 1.0))
    y = y if alpha == 1 else c.emit("mul", y, c.scalar(alpha, y))
    if c.has(6):
        added = bias_of(c, 6, DType.F32)
        y = c.emit("add", y, added if alpha == 1 else c.emit("mul", added, c.scalar(alpha, added)))
    return again(c, y, 7) if c.has(7) else y


@onnx("QLinearWhere", domain=DOMAIN)
def qlinear_where(c: Node) -> Value:
    """Elements of one of two tensors, as a condition says."""
    return again(c, c.emit("select", c.value(0), _real(c, 1), _real(c, 4)), 7, operand=1)


# ---- floats from products of bytes ----------------------------------------------------------------------------------


def as_floats(c: Node, left: tuple[int, int], right: tuple[int, int], scales: tuple[int, int], bias: int) -> Value:
    """A product of matrices of bytes as floats: inputs and their zero points by place, both scales, a bias."""
    sums = product(c, centred(c, *left, -2), centred(c, *right, -1), is_weight=c.known(right[0]) is not None)
    scale = c.emit("mul", *(_of_columns(c, c.value(place)) for place in scales))
    return _scaled(c, sums, scale, bias)


def _of_columns(c: Node, scale: Value) -> Value:
    return c.reshape(scale, ()) if scale.type.size == 1 else scale


def _scaled(c: Node, sums: Value, scale: Value, bias: int) -> Value:
    y = c.emit("mul", c.cast(c.cast(sums, DType.I32), DType.F32), scale)
    return c.emit("add", y, c.value(bias)) if c.has(bias) else y


@onnx("MatMulIntegerToFloat", domain=DOMAIN)
def matmul_integer_to_float(c: Node) -> Value:
    """A product of matrices of bytes, times both scales, plus a bias."""
    return as_floats(c, (0, 4), (1, 5), (2, 3), 6)


@onnx("DynamicQuantizeMatMul", domain=DOMAIN)
def dynamic_quantize_matmul(c: Node) -> Value:
    """Floats, as bytes on a scale of their own, times a matrix of bytes, plus a bias."""
    whole, zero, scale = dynamic_bytes(c, c.value(0))
    # A byte, so that `sum-bytes` knows what is taken away.
    left = c.emit("sub", c.cast(whole, DType.F64), c.cast(c.cast(zero, DType.U8), DType.F64))
    sums = product(c, left, centred(c, 1, 3, -1), is_weight=c.known(1) is not None)
    return _scaled(c, sums, c.emit("mul", scale, _of_columns(c, c.value(2))), 4)
