"""One small TFLite model for each operator, and the inputs on which LiteRT was asked about it.

SUM is missing: LiteRT 2.3's reference kernel disagrees there with its own optimised one, with which netc agrees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .extremes import EXTREMES
from .small_models import Model

SAMPLES = 3


def _weights(rng: np.random.Generator, *shape: int) -> Any:
    return rng.integers(-127, 128, shape, np.int8)


def _unary(
    name: str, dtype: Any, x: tuple[float, int], y: tuple[float, int], options: Any = None, version: int = 2
) -> bytes:
    m = Model()
    a = m.tensor("a", (2, 3, 5, 4), dtype, scale=x[0], zero=x[1])
    b = m.tensor("b", (2, 3, 5, 4), dtype, scale=y[0], zero=y[1])
    m.operator(name, (a,), (b,), options, version=version)
    return m.data((a,), (b,))


def _binary(name: str, dtype: Any, activation: int, second: Sequence[int] = (1, 4, 4, 5)) -> bytes:
    m = Model()
    middle = 128 if dtype is np.uint8 else 0
    a = m.tensor("a", (1, 4, 4, 5), dtype, scale=0.031, zero=middle + 3)
    b = m.tensor("b", second, dtype, scale=0.017, zero=middle - 9)
    y = m.tensor("y", (1, 4, 4, 5), dtype, scale=0.043, zero=middle - 20)
    options = (f"{name.capitalize()}Options", {"FusedActivationFunction": activation})
    m.operator(name, (a, b), (y,), options, version=2)
    return m.data((a, b), (y,))


def _convolution(dtype: Any, *, depthwise: bool, padding: int, stride: int, dilation: int, scales: int) -> bytes:
    rng = np.random.default_rng(7)
    m = Model()
    unsigned = dtype is np.uint8
    x = m.tensor("x", (2, 9, 8, 4), dtype, scale=0.02, zero=121 if unsigned else -5)
    shape = (1, 3, 3, 8) if depthwise else (8, 3, 3, 4)
    weight = rng.integers(0, 256, shape, np.uint8) if unsigned else _weights(rng, *shape)
    if scales > 1:
        given: Any = tuple(float(s) for s in np.linspace(0.004, 0.02, scales, dtype=np.float32))
    else:
        given = 0.011
    axis = 3 if depthwise else 0
    w = m.constant("w", weight, scale=given, zero=119 if unsigned else 0, axis=axis)
    bias_scale = tuple(float(np.float32(0.02) * np.float32(s)) for s in (given if scales > 1 else (given,)))
    bias = m.constant("bias", rng.integers(-3000, 3000, 8, np.int32), scale=bias_scale)
    extent = 2 * dilation + 1
    sizes = [-(-s // stride) if padding == 0 else (s - extent) // stride + 1 for s in (9, 8)]
    y = m.tensor("y", (2, *sizes, 8), dtype, scale=0.05, zero=101 if unsigned else -30)
    name = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    options = {"Padding": padding, "StrideW": stride, "StrideH": stride, "FusedActivationFunction": 1}
    options |= {"DilationWFactor": dilation, "DilationHFactor": dilation}
    if depthwise:
        options["DepthMultiplier"] = 2
    table = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    m.operator(name, (x, w, bias), (y,), (table, options), version=3)
    return m.data((x,), (y,))


def _transposed(dtype: Any, padding: int, stride: int, size: tuple[int, int], scales: int) -> bytes:
    rng = np.random.default_rng(9)
    m = Model()
    unsigned = dtype is np.uint8
    target = m.constant("size", np.array((1, *size, 6), np.int32))
    weight = rng.integers(0, 256, (6, 3, 3, 4), np.uint8) if unsigned else _weights(rng, 6, 3, 3, 4)
    given: Any = tuple(float(s) for s in np.linspace(0.004, 0.02, 6, dtype=np.float32)) if scales > 1 else 0.011
    w = m.constant("w", weight, scale=given, zero=119 if unsigned else 0)
    x = m.tensor("x", (1, 4, 5, 4), dtype, scale=0.02, zero=121 if unsigned else -5)
    y = m.tensor("y", (1, *size, 6), dtype, scale=0.08, zero=101 if unsigned else -3)
    options = {"Padding": padding, "StrideW": stride, "StrideH": stride}
    m.operator("TRANSPOSE_CONV", (target, w, x), (y,), ("TransposeConvOptions", options), version=2)
    return m.data((x,), (y,))


def _dense(dtype: Any) -> bytes:
    rng = np.random.default_rng(8)
    m = Model()
    unsigned = dtype is np.uint8
    x = m.tensor("x", (3, 50), dtype, scale=0.02, zero=121 if unsigned else -5)
    weight = rng.integers(0, 256, (7, 50), np.uint8) if unsigned else _weights(rng, 7, 50)
    w = m.constant("w", weight, scale=0.013, zero=119 if unsigned else 0)
    bias = m.constant("b", rng.integers(-9000, 9000, 7, np.int32), scale=float(np.float32(0.02) * np.float32(0.013)))
    y = m.tensor("y", (3, 7), dtype, scale=0.2, zero=101 if unsigned else -30)
    m.operator("FULLY_CONNECTED", (x, w, bias), (y,), ("FullyConnectedOptions", {}), version=4)
    return m.data((x,), (y,))


def _pool(name: str, dtype: Any, padding: int) -> bytes:
    m = Model()
    zero = 120 if dtype is np.uint8 else -8
    x = m.tensor("x", (1, 7, 9, 5), dtype, scale=0.03, zero=zero)
    sizes = (4, 5) if padding == 0 else (3, 4)
    y = m.tensor("y", (1, *sizes, 5), dtype, scale=0.03, zero=zero)
    options = {"Padding": padding, "StrideW": 2, "StrideH": 2, "FilterWidth": 3, "FilterHeight": 3}
    options["FusedActivationFunction"] = 3
    m.operator(name, (x,), (y,), ("Pool2DOptions", options), version=2)
    return m.data((x,), (y,))


def _mean(name: str, axes: Sequence[int], shape: Sequence[int]) -> bytes:
    m = Model()
    x = m.tensor("x", (2, 7, 5, 6), scale=0.03, zero=-8)
    axis = m.constant("axis", np.array(axes, np.int32))
    y = m.tensor("y", shape, scale=0.021, zero=4)
    m.operator(name, (x, axis), (y,), ("ReducerOptions", {"KeepDims": len(shape) == 4}), version=2)
    return m.data((x,), (y,))


def _arg_max(dtype: Any) -> bytes:
    m = Model()
    x = m.tensor("x", (2, 7, 6), dtype, scale=0.03, zero=100)
    axis = m.constant("axis", np.array(2, np.int32))
    y = m.tensor("y", (2, 7), np.int32)
    m.operator("ARG_MAX", (x, axis), (y,), ("ArgMaxOptions", {"OutputType": 2}), version=2)
    return m.data((x,), (y,))


def _comparison(name: str, table: str, dtype: Any) -> bytes:
    m = Model()
    a = m.tensor("a", (2, 7, 6), dtype, scale=0.03, zero=100)
    b = m.tensor("b", (6,), dtype, scale=0.03, zero=100)
    y = m.tensor("y", (2, 7, 6), np.bool_)
    m.operator(name, (a, b), (y,), (table, {}), version=2)
    return m.data((a, b), (y,))


def _softmax(dtype: Any, scale: float, length: int) -> bytes:
    m = Model()
    unsigned = dtype is np.uint8
    x = m.tensor("x", (3, length), dtype, scale=scale, zero=7)
    y = m.tensor("y", (3, length), dtype, scale=0.00390625, zero=0 if unsigned else -128)
    m.operator("SOFTMAX", (x,), (y,), ("SoftmaxOptions", {"Beta": 1.0}), version=2)
    return m.data((x,), (y,))


def _log_softmax(scale: float, length: int) -> bytes:
    m = Model()
    x = m.tensor("x", (5, length), scale=scale, zero=7)
    y = m.tensor("y", (5, length), scale=16 / 256, zero=127)
    m.operator("LOG_SOFTMAX", (x,), (y,), ("LogSoftmaxOptions", {}), version=2)
    return m.data((x,), (y,))


def _resize(name: str, dtype: Any, size: tuple[int, int], options: dict[str, bool]) -> bytes:
    m = Model()
    zero = 120 if dtype is np.uint8 else -8
    given: dict[str, Any] = {} if dtype is np.float32 else {"scale": 0.03, "zero": zero}
    x = m.tensor("x", (2, 5, 6, 3), dtype, **given)
    target = m.constant("size", np.array(size, np.int32))
    y = m.tensor("y", (2, *size, 3), dtype, **given)
    table = "ResizeBilinearOptions" if name == "RESIZE_BILINEAR" else "ResizeNearestNeighborOptions"
    m.operator(name, (x, target), (y,), (table, options), version=3)
    return m.data((x,), (y,))


def _requantize(source: Any, target: Any, x: tuple[float, int] | None, y: tuple[float, int] | None) -> bytes:
    m = Model()
    from_ = {"scale": x[0], "zero": x[1]} if x else {}
    to = {"scale": y[0], "zero": y[1]} if y else {}
    a = m.tensor("a", (3, 37), source, **from_)
    b = m.tensor("b", (3, 37), target, **to)
    m.operator("QUANTIZE" if y else "DEQUANTIZE", (a,), (b,), version=2)
    return m.data((a,), (b,))


def _l2_normalize(dtype: Any, length: int) -> bytes:
    m = Model()
    unsigned = dtype is np.uint8
    x = m.tensor("x", (3, 2, length), dtype, scale=0.03, zero=121 if unsigned else -9)
    y = m.tensor("y", (3, 2, length), dtype, scale=1 / 128, zero=128 if unsigned else 0)
    m.operator("L2_NORMALIZATION", (x,), (y,), ("L2NormOptions", {}), version=2)
    return m.data((x,), (y,))


def _prelu(dtype: Any, alpha: Sequence[int]) -> bytes:
    m = Model()
    unsigned = dtype is np.uint8
    rng = np.random.default_rng(4)
    x = m.tensor("x", (2, 4, 3, 5), dtype, scale=0.03, zero=121 if unsigned else -9)
    slopes = rng.integers(0, 256, alpha, np.uint8) if unsigned else _weights(rng, *alpha)
    a = m.constant("alpha", slopes, scale=0.008, zero=100 if unsigned else 5)
    y = m.tensor("y", (2, 4, 3, 5), dtype, scale=0.021, zero=101 if unsigned else 17)
    m.operator("PRELU", (x, a), (y,))
    return m.data((x,), (y,))


def _squared_difference(second: Sequence[int]) -> bytes:
    m = Model()
    a = m.tensor("a", (1, 4, 4, 5), scale=0.031, zero=3)
    b = m.tensor("b", second, scale=0.017, zero=-9)
    y = m.tensor("y", (1, 4, 4, 5), scale=0.11, zero=-120)
    m.operator("SQUARED_DIFFERENCE", (a, b), (y,), ("SquaredDifferenceOptions", {}), version=2)
    return m.data((a, b), (y,))


def _extremum(name: str, dtype: Any) -> bytes:
    m = Model()
    given: dict[str, Any] = {"scale": 0.03, "zero": 4}
    a = m.tensor("a", (2, 3, 5), dtype, **given)
    b = m.tensor("b", (3, 1), dtype, **given)
    y = m.tensor("y", (2, 3, 5), dtype, **given)
    m.operator(name, (a, b), (y,), ("MaximumMinimumOptions", {}), version=2)
    return m.data((a, b), (y,))


def _reduce(name: str, axes: Sequence[int], keep: bool, shape: Sequence[int]) -> bytes:
    m = Model()
    x = m.tensor("x", (2, 7, 5, 6), scale=0.03, zero=-8)
    axis = m.constant("axis", np.array(axes, np.int32))
    y = m.tensor("y", shape, scale=0.03, zero=-8)
    m.operator(name, (x, axis), (y,), ("ReducerOptions", {"KeepDims": keep}), version=2)
    return m.data((x,), (y,))


def _moved(
    name: str,
    shape: Sequence[int],
    results: Sequence[Sequence[int]],
    options: tuple[str, dict[str, Any]] | None,
    *numbers: Any,
    before: bool = False,
    copies: int = 1,
) -> bytes:
    """An operator that moves elements: constants behind (or before) its operand, which is there `copies` times."""
    m = Model()
    x = m.tensor("x", shape, scale=0.03, zero=-8)
    constants = [m.constant(f"c{i}", np.array(n, np.int32)) for i, n in enumerate(numbers)]
    outputs = [m.tensor(f"y{i}", result, scale=0.03, zero=-8) for i, result in enumerate(results)]
    operands = (*constants, x) if before else (*((x,) * copies), *constants)
    m.operator(name, operands, outputs, options, version=2 if name in ("TRANSPOSE", "SLICE", "SPLIT") else 1)
    return m.data((x,), outputs[-1:])


def _strided(shape: Sequence[int], result: Sequence[int], *ranges: Sequence[int], **masks: int) -> bytes:
    """STRIDED_SLICE with begins, ends and strides."""
    return _moved("STRIDED_SLICE", shape, [result], ("StridedSliceOptions", masks), *ranges)


def _float(name: str, *shapes: Sequence[int], options: Any = None, result: Any = None, constants: Any = ()) -> bytes:
    """An operator on floats (and then constants); the result has the first operand's shape unless told otherwise."""
    m = Model()
    operands = [m.tensor(f"x{i}", shape, np.float32) for i, shape in enumerate(shapes)]
    known = [m.constant(f"c{i}", np.asarray(c)) for i, c in enumerate(constants)]
    y = m.tensor("y", shapes[0] if result is None else result, np.float32)
    m.operator(name, (*operands, *known), (y,), options)
    return m.data(operands, (y,))


