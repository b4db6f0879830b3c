"""What a converter of one TFLite operator works with: its tensors as values of the graph, its options, its result."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ...compiler.errors import NetcError
from ...compiler.graph.builder import GraphBuilder
from ...compiler.graph.ir import Array, Attribute, Value
from ...compiler.ops.functions.activations import ALONE
from ...compiler.ops.quantized.base import BYTES, LIMIT, activation_range
from ...compiler.tflite.reading import Model, Operator, Tensor
from ...compiler.tflite.reading.checks import MAX_ELEMENTS
from ...compiler.types import DType, Quantization, TensorType

if TYPE_CHECKING:
    from .walk import Walk

PADDINGS = ("same", "valid")
FUSED = (None, "relu", "relu_n1_to_1", "relu6")
"""What codes of the schema's Padding and ActivationFunctionType stand for."""

Converter = Callable[["Context"], Value | tuple[Value | None, ...]]
"""Adds the operations that an operator is made of, and returns its results."""


def results_of(converted: Value | tuple[Value | None, ...]) -> tuple[Value, ...]:
    """What a converter returned, as a tuple, where all results are values."""
    results = converted if isinstance(converted, tuple) else (converted,)
    return tuple(value for value in results if value is not None)


class UnsupportedError(NetcError):
    """An operator that is sound but has no counterpart in netc."""


def lack(tensor: Tensor) -> str:
    """Why netc can't take a tensor that has no type, or whose sizes are open."""
    if tensor.is_open:
        return "has sizes that are not known before the model runs"
    return f"has elements of type {tensor.type_name}, which netc doesn't have"


