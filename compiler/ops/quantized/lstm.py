"""A long short-term memory over a sequence of 8-bit numbers, with 16-bit cells: what TensorFlow Lite calls 8x8_16.

Hochreiter and Schmidhuber, "Long short-term memory", 1997, in integers: gates have three integer bits and twelve of
fraction, the cell's scale is a power of two, sigmoid and tanh are fixed-point functions of 16 bits.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Operator, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Expr, maximum, minimum
from ...types import DType, Quantization, TensorType
from . import fixed_point as fp
from .base import Part, QuantizedOperator, check_quantized, per_tensor, quantization
from .contraction import DenseSum
from .functions import FixedPoint

GATES = ("input", "forget", "cell", "output")
GATE_BITS = 3
_GATE_SCALE = 2.0**-12
_SHORT = FixedPoint(16)


@register
class QLstm(QuantizedOperator):
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
        if not min(*x.shape, cells):
            raise ShapeError(f"q_lstm takes one step, number and cell at least, not {x} and {weights[0]}")
        if any(r.shape != (cells, cells) for r in recurrents) or any(b.shape != (cells,) for b in biases):
            raise ShapeError(
                f"q_lstm: recurrent weights {recurrents[0]} and biases {biases[0]} don't fit {cells} cells"
            )
        if any(w.dtype is not DType.I8 for w in (*weights, *recurrents)) or any(
            b.dtype is not DType.I32 for b in biases
        ):
            raise ShapeError("q_lstm takes weights of type i8 and biases of type i32")
        if len(attributes["weights"]) != 4 or len(attributes["recurrents"]) != 4:
            raise ShapeError("q_lstm needs scales for four gates")
        _check_cell(self, attributes["cell_bits"], attributes["cell_clip"])
        for number in range(len(GATES)):
            _gate_attributes(attributes, number)
        LstmHidden().factor(attributes)
        return (TensorType(x.dtype, (*x.shape[:2], cells), None, attributes["y"]),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x = operands[0] if attributes["time_major"] else operands[0].swapaxes(0, 1)
        step = _TimeStep(operands, attributes)
        state = np.full((x.shape[1], operands[1].shape[1]), attributes["y"].zero_point, np.int8)
        cell = np.zeros(state.shape, np.int16)
        results = []
        for now in x:
            state, cell = step(now, state, cell)
            results.append(state)
        stacked = np.stack(results)
        return (stacked if attributes["time_major"] else stacked.swapaxes(0, 1),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        x = operands[0]
        axis = 0 if attributes["time_major"] else 1
        batch, cells = x.type.shape[1 - axis], operands[1].type.shape[1]
        unrolled = _Unrolled(b, operands, attributes)
        state = b.constant(np.full((batch, cells), attributes["y"].zero_point, np.int8))
        cell = b.constant(np.zeros((batch, cells), np.int16))
        shape = (1, batch, cells) if axis == 0 else (batch, 1, cells)
        results = []
        for time in range(x.type.shape[axis]):
            state, cell = unrolled.step(time, axis, state, cell)
            results.append(b.emit("reshape", state, shape=shape))
        return b.emit("reinterpret", b.emit("concat", *results, axis=axis), y=attributes["y"])

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return math.prod(operands[0].shape[:2]) * sum(o.size for o in operands[1:9])


class _TimeStep:
    """One step in time, on arrays."""

    def __init__(self, operands: tuple[Array, ...], attributes: Attributes) -> None:
        self.weights, self.recurrents, self.biases = operands[1:5], operands[5:9], operands[9:]
        self.attributes = attributes

    def gate(self, number: int, x: Array, state: Array) -> Array:
        """A gate before its function."""
        (total,) = DenseSum().evaluate((x, self.weights[number], self.biases[number]), _zero(self.attributes, "x"))
        (fed_back,) = DenseSum().evaluate((state, self.recurrents[number]), _zero(self.attributes, "y"))
        return LstmGate().evaluate((total, fed_back), _gate_attributes(self.attributes, number))[0]

    def __call__(self, x: Array, state: Array, cell: Array) -> tuple[Array, Array]:
        """The next state and cell."""
        bits: int = self.attributes["cell_bits"]
        opened, kept, offered, shown = (self.gate(g, x, state).astype(np.int64) for g in range(4))
        opened, kept, shown = (_SHORT.logistic(g, GATE_BITS) for g in (opened, kept, shown))
        offered = _SHORT.tanh(offered, GATE_BITS)
        (new,) = LstmCell().evaluate((kept, cell, opened, offered), _cell_attributes(self.attributes))
        seen = _SHORT.tanh(new.astype(np.int64), 15 + bits)
        (state,) = LstmHidden().evaluate((shown, seen), {"hidden": self.attributes["hidden"]})
        return state, new


class _Unrolled:
    """Steps in time, as operations of a graph."""

    def __init__(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> None:
        self.b = b
        self.attributes = attributes
        self.recurrents = operands[5:9]
        x, weights, biases = operands[0], operands[1:5], operands[9:]
        pairs = zip(weights, biases, strict=True)
        self.totals = [b.emit("dense_sum", x, w, bias, **_zero(attributes, "x")) for w, bias in pairs]
        self.logistic, self.tanh = (
            b.constant(f(_all_shorts(), GATE_BITS).astype(np.int16)) for f in (_SHORT.logistic, _SHORT.tanh)
        )
        seen = _SHORT.tanh(_all_shorts(), 15 + attributes["cell_bits"])
        self.cell_tanh = b.constant(seen.astype(np.int16))

    def gate(self, number: int, time: int, axis: int, state: Value) -> Value:
        """A gate after its function."""
        b, total = self.b, self.totals[number]
        begin, size = [0, 0, 0], list(total.type.shape)
        begin[axis], size[axis] = time, 1
        now = b.emit("reshape", b.emit("slice", total, begin=tuple(begin), size=tuple(size)), shape=state.type.shape)
        fed_back = b.emit("dense_sum", state, self.recurrents[number], **_zero(self.attributes, "y"))
        gate = b.emit("lstm_gate", now, fed_back, **_gate_attributes(self.attributes, number))
        return b.emit("lookup", gate, self.tanh if GATES[number] == "cell" else self.logistic)

    def step(self, time: int, axis: int, state: Value, cell: Value) -> tuple[Value, Value]:
        """The next state and cell."""
        opened, kept, offered, shown = (self.gate(g, time, axis, state) for g in range(4))
        new = self.b.emit("lstm_cell", kept, cell, opened, offered, **_cell_attributes(self.attributes))
        seen = self.b.emit("lookup", new, self.cell_tanh)
        return self.b.emit("lstm_hidden", shown, seen, hidden=self.attributes["hidden"]), new


def _all_shorts() -> Array:
    """The values of i16, smallest first."""
    return np.arange(-(1 << 15), 1 << 15, dtype=np.int64)


def _zero(attributes: Attributes, name: str) -> dict[str, Any]:
    return {"x_zero": attributes[name].zero_point, "weight_zero": 0}


def _gate_attributes(attributes: Attributes, number: int) -> dict[str, Any]:
    return {
        "total": _gate_factor(attributes["weights"][number], attributes["x"]),
        "fed_back": _gate_factor(attributes["recurrents"][number], attributes["y"]),
    }


def _cell_attributes(attributes: Attributes) -> dict[str, Any]:
    return {"bits": attributes["cell_bits"], "clip": attributes["cell_clip"]}


def _check_cell(operator: Operator, bits: int, clip: int) -> None:
    """Raise `ShapeError` unless a cell has a scale that the kernel knows, and is limited to a size or not at all."""
    if not -16 < bits < -8 or clip < 0:
        raise ShapeError(f"{operator.name} needs a cell scale between 2^-15 and 2^-9, and a limit not below 0")


def _gate_factor(scale: float, operand: Quantization) -> tuple[int, int]:
    """Multiplier and shift from a sum of products to a gate; the scales are combined in f32."""
    return fp.quantize_multiplier(fp.single_ratio(scale, operand.scale, over=_GATE_SCALE))


_LOWEST, _HIGHEST = -(1 << 15), (1 << 15) - 1


class _Part(Part):
    """Base of the elementwise parts of a step: operands and result have one shape."""

    elementwise = True
    non_differentiable = "its operand is made of integers"
    takes: ClassVar[DType]
    gives: ClassVar[DType] = DType.I16

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        if any(o.dtype is not self.takes or o.shape != operands[0].shape for o in operands):
            raise ShapeError(f"{self.name} can't combine {', '.join(map(str, operands))}")
        return (TensorType(self.gives, operands[0].shape),)


@register
class LstmGate(_Part):
    """A gate before its function: sums over input and state (i32), scaled and saturated to 16 bits one by one."""

    name = "lstm_gate"
    operands = ("total", "fed_back")
    attributes = {
        "total": AttributeSpec(tuple, "multiplier and shift of the sum over the input"),
        "fed_back": AttributeSpec(tuple, "multiplier and shift of the sum over the state"),
    }
    takes = DType.I32

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        for key in self.attributes:
            if not fp.is_multiplier(attributes[key]):
                raise ShapeError(f"lstm_gate: `{key}` is a multiplier and a shift, not {attributes[key]}")
        return super().infer(operands, attributes)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        first = np.clip(fp.multiply(operands[0], *attributes["total"]), _LOWEST, _HIGHEST)
        return (fp.saturate(first + fp.multiply(operands[1], *attributes["fed_back"]), DType.I16),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        first = fp.multiply_expr(c.let, fp.wide(c.load(0, index)), *attributes["total"])
        second = fp.multiply_expr(c.let, fp.wide(c.load(1, index)), *attributes["fed_back"])
        return fp.saturate_expr(maximum(minimum(first, _HIGHEST), _LOWEST) + second, DType.I16)


@register
class LstmCell(_Part):
    """The next cell: kept * cell + opened * offered, both rounded to the cell's scale 2^bits."""

    name = "lstm_cell"
    operands = ("kept", "cell", "opened", "offered")
    attributes = {
        "bits": AttributeSpec(int, "binary digits of the cell's scale: -11 for 2^-11"),
        "clip": AttributeSpec(int, "largest size of the cell; 0: any", 0),
    }
    takes = DType.I16

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        _check_cell(self, attributes["bits"], attributes["clip"])
        return super().infer(operands, attributes)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        kept, cell, opened, offered = (o.astype(np.int64) for o in operands)
        total = fp.shift_right(kept * cell, 15) + fp.shift_right(opened * offered, 30 + attributes["bits"])
        limit = attributes["clip"] or None
        return (fp.saturate(total, DType.I16, -limit if limit else None, limit),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        kept, cell, opened, offered = (fp.wide(c.load(i, index)) for i in range(4))
        old = fp.shift_right_expr(c.let, kept * cell, 15)
        new = fp.shift_right_expr(c.let, opened * offered, 30 + attributes["bits"])
        limit = attributes["clip"] or None
        return fp.saturate_expr(old + new, DType.I16, -limit if limit else None, limit)


@register
class LstmHidden(_Part):
    """The state: shown * seen, both fractions of 15 bits, on the state's scale."""

    name = "lstm_hidden"
    operands = ("shown", "seen")
    attributes = {"hidden": quantization("the result")}
    takes = DType.I16
    gives = DType.I8

    def factor(self, attributes: Attributes) -> tuple[int, int]:
        """Multiplier and shift of the product."""
        return fp.quantize_multiplier(float(np.float32(2.0**-15 / attributes["hidden"].scale * 2.0**-15)))

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        shown, seen = (o.astype(np.int64) for o in operands)
        scaled = fp.multiply(shown * seen, *self.factor(attributes))
        return (fp.saturate(scaled + attributes["hidden"].zero_point, DType.I8),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        product = fp.wide(c.load(0, index)) * fp.wide(c.load(1, index))
        scaled = fp.multiply_expr(c.let, product, *self.factor(attributes))
        return fp.saturate_expr(scaled + attributes["hidden"].zero_point, DType.I8)
