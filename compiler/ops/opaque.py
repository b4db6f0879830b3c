"""Operators of other tools that netc knows nothing about: kept in the graph, shown, refused when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from ..errors import Diagnostic, NetcError
from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Graph, Operator, Value
from ..graph.names import value_names
from ..graph.registry import register
from ..types import TensorType, parse_type

CURE = "LiteRT runs the builtin operators of TFLite: netc run FILE --engine litert, or ai_edge_litert from Python"
"""What somebody can do about opaque operators."""


@register
class Opaque(Operator):
    """An operator known by name only; `results` are the types that it is said to give."""

    name = "opaque"
    operands = ("*values",)
    attributes = {
        "operator": AttributeSpec(str, "its name where it comes from"),
        "results": AttributeSpec(tuple, "types of its results, as text"),
        "reason": AttributeSpec(str, "why netc doesn't have it, if there is more to say than that", ""),
        "number": AttributeSpec(int, "its place among the operators of its file; -1 if it has none", -1),
        "unwritable": AttributeSpec(str, "what of it is not told here, so that it can't be written again", ""),
        "options": AttributeSpec((np.ndarray, type(None)), "its options, bytes that netc can't read", None),
        "table": AttributeSpec(str, "kind of its options that netc can read; ? if there are others", ""),
        "fields": AttributeSpec(Mapping, "these options by name", MappingProxyType({})),
        "version": AttributeSpec(int, "its version where it comes from", 1),
        "places": AttributeSpec(
            tuple, "what stands in its places: number of an operand, -1 for nothing, type of a state it keeps", ()
        ),
        "intermediates": AttributeSpec(tuple, "types of tensors between its parts", ()),
    }
    non_differentiable = "netc doesn't know what it computes"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        return tuple(parse_type(text) for text in attributes["results"])

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        raise NetcError(_problem(attributes, ""))

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        raise NetcError(_problem(attributes, ""))


def unknown_operators(graph: Graph) -> list[Diagnostic]:
    """What there is to say about each opaque operator of a graph: its name, its result, why netc can't run it."""
    found = [op for op in graph.operations if op.name == Opaque.name]
    if not found:
        return []
    names = value_names(graph)
    diagnostics = [Diagnostic(_problem(op.attributes, names[op.results[0]]), op.location) for op in found]
    return [*diagnostics[:-1], replace(diagnostics[-1], hint=CURE)]


def refuse_unknown(graph: Graph) -> None:
    """Raise one `NetcError` that names all opaque operators of a graph, if it has any."""
    diagnostics = unknown_operators(graph)
    if diagnostics:
        raise NetcError(diagnostics)


def refuse_unwritable(graph: Graph) -> None:
    """Raise the `NetcError` about an opaque operator, used or not, of which too little is known to write it again."""
    for op in graph.operations:
        if op.name == Opaque.name and op.attributes["unwritable"]:
            name, reason = op.attributes["operator"], op.attributes["unwritable"]
            raise NetcError(f"{name} can't be written again: {reason}", location=op.location)


def _problem(attributes: Attributes, result: str) -> str:
    number = f"operator {attributes['number']}" if attributes["number"] >= 0 else ""
    place = ", ".join(part for part in (number, f"tensor `{result}`" if result else "") if part)
    reason = f": {attributes['reason']}" if attributes["reason"] else ""
    return f"netc can't run the operator {attributes['operator']}{f' ({place})' if place else ''}{reason}"
