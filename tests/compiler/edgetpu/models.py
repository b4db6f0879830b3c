"""Small models in TFLite's terms, for tests of the prediction."""

from __future__ import annotations

from collections.abc import Sequence

from netc.compiler.edgetpu import ModelFacts, OperatorFacts, TensorFacts


def tensor(*shape: int, dtype: str = "INT8") -> TensorFacts:
    """A computed tensor."""
    return TensorFacts(shape, dtype)


def constant(*shape: int, dtype: str = "INT8", per_channel: bool = False, zero: bool = False) -> TensorFacts:
    """A constant whose values don't matter."""
    return TensorFacts(shape, dtype, constant=True, per_channel=per_channel, zero=zero)


def integers(*values: int) -> TensorFacts:
    """A constant of small integers: axes, sizes, strides."""
    return TensorFacts((len(values),), "INT32", constant=True, values=values)


def convolution(data: TensorFacts, filters: int, kernel: int = 1, *, per_channel: bool = False) -> OperatorFacts:
    """A convolution with padding "same", a stride of 1 and a bias."""
    weight = constant(filters, kernel, kernel, data.channels, per_channel=per_channel)
    output = TensorFacts((*data.shape[:-1], filters), data.dtype)
    return OperatorFacts("CONV_2D", (data, weight, constant(filters, dtype="INT32")), (output,))


def dense(data: TensorFacts, units: int) -> OperatorFacts:
    """A dense layer without bias."""
    return OperatorFacts("FULLY_CONNECTED", (data, constant(units, data.channels)), (tensor(1, units),))


def elementwise(kind: str, *inputs: TensorFacts) -> OperatorFacts:
    """An operator whose result is like its first input."""
    return OperatorFacts(kind, inputs, (TensorFacts(inputs[0].shape, inputs[0].dtype),))


def model(*operators: OperatorFacts, inputs: Sequence[TensorFacts] = ()) -> ModelFacts:
    """A model whose output is that of the last operator."""
    return ModelFacts("test", operators, tuple(inputs) or operators[0].activations, operators[-1].outputs)
