"""Windows of one and three dimensions as windows of two, which are all that TFLite files and integer forms have.

`windows_in_two_dimensions` stands in no pipeline: netc itself has kernels for all of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Attribute, Attributes, Graph, Operation, Value
from ..ops.facets import TWO_DIMENSIONS, own_rule
from ..ops.windows.convolution import Conv1D
from ..ops.windows.pooling import AvgPool, MaxPool, Pooling
from ..ops.windows.transpose_convolution import TransposeConv1D
from ..ops.windows.window import window_of

Sizes = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]


def windows_in_two_dimensions(graph: Graph) -> Graph:
    """The graph with conv1d, pooling of one and three dimensions, and means of padded windows written otherwise.

    Before::

        %0 = max_pool(%x) {size = [2], strides = [2], padding = "valid"} : f32[1,8,3]

    After::

        %0 = reshape(%x) : f32[1,1,8,3]
        %1 = max_pool(%0) {size = [1,2], strides = [1,2], padding = [[0,0],[0,0]]} : f32[1,1,4,3]
        %2 = reshape(%1) : f32[1,4,3]
    """
    return rewritten(graph, own_rule(TWO_DIMENSIONS))


def pools_in_two_dimensions(graph: Graph) -> Graph:
    """`windows_in_two_dimensions` for pooling alone."""
    rule = own_rule(TWO_DIMENSIONS)
    return rewritten(graph, lambda b, op: rule(b, op) if isinstance(op.operator, Pooling) else None)


def conv1d(b: Rewriter, op: Operation) -> Value | None:
    """conv2d over tensors and weights of height 1."""
    x, weight, *bias = (b[v] for v in op.operands)
    batch, width, channels = x.type.shape
    image = b.emit("reshape", x, shape=(batch, 1, width, channels), location=op.location)
    kernel = b.emit("reshape", weight, shape=(1, *weight.type.shape), location=op.location)
    y = b.emit("conv2d", image, kernel, *bias, location=op.location, **of_height_one(op.attributes))
    return b.emit("reshape", y, shape=op.result.type.shape, location=op.location, name=op.result.name)


def of_height_one(attributes: Attributes) -> dict[str, Attribute]:
    """The attributes of conv1d for the conv2d over images of height 1."""
    padding = attributes["padding"]
    return {
        "strides": attributes["strides"] * 2,
        "dilations": attributes["dilations"] * 2,
        "padding": padding if isinstance(padding, str) else ((0, 0), *padding),
        "groups": attributes["groups"],
    }


def transpose_conv1d(b: Rewriter, op: Operation) -> Value | None:
    """transpose_conv2d over tensors and weights of height 1."""
    x, weight, *bias = (b[v] for v in op.operands)
    batch, width, channels = x.type.shape
    image = b.emit("reshape", x, shape=(batch, 1, width, channels), location=op.location)
    kernel = b.emit("reshape", weight, shape=(1, *weight.type.shape), location=op.location)
    given = op.attributes
    attributes = {
        "size": (1, *given["size"]),
        "strides": (1, *given["strides"]),
        "padding": ((0, 0), *given["padding"]),
        "dilations": (1, *given["dilations"]),
        "groups": given["groups"],
    }
    y = b.emit("transpose_conv2d", image, kernel, *bias, location=op.location, **attributes)
    return b.emit("reshape", y, shape=op.result.type.shape, location=op.location, name=op.result.name)


def _pool(b: Rewriter, op: Operation) -> Value | None:
    """Pooling of one or three dimensions as one or two of two, and the mean of padded windows."""
    x = op.operands[0].type
    window = window_of(op.name, x.shape[1:-1], op.attributes["size"], op.attributes)
    batch, channels = x.shape[0], x.shape[-1]
    pool = _Pool(b, op)
    match window.size:
        case (width,):
            image = pool.seen_as((batch, 1, width, channels), b[op.operands[0]])
            y = pool(image, (1, *window.kernel), (1, *window.strides), ((0, 0), *window.padding))
        case (height, width):
            if not isinstance(op.operator, AvgPool) or _is_plain(
                op.name, window.size, window.kernel, window.strides, window.padding
            ):
                return None
            return pool(b[op.operands[0]], window.kernel, window.strides, window.padding, op.result.name)
        case (depth, height, width):
            image = pool.seen_as((batch * depth, height, width, channels), b[op.operands[0]])
            image = pool(image, window.kernel[1:], window.strides[1:], window.padding[1:])
            columns = pool.seen_as((batch, depth, math.prod(window.output[1:]), channels), image)
            y = pool(columns, (window.kernel[0], 1), (window.strides[0], 1), (window.padding[0], (0, 0)))
        case _:
            return None
    return pool.seen_as(op.result.type.shape, y, op.result.name)


def _is_plain(op: str, size: Sizes, kernel: Sizes, strides: Sizes, padding: Padding) -> bool:
    """True for padding that is "same" or "valid"."""
    attributes = {"size": kernel, "strides": strides, "padding": "same"}
    return padding == window_of(op, size, kernel, attributes).padding or not any(map(any, padding))


@dataclass(frozen=True, slots=True)
class _Pool:
    """Emits parts of a pooling operation, of two dimensions each."""

    b: Rewriter
    op: Operation

    def seen_as(self, shape: Sizes, x: Value, name: str | None = None) -> Value:
        """A tensor in another shape."""
        return self.b.emit("reshape", x, shape=shape, location=self.op.location, name=name)

    def __call__(self, x: Value, kernel: Sizes, strides: Sizes, padding: Padding, name: str | None = None) -> Value:
        """Pooling of x [N, H, W, C]; a mean of padded windows is that with zeros, times what these make it smaller."""
        attributes: dict[str, Attribute] = {"size": kernel, "strides": strides, "padding": padding}
        size = x.type.shape[1:-1]
        if not isinstance(self.op.operator, AvgPool) or _is_plain(self.op.name, size, kernel, strides, padding):
            return self._emit(self.op.name, x, name, attributes)
        window = window_of(self.op.name, size, kernel, attributes)
        ones = np.ones((1, *size, 1))
        share = window.patches(ones, 0).mean(axis=(-2, -1))  # [1, OH, OW, 1]
        wide = self._emit("pad", x, None, {"padding": ((0, 0), *padding, (0, 0)), "value": 0})
        mean = self._emit("avg_pool", wide, None, {**attributes, "padding": "valid"})
        factor = self.b.constant((1 / share).astype(x.type.dtype.numpy), self.op.location)
        return self.b.emit("mul", mean, factor, location=self.op.location, name=name)

    def _emit(self, name: str, x: Value, called: str | None, attributes: dict[str, Attribute]) -> Value:
        return self.b.emit(name, x, location=self.op.location, name=called, **attributes)


TWO_DIMENSIONS.add(_pool, MaxPool, AvgPool)
TWO_DIMENSIONS.add(conv1d, Conv1D)
TWO_DIMENSIONS.add(transpose_conv1d, TransposeConv1D)
