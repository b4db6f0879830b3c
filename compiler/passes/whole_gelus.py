"""Gaussian error linear units that exporters spell out, as one operation, which TFLite has, too."""

from __future__ import annotations

import math
from functools import partial

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.core import Constant
from ..types import DType
from .dce import dce

_STEPS = {DType.F16: 2.0**-10, DType.F32: 2.0**-23, DType.F64: 2.0**-52}
"""From 1 to the next number of a type."""
_DEEPEST = 4
"""Products within each other that are looked through: exporters write fewer."""


def with_whole_gelus(graph: Graph) -> Graph:
    """The graph with `gelu` for products of a value, a half and 1 + erf(value / sqrt(2)), in whatever order.

    Before::

        %0 = div(%x, 1.4142135)
        %1 = erf(%0)
        %2 = add(%1, 1)
        %3 = mul(%x, %2)
        %4 = mul(%3, 0.5)

    After::

        %0 = gelu(%x)
    """
    found = rewritten(graph, partial(_whole, graph))
    return graph if found is graph else dce(found)


def _whole(graph: Graph, b: Rewriter, op: Operation) -> Value | None:
    if op.name not in ("mul", "div") or not op.result.type.dtype.is_float:
        return None
    factors, scale = _factors(graph, op)
    if len(factors) != 2 or not _is_close(scale, 0.5, op.result.type.dtype):
        return None
    for x, share in (factors, factors[::-1]):
        if x.type == op.result.type and _is_share_below(graph, share, x):
            return b.emit("gelu", b[x], location=op.location, name=op.result.name)
    return None


def _factors(graph: Graph, op: Operation, deepest: int = _DEEPEST) -> tuple[list[Value], float]:
    """The values that a product is made of, and the numbers.

    Products that others read, too, or that lie deeper, are values.
    """
    factors, scale = list[Value](), 1.0
    for place, value in enumerate(op.operands):
        number, inner = _number(graph, value), graph.producers.get(value)
        if number is not None:
            scale = scale / number if op.name == "div" and place == 1 and number else scale * number
        elif op.name == "div" and place == 1:
            return [], 0.0
        elif deepest and inner is not None and inner.name in ("mul", "div") and graph.has_one_use(value):
            found, times = _factors(graph, inner, deepest - 1)
            factors, scale = [*factors, *found], scale * times
        else:
            factors.append(value)
    return factors, scale


def _is_share_below(graph: Graph, share: Value, x: Value) -> bool:
    """Whether a value that nothing else reads is 1 + erf(x / sqrt(2))."""
    dtype = x.type.dtype
    plus = graph.producers.get(share)
    if plus is None or plus.name != "add" or not graph.has_one_use(share):
        return False
    (erfs, ones) = plus.operands if _number(graph, plus.operands[0]) is None else plus.operands[::-1]
    one, erf = _number(graph, ones), graph.producers.get(erfs)
    if one is None or not _is_close(one, 1.0, dtype) or erf is None or erf.name != "erf" or not graph.has_one_use(erfs):
        return False
    scaled = graph.producers.get(erf.operands[0])
    if scaled is None or scaled.name not in ("mul", "div") or not graph.has_one_use(erf.operands[0]):
        return False
    factors, scale = _factors(graph, scaled)
    return factors == [x] and _is_close(scale, math.sqrt(0.5), dtype)


def _number(graph: Graph, value: Value) -> float | None:
    """The one number of a constant, if it is one and holds one."""
    made = graph.producers.get(value)
    if made is None or not isinstance(made.operator, Constant) or value.type.size != 1:
        return None
    return float(made.attributes["value"].item())


def _is_close(found: float, wanted: float, dtype: DType) -> bool:
    """Whether a number is the other one, rounded a few times to its type."""
    return abs(found - wanted) <= 4 * _STEPS[dtype] * wanted
