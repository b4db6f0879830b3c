"""Operators of other tools that netc knows nothing about: kept in the graph, shown, refused when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..errors import NetcError
from ..graph.ir import Array, Attributes, Value
from ..graph.types import TensorType, parse_type
from .base import AttributeSpec, Operator, register

if TYPE_CHECKING:
    from ..graph.builder import GraphBuilder


@register
class Opaque(Operator):
    """An operator known by name only; `results` are the types that it is said to give."""

    name = "opaque"
    operands = ("*values",)
    attributes = {
        "operator": AttributeSpec(str, "its name where it comes from"),
        "results": AttributeSpec(tuple, "types of its results, as text"),
        "reason": AttributeSpec(str, "why netc doesn't have it, if there is more to say than that", ""),
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
        raise _unknown(attributes)

    def decompose(self, b: GraphBuilder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        raise _unknown(attributes)


def _unknown(attributes: Attributes) -> NetcError:
    hint = attributes["reason"] or "it is known by name only; cut the graph before it"
    return NetcError(f"netc can't run the operator {attributes['operator']}", hint=hint)
