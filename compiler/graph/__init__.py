"""The graph IR: types, operations, text form, verifier, reference interpreter.

Public names are gathered here; `digraph` (networkx) is imported by itself.
"""

from .ir import Array, Attribute, Attributes, Graph, Operation, Value, walk  # isort: skip (the others build on it)
from ..types import DType, Layout, Quantization, TensorType, parse_type
from .analysis import LayerRow, Totals, layer_table, static_values, totals
from .builder import GraphBuilder, Rewriter
from .interpreter import evaluate, evaluate_outputs
from .parser import parse_graph
from .printer import print_graph
from .verifier import verify

__all__ = [
    "Array",
    "Attribute",
    "Attributes",
    "DType",
    "Graph",
    "GraphBuilder",
    "LayerRow",
    "Layout",
    "Operation",
    "Quantization",
    "Rewriter",
    "TensorType",
    "Totals",
    "Value",
    "evaluate",
    "evaluate_outputs",
    "layer_table",
    "parse_graph",
    "parse_type",
    "print_graph",
    "static_values",
    "totals",
    "verify",
    "walk",
]
