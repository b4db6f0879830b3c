"""TensorFlow Lite's long short-term memory over a sequence, with all that its kernel may have.

Hochreiter and Schmidhuber, "Long short-term memory", 1997; peepholes and projection: Sak, Senior and Beaufays, "Long
short-term memory based recurrent neural network architectures for large vocabulary speech recognition", 2014;
normalised gates: Ba, Kiros and Hinton, "Layer normalization", 2016.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Attributes, AttributeSpec, Builder, Emits, Operator, Value
from ...graph.registry import register
from ...types import TensorType
from ..facets import INTEGER, PERMUTED
from ..regions.scan import scanned, time_first, time_second
from .sequence_layer import Product, SequenceLayer

GATES = ("input", "forget", "cell", "output")
"""In the order of TFLite's tensors."""
SEEING = ("input", "forget", "output")
"""Gates that may see the cell (peepholes)."""
_VARIANCE = 1e-8
"""Is added to the variance of a normalised gate."""

LSTM_ATTRIBUTES: Mapping[str, AttributeSpec] = {
    "roles": AttributeSpec(
        tuple, "what each of the weights is: forget_weight, forget_recurrent, forget_peephole ...", items=str
    ),
    "time_major": AttributeSpec(bool, "x is [T, N, I], and so is the result", False),
}


def check_lstm(operator: Operator, operands: Sequence[TensorType], attributes: Attributes) -> tuple[int, int, int]:
    """The sizes of batch, cells and state. Raises `ShapeError` unless the shapes fit each other."""
    x, h, c, *weights = operands
    roles = attributes["roles"]
    if len(roles) != len(weights) or len(set(roles)) != len(roles):
        raise ShapeError(f"{operator.name} has {len(weights)} weights, but roles for {len(set(roles))}")
    batch = x.shape[0 if not attributes["time_major"] else 1] if x.rank == 3 else -1
    cells, units = (t.shape[1] if t.rank == 2 else -1 for t in (c, h))
    if x.rank != 3 or h.shape != (batch, units) or c.shape != (batch, cells):
        raise ShapeError(f"{operator.name} can't begin with the states {h} and {c} on {x}")
    known = dict(zip(roles, weights, strict=True))
    gates = present_gates(known)
    wanted: dict[str, tuple[int, ...]] = {f"{g}_weight": (x.shape[2], cells) for g in gates}
    wanted |= {f"{g}_recurrent": (units, cells) for g in gates}
    wanted |= {f"{g}_bias": (cells,) for g in gates}
    optional: dict[str, tuple[int, ...]] = {f"{g}_norm": (cells,) for g in gates}
    optional |= {"projection": (cells, units), "projection_bias": (units,)}
    seeing = {f"{g}_peephole" for g in SEEING if g in gates}
    for role, type_ in known.items():
        shape = {**wanted, **optional}.get(role)
        fits = type_.shape in ((cells,), (batch, cells)) if role in seeing else type_.shape == shape
        if not fits:
            raise ShapeError(f"{operator.name}: its {role} can't be {type_} with {cells} cells and a state of {units}")
    if missing := sorted(wanted.keys() - known.keys()):
        raise ShapeError(f"{operator.name} needs the weights {', '.join(missing)}")
    if "projection" not in known and units != cells:
        raise ShapeError(f"{operator.name}: without projection, a state of {units} doesn't fit {cells} cells")
    for what, all_of in (("norm", gates), ("peephole", [g for g in SEEING if g in gates])):
        if len([g for g in all_of if f"{g}_{what}" in known]) not in (0, len(all_of)):
            raise ShapeError(f"{operator.name}: all of its gates have a {what}, or none")
    return batch, cells, units


def present_gates(known: Mapping[str, Any]) -> list[str]:
    """The gates that have weights: without an input gate, what isn't kept comes in."""
    return [g for g in GATES if g != "input" or "input_weight" in known]


@dataclass(frozen=True, slots=True)
class GateWeights:
    """Weights of the gates side by side, as the products of all of them take them."""

    gates: Sequence[str]
    weight: Value
    bias: tuple[Value, ...]
    """Nothing where gates are normalised first."""
    constants: Mapping[str, Value]
    """What a step reads, by role; `recurrent` is that of all gates."""


def gate_weights(b: Builder, roles: Sequence[str], weights: Sequence[Value]) -> GateWeights:
    """Join weights that are given by role."""
    known = dict(zip(roles, weights, strict=True))
    gates = present_gates(known)
    normed = "forget_norm" in known

    def joined(kind: str) -> Value:
        return b.emit("concat", *(known[f"{g}_{kind}"] for g in gates), axis=-1)

    inner = ("_peephole", "_norm", "projection", "projection_bias", *(("_bias",) if normed else ()))
    constants = {"recurrent": joined("recurrent")}
    constants |= {role: value for role, value in known.items() if role.endswith(inner)}
    return GateWeights(gates, joined("weight"), () if normed else (joined("bias"),), constants)


