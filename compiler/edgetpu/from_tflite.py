"""Facts of a TFLite file, for the prediction: shapes, types, which tensors are constant, options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ..errors import Location, NetcError
from ..graph.ir import Array
from ..tflite.names import ACTIVATIONS, PADDINGS, WEIGHTS_FORMATS, accessor
from ..tflite.reading import Model, Operator, Tensor, read_model
from ..types import DType
from .facts import ModelFacts, OperatorFacts, Option, TensorFacts

_SMALL = 64
"""Integer constants of up to so many elements are read: axes, sizes, strides."""
_CODES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"fused_activation_function": ACTIVATIONS, "padding": PADDINGS, "weights_format": WEIGHTS_FORMATS}
)
"""What the codes of options stand for."""
_ACTIVATION = ("fused_activation_function",)
_WINDOW = ("padding", "stride_h", "stride_w")
_DILATION = ("dilation_h_factor", "dilation_w_factor")
_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ADD": _ACTIVATION,
        "AVERAGE_POOL_2D": (*_WINDOW, *_ACTIVATION),
        "CONCATENATION": ("axis", *_ACTIVATION),
        "CONV_2D": (*_WINDOW, *_ACTIVATION, *_DILATION),
        "DEPTHWISE_CONV_2D": (*_WINDOW, *_ACTIVATION, *_DILATION, "depth_multiplier"),
        "FULLY_CONNECTED": ("weights_format", *_ACTIVATION),
        "MAX_POOL_2D": (*_WINDOW, *_ACTIVATION),
        "MUL": _ACTIVATION,
        "PACK": ("axis",),
        "STRIDED_SLICE": ("ellipsis_mask", "new_axis_mask"),
        "SUB": _ACTIVATION,
        "TRANSPOSE_CONV": _WINDOW,
    }
)
"""The options of an operator that the prediction may ask for."""


def read_tflite(data: bytes, name: str = "model", complete: Callable[[Model], Model] | None = None) -> ModelFacts:
    """Facts of the first subgraph of a file called `name`. Raises `NetcError` if it is damaged or no TFLite file.

    `complete` fills in shapes that the file leaves out.
    """
    try:
        model = read_model(data)
        return _facts(complete(model) if complete else model, name)
    except NetcError as error:
        raise error.at(Location(name, 1, 1)) from None


def _facts(model: Model, name: str) -> ModelFacts:
    tensors = [_tensor(tensor) for tensor in model.tensors]
    return ModelFacts(
        name,
        tuple(_operator(operator, tensors) for operator in model.operators),
        tuple(tensors[i] for i in model.inputs),
        tuple(tensors[i] for i in model.outputs),
    )


def _tensor(tensor: Tensor) -> TensorFacts:
    quantization = None if tensor.type is None else tensor.type.quantization
    array = tensor.array()
    return TensorFacts(
        tensor.shape,
        tensor.element,
        tensor.name,
        constant=tensor.data is not None,
        per_channel=quantization is not None and len(quantization.scales) > 1,
        uniform_scales=quantization is not None and len(set(quantization.scales)) == 1,
        zero=array is not None and not array.any(),
        dynamic=tensor.is_dynamic,
        values=None if array is None else _values(array),
    )


def _values(array: Array) -> tuple[int, ...] | None:
    """The elements of a small constant of whole numbers."""
    if array.size > _SMALL or DType.of(array.dtype) not in (DType.I32, DType.I64):
        return None
    return tuple(int(x) for x in array.reshape(-1))


def _operator(operator: Operator, tensors: list[TensorFacts]) -> OperatorFacts:
    outputs = tuple(tensors[i] for i in operator.outputs)
    return OperatorFacts(
        "CUSTOM" if operator.is_custom else operator.name,
        tuple(tensors[i] if i >= 0 else None for i in operator.inputs),
        outputs,
        operator.version,
        MappingProxyType(_options(operator)),
        outputs[0].name if outputs else "",
        operator.name if operator.is_custom else "",
    )


def _options(operator: Operator) -> dict[str, Option]:
    if operator.options is None or operator.is_custom:
        return {}
    return {accessor(field): _option(operator, field) for field in _OPTIONS.get(operator.name, ())}


def _option(operator: Operator, field: str) -> Option:
    return operator.coded(field, _CODES[field]) if field in _CODES else int(operator.option(field))
