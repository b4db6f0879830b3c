"""Recurrent layers, and operators that netc passes on without knowing them."""

from __future__ import annotations

import numpy as np
import tflite

from ...graph.ir import Operation
from ...ops.facets import TFLITE, Narrow, TfliteForm
from ...ops.opaque import Opaque
from ...ops.quantized.lstm import QLstm
from ...ops.sequence_lstm import GATES
from ...types import DType, Quantization, TensorType, parse_type
from ..emitter import Emitter
from ..model import Node, Options

_TANH = 4
"""Code of the schema's ActivationFunctionType."""


def opaque(c: Emitter, op: Operation) -> None:
    """An operator as it was read; of those that refer to other subgraphs, or are too new, not enough is known."""
    given = op.attributes
    name = given["operator"]
    custom = not hasattr(tflite.BuiltinOperator, name)
    if given["table"] == "?" or any(key.endswith("subgraph_index") or key == "subgraph" for key in given["fields"]):
        c.fail(op, f"{name} can't be written again: netc doesn't know all that belongs to it")
    operands = [c.place(v) for v in op.operands]
    state = f"{c.names[op.results[0]]}/state"
    inputs = [
        c.variable(parse_type(place), state) if isinstance(place, str) else operands[place] if place >= 0 else -1
        for place in given["places"] or range(len(operands))
    ]
    between = [c.intermediate(parse_type(text), f"{c.names[op.results[0]]}/between") for text in given["intermediates"]]
    c.add(
        Node(
            "CUSTOM" if custom else name,
            given["version"],
            tuple(inputs),
            tuple(c.place(r) for r in op.results),
            Options(given["table"], given["fields"]) if given["table"] else None,
            name if custom else "",
            b"" if given["options"] is None else given["options"].tobytes(),
            tuple(between),
        )
    )


def lstm(c: Emitter, op: Operation) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM without peepholes, projection and normalisation; its state is two variables."""
    given, name = op.attributes, c.names[op.result]
    x, y, hidden = given["x"], given["y"], given["hidden"]
    shape = op.operands[0].type.shape
    batch, cells = shape[1 if given["time_major"] else 0], op.result.type.shape[-1]
    weights = [_matrix(c, op, i + 1, scale) for i, scale in enumerate((*given["weights"], *given["recurrents"]))]
    biases = [
        c.constant(c.known(op, 9 + i), c.names[op.operands[9 + i]], _product(x, given["weights"][i]))
        for i in range(len(GATES))
    ]
    cell = Quantization.of(2.0 ** given["cell_bits"])
    states = [
        c.variable(TensorType(dtype, (batch, cells), None, scale), f"{name}/{what}")
        for dtype, scale, what in ((DType.I8, y, "state"), (DType.I16, cell, "cell"))
    ]
    # The scales of the gates are those of normalised layers alone; the last one is that of the state.
    between = [c.intermediate(TensorType(DType.F32, (0,)), f"{name}/{gate}") for gate in GATES]
    between.append(c.intermediate(TensorType(DType.I8, (0,), None, hidden), f"{name}/hidden"))
    absent = (-1,) * 3
    fields = {
        "fused_activation_function": _TANH,
        "cell_clip": float(np.float32(given["cell_clip"] * cell.scale)),
        "time_major": given["time_major"],
    }
    c.add(
        Node(
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            1,
            (c.place(op.operands[0]), *weights, *absent, *biases, -1, -1, *states, *absent, -1),
            (c.result(op),),
            Options("UnidirectionalSequenceLSTMOptions", fields),
            intermediates=tuple(between),
        )
    )


def _matrix(c: Emitter, op: Operation, operand: int, scale: float) -> int:
    """A weight with a row for each cell."""
    turned = np.ascontiguousarray(c.known(op, operand).T)
    return c.constant(turned, c.names[op.operands[operand]], Quantization.of(scale))


def _product(x: Quantization, scale: float) -> Quantization:
    return Quantization.of(float(np.float32(x.scale) * np.float32(scale)))


TFLITE.add(TfliteForm(opaque, narrow=Narrow.COPIED), Opaque)
TFLITE.add(TfliteForm(lstm, "UNIDIRECTIONAL_SEQUENCE_LSTM"), QLstm)
