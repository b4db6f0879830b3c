"""Recurrent layers. Their states are variable tensors, which TFLite's kernels keep from run to run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...graph.ir import Array, Operation
from ...ops.facets import TFLITE, Narrow, TfliteForm
from ...ops.quantized.hybrid_recurrent import HybridLayer, HybridLstm, HybridRnn, HybridSvdf
from ...ops.quantized.lstm import QLstm
from ...ops.quantized.svdf import QSvdf
from ...ops.sequences.sequence_layer import ACTIVATIONS
from ...ops.sequences.sequence_lstm import GATES, SEEING, SequenceLstm
from ...ops.sequences.sequence_rnn import SequenceRnn, Svdf
from ...types import DType, Quantization, TensorType
from ..emitter import Emitter
from ..model import Field, Node, Options

_TANH = ACTIVATIONS.index("tanh")
"""Codes of the schema's ActivationFunctionType stand in the order of `ACTIVATIONS`."""
_BEFORE = (
    *(f"{gate}_{kind}" for kind in ("weight", "recurrent") for gate in GATES),
    *(f"{gate}_peephole" for gate in SEEING),
    *(f"{gate}_bias" for gate in GATES),
    "projection",
    "projection_bias",
)
"""The weights that stand between the input and the states, in TFLite's order."""
_BEHIND = tuple(f"{gate}_norm" for gate in GATES)


def _states(c: Emitter, op: Operation, *operands: int) -> list[int]:
    """The variable tensors of the states, which are the results behind the first one."""
    if not all(c.is_own_state(op, operand, result) for result, operand in enumerate(operands, 1)):
        hint = "begin with zeros, and give the state to nothing else"
        c.fail(op, f"TFLite's form of {op.name} keeps its state to itself, from run to run", hint)
    return [c.own_state(op, operand) for operand in operands]


def _code(c: Emitter, op: Operation) -> int:
    code = ACTIVATIONS.index(op.attributes["activation"])
    if code > _TANH:
        c.fail(op, f"TFLite's form of {op.name} can't have the activation {ACTIVATIONS[code]}")
    return code


def _weight(c: Emitter, op: Operation, operand: int, given: Quantization | None = None) -> int:
    """A weight with a row for each cell, or a vector."""
    array = c.known(op, operand)
    turned = np.ascontiguousarray(array.T) if array.ndim == 2 else array
    return c.constant(turned, c.names[op.operands[operand]], given)


def _unidirectional(
    c: Emitter, op: Operation, weights: dict[str, int], fields: dict[str, Field], between: Sequence[int] = ()
) -> None:
    inputs = [weights.get(role, -1) for role in (*_BEFORE, *_BEHIND)]
    states = _states(c, op, 1, 2)
    c.add(
        Node(
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            1,
            (c.place(op.operands[0]), *inputs[: len(_BEFORE)], *states, *inputs[len(_BEFORE) :]),
            (c.place(op.results[0]),),
            Options("UnidirectionalSequenceLSTMOptions", fields),
            intermediates=tuple(between),
        )
    )


