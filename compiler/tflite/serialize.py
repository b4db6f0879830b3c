"""From a `Model` to the bytes of a TFLite file: a flatbuffer by TensorFlow's schema, version 3.

The same model gives the same bytes. Equal constants share a buffer, and the data of each buffer begins at a multiple of
16 bytes, as the schema asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import flatbuffers
import numpy as np
import tflite

from ..errors import NetcError
from ..graph.ir import Array
from ..types import DType, Quantization
from .model import Field, Function, Model, Node, Options, Tensor
from .names import ELEMENT_TYPES, accessor
from .reading.flatbuffer import Scalar, Table, Vector
from .reading.options import OPTIONS, OPTIONS_2
from .reading.schema import IDENTIFIER, VERSION

ALIGNMENT = 16
BLOCKWISE, NO_TENSOR = 2, -1
MAX_BYTES = (1 << 31) - 1
"""Offsets of flatbuffers have 31 bits."""


def serialize(model: Model) -> bytes:
    """The file. Raises `NetcError` if it would be larger than the format allows."""
    return _Serializer(model).run()


class _Serializer:
    def __init__(self, model: Model) -> None:
        self.model = model
        self.buffers: list[bytes | None] = [None]  # by the schema, the first one is empty and means: no data
        self._places: dict[bytes, int] = {}
        self.codes: dict[tuple[str, int, str], int] = {}

    def run(self) -> bytes:
        parts: list[Model | Function] = [self.model, *self.model.functions]
        tensor_buffers = [
            [self.place(_data(t, t.data)) if t.data is not None else 0 for t in part.tensors] for part in parts
        ]
        metadata = {name: self.place(data) for name, data in self.model.metadata.items()}
        for node in (node for part in parts for node in part.nodes):
            self.codes.setdefault((node.name, node.version, node.custom_code), len(self.codes))
        total = sum(map(len, self._places))
        if total > MAX_BYTES - (1 << 24):
            raise NetcError(f"a TFLite file can't hold {total:,} bytes of constants", hint="its limit is 2 GiB")
        self.b: Any = flatbuffers.Builder(total + (1 << 16))
        # A flatbuffer is written from its end: what stands first in the file is made last.
        buffers = self.tables([self.buffer(data) for data in self.buffers])
        entries = self.tables([self.metadata(name, place) for name, place in metadata.items()])
        signatures = self.tables([self.signature()])
        subgraphs = self.tables([self.subgraph(*each) for each in zip(parts, tensor_buffers, strict=True)])
        codes = self.tables([self.operator_code(*key) for key in self.codes])
        description = self.b.CreateString("netc")
        root = self.table(
            "Model",
            Version=VERSION,
            OperatorCodes=codes,
            Subgraphs=subgraphs,
            Description=description,
            Buffers=buffers,
            Metadata=entries,
            SignatureDefs=signatures,
        )
        self.b.Finish(root, file_identifier=IDENTIFIER)
        return bytes(self.b.Output())

    def place(self, data: bytes) -> int:
        """The buffer that holds these bytes."""
        if data not in self._places:
            self._places[data] = len(self.buffers)
            self.buffers.append(data)
        return self._places[data]

    # ---- flatbuffers ----

    def table(self, name: str, **fields: Any) -> int:
        """A table with the fields given, under the names of the generated code."""
        getattr(tflite, f"{name}Start")(self.b)
        for key, value in fields.items():
            getattr(tflite, f"{name}Add{key}")(self.b, value)
        end: int = getattr(tflite, f"{name}End")(self.b)
        return end

    def _vector(self, size: int, items: Sequence[Any], prepend: Callable[[Any], None]) -> int:
        self.b.StartVector(size, len(items), size)
        for item in reversed(items):
            prepend(item)
        end: int = self.b.EndVector()
        return end

    def tables(self, offsets: Sequence[int]) -> int:
        return self._vector(4, offsets, self.b.PrependUOffsetTRelative)

    def integers(self, values: Sequence[int]) -> int:
        return self._vector(4, values, self.b.PrependInt32)

    def block(self, data: bytes) -> int:
        """A vector of bytes that begins at a multiple of 16."""
        self.b.StartVector(1, len(data), ALIGNMENT)
        head = self.b.head = self.b.Head() - len(data)
        self.b.Bytes[head : head + len(data)] = data
        end: int = self.b.EndVector()
        return end

    # ---- tables of the schema ----

    def buffer(self, data: bytes | None) -> int:
        """A constant without elements has data, too, of no bytes: else it would count as computed."""
        if data is None:
            return self.table("Buffer")
        return self.table("Buffer", Data=self.block(data))

    def metadata(self, name: str, buffer: int) -> int:
        return self.table("Metadata", Name=self.b.CreateString(name), Buffer=buffer)

    def operator_code(self, name: str, version: int, custom_code: str) -> int:
        code = getattr(tflite.BuiltinOperator, name)
        fields = {"CustomCode": self.b.CreateString(custom_code)} if custom_code else {}
        return self.table(
            "OperatorCode", DeprecatedBuiltinCode=min(code, 127), Version=version, BuiltinCode=code, **fields
        )

    def tensor(self, tensor: Tensor, buffer: int) -> int:
        name, shape = self.b.CreateString(tensor.name), self.integers(tensor.type.shape)
        given = tensor.type.quantization
        quantization = {} if given is None else {"Quantization": self.quantization(given)}
        if tensor.scales is not None:
            quantization["Quantization"] = self.blockwise(tensor.scales, tensor.block)
        fields = {**quantization, "IsVariable": True} if tensor.variable else quantization
        element = tflite.TensorType.RESOURCE if tensor.resource else element_code(tensor.type.dtype)
        element = tflite.TensorType.COMPLEX64 if tensor.complex else element
        element = tflite.TensorType.INT4 if tensor.scales is not None else element
        return self.table("Tensor", Shape=shape, Type=element, Buffer=buffer, Name=name, **fields)

    def quantization(self, given: Quantization) -> int:
        scales = self._vector(4, given.scales, self.b.PrependFloat32)
        zero_points = self._vector(8, given.zero_points, self.b.PrependInt64)
        axis = {} if given.axis is None else {"QuantizedDimension": given.axis}
        return self.table("QuantizationParameters", Scale=scales, ZeroPoint=zero_points, **axis)

    def blockwise(self, scales: int, size: int) -> int:
        """A scale for each block of `size` elements of a row; the package's generated code lacks the table."""
        self.b.StartObject(3)
        for slot, number in enumerate((scales, NO_TENSOR, size)):
            self.b.PrependInt32Slot(slot, number, 0)
        details = self.b.EndObject()
        return self.table("QuantizationParameters", DetailsType=BLOCKWISE, Details=details)

    def node(self, node: Node) -> int:
        inputs, outputs = self.integers(node.inputs), self.integers(node.outputs)
        fields: dict[str, Any] = {}
        if node.options is not None:
            table = node.options.table
            second = "" if hasattr(tflite.BuiltinOptions, table) else "2"
            kinds = getattr(tflite, f"BuiltinOptions{second}")
            fields[f"BuiltinOptions{second}Type"] = getattr(kinds, table)
            fields[f"BuiltinOptions{second}"] = self.options(node.options)
        if node.custom_options:
            fields["CustomOptions"] = self.block(node.custom_options)
        if node.intermediates:
            fields["Intermediates"] = self.integers(node.intermediates)
        index = self.codes[node.name, node.version, node.custom_code]
        return self.table("Operator", OpcodeIndex=index, Inputs=inputs, Outputs=outputs, **fields)

    def options(self, options: Options) -> int:
        kinds = _tables()[options.table].fields
        fields = {accessor(name): self.field(value, kinds[name]) for name, value in options.fields.items()}
        return self.table(options.table, **fields)

    def field(self, value: Field, kind: object) -> int | float | bool:
        if isinstance(value, str):
            text: int = self.b.CreateString(value)
            return text
        if isinstance(value, int | float):
            return value
        form = kind.of.format if isinstance(kind, Vector) and isinstance(kind.of, Scalar) else "<i4"
        size, method = _ELEMENTS[form]
        return self._vector(size, value, getattr(self.b, method))

    def subgraph(self, part: Model | Function, buffers: Sequence[int]) -> int:
        tensors = self.tables([self.tensor(t, b) for t, b in zip(part.tensors, buffers, strict=True)])
        nodes = self.tables([self.node(n) for n in part.nodes])
        inputs, outputs = self.integers(part.inputs), self.integers(part.outputs)
        name = self.b.CreateString(part.name)
        return self.table("SubGraph", Tensors=tensors, Inputs=inputs, Outputs=outputs, Operators=nodes, Name=name)

    def signature(self) -> int:
        model = self.model
        inputs = self.names(model.input_names, model.inputs)
        outputs = self.names(model.output_names, model.outputs)
        key = self.b.CreateString(model.signature)
        return self.table("SignatureDef", Inputs=inputs, Outputs=outputs, SignatureKey=key, SubgraphIndex=0)

    def names(self, names: Sequence[str], places: Sequence[int]) -> int:
        strings = [self.b.CreateString(name) for name in names]
        return self.tables(
            [self.table("TensorMap", Name=s, TensorIndex=p) for s, p in zip(strings, places, strict=True)]
        )


_ELEMENTS = {
    "<i4": (4, "PrependInt32"),
    "<i8": (8, "PrependInt64"),
    "<f4": (4, "PrependFloat32"),
    "<u1": (1, "PrependUint8"),
}
"""Sizes of elements of vectors, and the methods that write them."""


@cache
def _tables() -> Mapping[str, Table]:
    """All tables of options by name."""
    return {table.name: table for table in (*OPTIONS.tables.values(), *OPTIONS_2.tables.values())}


def _data(tensor: Tensor, array: Array) -> bytes:
    """The elements in row-major order, little-endian; two of 4 bits share a byte, the first in the lower bits."""
    if tensor.scales is not None:
        flat = np.append(array.reshape(-1), np.zeros(array.size % 2, array.dtype)).view(np.uint8) & 0xF
        return bytes(flat[::2] | flat[1::2] << 4)
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def element_code(dtype: DType) -> int:
    """The schema's number for an element type."""
    code: int = getattr(tflite.TensorType, ELEMENT_TYPES[dtype])
    return code
