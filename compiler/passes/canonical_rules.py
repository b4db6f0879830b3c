"""The simplifications that canonicalize applies, one function each.

A rule looks at an operation of the old graph and the operations that produce its operands. If it applies, it returns a
value of the new graph that stands for the result, and None otherwise. Replacements have the type of what they replace.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..graph.analysis import static_values
from ..graph.builder import Rewriter
from ..graph.ir import Graph, Operation, Value
from ..numerics import repeated_element
from ..ops.core import Relayout
from ..ops.facets import SIMPLIFY
from ..ops.functions.arithmetic import Abs, Add, Div, Maximum, Minimum, Mul, Neg, Sub
from ..ops.functions.clipping import Clamp, Relu, Relu6
from ..ops.moves.axes import composed, is_identity
from ..ops.moves.shape import Concat, Identity, Reshape, Transpose
from ..ops.quantized.convolution import QConv2D
from ..ops.windows.convolution import Convolution
from ..ops.windows.pooling import MaxPool
from ..types import DType


@dataclass(frozen=True)
class View:
    """The graph that the rules look at."""

    graph: Graph

    @cached_property
    def static(self) -> frozenset[Value]:
        """The values that are known when weights are loaded."""
        return static_values(self.graph)

    def producer(self, value: Value, *names: str) -> Operation | None:
        """The operation that makes `value`, if it is one of `names`."""
        op = self.graph.producers.get(value)
        return op if op is not None and op.name in names else None

    def bounds(self, value: Value) -> tuple[float, float]:
        """Numbers between which all elements of a value lie that aren't NaN."""
        op = self.graph.producers.get(value)
        return op.operator.bounds(op.attributes) if op is not None else (-math.inf, math.inf)

    def number(self, value: Value) -> float | None:
        """The number that every element of a constant is; None for anything else."""
        op = self.producer(value, "constant")
        if op is None or not value.type.size:
            return None
        array = op.attributes["value"]
        first = array.flat[0]
        is_one = value.type.size == 1 or repeated_element(array) is not None or bool(np.all(array == first))
        return float(first) if is_one else None

    def is_alone(self, value: Value, user: Operation) -> bool:
        """True if `user` reads `value` once and nothing else does."""
        alone = len(self.graph.users[value]) == 1 and user.operands.count(value) == 1
        return alone and value not in self.graph.outputs


Rule = Callable[[View, Rewriter, Operation], Value | None]


def drop_identity(view: View, b: Rewriter, op: Operation) -> Value | None:
    """identity(x) -> x."""
    return b[op.operands[0]]


def order_operands(view: View, b: Rewriter, op: Operation) -> Value | None:
    """op(static, x) -> op(x, static), for commutative operators."""
    first, second = op.operands
    if first not in view.static or second in view.static:
        return None
    operands = (b[second], b[first])
    return b.operation(op.operator, operands, op.attributes, location=op.location, name=op.result.name).result


def drop_neutral(neutral: float) -> Rule:
    """The rule x op neutral -> x."""

    def rule(view: View, b: Rewriter, op: Operation) -> Value | None:
        x, other = op.operands
        if view.number(other) != neutral or x.type.shape != op.result.type.shape:
            return None
        return b[x]

    return rule


def merge_bias(view: View, b: Rewriter, op: Operation) -> Value | None:
    """add(conv(x, w), v) -> conv(x, w, v), and with a bias conv(x, w, add(bias, v)), for a static vector v."""
    x, vector = op.operands
    source = view.graph.producers.get(x)
    if source is None or not source.operator.contraction or not view.is_alone(x, op):
        return None
    filters = x.type.shape[-1]
    if vector not in view.static or vector.type.size != filters or vector.type.shape[-1:] != (filters,):
        return None
    if op.result.type != x.type:
        return None
    bias = b[vector]
    if vector.type.rank > 1:
        bias = b.emit("reshape", bias, shape=(filters,), location=op.location)
    inputs = [b[v] for v in source.operands]
    if len(inputs) == 3:
        if source.operands[2] not in view.static:
            return None
        bias = b.emit("add", inputs[2], bias, location=op.location)
    operands = (*inputs[:2], bias)
    merged = b.operation(source.operator, operands, source.attributes, location=source.location, name=op.result.name)
    return merged.result


