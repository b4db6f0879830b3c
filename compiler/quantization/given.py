"""Quantized networks in the form of floats between quantize and dequantize, as integer graphs.

Such a file (ONNX's QDQ and QLinear forms) rounds activations to 8 bits and computes with floats in between. Where an
operator has an integer form, and all that it reads and gives has a scale, it works on the integers themselves; the
scales are the file's. What this changes is told by `Given.notes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..graph.ir import Array, Graph, Value
from ..graph.names import value_names
from ..ops.quantized.base import QuantizedOperator
from ..ops.quantized.conversion import Dequantize, Quantize, QuantizeEven, Reinterpret
from ..passes.dce import dce
from ..types import DType, Quantization
from .calibration import Ranges, integer_ready
from .given_floats import FloatForm, singles
from .given_quantizer import GivenQuantizer
from .quantizer import Scheme
from .scales import covered

_CONVERSIONS = frozenset({Dequantize, Quantize, QuantizeEven, Reinterpret})


@dataclass(frozen=True)
class Given:
    """An integer graph with the scales of the file that it comes from."""

    graph: Graph
    notes: tuple[str, ...]
    """What stayed float or got other integers than the file's, and why."""


def states_scales(graph: Graph) -> bool:
    """True for a network of floats between quantize and dequantize."""
    found = {type(op.operator) for op in graph.operations if isinstance(op.operator, QuantizedOperator)}
    return bool(found & {QuantizeEven, Dequantize}) and found <= _CONVERSIONS


def quantize_as_given(
    graph: Graph,
    params: Mapping[str, Array],
    *,
    inputs: DType | None = None,
    outputs: DType | None = None,
    keep_float: Sequence[str] = (),
    integer_edges: bool = False,
) -> Given:
    """The integer graph of a network that says the scales of its activations.

    `inputs` and `outputs` are the element types of the edges, if not those of the file; with `integer_edges` they are
    i8 where the file has scales for them. What matches `keep_float`, and what has no integer form or no scale, stays
    float. Activations of u8 become i8, their zero points less by 128, which changes no number. Raises `NetcError` for
    edges that a quantized network can't have.

    Before::

        %1 = quantize_even(%x) {dtype = "u8", y = <0.1:3>}
        %2 = conv2d(dequantize(%1), %weight, %bias)
        %3 = quantize_even(%2) {dtype = "u8", y = <0.2>}

    After::

        %1 = quantize(%x) {dtype = "i8", y = <0.1:-125>}
        %3 = q_conv2d(%1, %weight, %bias) : i8[...]<0.2:-128>
    """
    floats = FloatForm(integer_ready(singles(graph), params))
    made = floats.run()
    own = [floats.edge(values, integer_edges) for values in (made.inputs, made.outputs)]
    edges = inputs or own[0], outputs or own[1]
    scheme = Scheme(*edges, keep_float=tuple(keep_float), allow_float=True)
    quantizer = GivenQuantizer(made, _ranges(made, floats.scales), scheme, given=floats.scales)
    result = dce(quantizer.run())
    return Given(result, tuple(dict.fromkeys((*floats.notes, *quantizer.notes))))


def _ranges(graph: Graph, scales: Mapping[Value, Quantization]) -> Ranges:
    """Ranges that the scales cover."""
    names = value_names(graph)
    return Ranges({names[v]: covered(scale) for v, scale in scales.items() if v in names}, "the file", 0)
