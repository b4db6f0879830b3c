"""Operators on quantized numbers, whose integers equal those of TensorFlow Lite's reference kernels bit for bit."""

from . import activation, contraction, conversion, elementwise, lstm, packing, pooling, transpose

__all__ = ["activation", "contraction", "conversion", "elementwise", "lstm", "packing", "pooling", "transpose"]
