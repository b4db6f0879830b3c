"""Convolutions and dense layers: weights in TFLite's order of dimensions, padding as "same", "valid" or a PAD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...graph.ir import Array, Operation
from ...ops.facets import TFLITE, TfliteForm
from ...ops.products.dense import Dense
from ...ops.products.matmul import MatMul
from ...ops.quantized.blocked import BITS, BlockedDense
from ...ops.quantized.convolution import QConv2D
from ...ops.quantized.dense import QDense
from ...ops.quantized.hybrid import Hybrid, HybridConv2D, HybridDense, HybridMatMul, HybridTransposeConv2D
from ...ops.quantized.matmul import QMatMul
from ...ops.quantized.scaled_sums import sums_type
from ...ops.quantized.transpose import QTransposeConv2D
from ...ops.rules import version
from ...ops.windows.convolution import Conv2D, Conv3D
from ...ops.windows.transpose_convolution import TransposeConv2D, TransposeConv3D, plain_filters
from ...ops.windows.window import Window, window_of
from ...passes.half_constants import holds_in_half
from ...types import DType, Quantization, TensorType
from ..emitter import Emitter
from ..model import Field
from .common import SAME, VALID, activation, is_quantized, padded

_SUMS = {"i32": 2, "i64": 4}
"""Codes of the schema's TensorType."""
MATMUL_RANK = 5
"""Dimensions that BATCH_MATMUL takes."""


def scheme(name: str, x: TensorType, kernel: tuple[int, ...], attributes: Any) -> tuple[int, Window]:
    """SAME or VALID, whichever describes the window's padding; VALID for others, which need a PAD first."""
    window = window_of(name, x.shape[1:-1], kernel, attributes)
    if all(p == (0, 0) for p in window.padding):
        return VALID, window
    same = window_of(name, x.shape[1:-1], kernel, {**attributes, "padding": "same"})
    return (SAME if same.padding == window.padding else VALID), window


def _padded_input(c: Emitter, op: Operation, code: int, window: Window) -> int:
    """The tensor that the operator reads: operand 0, behind a PAD where the padding is neither SAME nor VALID."""
    x = c.place(op.operands[0])
    if code == SAME or all(p == (0, 0) for p in window.padding):
        return x
    return padded(c, op, x, op.operands[0].type, ((0, 0), *window.padding, (0, 0)))


def conv2d(c: Emitter, op: Operation) -> None:
    """CONV_2D with weight [F, KH, KW, C / groups], or DEPTHWISE_CONV_2D with weight [1, KH, KW, F].

    The latter has no choice of the type of its sums.
    """
    x, weight = (v.type for v in op.operands[:2])
    code, window = scheme(op.name, x, weight.shape[:2], op.attributes)
    place = _padded_input(c, op, code, window)
    groups, sums = op.attributes["groups"], _sums(op)
    depthwise = (groups > 1 or _must_be_depthwise(c, op)) and weight.shape[2] == 1 and not sums
    order, axis = ((2, 0, 1, 3), 3) if depthwise else ((3, 0, 1, 2), 0)
    inputs = [place, _turned_weight(c, op, order, axis), _bias(c, op)]
    fields: dict[str, Any] = {
        "padding": code,
        "stride_h": window.strides[0],
        "stride_w": window.strides[1],
        "dilation_h_factor": window.dilations[0],
        "dilation_w_factor": window.dilations[1],
        "fused_activation_function": activation(c, op),
    }
    if depthwise:
        plain = 6 if is_hybrid(op) else 1 if window.dilations == (1, 1) else 2
        fields["depth_multiplier"] = weight.shape[3] // groups
        c.node(
            "DEPTHWISE_CONV_2D",
            inputs,
            [c.result(op)],
            "DepthwiseConv2DOptions",
            version(op, plain, 3, 5),
            **fields,
        )
    else:
        number = 6 if groups > 1 else 5 if is_hybrid(op) else version(op, 1, 3, 4)
        c.node("CONV_2D", inputs, [c.result(op)], "Conv2DOptions", 8 if sums else number, **fields, **sums)


def is_hybrid(op: Operation) -> bool:
    """True for floats that meet 8-bit weights."""
    return isinstance(op.operator, Hybrid)


