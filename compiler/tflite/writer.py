"""From a graph to a TFLite file: float networks as they are, quantized ones as full-integer models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import NetcError
from ..graph.builder import Rewriter
from ..graph.ir import Array, Graph
from ..ops.opaque import refuse_unwritable
from ..passes.freeze import freeze, inference_form
from ..passes.two_dimensions import windows_in_two_dimensions
from .emitter import model_of
from .mappings import MAPPINGS
from .metadata import metadata_of, with_labels
from .serialize import serialize

_ELSEWHERE = ("constant", "param")
"""Operators that become tensors."""


def to_tflite(graph: Graph, params: Mapping[str, Array] | None = None, *, labels: Sequence[str] | None = None) -> bytes:
    """The TFLite file of a graph; the same graph gives the same bytes.

    `params` are the values of its parameters by name, in the graph's layout; a graph of constants needs none. `labels`
    name the classes, one for each element of the last dimension of the first output. Raises `NetcError`, located at the
    operation, for what TFLite has no form of.
    """
    refuse_unwritable(graph)
    frozen = freeze(_in_tflite_operators(inference_form(graph)), params or {})
    if labels and len(labels) != frozen.outputs[0].type.shape[-1]:
        raise NetcError(f"{len(labels)} labels don't fit the output {frozen.outputs[0].type}")
    model = model_of(frozen, MAPPINGS, metadata_of(frozen, labels))
    return with_labels(serialize(model), labels)


def _in_tflite_operators(graph: Graph) -> Graph:
    """The graph with what TFLite has no form of made of simpler operators, as far as that is known."""
    graph = windows_in_two_dimensions(graph)
    b = Rewriter(graph)
    for op in graph.operations:
        known = op.name in MAPPINGS or op.name in _ELSEWHERE
        result = None if known else op.operator.decompose(b, tuple(b[v] for v in op.operands), op.attributes)
        if result is None:
            b.copy(op)
        else:
            b.replace(op.result, result)
    return b.close()