def merge_pad(view: View, b: Rewriter, op: Operation) -> Value | None:
    """conv(pad(x)) -> conv(x) with wider padding, for zeros (or zero points) around the spatial dimensions."""
    pad = view.producer(op.operands[0], "pad")
    if pad is None:
        return None
    zero = op.attributes["x"].zero_point if isinstance(op.operator, QConv2D) else 0
    if pad.attributes["value"] != zero or op.attributes["padding"] == "same":
        return None
    padding = _wider_padding(pad, op)
    if padding is None:
        return None
    operands = (b[pad.operands[0]], *(b[v] for v in op.operands[1:]))
    attributes = {**op.attributes, "padding": padding}
    return b.operation(op.operator, operands, attributes, location=op.location, name=op.result.name).result


def merge_pad_of_lowest(view: View, b: Rewriter, op: Operation) -> Value | None:
    """max_pool(pad(x)) -> max_pool(x) with padding, for the lowest integer around the spatial dimensions."""
    pad, dtype = view.producer(op.operands[0], "pad"), op.result.type.dtype
    if pad is None or op.attributes["padding"] == "same" or dtype.is_float or dtype is DType.BOOL:
        return None
    if pad.attributes["value"] != np.iinfo(str(dtype.numpy)).min:
        return None
    padding = _wider_padding(pad, op)
    # Each window needs an element of the tensor itself.
    if padding is None or any(max(p) >= k for p, k in zip(padding, op.attributes["size"], strict=True)):
        return None
    attributes = {**op.attributes, "padding": padding}
    return b.operation(op.operator, [b[pad.operands[0]]], attributes, location=op.location, name=op.result.name).result


def _wider_padding(pad: Operation, op: Operation) -> tuple[tuple[int, int], ...] | None:
    """The explicit padding of windows over a tensor before it was padded; None unless that is in its space alone.

    Nor if padding changes what its numbers stand for.
    """
    batch, *spatial, channels = pad.attributes["padding"]
    if any((*batch, *channels)) or pad.operands[0].type.quantization != pad.result.type.quantization:
        return None
    own = op.attributes["padding"]
    own = ((0, 0),) * len(spatial) if own == "valid" else own
    return tuple((p[0] + q[0], p[1] + q[1]) for p, q in zip(spatial, own, strict=True))


def merge_reshape(view: View, b: Rewriter, op: Operation) -> Value | None:
    """reshape(reshape(x)) -> reshape(x); reshape(x) to its own shape -> x."""
    x = op.operands[0]
    inner = view.producer(x, "reshape")
    source = inner.operands[0] if inner is not None else x
    if source.type.shape == op.result.type.shape:
        return b[source]
    if inner is None:
        return None
    return b.emit("reshape", b[source], shape=op.result.type.shape, location=op.location, name=op.result.name)


def merge_transpose(view: View, b: Rewriter, op: Operation) -> Value | None:
    """transpose(transpose(x)) -> transpose(x); transpose(x) in the same order -> x."""
    x, permutation = op.operands[0], op.attributes["permutation"]
    inner = view.producer(x, "transpose")
    if inner is not None:
        x = inner.operands[0]
        permutation = composed(inner.attributes["permutation"], permutation)
    if is_identity(permutation):
        return b[x]
    if inner is None:
        return None
    return b.emit("transpose", b[x], permutation=permutation, location=op.location, name=op.result.name)


def merge_relayout(view: View, b: Rewriter, op: Operation) -> Value | None:
    """relayout(x) to the layout of x -> x."""
    return b[op.operands[0]] if op.operands[0].type == op.result.type else None


def drop_single_concat(view: View, b: Rewriter, op: Operation) -> Value | None:
    """concat(x) -> x."""
    return b[op.operands[0]] if len(op.operands) == 1 else None


