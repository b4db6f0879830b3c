"""A TFLite model as plain data: what `read_model` makes of a file, checked, before it becomes a graph.

Only the first subgraph is kept. Indices lie in range, shapes are bounded, constants have the bytes that their type
takes; what an operator does with its tensors is checked where it becomes an operation of the graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import numpy as np

from ...errors import NetcError
from ...graph.ir import Array
from ...types import DType, Quantization, TensorType
from ..names import ELEMENT_TYPES, OPERATORS, TENSOR_TYPES
from .flatbuffer import Record, decode
from .schema import IDENTIFIER, MODEL, VERSION

MAX_RANK = 8
MAX_ELEMENTS = 1 << 31
MAX_TENSORS = 1 << 20
MAX_SHARING = 64
"""How many times larger than the file its constants may be, if tensors share buffers."""

_DTYPES = {name: dtype for dtype, name in ELEMENT_TYPES.items()}


Coded = TypeVar("Coded")


def _name(names: tuple[str, ...], number: int) -> str | None:
    """The name of a value of an enumeration."""
    return names[number] if 0 <= number < len(names) else None


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the file; `data` holds the bytes of a constant."""

    name: str
    element: str
    """The schema's name of the element type."""
    special: str
    """What makes elements other than plain numbers or numbers of a scale, as an addition to that name."""
    type: TensorType | None
    """None for elements that netc doesn't have, such as STRING, and for shapes that are not known."""
    shape: tuple[int, ...]
    """-1 stands for a size that is not known before the model runs."""
    data: memoryview | None
    is_variable: bool
    path: str

    @property
    def type_name(self) -> str:
        """What the elements are, for messages."""
        return self.element + self.special

    @property
    def is_dynamic(self) -> bool:
        """True if the shape is not known."""
        return any(size < 0 for size in self.shape)

    def array(self) -> Array | None:
        """The value of a constant."""
        if self.data is None or self.type is None:
            return None
        dtype = self.type.dtype.numpy
        flat = np.frombuffer(self.data, dtype.newbyteorder("<"))
        return flat.astype(dtype, copy=False).reshape(self.type.shape)


@dataclass(frozen=True, slots=True)
class Operator:
    """One use of an operator: indices of tensors (-1: an optional input that is left out) and its options."""

    number: int
    """Its place among the operators."""
    name: str
    version: int
    is_custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    options: Record | None
    has_unknown_options: bool
    custom_options: bytes
    path: str

    def fail(self, problem: str, hint: str | None = None) -> NoReturn:
        """Raise the error about this operator."""
        raise NetcError(f"{self.path} ({self.name}): {problem}", hint=hint)

    def option(self, name: str, default: Any = None) -> Any:
        """A field of the options; `default` if there are none. Raises `NetcError` for options of another operator."""
        if self.options is None:
            return default
        if name not in self.options.values:
            self.fail(f"its options are {self.options.table}, which have no {name}")
        return self.options[name]

    def coded(self, name: str, codes: Sequence[Coded]) -> Coded:
        """What a field of the options stands for that is a code. Raises `NetcError` for others than these."""
        code = self.option(name, 0)
        if not 0 <= code < len(codes):
            self.fail(f"{name} can't be {code}")
        named: Coded = codes[code]
        return named


@dataclass(frozen=True, slots=True)
class Signature:
    """Names under which people know inputs and outputs."""

    key: str
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Model:
    """The first subgraph of a file, and what belongs to the file as a whole."""

    description: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    signatures: tuple[Signature, ...] = ()
    metadata: Mapping[str, bytes] = field(default_factory=dict)


def read_model(data: bytes) -> Model:
    """Decode and check a model file. Raises `NetcError` that names table and field for whatever is wrong with it."""
    root = decode(data, MODEL, identifier=IDENTIFIER, what="TFLite model")
    if root["version"] != VERSION:
        root.fail("version", f"version {root['version']} of the file format is not supported, only {VERSION}")
    if not root["subgraphs"]:
        root.fail("subgraphs", "there is none")
    buffers = [_buffer(record, data) for record in root["buffers"]]
    subgraph = root["subgraphs"][0]
    tensors = tuple(_tensor(record, buffers) for record in subgraph["tensors"])
    if len(tensors) > MAX_TENSORS:
        subgraph.fail("tensors", f"{len(tensors)} tensors are more than {MAX_TENSORS}")
    if sum(t.type.bytes for t in tensors if t.type is not None and t.data is not None) > MAX_SHARING * len(data):
        subgraph.fail("tensors", f"the constants take more than {MAX_SHARING} times the file")
    codes = root["operator_codes"]
    return Model(
        root["description"] or "",
        tensors,
        tuple(_operator(i, record, codes, len(tensors)) for i, record in enumerate(subgraph["operators"])),
        _indices(subgraph, "inputs", len(tensors)),
        _indices(subgraph, "outputs", len(tensors)),
        tuple(_signature(r, len(tensors)) for r in root["signature_defs"] if r["subgraph_index"] == 0),
        _metadata(root, buffers),
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


def _signature(record: Record, tensors: int) -> Signature:
    maps = []
    for name in ("inputs", "outputs"):
        for entry in record[name]:
            if entry["tensor_index"] >= tensors:
                entry.fail("tensor_index", f"there is no tensor {entry['tensor_index']}, only {tensors}")
        maps.append({entry["name"] or "": entry["tensor_index"] for entry in record[name]})
    return Signature(record["signature_key"] or "", maps[0], maps[1])


def _metadata(root: Record, buffers: list[memoryview | None]) -> Mapping[str, bytes]:
    found: dict[str, bytes] = {}
    for record in root["metadata"]:
        if record["buffer"] >= len(buffers):
            record.fail("buffer", f"there is no buffer {record['buffer']}, only {len(buffers)}")
        found[record["name"] or ""] = bytes(buffers[record["buffer"]] or b"")
    return found
