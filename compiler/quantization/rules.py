"""The integer form of each operator that has one; source: TensorFlow Lite's 8-bit quantization specification."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..errors import NetcError
from ..graph.builder import Rewriter
from ..graph.ir import Attribute, Graph, Operation, Value
from ..ops.conversion import ArgExtremum
from ..ops.differentiation import StopGradient
from ..ops.facets import INTEGER, IntegerForm
from ..ops.functions.activations import activation_of
from ..ops.functions.arithmetic import Abs, Add, Maximum, Minimum, Mul, Sub
from ..ops.functions.clipping import Clamp, LeakyRelu, Relu, Relu6
from ..ops.functions.exponential import Exp
from ..ops.functions.sigmoid import Sigmoid, Tanh
from ..ops.moves.blocks import SpaceToBatchND
from ..ops.moves.indexing import Gather, GatherND, TakeAlongAxis
from ..ops.moves.movement import Movement
from ..ops.moves.shape import BroadcastTo, Concat, Identity, Pad
from ..ops.pictures.resize import ResizeBilinear, ResizeNearest
from ..ops.products.dense import Dense
from ..ops.products.matmul import MatMul
from ..ops.quantized.base import activation_range, integer_of, integer_range
from ..ops.reductions.reduction import LogSoftmax, ReduceMax, ReduceMean, ReduceMin, ReduceSum, Softmax, normalize_axis
from ..ops.rules import integer_table
from ..ops.windows.convolution import Conv2D
from ..ops.windows.pooling import AvgPool, MaxPool
from ..ops.windows.transpose_convolution import TransposeConv2D
from ..ops.windows.window import reads_elements, window_of
from ..types import DType, Quantization
from .bias_correction import shift_of_rounding
from .calibration import Ranges, has_filters
from .quantizer import Quantizer, Scheme
from .scales import (
    bias_to_integers,
    covered,
    ends_of,
    rounding_error,
    wide_bias,
)

LOWEST_PADDING = -1e30
"""Padding from here on is below every activation."""


def quantize(graph: Graph, ranges: Ranges, scheme: Scheme | None = None) -> Graph:
    """The integer graph of a prepared float graph (see `prepare`), whose activations cover `ranges`.

    Raises `NetcError`, located at the operation, for operators without an integer form, and for missing ranges.

    Before::

        %0 = conv2d(%x, %weight, %bias) : f32[1,8,8,4]
        %1 = relu(%0)

    After::

        %0 = q_conv2d(%x, %weight, %bias) {low = -128, high = 127, ...} : i8[1,8,8,4]<0.0235:-128>
    """
    return Quantizer(graph, ranges, scheme or Scheme()).run()


def limits(activation: Operation | None, y: Quantization, dtype: DType = DType.I8) -> dict[str, Attribute]:
    """An activation as attributes of an operator of integers: the range that it leaves, and its name if it has one."""
    if activation is None:
        return activation_range(None, dtype, y)
    name = activation_of(activation)
    if name is not None:
        return activation_range(name, dtype, y)
    low, high = integer_range(*activation.operator.bounds(activation.attributes), dtype, y)
    return {"low": low, "high": high}


def contraction(q: Quantizer, op: Operation) -> Value:
    """conv2d, transpose_conv2d and dense."""
    x, y = q.scale(op.operands[0]), q.scale(q.final(op))
    weight = q.known(op.operands[1])
    bias = q.known(op.operands[2]) if len(op.operands) > 2 else None
    if weight is None or (len(op.operands) > 2 and bias is None):
        raise NetcError(f"the integer form of {op.name} needs constant weights", location=op.location)
    given, rounded = q.weight(op, weight, bias, x, y)
    operands = [q.integer(op.operands[0]), q.constant(rounded, given, op.operands[1].name)]
    means = q.means(op.operands[0]) if has_filters(op) else None
    if means is not None:
        bias = (0 if bias is None else bias) - shift_of_rounding(op, rounding_error(weight, rounded, given), means)
    if bias is not None:
        name = op.operands[2].name if len(op.operands) > 2 else None
        whole = wide_bias(bias, x, given) if q.scheme.short else bias_to_integers(bias, x, given)
        operands.append(q.constant(whole, None, name))
    return q.emit(
        op,
        f"q_{op.name}",
        *operands,
        x=x,
        weight=given,
        y=y,
        **limits(q.fused.get(op), y, q.dtype),
        **op.attributes,
    )


def binary(q: Quantizer, op: Operation) -> Value:
    """add, sub and mul, with scales of their own on all sides."""
    y = q.scale(q.final(op))
    a, b = op.operands
    scales = {"a": q.scale(a), "b": q.scale(b), "y": y}
    return q.emit(op, f"q_{op.name}", q.integer(a), q.integer(b), **scales, **limits(q.fused.get(op), y, q.dtype))


def matmul(q: Quantizer, op: Operation) -> Value:
    """Matmul of two activations, with scales of their own on all sides."""
    a, b = op.operands
    scales = {"a": q.scale(a), "b": q.scale(b), "y": q.scale(op.result)}
    return q.emit(op, "q_matmul", q.integer(a), q.integer(b), **scales, **op.attributes)


def extremum(q: Quantizer, op: Operation) -> Value:
    """Maximum and minimum, which compare integers of one scale."""
    y = q.scale(op.result)
    return q.emit(op, op.name, *(q.integer(v, y) for v in op.operands))


def activation(q: Quantizer, op: Operation) -> Value:
    """An activation by itself: another scale, and limits where that doesn't end there anyway."""
    x, y = op.operands[0], q.scale(op.result)
    scaled = q.emit(op, "requantize", q.integer(x), dtype=str(q.dtype), x=q.scale(x), y=y)
    bounds = limits(op, y, q.dtype)
    if (bounds["low"], bounds["high"]) == integer_range(-math.inf, math.inf, q.dtype, y):
        return scaled
    return q.emit(op, "clamp", scaled, **bounds)


