"""What generators have in common: shapes, scales and the highest version of each operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ..draw import ALL_BYTES, Draw, Scale, Values

NARROW = (np.int8, np.uint8, np.int16)
"""Element types that are quantized."""
ACTIVATIONS = (0, 1, 2, 3)
"""Codes of no activation, RELU, RELU_N1_TO_1 and RELU6."""
Options = tuple[str, dict[str, Any]] | None

_VERSIONS = """
ADD 5 AVERAGE_POOL_2D 3 CONCATENATION 4 CONV_2D 8 DEPTHWISE_CONV_2D 6 DEQUANTIZE 9 EMBEDDING_LOOKUP 5 FULLY_CONNECTED 14
L2_NORMALIZATION 2 LOGISTIC 3 LSTM 4 MAX_POOL_2D 3 MUL 7 RELU 3 RELU6 3 RESIZE_BILINEAR 4 RNN 3 SOFTMAX 3
SPACE_TO_DEPTH 2 SVDF 4 TANH 3 PAD 6 UNIDIRECTIONAL_SEQUENCE_RNN 3 GATHER 8 BATCH_TO_SPACE_ND 4 SPACE_TO_BATCH_ND 4
TRANSPOSE 8 MEAN 3 SUB 5 DIV 2 UNIDIRECTIONAL_SEQUENCE_LSTM 3 STRIDED_SLICE 4 BIDIRECTIONAL_SEQUENCE_RNN 3 EXP 2
TOPK_V2 3 SPLIT 5 LOG_SOFTMAX 2 BIDIRECTIONAL_SEQUENCE_LSTM 3 CAST 9 MAXIMUM 4 ARG_MAX 2 MINIMUM 4 LESS 3 PADV2 6
GREATER 2 GREATER_EQUAL 3 LESS_EQUAL 2 SELECT 4 SLICE 8 TRANSPOSE_CONV 5 SPARSE_TO_DENSE 3 TILE 2 EQUAL 5 NOT_EQUAL 4
LOG 2 SUM 2 SQRT 2 RSQRT 3 ARG_MIN 2 FAKE_QUANT 2 REDUCE_PROD 2 REDUCE_MAX 3 PACK 5 UNPACK 6 REDUCE_MIN 3 FLOOR_DIV 3
FILL 5 FLOOR_MOD 2 RESIZE_NEAREST_NEIGHBOR 4 LEAKY_RELU 2 SQUARED_DIFFERENCE 2 MIRROR_PAD 3 ABS 3 SPLIT_V 3 REVERSE_V2 4
GATHER_ND 6 WHERE 2 QUANTIZE 6 SELECT_V2 2 BATCH_MATMUL 4 BROADCAST_TO 4 GELU 2 DYNAMIC_UPDATE_SLICE 6 SIGN 2
"""


def _versions() -> Mapping[str, int]:
    words = _VERSIONS.split()
    return MappingProxyType(dict(zip(words[::2], map(int, words[1::2]), strict=True)))


VERSIONS = _versions()
"""The highest version that the reference kernels have, where it isn't 1."""


def file(d: Draw, name: str, inputs: Sequence[int], outputs: Sequence[int], options: Options = None) -> bytes:
    """The file of an operator, in the highest version."""
    return d.operator(name, inputs, outputs, options, VERSIONS.get(name, 1))


def scale_of(d: Draw, dtype: Any, near: float | None = None) -> Scale | None:
    """A scale and a zero point for types that have them."""
    return d.quantized(dtype, near) if dtype in NARROW else None


def size_of(given: Scale | None) -> float:
    """A scale, or 1 for plain numbers."""
    return 1.0 if given is None else given[0]


def any_shape(d: Draw, dtype: Any, least: int = 0, most: int = 5) -> tuple[int, ...]:
    """Sizes of some dimensions; often with room for all values of a byte."""
    fitting = [s for s in ALL_BYTES if least <= len(s) <= most]
    if fitting and np.dtype(dtype).itemsize == 1 and d.flip():
        return d.r.choice(fitting)
    return d.shape(d.r.randint(least, most))


def broadcast(d: Draw, most: int = 5) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Two shapes, equal in half of all cases, and the one to which they broadcast."""
    result = d.r.choice((d.shape(d.r.randint(0, most)), (1, 8, 8, 5), (256,)))
    if d.flip():
        return result, result, result
    pairs = [(1 if d.r.random() < 0.25 else n, 1 if d.r.random() < 0.25 else n) for n in result]
    first, second = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    if result and d.flip():
        second = second[d.r.randint(0, len(second)) :]
    if d.flip():
        first, second = second, first
    return first, second, tuple(np.broadcast_shapes(first, second))


def unary(
    name: str,
    options: Callable[[Draw], Options] = lambda d: None,
    *,
    target: Callable[[Draw, Any, float], Scale] = lambda d, dtype, near: d.quantized(dtype, near),
    values: Values = None,
    result: Any = None,
) -> Callable[[Draw, Any], bytes]:
    """An operator of one operand; `target` draws what a quantized result stands for."""

    def make(d: Draw, dtype: Any) -> bytes:
        shape, x = any_shape(d, dtype), scale_of(d, dtype)
        y = x if x is None or d.r.random() < 0.2 else target(d, dtype, x[0])
        a = d.input(shape, dtype, x, values)
        return file(d, name, [a], [d.tensor(shape, result or dtype, None if result else y)], options(d))

    return make
