"""legalize-edgetpu: say with operators that the Edge TPU has what is said with others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.arithmetic import Abs, Div, Neg
from ..ops.clipping import LeakyRelu
from ..ops.convolution import Conv1D
from ..ops.dense import Dense
from ..ops.facets import LEGALIZE, own_rule
from ..ops.resize import ResizeNearest
from .base import Pass
from .two_dimensions import conv1d


@dataclass(frozen=True)
class LegalizeEdgeTpu(Pass):
    """Rewrite operators that the Edge TPU lacks, where others mean the same.

    leaky_relu and abs become maxima, neg a product, division by a constant a product with its reciprocal, conv1d a
    convolution of height 1, a dense layer of several rows a convolution of size 1, resize_nearest by 4 or 8 two or
    three ones by 2. Other operators stay as they are; `netc check --target edgetpu` tells what becomes of them.

    Before::

        %0 = leaky_relu(%x) {alpha = 0.1}

    After::

        %0 = constant {value = 0.1}
        %1 = mul(%x, %0)
        %2 = maximum(%x, %1)
    """

    name = "legalize-edgetpu"

    def run(self, graph: Graph) -> Graph:
        return rewritten(graph, own_rule(LEGALIZE))


def _leaky_relu(b: Rewriter, op: Operation) -> Value | None:
    """The larger of x and alpha * x; for slopes up to 1."""
    alpha = op.attributes["alpha"]
    return _maximum_with(b, op, alpha) if 0 <= alpha <= 1 else None


def _abs(b: Rewriter, op: Operation) -> Value | None:
    """The larger of x and -x."""
    return _maximum_with(b, op, -1.0) if op.result.type.dtype.is_float else None


def _maximum_with(b: Rewriter, op: Operation, factor: float) -> Value:
    x = b[op.operands[0]]
    return b.emit("maximum", x, _scaled(b, op, x, factor), location=op.location, name=op.result.name)


def _neg(b: Rewriter, op: Operation) -> Value | None:
    """A product with -1."""
    return _scaled(b, op, b[op.operands[0]], -1.0, op.result.name) if op.result.type.dtype.is_float else None


def _scaled(b: Rewriter, op: Operation, x: Value, factor: float, name: str | None = None) -> Value:
    scalar = b.scalar(factor, x.type.dtype, op.location)
    return b.emit("mul", x, scalar, location=op.location, name=name)


def _div(b: Rewriter, op: Operation) -> Value | None:
    """A product with the reciprocal of a constant; it is computed in double precision and rounded once."""
    x, divisor = op.operands
    producer = b.graph.producers.get(divisor)
    if producer is None or producer.name != "constant" or not divisor.type.dtype.is_float:
        return None
    value = producer.attributes["value"].astype(np.float64)
    if not np.all(np.isfinite(value)) or not np.all(value):
        return None
    with np.errstate(over="ignore"):
        reciprocal = np.asarray(1 / value).astype(divisor.type.dtype.numpy)
    if not np.all(np.isfinite(reciprocal)):
        return None
    return b.emit("mul", b[x], b.constant(reciprocal, op.location), location=op.location, name=op.result.name)


def _dense(b: Rewriter, op: Operation) -> Value | None:
    """conv2d of size 1 over rows side by side; one row stays a dense layer."""
    x, weight, *bias = (b[v] for v in op.operands)
    inputs, units = weight.type.shape
    rows = x.type.size // inputs
    if rows == 1:
        return None
    image = b.emit("reshape", x, shape=(1, 1, rows, inputs), location=op.location)
    kernel = b.emit("reshape", weight, shape=(1, 1, inputs, units), location=op.location)
    y = b.emit(
        "conv2d",
        image,
        kernel,
        *bias,
        location=op.location,
        strides=(1, 1),
        dilations=(1, 1),
        padding="valid",
        groups=1,
    )
    return b.emit("reshape", y, shape=op.result.type.shape, location=op.location, name=op.result.name)


def _resize_nearest(b: Rewriter, op: Operation) -> Value | None:
    """Several ones by a factor of 2, of which each element is repeated as often as by the whole factor."""
    old, new = op.operands[0].type.shape[1:3], op.attributes["size"]
    factors = [n // o for n, o in zip(new, old, strict=True)]
    whole = all(o * f == n and f & (f - 1) == 0 for o, n, f in zip(old, new, factors, strict=True))
    if not whole or max(factors) < 4 or op.attributes["align_corners"]:
        return None
    x, size = b[op.operands[0]], old
    while size != new:
        size = tuple(min(2 * s, n) for s, n in zip(size, new, strict=True))
        x = b.emit("resize_nearest", x, location=op.location, **{**op.attributes, "size": size})
    return x


LEGALIZE.add(_abs, Abs)
LEGALIZE.add(conv1d, Conv1D)
LEGALIZE.add(_dense, Dense)
LEGALIZE.add(_div, Div)
LEGALIZE.add(_leaky_relu, LeakyRelu)
LEGALIZE.add(_neg, Neg)
LEGALIZE.add(_resize_nearest, ResizeNearest)

legalize_edgetpu = LegalizeEdgeTpu()
