"""What operators declare: their attributes, which scale a result has, where its elements come from elsewhere."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from ..errors import NetcError, near_miss
from ..types import Quantization

Array = NDArray[Any]
Attribute = Any
"""bool, int, float, str, None, ndarray, Graph, or a tuple or mapping of attributes; each operator declares its own."""
Attributes = Mapping[str, Attribute]


REQUIRED = object()
"""Default of an attribute that must be given."""


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """Declared attribute of an operator; `kind` is a class, or a tuple of classes, that its values belong to."""

    kind: type | tuple[type, ...]
    doc: str
    default: Any = REQUIRED
    items: type | None = None
    """The class of a tuple's items, where these aren't whole numbers."""

    @property
    def is_quantization(self) -> bool:
        """Whether values say what integers stand for, or a tuple of values does."""
        kinds = self.kind if isinstance(self.kind, tuple) else (self.kind,)
        return Quantization in (*kinds, self.items)


def completed(operator: str, declared: Mapping[str, AttributeSpec], given: Attributes) -> Attributes:
    """Attributes with defaults for those that aren't given; raises `NetcError` for wrong names and kinds."""
    for key in given:
        if key not in declared:
            raise NetcError(f"{operator} has no attribute `{key}`", hint=near_miss(key, declared))
    complete: dict[str, Attribute] = {}
    for key, spec in declared.items():
        value = given.get(key, spec.default)
        if value is REQUIRED:
            raise NetcError(f"{operator} needs the attribute `{key}`: {spec.doc}")
        if isinstance(value, list):
            value = tuple(value)
        if value is not spec.default and not isinstance(value, spec.kind):
            raise NetcError(f"attribute `{key}` of {operator} can't be {value!r}: {spec.doc}")
        complete[key] = value
    return MappingProxyType(complete)


def plain(attribute: Attribute) -> Attribute:
    """An attribute with dictionaries for mappings, which can be pickled."""
    if isinstance(attribute, Mapping):
        return {key: plain(value) for key, value in attribute.items()}
    return tuple(map(plain, attribute)) if type(attribute) is tuple else attribute


class Scales(enum.Enum):
    """Which scale the result of an operator has, where it works on quantized numbers."""

    OWN = "own"
    """One that fits its own range, or `fixed_scale`."""
    OPERAND = "operand"
    """That of operand 0."""
    COMMON = "common"
    """One of its own, to which the operands are brought."""
    JOINT = "joint"
    """One for the result and the operands that only this operator reads; other operands are brought to it."""


@dataclass(frozen=True, slots=True)
class Seams:
    """Where the elements of a result come from elsewhere: from these places on, along a dimension (-1: the last)."""

    dimension: int = -1
    places: tuple[int, ...] = ()
