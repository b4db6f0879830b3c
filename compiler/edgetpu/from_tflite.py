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
from ..text import printable
from .facts import ModelFacts, OperatorFacts, Option, TensorFacts

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def _names(enumeration: type) -> Mapping[int, str]:
    return {number: name for name, number in vars(enumeration).items() if name.isupper() and isinstance(number, int)}


_TYPES = _names(tflite.TensorType)
_KINDS = _names(tflite.BuiltinOperator)
_DAMAGE = (struct.error, IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError)
"""What reading outside a file, or unknown numbers, lead to."""
_BUDGET = 8
"""Elements that may be read for each byte of a file."""
_SMALL = 64
"""Integer constants of up to so many elements are read: axes, sizes, strides."""
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


def read_tflite(data: bytes, name: str = "model") -> ModelFacts:
    """Read the first subgraph of a TFLite file; raises `NetcError` if the file is damaged or not a TFLite file."""
    if data[4:8] != b"TFL3":
        raise NetcError(f"{name} is not a TFLite file", hint="its bytes 4 to 8 must be TFL3")
    try:
        return _Reader(data).facts(name)
    except _DAMAGE as error:
        raise NetcError(f"{name} is damaged: {type(error).__name__}: {error}") from error


class _Reader:
    """One pass over a file. What is read in all is bounded by the file's size, however its offsets overlap."""

    def __init__(self, data: bytes) -> None:
        self._model: Any = tflite.Model.GetRootAs(data, 0)
        self._budget = _BUDGET * len(data)
        self._zero: dict[int, bool] = {}

    def facts(self, name: str) -> ModelFacts:
        subgraph: Any = self._model.Subgraphs(0)
        tensors = [self._tensor(subgraph.Tensors(i)) for i in range(self._spend(subgraph.TensorsLength()))]
        operators = tuple(
            self._operator(subgraph.Operators(i), tensors) for i in range(self._spend(subgraph.OperatorsLength()))
        )
        inputs = tuple(tensors[i] for i in self._vector(subgraph.InputsAsNumpy()) if i >= 0)
        outputs = tuple(tensors[i] for i in self._vector(subgraph.OutputsAsNumpy()) if i >= 0)
        return ModelFacts(name, operators, inputs, outputs)

    def _spend(self, count: int) -> int:
        self._budget -= count
        if self._budget < 0:
            raise ValueError("its parts are larger than the file")
        return count

    def _vector(self, array: Any) -> tuple[int, ...]:
        """A vector of numbers; absent ones are empty."""
        if not isinstance(array, np.ndarray):
            return ()
        self._spend(array.size)
        return tuple(int(x) for x in array)

    def _text(self, text: bytes | None) -> str:
        self._spend(len(text or b""))
        return printable((text or b"").decode("utf-8", "replace"))

    def _tensor(self, tensor: Any) -> TensorFacts:
        shape = self._vector(tensor.ShapeAsNumpy())
        dtype = _TYPES[tensor.Type()]
        buffer = self._buffer(tensor.Buffer(), of_none=0 in shape)
        return TensorFacts(
            shape,
            dtype,
            self._text(tensor.Name()),
            constant=buffer is not None,
            per_channel=self._per_channel(tensor.Quantization()),
            zero=buffer is not None and self._is_zero(tensor.Buffer(), buffer),
            dynamic=any(size < 0 for size in shape),
            values=_values(buffer, dtype),
        )

    def _buffer(self, index: int, of_none: bool) -> Bytes | None:
        """The bytes of a constant; there are none for a constant without elements, but they are stated."""
        if not 0 < index < self._model.BuffersLength():
            return None
        data = self._model.Buffers(index).DataAsNumpy()
        return data if isinstance(data, np.ndarray) and (data.size or of_none) else None

    def _is_zero(self, index: int, buffer: Bytes) -> bool:
        if index not in self._zero:
            self._spend(buffer.size)
            self._zero[index] = not buffer.any()
        return self._zero[index]

    def _per_channel(self, quantization: Any) -> bool:
        scales = quantization.ScaleAsNumpy() if quantization is not None else None
        if not isinstance(scales, np.ndarray) or scales.size < 2:
            return False
        self._spend(scales.size)
        return bool(scales.min() != scales.max())

    def _operator(self, op: Any, tensors: Sequence[TensorFacts]) -> OperatorFacts:
        code = self._model.OperatorCodes(op.OpcodeIndex())
        kind = _KINDS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        inputs = tuple(tensors[i] if i >= 0 else None for i in self._vector(op.InputsAsNumpy()))
        outputs = tuple(tensors[i] for i in self._vector(op.OutputsAsNumpy()) if i >= 0)
        options = MappingProxyType(_options(kind, op))
        name = outputs[0].name if outputs else ""
        custom = self._text(code.CustomCode()) if kind == "CUSTOM" else ""
        return OperatorFacts(kind, inputs, outputs, code.Version(), options, name, custom)


def _values(buffer: Bytes | None, dtype: str) -> tuple[int, ...] | None:
    item = {"INT32": "<i4", "INT64": "<i8"}.get(dtype)
    if buffer is None or item is None or buffer.size > 8 * _SMALL or buffer.size % np.dtype(item).itemsize:
        return None
    return tuple(int(x) for x in np.frombuffer(buffer.tobytes(), item))


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
