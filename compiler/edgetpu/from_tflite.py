"""Facts of a TFLite file, for the prediction.

Only what the prediction needs is read: shapes, types, which tensors are constant, options. A damaged file gives a
`NetcError`. The classes of the flatbuffer schema come from the package `tflite`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import tflite

from ..errors import NetcError
from .facts import ModelFacts, OperatorFacts, Option, TensorFacts

_SMALL = 64
"""Integer constants of up to so many elements are read: axes, sizes, strides."""
_MAX_OPERATORS = 1 << 16
_WINDOW = ("Padding", "StrideH", "StrideW", "FusedActivationFunction")
_ACTIVATION = ("FusedActivationFunction",)
_OPTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "ADD": ("AddOptions", _ACTIVATION),
        "AVERAGE_POOL_2D": ("Pool2DOptions", _WINDOW),
        "CONCATENATION": ("ConcatenationOptions", ("Axis", *_ACTIVATION)),
        "CONV_2D": ("Conv2DOptions", (*_WINDOW, "DilationHFactor", "DilationWFactor")),
        "DEPTHWISE_CONV_2D": (
            "DepthwiseConv2DOptions",
            (*_WINDOW, "DilationHFactor", "DilationWFactor", "DepthMultiplier"),
        ),
        "FULLY_CONNECTED": ("FullyConnectedOptions", ("WeightsFormat", *_ACTIVATION)),
        "MAX_POOL_2D": ("Pool2DOptions", _WINDOW),
        "MUL": ("MulOptions", _ACTIVATION),
        "PACK": ("PackOptions", ("Axis",)),
        "STRIDED_SLICE": ("StridedSliceOptions", ("EllipsisMask", "NewAxisMask")),
        "SUB": ("SubOptions", _ACTIVATION),
        "TRANSPOSE_CONV": ("TransposeConvOptions", ("Padding", "StrideH", "StrideW")),
    }
)


def _names(enumeration: type) -> Mapping[int, str]:
    return {number: name for name, number in vars(enumeration).items() if name.isupper() and isinstance(number, int)}


def read_tflite(data: bytes, name: str = "model") -> ModelFacts:
    """Read the first subgraph of a TFLite file; raises `NetcError` if the file is damaged or not a TFLite file."""
    if data[4:8] != b"TFL3":
        raise NetcError(f"{name} is not a TFLite file", hint="its bytes 4 to 8 must be TFL3")
    try:
        model = tflite.Model.GetRootAs(data, 0)
        subgraph = model.Subgraphs(0)
        if subgraph is None or subgraph.OperatorsLength() > _MAX_OPERATORS:
            raise NetcError(f"{name} has no graph, or one too large to be true")
        tensors = [_tensor(model, subgraph.Tensors(i)) for i in range(min(subgraph.TensorsLength(), _MAX_OPERATORS))]
        operators = tuple(_operator(model, subgraph.Operators(i), tensors) for i in range(subgraph.OperatorsLength()))
        inputs = tuple(tensors[subgraph.Inputs(i)] for i in range(subgraph.InputsLength()))
        outputs = tuple(tensors[subgraph.Outputs(i)] for i in range(subgraph.OutputsLength()))
    except (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise NetcError(f"{name} is damaged: {type(error).__name__}: {error}") from error
    return ModelFacts(name, operators, inputs, outputs)


def _tensor(model: Any, tensor: Any) -> TensorFacts:
    shape = _vector(tensor.ShapeAsNumpy())
    dtype = _names(tflite.TensorType)[tensor.Type()]
    buffer = _buffer(model, tensor.Buffer())
    scales = _scales(tensor.Quantization())
    return TensorFacts(
        shape,
        dtype,
        _text(tensor.Name()),
        constant=buffer is not None,
        per_channel=bool(len(scales) > 1 and scales.min() != scales.max()),
        zero=buffer is not None and not buffer.any(),
        dynamic=any(size < 0 for size in shape),
        values=_values(buffer, dtype),
    )


def _vector(array: Any) -> tuple[int, ...]:
    return tuple(int(x) for x in array) if isinstance(array, np.ndarray) else ()


def _text(name: bytes | None) -> str:
    return (name or b"").decode("utf-8", "replace")


def _buffer(model: Any, index: int) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    if not 0 < index < model.BuffersLength():
        return None
    data = model.Buffers(index).DataAsNumpy()
    return data if isinstance(data, np.ndarray) and data.size else None


def _scales(quantization: Any) -> np.ndarray[Any, np.dtype[np.float32]]:
    scales = quantization.ScaleAsNumpy() if quantization is not None else None
    return scales if isinstance(scales, np.ndarray) else np.zeros(0, np.float32)


def _values(buffer: np.ndarray[Any, np.dtype[np.uint8]] | None, dtype: str) -> tuple[int, ...] | None:
    item = {"INT32": "<i4", "INT64": "<i8"}.get(dtype)
    if buffer is None or item is None or buffer.size > 8 * _SMALL or buffer.size % np.dtype(item).itemsize:
        return None
    return tuple(int(x) for x in np.frombuffer(buffer.tobytes(), item))


def _operator(model: Any, op: Any, tensors: Sequence[TensorFacts]) -> OperatorFacts:
    code = model.OperatorCodes(op.OpcodeIndex())
    kind = _names(tflite.BuiltinOperator)[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    inputs = tuple(_at(tensors, op.Inputs(i)) for i in range(op.InputsLength()))
    outputs = tuple(tensors[op.Outputs(i)] for i in range(op.OutputsLength()))
    return OperatorFacts(
        kind,
        inputs,
        outputs,
        code.Version(),
        MappingProxyType(_options(kind, op)),
        outputs[0].name if outputs else "",
        _text(code.CustomCode()) if kind == "CUSTOM" else "",
    )


def _at(tensors: Sequence[TensorFacts], index: int) -> TensorFacts | None:
    return None if index == -1 else tensors[index] if index >= 0 else tensors[len(tensors)]


def _options(kind: str, op: Any) -> dict[str, Option]:
    name, fields = _OPTIONS.get(kind, ("", ()))
    table = op.BuiltinOptions()
    if table is None or not fields:
        return {}
    reader = getattr(tflite, name)()
    reader.Init(table.Bytes, table.Pos)
    return {field: _option(field, getattr(reader, field)()) for field in fields}


def _option(field: str, value: Any) -> Option:
    enumeration = {
        "FusedActivationFunction": tflite.ActivationFunctionType,
        "Padding": tflite.Padding,
        "WeightsFormat": tflite.FullyConnectedOptionsWeightsFormat,
    }.get(field)
    return _names(enumeration)[value] if enumeration else int(value)
