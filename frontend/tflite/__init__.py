"""TFLite model files in: a checked reading of the flatbuffer, and the graph that it describes."""

from .model import Model, read_model
from .reader import graph_of, load_tflite

__all__ = ["Model", "graph_of", "load_tflite", "read_model"]