CORNERS = {"AlignCorners": True}
CENTERS = {"HalfPixelCenters": True}

CASES: Mapping[str, Callable[[], bytes]] = {
    **EXTREMES,
    **{
        f"conv-{d.__name__}-{name}": lambda d=d, o=options: _convolution(d, **o)
        for d in (np.int8, np.uint8)
        for name, options in {
            "same": {"depthwise": False, "padding": 0, "stride": 2, "dilation": 1, "scales": 8 if d is np.int8 else 1},
            "valid": {"depthwise": False, "padding": 1, "stride": 1, "dilation": 2, "scales": 1},
            "depthwise": {
                "depthwise": True,
                "padding": 0,
                "stride": 1,
                "dilation": 1,
                "scales": 8 if d is np.int8 else 1,
            },
        }.items()
    },
    "transposed-same": lambda: _transposed(np.int8, 0, 2, (8, 10), 6),
    "transposed-odd": lambda: _transposed(np.int8, 0, 2, (7, 9), 1),
    "transposed-valid": lambda: _transposed(np.int8, 1, 2, (9, 11), 6),
    "transposed-uint8": lambda: _transposed(np.uint8, 0, 1, (4, 5), 1),
    "dense-int8": lambda: _dense(np.int8),
    "dense-uint8": lambda: _dense(np.uint8),
    **{
        f"{op.lower()}-{d.__name__}-{activation}": lambda op=op, d=d, a=activation: _binary(op, d, a)
        for op in ("ADD", "SUB", "MUL")
        for d in (np.int8, np.uint8)
        for activation in (0, 1)
    },
    "add-broadcast": lambda: _binary("ADD", np.int8, 0, (1, 1, 1, 5)),
    "mul-scalar": lambda: _binary("MUL", np.int8, 0, (1,)),
    **{
        f"{op.lower()}-{d.__name__}-{padding}": lambda op=op, d=d, p=padding: _pool(op, d, p)
        for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D")
        for d in (np.int8, np.uint8)
        for padding in (0, 1)
    },
    "mean": lambda: _mean("MEAN", (1, 2), (2, 1, 1, 6)),
    "mean-last": lambda: _mean("MEAN", (-1,), (2, 7, 5)),
    "softmax-int8": lambda: _softmax(np.int8, 0.07, 40),
    "softmax-uint8": lambda: _softmax(np.uint8, 0.3, 11),
    "log-softmax": lambda: _log_softmax(0.07, 40),
    "log-softmax-wide": lambda: _log_softmax(0.9, 7),
    "log-softmax-narrow": lambda: _log_softmax(0.004, 300),
    "logistic-int8": lambda: _unary("LOGISTIC", np.int8, (0.06, 3), (0.00390625, -128)),
    "tanh-int8": lambda: _unary("TANH", np.int8, (0.03, -4), (0.0078125, 0)),
    "leaky-relu": lambda: _unary("LEAKY_RELU", np.int8, (0.06, 3), (0.03, -20), ("LeakyReluOptions", {"Alpha": 0.3})),
    **{
        f"hard-swish-{d.__name__}": lambda d=d, z=z: _unary(
            "HARD_SWISH", d, (0.04, z + 11), (0.027, z - 100), version=1
        )
        for d, z in ((np.int8, 0), (np.uint8, 128))
    },
    "exp": lambda: _unary("EXP", np.int8, (0.03, 3), (0.2, -128)),
    "abs": lambda: _unary("ABS", np.int8, (0.06, 3), (0.03, -100)),
    "abs-same-scale": lambda: _unary("ABS", np.int8, (0.06, 3), (0.06, -100)),
    "rsqrt": lambda: _unary("RSQRT", np.int8, (0.06, -128), (0.02, -100)),
    "logistic-uint8": lambda: _unary("LOGISTIC", np.uint8, (0.06, 120), (0.00390625, 0), version=1),
    "tanh-uint8": lambda: _unary("TANH", np.uint8, (0.03, 120), (0.0078125, 128), version=1),
    "leaky-relu-uint8": lambda: _unary(
        "LEAKY_RELU", np.uint8, (0.06, 100), (0.03, 80), ("LeakyReluOptions", {"Alpha": 0.3}), version=1
    ),
    "leaky-relu-falling": lambda: _unary(
        "LEAKY_RELU", np.int8, (0.06, 10), (0.03, 8), ("LeakyReluOptions", {"Alpha": -0.3})
    ),
    "relu-uint8": lambda: _unary("RELU", np.uint8, (0.06, 100), (0.03, 80)),
    "arg-max-int8": lambda: _arg_max(np.int8),
    "arg-max-uint8": lambda: _arg_max(np.uint8),
    "less": lambda: _comparison("LESS", "LessOptions", np.int8),
    "greater-equal-uint8": lambda: _comparison("GREATER_EQUAL", "GreaterEqualOptions", np.uint8),
    "relu-n1-to-1": lambda: _unary("RELU_N1_TO_1", np.int8, (0.03, 3), (0.03, 3), version=1),
    "l2-normalization-int8": lambda: _l2_normalize(np.int8, 37),
    "l2-normalization-int8-long": lambda: _l2_normalize(np.int8, 1000),
    "l2-normalization-uint8": lambda: _l2_normalize(np.uint8, 11),
    "l2-normalization-single": lambda: _l2_normalize(np.int8, 1),
    "prelu-int8": lambda: _prelu(np.int8, (1, 1, 5)),
    "prelu-uint8": lambda: _prelu(np.uint8, (1, 1, 5)),
    "prelu-elements": lambda: _prelu(np.int8, (4, 3, 5)),
    "squared-difference": lambda: _squared_difference((1, 4, 4, 5)),
    "squared-difference-broadcast": lambda: _squared_difference((1, 1, 1, 5)),
    **{
        f"{op.lower()}-{d.__name__}": lambda op=op, d=d: _extremum(op, d)
        for op in ("MAXIMUM", "MINIMUM")
        for d in (np.int8, np.uint8)
    },
    "reduce-max": lambda: _reduce("REDUCE_MAX", (1, 2), True, (2, 1, 1, 6)),
    "reduce-min": lambda: _reduce("REDUCE_MIN", (-1,), False, (2, 7, 5)),
    "space-to-depth": lambda: _moved(
        "SPACE_TO_DEPTH", (2, 4, 6, 3), [(2, 2, 3, 12)], ("SpaceToDepthOptions", {"BlockSize": 2})
    ),
    "depth-to-space": lambda: _moved(
        "DEPTH_TO_SPACE", (2, 2, 3, 12), [(2, 4, 6, 3)], ("DepthToSpaceOptions", {"BlockSize": 2})
    ),
    "slice": lambda: _moved("SLICE", (3, 4, 5), [(2, 4, 2)], None, (1, 0, 2), (2, -1, 2)),
    "squeeze": lambda: _moved("SQUEEZE", (1, 3, 1, 4), [(3, 4)], ("SqueezeOptions", {})),
    "expand-dims": lambda: _moved("EXPAND_DIMS", (3, 4), [(3, 1, 4)], None, 1),
    "transpose": lambda: _moved("TRANSPOSE", (2, 3, 4, 5), [(5, 2, 4, 3)], None, (3, 0, 2, 1)),
    "pack": lambda: _moved("PACK", (2, 3), [(2, 2, 3)], ("PackOptions", {"ValuesCount": 2, "Axis": 1}), copies=2),
    "unpack": lambda: _moved("UNPACK", (2, 3, 4), [(2, 4)] * 3, ("UnpackOptions", {"Num": 3, "Axis": 1})),
    "split": lambda: _moved("SPLIT", (2, 6, 4), [(2, 2, 4)] * 3, ("SplitOptions", {"NumSplits": 3}), 1, before=True),
    "strided-slice": lambda: _strided((4, 5, 6), (2, 3, 4), (1, 0, -5), (3, 3, -1), (1, 1, 1)),
    "strided-slice-steps": lambda: _strided((4, 5, 7), (2, 2, 2), (0, 1, 2), (4, 5, 9), (2, 3, 4)),
    "strided-slice-masks": lambda: _strided(
        (4, 5, 6), (5, 2), (2, 0, 1), (9, 0, 4), (1, 1, 2), ShrinkAxisMask=1, BeginMask=2, EndMask=2
    ),
    "strided-slice-ellipsis": lambda: _strided((4, 5, 6), (4, 5, 2), (0, 1), (0, 4), (1, 2), EllipsisMask=1),
    "gather": lambda: _moved("GATHER", (4, 5, 6), [(4, 3, 6)], ("GatherOptions", {"Axis": 1}), (4, 0, 2)),
    "relu6": lambda: _unary("RELU6", np.int8, (0.06, 3), (0.03, -100)),
    "requantize": lambda: _requantize(np.int8, np.int8, (0.05, 3), (0.031, -7)),
    "requantize-signs": lambda: _requantize(np.uint8, np.int8, (0.05, 128), (0.05, 0)),
    "quantize": lambda: _requantize(np.float32, np.int8, None, (0.031, -7)),
    "dequantize": lambda: _requantize(np.int8, np.float32, (0.031, -7), None),
    **{
        f"{op.lower()}-{d.__name__}-{kind}": lambda op=op, d=d, o=options: _resize(op, d, (11, 4), o)
        for op in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
        for d in (np.int8, np.uint8)
        for kind, options in {"plain": {}, "corners": CORNERS, "centers": CENTERS}.items()
    },
}


