"""Keys of attributes, by which operations are compared."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import numpy as np

from ..numerics import repeated_element
from .ir import Array, Attributes, Operation
from .printer import format_attribute, print_graph

LONGEST = 1 << 12
"""Bytes of an array that a key holds itself; of more it holds a hash (SHA-256)."""

GLANCED = 16
"""Elements of an array at which `glance` looks."""


def attributes_key(attributes: Attributes) -> Hashable:
    """Equal for equal attributes, and only for those; an array of one repeated number costs no more than the number."""
    return tuple((name, _attribute_key(value)) for name, value in attributes.items())


def computation_key(op: Operation) -> Hashable:
    """Equal for operations by the same operator that compute the same of the same operands."""
    types = tuple(r.type for r in op.results)
    body = print_graph(op.body, locations=False) if op.body is not None else None
    return types, attributes_key(op.attributes), body


def glance(attributes: Attributes) -> Hashable:
    """What can be told of attributes at once: the same for equal ones, and for most others something else."""
    arrays = [value for value in attributes.values() if isinstance(value, np.ndarray)]
    return tuple((value.shape, value.flat[:GLANCED].tobytes()) for value in arrays)


def _attribute_key(value: object) -> Hashable:
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, _elements_key(value)
    return format_attribute(value)


def _elements_key(array: Array) -> bytes:
    """All elements, or the one that they all are, by their bits; a hash of many."""
    one = repeated_element(array)
    if one is not None:
        return one.tobytes()
    data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(array.size, array.itemsize)
    first, few = data[:1], data[: LONGEST // array.itemsize]  # few tell, most of the time
    if (few == first).all() and (data == first).all():
        return first.tobytes()
    return data.tobytes() if data.size <= LONGEST else hashlib.sha256(data.data).digest()
