"""legalize-edgetpu: say with operators that the Edge TPU has what is said with others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.facets import LEGALIZE, own_rule
from ..ops.functions.arithmetic import Abs, Div, Neg
from ..ops.functions.clipping import LeakyRelu
from ..ops.moves.axes import Permutation
from ..ops.moves.blocks import DepthToSpace
from ..ops.moves.shape import Reshape, Transpose
from ..ops.pictures.resize import ResizeNearest
from ..ops.products.dense import Dense
from ..ops.windows.convolution import Conv1D, Conv2D
from ..ops.windows.transpose_convolution import TransposeConv1D
from ..types import TensorType
from .base import Pass
from .dce import dce
from .fold_batch_norm import folded
from .two_dimensions import conv1d, transpose_conv1d


@dataclass(frozen=True)
class LegalizeEdgeTpu(Pass):
    """Rewrite operators that the Edge TPU lacks, where others mean the same.

    leaky_relu and abs become maxima, neg a product, division by a constant a product with its reciprocal, conv1d a
    convolution of height 1, a grouped convolution several ordinary ones (each of as many groups, with zeros between
    them, as the chip computes at once anyway), a dense layer of several rows a convolution of size 1, resize_nearest
    by 4 or 8 two or three ones by 2, depth_to_space and transposes of more than three dimensions (pixel_shuffle)
    several transposes of three. Other operators stay as they are; `netc check --target edgetpu` tells what becomes of
    them.

    Before::

        %0 = leaky_relu(%x) {alpha = 0.1}

    After::

        %0 = constant {value = 0.1}
        %1 = mul(%x, %0)
        %2 = maximum(%x, %1)
    """

    name = "legalize-edgetpu"

    def run(self, graph: Graph) -> Graph:
        legal = rewritten(folded(graph, _is_grouped), own_rule(LEGALIZE))
        return graph if legal is graph else dce(legal)


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


_INPUTS, _OUTPUTS = 4, 64
"""Channels that the chip reads and computes together: a multiple of these costs no more."""


def _grouped(b: Rewriter, op: Operation) -> Value | None:
    """Slices, ordinary convolutions of several groups each, and a concatenation. Depthwise ones map as they are."""
    x, weight, *bias = (b[v] for v in op.operands)
    groups, inputs, outputs = op.attributes["groups"], x.type.shape[-1], weight.type.shape[-1]
    if not _is_grouped(op):
        return None
    parts = min((d for d in range(1, groups + 1) if groups % d == 0), key=lambda d: (_cost(inputs, outputs, d), d))
    kernel = _between_zeros(b, op, weight, groups // parts)
    attributes = {**op.attributes, "groups": 1}
    made = []
    for part in range(parts):
        data = _channels(b, op, x, part, parts)
        operands = [_channels(b, op, each, part, parts) for each in (kernel, *bias)]
        name = op.result.name if parts == 1 else None
        made.append(b.emit("conv2d", data, *operands, location=op.location, name=name, **attributes))
    return made[0] if parts == 1 else b.emit("concat", *made, axis=3, location=op.location, name=op.result.name)


def _is_grouped(op: Operation) -> bool:
    """True for a convolution of several groups that is not depthwise."""
    return isinstance(op.operator, Conv2D) and op.attributes["groups"] not in (1, op.operands[0].type.shape[-1])


def _cost(inputs: int, outputs: int, parts: int) -> int:
    """Multiply-accumulates of each place of the kernel, with the channels padded as the chip pads them."""
    return parts * -(-inputs // parts // _INPUTS) * _INPUTS * -(-outputs // parts // _OUTPUTS) * _OUTPUTS


def _between_zeros(b: Rewriter, op: Operation, weight: Value, together: int) -> Value:
    """Weights of which each output reads the channels of its own group among `together` ones."""
    fan_in, outputs = weight.type.shape[2:]
    if together == 1:
        return weight
    of_output = np.arange(outputs) // (outputs // op.attributes["groups"]) % together
    of_input = np.arange(fan_in * together) // fan_in
    mask = (of_input[:, np.newaxis] == of_output).astype(weight.type.dtype.numpy)
    wide = b.emit("tile", weight, multiples=(1, 1, together, 1), location=op.location)
    return b.emit("mul", wide, b.constant(mask, op.location), location=op.location)


def _channels(b: Rewriter, op: Operation, x: Value, part: int, parts: int) -> Value:
    """One of equal parts of the last dimension."""
    size = x.type.shape[-1] // parts
    if parts == 1:
        return x
    begin = (*(0,) * (x.type.rank - 1), part * size)
    return b.emit("slice", x, begin=begin, size=(*x.type.shape[:-1], size), location=op.location)


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


def _transpose(b: Rewriter, op: Operation) -> Value | None:
    """Transposes of three dimensions, in place of a reshape in front of it, too."""
    if not _is_wide(op.operands[0].type) and not _is_wide(op.result.type):
        return None
    return _moved(b, op, op)


def _reshape(b: Rewriter, op: Operation) -> Value | None:
    """The shape of what such transposes give."""
    inner = b.graph.producers.get(op.operands[0])
    if inner is None or inner.name != "transpose" or not _is_wide(inner.result.type):
        return None
    return _moved(b, op, inner)


def _moved(b: Rewriter, op: Operation, transpose: Operation) -> Value | None:
    apart = transpose.operands[0]
    outer = b.graph.producers.get(apart)
    source = outer.operands[0] if outer is not None and outer.name == "reshape" else apart
    if _is_wide(source.type) or _is_wide(op.result.type):
        return None
    return _in_steps(b, op, b[source], apart.type.shape, transpose.attributes["permutation"])


def _is_wide(type_: TensorType) -> bool:
    """True if the Edge TPU doesn't take it: only the three innermost dimensions may be larger than 1."""
    return any(size > 1 for size in type_.shape[:-3])