@register
class SequenceLstm(SequenceLayer):
    """LSTM of x [N, T, I] from the state h [N, O], c [N, C] to [N, T, O] and the last h and c; TFLite's kernel.

    Weights by role: for each gate (input, forget, cell, output; input may be absent) `_weight` [I, C], `_recurrent`
    [O, C] and `_bias` [C]; `_peephole` [C]; `_norm` [C], the scale of a gate that is normalised over the cells before
    its bias is added; `projection` [C, O] and `projection_bias` [O].
    """

    name = "sequence_lstm"
    operands = ("x", "h", "c", "*weights")
    attributes = {
        **LSTM_ATTRIBUTES,
        "activation": AttributeSpec(
            str, "of new cells and of cells on the way out; without one, the new cells are what goes out", "tanh"
        ),
        "cell_clip": AttributeSpec(float, "largest size of a cell; 0: any", 0.0),
        "projection_clip": AttributeSpec(float, "largest size of what is projected; 0: any", 0.0),
    }
    non_differentiable = "its steps are a loop; `lstm` is written step by step"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        check_lstm(self, operands, attributes)
        self.check_activation(attributes)
        x, h, c, *_ = operands
        return (TensorType(x.dtype, (*x.shape[:2], h.shape[1])), h.dense(), c.dense())

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> tuple[Value, ...]:
        x, h, c, *weights = operands
        joined, multiply = gate_weights(b, attributes["roles"], weights), self.product(attributes)
        total = multiply(b, "weight", x, joined.weight, *joined.bias)
        step = _Step(attributes, joined.gates, tuple(joined.constants), multiply, self.activate)
        sequence = time_first(b, total, attributes["time_major"])
        done = scanned(b, step, (h, c), (sequence,), tuple(joined.constants.values()))
        return (time_second(b, done.stacked[0], attributes["time_major"]), *done.states)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        x = operands[0].shape
        return x[0] * x[1] * sum(o.size for o in operands[3:] if o.rank == 2)


class _Step:
    """A step of the float layer."""

    def __init__(
        self,
        attributes: Attributes,
        gates: Sequence[str],
        roles: tuple[str, ...],
        multiply: Product,
        activate: Callable[[Emits, Value, str], Value],
    ) -> None:
        self.attributes = attributes
        self.multiply = multiply
        self.activate = activate
        self.gates = gates
        self.roles = roles

    def __call__(
        self, b: Builder, states: Sequence[Value], xs: Sequence[Value], constants: Sequence[Value]
    ) -> tuple[Sequence[Value], Sequence[Value]]:
        (h, c), known = states, dict(zip(self.roles, constants, strict=True))
        total = b.emit("add", xs[0], self.multiply(b, "recurrent", h, known["recurrent"]))
        kept = self._gate(b, "forget", total, c, known)
        new = self._gate(b, "cell", total, c, known)
        if "input" in self.gates:
            opened = self._gate(b, "input", total, c, known)
        else:
            opened = b.emit("sub", _number(b, 1.0, kept), kept)
        cell = b.emit("add", b.emit("mul", kept, c), b.emit("mul", opened, new))
        cell = _clipped(b, cell, self.attributes["cell_clip"])
        shown = self._gate(b, "output", total, cell, known)
        activation = self.attributes["activation"]
        hidden = b.emit("mul", shown, self.activate(b, cell, activation) if activation else new)
        if "projection" in known:
            weights = (known[r] for r in ("projection", "projection_bias") if r in known)
            hidden = self.multiply(b, "projection", hidden, *weights)
            hidden = _clipped(b, hidden, self.attributes["projection_clip"])
        return (hidden, cell), (hidden,)

    def _gate(self, b: Emits, gate: str, total: Value, cell: Value, known: Mapping[str, Value]) -> Value:
        rows, cells = cell.type.shape
        value = b.emit("slice", total, begin=(0, self.gates.index(gate) * cells), size=(rows, cells))
        if f"{gate}_peephole" in known:
            value = b.emit("add", value, b.emit("mul", known[f"{gate}_peephole"], cell))
        if f"{gate}_norm" in known:
            value = b.emit("mul", _normalized(b, value), known[f"{gate}_norm"])
            value = b.emit("add", value, known[f"{gate}_bias"])
        return self.activate(b, value, self.attributes["activation"] if gate == "cell" else "sigmoid")


def _normalized(b: Emits, x: Value) -> Value:
    """Rows with mean 0 and variance 1."""
    axes: dict[str, Any] = {"axes": (-1,), "keepdims": True}
    centred = b.emit("sub", x, b.emit("reduce_mean", x, **axes))
    variance = b.emit("reduce_mean", b.emit("mul", centred, centred), **axes)
    return b.emit("div", centred, b.emit("sqrt", b.emit("add", variance, _number(b, _VARIANCE, x))))


def _clipped(b: Emits, x: Value, limit: float) -> Value:
    return b.emit("clamp", x, low=-limit, high=limit) if limit > 0 else x


def _number(b: Emits, value: float, like: Value) -> Value:
    return b.emit("constant", value=np.array(value, like.type.dtype.numpy))


INTEGER.none("its weights are quantized in files, where it is q_lstm", SequenceLstm)
PERMUTED.none("the step in time, the channels and the gates have places", SequenceLstm)