def sequence_lstm(c: Emitter, op: Operation) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM on floats."""
    given = op.attributes
    fields: dict[str, Field] = {
        "fused_activation_function": _code(c, op),
        "cell_clip": given["cell_clip"],
        "proj_clip": given["projection_clip"],
        "time_major": given["time_major"],
    }
    fields |= _asymmetric(op)
    weights = {role: _scaled(c, op, i) for i, role in enumerate(given["roles"], 3)}
    _unidirectional(c, op, weights, fields)


def _scale(op: Operation, operand: int) -> Quantization | None:
    """What a weight of i8 stands for in a layer on floats."""
    scale = op.operator.weight_scales(op.attributes).get(operand) if isinstance(op.operator, HybridLayer) else None
    return None if scale is None else Quantization.of(scale)


def _scaled(c: Emitter, op: Operation, operand: int) -> int:
    """A weight of floats, or of i8 in a layer on floats."""
    return _weight(c, op, operand, _scale(op, operand))


def _asymmetric(op: Operation) -> dict[str, Field]:
    """The option of layers that quantize floats."""
    return {"asymmetric_quantize_inputs": not op.attributes["symmetric"]} if "symmetric" in op.attributes else {}


def q_lstm(c: Emitter, op: Operation) -> None:
    """UNIDIRECTIONAL_SEQUENCE_LSTM on 8-bit numbers."""
    given, name = op.attributes, c.names[op.results[0]]
    scales = dict(zip(given["roles"], given["scales"], strict=True))
    weights = {role: _integer_weight(c, op, i, role, scales) for i, role in enumerate(given["roles"], 3)}
    gates = given["gates"] or (None,) * len(GATES)
    between = [
        c.intermediate(
            TensorType(DType.F32, (0,)) if scale is None else TensorType(DType.I16, (0,), None, Quantization.of(scale)),
            f"{name}/{gate}",
        )
        for gate, scale in zip(GATES, gates, strict=True)
    ]
    between.append(c.intermediate(TensorType(DType.I8, (0,), None, given["hidden"]), f"{name}/hidden"))
    fields: dict[str, Field] = {
        "fused_activation_function": _TANH,
        "cell_clip": float(np.float32(given["cell_clip"] * 2.0 ** given["cell_bits"])),
        "proj_clip": _limit(given["projection_clip"], given["y"]),
        "time_major": given["time_major"],
    }
    _unidirectional(c, op, weights, fields, between)


def _limit(clip: int, y: Quantization) -> float:
    """A number that the kernel, which rounds down, turns into this integer."""
    return float(np.float32((clip + 0.5) * y.scale)) if clip else 0.0


def _integer_weight(c: Emitter, op: Operation, operand: int, role: str, scales: dict[str, float]) -> int:
    gate = role.rpartition("_")[0]
    if role == "projection_bias":
        scale = float(np.float32(op.attributes["hidden"].scale) * np.float32(scales["projection"]))
    elif role.endswith("_bias"):
        scale = float(np.float32(op.attributes["x"].scale) * np.float32(scales[f"{gate}_weight"]))
    else:
        scale = scales[role]
    if role.endswith("_peephole"):
        seen = _seen(c.known(op, operand), op.operands[1].type.shape[1])
        return c.constant(seen, c.names[op.operands[operand]], Quantization.of(scale))
    return _weight(c, op, operand, Quantization.of(scale))


def _seen(weights: Array, units: int) -> Array:
    """Peepholes as the file has them; with a projection the kernel takes only as many as there are results."""
    if weights.ndim == 1:
        return weights
    first = np.zeros(weights.shape[1], weights.dtype)
    first[:units] = weights.reshape(-1)[:units]
    return first


def sequence_rnn(c: Emitter, op: Operation) -> None:
    """UNIDIRECTIONAL_SEQUENCE_RNN."""
    weights = [_scaled(c, op, i) for i in (2, 3, 4)]
    inputs = [c.place(op.operands[0]), *weights, *_states(c, op, 1)]
    fields: dict[str, Field] = {"fused_activation_function": _code(c, op), "time_major": op.attributes["time_major"]}
    fields |= _asymmetric(op)
    options = Options("SequenceRNNOptions", fields)
    c.add(Node("UNIDIRECTIONAL_SEQUENCE_RNN", 1, tuple(inputs), (c.place(op.results[0]),), options))


def svdf(c: Emitter, op: Operation) -> None:
    """SVDF on floats."""
    inputs = [_scaled(c, op, 2), c.constant(c.known(op, 3), c.names[op.operands[3]], _scale(op, 3))]
    inputs.append(_weight(c, op, 4) if len(op.operands) > 4 else -1)
    _svdf(c, op, inputs, _code(c, op), 2 if isinstance(op.operator, HybridLayer) else 1)


def q_svdf(c: Emitter, op: Operation) -> None:
    """SVDF on 8-bit numbers."""
    given = op.attributes
    time = Quantization.of(given["time_scale"])
    inputs = [
        _weight(c, op, 2, Quantization.of(given["features_scale"])),
        c.constant(c.known(op, 3), c.names[op.operands[3]], time),
    ]
    product = Quantization.of(float(np.float32(given["memory"].scale) * np.float32(given["time_scale"])))
    inputs.append(_weight(c, op, 4, product) if len(op.operands) > 4 else -1)
    _svdf(c, op, inputs, ACTIVATIONS.index("relu"), 3)


def _svdf(c: Emitter, op: Operation, weights: Sequence[int], activation: int, version: int) -> None:
    inputs = [c.place(op.operands[0]), *weights, *_states(c, op, 1)]
    fields: dict[str, Field] = {"rank": op.attributes["rank"], "fused_activation_function": activation}
    fields |= _asymmetric(op)
    c.add(Node("SVDF", version, tuple(inputs), (c.place(op.results[0]),), Options("SVDFOptions", fields)))


TFLITE.add(TfliteForm(sequence_lstm, "UNIDIRECTIONAL_SEQUENCE_LSTM"), SequenceLstm)
TFLITE.add(TfliteForm(sequence_lstm, "UNIDIRECTIONAL_SEQUENCE_LSTM", narrow=Narrow.COPIED), HybridLstm)
TFLITE.add(TfliteForm(q_lstm, "UNIDIRECTIONAL_SEQUENCE_LSTM"), QLstm)
TFLITE.add(TfliteForm(sequence_rnn, "UNIDIRECTIONAL_SEQUENCE_RNN"), SequenceRnn)
TFLITE.add(TfliteForm(sequence_rnn, "UNIDIRECTIONAL_SEQUENCE_RNN", narrow=Narrow.COPIED), HybridRnn)
TFLITE.add(TfliteForm(svdf, "SVDF"), Svdf)
TFLITE.add(TfliteForm(svdf, "SVDF", narrow=Narrow.COPIED), HybridSvdf)
TFLITE.add(TfliteForm(q_svdf, "SVDF"), QSvdf)
