"""TFLite's recurrent layers: the integer LSTM with 16-bit cells, without peepholes, projection or normalisation."""

from __future__ import annotations

import math

from ...compiler.graph.ir import Value
from ...compiler.ops.facets import reads
from ...compiler.types import DType, Quantization
from .context import Context

_CELL_STATE = 19
_HIDDEN = 4
"""The intermediate tensor that holds the state's scale."""


def unidirectional_sequence_lstm(c: Context) -> Value:
    """UNIDIRECTIONAL_SEQUENCE_LSTM; its state starts at zero in every run."""
    if not c.is_quantized or c.output_type().dtype is not DType.I8:
        c.unsupported("only the LSTM with 8-bit activations and 16-bit cells is supported")
    if any(c.has(place) for place in (9, 10, 11, 16, 17, 20, 21, 22, 23)):
        c.unsupported("peepholes, projections and layer normalisation are not supported")
    if c.option("fused_activation_function", 4) != 4:
        c.unsupported("its activation must be tanh")
    weights = [c.weight(place, (1, 0)) for place in (1, 2, 3, 4)]
    recurrents = [c.weight(place, (1, 0)) for place in (5, 6, 7, 8)]
    biases = [c.value(place) for place in (12, 13, 14, 15)]
    cell = c.quantization(_CELL_STATE)
    if abs(math.log2(cell.scale) - round(math.log2(cell.scale))) > 1e-3:
        c.unsupported("the scale of its cells must be a power of two")
    return c.emit(
        "q_lstm",
        c.value(0),
        *(value for value, _ in (*weights, *recurrents)),
        *biases,
        x=c.quantization(0),
        weights=tuple(_scale(c, given) for _, given in weights),
        recurrents=tuple(_scale(c, given) for _, given in recurrents),
        y=c.output_quantization(),
        hidden=_hidden(c),
        cell_bits=round(math.log2(cell.scale)),
        cell_clip=_clip(c, cell),
        time_major=bool(c.option("time_major", False)),
    )


def _scale(c: Context, given: Quantization | None) -> float:
    if given is None or not given.is_per_tensor or given.zero_point:
        c.unsupported("only weights that are quantized with one scale and zero point 0 are supported")
    return given.scale


def _hidden(c: Context) -> Quantization:
    intermediates = c.operator.intermediates
    if len(intermediates) <= _HIDDEN or intermediates[_HIDDEN] < 0:
        c.fail("the scale of its hidden state is missing")
    tensor = c.model.tensors[intermediates[_HIDDEN]]
    if tensor.type is None or tensor.type.quantization is None:
        c.fail(f"tensor `{tensor.name}` must be quantized")
    return tensor.type.quantization


def _clip(c: Context, cell: Quantization) -> int:
    clip = float(c.option("cell_clip", 0.0))
    return int(min(clip / cell.scale, 32767.0)) if clip > 0 else 0


reads(unidirectional_sequence_lstm, "UNIDIRECTIONAL_SEQUENCE_LSTM")
