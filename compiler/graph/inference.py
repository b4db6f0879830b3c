"""Complete attributes and result types, found once for all operations that are alike in what decides them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np

from ..types import TensorType
from .ir import Attributes, Operator

K = TypeVar("K")
V = TypeVar("V")

_MOST = 1 << 12
"""Signatures that are kept; a deep network has a few dozens of them."""
_PLAIN = frozenset({int, bool, str, type(None)})

_known: dict[Hashable, tuple[Sequence[TensorType], Attributes, tuple[TensorType, ...]]] = {}
"""By signature: the operands' types, whose identities are a part of it, complete attributes and result types."""
_complete: dict[Hashable, Attributes] = {}
_types: dict[TensorType, TensorType] = {}


def shared(type_: TensorType) -> TensorType:
    """One type for all that are equal to it, so that identities tell types apart; its sizes are Python's integers."""
    known = _types.get(type_)
    if known is None:
        plain = type_ if {int}.issuperset(map(type, type_.shape)) else replace(type_, shape=(*map(int, type_.shape),))
        known = _room(_types).setdefault(plain, plain)
    return known


def _room(known: dict[K, V]) -> dict[K, V]:
    if len(known) >= _MOST:
        known.clear()
    return known


def inferred(
    operator: Operator, operands: Sequence[TensorType], given: Attributes
) -> tuple[Attributes, tuple[TensorType, ...]]:
    """The attributes with their defaults, and the types of the results; errors are those of `Operator`."""
    key = _attributes_key(given)
    signature = operator, key, tuple(map(id, operands))
    known = _known.get(signature) if key is not None else None
    if known is None:
        complete = completed(operator, given)
        known = operands, complete, tuple(map(shared, operator.result_types(tuple(operands), complete)))
        if key is not None:
            _room(_known)[signature] = known
    return known[1], known[2]


def completed(operator: Operator, given: Attributes) -> Attributes:
    """The attributes with their defaults; one mapping for equal ones."""
    key = _attributes_key(given)
    if key is None:
        return operator.complete(given)
    signature = operator, key
    known = _complete.get(signature)
    if known is None:
        known = _room(_complete)[signature] = operator.complete(given)
    return known


def _attributes_key(given: Attributes) -> Hashable:
    """Equal for attributes that nothing can tell apart (1, 1.0 and True are three); None where there is no such key.

    Arrays have one if they are single numbers that nobody changes, and not views: these would keep whole files.
    """
    types = tuple(map(type, given.values()))
    if _PLAIN.issuperset(types):
        return types, *given.items()
    key: list[Hashable] = []
    for name, value in given.items():
        kind: Any = type(value)
        if kind is tuple:
            kind = _kinds(value)
        elif kind is float:
            value = value.hex()  # 0.0 and -0.0 are equal, NaN is not
        elif kind is np.ndarray and not value.ndim and not value.flags.writeable and value.base is None:
            kind, value = value.dtype.str, value.tobytes()
        elif kind not in _PLAIN:
            return None
        if kind is None:
            return None
        key += (name, kind, value)
    return tuple(key)


def _kinds(items: tuple[object, ...]) -> Hashable:
    """The types of the items of a tuple; None where one has no key."""
    types = tuple(map(type, items))
    if _PLAIN.issuperset(types):
        return types
    kinds: list[Hashable] = []
    for item in items:
        kind: Any = type(item)
        if kind is tuple:
            kind = _kinds(cast(tuple[object, ...], item))
        elif kind not in _PLAIN:
            return None
        if kind is None:
            return None
        kinds.append(kind)
    return tuple(kinds)
