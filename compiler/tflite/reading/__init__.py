"""TFLite files in: a checked decoding of the flatbuffer, and the `Model` that it holds.

The frontend makes a graph of a `Model`, `compiler.edgetpu` makes facts of one.
"""

from .model import Model, Operator, Tensor, read_model

__all__ = ["Model", "Operator", "Tensor", "read_model"]
