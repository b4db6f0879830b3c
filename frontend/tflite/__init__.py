"""TFLite model files in: the graph that one describes."""

from .reader import graph_of, load_tflite

__all__ = ["graph_of", "load_tflite"]
