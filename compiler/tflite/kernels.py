"""Element types for which LiteRT has no kernel of an operator: it refuses to run a file with such a use.

Found by running each operator that netc writes, alone and in each element type, in LiteRT 2.3.0 (`ai-edge-litert`),
with its reference kernels and with the others. `tests/compiler/tflite/test_kernels.py` does so again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..types import DType

_LACKING: Mapping[str, str] = {
    """
    ADD CONCATENATION COS EQUAL FLOOR GATHER GATHER_ND GELU LOGISTIC MAXIMUM MINIMUM MUL NEG NOT_EQUAL PAD PADV2
    REVERSE_V2 ROUND SIN SOFTMAX TANH
    """: "f64",
    """
    AVERAGE_POOL_2D BATCH_MATMUL CEIL CONV_2D CONV_3D CONV_3D_TRANSPOSE CUMSUM DEPTHWISE_CONV_2D ELU EXP FLOOR_MOD
    FULLY_CONNECTED HARD_SWISH L2_NORMALIZATION LEAKY_RELU LOG LOG_SOFTMAX MEAN NON_MAX_SUPPRESSION_V4
    NON_MAX_SUPPRESSION_V5 POW PRELU REDUCE_MAX REDUCE_MIN REDUCE_PROD RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1
    RESIZE_BILINEAR RFFT2D RSQRT SQRT SQUARE SUB SUM TOPK_V2 TRANSPOSE_CONV
    """: "f64 f16",
    "ABS DIV FLOOR_DIV SQUARED_DIFFERENCE": "f64 f16 i64",
    "ARG_MAX ARG_MIN": "f64 f16 i64 i16",
    "DEPTH_TO_SPACE SPACE_TO_DEPTH": "f64 f16 i16 i1",
    "GREATER GREATER_EQUAL LESS LESS_EQUAL": "f64 i1",
    "MAX_POOL_2D": "f64 f16 i64 i32",
    "ONE_HOT SCATTER_ND": "f64 f16 i16",
    "RESIZE_NEAREST_NEIGHBOR": "f64 i64",
    "SIGN": "f16 i64",
}
"""Operators, and the element types that they lack."""
LACKING: Mapping[str, frozenset[DType]] = {
    name: frozenset(map(DType, types.split())) for names, types in _LACKING.items() for name in names.split()
}
"""The element types, of those that netc has, for which an operator has no kernel."""
_DATA: Mapping[str, int] = {"CONV_3D_TRANSPOSE": 1, "ONE_HOT": 2, "SCATTER_ND": 1, "TRANSPOSE_CONV": 1}
"""The operand whose element type decides, where it isn't the first."""


def without_kernel(name: str, operands: Sequence[DType]) -> DType | None:
    """The element type for which LiteRT has no kernel of an operator on operands of these types; None if it has one."""
    lacking = LACKING.get(name)
    dtype = operands[_DATA.get(name, 0)] if lacking else None
    return dtype if lacking and dtype in lacking else None
