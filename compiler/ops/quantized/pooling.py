"""Means of quantized numbers: pooling windows and whole dimensions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ...errors import ScaleError, ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Binary, Cast, Const, Expr, Select, const
from ...types import DType, TensorType
from ..functions.rounding import Let, rounded, rounded_expr
from ..reductions.reduction import ReduceMean, ReduceSum
from ..windows.pooling import POOL_ATTRIBUTES, MaxPool, window_count
from . import fixed_point as fp
from .base import ACTIVATED, INTEGERS, QuantizedOperator, check_activation, check_activations, quantization

_POOL = MaxPool()
_REDUCE, _SUM = ReduceMean(), ReduceSum()


@register
class QAvgPool(QuantizedOperator):
    """Mean of each window, rounded half away from zero; padding is not counted. Scale and zero point stay."""

    name = "q_avg_pool"
    operands = ("x",)
    attributes = {**POOL_ATTRIBUTES, **ACTIVATED}
    keeps_quantization = True
    anchor = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        if x.dtype not in INTEGERS:
            raise ShapeError(f"q_avg_pool takes 8-bit or 16-bit integers, not {x}")
        check_activation(self, x.dtype, x.quantization, attributes)
        return _POOL.infer(operands, attributes)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        window = _POOL.window(x.shape, attributes)
        axes = tuple(range(-len(window.kernel), 0))
        ones = np.ones((1, *x.shape[1:-1], 1), np.int64)
        total = window.patches(x.astype(np.int32), 0).sum(axis=axes, dtype=np.int64)
        mean = _rounded_ratio(total, window.patches(ones, 0).sum(axis=axes))
        return (fp.saturate(mean, DType.of(x.dtype), attributes["low"], attributes["high"]),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        window = _POOL.window(c.type(0).shape, attributes)
        n, *out, ch = index
        dtype = c.type(0).dtype

        def element(r: tuple[Expr, ...]) -> Expr:
            return Cast(c.load_padded(0, (n, *window.input_index(out, r), ch), 0), DType.I32)

        counted = window_count(window)

        def finish(total: Expr) -> Expr:
            count = Const(counted) if isinstance(counted, int) else counted(out)
            mean = _rounded_ratio_expr(c.let, total, c.splat(Cast(count, DType.I32)))
            return fp.saturate_expr(mean, dtype, attributes["low"], attributes["high"])

        return Reduction("add", window.kernel, element, finish, DType.I32)


def _rounded_ratio(total: Array, count: Array) -> Array:
    """The ratio, rounded half away from zero: total and half the count, divided and truncated."""
    size: Array = (np.abs(total) + count // 2) // count
    return np.where(total < 0, -size, size)


def _rounded_ratio_expr(let: Let, total: Expr, count: Expr) -> Expr:
    negative = let(Binary("lt", total, const(0, total.type)))
    size = Select(negative, total * -1, total)
    ratio = let((size + count // 2) // count)
    return Select(negative, ratio * -1, ratio)


_REAL_LIMIT = 1 << 30
"""What sums stay below on their way through f32."""


@register
class QMean(QuantizedOperator):
    """Mean (or sum) over whole dimensions, in fixed point: the division is part of the factor between the scales."""

    name = "q_mean"
    operands = ("x",)
    attributes = {
        "axes": AttributeSpec(tuple, "dimensions that are reduced"),
        "keepdims": AttributeSpec(bool, "keep reduced dimensions with size 1", False),
        "sum": AttributeSpec(bool, "add up without dividing", False),
        "x": quantization("x"),
        "y": quantization("the result"),
    }
    anchor = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        check_activations(self, operands, attributes, "x")
        fp.quantize_multiplier(attributes["x"].scale / attributes["y"].scale)
        (y,) = _REDUCE.infer(operands, attributes)
        self.real_sum(x, x.size // max(y.size, 1), attributes)
        return (TensorType(x.dtype, y.shape, None, attributes["y"]),)

    def factor(self, count: int, attributes: Attributes) -> tuple[int, int]:
        """Multiplier and shift of the sum of `count` elements."""
        multiplier, shift = fp.quantize_multiplier(attributes["x"].scale / attributes["y"].scale)
        if attributes["sum"]:
            return multiplier, shift
        up = min(count.bit_length() - 1, 32, 31 + shift)
        return (multiplier << up) // count, shift - up

    def real_sum(self, x: TensorType, count: int, attributes: Attributes) -> tuple[float, float] | None:
        """Factor and addend in f32 of a sum of signed numbers, as kernels compute it; None for means, and for u8.

        TensorFlow Lite's reference kernel takes the bytes of signed numbers for u8 by mistake; its other one, which
        runs by default, computes in f32. Raises `ScaleError` where the sum is beyond 32-bit integers.
        """
        if not attributes["sum"] or x.dtype is DType.U8:
            return None
        source, target = attributes["x"], attributes["y"]
        scale = np.float32(source.scale) / np.float32(target.scale)
        if not count << 8 * x.dtype.itemsize < _REAL_LIMIT / max(1.0, float(scale)):
            raise ScaleError(
                f"{self.name}: sums on the scale of {target} are beyond 32-bit integers", hint=fp.CALIBRATE
            )
        return float(scale), float(np.float32(-source.zero_point) * scale * np.float32(count))

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        axes = _REDUCE.axes(x.ndim, attributes)
        count = math.prod(x.shape[a] for a in axes)
        real = self.real_sum(TensorType(DType.of(x.dtype), x.shape), count, attributes)
        if real is not None:
            total = np.asarray(x.sum(axis=axes, keepdims=attributes["keepdims"], dtype=np.int64)).astype(np.float32)
            whole = rounded(total * np.float32(real[0]) + np.float32(real[1])).astype(np.int64)
            return (fp.saturate(whole + attributes["y"].zero_point, DType.of(x.dtype)),)
        total = x.sum(axis=axes, keepdims=attributes["keepdims"], dtype=np.int64) - count * attributes["x"].zero_point
        scaled = fp.multiply(total, *self.factor(count, attributes)) + attributes["y"].zero_point
        return (fp.saturate(scaled, DType.of(x.dtype)),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        x = c.type(0)
        inner = _SUM.compute(c, index, {**attributes})
        count = math.prod(inner.extents)

        real = self.real_sum(x, count, attributes)

        def finish(total: Expr) -> Expr:
            if real is not None:
                whole = rounded_expr(c.let, Cast(total, DType.F32) * real[0] + real[1])
                return fp.saturate_expr(Cast(whole, DType.I32) + attributes["y"].zero_point, x.dtype)
            offset = fp.wide(total) - count * attributes["x"].zero_point
            scaled = fp.multiply_expr(c.let, offset, *self.factor(count, attributes)) + attributes["y"].zero_point
            return fp.saturate_expr(scaled, x.dtype)

        return replace(inner, op="add", body=lambda r: Cast(inner.body(r), DType.I32), finish=finish, dtype=DType.I32)
