"""Whether the scores that a graph gives are probabilities already."""

from __future__ import annotations

from .compiler.graph.ir import Graph
from .compiler.ops.conversion import Cast
from .compiler.ops.moves.shape import Reshape
from .compiler.ops.quantized.conversion import Dequantize, Quantize, Reinterpret, Requantize
from .compiler.ops.quantized.softmax import QSoftmax
from .compiler.ops.reductions.reduction import Softmax

_CONVERSIONS = (Reshape, Requantize, Dequantize, Quantize, Reinterpret, Cast)


def ends_in_softmax(graph: Graph) -> bool:
    """True if the first output is made by softmax, but for changes of shape, type or scale.

    Of an operator that netc doesn't know, the scale tells: TFLite gives 1/256 to probabilities.
    """
    op = graph.producers.get(graph.results[0])
    while op is not None and isinstance(op.operator, _CONVERSIONS):
        op = graph.producers.get(op.operands[0])
    given = graph.results[0].type.quantization
    if op is not None and op.name == "opaque":
        return given is not None and given.scale == 1 / 256
    return op is not None and isinstance(op.operator, Softmax | QSoftmax)
