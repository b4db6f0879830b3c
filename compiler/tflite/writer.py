"""From a graph to a TFLite file: float networks as they are, quantized ones as full-integer models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import NetcError
from ..graph.builder import Rewriter
from ..graph.ir import Array, Graph, Operation, Value
from ..ops.facets import TFLITE, Facet
from ..ops.opaque import refuse_unwritable
from ..passes.freeze import freeze, inference_form
from ..passes.two_dimensions import windows_in_two_dimensions
from . import mappings  # noqa: F401 (which registers the rules)
from .emitter import model_of
from .metadata import metadata_of, with_labels
from .serialize import serialize


def to_tflite(graph: Graph, params: Mapping[str, Array] | None = None, *, labels: Sequence[str] | None = None) -> bytes:
    """The TFLite file of a graph; the same graph gives the same bytes.

    `params` are the values of its parameters by name, in the graph's layout; a graph of constants needs none. `labels`
    name the classes, one for each element of the last dimension of the first output. Raises `NetcError`, located at the
    operation, for what TFLite has no form of.
    """
    refuse_unwritable(graph)
    frozen = freeze(in_tflite_operators(windows_in_two_dimensions(inference_form(graph))), params or {})
    if labels and len(labels) != frozen.outputs[0].type.shape[-1]:
        raise NetcError(f"{len(labels)} labels don't fit the output {frozen.outputs[0].type}")
    model = model_of(frozen, metadata_of(frozen, labels))
    return with_labels(serialize(model), labels)


def in_tflite_operators(graph: Graph, *others: Facet[Any]) -> Graph:
    """The graph with what neither TFLite nor another consumer has a rule of made of simpler operators, if it can be."""
    b = Rewriter(graph)
    facets = (TFLITE, *others)
    for op in graph.operations:
        result = None if _has_rule(op, facets) else _made_of_others(b, op, facets)
        if result is None:
            b.copy(op)
        else:
            b.replace(op.result, result)
    return b.close()


def _made_of_others(b: Rewriter, op: Operation, facets: Sequence[Facet[Any]]) -> Value | None:
    """What an operation is made of, if there is a rule for all of that."""
    start = len(b.operations)
    result = b.expand(op, op.operator.expand)
    if all(_has_rule(part, facets) or part.name == "constant" for part in b.operations[start:]):
        return result
    del b.operations[start:]
    return None


def _has_rule(op: Operation, facets: Sequence[Facet[Any]]) -> bool:
    return any(facet.of(op.operator) is not None for facet in facets)