class Context:
    """One operator while it is converted."""

    walk: Walk
    operator: Operator
    builder: GraphBuilder
    values: dict[int, Value]
    """Tensors that have a value so far, by index."""
    weights: dict[tuple[object, ...], tuple[Value, Quantization | None]]
    """Weights that have been turned over, by index and form."""

    def __init__(self, walk: Walk, operator: Operator, alone: GraphBuilder | None = None) -> None:
        """In a walk; or `alone`, in a graph of its own."""
        self.walk, self.operator = walk, operator
        self.builder = alone or walk.builder
        self.values = walk.values if alone is None else {}
        self.weights = walk.weights if alone is None else {}

    @property
    def model(self) -> Model:
        """The file, at the subgraph where the operator stands."""
        return self.walk.model

    @property
    def folded(self) -> dict[int, Array]:
        """What tensors hold that are computed, but from nothing that differs from run to run, by index."""
        return self.walk.arrays

    def fail(self, problem: str, hint: str | None = None) -> NoReturn:
        """Raise the error about this operator, which makes the file unreadable."""
        self.operator.fail(problem, hint)

    def unsupported(self, reason: str) -> NoReturn:
        """Leave this operator opaque, for a reason."""
        raise UnsupportedError(reason)

    # ---- tensors ----

    @property
    def count(self) -> int:
        """Number of inputs."""
        return len(self.operator.inputs)

    def has(self, place: int) -> bool:
        """True if input number `place` is there."""
        return place < self.count and self.operator.inputs[place] >= 0

    def tensor(self, place: int) -> Tensor:
        """Input number `place`."""
        if not self.has(place):
            self.fail(f"input {place} is missing")
        return self.model.tensors[self.operator.inputs[place]]

    def output(self, place: int = 0) -> Tensor:
        """Output number `place`."""
        if place >= len(self.operator.outputs):
            self.fail(f"output {place} is missing")
        return self.model.tensors[self.operator.outputs[place]]

    def type(self, place: int) -> TensorType:
        """Type of input number `place`."""
        return self._typed(self.tensor(place))

    def output_type(self, place: int = 0) -> TensorType:
        """Type of output number `place`."""
        return self._typed(self.output(place))

    def type_of(self, index: int) -> TensorType:
        """Type of a tensor by its index."""
        return self._typed(self.model.tensors[index])

    def _typed(self, tensor: Tensor) -> TensorType:
        if tensor.is_complex and not tensor.is_dynamic:
            return TensorType(DType.F32, (*tensor.shape, 2))
        if tensor.type is None or tensor.is_open:
            self.unsupported(f"tensor `{tensor.name}` {lack(tensor)}")
        return tensor.type

    def stated_shape(self, place: int = 0) -> tuple[int, ...]:
        """The shape that the file states for an output, for operators whose operands don't tell it."""
        tensor = self.output(place)
        if any(tensor.is_free) or not tensor.has_shape:
            self.unsupported(f"the shape of its result, tensor `{tensor.name}`, is computed while the model runs")
        return tensor.shape

    def settle(self, place: int, shape: tuple[int, ...]) -> None:
        """Keep the shape of an output, now that it is known."""
        tensors, index = self.model.tensors, self.operator.outputs[place]
        if math.prod(shape) > MAX_ELEMENTS:
            self.fail(f"its result {list(shape)} has more than {MAX_ELEMENTS:,} elements")
        self._keep(index, tensors[index].with_shape(shape[:-1] if tensors[index].is_complex else shape))

    def lose(self, place: int) -> None:
        """Say that an output has no shape before the model runs: what reads it stays opaque."""
        index = self.operator.outputs[place]
        self._keep(index, replace(self.model.tensors[index], is_open=True))

    def _keep(self, index: int, tensor: Tensor) -> None:
        assert isinstance(self.model.tensors, list)  # as `bound` leaves them
        self.model.tensors[index] = tensor

    def value(self, place: int) -> Value:
        """Input number `place` as a value; a constant is added to the graph when it is first used."""
        tensor, index = self.tensor(place), self.operator.inputs[place]
        given = self._typed(tensor).quantization
        if tensor.is_variable and index not in self.values:
            return self.variable(place)
        if index not in self.values:
            array = self.known(place)
            if array is None:
                self.fail(f"input {place}, tensor `{tensor.name}`, is used before anything gives it a value")
            self.values[index] = self.builder.constant(array, quantization=given)
        return self.values[index]

    def variable(self, place: int) -> Value:
        """What a variable tensor holds: what was assigned last, in this run or the one before; zeros in the first."""
        tensor = self.tensor(place)
        return self.walk.variables.read_tensor(self._key(place), tensor.name, self._typed(tensor))

    def assign(self, place: int, value: Value) -> None:
        """Let the variable tensor that is input number `place` hold another value from here on."""
        self.walk.variables.assign(self._key(place), self.tensor(place).name, value)

    def state(self, place: int) -> Value:
        """Input number `place`, a variable tensor or any other one."""
        is_variable = self.tensor(place).is_variable and self.operator.inputs[place] not in self.values
        return self.variable(place) if is_variable else self.value(place)

    def keep(self, place: int, value: Value) -> None:
        """Leave a value in input number `place`, if that is a variable tensor."""
        if self.tensor(place).is_variable and self.operator.inputs[place] not in self.values:
            self.assign(place, value)

    def _key(self, place: int) -> Hashable:
        return self.model.main, self.operator.inputs[place]

    def known(self, place: int) -> Array | None:
        """What an input holds, if that is the same in every run."""
        tensor, index = self.tensor(place), self.operator.inputs[place]
        if index in self.folded:
            return self.folded[index]
        if tensor.data is None and tensor.type is not None and not tensor.type.size:
            return np.empty(tensor.type.shape, tensor.type.dtype.numpy)  # writers leave out a buffer of no bytes
        array = tensor.array()
        if array is not None and tensor.is_encoded:
            self.folded[index] = array
        return array

    def constant(self, place: int) -> Array:
        """The value of an input that must be known."""
        array = self.known(place)
        if array is None:
            self.unsupported(f"input {place}, tensor `{self.tensor(place).name}`, is not a constant")
        return array

    def integers(self, place: int) -> tuple[int, ...]:
        """The elements of a constant vector (or scalar) of integers."""
        array = self.constant(place)
        if array.dtype.kind not in "iu" or array.ndim > 2 or array.size > 64:
            self.fail(f"input {place} should be a short vector of integers, not {self.type(place)}")
        return tuple(int(v) for v in array.reshape(-1))

    def weight(
        self, place: int, axes: tuple[int, ...], shape: tuple[int, ...] | None = None, *, as_float: bool = False
    ) -> tuple[Value, Quantization | None]:
        """A weight with its dimensions in another order (and then another shape), and its quantization, which follows.

        Constants are turned over at once, and into the floats that they stand for if asked to; for others the graph
        does it.
        """
        key = (self.operator.inputs[place], axes, shape, as_float)
        if key not in self.weights:
            type_ = self.type(place)
            if type_.rank != len(axes):
                self.fail(f"the weight should have {len(axes)} dimensions, not {type_}")
            turned = tuple(type_.shape[a] for a in axes) if shape is None else shape
            self.weights[key] = self._turned_weight(place, axes, turned, as_float)
        return self.weights[key]

    def _turned_weight(
        self, place: int, axes: tuple[int, ...], shape: tuple[int, ...], as_float: bool
    ) -> tuple[Value, Quantization | None]:
        given = self.type(place).quantization
        if given is not None and given.axis is not None:
            # Kernels of convolutions take the scales for those of the filters, whatever dimension the file names.
            if given.axis != axes[-1] and (len(given.scales) != shape[-1] or self.operator.name == "FULLY_CONNECTED"):
                self.unsupported(f"a weight that is quantized along dimension {given.axis} is not supported")
            given = Quantization(given.scales, given.zero_points, len(shape) - 1)
        array = self.known(place)
        if array is None:
            if as_float:
                self.unsupported(f"a computed weight of type {self.type(place)} is not supported")
            value = self.builder.emit("transpose", self.value(place), permutation=axes)
            return value if value.type.shape == shape else self.builder.emit("reshape", value, shape=shape), given
        turned = np.ascontiguousarray(array.transpose(axes)).reshape(shape)
        if as_float:
            offset = turned.astype(np.float32) - np.array(given.zero_points if given else 0, np.float32)
            turned, given = offset * np.array(given.scales if given else 1, np.float32), None
        return self.builder.constant(turned, quantization=given), given

    # ---- options ----

    def option(self, name: str, default: Any = None) -> Any:
        """A field of the operator's options; `default` if it has none."""
        return self.operator.option(name, default)

    @property
    def padding(self) -> str:
        """The option `padding` as netc spells it."""
        return self.operator.coded("padding", PADDINGS)

    @property
    def fused(self) -> str | None:
        """The fused activation, if there is one."""
        return self.operator.coded("fused_activation_function", FUSED)

    def positive(self, *names: str) -> tuple[int, ...]:
        """Fields of the options that must be numbers from 1 up."""
        numbers = tuple(int(self.option(name, 1)) for name in names)
        for name, number in zip(names, numbers, strict=True):
            if not 1 <= number <= 1 << 24:
                self.fail(f"{name} can't be {number}")
        return numbers

    # ---- quantization ----

    @property
    def is_quantized(self) -> bool:
        """True if the operator gives quantized integers."""
        return self.output_type().quantization is not None

    def quantization(self, place: int) -> Quantization:
        """What the elements of an input stand for."""
        return self._quantization(self.tensor(place))

    def output_quantization(self, place: int = 0) -> Quantization:
        """What the elements of an output stand for."""
        return self._quantization(self.output(place))

    def _quantization(self, tensor: Tensor) -> Quantization:
        given = self._typed(tensor).quantization
        if given is None or not given.is_per_tensor:
            self.unsupported(f"tensor `{tensor.name}` should be quantized with one scale, but is {tensor.type}")
        return given

    def fused_range(self) -> dict[str, Attribute]:
        """The fused activation as attributes of a quantized operator: its name, and the integers that it leaves."""
        return self.range_of(self.fused)

    def range_of(self, activation: str | None) -> dict[str, Attribute]:
        """An activation as attributes of a quantized operator: its name, and the integers that it leaves."""
        y = self.output_quantization()
        bounds = ALONE[activation] if activation is not None else ()
        if any(LIMIT <= abs(bound) / y.scale < math.inf for bound in bounds):
            self.unsupported(f"scale {y.scale:.4g} is too small for {activation}: 32 bits don't hold its bounds")
        return activation_range(activation, self.output_type().dtype, y)

    def check_form(self, place: int, types: tuple[DType, ...] = BYTES) -> None:
        """Leave the operator opaque unless input number `place` has one of the element types that its form takes."""
        if self.type(place).dtype not in types:
            self.unsupported(f"its form for {self.type(place).dtype} is not supported")

    # ---- operations ----

    def emit(self, operator: str, *operands: Value, **attributes: Attribute) -> Value:
        """Add an operation."""
        return self.builder.emit(operator, *operands, **attributes)

    def activated(self, x: Value) -> Value:
        """The fused activation of a float operator."""
        activation = self.fused
        if activation is None:
            return x
        if activation == "relu_n1_to_1":
            return self.emit("clamp", x, low=-1.0, high=1.0)
        return self.emit(activation, x)

    def cast(self, x: Value, dtype: DType) -> Value:
        """A value as another element type, if it has a different one."""
        return x if x.type.dtype is dtype else self.emit("cast", x, dtype=str(dtype))
