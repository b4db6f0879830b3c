"""Small TFLite models whose scales lie where kernels round halves, lose bits or shift by more than a few."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .small_models import Model

Scale = tuple[float, int]
SIZE = 256
"""Elements of most operands: one for each value of a byte."""
LEAKY = ("LeakyReluOptions", {"Alpha": 0.25})


def _unary(name: str, dtype: Any, x: Scale, y: Scale, options: Any = None, version: int = 2) -> bytes:
    m = Model()
    a, b = (m.tensor(n, (SIZE,), dtype, scale=s[0], zero=s[1]) for n, s in (("a", x), ("b", y)))
    m.operator(name, (a,), (b,), options, version=version)
    return m.data((a,), (b,))


def _binary(name: str, table: str, dtype: Any, *scales: Scale) -> bytes:
    """An operator on two operands; a comparison has no third scale."""
    m = Model()
    a, b = (m.tensor(n, (SIZE,), dtype, scale=s[0], zero=s[1]) for n, s in zip("ab", scales[:2], strict=True))
    given = {"scale": scales[2][0], "zero": scales[2][1]} if len(scales) > 2 else {}
    y = m.tensor("y", (SIZE,), dtype if given else np.bool_, **given)
    m.operator(name, (a, b), (y,), (table, {}), version=2)
    return m.data((a, b), (y,))


def _joined(*scales: Scale) -> bytes:
    """Operands of u8 on scales of their own; the last one is that of the result."""
    m = Model()
    inputs = [m.tensor(f"x{i}", (SIZE,), np.uint8, scale=s, zero=z) for i, (s, z) in enumerate(scales[:-1])]
    y = m.tensor("y", (SIZE * len(inputs),), np.uint8, scale=scales[-1][0], zero=scales[-1][1])
    m.operator("CONCATENATION", inputs, (y,), ("ConcatenationOptions", {"Axis": 0}))
    return m.data(inputs, (y,))


def _convolution(name: str, x: float, weight: float, y: float) -> bytes:
    """A convolution of single places; TRANSPOSE_CONV and DEPTHWISE_CONV_2D keep its shape."""
    m = Model()
    size = m.constant("size", np.array((1, 4, 4, 4), np.int32)) if "TRANSPOSE" in name else -1
    a = m.tensor("a", (1, 4, 4, 4), scale=x, zero=3)
    numbers = np.random.default_rng(3).integers(-127, 128, (1, 1, 1, 4) if "DEPTH" in name else (4, 1, 1, 4), np.int8)
    w = m.constant("w", numbers, scale=weight, axis=3 if "DEPTH" in name else 0)
    bias = m.constant("bias", np.array((5, -7, 0, 11), np.int32), scale=float(np.float32(x) * np.float32(weight)))
    b = m.tensor("b", (1, 4, 4, 4), scale=y, zero=-3)
    table = {"CONV_2D": "Conv2DOptions", "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions"}.get(
        name, "TransposeConvOptions"
    )
    fields = {"Padding": 1, "StrideW": 1, "StrideH": 1} | ({"DepthMultiplier": 1} if "DEPTH" in name else {})
    m.operator(name, (size, w, a, bias) if "TRANSPOSE" in name else (a, w, bias), (b,), (table, fields), version=3)
    return m.data((a,), (b,))


def _mean(x: float, y: float) -> bytes:
    m = Model()
    a, axis = m.tensor("a", (16, 16), scale=x, zero=3), m.constant("axis", np.array((1,), np.int32))
    b = m.tensor("b", (16,), scale=y, zero=-3)
    m.operator("MEAN", (a, axis), (b,), ("ReducerOptions", {}), version=2)
    return m.data((a,), (b,))


PROBABILITY, SIGNED = (1 / 256, -128), (1 / 128, 0)
"""What results of LOGISTIC and TANH stand for."""
FAR = 0.017 * 2.0**-32

EXTREMES: Mapping[str, Callable[[], bytes]] = {
    "relu6 half": lambda: _unary("RELU6", np.int8, (12 / 255, -1), (12 / 255, -1)),
    "relu6 half u8": lambda: _unary("RELU6", np.uint8, (12.0, 0), (12.0, 0)),
    "relu6 half i16": lambda: _unary("RELU6", np.int16, (12 / 50001, 0), (12 / 50001, 0)),
    "relu6 half scaled": lambda: _unary("RELU6", np.int8, (0.1, 0), (6 / 101.5, -128)),
    "relu n1 to 1 half": lambda: _unary("RELU_N1_TO_1", np.int8, (2 / 85, -1), (2 / 85, -1), version=1),
    "relu n1 to 1 half u8": lambda: _unary("RELU_N1_TO_1", np.uint8, (2 / 103, 128), (2 / 103, 128), version=1),
    "relu ratio": lambda: _unary("RELU", np.int8, (0.125, -128), (1 / 140, -128)),
    "relu ratio i16": lambda: _unary("RELU", np.int16, (1 / 220, 0), (1 / 214, 0)),
    "leaky relu ratio": lambda: _unary("LEAKY_RELU", np.int8, (0.125, -128), (1 / 140, -128), LEAKY),
    **{
        f"{name.lower()} of {scale:.4g}": lambda n=name, s=scale, z=zero, y=y: _unary(n, np.int8, (s, z), y)
        for name, y in (("LOGISTIC", PROBABILITY), ("TANH", SIGNED))
        for scale, zero in ((1 / 128, 0), (1 / 256, -128), (1 / 512, 127), (2.0, 3), (8.0, 3), (16.0, 3), (1e4, 0))
    },
    "tanh scaled": lambda: _unary("TANH", np.int8, (0.03, 5), (0.02, -46)),
    "tanh scaled u8": lambda: _unary("TANH", np.uint8, (0.03, 100), (1 / 300, 106)),
    "concat 2": lambda: _joined((0.25, 128), (0.5, 128), (0.5, 128)),
    "concat 3": lambda: _joined((0.1, 128), (0.1, 0), (0.3, 128)),
    "concat 4": lambda: _joined((0.046, 7), (0.0233, 255), (1 / 140, 128)),
    "add far": lambda: _binary("ADD", "AddOptions", np.int8, (FAR, 5), (0.017, 3), (0.017, -4)),
    "sub far": lambda: _binary("SUB", "SubOptions", np.uint8, (0.017, 128), (FAR, 3), (0.02, 140)),
    "mul far": lambda: _binary("MUL", "MulOptions", np.int8, (40.0, 5), (3.0, 3), (1e-6, -4)),
    "squared difference far": lambda: _binary(
        "SQUARED_DIFFERENCE", "SquaredDifferenceOptions", np.int8, (FAR, 1), (0.1, 1), (0.9, 0)
    ),
    "requantize 2^26": lambda: _unary("QUANTIZE", np.int8, (2.0**13, 3), (2.0**-13, -7)),
    "requantize 2^30.7": lambda: _unary("QUANTIZE", np.int8, (1000.0, 3), (5.5e-7, -7)),
    "requantize 2^-33": lambda: _unary("QUANTIZE", np.int8, (2.0**-20, 3), (2.0**13, -7)),
    **{
        f"{name.lower()} far": lambda n=name: _convolution(n, 100.0, 30.0, 1.2e-5)
        for name in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")
    },
    "mean far": lambda: _mean(500.0, 1e-6),
    "less in steps": lambda: _binary("LESS", "LessOptions", np.int8, (1e-3, 4), (1e-3, 4)),
    "equal in steps": lambda: _binary("EQUAL", "EqualOptions", np.uint8, (0.03, 4), (0.011, 200)),
    "hard swish far": lambda: _unary("HARD_SWISH", np.uint8, (0.0625, 255), (512.0, 255), version=1),
}
"""Models on which an interpreter or a compiler that rounds, shifts or looks up otherwise gives other bytes."""
