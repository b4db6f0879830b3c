"""From a graph to a TFLite file: float networks as they are, quantized ones as full-integer models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import NetcError
from ..graph.ir import Array, Graph
from ..graph.regions import map_regions
from ..ops.facets import TFLITE
from ..ops.opaque import refuse_unwritable
from ..passes.freeze import freeze, inference_form
from ..passes.spell_out import spelled_out
from ..passes.two_dimensions import windows_in_two_dimensions
from ..signature import output_names
from . import mappings  # noqa: F401 (which registers the rules)
from .emitter import model_of
from .metadata import CLASS_NUMBERS, metadata_of, with_labels
from .serialize import serialize


def to_tflite(graph: Graph, params: Mapping[str, Array] | None = None, *, labels: Sequence[str] | None = None) -> bytes:
    """The TFLite file of a graph; the same graph gives the same bytes.

    `params` are the values of its parameters by name, in the graph's layout; a graph of constants needs none. `labels`
    name the classes: one for each element of the last dimension of the first output, or the numbers in an output called
    `classes`. Raises `NetcError`, located at the operation, for what TFLite has no form of.
    """
    refuse_unwritable(graph)
    frozen = _in_tflite_operators(graph, params or {})
    numbered = CLASS_NUMBERS in output_names(frozen)
    if labels and not numbered and len(labels) != frozen.outputs[0].type.shape[-1]:
        raise NetcError(f"{len(labels)} labels don't fit the output {frozen.outputs[0].type}")
    model = model_of(frozen, metadata_of(frozen, labels))
    return with_labels(serialize(model), labels)


def _in_tflite_operators(graph: Graph, params: Mapping[str, Array]) -> Graph:
    """The graph with constants for weights, in operators that TFLite has; so are those inside it."""
    graph = map_regions(graph, lambda inner: _in_tflite_operators(inner, {}))
    return freeze(spelled_out(windows_in_two_dimensions(inference_form(graph)), TFLITE), params)