def function(name: str) -> Callable[[Quantizer, Operation], Value]:
    """Sigmoid and tanh, as tables of 256 results."""

    def rule(q: Quantizer, op: Operation) -> Value:
        (x,) = op.operands
        return q.emit(op, name, q.integer(x), x=q.scale(x), y=q.scale(op.result))

    return rule


def leaky_relu(q: Quantizer, op: Operation) -> Value:
    """leaky_relu, as a table of 256 results."""
    (x,) = op.operands
    alpha = float(op.attributes["alpha"])
    return q.emit(op, "q_leaky_relu", q.integer(x), x=q.scale(x), y=q.scale(op.result), alpha=alpha)


def softmax(q: Quantizer, op: Operation) -> Value:
    """Softmax over the last dimension, and its logarithm."""
    (x,) = op.operands
    if normalize_axis(op.name, op.attributes["axis"], x.type.rank) != x.type.rank - 1:
        hint = "transpose the tensor first, or keep this one in floats"
        raise NetcError(f"{op.name} on integers runs over the last dimension", location=op.location, hint=hint)
    given = {"dtype": str(q.dtype)} if op.name == "softmax" else {}
    return q.emit(op, f"q_{op.name}", q.integer(x), x=q.scale(x), y=q.scale(op.result), **given)


def mean(q: Quantizer, op: Operation) -> Value:
    """reduce_mean and reduce_sum, in fixed point."""
    (x,) = op.operands
    given = op.attributes["axes"]
    rank = x.type.rank
    axes = tuple(range(rank)) if given is None else tuple(sorted({normalize_axis(op.name, a, rank) for a in given}))
    attributes = {"axes": axes, "keepdims": op.attributes["keepdims"], "sum": op.name == "reduce_sum"}
    return q.emit(op, "q_mean", q.integer(x), x=q.scale(x), y=q.scale(op.result), **attributes)


def moving(q: Quantizer, op: Operation) -> Value:
    """Operators that move or choose elements: the same on integers."""
    return q.emit(op, op.name, q.integer(op.operands[0]), **op.attributes)


def picking(q: Quantizer, op: Operation) -> Value:
    """Operators that pick elements by their indices, which are whole numbers as they are; constants get their scale."""
    x, indices = op.operands
    return q.emit(op, op.name, q.integer(x, q.scale(op.result)), q.real(indices), **op.attributes)


def space_to_batch(q: Quantizer, op: Operation) -> Value:
    """space_to_batch_nd, padded with the integer that stands for zero."""
    (x,) = op.operands
    if op.attributes["value"]:
        hint = "put a pad before it, or keep this operator in floats"
        raise NetcError(f"{op.name} on integers pads with zeros alone", location=op.location, hint=hint)
    return q.emit(op, op.name, q.integer(x), **{**op.attributes, "value": q.scale(x).zero_point})


def avg_pool(q: Quantizer, op: Operation) -> Value:
    """avg_pool, on the scale of its operand."""
    return q.emit(op, "q_avg_pool", q.integer(op.operands[0]), **op.attributes)


