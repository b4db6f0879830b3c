"""What TensorFlow Lite's recurrent layers have in common: how they multiply and activate, and that their steps run."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, Emits, Operator, Value
from ..regions.scan import evaluated

ACTIVATIONS = ("", "relu", "relu_n1_to_1", "relu6", "tanh", "sigmoid")
"""What may stand in place of tanh; the first is none."""

Product = Callable[..., Value]
"""Emits a product of vectors with a weight, and the sum with a bias: builder, kind of weight, vectors, weight, bias."""


class SequenceLayer(Operator):
    """Base of recurrent layers that are made of operations on floats, which layers with other weights may replace."""

    floats_only = True

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return evaluated(self, operands, attributes)

    def product(self, attributes: Attributes) -> Product:
        """Multiplies vectors by weights."""
        return lambda b, kind, x, *weights: b.emit("dense", x, *weights)

    def activate(self, b: Emits, x: Value, activation: str) -> Value:
        """One of `ACTIVATIONS`."""
        return activated(b, x, activation)

    def check_activation(self, attributes: Attributes) -> None:
        """Raise `ShapeError` unless the attribute `activation` is one of `ACTIVATIONS`."""
        if attributes["activation"] not in ACTIVATIONS:
            raise ShapeError(f"{self.name} has no activation `{attributes['activation']}`")


def activated(b: Emits, x: Value, activation: str) -> Value:
    """One of `ACTIVATIONS`."""
    if activation == "relu_n1_to_1":
        return b.emit("clamp", x, low=-1.0, high=1.0)
    return b.emit(activation, x) if activation else x
