"""Recurrent layers on floats and on quantized numbers, the parts of the latter, and Fourier transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netc.compiler.graph import Value
from netc.compiler.ops.quantized.fixed_point import quantize_multiplier
from netc.compiler.ops.sequences.sequence_layer import ACTIVATIONS
from netc.compiler.ops.sequences.sequence_lstm import GATES, SEEING
from netc.compiler.types import DType, Quantization

from .integers import quantization
from .maker import FLOATS, Maker, Shape
from .recipes import recipe


def lstm_shapes(m: Maker, inputs: int, cells: int, units: int) -> dict[str, Shape]:
    """The weights of an LSTM, by role."""
    gates = GATES[1:] if m.flag(3) else GATES
    shapes: dict[str, Shape] = {}
    for gate in gates:
        shapes |= {f"{gate}_weight": (inputs, cells), f"{gate}_recurrent": (units, cells), f"{gate}_bias": (cells,)}
    if m.flag(3):
        shapes |= {f"{gate}_peephole": (cells,) for gate in SEEING if gate in gates}
    if m.flag(3):
        shapes |= {f"{gate}_norm": (cells,) for gate in gates}
    if units != cells or m.flag(3):
        shapes |= {"projection": (cells, units)} | ({"projection_bias": (units,)} if m.flag() else {})
    return shapes


def sizes(m: Maker) -> tuple[bool, int, int, int]:
    """Whether steps stand first, how many of them and of batches, and a number of features."""
    return m.flag(), m.choice((2, 1, 3)), m.choice((1, 2)), m.choice((3, 1, 8))


@recipe("sequence_lstm")
def sequence_lstm(m: Maker, name: str) -> Value:
    time_major, steps, batch, inputs = sizes(m)
    cells = m.choice((2, 1, 5))
    units = cells if m.flag() else m.choice((1, 3))
    dtype = m.dtype(FLOATS)
    shapes = lstm_shapes(m, inputs, cells, units)
    x = m.operand((dtype,), shape=(steps, batch, inputs) if time_major else (batch, steps, inputs))
    h, c = m.weight(dtype, (batch, units)), m.weight(dtype, (batch, cells))
    limits = {key: m.choice((0.0, 0.5, 1.0)) for key in ("cell_clip", "projection_clip")}
    given = {"activation": m.choice(("tanh", "", "sigmoid")), "time_major": time_major, **limits}
    return m.emit(name, x, h, c, *(m.weight(dtype, s) for s in shapes.values()), roles=tuple(shapes), **given)


@recipe("sequence_rnn")
def sequence_rnn(m: Maker, name: str) -> Value:
    time_major, steps, batch, inputs = sizes(m)
    cells, dtype = m.choice((2, 1, 5)), m.dtype(FLOATS)
    x = m.operand((dtype,), shape=(steps, batch, inputs) if time_major else (batch, steps, inputs))
    rest = [m.weight(dtype, s) for s in ((batch, cells), (inputs, cells), (cells, cells), (cells,))]
    return m.emit(name, x, *rest, activation=m.choice(ACTIVATIONS[3:]), time_major=time_major)


def svdf_shapes(m: Maker) -> tuple[int, list[Shape]]:
    """A rank, and the shapes of input, memory, filters over features and time, and bias."""
    rank, batch, inputs, memory = m.choice((1, 2)), m.choice((1, 2)), m.choice((3, 1, 8)), m.choice((2, 1, 5))
    units = m.choice((2, 1))
    filters = rank * units
    return rank, [(batch, inputs), (batch, filters * memory), (inputs, filters), (filters, memory), (units,)]


@recipe("svdf")
def svdf(m: Maker, name: str) -> Value:
    rank, (x, *rest) = svdf_shapes(m)
    dtype = m.dtype(FLOATS)
    operands = [m.operand((dtype,), shape=x), *(m.weight(dtype, s) for s in rest[: m.choice((4, 3))])]
    return m.emit(name, *operands, rank=rank, activation=m.choice(ACTIVATIONS))


@recipe("q_svdf")
def q_svdf(m: Maker, name: str) -> Value:
    rank, (x, *rest) = svdf_shapes(m)
    given = quantization(m, DType.I8)
    types = (DType.I16, DType.I8, DType.I16, DType.I32)
    operands = [m.weight(dtype, s) for dtype, s in zip(types, rest, strict=True)][: m.choice((4, 3))]
    return m.emit(
        name,
        m.leaf(DType.I8, x, quantization=given),
        *operands,
        rank=rank,
        x=given,
        memory=Quantization.of(m.choice((0.01, 0.001))),
        features_scale=m.choice((0.01, 0.003)),
        time_scale=m.choice((0.01, 0.003)),
        y=quantization(m, DType.I8),
    )


@recipe("q_lstm")
def q_lstm(m: Maker, name: str) -> Value:
    time_major, steps, batch, inputs = sizes(m)
    given, state = quantization(m, DType.I8), quantization(m, DType.I8)
    cells = m.choice((2, 1, 5))
    units = cells if m.flag() else m.choice((1, 3))
    shapes = lstm_shapes(m, inputs, cells, units)
    shape = (steps, batch, inputs) if time_major else (batch, steps, inputs)
    return m.emit(
        name,
        m.leaf(DType.I8, shape, quantization=given),
        m.weight(DType.I8, (batch, units)),
        m.weight(DType.I16, (batch, cells)),
        *(m.weight(integer_type(role), s) for role, s in shapes.items()),
        roles=tuple(shapes),
        scales=tuple(0.0 if role.endswith("_bias") else m.choice((0.01, 0.003)) for role in shapes),
        gates=m.choice(((), (0.001, 0.002, 0.001, 0.0005))),
        x=given,
        y=state,
        hidden=Quantization.of(m.choice((state.scale, 0.01)), state.zero_point),
        cell_bits=m.choice((-11, -15, -9)),
        cell_clip=m.choice((0, 1000)),
        projection_clip=m.choice((0, 50)),
        time_major=time_major,
    )


def integer_type(role: str) -> DType:
    """The element type of a weight."""
    if role.endswith("_bias"):
        return DType.I32
    return DType.I16 if role.endswith(("_peephole", "_norm")) else DType.I8


@recipe("lstm_gate", "lstm_cell", "lstm_hidden", "lstm_peephole", "scaled_sum")
def lstm_part(m: Maker, name: str) -> Value:
    shape = m.shape((2, 1, 3))
    dtype = DType.I32 if name in ("lstm_gate", "scaled_sum") else DType.I16
    count = {"lstm_gate": 2, "lstm_cell": 4, "lstm_hidden": 2, "lstm_peephole": 2, "scaled_sum": 1}[name]
    operands = [m.operand((dtype,), shape=shape) for _ in range(count)]
    if name == "lstm_peephole":
        operands.append(m.operand((dtype,), shape=m.choice((shape, shape[-1:]))))
    factor = quantize_multiplier(m.choice((0.01, 0.3)))
    drawn: dict[str, Callable[[], dict[str, Any]]] = {
        "lstm_gate": lambda: {k: quantize_multiplier(m.choice((0.01, 0.3))) for k in ("total", "fed_back")},
        "lstm_cell": lambda: {"bits": m.choice((-11, -15, -9)), "clip": m.choice((0, 1000))},
        "lstm_hidden": lambda: {"factor": factor, "zero": m.choice((0, -128, 7))},
        "lstm_peephole": lambda: {"factor": factor},
        "scaled_sum": lambda: {
            "factor": factor,
            "zero": m.choice((0, 7)),
            "clip": m.choice((0, 50)),
            "dtype": m.choice(("i8", "i16")),
        },
    }
    given = drawn[name]()
    return m.emit(name, *operands, **given)


@recipe("lstm_norm")
def lstm_norm(m: Maker, name: str) -> Value:
    rows, cells = m.choice((2, 1)), m.choice((3, 1, 8))
    gate = m.operand((DType.I16,), shape=(rows, cells))
    wide = m.emit("cast", gate, dtype="i64")
    total, squares = (m.emit("reduce_sum", v, axes=(-1,), keepdims=True) for v in (wide, m.emit("mul", wide, wide)))
    weights = m.weight(DType.I16, (cells,)), m.weight(DType.I32, (cells,))
    factor = quantize_multiplier(m.choice((0.01, 0.3)))
    return m.emit(name, gate, total, squares, *weights, factor=factor, guard=m.choice((1, 50)))


@recipe("rfft", "irfft", "rfft2")
def fourier(m: Maker, name: str) -> Value:
    length = m.choice((8, 1, 5, 16))
    if name == "rfft2":
        x = m.operand(FLOATS, fits=lambda t: t.rank >= 2, shape=lambda: m.shape((2, 3)))
        return m.emit(name, x, sizes=(m.choice((1, 4, 3)), length))
    if name == "irfft":
        x = m.operand(FLOATS, fits=lambda t: t.rank >= 2 and t.shape[-1] == 2, shape=lambda: m.shape((2, 3), end=(2,)))
        return m.emit(name, x, length=length)
    return m.emit(name, m.operand(FLOATS, fits=lambda t: t.rank >= 1, shape=lambda: m.shape((1, 2, 3))), length=length)
