"""Descent of decision trees."""

from __future__ import annotations

import numpy as np

from ..errors import NetcError, ShapeError
from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Operator, Value
from ..graph.registry import lookup, register
from ..loops.compute import Compute
from ..loops.ir import Binary, Cast, Const, Expr, binary, maximum, minimum
from ..types import DType, TensorType
from .facets import INTEGER, PERMUTED
from .functions.selection import Comparison, Equal, Greater, GreaterEqual, Less, LessEqual, NotEqual

COMPARISONS = tuple(op.name for op in (LessEqual, Less, GreaterEqual, Greater, Equal, NotEqual))
"""What nodes may ask."""


@register
class NextNodes(Operator):
    """The nodes [N, trees] at which trees go on for each row of x [N, features] from nodes [N or 1, trees].

    All trees share tables with a row for each node: `ways` [nodes, 2] has the feature that it compares, and the row at
    which it goes on if that doesn't hold; if it does, it goes on at the next row. `numbers` [nodes] has what it
    compares with. A negative feature f stands for -1 - f, of which what is no number counts as one for which the
    comparison holds. (A level of ONNX's TreeEnsemble.) Places outside of tables are an error of the interpreter;
    compiled code takes the nearest one inside.
    """

    name = "next_nodes"
    operands = ("x", "nodes", "ways", "numbers")
    attributes = {"comparison": AttributeSpec(str, f"of a feature and a number: {', '.join(COMPARISONS)}")}
    non_differentiable = "a node of a tree is a place"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, nodes, ways, numbers = operands
        if any(t.dtype not in (DType.I32, DType.I64) for t in (nodes, ways)) or not x.dtype.is_float:
            raise ShapeError(f"next_nodes compares floats at places of type i32 or i64, not {x} at {nodes} and {ways}")
        if x.rank != 2 or nodes.rank != 2 or nodes.shape[0] not in (1, x.shape[0]):
            raise ShapeError(f"next_nodes takes x [N, features] and nodes [N or 1, trees], not {x} and {nodes}")
        if numbers.dtype is not x.dtype or numbers.rank != 1 or ways.shape != (*numbers.shape, 2):
            raise ShapeError(f"next_nodes: the tables {ways} and {numbers} don't fit each other and {x}")
        if attributes["comparison"] not in COMPARISONS:
            raise ShapeError(f"next_nodes: there is no comparison {attributes['comparison']!r}")
        shape = (x.shape[0], nodes.shape[1])
        if 0 in (x.shape[1], *numbers.shape) and 0 not in shape:
            raise ShapeError("next_nodes needs a feature and a node")
        return (TensorType(nodes.dtype, shape),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        x, nodes, ways, numbers = operands
        at = np.broadcast_to(_inside(nodes, len(numbers)), (len(x), nodes.shape[1]))
        given, low = ways[at, 0], ways[at, 1]
        feature = np.take_along_axis(x, _inside(np.where(given < 0, ~given, given), x.shape[1]), axis=1)
        holds = _comparison(attributes).ufunc(feature, numbers[at]) | (np.isnan(feature) & (given < 0))
        return ((low + holds).astype(nodes.dtype),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        row, tree = index
        nodes = c.type(1)
        # Each tree has a way of its own: `splat` refuses vectors of them.
        loaded = c.load(1, (row if nodes.shape[0] > 1 else Const(0), c.splat(tree)))
        at = c.let(_nearest(Cast(loaded, DType.I64), c.type(3).shape[0]))
        given = c.let(Cast(c.load(2, (at, Const(0))), DType.I64))
        sign = c.let(binary("shr", given, 63))
        feature = c.let(c.load(0, (row, _nearest(binary("xor", given, sign), c.type(0).shape[1]))))
        counts = binary("and", Binary("ne", feature, feature), Binary("lt", sign, Const(0, DType.I64)))
        way = binary("or", _comparison(attributes).element(feature, c.load(3, (at,))), counts)
        return Cast(Cast(c.load(2, (at, Const(1))), DType.I64) + Cast(way, DType.I64), nodes.dtype)

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        x, nodes, ways, numbers = operands
        dtype, size = nodes.type.dtype, numbers.type.size
        at = b.emit("broadcast_to", nodes, shape=(x.type.shape[0], nodes.type.shape[1]))
        given, low = (
            b.emit("gather", b.emit("reshape", b.emit("slice", ways, begin=(0, i), size=(size, 1)), shape=(size,)), at)
            for i in range(2)
        )
        feature = b.emit(
            "take_along_axis", x, b.emit("maximum", given, b.emit("sub", b.scalar(-1, given.type.dtype), given)), axis=1
        )
        counts = b.emit("logical_and", b.emit("isnan", feature), b.emit("less", given, b.scalar(0, given.type.dtype)))
        holds = b.emit(attributes["comparison"], feature, b.emit("gather", numbers, at))
        holds = b.emit("cast", b.emit("logical_or", holds, counts), dtype=str(low.type.dtype))
        return b.emit("cast", b.emit("add", low, holds), dtype=str(dtype))


def _inside(places: Array, size: int) -> Array:
    """Places in a dimension; raises `NetcError` for those outside."""
    if places.size and not 0 <= places.min() <= places.max() < size:
        raise NetcError(f"next_nodes: a place lies outside {size}")
    return places


def _nearest(place: Expr, size: int) -> Expr:
    return maximum(minimum(place, size - 1), 0)


def _comparison(attributes: Attributes) -> Comparison:
    found = lookup(attributes["comparison"])
    assert isinstance(found, Comparison)  # as `infer` has seen
    return found


INTEGER.none("its results are places, which stay integers", NextNodes)
PERMUTED.none("features and trees stand in rows", NextNodes)
