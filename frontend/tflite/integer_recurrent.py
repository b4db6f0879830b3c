"""TFLite's recurrent layers on 8-bit numbers: LSTM with 16-bit cells, and SVDF."""

from __future__ import annotations

import math

import numpy as np

from ...compiler.graph.ir import Value
from ...compiler.graph.registry import lookup
from ...compiler.ops.sequences.sequence_lstm import GATES
from ...compiler.types import DType, Quantization
from .context import Context
from .lstm_places import FORWARD, Places

_HIDDEN = 4
"""The intermediate tensor that holds the state's scale, behind those of the gates."""
_TANH = 4


def integer_lstm(c: Context, x: Value, places: Places, time_major: bool) -> Value:
    """An LSTM of 8-bit numbers."""
    if c.output_type().dtype is not DType.I8 or c.type(places.cell).dtype is not DType.I16:
        c.unsupported("only the LSTM with 8-bit activations and 16-bit cells is supported")
    if c.option("fused_activation_function", 4) != _TANH:
        c.unsupported("its activation must be tanh")
    cell = c.quantization(places.cell)
    if abs(math.log2(cell.scale) - round(math.log2(cell.scale))) > 1e-3:
        c.unsupported("the scale of its cells must be a power of two")
    if len(c.operator.intermediates) != _HIDDEN + 1:
        c.unsupported("only its form with five intermediate tensors is supported")
    present = places.present(c)
    weights = {role: _weight(c, role, place) for role, place in present.items()}
    normed = "forget_norm" in present
    options = {
        "roles": tuple(weights),
        "x": c.quantization(0),
        "y": c.quantization(places.state),
        "hidden": _intermediate(c, _HIDDEN),
        "scales": tuple(0.0 if role.endswith("_bias") else _scale(c, present[role]) for role in weights),
        "gates": tuple(_intermediate(c, i).scale for i in range(len(GATES))) if normed else (),
        "cell_bits": round(math.log2(cell.scale)),
        "cell_clip": _clip(float(c.option("cell_clip", 0.0)), cell, 32767),
        "time_major": time_major,
    }
    if "projection" in weights:
        options["projection_clip"] = _clip(float(c.option("proj_clip", 0.0)), c.output_quantization(), 127)
    operands = (x, c.state(places.state), c.state(places.cell), *weights.values())
    y, h, new = c.builder.operation(lookup("q_lstm"), operands, options).results
    c.keep(places.state, h)
    c.keep(places.cell, new)
    return y


def _weight(c: Context, role: str, place: int) -> Value:
    if c.type(place).rank == 2:
        return c.weight(place, (1, 0))[0]
    return _peephole(c, place) if role.endswith("_peephole") else c.value(place)


def _peephole(c: Context, place: int) -> Value:
    """The weights by which a gate sees the cells.

    LiteRT's kernel takes the number of results for that of cells. So with a projection, as many weights as there are
    results meet cells in row-major order, from the first batch's first one on.
    """
    rows, cells = c.type(FORWARD.cell).shape
    units = c.type(FORWARD.state).shape[1]
    if units == cells:
        return c.value(place)
    if units > cells:
        c.unsupported("with more results than cells, LiteRT's kernel reads beyond its peepholes")
    seen = np.zeros(rows * cells, np.int16)
    seen[: rows * units] = np.tile(c.constant(place)[:units], rows)
    return c.builder.constant(seen.reshape(rows, cells))


def _scale(c: Context, place: int) -> float:
    given = c.type(place).quantization
    if given is None or not given.is_per_tensor or given.zero_point:
        c.unsupported("only weights that are quantized with one scale and zero point 0 are supported")
    return given.scale


def _intermediate(c: Context, number: int) -> Quantization:
    """What an intermediate tensor's elements stand for."""
    index = c.operator.intermediates[number]
    tensor = c.model.tensors[index] if index >= 0 else None
    if tensor is None or tensor.type is None or tensor.type.quantization is None:
        c.fail(f"intermediate tensor {number} must be quantized")
    return tensor.type.quantization


def _clip(limit: float, scale: Quantization, most: int) -> int:
    """A limit as the largest integer; 0 for none."""
    return int(min(np.float32(limit) / np.float32(scale.scale), np.float32(most))) if limit > 0 else 0


def integer_svdf(c: Context) -> Value:
    """SVDF of 8-bit numbers, whose memory has 16 bits, or 8 as microcontrollers have it."""
    (rank,) = c.positive("rank")
    memory = c.type(4).dtype
    if c.type(1).dtype is not DType.I8 or c.type(2).dtype is not memory or memory not in (DType.I8, DType.I16):
        c.unsupported(f"its form with a memory of {memory} and weights of {c.type(1).dtype} is not supported")
    operands = [c.value(0), c.state(4), c.weight(1, (1, 0))[0], c.value(2)]
    if c.has(3):
        operands.append(c.value(3))
    options = {
        "rank": rank,
        "x": c.quantization(0),
        "memory": c.quantization(4),
        "features_scale": _scale(c, 1),
        "time_scale": _scale(c, 2),
        "y": c.output_quantization(),
    }
    y, new = c.builder.operation(lookup("q_svdf"), operands, options).results
    c.keep(4, new)
    return y
