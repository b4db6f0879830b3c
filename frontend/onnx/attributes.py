"""Attributes of nodes, decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...compiler.errors import NetcError
from .library import library

_FIELDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "FLOAT": ("f", lambda f: _shortest(f)),
    "INT": ("i", int),
    "STRING": ("s", lambda s: s.decode("utf-8", "replace")),
    "TENSOR": ("t", lambda t: t),
    "GRAPH": ("g", lambda g: g),
    "FLOATS": ("floats", lambda each: tuple(map(_shortest, each))),
    "INTS": ("ints", tuple),
    "STRINGS": ("strings", lambda each: tuple(s.decode("utf-8", "replace") for s in each)),
    "GRAPHS": ("graphs", tuple),
    "TENSORS": ("tensors", tuple),
    "TYPE_PROTO": ("tp", lambda t: t),
}


def _shortest(number: float) -> float:
    """The shortest decimal number that is this one in single precision: 1e-05 for what f32 makes of it."""
    return float(str(np.float32(number)))


def decoded(attributes: Sequence[Any]) -> dict[str, Any]:
    """Attributes by name. Raises `NetcError` for kinds that netc doesn't know, and for one that stands twice."""
    kinds = library().AttributeProto.AttributeType
    found: dict[str, Any] = {}
    for attribute in attributes:
        name = attribute.name
        if name in found:
            raise NetcError(f"the attribute `{name}` stands twice")
        kind = kinds.Name(attribute.type) if attribute.type in kinds.values() else str(attribute.type)
        if kind not in _FIELDS:
            raise NetcError(f"the attribute `{name}` is of kind {kind}, which is not supported")
        field, decode = _FIELDS[kind]
        found[name] = decode(getattr(attribute, field))
    return found
