"""TFLite files out of graphs."""

from .writer import to_tflite

__all__ = ["to_tflite"]
