"""From a flatbuffer to a `Model`: indices lie in range, shapes are bounded, constants have the bytes that they need."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from ...errors import NetcError
from ...types import DType, Quantization, TensorType
from ..names import ELEMENT_TYPES, OPERATORS, TENSOR_TYPES
from .flatbuffer import Record, decode
from .model import Model, Operator, Signature, Subgraph, Tensor
from .schema import IDENTIFIER, MODEL, VERSION

MAX_RANK = 8
MAX_ELEMENTS = 1 << 31
MAX_TENSORS = 1 << 20
MAX_SHARING = 64
"""How many times larger than the file its constants may be, if tensors share buffers."""

_DTYPES = {name: dtype for dtype, name in ELEMENT_TYPES.items()}


def _name(names: tuple[str, ...], number: int) -> str | None:
    """The name of a value of an enumeration."""
    return names[number] if 0 <= number < len(names) else None


def read_model(data: bytes) -> Model:
    """Decode and check a model file. Raises `NetcError` that names table and field for whatever is wrong with it."""
    root = decode(data, MODEL, identifier=IDENTIFIER, what="TFLite model")
    if root["version"] != VERSION:
        root.fail("version", f"version {root['version']} of the file format is not supported, only {VERSION}")
    if not root["subgraphs"]:
        root.fail("subgraphs", "there is none")
    buffers = [_buffer(record, data) for record in root["buffers"]]
    subgraphs = tuple(_subgraph(record, root["operator_codes"], buffers) for record in root["subgraphs"])
    constants = (t.type.bytes for s in subgraphs for t in s.tensors if t.type is not None and t.data is not None)
    if sum(constants) > MAX_SHARING * len(data):
        root.fail("subgraphs", f"the constants take more than {MAX_SHARING} times the file")
    signatures = tuple(_signature(record, subgraphs) for record in root["signature_defs"])
    return Model(root["description"] or "", subgraphs, signatures, _metadata(root, buffers))


def _subgraph(record: Record, codes: tuple[Record, ...], buffers: list[memoryview | None]) -> Subgraph:
    tensors = tuple(_tensor(tensor, buffers) for tensor in record["tensors"])
    count = len(tensors)
    if count > MAX_TENSORS:
        record.fail("tensors", f"{count} tensors are more than {MAX_TENSORS}")
    return Subgraph(
        record["name"] or "",
        tensors,
        tuple(_operator(i, operator, codes, count) for i, operator in enumerate(record["operators"])),
        _indices(record, "inputs", count),
        _indices(record, "outputs", count),
        record.path,
    )


def _buffer(record: Record, data: bytes) -> memoryview | None:
    """The bytes of a buffer, inside the flatbuffer or behind it; None if it states none."""
    view = memoryview(data)
    offset, size = record["offset"], record["size"]
    if offset > 1:
        if offset + size > len(data):
            record.fail("offset", f"{size} bytes at {offset} lie outside the file of {len(data)} bytes")
        return view[offset : offset + size]
    array = record["data"]
    return None if array is None else memoryview(array)


def _tensor(record: Record, buffers: list[memoryview | None]) -> Tensor:
    element = _name(TENSOR_TYPES, record["type"]) or f"number {record['type']}"
    shape = _shape(record)
    if record["buffer"] >= len(buffers):
        record.fail("buffer", f"there is no buffer {record['buffer']}, only {len(buffers)}")
    data = buffers[record["buffer"]] if record["buffer"] else None
    name, special, variable = record["name"] or "", _special(record), record["is_variable"]
    dtype = _DTYPES.get(element)
    if dtype is None or special or any(size < 0 for size in shape):
        return Tensor(name, element, special, None, shape, data or None, variable, record.path)
    type_ = TensorType(dtype, shape, None, _quantization(record, dtype, shape))
    if data and len(data) != type_.bytes:
        record.fail("buffer", f"{type_.dense()} takes {type_.bytes} bytes, but its buffer has {len(data)}")
    if data is not None and len(data) != type_.bytes:
        data = None  # many writers state an empty buffer for what is computed
    return Tensor(name, element, special, type_, shape, data, variable, record.path)


def _special(record: Record) -> str:
    """What makes elements other than plain numbers or numbers of a scale, as an addition to the name of their type."""
    if record["sparsity"] is not None:
        return " (sparse)"
    quantization = record["quantization"]
    return " (custom quantization)" if quantization is not None and quantization["details_type"] else ""


def _shape(record: Record) -> tuple[int, ...]:
    sizes = () if record["shape"] is None else record["shape"].tolist()
    if len(sizes) > MAX_RANK:
        record.fail("shape", f"{len(sizes)} dimensions are more than {MAX_RANK}")
    if any(s < -1 for s in sizes):
        record.fail("shape", f"{sizes} has sizes below 0, other than -1 for one that is not known")
    if math.prod(map(abs, sizes)) > MAX_ELEMENTS:
        record.fail("shape", f"{sizes} has more than {MAX_ELEMENTS:,} elements")
    return tuple(sizes)


def _quantization(tensor: Record, dtype: DType, shape: tuple[int, ...]) -> Quantization | None:
    record = tensor["quantization"]
    if record is None or record["scale"] is None or not len(record["scale"]) or dtype.is_float or dtype is DType.BOOL:
        return None
    scales = record["scale"]
    if len(scales) > 1 and len(scales) not in shape:
        record.fail("scale", f"{len(scales)} scales don't fit a tensor of shape {list(shape)}")
    zero_points = record["zero_point"]
    if zero_points is None or not len(zero_points):
        zero_points = np.zeros(len(scales), np.int64)
    axis = record["quantized_dimension"] if len(scales) > 1 else None
    try:
        quantization = Quantization(tuple(scales.tolist()), tuple(zero_points.tolist()), axis)
    except NetcError as error:
        record.fail("scale", error.diagnostics[0].message)
    problem = quantization.problem(dtype, shape)
    if problem is not None:
        record.fail("zero_point" if problem.startswith("zero point") else "quantized_dimension", problem)
    return quantization


def _operator(number: int, record: Record, codes: tuple[Record, ...], tensors: int) -> Operator:
    if record["opcode_index"] >= len(codes):
        record.fail("opcode_index", f"there is no operator code {record['opcode_index']}, only {len(codes)}")
    code = codes[record["opcode_index"]]
    kind = max(code["builtin_code"], code["deprecated_builtin_code"])
    if kind < 0:
        code.fail("builtin_code", f"there is no operator {kind}")
    name = _name(OPERATORS, kind) or f"BUILTIN_{kind}"
    is_custom = name == "CUSTOM"
    options = record["custom_options"]
    return Operator(
        number,
        str(code["custom_code"] or name) if is_custom else name,
        code["version"],
        is_custom,
        _indices(record, "inputs", tensors, optional=True),
        _indices(record, "outputs", tensors),
        _indices(record, "intermediates", tensors, optional=True),
        record["builtin_options"],
        bool(
            record["builtin_options_2_type"]
            or (record["builtin_options_type"] and not record["builtin_options"])
            or kind >= len(OPERATORS)
        ),
        b"" if options is None else options.tobytes(),
        record.path,
    )


def _indices(record: Record, name: str, tensors: int, *, optional: bool = False) -> tuple[int, ...]:
    """Indices of tensors, in range; -1 stands for none where that is allowed."""
    array = record[name]
    indices: list[int] = [] if array is None else array.tolist()
    for index in indices:
        if not (-1 if optional else 0) <= index < tensors:
            record.fail(name, f"there is no tensor {index}, only {tensors}")
    return tuple(indices)


def _signature(record: Record, subgraphs: tuple[Subgraph, ...]) -> Signature:
    index = record["subgraph_index"]
    if index >= len(subgraphs):
        record.fail("subgraph_index", f"there is no subgraph {index}, only {len(subgraphs)}")
    count = len(subgraphs[index].tensors)
    maps = []
    for name in ("inputs", "outputs"):
        for entry in record[name]:
            if entry["tensor_index"] >= count:
                entry.fail("tensor_index", f"there is no tensor {entry['tensor_index']}, only {count}")
        maps.append({entry["name"] or "": entry["tensor_index"] for entry in record[name]})
    return Signature(record["signature_key"] or "", index, maps[0], maps[1])


def _metadata(root: Record, buffers: list[memoryview | None]) -> Mapping[str, bytes]:
    found: dict[str, bytes] = {}
    for record in root["metadata"]:
        if record["buffer"] >= len(buffers):
            record.fail("buffer", f"there is no buffer {record['buffer']}, only {len(buffers)}")
        found[record["name"] or ""] = bytes(buffers[record["buffer"]] or b"")
    return found
