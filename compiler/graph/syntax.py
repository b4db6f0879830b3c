"""What printer and parser of the graph IR must agree on: names, which attributes the types give, arrays as text.

Arrays of up to `LISTED` elements are written as nested lists, those of one repeated element as that element, and all
others as base64 of their little-endian bytes. Every form reads back to the same bits: an array whose lists would not
(such as a NaN with a payload) is written in base64.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import NetcError
from ..numerics import repeated_element
from ..types import DType, TensorType

PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
PLAIN_FILE = re.compile(r"[^\s\"\x00-\x1f\x7f]+")

FROM_TYPE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"param": ("shape", "dtype", "quantization"), "constant": ("quantization",)}
)
"""Attributes that are not written because the result type gives them."""
BARE = ("param", "constant")
"""Operators whose arrays have the result's type, which is not written a second time."""

LISTED = 32
"""Largest number of elements that are written as nested lists."""
MAX_DEPTH = 32
"""How deep lists, mappings and regions may nest."""
MAX_RANK = 32
MAX_ELEMENTS = 1 << 40
"""Largest number of elements of a tensor that is read."""

Scalar = bool | int | float
Elements = Scalar | Sequence["Elements"]


def format_float(value: float) -> str:
    """The shortest text that reads back to the same number."""
    return repr(float(value))


def format_array(array: NDArray[Any]) -> str:
    """The elements of an array as `dense<...>`; the type stands elsewhere."""
    one = repeated_element(array)
    if one is not None and not (text := format_array(one)).startswith("dense<base64"):
        return text.replace("[", "").replace("]", "")
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
    data = little.tobytes()
    if array.size > 1 and data == data[: array.itemsize] * array.size:
        text = _format_element(array.flat[0])
        listed = [_read_element(text, array.dtype)] * array.size
    elif array.size <= LISTED:
        text = _format_list(array)
        listed = [_read_element(_format_element(e), array.dtype) for e in array.flat]
    else:
        return _format_base64(data)
    exact = _array(listed, DType.of(array.dtype)).astype(little.dtype).tobytes() == data
    return f"dense<{text}>" if exact else _format_base64(data)


def _format_base64(data: bytes) -> str:
    return f'dense<base64 "{base64.b64encode(data).decode()}">'


def _format_element(element: Any) -> str:
    if isinstance(element, np.bool_):
        return "true" if element else "false"
    return str(element)


def _read_element(text: str, dtype: np.dtype[Any]) -> Scalar:
    if dtype.kind == "b":
        return text == "true"
    return float(text) if dtype.kind == "f" else int(text)


def _format_list(array: NDArray[Any]) -> str:
    if array.ndim == 0:
        return _format_element(array[()])
    return "[" + ",".join(_format_list(part) for part in array) + "]"


def array_from_elements(elements: Elements, type_: TensorType) -> NDArray[Any]:
    """The array of a type from its nested lists, or from the one element that it repeats."""
    if not isinstance(elements, Sequence):
        one = _array([_checked(elements, type_.dtype)], type_.dtype)
        return np.broadcast_to(one, type_.shape) if type_.rank else one.reshape(())
    flat = [_checked(e, type_.dtype) for e in _flatten(elements, type_.shape, type_)]
    return _array(flat, type_.dtype).reshape(type_.shape)


def _array(elements: Sequence[Scalar], dtype: DType) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return np.array(elements, np.float64 if dtype.is_float else dtype.numpy).astype(dtype.numpy)


def array_from_base64(text: str, type_: TensorType) -> NDArray[Any]:
    """The array of a type from base64 of its little-endian bytes.

    Raises `NetcError` for other text, and for more or fewer bytes.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise NetcError("this is not base64") from None
    expected = type_.size * type_.dtype.itemsize
    if len(data) != expected:
        raise NetcError(f"{type_} takes {expected} bytes, but there are {len(data)}")
    return np.frombuffer(data, type_.dtype.numpy.newbyteorder("<")).astype(type_.dtype.numpy).reshape(type_.shape)


def _flatten(elements: Elements, shape: tuple[int, ...], type_: TensorType) -> Iterator[Scalar]:
    if not shape or not isinstance(elements, Sequence):
        if shape or isinstance(elements, Sequence):
            raise NetcError(f"the nesting of the lists doesn't fit {type_}")
        yield elements
        return
    if len(elements) != shape[0]:
        raise NetcError(f"a list of {len(elements)} elements doesn't fit {type_}, which takes {shape[0]} there")
    for element in elements:
        yield from _flatten(element, shape[1:], type_)


def _checked(element: Scalar, dtype: DType) -> Scalar:
    """The element, if the type can hold it."""
    if dtype.is_float:
        fits = not isinstance(element, bool)
    elif dtype is DType.BOOL:
        fits = isinstance(element, bool)
    else:
        info = np.iinfo(str(dtype.numpy))
        fits = type(element) is int and info.min <= element <= info.max
    if not fits:
        raise NetcError(f"an element of {dtype} can't be {element!r}")
    return element
