"""ONNX model files in: the graph that one describes."""

from .reader import graph_of, load_onnx

__all__ = ["graph_of", "load_onnx"]
