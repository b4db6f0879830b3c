"""Recurrent layers of floats with 8-bit weights, as in TFLite's files of dynamic range ("hybrid" kernels).

Each vector that meets a weight - of the input, of the state, of what is projected - is quantized on a scale of its own
(see `hybrid`). Gates, states, biases and norms are floats. Weights have one scale each, and the zero point 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Emits, Value
from ...graph.registry import register
from ...types import DType, Quantization, TensorType
from ..regions.scan import evaluated
from ..sequences.sequence_layer import Product, activated
from ..sequences.sequence_lstm import SequenceLstm, present_gates
from ..sequences.sequence_rnn import SequenceRnn, Svdf
from .base import HybridOperator
from .dynamic import SYMMETRIC
from .hybrid import HybridDense
from .hybrid_activations import sigmoid, tanh

_QUANTIZED = ("_weight", "_recurrent", "_peephole", "projection")
"""Ends of the roles of weights that are integers."""


def is_quantized(role: str) -> bool:
    """True for weights that are integers in layers whose others are floats."""
    return role.endswith(_QUANTIZED)


class HybridLayer(HybridOperator):
    """Base of recurrent layers of floats with 8-bit weights."""

    def quantized(self, attributes: Attributes) -> Sequence[int]:
        """Which operands are weights of i8."""
        return 2, 3

    def weight_scales(self, attributes: Attributes) -> Mapping[int, float]:
        """Their scales, by operand."""
        return dict(zip(self.quantized(attributes), attributes["scales"], strict=False))

    def activate(self, b: Emits, x: Value, activation: str) -> Value:
        """One of `ACTIVATIONS`, with LiteRT's last bit."""
        exact = {"tanh": tanh, "sigmoid": sigmoid}.get(activation)
        return exact(b, x) if exact is not None else activated(b, x, activation)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        """In single precision whatever the floats are: what is rounded depends on it."""
        singles = tuple(o.astype(np.float32) if o.dtype.kind == "f" else o for o in operands)
        return evaluated(self, singles, attributes)

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        scales = self.weight_scales(attributes)
        fits = len(scales) == len(attributes["scales"]) == len(self.quantized(attributes))
        if not fits or not all(scale > 0 for scale in scales.values()):
            raise ShapeError(f"{self.name} needs a scale for each of its weights of i8, not {attributes['scales']}")
        for place, type_ in enumerate(operands):
            wanted = DType.I8 if place in scales else DType.F32
            if type_.dtype is not wanted or not type_.size:
                raise ShapeError(f"{self.name}: operand {place} should be of type {wanted}, and not empty, not {type_}")
        floats = tuple(TensorType(DType.F32, t.shape) for t in operands)
        return self.floats.infer(floats, self.float_attributes(attributes))


def _dense(b: Builder, x: Value, weight: Value, scales: Sequence[float], attributes: Attributes, *bias: Value) -> Value:
    """A product of vectors with integers; scales for equal parts of the filters, or one."""
    parts = weight.type.shape[-1] // len(scales)
    given = Quantization.of(scales[0])
    if len(set(scales)) > 1:
        each = tuple(s for s in scales for _ in range(parts))
        given = Quantization(each, (0,) * len(each), 1)
    return HybridDense().decompose(b, (x, weight, *bias), {"weight": given, "symmetric": attributes["symmetric"]})


def _recovered(b: Builder, weight: Value, scale: float) -> Value:
    """The floats that a weight stands for."""
    factor = b.emit("constant", value=np.array(scale, np.float32))
    return b.emit("mul", b.emit("cast", weight, dtype=str(DType.F32)), factor)


SCALES = AttributeSpec(tuple, "the scale of each weight of i8", items=float)


@register
class HybridLstm(HybridLayer, SequenceLstm):
    """LSTM of floats x [N, T, I], with the states, results and roles of `sequence_lstm`.

    Input weights, recurrent weights, peepholes and the projection are i8; biases and norms are floats.
    """

    name = "hybrid_lstm"
    floats_only = False
    attributes = {**SequenceLstm.attributes, "scales": SCALES, "symmetric": SYMMETRIC}
    floats = SequenceLstm()

    def quantized(self, attributes: Attributes) -> Sequence[int]:
        return [place for place, role in enumerate(attributes["roles"], 3) if is_quantized(role)]

    def product(self, attributes: Attributes) -> Product:
        scales = {attributes["roles"][place - 3]: scale for place, scale in self.weight_scales(attributes).items()}
        gates = present_gates(scales)

        def multiply(b: Builder, kind: str, x: Value, weight: Value, *bias: Value) -> Value:
            each = [scales[kind]] if kind == "projection" else [scales[f"{g}_{kind}"] for g in gates]
            return _dense(b, x, weight, each, attributes, *bias)

        return multiply

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> tuple[Value, ...]:
        scales = self.weight_scales(attributes)
        seeing = [place for place, role in enumerate(attributes["roles"], 3) if role.endswith("_peephole")]
        known = tuple(_recovered(b, v, scales[i]) if i in seeing else v for i, v in enumerate(operands))
        return super().decompose(b, known, attributes)


@register
class HybridRnn(HybridLayer, SequenceRnn):
    """`sequence_rnn` of floats with a weight [I, C] and a recurrent weight [C, C] of i8."""

    name = "hybrid_rnn"
    floats_only = False
    attributes = {**SequenceRnn.attributes, "scales": SCALES, "symmetric": SYMMETRIC}
    floats = SequenceRnn()

    def product(self, attributes: Attributes) -> Product:
        scales = dict(zip(("weight", "recurrent"), attributes["scales"], strict=True))

        def multiply(b: Builder, kind: str, x: Value, weight: Value, *bias: Value) -> Value:
            return _dense(b, x, weight, (scales[kind],), attributes, *bias)

        return multiply


@register
class HybridSvdf(HybridLayer, Svdf):
    """`svdf` of floats with filters over features [I, F] and over time [F, M] of i8; those over time become floats."""

    name = "hybrid_svdf"
    floats_only = False
    attributes = {**Svdf.attributes, "scales": SCALES, "symmetric": SYMMETRIC}
    floats = Svdf()

    def product(self, attributes: Attributes) -> Product:
        def multiply(b: Builder, kind: str, x: Value, weight: Value, *bias: Value) -> Value:
            return _dense(b, x, weight, attributes["scales"][:1], attributes, *bias)

        return multiply

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> tuple[Value, ...]:
        x, memory, features, time, *bias = operands
        time = _recovered(b, time, attributes["scales"][1])
        return super().decompose(b, (x, memory, features, time, *bias), attributes)
