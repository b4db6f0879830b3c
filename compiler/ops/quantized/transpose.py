"""Transposed convolution of quantized numbers.

For lowering it falls into convolutions, one for each phase of the strides, whose results are laid between each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from ...graph.ir import Array, Attributes, Builder, Value
from ...graph.registry import register
from ...loops.compute import Compute, Reduction
from ...loops.ir import Cast, Expr, Select, const
from ...types import DType, TensorType
from ..windows.transpose_convolution import TransposeConv2D
from ..windows.window import Phase
from .base import QuantizedOperator
from .contraction import INTEGER_SUM, ZERO_POINTS, Conv2DSum, IntegerSum
from .scaled_sums import (
    QUANTIZED,
    ROUNDED_PRODUCT,
    check_contraction,
    check_factors,
    evaluate_rescaled,
    rescaled,
    summed,
    sums_type,
)

_FLOAT = TransposeConv2D()
PhasePart = Callable[[Value, Value, dict[str, Any]], Value]
"""What makes the results of a phase, of an input, a weight and the attributes of a convolution with stride 1."""


@register
class TransposeConv2DSum(IntegerSum):
    """Sums of a transposed 2-D convolution of integers: i32."""

    name = "transpose_conv2d_sum"
    attributes = {**TransposeConv2D.attributes, **ZERO_POINTS}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        self.check(operands)
        (y,) = _FLOAT.infer(operands, attributes)
        return (TensorType(DType.I32, y.shape),)

    def total(self, x: Array, weight: Array, attributes: Attributes) -> Array:
        offsets = (x.astype(np.float64) - attributes["x_zero"], weight.astype(np.float64) - attributes["weight_zero"])
        (total,) = _FLOAT.evaluate(offsets, attributes)  # exact: the sums are far below 2^53
        whole: Array = total.astype(np.int64)
        return whole

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Reduction:
        *kernel, features, _ = c.type(1).shape
        n, *place, channel = index
        x_zero: int = attributes["x_zero"]
        weight_zero: int = attributes["weight_zero"]

        def term(r: tuple[Expr, ...]) -> Expr:
            *taps, feature = r
            inputs, hit = _FLOAT.source(place, taps, attributes)
            source = _FLOAT.first_feature(c.type(1), channel, attributes) + feature
            element = Cast(c.load_padded(0, (n, *inputs, source), x_zero), DType.I32) - x_zero
            kept = element if hit is None else Select(c.splat(hit), element, const(0, element.type))
            return kept * (Cast(c.load(1, (*taps, feature, channel)), DType.I32) - weight_zero)

        bias = (lambda total: total + c.load(2, (channel,))) if c.count > 2 else None
        return Reduction("add", (*kernel, features), term, bias, DType.I32)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return _FLOAT.macs(operands, results, attributes)


@register
class QTransposeConv2D(QuantizedOperator):
    """Adjoint of a 2-D convolution, quantized: x [N, H, W, F] and weight [KH, KW, F, C] to [N, size..., C]."""

    name = "q_transpose_conv2d"
    operands = ("x", "weight", "bias?")
    attributes = {**TransposeConv2D.attributes, **QUANTIZED, "rounded_product": ROUNDED_PRODUCT}
    non_differentiable = INTEGER_SUM

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_contraction(self, operands, attributes)
        check_factors(attributes, wide=sums_type(operands[0].dtype, attributes) is DType.I64)
        (y,) = _FLOAT.infer(operands[:2], attributes)
        return (TensorType(operands[0].dtype, y.shape, None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return (evaluate_rescaled(TransposeConv2DSum(), operands, attributes),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        x, weight, *bias = operands
        if not has_whole_phases(weight.type, attributes):
            return rescaled(b, summed(b, TransposeConv2DSum(), operands, attributes), x, attributes)

        def part(inputs: Value, taps: Value, given: dict[str, Any]) -> Value:
            return rescaled(b, summed(b, Conv2DSum(), (inputs, taps, *bias), given), x, attributes)

        return by_phases(b, x, weight, attributes["weight"].zero_points[0], attributes, part)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return _FLOAT.macs(operands, results, attributes)


def _phases(weight: TensorType, attributes: Attributes) -> list[list[Phase]]:
    """Those of each dimension, in the order of their results."""
    return [sorted(side, key=lambda p: p.first_result) for side in _FLOAT.phases(weight, attributes)]


def has_whole_phases(weight: TensorType, attributes: Attributes) -> bool:
    """True if there are results in each phase of the strides, so that `by_phases` can make them."""
    strides: tuple[int, ...] = attributes["strides"]
    return all(len(side) == stride for side, stride in zip(_phases(weight, attributes), strides, strict=True))


def by_phases(b: Builder, x: Value, weight: Value, weight_zero: int, attributes: Attributes, part: PhasePart) -> Value:
    """The results of a transposed convolution of integers, of which `part` makes those of each phase."""
    sides = zip(_phases(weight.type, attributes), x.type.shape[1:-1], strict=True)
    phases = [[_reaching(phase, inputs) for phase in side] for side, inputs in sides]
    whole = tuple(side[0].count for side in phases)
    parts = [
        _part(b, x, _taps(b, weight, phase, weight_zero), phase, whole, attributes, part) for phase in product(*phases)
    ]
    return _interleaved(b, parts, attributes["strides"], attributes["size"])


def _reaching(phase: Phase, inputs: int) -> Phase:
    """A phase that sees some of so many inputs; one without taps in place of others, whose results lie behind them."""
    return phase if phase.first_input < inputs else replace(phase, taps=0, first_input=0)


def _part(
    b: Builder,
    x: Value,
    taps: Value,
    phase: Sequence[Phase],
    whole: tuple[int, ...],
    attributes: Attributes,
    part: PhasePart,
) -> Value:
    """The results of one phase in each dimension, `whole` of them: those of a convolution with stride 1."""
    skipped = (0, *(max(p.first_input, 0) for p in phase), 0)
    x = _cut(b, x, skipped, tuple(n - s for n, s in zip(x.type.shape, skipped, strict=True)))
    padding = []
    for p, inputs, count in zip(phase, x.type.shape[1:-1], whole, strict=True):
        before = max(-p.first_input, 0)
        padding.append((before, max(count + (max(p.taps, 1) - 1) * p.input_step - before - inputs, 0)))
    steps = tuple(p.input_step for p in phase)
    y = part(x, taps, {**attributes, "strides": (1, 1), "padding": tuple(padding), "dilations": steps})
    return _cut(b, y, (0,) * 4, (y.type.shape[0], *whole, y.type.shape[-1]))


def _cut(b: Builder, x: Value, begin: tuple[int, ...], size: tuple[int, ...]) -> Value:
    return x if x.type.shape == size else b.emit("slice", x, begin=begin, size=size)


def _taps(b: Builder, weight: Value, phase: Sequence[Phase], weight_zero: int) -> Value:
    """The weight of one phase; where it has no taps stands what counts as 0."""
    *_, features, channels = weight.type.shape
    if any(not p.taps for p in phase):
        empty = np.full((*(max(p.taps, 1) for p in phase), features, channels), weight_zero)
        return b.constant(empty.astype(weight.type.dtype.numpy))
    size = (*(p.taps for p in phase), features, channels)
    begin, strides = (*(p.first_tap for p in phase), 0, 0), (*(-p.tap_step for p in phase), 1, 1)
    return b.emit("strided_slice", weight, begin=begin, size=size, strides=strides)


def _interleaved(b: Builder, parts: Sequence[Value], strides: tuple[int, int], size: tuple[int, int]) -> Value:
    """The phases [N, H, W, C] between each other, without what is beyond the size."""
    (n, h, w, c), (rows, columns), y = parts[0].type.shape, strides, parts[0]
    if len(parts) > 1:
        y = b.emit("reshape", b.emit("concat", *parts, axis=-1), shape=(n, h, w, rows, columns, c))
        y = b.emit("transpose", y, permutation=(0, 1, 3, 2, 4, 5))
        y = b.emit("reshape", y, shape=(n, h * rows, w * columns, c))
    return _cut(b, y, (0,) * 4, (n, *size, c))
