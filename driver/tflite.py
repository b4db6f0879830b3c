"""TFLite's custom operators in Python: `netc.tflite.custom_operator` says what one of them computes."""

from .compiler.ops.custom import CustomCall, custom_operator

__all__ = ["CustomCall", "custom_operator"]