def pad(q: Quantizer, op: Operation) -> Value:
    """pad, on a scale that reaches the value, with the integer that stands for it.

    Where a value never wins, since only max_pool reads it, the lowest integer stands for it.
    """
    (x,), y, number = op.operands, q.scale(op.result), float(op.attributes["value"])
    if q.levels(x, y) < 1:
        hint = "pad with a number near those that are padded, or keep this operator in floats"
        problem = f"pad with {number:g} leaves none of the 256 levels to `{q.names[x]}`, {q.range(x)}"
        raise NetcError(problem, location=op.location, hint=hint)
    reached = covered(y, q.dtype)
    value = int(np.clip(integer_of(min(max(number, reached.low), reached.high), y), *ends_of(q.dtype)))
    return q.emit(op, "pad", q.integer(x, y), padding=op.attributes["padding"], value=value)


def concat(q: Quantizer, op: Operation) -> Value:
    """concat, of operands brought to one scale."""
    y = q.scale(op.result)
    return q.emit(op, "concat", *(q.integer(v, y) for v in op.operands), **op.attributes)


def argmax(q: Quantizer, op: Operation) -> Value:
    """Argmax and argmin: integers have the order of what they stand for."""
    return q.emit(op, op.name, q.integer(op.operands[0]), **op.attributes)


def operand(b: Rewriter, op: Operation) -> Value:
    """Nothing but the operand."""
    return b[op.operands[0]]


def total(b: Rewriter, op: Operation) -> Value:
    """reduce_sum as a multiple of the mean."""
    count = op.operands[0].type.size // op.result.type.size
    average = b.emit("reduce_mean", b[op.operands[0]], location=op.location, **op.attributes)
    factor = b.scalar(count, average.type.dtype, op.location)
    return b.emit("mul", average, factor, location=op.location, name=op.result.name)


def wider_pool(b: Rewriter, pool: Operation) -> Value | None:
    """max_pool with wider padding, in place of a pad before it that adds what is below all numbers."""
    pad = b.graph.producers.get(pool.operands[0])
    if pad is None or not isinstance(pad.operator, Pad) or pad.attributes["value"] > LOWEST_PADDING:
        return None
    if not reads_elements(pad, pool):
        return None
    size = pad.result.type.shape[1:-1]
    own = window_of(pool.name, size, pool.attributes["size"], pool.attributes).padding
    sides = zip(pad.attributes["padding"][1:-1], own, strict=True)
    padding = tuple((p[0] + q[0], p[1] + q[1]) for p, q in sides)
    attributes = {**pool.attributes, "padding": padding}
    x = b[pad.operands[0]]
    return b.operation(pool.operator, (x,), attributes, location=pool.location, name=pool.result.name).result


INTEGER.add(IntegerForm(contraction, limited=True, operator="q_conv2d", filters=True), Conv2D)
INTEGER.add(IntegerForm(contraction, limited=True, operator="q_dense", filters=True), Dense)
INTEGER.add(IntegerForm(contraction, operator="q_transpose_conv2d"), TransposeConv2D)
INTEGER.add(IntegerForm(binary, limited=True), Add, Sub, Mul)
INTEGER.add(IntegerForm(matmul), MatMul)
INTEGER.add(IntegerForm(extremum), Maximum, Minimum)
INTEGER.add(IntegerForm(activation), Relu, Relu6, Clamp)
INTEGER.add(IntegerForm(function("q_logistic")), Sigmoid)
INTEGER.add(IntegerForm(function("q_tanh")), Tanh)
INTEGER.add(IntegerForm(leaky_relu), LeakyRelu)
INTEGER.add(IntegerForm(None, prepare=operand), Identity, StopGradient)
INTEGER.add(IntegerForm(softmax), Softmax)
INTEGER.add(IntegerForm(softmax, short=False), LogSoftmax)
INTEGER.add(integer_table("q_abs"), Abs)
INTEGER.add(integer_table("q_exp"), Exp)
INTEGER.add(IntegerForm(mean), ReduceMean)
INTEGER.add(IntegerForm(mean, prepare=total), ReduceSum)
INTEGER.add(IntegerForm(moving), BroadcastTo, Movement, ReduceMax, ReduceMin)
INTEGER.add(IntegerForm(picking), Gather, GatherND, TakeAlongAxis)
INTEGER.add(IntegerForm(space_to_batch), SpaceToBatchND)
INTEGER.add(IntegerForm(moving), ResizeBilinear, ResizeNearest)
INTEGER.add(IntegerForm(moving, prepare=wider_pool), MaxPool)
INTEGER.add(IntegerForm(avg_pool), AvgPool)
INTEGER.add(IntegerForm(pad), Pad)
INTEGER.add(IntegerForm(concat), Concat)
INTEGER.add(IntegerForm(argmax), ArgExtremum)
