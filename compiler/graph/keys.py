"""Keys of attributes, by which operations are compared."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from ..numerics import repeated_element
from .ir import Attributes
from .printer import format_attribute


def attributes_key(attributes: Attributes) -> Hashable:
    """Equal for equal attributes, and only for those; an array of one repeated number costs no more than the number."""
    return tuple((name, _attribute_key(value)) for name, value in attributes.items())


def _attribute_key(value: object) -> Hashable:
    if isinstance(value, np.ndarray):
        one = repeated_element(value)
        data = (value if one is None else one).tobytes()
        element = data[: value.itemsize]
        is_one = one is not None or data == element * value.size
        return value.shape, value.dtype.str, element if is_one else data
    return format_attribute(value)