def _depth_to_space(b: Rewriter, op: Operation) -> Value | None:
    """Transposes of three dimensions."""
    assert isinstance(op.operator, DepthToSpace)
    steps = op.operator.steps(op.operands[0].type, op.attributes)
    if _is_wide(op.operands[0].type):
        return None
    return _in_steps(b, op, b[op.operands[0]], steps.apart, steps.permutation)


def _in_steps(b: Rewriter, op: Operation, x: Value, sizes: tuple[int, ...], permutation: Permutation) -> Value:
    """X, seen as a tensor of these sizes, in another order of dimensions: one after the other moves to its place."""
    order = [d for d in range(len(sizes)) if sizes[d] > 1]
    wanted = [d for d in permutation if sizes[d] > 1]

    def swapped(x: Value, *blocks: list[int]) -> Value:
        shape = tuple(math.prod(sizes[d] for d in block) for block in blocks)
        flat = x if x.type.shape == shape else b.emit("reshape", x, shape=shape, location=op.location)
        return b.emit("transpose", flat, permutation=(1, 0, 2), location=op.location)

    for place, d in enumerate(wanted):
        at = order.index(d)
        before, between, behind = order[:place], order[place:at], order[at + 1 :]
        if between:
            x = swapped(x, before + between, [d], behind)
            x = swapped(x, [d], before, between + behind) if before else x
        order = [*before, d, *between, *behind]
    return b.emit("reshape", x, shape=op.result.type.shape, location=op.location, name=op.result.name)


LEGALIZE.add(_abs, Abs)
LEGALIZE.add(conv1d, Conv1D)
LEGALIZE.add(_grouped, Conv2D)
LEGALIZE.add(transpose_conv1d, TransposeConv1D)
LEGALIZE.add(_dense, Dense)
LEGALIZE.add(_div, Div)
LEGALIZE.add(_leaky_relu, LeakyRelu)
LEGALIZE.add(_neg, Neg)
LEGALIZE.add(_depth_to_space, DepthToSpace)
LEGALIZE.add(_reshape, Reshape)
LEGALIZE.add(_resize_nearest, ResizeNearest)
LEGALIZE.add(_transpose, Transpose)

legalize_edgetpu = LegalizeEdgeTpu()