def _must_be_depthwise(c: Emitter, op: Operation) -> bool:
    """Whether CONV_2D would quantize its input otherwise: symmetrically where all filters have one scale."""
    if not is_hybrid(op):
        return False
    would_be = op.attributes["groups"] == 1 and len(set(op.attributes["weight"].scales)) == 1
    differs: bool = would_be != op.attributes["symmetric"]
    if differs and (op.attributes["symmetric"] or op.operands[1].type.shape[2] > 1):
        wanted = "has scales for its filters" if op.attributes["symmetric"] else "has one scale"
        c.fail(op, f"there is no TFLite form of a hybrid_conv2d that {wanted}, with symmetric = {not would_be}")
    return differs


def conv3d(c: Emitter, op: Operation) -> None:
    """CONV_3D with weight [KD, KH, KW, C, F]."""
    if op.attributes["groups"] > 1:
        c.fail(op, "there is no TFLite form of conv3d in groups")
    code, window = scheme(op.name, op.operands[0].type, op.operands[1].type.shape[:3], op.attributes)
    inputs = [_padded_input(c, op, code, window), _turned_weight(c, op, (0, 1, 2, 3, 4), 4), _bias(c, op)]
    axes = ("d", "h", "w")
    fields: dict[str, Any] = {f"stride_{axis}": n for axis, n in zip(axes, window.strides, strict=True)}
    fields |= {f"dilation_{axis}_factor": n for axis, n in zip(axes, window.dilations, strict=True)}
    c.node("CONV_3D", inputs, [c.result(op)], "Conv3DOptions", padding=code, **fields)


def transpose_conv(c: Emitter, op: Operation) -> None:
    """TRANSPOSE_CONV of a size, with weight [F, KH, KW, C], or CONV_3D_TRANSPOSE, with weight [KD, KH, KW, F, C].

    Padding that it lacks is cut off behind it. Places that no input reaches are reached by zeros behind the input.
    Groups and dilation are weights of zero.
    """
    x, y = op.operands[0].type, op.results[0].type
    size, strides, padding = (op.attributes[key] for key in ("size", "strides", "padding"))
    spatial, channels = x.shape[1:-1], y.shape[-1]
    place = c.place(op.operands[0])
    weight, kernel = _spread_weight(c, op)
    dimensions = list(zip(spatial, kernel, strides, size, padding, strict=True))
    code = _transposed_scheme(dimensions)
    more = (0,) * len(spatial) if code is not None else tuple(_missing(*dimension) for dimension in dimensions)
    whole = ((n + zeros - 1) * d[2] + d[1] for d, n, zeros in zip(dimensions, spatial, more, strict=True))
    shape = (x.shape[0], *(size if code is not None else whole), channels)
    result = (
        c.result(op)
        if code is not None
        else c.intermediate(TensorType(y.dtype, shape, None, y.quantization), f"{c.names[op.results[0]]}/full")
    )
    if any(more):
        place = padded(c, op, place, x, ((0, 0), *((0, zeros) for zeros in more), (0, 0)))
    given = VALID if code is None else code
    if len(spatial) == 2:
        _transpose_conv2d(c, op, [c.vector(shape), weight, place], result, given)
    else:
        inputs = [c.vector(shape), weight, place, _bias(c, op)]
        fields: dict[str, Any] = {f"stride_{axis}": n for axis, n in zip("dhw", strides, strict=True)}
        c.node("CONV_3D_TRANSPOSE", inputs, [result], "Conv3DOptions", padding=given, **fields)
    if code is None:
        _cut(c, op, result)


def _spread_weight(c: Emitter, op: Operation) -> tuple[int, tuple[int, ...]]:
    """The weight of a transposed convolution without groups and dilation, and the size of its windows."""
    order, axis = ((3, 0, 1, 2), 0) if op.operands[0].type.rank == 4 else ((0, 1, 2, 4, 3), 3)
    shape = op.operands[1].type.shape[:-2]
    plain = op.attributes["groups"] == 1 and set(op.attributes["dilations"]) <= {1}
    if plain and not c.is_constant(op.operands[1]) and not is_hybrid(op):
        return _computed_weight(c, op, order), shape
    filters = plain_filters(c.known(op, 1), op.attributes)
    return _weight(c, op, filters.transpose(order), axis), filters.shape[:-2]


