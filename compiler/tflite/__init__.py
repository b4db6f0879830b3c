"""TFLite files out of graphs."""

from .names import value_names
from .writer import to_tflite, write_bytes

__all__ = ["to_tflite", "value_names", "write_bytes"]
