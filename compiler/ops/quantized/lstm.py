"""A long short-term memory over a sequence of 8-bit numbers, with 16-bit cells: what TensorFlow Lite calls 8x8_16.

Hochreiter and Schmidhuber, "Long short-term memory", 1997, in integers: gates have three integer bits and twelve of
fraction, the cell's scale is a power of two, sigmoid and tanh are fixed-point functions of 16 bits. Facts: TensorFlow
Lite's kernels/lstm_eval.cc and kernels/internal/reference/portable_tensor_utils.cc.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Emits, Value
from ...graph.registry import register
from ...types import DType, TensorType
from ..regions.scan import evaluated, scanned, time_first, time_second
from ..sequences.sequence_lstm import GATES, LSTM_ATTRIBUTES, check_lstm, gate_weights, present_gates
from . import fixed_point as fp
from .base import QuantizedOperator, check_activations, quantization
from .functions import FixedPoint
from .lstm_parts import GATE_BITS, GATE_SCALE, HIGHEST, check_cell

_SHORT = FixedPoint(16)


@register
class QLstm(QuantizedOperator):
    """LSTM of x i8 [N, T, I] from the state h i8 [N, O], c i16 [N, C] to i8 [N, T, O] and the last h and c.

    Weights by role, as `sequence_lstm` has them: matrices i8, biases i32, peepholes and norms i16.
    """

    name = "q_lstm"
    operands = ("x", "h", "c", "*weights")
    attributes = {
        **LSTM_ATTRIBUTES,
        "x": quantization("x"),
        "y": quantization("the result and the state"),
        "hidden": quantization("the state before it is projected or becomes the result"),
        "scales": AttributeSpec(tuple, "the scale of each weight; 0 for biases", items=float),
        "gates": AttributeSpec(
            tuple, "scales of the four gates before they are normalised; none: 2^-12", (), items=float
        ),
        "cell_bits": AttributeSpec(int, "binary digits of the cell's scale: -11 for 2^-11"),
        "cell_clip": AttributeSpec(int, "largest size of the cell, in its own scale; 0: any", 0),
        "projection_clip": AttributeSpec(int, "largest size of the projected state, in its own scale; 0: any", 0),
    }

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, h, c, *weights = operands
        check_activations(self, (x,), attributes, "x", beside=("y", "hidden"))
        check_lstm(self, operands, attributes)
        if not min(*x.shape, *c.shape, *h.shape):
            raise ShapeError(f"q_lstm takes one step, number and cell at least, not {x} and {c}")
        if (x.dtype, h.dtype, c.dtype) != (DType.I8, DType.I8, DType.I16):
            raise ShapeError(f"q_lstm takes i8 with cells of type i16, not {x}, {h} and {c}")
        for role, type_ in zip(attributes["roles"], weights, strict=True):
            if type_.dtype is not _dtype(role):
                raise ShapeError(f"q_lstm: its {role} is of type {_dtype(role)}, not {type_}")
        if len(attributes["scales"]) != len(weights) or len(attributes["gates"]) not in (0, len(GATES)):
            raise ShapeError("q_lstm needs a scale for each weight, and for four gates or none")
        check_cell(self, attributes["cell_bits"], attributes["cell_clip"])
        if not 0 <= attributes["projection_clip"] <= 127:
            raise ShapeError(f"q_lstm can't limit its state to {attributes['projection_clip']}")
        _Scales(attributes).check()
        return (
            TensorType(x.dtype, (*x.shape[:2], h.shape[1]), None, attributes["y"]),
            h.with_layout(None),
            c.with_layout(None),
        )

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return evaluated(self, operands, attributes)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> tuple[Value, ...]:
        x, h, c, *weights = operands
        joined = gate_weights(b, attributes["roles"], weights)
        total = b.emit("dense_sum", x, joined.weight, *joined.bias, **_zero(attributes, "x"))
        constants = {**joined.constants, **_tables(b, attributes["cell_bits"])}
        step = _Step(attributes, joined.gates, tuple(constants))
        sequence = time_first(b, total, attributes["time_major"])
        done = scanned(b, step, (h, c), (sequence,), tuple(constants.values()))
        y = time_second(b, done.stacked[0], attributes["time_major"])
        return (b.emit("reinterpret", y, y=attributes["y"]), *done.states)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        x = operands[0].shape
        return x[0] * x[1] * sum(o.size for o in operands[3:] if o.rank == 2 and o.dtype is DType.I8)


def _dtype(role: str) -> DType:
    """Element type of a weight."""
    if role.endswith("_bias"):
        return DType.I32
    return DType.I16 if role.endswith(("_peephole", "_norm")) else DType.I8


def _tables(b: Builder, cell_bits: int) -> dict[str, Value]:
    """The functions of gates and cells, of all values of i16."""
    every = np.arange(-(1 << 15), 1 << 15, dtype=np.int64)
    functions = {
        "sigmoid": _SHORT.logistic(every, GATE_BITS),
        "tanh": _SHORT.tanh(every, GATE_BITS),
        "cell_tanh": _SHORT.tanh(every, 15 + cell_bits),
    }
    return {name: b.constant(values.astype(np.int16)) for name, values in functions.items()}


class _Scales:
    """The factors between the scales of a layer, as multipliers and shifts."""

    def __init__(self, attributes: Attributes) -> None:
        self.attributes = attributes
        self.scales: Mapping[str, float] = dict(zip(attributes["roles"], attributes["scales"], strict=True))

    def check(self) -> None:
        """Raise `ScaleError` for scales with which the kernel gives no defined result."""
        for gate in present_gates(self.scales):
            self.gate(gate)
            self.peephole(gate)
            self.norm(gate)
        self.hidden()
        self.projection()

    def _gate_scale(self, gate: str) -> float:
        given = self.attributes["gates"]
        return float(given[GATES.index(gate)]) if given else GATE_SCALE

    def gate(self, gate: str) -> dict[str, Any]:
        """Attributes of `lstm_gate`; the scales are combined in f32."""
        parts = (("total", "weight", "x"), ("fed_back", "recurrent", "y"))
        return {
            name: fp.quantize_multiplier(
                fp.single_ratio(
                    self.scales[f"{gate}_{role}"], self.attributes[operand].scale, over=self._gate_scale(gate)
                )
            )
            for name, role, operand in parts
        }

    def peephole(self, gate: str) -> tuple[int, int] | None:
        """The factor of a product of a cell and its weight."""
        scale = self.scales.get(f"{gate}_peephole")
        if scale is None:
            return None
        cell = 2.0 ** self.attributes["cell_bits"]
        return fp.quantize_multiplier(fp.single_ratio(cell, scale, over=self._gate_scale(gate)))

    def norm(self, gate: str) -> dict[str, Any] | None:
        """Attributes of `lstm_norm`."""
        scale = self.scales.get(f"{gate}_norm")
        if scale is None:
            return None
        multiplier, shift = fp.quantize_multiplier(float(np.float32(scale)))
        guard = max(1, int(np.float32(10000) * np.float32(scale)))
        return {"factor": (multiplier, shift + 12), "guard": guard}

    def hidden(self) -> tuple[int, int]:
        """The factor of a product of two fractions of 15 bits."""
        return fp.quantize_multiplier(float(np.float32(2.0**-15 / self.attributes["hidden"].scale * 2.0**-15)))

    def projection(self) -> tuple[int, int] | None:
        """The factor of the sums that project the state."""
        scale = self.scales.get("projection")
        if scale is None:
            return None
        ratio = fp.single_ratio(scale, self.attributes["hidden"].scale, over=self.attributes["y"].scale)
        return fp.quantize_multiplier(ratio)


class _Step:
    """A step of the layer."""

    def __init__(self, attributes: Attributes, gates: Sequence[str], roles: tuple[str, ...]) -> None:
        self.attributes = attributes
        self.scales = _Scales(attributes)
        self.gates = gates
        self.roles = roles

    def __call__(
        self, b: Emits, states: Sequence[Value], xs: Sequence[Value], constants: Sequence[Value]
    ) -> tuple[Sequence[Value], Sequence[Value]]:
        (h, c), known = states, dict(zip(self.roles, constants, strict=True))
        fed_back = b.emit("dense_sum", h, known["recurrent"], **_zero(self.attributes, "y"))

        def gate(name: str, cell: Value) -> Value:
            return self._gate(b, name, (xs[0], fed_back), cell, known)

        kept, offered = gate("forget", c), gate("cell", c)
        if "input" in self.gates:
            opened = gate("input", c)
        else:
            opened = b.emit("sub", b.emit("constant", value=np.array(HIGHEST, np.int16)), kept)
        cell = b.emit("lstm_cell", kept, c, opened, offered, **_cell_attributes(self.attributes))
        shown = gate("output", cell)
        seen = b.emit("lookup", cell, known["cell_tanh"])
        # What is projected has its zero point with the other sign.
        zero = self.attributes["hidden"].zero_point * (-1 if "projection" in known else 1)
        hidden = b.emit("lstm_hidden", shown, seen, factor=self.scales.hidden(), zero=zero)
        if "projection" in known:
            weights = [known[role] for role in ("projection", "projection_bias") if role in known]
            total = b.emit("dense_sum", hidden, *weights, x_zero=zero, weight_zero=0)
            zero, clip = self.attributes["y"].zero_point, self.attributes["projection_clip"]
            hidden = b.emit("scaled_sum", total, factor=self.scales.projection(), zero=zero, clip=clip)
        hidden, cell = _like_state(b, hidden, h), _like_state(b, cell, c)
        return (hidden, cell), (hidden,)

    def _gate(self, b: Emits, gate: str, sums: tuple[Value, Value], cell: Value, known: Mapping[str, Value]) -> Value:
        """A gate after its function."""
        rows, cells = cell.type.shape
        place = {"begin": (0, self.gates.index(gate) * cells), "size": (rows, cells)}
        value = b.emit("lstm_gate", *(b.emit("slice", s, **place) for s in sums), **self.scales.gate(gate))
        if f"{gate}_peephole" in known:
            factor = self.scales.peephole(gate)
            value = b.emit("lstm_peephole", value, cell, known[f"{gate}_peephole"], factor=factor)
        norm = self.scales.norm(gate)
        if norm is not None:
            wide = b.emit("cast", value, dtype="i64")
            rows_of: dict[str, Any] = {"axes": (-1,), "keepdims": True}
            total = b.emit("reduce_sum", wide, **rows_of)
            squares = b.emit("reduce_sum", b.emit("mul", wide, wide), **rows_of)
            weights = known[f"{gate}_norm"], known[f"{gate}_bias"]
            value = b.emit("lstm_norm", value, total, squares, *weights, **norm)
        return b.emit("lookup", value, known["tanh" if gate == "cell" else "sigmoid"])


def _like_state(b: Emits, new: Value, old: Value) -> Value:
    """The next state, standing for numbers as the state before does."""
    given = old.type.quantization
    return new if given == new.type.quantization else b.emit("reinterpret", new, y=given)


def _zero(attributes: Attributes, name: str) -> dict[str, Any]:
    return {"x_zero": attributes[name].zero_point, "weight_zero": 0}


def _cell_attributes(attributes: Attributes) -> dict[str, Any]:
    return {"bits": attributes["cell_bits"], "clip": attributes["cell_clip"]}
