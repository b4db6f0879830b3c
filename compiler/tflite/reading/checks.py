"""From a flatbuffer to a `Model`: indices lie in range, shapes are bounded, constants have the bytes that they need."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...errors import NetcError
from ...graph.ir import Array
from ...types import DType, Quantization, TensorType
from ..names import ELEMENT_TYPES, OPERATORS, TENSOR_TYPES
from .encodings import PACKED, Blocks, Sparsity, packed_bytes, sparsity_of
from .flatbuffer import Record, decode
from .model import Model, Operator, Signature, Subgraph, Tensor
from .schema import IDENTIFIER, MODEL, VERSION

MAX_RANK = 8
MAX_ELEMENTS = 1 << 31
MAX_TENSORS = 1 << 20
MAX_SHARING = 64
"""How many times larger than the file its constants may be, if tensors share buffers."""

_DETAILS = {1: " (custom quantization)", 2: " (blockwise quantization)", 3: " (quantization along several axes)"}
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
    budget = _Budget(root, MAX_SHARING * len(data))
    subgraphs = tuple(_subgraph(record, root["operator_codes"], buffers, budget) for record in root["subgraphs"])
    signatures = tuple(_signature(record, subgraphs) for record in root["signature_defs"])
    return Model(root["description"] or "", subgraphs, signatures, _metadata(root, buffers))


@dataclass
class _Budget:
    """How many bytes the constants of a file may still take."""

    root: Record
    left: int

    def spend(self, amount: int) -> None:
        self.left -= amount
        if self.left < 0:
            self.root.fail("subgraphs", f"the constants take more than {MAX_SHARING} times the file")


def _subgraph(record: Record, codes: tuple[Record, ...], buffers: list[memoryview | None], budget: _Budget) -> Subgraph:
    count = len(record["tensors"])
    if count > MAX_TENSORS:
        record.fail("tensors", f"{count} tensors are more than {MAX_TENSORS}")
    found = [_tensor(tensor, buffers, budget) for tensor in record["tensors"]]
    tensors = tuple(_in_blocks(tensor, t, found, budget) for tensor, t in zip(record["tensors"], found, strict=True))
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
    offset, size = record["offset"], record["size"]
    if offset > 1:
        if offset + size > len(data):
            record.fail("offset", f"{size} bytes at {offset} lie outside the file of {len(data)} bytes")
        return memoryview(data)[offset : offset + size]
    array = record["data"]
    return None if array is None else memoryview(array)


def _tensor(record: Record, buffers: list[memoryview | None], budget: _Budget) -> Tensor:
    element = _name(TENSOR_TYPES, record["type"]) or f"number {record['type']}"
    shape = _shape(record)
    if record["buffer"] >= max(len(buffers), 1):  # 0 stands for none, where there are no buffers, too
        record.fail("buffer", f"there is no buffer {record['buffer']}, only {len(buffers)}")
    data = buffers[record["buffer"]] if record["buffer"] else None
    special = _special(record)
    tensor = Tensor(
        record["name"] or "",
        element,
        special,
        None,
        shape,
        data or None,
        record["is_variable"],
        record.path,
        _signature_of(record, len(shape)),
        bool(shape or data) or record["has_rank"],
    )
    dtype = DType.I8 if element in PACKED and data else _DTYPES.get(element)
    if dtype is None or special:
        return tensor
    type_ = TensorType(dtype, shape, None, _quantization(record, dtype, shape))
    if not data:  # many writers state an empty buffer for what is computed
        return replace(tensor, type=type_, data=None if data is None or type_.size else data)
    if any(size < 0 for size in shape):
        record.fail("shape", f"{list(shape)} is no shape of a constant")
    budget.spend(type_.bytes)
    sparsity = record["sparsity"] and _sparsity(record, data, type_, element)
    stored = type_.size if sparsity is None else sparsity.count
    wanted = packed_bytes(element, stored) if element in PACKED else stored * dtype.itemsize
    if len(data) != wanted:
        what = f"{type_.dense()}" if sparsity is None else f"{stored} stored elements of {type_.dense()}"
        record.fail("buffer", f"{what} takes {wanted} bytes, but its buffer has {len(data)}")
    return replace(tensor, type=type_, sparsity=sparsity)


def _in_blocks(record: Record, tensor: Tensor, tensors: Sequence[Tensor], budget: _Budget) -> Tensor:
    """A constant matrix that has a scale for each block of a row, as the floats that it stands for; others as they are.

    The scales are a tensor [rows, blocks].
    """
    if tensor.special != _DETAILS[2] or tensor.data is None or len(tensor.shape) != 2:
        return tensor
    details, dtype = record["quantization"]["details"], DType.I8
    if details is None or tensor.element not in (*PACKED, "INT8") or not 0 <= details["scales"] < len(tensors):
        return tensor
    (rows, columns), size = tensor.shape, details["block_size"]
    scales, zeros = tensors[details["scales"]], _zero_points(details, tensors)
    if size < 1 or columns % size or scales.type is None or scales.type.size != rows * columns // size:
        details.fail("block_size", f"{scales.shape} scales don't fit blocks of {size} in {list(tensor.shape)}")
    stated = scales.array()
    if stated is None or not scales.type.dtype.is_float or zeros is None or zeros.any():
        return tensor
    if not np.all(np.isfinite(stated) & (stated > 0)):
        details.fail("scales", "scales must be positive and finite")
    wanted = packed_bytes(tensor.element, rows * columns) if tensor.element in PACKED else rows * columns
    if len(tensor.data) != wanted:
        record.fail("buffer", f"{list(tensor.shape)} takes {wanted} bytes, but its buffer has {len(tensor.data)}")
    budget.spend(rows * columns * 4)
    blocks = Blocks(TensorType(dtype, tensor.shape), stated.astype(np.float32).reshape(rows, columns // size, 1))
    return replace(tensor, type=TensorType(DType.F32, tensor.shape), special="", blocks=blocks)


def _zero_points(details: Record, tensors: Sequence[Tensor]) -> Array | None:
    """The zero points of blocks, none where no tensor other than the first is named; None if they aren't constant."""
    index = details["zero_points"]
    return tensors[index].array() if 0 < index < len(tensors) else np.zeros(1, np.int8)


