"""TFLite files out of graphs."""

from .writer import to_tflite, write_bytes

__all__ = ["to_tflite", "write_bytes"]