def drop_inner(*inner: str) -> Rule:
    """The rule f(g(x)) -> f(x), for each g of `inner`."""

    def rule(view: View, b: Rewriter, op: Operation) -> Value | None:
        source = view.producer(op.operands[0], *inner)
        if source is None:
            return None
        return b.emit(op.name, b[source.operands[0]], location=op.location, name=op.result.name)

    return rule


def drop_clip(view: View, b: Rewriter, op: Operation) -> Value | None:
    """relu(x) -> x, and the like, for an x that lies within the bounds already."""
    x = op.operands[0]
    low, high = op.operator.bounds(op.attributes)
    least, most = view.bounds(x)
    return b[x] if low <= least and most <= high else None


def drop_abs(view: View, b: Rewriter, op: Operation) -> Value | None:
    """abs(x) -> x, for an x that is never negative."""
    x = op.operands[0]
    return b[x] if view.bounds(x)[0] >= 0 else None


def cancel(view: View, b: Rewriter, op: Operation) -> Value | None:
    """f(f(x)) -> x, for an f that is its own inverse."""
    source = view.producer(op.operands[0], op.name)
    return b[source.operands[0]] if source is not None else None


def named_on_numbers(rule: Rule) -> Rule:
    """A rule for elements that are the numbers themselves: relu's zero is not the integer 0 of quantized ones."""

    def checked(view: View, b: Rewriter, op: Operation) -> Value | None:
        return rule(view, b, op) if op.result.type.quantization is None else None

    return checked


@named_on_numbers
def name_clamp(view: View, b: Rewriter, op: Operation) -> Value | None:
    """clamp(x, 0, 6) -> relu6(x); clamp(x, 0, inf) -> relu(x)."""
    low, high = op.attributes["low"], op.attributes["high"]
    name = {(0, 6): "relu6", (0, math.inf): "relu"}.get((low, high))
    return b.emit(name, b[op.operands[0]], location=op.location, name=op.result.name) if name else None


@named_on_numbers
def name_maximum(view: View, b: Rewriter, op: Operation) -> Value | None:
    """maximum(x, 0) -> relu(x)."""
    x, bound = op.operands
    if view.number(bound) != 0 or x.type.shape != op.result.type.shape:
        return None
    return b.emit("relu", b[x], location=op.location, name=op.result.name)


@named_on_numbers
def name_minimum(view: View, b: Rewriter, op: Operation) -> Value | None:
    """minimum(relu(x), 6) -> relu6(x)."""
    x, bound = op.operands
    source = view.producer(x, "relu")
    if source is None or view.number(bound) != 6 or x.type.shape != op.result.type.shape:
        return None
    return b.emit("relu6", b[source.operands[0]], location=op.location, name=op.result.name)


SIMPLIFY.add((drop_identity,), Identity)
SIMPLIFY.add((order_operands, drop_neutral(0.0), merge_bias), Add)
SIMPLIFY.add((drop_neutral(0.0),), Sub)
SIMPLIFY.add((order_operands, drop_neutral(1.0)), Mul)
SIMPLIFY.add((drop_neutral(1.0),), Div)
SIMPLIFY.add((order_operands, name_maximum), Maximum)
SIMPLIFY.add((order_operands, name_minimum), Minimum)
SIMPLIFY.add((cancel,), Neg)
SIMPLIFY.add((drop_abs, drop_inner("neg")), Abs)
SIMPLIFY.add((drop_clip,), Relu)
SIMPLIFY.add((drop_clip, drop_inner("relu")), Relu6)
SIMPLIFY.add((name_clamp, drop_clip), Clamp)
SIMPLIFY.add((merge_reshape,), Reshape)
SIMPLIFY.add((merge_transpose,), Transpose)
SIMPLIFY.add((merge_relayout,), Relayout)
SIMPLIFY.add((drop_single_concat,), Concat)
SIMPLIFY.add((merge_pad,), Convolution, QConv2D)
SIMPLIFY.add((merge_pad_of_lowest,), MaxPool)
