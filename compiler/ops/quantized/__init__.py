"""Operators on quantized numbers, whose integers equal those of TensorFlow Lite's reference kernels bit for bit."""

from . import (
    activation,
    broadcasting,
    comparison,
    concatenation,
    contraction,
    conversion,
    elementwise,
    log_softmax,
    lstm,
    packing,
    pooling,
    rows,
    tables,
    transpose,
)

__all__ = [
    "activation",
    "broadcasting",
    "comparison",
    "concatenation",
    "contraction",
    "conversion",
    "elementwise",
    "log_softmax",
    "lstm",
    "packing",
    "pooling",
    "rows",
    "tables",
    "transpose",
]
