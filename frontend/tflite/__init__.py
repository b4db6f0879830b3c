"""TFLite model files in: the graph that one describes."""

from .reader import graph_of, load_tflite, with_shapes
from .sizes import Sizes

__all__ = ["Sizes", "graph_of", "load_tflite", "with_shapes"]
