"""A long short-term memory over a sequence of 8-bit numbers, with 16-bit cells: what TensorFlow Lite calls 8x8_16.

Hochreiter and Schmidhuber, "Long short-term memory", 1997, in integers: gates have three integer bits and twelve of
fraction, the cell's scale is a power of two, sigmoid and tanh are fixed-point functions of 16 bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes
from ...graph.types import DType, Quantization, TensorType
from ..base import AttributeSpec, Operator, register
from . import fixed_point as fp
from .base import check_quantized, per_tensor, quantization
from .functions import FixedPoint

GATES = ("input", "forget", "cell", "output")
GATE_BITS = 3
_GATE_SCALE = 2.0**-12
_SHORT = FixedPoint(16)


@register
class QLstm(Operator):
    """LSTM of x [N, T, I] to [N, T, C], from zero state; gates in the order input, forget, cell, output.

    Operands: x i8, weights of the input i8 [I, C] and of the state i8 [C, C] for each gate, biases i32 [C].
    """

    name = "q_lstm"
    operands = (
        "x",
        *(f"{gate}_weight" for gate in GATES),
        *(f"{gate}_recurrent" for gate in GATES),
        *(f"{gate}_bias" for gate in GATES),
    )
    attributes = {
        "x": quantization("x"),
        "weights": AttributeSpec(tuple, "scales of the input's weights, in the order of the gates"),
        "recurrents": AttributeSpec(tuple, "scales of the state's weights"),
        "y": quantization("the result and the state"),
        "hidden": quantization("the state before it becomes the result"),
        "cell_bits": AttributeSpec(int, "binary digits of the cell's scale: -11 for 2^-11"),
        "cell_clip": AttributeSpec(int, "largest size of the cell, in its own scale; 0: any", 0),
        "time_major": AttributeSpec(bool, "x is [T, N, I]", False),
    }
    non_differentiable = "its operand is made of integers"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, *rest = operands
        check_quantized(self, (x,), attributes, "x")
        per_tensor(self, attributes, "x", "y", "hidden")
        weights, recurrents, biases = rest[:4], rest[4:8], rest[8:]
        cells = weights[0].shape[-1] if weights[0].rank == 2 else 0
        if x.rank != 3 or x.dtype is not DType.I8 or any(w.shape != (x.shape[2], cells) for w in weights):
            raise ShapeError(f"q_lstm can't apply weights {weights[0]} to {x}")
        if any(r.shape != (cells, cells) for r in recurrents) or any(b.shape != (cells,) for b in biases):
            raise ShapeError(
                f"q_lstm: recurrent weights {recurrents[0]} and biases {biases[0]} don't fit {cells} cells"
            )
        if any(w.dtype is not DType.I8 for w in (*weights, *recurrents)) or any(
            b.dtype is not DType.I32 for b in biases
        ):
            raise ShapeError("q_lstm takes weights of type i8 and biases of type i32")
        if (
            len(attributes["weights"]) != 4
            or len(attributes["recurrents"]) != 4
            or not -16 < attributes["cell_bits"] < -8
        ):
            raise ShapeError("q_lstm needs scales for four gates, and a cell scale between 2^-15 and 2^-9")
        return (TensorType(x.dtype, (*x.shape[:2], cells), None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x = operands[0] if attributes["time_major"] else operands[0].swapaxes(0, 1)
        step = _Step(operands, attributes)
        state = np.full((x.shape[1], operands[1].shape[1]), attributes["y"].zero_point, np.int64)
        cell = np.zeros_like(state)
        results = []
        for now in x.astype(np.int64):
            state, cell = step(now, state, cell)
            results.append(state.astype(np.int8))
        stacked = np.stack(results)
        return (stacked if attributes["time_major"] else stacked.swapaxes(0, 1),)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return math.prod(operands[0].shape[:2]) * sum(o.size for o in operands[1:9])


class _Step:
    """One step in time."""

    def __init__(self, operands: tuple[Array, ...], attributes: Attributes) -> None:
        _, *rest = (o.astype(np.int64) for o in operands)
        self.weights, self.recurrents, self.biases = rest[:4], rest[4:8], rest[8:]
        self.attributes = attributes
        x, y, hidden = attributes["x"], attributes["y"], attributes["hidden"]
        self.input_factors = [gate_factor(s, x) for s in attributes["weights"]]
        self.state_factors = [gate_factor(s, y) for s in attributes["recurrents"]]
        self.hidden_factor = fp.quantize_multiplier(float(np.float32(2.0**-15 / hidden.scale * 2.0**-15)))

    def gate(self, number: int, x: Array, state: Array) -> Array:
        """A gate before its function: the sums over input and state, each scaled and saturated to 16 bits."""
        x_zero, state_zero = self.attributes["x"].zero_point, self.attributes["y"].zero_point
        total = (x - x_zero) @ self.weights[number] + self.biases[number]
        first = _saturated(fp.multiply(total, *self.input_factors[number]))
        fed_back = (state - state_zero) @ self.recurrents[number]
        return _saturated(first + fp.multiply(fed_back, *self.state_factors[number]))

    def __call__(self, x: Array, state: Array, cell: Array) -> tuple[Array, Array]:
        """The next state and cell."""
        bits: int = self.attributes["cell_bits"]
        opened, kept, offered, shown = (self.gate(g, x, state) for g in range(4))
        opened, kept, shown = (_SHORT.logistic(g, GATE_BITS) for g in (opened, kept, shown))
        offered = _SHORT.tanh(offered, GATE_BITS)
        new = _saturated(fp.shift_right(kept * cell, 15) + fp.shift_right(opened * offered, 30 + bits))
        limit: int = self.attributes["cell_clip"]
        if limit:
            new = np.clip(new, -limit, limit)
        hidden = fp.multiply(shown * _SHORT.tanh(new, 15 + bits), *self.hidden_factor)
        return np.clip(hidden + self.attributes["hidden"].zero_point, -128, 127), new


def gate_factor(scale: float, operand: Quantization) -> tuple[int, int]:
    """Multiplier and shift from a sum of products to a gate; the scales are combined in f32."""
    effective: Any = np.float32(scale) * np.float32(operand.scale) / np.float32(_GATE_SCALE)
    return fp.quantize_multiplier(float(effective))


def _saturated(x: Array) -> Array:
    clipped: Array = np.clip(x, -(1 << 15), (1 << 15) - 1)
    return clipped
