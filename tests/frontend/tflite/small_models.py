"""Small TFLite files made with the schema's own generated code, so that the reader is not tested against itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

TYPES = {
    np.dtype(np.float32): tflite.TensorType.FLOAT32,
    np.dtype(np.int8): tflite.TensorType.INT8,
    np.dtype(np.uint8): tflite.TensorType.UINT8,
    np.dtype(np.int16): tflite.TensorType.INT16,
    np.dtype(np.int32): tflite.TensorType.INT32,
    np.dtype(np.bool_): tflite.TensorType.BOOL,
    np.dtype(np.int16): tflite.TensorType.INT16,
    np.dtype(np.int64): tflite.TensorType.INT64,
    np.dtype(np.float16): tflite.TensorType.FLOAT16,
    np.dtype(np.float64): tflite.TensorType.FLOAT64,
    np.dtype(np.complex64): tflite.TensorType.COMPLEX64,
}


@dataclass
class Model:
    """A model under construction; tensors are known by number."""

    tensors: list[dict[str, Any]] = field(default_factory=list)
    operators: list[dict[str, Any]] = field(default_factory=list)
    signatures: list[tuple[str, dict[str, int], dict[str, int]]] = field(default_factory=list)
    """Keys, and names of inputs and outputs with their tensors."""
    metadata: dict[str, bytes] = field(default_factory=dict)

    def tensor(
        self,
        name: str,
        shape: Sequence[int] | None,
        dtype: Any = np.int8,
        *,
        scale: float | Sequence[float] | None = None,
        zero: int = 0,
        axis: int = 0,
        data: Any = None,
        **more: Any,
    ) -> int:
        """Add a tensor, constant if it has data.

        No shape leaves that out. More may be its `signature`, the `code` of its element type, and its `sparsity`:
        order of storage, dimensions of the blocks, and levels (a size, or pairs of segments and indices); or `blocks`:
        numbers of the tensors of scales and zero points, and the length of a block.
        """
        scales = [scale] if isinstance(scale, float) else list(scale or ())
        sizes = None if shape is None else list(shape)
        entry = {"name": name, "shape": sizes, "dtype": np.dtype(dtype), "scales": scales, "zero": zero}
        self.tensors.append({**entry, "axis": axis, "data": data, **more})
        return len(self.tensors) - 1

    def constant(self, name: str, array: Any, **quantization: Any) -> int:
        """Add a constant tensor."""
        return self.tensor(name, array.shape, array.dtype, data=array, **quantization)

    def variable(self, name: str, shape: Sequence[int], dtype: Any) -> int:
        """Add a tensor that an operator keeps from run to run."""
        place = self.tensor(name, shape, dtype)
        self.tensors[place]["variable"] = True
        return place

    def resource(self, name: str) -> int:
        """Add a tensor that refers to a variable."""
        place = self.tensor(name, ())
        self.tensors[place]["code"] = tflite.TensorType.RESOURCE
        return place

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: tuple[str, dict[str, Any]] | None = None,
        *,
        custom: str | None = None,
        custom_options: bytes = b"",
        version: int = 1,
        intermediates: Sequence[int] = (),
    ) -> None:
        """Add an operator; options are the name of their table and its fields, those of custom ones bytes."""
        entry = {"name": name, "inputs": inputs, "outputs": outputs, "options": options}
        more = {"custom_options": custom_options, "version": version, "intermediates": intermediates}
        self.operators.append({**entry, "custom": custom, **more})

    def data(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        functions: Sequence[tuple[Model, Sequence[int], Sequence[int]]] = (),
    ) -> bytes:
        """The file; `functions` are its other subgraphs with their inputs and outputs."""
        b = flatbuffers.Builder(1024)
        subgraphs = [(self, inputs, outputs), *functions]
        constants = [t for model, _, _ in subgraphs for t in model.tensors if t["data"] is not None]
        first = len(constants) + 1
        buffers = [_buffer(b, d) for d in (b"", *(t["data"].tobytes() for t in constants), *self.metadata.values())]
        numbers = {id(t): n for n, t in enumerate(constants, 1)}
        used = [o for model, _, _ in subgraphs for o in model.operators]
        codes = {id(o): n for n, o in enumerate(used)}
        tables = [model._subgraph(b, given, made, numbers, codes) for model, given, made in subgraphs]
        fields = {
            "Version": 3,
            "OperatorCodes": _offsets(b, tflite.ModelStartOperatorCodesVector, [_code(b, o) for o in used]),
            "Subgraphs": _offsets(b, tflite.ModelStartSubgraphsVector, tables),
            "Buffers": _offsets(b, tflite.ModelStartBuffersVector, buffers),
        }
        if self.metadata:
            entries = [_metadata(b, name, first + i) for i, name in enumerate(self.metadata)]
            fields["Metadata"] = _offsets(b, tflite.ModelStartMetadataVector, entries)
        if self.signatures:
            entries = [_signature(b, *signature) for signature in self.signatures]
            fields["SignatureDefs"] = _offsets(b, tflite.ModelStartSignatureDefsVector, entries)
        b.Finish(_table(b, "Model", fields), file_identifier=b"TFL3")
        return bytes(b.Output())

    def _subgraph(
        self, b: Any, inputs: Sequence[int], outputs: Sequence[int], buffers: dict[int, int], codes: dict[int, int]
    ) -> Any:
        tensors = [_tensor(b, t, buffers.get(id(t), 0)) for t in self.tensors]
        operators = [_operator(b, o, codes[id(o)]) for o in self.operators]
        vectors = {
            "Tensors": _offsets(b, tflite.SubGraphStartTensorsVector, tensors),
            "Inputs": _numbers(b, np.array(inputs, np.int32)),
            "Outputs": _numbers(b, np.array(outputs, np.int32)),
            "Operators": _offsets(b, tflite.SubGraphStartOperatorsVector, operators),
        }
        return _table(b, "SubGraph", vectors)


def _table(b: Any, name: str, fields: dict[str, Any]) -> Any:
    fields = {key: _numbers(b, np.array(v)) if isinstance(v, list | np.ndarray) else v for key, v in fields.items()}
    getattr(tflite, f"{name}Start")(b)
    for key, value in fields.items():
        getattr(tflite, f"{name}Add{key}")(b, value)
    return getattr(tflite, f"{name}End")(b)


def _offsets(b: Any, start: Callable[[Any, int], Any], offsets: Sequence[int]) -> Any:
    start(b, len(offsets))
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return b.EndVector()


def _numbers(b: Any, array: Any) -> Any:
    return b.CreateNumpyVector(array)


def _buffer(b: Any, data: bytes) -> Any:
    vector = b.CreateByteVector(data) if data else None
    return _table(b, "Buffer", {"Data": vector} if data else {})


def _metadata(b: Any, name: str, buffer: int) -> Any:
    return _table(b, "Metadata", {"Name": b.CreateString(name), "Buffer": buffer})


def _signature(b: Any, key: str, inputs: dict[str, int], outputs: dict[str, int]) -> Any:
    def maps(names: dict[str, int]) -> list[Any]:
        return [_table(b, "TensorMap", {"Name": b.CreateString(n), "TensorIndex": i}) for n, i in names.items()]

    fields = {
        "Inputs": _offsets(b, tflite.SignatureDefStartInputsVector, maps(inputs)),
        "Outputs": _offsets(b, tflite.SignatureDefStartOutputsVector, maps(outputs)),
        "SignatureKey": b.CreateString(key),
    }
    return _table(b, "SignatureDef", fields)


def _sparsity(b: Any, order: Sequence[int], blocked: Sequence[int], levels: Sequence[Any]) -> Any:
    def vector(numbers: Sequence[int]) -> Any:
        return _table(b, "Uint8Vector", {"Values": _numbers(b, np.array(numbers, np.uint8))})

    def level(of: Any) -> Any:
        if isinstance(of, int):
            return _table(b, "DimensionMetadata", {"Format": 0, "DenseSize": of})
        segments, indices = map(vector, of)
        kinds = {"ArraySegmentsType": 3, "ArrayIndicesType": 3}
        return _table(
            b, "DimensionMetadata", {"Format": 1, "ArraySegments": segments, "ArrayIndices": indices, **kinds}
        )

    fields = {
        "TraversalOrder": _numbers(b, np.array(order, np.int32)),
        "BlockMap": _numbers(b, np.array(blocked, np.int32)),
        "DimMetadata": _offsets(b, tflite.SparsityParametersStartDimMetadataVector, [level(of) for of in levels]),
    }
    return _table(b, "SparsityParameters", fields)


def _tensor(b: Any, t: dict[str, Any], buffer: int) -> Any:
    fields = {
        "Name": b.CreateString(t["name"]),
        "Type": t.get("code", TYPES[t["dtype"]]),
        "Buffer": buffer,
    }
    if t["shape"] is not None:
        fields["Shape"] = _numbers(b, np.array(t["shape"], np.int32))
    if t.get("signature"):
        fields["ShapeSignature"] = _numbers(b, np.array(t["signature"], np.int32))
    if t.get("sparsity"):
        fields["Sparsity"] = _sparsity(b, *t["sparsity"])
    if t.get("variable"):
        fields["IsVariable"] = True
    if t["scales"]:
        quantization = {
            "Scale": _numbers(b, np.array(t["scales"], np.float32)),
            "ZeroPoint": _numbers(b, np.full(len(t["scales"]), t["zero"], np.int64)),
            "QuantizedDimension": t["axis"],
        }
        fields["Quantization"] = _table(b, "QuantizationParameters", quantization)
    if t.get("blocks"):
        details = {"DetailsType": 2, "Details": _blocks(b, *t["blocks"])}
        fields["Quantization"] = _table(b, "QuantizationParameters", details)
    return _table(b, "Tensor", fields)


def _blocks(b: Any, scales: int, zero_points: int, size: int) -> Any:
    """The table BlockwiseQuantization, which the schema's package doesn't have yet."""
    b.StartObject(3)
    for slot, number in enumerate((scales, zero_points, size)):
        b.PrependInt32Slot(slot, number, 0)
    return b.EndObject()


def _code(b: Any, o: dict[str, Any]) -> Any:
    code = getattr(tflite.BuiltinOperator, o["name"])
    fields = {"DeprecatedBuiltinCode": min(code, 127), "BuiltinCode": code, "Version": o["version"]}
    if o["custom"]:
        fields["CustomCode"] = b.CreateString(o["custom"])
    return _table(b, "OperatorCode", fields)


def _operator(b: Any, o: dict[str, Any], code: int) -> Any:
    fields = {
        "OpcodeIndex": code,
        "Inputs": _numbers(b, np.array(o["inputs"], np.int32)),
        "Outputs": _numbers(b, np.array(o["outputs"], np.int32)),
    }
    if o["intermediates"]:
        fields["Intermediates"] = _numbers(b, np.array(o["intermediates"], np.int32))
    if o["custom_options"]:
        fields["CustomOptions"] = b.CreateByteVector(o["custom_options"])
    if o["options"]:
        name, values = o["options"]
        values = {key: b.CreateString(value) if isinstance(value, str) else value for key, value in values.items()}
        second = "" if hasattr(tflite.BuiltinOptions, name) else "2"
        fields[f"BuiltinOptions{second}"] = _table(b, name, values)
        fields[f"BuiltinOptions{second}Type"] = getattr(getattr(tflite, f"BuiltinOptions{second}"), name)
    return _table(b, "Operator", fields)


def classifier() -> bytes:
    """Convolution, depthwise convolution, pooling, dense layer, softmax: int8 with scales for each channel."""
    rng = np.random.default_rng(1)
    m = Model()
    x = m.tensor("image", (1, 8, 8, 3), scale=0.0078125, zero=-1)
    w = m.constant("w", rng.integers(-127, 128, (4, 3, 3, 3), np.int8), scale=(0.01, 0.02, 0.015, 0.03))
    bias = m.constant("b", rng.integers(-500, 500, 4, np.int32), scale=(1e-4, 2e-4, 1e-4, 2e-4))
    y = m.tensor("conv", (1, 4, 4, 4), scale=0.05, zero=-128)
    window = {"Padding": 0, "StrideW": 2, "StrideH": 2, "FusedActivationFunction": 3}
    m.operator("CONV_2D", (x, w, bias), (y,), ("Conv2DOptions", window), version=3)
    dw = m.constant("dw", rng.integers(-127, 128, (1, 3, 3, 4), np.int8), scale=(0.01, 0.02, 0.03, 0.01), axis=3)
    z = m.tensor("depthwise", (1, 4, 4, 4), scale=0.04, zero=3)
    window = {"Padding": 0, "StrideW": 1, "StrideH": 1, "DepthMultiplier": 1}
    m.operator("DEPTHWISE_CONV_2D", (y, dw, -1), (z,), ("DepthwiseConv2DOptions", window), version=3)
    pooled = m.tensor("pooled", (1, 2, 2, 4), scale=0.04, zero=3)
    pool = {"Padding": 1, "StrideW": 2, "StrideH": 2, "FilterWidth": 2, "FilterHeight": 2}
    m.operator("AVERAGE_POOL_2D", (z,), (pooled,), ("Pool2DOptions", pool), version=2)
    dense = m.constant("dense", rng.integers(-127, 128, (5, 16), np.int8), scale=0.02)
    scores = m.tensor("scores", (1, 5), scale=0.1, zero=10)
    m.operator("FULLY_CONNECTED", (pooled, dense, -1), (scores,), ("FullyConnectedOptions", {}), version=4)
    probabilities = m.tensor("probabilities", (1, 5), scale=0.00390625, zero=-128)
    m.operator("SOFTMAX", (scores,), (probabilities,), ("SoftmaxOptions", {"Beta": 1.0}), version=2)
    return m.data((x,), (probabilities,))


def mixture() -> bytes:
    """Sums, products, splits and joins of older uint8 tensors, floats at one end and an unknown operator."""
    m = Model()
    x = m.tensor("x", (1, 4, 4, 2), np.float32)
    q = m.tensor("q", (1, 4, 4, 2), np.uint8, scale=0.02, zero=128)
    m.operator("QUANTIZE", (x,), (q,))
    axis = m.constant("axis", np.array(3, np.int32))
    halves = [m.tensor(f"half{i}", (1, 4, 4, 1), np.uint8, scale=0.02, zero=128) for i in range(2)]
    m.operator("SPLIT", (axis, q), halves, ("SplitOptions", {"NumSplits": 2}))
    total = m.tensor("total", (1, 4, 4, 1), np.uint8, scale=0.04, zero=120)
    m.operator("ADD", halves, (total,), ("AddOptions", {"FusedActivationFunction": 1}))
    product = m.tensor("product", (1, 4, 4, 1), np.uint8, scale=0.03, zero=100)
    m.operator("MUL", (total, halves[0]), (product,), ("MulOptions", {}))
    size = m.constant("size", np.array((7, 9), np.int32))
    large = m.tensor("large", (1, 7, 9, 1), np.uint8, scale=0.03, zero=100)
    m.operator("RESIZE_BILINEAR", (product, size), (large,), ("ResizeBilinearOptions", {"HalfPixelCenters": True}))
    odd = m.tensor("odd", (1, 3), np.float32)
    m.operator("CUSTOM", (large,), (odd,), custom="Strange")
    return m.data((x,), (large, odd))


def unusual() -> bytes:
    """A free batch, shapes left out, a size that is computed, a sparse weight, one of 4 bits, one scaled in blocks."""
    m = Model()
    x = m.tensor("x", (1, 4, 8), np.float32, signature=(-1, 4, 8))
    shape, rows = m.tensor("shape", (3,), np.int32), m.tensor("rows", None, np.float32)
    m.operator("SHAPE", (x,), (shape,), ("ShapeOptions", {"OutType": 2}))
    places = [m.constant(f"place{i}", np.array([n], np.int32)) for i, n in enumerate((0, 1, 1))]
    first = m.tensor("first", (), np.int32)
    m.operator("STRIDED_SLICE", (shape, *places), (first,), ("StridedSliceOptions", {"ShrinkAxisMask": 1}))
    sizes = [first, m.constant("rest", np.array(-1, np.int32)), m.constant("last", np.array(16, np.int32))]
    packed = m.tensor("packed", (3,), np.int32)
    m.operator("PACK", sizes, (packed,), ("PackOptions", {"ValuesCount": 3}))
    m.operator("RESHAPE", (x, packed), (rows,))
    stored = m.constant("stored", np.arange(1, 9, dtype=np.float32))
    blocks = ((0, 1, 2), (1,), [6, ([0, 1, 1, 2, 2, 2, 2], [0, 3]), 4])
    m.tensors[stored] |= {"name": "sparse", "shape": [6, 16], "sparsity": blocks}
    dense, y = m.tensor("dense", (6, 16), np.float32), m.tensor("y", None, np.float32)
    m.operator("DENSIFY", (stored,), (dense,), ("DensifyOptions", {}))
    m.operator("FULLY_CONNECTED", (rows, dense, -1), (y,), ("FullyConnectedOptions", {"KeepNumDims": True}))
    scales = m.constant("scales", np.ones((3, 2), np.float16))
    w = m.constant("w", np.arange(9, dtype=np.uint8), code=17, blocks=(scales, -1, 3))
    m.tensors[w]["shape"] = [3, 6]
    z = m.tensor("z", (1, 2, 3), np.float32, signature=(-1, -1, 3))
    m.operator("FULLY_CONNECTED", (y, w, -1), (z,), ("FullyConnectedOptions", {"KeepNumDims": True}))
    narrow = m.constant("narrow", np.arange(2, dtype=np.uint8), code=17, scale=(0.5, 0.25, 1.0))
    m.tensors[narrow]["shape"] = [3]
    wide, total = m.tensor("wide", (3,), np.float32), m.tensor("total", None, np.float32)
    m.operator("DEQUANTIZE", (narrow,), (wide,), version=6)
    m.operator("ADD", (z, wide), (total,), ("AddOptions", {}))
    m.signatures.append(("serving_default", {"x": x}, {"total": total}))
    m.metadata["TFLITE_METADATA"] = b"\x08\0\0\0M001" + b"\x04\0\x04\0\x04\0\0\0"
    return m.data((x,), (total,))