def _sparsity(record: Record, data: memoryview, type_: TensorType, element: str) -> Sparsity | None:
    """The layout of a sparse constant; None for one that is stated, but has no levels."""
    layout = record["sparsity"]
    if not layout["dim_metadata"]:
        return None
    width = 8 // PACKED[element] if element in PACKED else 1
    return sparsity_of(layout, type_.shape, len(data) * width // type_.dtype.itemsize)


def _signature_of(record: Record, rank: int) -> tuple[int, ...]:
    """The shape with its free sizes; empty where it has another rank than the shape."""
    sizes = record["shape_signature"]
    return () if sizes is None or len(sizes) != rank else tuple(sizes.tolist())


def _special(record: Record) -> str:
    """What makes elements other than plain numbers or numbers of a scale, as an addition to the name of their type."""
    quantization = record["quantization"]
    kind = 0 if quantization is None else quantization["details_type"]
    return "" if not kind else _DETAILS.get(kind, " (unknown quantization)")


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
    if dtype in (DType.I32, DType.I64) and not np.any(scales):
        return None  # how some writers say that biases and sizes have no scale
    if len(scales) > 1 and len(scales) not in shape:
        record.fail("scale", f"{len(scales)} scales don't fit a tensor of shape {list(shape)}")
    zero_points = record["zero_point"]
    if zero_points is None or not len(zero_points):
        zero_points = np.zeros(len(scales), np.int64)
    axis = record["quantized_dimension"] if len(scales) > 1 else None
    if axis is not None and len(shape) == 1:
        axis = (
            0  # some writers state the dimension of the weights for their bias; LiteRT for microcontrollers runs that
        )
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
        record["builtin_options"] or record["builtin_options_2"],
        bool(
            (record["builtin_options_2_type"] and not record["builtin_options_2"])
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
