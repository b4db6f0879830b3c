"""TFLite files in: a checked decoding of the flatbuffer, and the `Model` that it holds.

The frontend makes a graph of a `Model`, `compiler.edgetpu` makes facts of one.
"""

from .checks import read_model
from .model import Model, Operator, Signature, Subgraph, Tensor

__all__ = ["Model", "Operator", "Signature", "Subgraph", "Tensor", "read_model"]
