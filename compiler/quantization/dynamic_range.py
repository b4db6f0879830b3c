"""Dynamic range: weights as integers of 8 bits, with a scale for each filter; activations stay floats between layers.

No samples are needed: what a layer reads is quantized while the network runs (`ops.quantized.hybrid`). Which weights
become integers follows TensorFlow's converter: those of convolutions, dense layers and products of matrices, and
tables that are looked up, of `SMALLEST` elements and more. Scales are symmetric, 127 steps to the largest weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Array, Graph, Operation, Value
from ..graph.names import value_names
from ..passes.dce import dce
from ..types import DType, Quantization
from .finite import refuse_infinite
from .scales import WEIGHT_LIMIT, largest_size, weight_to_integers

SMALLEST = 1024
"""Constants of fewer elements stay floats of 32 bits: they make a file hardly larger."""
_CONTRACTIONS = ("conv2d", "dense", "transpose_conv2d")


def dynamic_range(
    graph: Graph, *, per_channel: bool = True, keep_float: Sequence[str] = (), smallest: int = SMALLEST
) -> Graph:
    """A frozen float graph with 8-bit weights. Results whose names match a pattern `keep_float` are made of floats."""
    names = value_names(graph)

    def rule(b: Rewriter, op: Operation) -> Value | None:
        if any(fnmatchcase(names[v], pattern) for v in op.results for pattern in keep_float):
            return None
        if op.name in _CONTRACTIONS:
            return _contraction(b, op, per_channel, smallest)
        if op.name == "matmul":
            return _product(b, op, smallest)
        return _looked_up(b, op, smallest) if op.name == "gather" else None

    return dce(rewritten(graph, rule))


def _weight(b: Rewriter, op: Operation, place: int, smallest: int) -> Array | None:
    """The constant that a weight is, if it is large enough. Raises `NetcError` if it isn't finite."""
    producer = b.graph.producers.get(op.operands[place])
    if producer is None or producer.name != "constant":
        return None
    array: Array = producer.attributes["value"]
    if array.dtype != np.float32 or array.size < smallest or op.operands[0].type.size == 0:
        return None
    refuse_infinite(b.graph, op.operands[place], array)
    return array


def _scale(weight: Array, *, per_channel: bool) -> Quantization:
    largest = largest_size(weight, per_channel=per_channel)
    scales = np.where(largest / WEIGHT_LIMIT > np.finfo(np.float32).tiny, largest / WEIGHT_LIMIT, 1.0)
    if not per_channel:
        return Quantization.of(float(scales))
    return Quantization(tuple(scales.tolist()), (0,) * len(scales), weight.ndim - 1)


def _emit(b: Rewriter, op: Operation, weight: Array, given: Quantization, *, symmetric: bool) -> Value:
    old = op.operands[1]
    whole = b.constant(weight_to_integers(weight, given), op.location, quantization=given, name=b[old].name)
    x, _, *bias = (b[v] for v in op.operands)
    attributes: dict[str, Any] = {**op.attributes, "weight": given, "symmetric": symmetric}
    place: dict[str, Any] = {"location": op.location, "name": op.result.name}
    return b.emit(f"hybrid_{op.name}", x, whole, *bias, **place, **attributes)


def _contraction(b: Rewriter, op: Operation, per_channel: bool, smallest: int) -> Value | None:
    weight = _weight(b, op, 1, smallest)
    if weight is None or op.result.type.dtype is not DType.F32:
        return None
    groups = op.attributes.get("groups", 1)
    given = _scale(weight, per_channel=per_channel or groups > 1)  # LiteRT has no form of groups with one scale
    symmetric = op.name == "conv2d" and groups == 1 and len(set(given.scales)) == 1
    return _emit(b, op, weight, given, symmetric=symmetric)


def _product(b: Rewriter, op: Operation, smallest: int) -> Value | None:
    """BATCH_MATMUL: LiteRT's kernel takes one scale, and confuses rows where there are two leading dimensions."""
    weight = _weight(b, op, 1, smallest)
    if weight is None or sum(size > 1 for size in op.result.type.shape[:-2]) > 1:
        return None
    return _emit(b, op, weight, _scale(weight, per_channel=False), symmetric=False)


def _looked_up(b: Rewriter, op: Operation, smallest: int) -> Value | None:
    """Rows of a table, each with a scale of its own."""
    table = _weight(b, op, 0, smallest)
    if table is None or table.ndim != 2 or op.attributes["axis"] % 2 or op.attributes["batch_dims"]:
        return None
    given = _scale(table.T, per_channel=True)
    whole = np.ascontiguousarray(weight_to_integers(table.T, given).T)
    ids = b[op.operands[1]]
    rows = b.emit("gather", b.constant(whole, op.location, name=b[op.operands[0]].name), ids, axis=0)
    scales = b.emit("gather", b.constant(np.array(given.scales, np.float32)), ids, axis=0)
    spread = b.emit("reshape", scales, shape=(*ids.type.shape, 1))
    floats = b.emit("cast", rows, dtype="f32")
    return b.emit("mul", floats, spread, location=op.location, name=op.result.name)