def _transpose_conv2d(c: Emitter, op: Operation, inputs: list[int], result: int, code: int) -> None:
    with_bias = len(op.operands) > 2
    fused, sums = activation(c, op), _sums(op)
    c.node(
        "TRANSPOSE_CONV",
        [*inputs, _bias(c, op)] if with_bias else inputs,
        [result],
        "TransposeConvOptions",
        5 if sums else 4 if fused else 3 if with_bias else version(op, 1, 2, 2),
        padding=code,
        stride_h=op.attributes["strides"][0],
        stride_w=op.attributes["strides"][1],
        fused_activation_function=fused,
        **sums,
    )


def _missing(n: int, kernel: int, stride: int, result: int, padding: tuple[int, int]) -> int:
    """How many zeros behind an input of n elements it takes to reach all of the result."""
    return max(0, -(-(padding[0] + result - (n - 1) * stride - kernel) // stride))


def _transposed_scheme(dimensions: Sequence[tuple[int, int, int, int, tuple[int, int]]]) -> int | None:
    """SAME or VALID if one of them gives this size (input, kernel, stride, result, padding), else None."""
    for code in (SAME, VALID):
        fits = []
        for n, kernel, stride, result, (before, _) in dimensions:
            windows = -(-result // stride) if code == SAME else (result - kernel) // stride + 1
            fits.append(windows == n and before == max((n - 1) * stride + kernel - result, 0) // 2)
        if all(fits):
            return code
    return None


def _cut(c: Emitter, op: Operation, full: int) -> None:
    """The wanted part of a whole transposed convolution."""
    begin, size = (p[0] for p in op.attributes["padding"]), op.attributes["size"]
    shape = op.results[0].type.shape
    inputs = [full, c.vector((0, *begin, 0)), c.vector((shape[0], *size, shape[-1]))]
    c.node("SLICE", inputs, [c.result(op)], "SliceOptions", version(op, 1, 2))


def dense(c: Emitter, op: Operation) -> None:
    """FULLY_CONNECTED with weight [O, I]."""
    weight = _turned_weight(c, op, (1, 0), 0)
    keep = op.operands[0].type.rank != 2
    given: Quantization | None = op.attributes.get("weight")
    per_channel = given is not None and not given.is_per_tensor
    sums = _sums(op)
    number = (
        12
        if per_channel
        else 11
        if sums
        else 9
        if is_hybrid(op)
        else version(op, 5 if keep else 1, 5 if keep else 4, 7)
    )
    c.node(
        "FULLY_CONNECTED",
        [c.place(op.operands[0]), weight, _bias(c, op)],
        [c.result(op)],
        "FullyConnectedOptions",
        number,
        fused_activation_function=activation(c, op),
        keep_num_dims=keep,
        **sums,
        **_asymmetric(op),
    )


def blocked_dense(c: Emitter, op: Operation) -> None:
    """FULLY_CONNECTED with weight [O, I] in 4 bits, and scales in half precision for blocks of its rows."""
    x, weight, _, *bias = op.operands
    integers, numbers = c.known(op, 1), c.known(op, 2)
    limit = 1 << BITS - 1
    if ((integers < -limit) | (integers >= limit)).any() or not holds_in_half(numbers, 0):
        c.fail(op, f"the TFLite form of {op.name} has weights of {BITS} bits and scales of half precision")
    keep = x.type.rank != 2
    inputs = [c.place(x), c.blocked(integers, numbers, c.names[weight]), *map(c.place, bias)]
    fields = {"fused_activation_function": activation(c, op), "keep_num_dims": keep, "asymmetric_quantize_inputs": True}
    c.node("FULLY_CONNECTED", inputs, [c.result(op)], "FullyConnectedOptions", 6 if keep else 5, **fields)


def _asymmetric(op: Operation) -> dict[str, Any]:
    """How floats are quantized that meet 8-bit weights."""
    return {"asymmetric_quantize_inputs": not op.attributes["symmetric"]} if is_hybrid(op) else {}


def _turned_weight(c: Emitter, op: Operation, order: tuple[int, ...], axis: int) -> int:
    """The weight with its dimensions in TFLite's order; filters lie along `axis`. One that is computed is turned."""
    weight = op.operands[1]
    if c.is_constant(weight) or is_hybrid(op):
        return _weight(c, op, c.known(op, 1).transpose(order), axis)
    return _computed_weight(c, op, order)


def _computed_weight(c: Emitter, op: Operation, order: tuple[int, ...]) -> int:
    """The weight with its dimensions in this order; LiteRT reads the scale of its tensor."""
    weight, given = op.operands[1], op.attributes.get("weight")
    if weight.type.quantization != given:
        c.fail(op, f"the TFLite form of {op.name} needs a constant as its weight, or one of the type {given}")
    return c.turned(weight, order)


def _weight(c: Emitter, op: Operation, array: Array, axis: int) -> int:
    """The weight in TFLite's order, whose filters lie along `axis`."""
    given: Quantization | None = op.attributes.get("weight")
    if given is not None and given.axis is not None:
        given = Quantization(given.scales, given.zero_points, axis)
    return c.constant(np.ascontiguousarray(array), c.names[op.operands[1]], given)


def _sums(op: Operation) -> dict[str, Field]:
    """The field that says of which type the sums of 16-bit numbers are, where they aren't of 64 bits."""
    sums: str | None = op.attributes.get("sums")
    return {} if sums is None or op.operands[0].type.dtype is not DType.I16 else {"quantized_bias_type": _SUMS[sums]}


def _bias(c: Emitter, op: Operation) -> int:
    """The bias; one that is missing is made of zeros, since not all kernels can do without."""
    weight = op.operands[1].type
    x_type = op.operands[0].type.dtype
    dtype = sums_type(x_type, op.attributes).numpy if is_quantized(op) else op.results[0].type.dtype.numpy
    if len(op.operands) > 2 and not c.is_constant(op.operands[2]):
        return c.place(op.operands[2])
    array = c.known(op, 2) if len(op.operands) > 2 else np.zeros(weight.shape[-1], dtype)
    name = c.names[op.operands[2]] if len(op.operands) > 2 else f"{c.names[op.results[0]]}/bias"
    if not is_quantized(op):
        return c.constant(array, name)
    x, given = op.attributes["x"], op.attributes["weight"]
    scales = tuple(float(np.float32(x.scale) * np.float32(s)) for s in given.scales)
    axis = None if given.is_per_tensor else 0
    return c.constant(array, name, Quantization(scales, (0,) * len(scales), axis))


def matmul(c: Emitter, op: Operation) -> None:
    """BATCH_MATMUL, whose kernel takes up to five dimensions."""
    if any(v.type.rank > MATMUL_RANK for v in op.operands):
        c.fail(op, f"there is no TFLite form of {op.name} with more than {MATMUL_RANK} dimensions")
    a, b = (c.place(v) for v in op.operands)
    adjoint = {"adj_x": op.attributes["transpose_a"], "adj_y": op.attributes["transpose_b"], **_asymmetric(op)}
    number = 4 if is_hybrid(op) else version(op, 1, 2, 3)
    c.node("BATCH_MATMUL", [a, b], [c.result(op)], "BatchMatMulOptions", number, **adjoint)


TFLITE.add(TfliteForm(conv2d, ("CONV_2D", "DEPTHWISE_CONV_2D"), activated=True), Conv2D, QConv2D, HybridConv2D)
TFLITE.add(TfliteForm(dense, "FULLY_CONNECTED", activated=True), Dense, QDense, HybridDense)
TFLITE.add(TfliteForm(blocked_dense, "FULLY_CONNECTED", activated=True, raw=frozenset({DType.I8})), BlockedDense)
TFLITE.add(TfliteForm(matmul, "BATCH_MATMUL"), MatMul, QMatMul, HybridMatMul)
TFLITE.add(TfliteForm(conv3d, "CONV_3D"), Conv3D)
TFLITE.add(TfliteForm(transpose_conv, "TRANSPOSE_CONV"), TransposeConv2D, QTransposeConv2D, HybridTransposeConv2D)
TFLITE.add(TfliteForm(transpose_conv, "CONV_3D_TRANSPOSE"), TransposeConv3D)
