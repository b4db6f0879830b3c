"""Tensors of a file: their element types, and the numbers that they hold, in the file or beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ...compiler.errors import NetcError
from ...compiler.graph.ir import Array
from ...compiler.reading import reason
from ...compiler.types import DType
from .library import library
from .wire import Place

_DTYPES: Mapping[str, DType] = MappingProxyType(
    {
        "FLOAT": DType.F32,
        "DOUBLE": DType.F64,
        "FLOAT16": DType.F16,
        "INT64": DType.I64,
        "INT32": DType.I32,
        "INT16": DType.I16,
        "INT8": DType.I8,
        "UINT8": DType.U8,
        "BOOL": DType.BOOL,
    }
)
FOREIGN: Mapping[str, str] = MappingProxyType(
    {
        "BFLOAT16": "bfloat16",
        "FLOAT8E4M3FN": "float8e4m3fn",
        "FLOAT8E4M3FNUZ": "float8e4m3fnuz",
        "FLOAT8E5M2": "float8e5m2",
        "FLOAT8E5M2FNUZ": "float8e5m2fnuz",
        "FLOAT8E8M0": "float8e8m0",
        "FLOAT4E2M1": "float4e2m1",
        "UINT64": "uint64",
        "UINT32": "uint32",
        "UINT16": "uint16",
        "UINT4": "uint4",
        "INT4": "int4",
        "UINT2": "uint2",
        "INT2": "int2",
    }
)
"""Element types that known numbers may have until they are converted, with their names in definitions of operators."""
_FIELDS: Mapping[DType, str] = MappingProxyType(
    {DType.F32: "float_data", DType.F64: "double_data", DType.I64: "int64_data"}
)
"""Where a tensor has its elements if not as raw bytes; those of all other types stand in int32_data."""
MAX_ELEMENTS = 1 << 31


def element_name(code: int) -> str:
    """The name that ONNX gives an element type, such as BFLOAT16."""
    names: dict[int, str] = {number: name for name, number in library().TensorProto.DataType.items()}
    return names.get(code, f"number {code}")


def dtype_of(code: int) -> DType:
    """The element type of a code of TensorProto.DataType. Raises `NetcError` for those that netc doesn't have."""
    name = element_name(code)
    if name not in _DTYPES:
        raise NetcError(f"elements of type {name} are not supported", hint="netc has " + ", ".join(_DTYPES))
    return _DTYPES[name]


def array_of(tensor: Any, folder: Path | None, place: Place | None = None) -> Array:
    """What a TensorProto holds; `folder` is the model's, in which large tensors may lie in other files.

    `place` is where its bytes lie if they were left in the model's own file.

    Raises `NetcError` for one that is damaged, has elements that netc doesn't have, or leaves the folder.
    """
    shape = tuple(int(d) for d in tensor.dims)
    what = f"tensor `{tensor.name}`"
    if any(d < 0 for d in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise NetcError(f"{what} can't have the shape {list(shape)}")
    if tensor.HasField("segment"):
        raise NetcError(f"{what} is one of several segments, which are not supported")
    if tensor.data_location == library().TensorProto.EXTERNAL:
        place = _external(tensor, folder)
    if element_name(tensor.data_type) in FOREIGN:
        return _foreign(tensor, place, shape)
    dtype = dtype_of(tensor.data_type)
    if place is None and not tensor.HasField("raw_data"):
        return _typed(tensor, dtype, what).reshape(shape)
    needed = math.prod(shape) * dtype.itemsize
    data = np.frombuffer(tensor.raw_data, np.uint8) if place is None else _bytes_at(place, what, needed)
    if len(data) != needed:
        raise NetcError(f"{what} needs {needed} bytes for {dtype}{list(shape)}, but has {len(data)}")
    numbers: Array = data != 0 if dtype is DType.BOOL else data.view(dtype.numpy.newbyteorder("<"))
    return numbers.astype(dtype.numpy, copy=False).reshape(shape)


def _foreign(tensor: Any, place: Place | None, shape: tuple[int, ...]) -> Array:
    """A tensor of elements that netc doesn't have, in a type of NumPy or of ml_dtypes."""
    onnx = library()
    if place is not None:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        bits = _BITS.get(element_name(tensor.data_type), kind.itemsize * 8)
        copy = onnx.TensorProto(data_type=tensor.data_type, dims=shape)
        copy.raw_data = _bytes_at(place, f"tensor `{tensor.name}`", -(-math.prod(shape) * bits // 8)).tobytes()
        tensor = copy
    try:
        array: Array = onnx.numpy_helper.to_array(tensor)
    except (TypeError, ValueError) as error:
        raise NetcError(f"tensor `{tensor.name}` is damaged: {reason(error)}") from None
    return array


_BITS = {"UINT4": 4, "INT4": 4, "FLOAT4E2M1": 4, "UINT2": 2, "INT2": 2}


def foreign_word(array: Array) -> str | None:
    """What definitions of operators call the element type of known numbers, if netc doesn't have it."""
    name = library().TensorProto.DataType.Name(library().helper.np_dtype_to_tensor_dtype(array.dtype))
    return FOREIGN.get(name)


def plain(array: Array, dtype: DType) -> Array:
    """Known numbers of a type that netc doesn't have as one of its own."""
    wide = array if array.dtype.kind in "iu" else array.astype(np.float32)
    with np.errstate(all="ignore"):
        return wide.astype(dtype.numpy)


def _typed(tensor: Any, dtype: DType, what: str) -> Array:
    field = _FIELDS.get(dtype, "int32_data")
    numbers = getattr(tensor, field)
    needed = math.prod(tensor.dims)
    if len(numbers) != needed:
        raise NetcError(f"{what} needs {needed} elements in {field}, but has {len(numbers)}")
    if dtype is DType.F16:
        return np.array(numbers, np.int64).astype(np.uint16).view(np.float16)
    return np.array(numbers, np.int64 if field == "int32_data" else dtype.numpy).astype(dtype.numpy)


def _external(tensor: Any, folder: Path | None) -> Place:
    """Where a tensor lies in another file, which is in the model's folder or below."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    what = f"tensor `{tensor.name}`"
    if folder is None:
        raise NetcError(f"{what} lies in the file `{location}`, but the model doesn't lie in a folder")
    path = folder / location
    if not location or Path(location).is_absolute() or not _is_below(path, folder):
        raise NetcError(
            f"{what} lies in `{location}`, outside the model's folder", hint="put its file beside the model"
        )
    offset, length = (_number(entries.get(key, default), what) for key, default in (("offset", "0"), ("length", "-1")))
    return Place(path, offset, length)


def _bytes_at(place: Place, what: str, needed: int) -> Array:
    """What lies there. Raises `NetcError` unless it is as long as it should be, before it takes the memory."""
    if place.offset < 0 or place.length not in (-1, needed):
        raise NetcError(f"{what} needs {needed} bytes, but `{place.path.name}` has {place.length} at {place.offset}")
    return replace(place, length=needed).read()


def _is_below(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False


def _number(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise NetcError(f"{what}: `{text}` is no number of bytes") from None