PLACES = (2, 3, 4, 5)

FLOAT_CASES: Mapping[str, Callable[[], bytes]] = {
    "abs": lambda: _float("ABS", PLACES),
    "neg": lambda: _float("NEG", PLACES),
    "exp": lambda: _float("EXP", PLACES),
    "sin": lambda: _float("SIN", PLACES),
    "square": lambda: _float("SQUARE", PLACES),
    "hard swish": lambda: _float("HARD_SWISH", PLACES),
    "relu_n1_to_1": lambda: _float("RELU_N1_TO_1", PLACES),
    "leaky relu": lambda: _float("LEAKY_RELU", PLACES, options=("LeakyReluOptions", {"Alpha": 0.2})),
    "prelu": lambda: _float("PRELU", PLACES, constants=[np.linspace(-1, 1, 5, dtype=np.float32).reshape(1, 1, 5)]),
    "squared difference": lambda: _float("SQUARED_DIFFERENCE", PLACES, (4, 1)),
    "div": lambda: _float("DIV", PLACES, (5,), options=("DivOptions", {"FusedActivationFunction": 3})),
    "pow 3": lambda: _float("POW", PLACES, constants=[np.array(3, np.float32)]),
    "pow -1": lambda: _float("POW", PLACES, constants=[np.array([-1], np.float32)]),
    "log softmax": lambda: _float("LOG_SOFTMAX", PLACES),
    "l2 normalization": lambda: _float("L2_NORMALIZATION", PLACES, options=("L2NormOptions", {})),
    "sum": lambda: _float("SUM", PLACES, result=(2, 5), constants=[np.array([1, 2], np.int32)]),
    "reduce max": lambda: _float("REDUCE_MAX", PLACES, result=(3, 4, 5), constants=[np.array([0], np.int32)]),
    "batch matmul": lambda: _float(
        "BATCH_MATMUL", (3, 4), (5, 4), options=("BatchMatMulOptions", {"AdjY": True}), result=(3, 5)
    ),
    "space to depth": lambda: _float(
        "SPACE_TO_DEPTH", (1, 4, 4, 2), options=("SpaceToDepthOptions", {"BlockSize": 2}), result=(1, 2, 2, 8)
    ),
}
"""Operators on floats, which agree with LiteRT's up to rounding."""


def samples(types: Sequence[tuple[Any, tuple[int, ...]]]) -> list[list[Any]]:
    """Inputs for a model, the same on every run; the first are all bytes where there are 256 elements."""
    rng = np.random.default_rng(11)
    rows = []
    for number in range(SAMPLES):
        row = []
        for dtype, shape in types:
            if np.dtype(dtype).kind == "f":
                row.append((rng.standard_normal(shape) * 2).astype(dtype))
            else:
                info = np.iinfo(dtype)
                every = number == 0 and info.bits == 8 and shape == (256,)
                values = np.arange(info.min, info.max + 1) if every else rng.integers(info.min, info.max + 1, shape)
                row.append(values.astype(dtype))
        rows.append(row)
    return rows
