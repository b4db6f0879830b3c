"""The order of dimensions: transposes around channels-last operators are moved until they meet their inverses."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from ...compiler.graph.builder import Rewriter, rewritten
from ...compiler.graph.ir import Graph, Operation, Value
from ...compiler.ops.axes import Permutation, inverse
from ...compiler.passes.dce import dce
from ...compiler.passes.sink_transposes import sink_transposes


def arranged(graph: Graph) -> Graph:
    """The same network with as few transposes as these rules leave."""
    graph = sink_transposes(dce(graph))
    return dce(rewritten(graph, partial(_with_turned_rows, graph)))


def _with_turned_rows(graph: Graph, b: Rewriter, op: Operation) -> Value | None:
    """A dense layer behind a flattened picture: the rows of its weight take the picture's order of dimensions."""
    if op.name != "dense" or (found := _flattened(graph, op)) is None:
        return None
    source, permutation = found
    weight = graph.producers[op.operands[1]]
    rank = len(permutation)
    kept = source.type.shape[0]
    sizes = [source.type.shape[d] for d in permutation[1:]]
    array = weight.attributes["value"]
    rows = array.reshape(*sizes, array.shape[1])
    order = tuple(d - 1 for d in inverse(permutation)[1:])
    turned = np.ascontiguousarray(rows.transpose(*order, rank - 1)).reshape(array.shape)
    flat = b.emit("reshape", b[source], shape=(kept, math.prod(sizes)), location=op.location)
    bias = [b[v] for v in op.operands[2:]]
    name = op.result.name
    is_only = len(graph.users[weight.result]) == 1
    new = b.constant(turned, weight.location, name=weight.result.name if is_only else None)
    return b.operation(op.operator, (flat, new, *bias), op.attributes, location=op.location, name=name).result


def _flattened(graph: Graph, op: Operation) -> tuple[Value, Permutation] | None:
    """What a dense layer reads as rows [N, ...] if that is transposed and flattened, and its weight is known."""
    weight = graph.producers.get(op.operands[1])
    reshape = graph.producers.get(op.operands[0])
    if weight is None or weight.name != "constant" or weight.result.type.quantization or reshape is None:
        return None
    transpose = graph.producers.get(reshape.operands[0]) if reshape.name == "reshape" else None
    if transpose is None or transpose.name != "transpose":
        return None
    permutation = transpose.attributes["permutation"]
    shape = transpose.result.type.shape
    fits = permutation[0] == 0 and reshape.result.type.shape == (shape[0], math.prod(shape[1:]))
    return (transpose.operands[0], permutation) if fits else None
