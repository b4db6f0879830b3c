"""TFLite's convolutions and dense layers as operations of the graph; weights take netc's order of dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...compiler.graph.ir import Value
from ...compiler.ops.facets import reads
from ...compiler.types import DType, Quantization
from .context import Context
from .hybrid import asymmetric, hybrid, hybrid_weight, is_hybrid, one_scale


def conv_2d(c: Context) -> Value:
    """CONV_2D: weight [F, KH, KW, C]; groups are told by the weight's number of channels."""
    channels = c.type(1).shape[3] if c.type(1).rank == 4 else 0
    if c.type(0).rank != 4 or channels < 1 or c.type(0).shape[3] % channels:
        c.fail(f"weight {c.type(1)} doesn't fit {c.type(0)}")
    return _convolution(c, (1, 2, 3, 0), None, c.type(0).shape[3] // channels)


def depthwise_conv_2d(c: Context) -> Value:
    """DEPTHWISE_CONV_2D: weight [1, KH, KW, C * multiplier]."""
    weight = c.type(1)
    if c.type(0).rank != 4 or weight.rank != 4 or weight.shape[0] != 1:
        c.fail(f"weight {weight} doesn't fit {c.type(0)}")
    shape = (weight.shape[1], weight.shape[2], 1, weight.shape[3])
    return _convolution(c, (0, 1, 2, 3), shape, c.type(0).shape[3])


def _convolution(c: Context, axes: tuple[int, ...], shape: tuple[int, ...] | None, groups: int) -> Value:
    window: dict[str, Any] = {
        "strides": c.positive("stride_h", "stride_w"),
        "padding": c.padding,
        "dilations": c.positive("dilation_h_factor", "dilation_w_factor"),
        "groups": groups,
    }
    if is_hybrid(c, 0, 1):
        weight, scales = hybrid_weight(c, 1, axes, shape)
        symmetric = one_scale(scales) and groups == 1 and shape is None
        return c.activated(hybrid(c, "conv2d", _operands(c, weight), scales, symmetric=symmetric, attributes=window))
    weight, given = c.weight(1, axes, shape, as_float=_needs_floats(c))
    if c.is_quantized:
        # Kernels of unsigned numbers combine the scales in f32; those of signed ones work in doubles.
        window["rounded_product"] = c.type(0).dtype is DType.U8
    return _contraction(c, "conv2d", weight, given, window)


def _operands(c: Context, weight: Value, x: Value | None = None) -> list[Value]:
    """Input, weight, and bias if there is one."""
    return [c.value(0) if x is None else x, weight, *([c.value(2)] if c.has(2) else [])]


def _contraction(
    c: Context, name: str, weight: Value, given: Quantization | None, attributes: dict[str, Any], x: Value | None = None
) -> Value:
    """A float or a quantized contraction, with its bias and activation."""
    x, _, *bias = _operands(c, weight, x)
    _check_form(c, x, weight, bias)
    if not c.is_quantized:
        return c.activated(c.emit(name, x, weight, *bias, **attributes))
    _check_zero_points(c, given)
    if name == "dense" and given is not None:
        _check_sums(c, weight.type.shape[0], given)
    return c.emit(
        f"q_{name}",
        x,
        weight,
        *bias,
        x=c.quantization(0),
        weight=given,
        y=c.output_quantization(),
        **c.fused_range(),
        **attributes,
        sums=_sums(c, x),
    )


_SUMS = {0: None, 2: "i32", 4: None}
"""What codes of the schema's TensorType say of the sums of 16-bit contractions, which have 64 bits as a rule."""


def _sums(c: Context, x: Value) -> str | None:
    """The element type of the sums: that of 16-bit kernels is an option, and i64 if it isn't given."""
    if x.type.dtype is not DType.I16 or c.operator.name == "DEPTHWISE_CONV_2D":
        return None
    code = int(c.option("quantized_bias_type", 0))
    if code not in _SUMS:
        c.fail(f"quantized_bias_type can't be {code}")
    return _SUMS[code]


def _check_form(c: Context, x: Value, weight: Value, bias: Sequence[Value]) -> None:
    """Leave contractions opaque but those of one element type: floats, 8-bit numbers with 32-bit sums, 16-bit ones."""
    types = (x.type.dtype, weight.type.dtype, *(b.type.dtype for b in bias))
    scales = (c.is_quantized, x.type.quantization is not None, weight.type.quantization is not None)
    if c.is_quantized:
        short = types[0] is DType.I16
        sums = DType(_sums(c, x) or ("i64" if short else "i32"))
        fits = types == (types[0], DType.I8 if short else types[0], *(sums for _ in bias)) and all(scales)
    else:
        fits = set(types) == {DType.F32} and not any(scales)
    if not fits:
        names = ("input", "weight", "bias")
        listed = ", ".join(f"{name} {dtype}" for name, dtype in zip(names, types, strict=False))
        result = "quantized" if c.is_quantized else str(c.output_type().dtype)
        c.unsupported(f"its form for {listed} and a {result} result is not supported")


def _check_zero_points(c: Context, weight: Quantization | None) -> None:
    """Leave contractions of signed weights opaque whose kernels take any zero point for 0."""
    if weight is None or c.type(1).dtype is not DType.I8 or not any(weight.zero_points):
        return
    if c.operator.name != "FULLY_CONNECTED" or not weight.is_per_tensor:
        c.unsupported("weights of i8 whose zero points aren't 0 are not supported")


def _needs_floats(c: Context) -> bool:
    """True for floats that meet a weight of another type, such as half precision, which is turned into floats."""
    return not c.is_quantized and c.type(1).dtype is not c.type(0).dtype


def conv_3d(c: Context) -> Value:
    """CONV_3D of floats: weight [KD, KH, KW, C, F]."""
    if c.type(0).rank != 5 or c.type(1).rank != 5 or c.type(1).shape[3] != c.type(0).shape[4]:
        c.unsupported(f"weight {c.type(1)} for {c.type(0)} is not supported")
    attributes = {
        "strides": c.positive("stride_d", "stride_h", "stride_w"),
        "padding": c.padding,
        "dilations": c.positive("dilation_d_factor", "dilation_h_factor", "dilation_w_factor"),
        "groups": 1,
    }
    bias = [c.value(2)] if c.has(2) else []
    _check_form(c, c.value(0), c.value(1), bias)
    return c.activated(c.emit("conv3d", c.value(0), c.value(1), *bias, **attributes))


def transpose_conv(c: Context) -> Value:
    """TRANSPOSE_CONV: size of the result, weight [C, KH, KW, F], x, bias."""
    x, strides = c.value(2), c.positive("stride_h", "stride_w")
    bias = [c.value(3)] if c.has(3) else []
    if is_hybrid(c, 2, 1):
        weight, scales = hybrid_weight(c, 1, (1, 2, 3, 0))
        attributes = _enlarging(c, x, weight, strides)
        return c.activated(
            hybrid(c, "transpose_conv2d", [x, weight, *bias], scales, symmetric=False, attributes=attributes)
        )
    weight, given = c.weight(1, (1, 2, 3, 0), as_float=not c.is_quantized and c.type(1).dtype is not c.type(2).dtype)
    attributes = _enlarging(c, x, weight, strides)
    _check_form(c, x, weight, bias)
    _check_zero_points(c, given)
    if not c.is_quantized:
        return c.activated(c.emit("transpose_conv2d", x, weight, *bias, **attributes))
    given_scales = {"x": c.quantization(2), "weight": given, "y": c.output_quantization()}
    rounded = x.type.dtype is DType.U8
    return c.emit(
        "q_transpose_conv2d",
        x,
        weight,
        *bias,
        **given_scales,
        rounded_product=rounded,
        **c.fused_range(),
        **attributes,
        sums=_sums(c, x),
    )


def _enlarging(c: Context, x: Value, weight: Value, strides: tuple[int, ...]) -> dict[str, Any]:
    """Size, strides and padding of a transposed convolution: those of the one from the result's size to the input's."""
    size = (c.stated_shape() if c.known(0) is None else c.integers(0))[1:-1]
    if x.type.rank != len(strides) + 2 or len(size) != len(strides):
        c.fail(f"it can't bring {x.type} to {c.output_type()}")
    padding = []
    for s, extent, kernel, stride in zip(size, x.type.shape[1:-1], weight.type.shape, strides, strict=False):
        out = -(-s // stride) if c.padding == "same" else (s - kernel) // stride + 1
        if out != extent:
            c.fail(f"a result of {s} does not belong to an input of {extent}")
        total = max((out - 1) * stride + kernel - s, 0)
        padding.append((total // 2, total - total // 2))
    return {"size": size, "strides": strides, "padding": tuple(padding)}


def conv_3d_transpose(c: Context) -> Value:
    """CONV_3D_TRANSPOSE of floats: size of the result, weight [KD, KH, KW, C, F], x, bias."""
    if c.type(2).rank != 5 or c.type(1).rank != 5 or c.type(1).shape[4] != c.type(2).shape[4]:
        c.unsupported(f"weight {c.type(1)} for {c.type(2)} is not supported")
    if set(c.positive("dilation_d_factor", "dilation_h_factor", "dilation_w_factor")) != {1}:
        c.unsupported("dilation is not supported")
    weight, _ = c.weight(1, (0, 1, 2, 4, 3))
    bias = [c.value(3)] if c.has(3) else []
    _check_form(c, c.value(2), weight, bias)
    attributes = _enlarging(c, c.value(2), weight, c.positive("stride_d", "stride_h", "stride_w"))
    return c.activated(c.emit("transpose_conv3d", c.value(2), weight, *bias, **attributes))


def fully_connected(c: Context) -> Value:
    """FULLY_CONNECTED: weight [O, I]; the input is seen as rows of I elements."""
    if c.option("weights_format", 0) != 0:
        c.unsupported("shuffled weights are not supported")
    if c.tensor(1).blocks is not None and c.tensor(1).element == "INT4":
        return c.activated(_blocked(c))
    given: Quantization | None
    mixed = is_hybrid(c, 0, 1)
    weight, given = hybrid_weight(c, 1, (1, 0)) if mixed else c.weight(1, (1, 0), as_float=_needs_floats(c))
    x = _as_rows(c, weight.type.shape[0])
    if mixed and given is not None:
        operands = _operands(c, weight, x)
        return c.activated(hybrid(c, "dense", operands, given, symmetric=not asymmetric(c), attributes={}))
    return _contraction(c, "dense", weight, given, {}, x)


def _as_rows(c: Context, inputs: int) -> Value:
    """The input as rows of so many elements."""
    x = c.value(0)
    if inputs < 1 or x.type.size % inputs:
        c.fail(f"weight {c.type(1)} doesn't fit {x.type}")
    keeps = bool(c.option("keep_num_dims", False)) and x.type.shape[-1:] == (inputs,)
    lead = x.type.shape[:-1] if keeps else (x.type.size // inputs,)
    return x if x.type.shape == (*lead, inputs) else c.emit("reshape", x, shape=(*lead, inputs))


def _blocked(c: Context) -> Value:
    """Weights of 4 bits with a scale for each block of a row."""
    blocks = c.tensor(1).blocks
    assert blocks is not None
    units, elements = c.type(1).shape
    x = _as_rows(c, elements)
    others = [c.value(2)] if c.has(2) else []
    if any(v.type.dtype is not DType.F32 for v in (x, *others)):
        c.unsupported("its form for weights in blocks and other numbers than floats is not supported")
    weight, scales = c.builder.constant(c.tensor(1).integers()), c.builder.constant(blocks.scales.reshape(units, -1))
    return c.emit("blocked_dense", x, weight, scales, *others)


def _farthest(dtype: DType, given: Quantization) -> int:
    """How far from its zero point a number can be."""
    info, zero = np.iinfo(str(dtype.numpy)), given.zero_points[0]
    return max(int(info.max) - zero, zero - int(info.min))


def _check_sums(c: Context, terms: int, weight: Quantization) -> None:
    """Leave dense layers alone whose results may need more than 32 bits before they saturate: kernels define none."""
    x, y = c.quantization(0), c.output_quantization()
    largest, most = _farthest(c.type(0).dtype, x), _farthest(c.type(1).dtype, weight)
    bias = c.known(2) if c.has(2) else np.zeros(1, np.int32)
    total = terms * most * largest + (1 << 31 if bias is None else int(np.abs(bias.astype(np.int64)).max(initial=0)))
    factor = x.scale * max(weight.scales) / y.scale
    if total * factor >= (1 << 31) - 256:
        c.unsupported(f"a factor of {factor:.4g} between scales is too large for its sums")


reads(conv_2d, "CONV_2D")
reads(conv_3d, "CONV_3D")
reads(conv_3d_transpose, "CONV_3D_TRANSPOSE")
reads(depthwise_conv_2d, "DEPTHWISE_CONV_2D")
reads(fully_connected, "FULLY_CONNECTED")
reads(transpose_conv, "TRANSPOSE_CONV")
