"""Weights that are no numbers: damaged, or of a training that diverged. Nothing that they are rounded to is right."""

from __future__ import annotations

import numpy as np

from ..errors import NetcError
from ..graph.ir import Array, Graph, Value
from ..graph.names import value_names


def refuse_infinite(graph: Graph, value: Value, array: Array) -> None:
    """Raise `NetcError`, where a constant is used, if it holds what no integer can stand for."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        _refuse(graph, value, "infinities or NaNs")


def refuse_nans(graph: Graph) -> None:
    """Raise `NetcError` if a constant holds NaNs; infinities may be meant, as in masks."""
    for op in graph.operations:
        if op.name == "constant" and op.result.type.dtype.is_float and np.isnan(op.attributes["value"]).any():
            _refuse(graph, op.result, "NaNs")


def _refuse(graph: Graph, value: Value, what: str) -> None:
    users = graph.users[value]
    location = users[0].location if users else graph.producers[value].location
    raise NetcError(f"`{value_names(graph)[value]}` holds {what}", location=location)
