"""Counting, picking and comparing features: TfIdfVectorizer, and operators of the domain ai.onnx.ml."""

from __future__ import annotations

import numpy as np

from ....compiler.graph.ir import Array, Value
from ....compiler.ops.moves import scattering
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx
from ..tensors import dtype_of


@onnx("TfIdfVectorizer")
def tf_idf(c: Node) -> Value:
    """How often each n-gram of a pool occurs, also with elements between; perhaps weighted."""
    x = c.value(0)
    pool = np.array(c.attribute("pool_int64s", ()), np.int64)
    starts, places = c.needed("ngram_counts"), np.array(c.needed("ngram_indexes"))
    low, high = int(c.needed("min_gram_length")), int(c.needed("max_gram_length"))
    skips, mode = int(c.needed("max_skip_count")), c.choice("mode", "", "TF", "IDF", "TFIDF")
    factors = c.attribute("weights")
    if not pool.size:
        c.unsupported("pools of text are not supported")
    rows = x if x.type.rank == 2 else c.reshape(x, (1, -1))
    samples = rows.type.shape[0]
    total: Value = c.full((samples, int(places.max()) + 1), 0, DType.F32)
    first = 0
    for length, start in enumerate(starts, 1):
        end = starts[length] if length < len(starts) else len(pool)
        grams = pool[start:end].reshape(-1, length)
        own = places[first : first + len(grams)]
        first += len(grams)
        if low <= length <= high and len(grams):
            total = c.emit("add", total, _counted(c, rows, grams, own, skips, total.type.shape[1]))
    if mode != "TF":
        weights = np.ones(len(places), np.float32) if factors is None else np.array(factors, np.float32)
        of_place = np.ones(total.type.shape[1], np.float32)
        of_place[places] = weights
        if mode == "IDF":
            total = c.cast(c.emit("greater", total, c.scalar(0, total)), DType.F32)
        total = c.emit("mul", total, c.made(of_place))
    return total if x.type.rank == 2 else c.reshape(total, (-1,))


def _counted(c: Node, rows: Value, grams: Array, places: Array, skips: int, size: int) -> Value:
    """[N, C] to [N, size]: the number of occurrences of n-grams [G, n] at their places."""
    (samples, columns), (count, length) = rows.type.shape, grams.shape
    matrix = np.zeros((count, size), np.float32)
    matrix[np.arange(count), places] = 1
    total: Value = c.full((samples, size), 0, DType.F32)
    for skip in range(skips + 1 if length > 1 else 1):
        windows = columns - (length - 1) * (skip + 1)
        if windows < 1:
            continue
        at = np.arange(windows)[:, None] + np.arange(length) * (skip + 1)
        cut = c.reshape(c.emit("gather", rows, c.made(at), axis=1), (samples, windows, 1, length))
        equal = c.emit("equal", cut, c.made(grams.astype(rows.type.dtype.numpy)))
        found = c.cast(c.emit("reduce_all", equal, axes=(3,)), DType.F32)
        total = c.emit("add", total, c.emit("dense", c.emit("reduce_sum", found, axes=(1,)), c.made(matrix)))
    return total


@onnx("ArrayFeatureExtractor", domain="ai.onnx.ml")
def array_feature_extractor(c: Node) -> Value:
    """Some of the features, which stand along the last dimension."""
    x, indices = c.value(0), c.value(1)
    flat = c.reshape(indices, (indices.type.size,))
    wide = c.reshape(x, (1, *x.type.shape)) if x.type.rank == 1 else x
    return c.emit("gather", wide, flat, axis=wide.type.rank - 1)


@onnx("Binarizer", domain="ai.onnx.ml")
def binarizer(c: Node) -> Value:
    """1 where a feature is above a threshold, else 0."""
    x = c.value(0)
    above = c.emit("greater", x, c.scalar(float(c.attribute("threshold", 0.0)), x))
    return c.cast(above, x.type.dtype)


@onnx("TensorScatter")
def tensor_scatter(c: Node) -> Value:
    """A cache with an update at places along an axis, which may go around its end."""
    x, update = c.value(0), c.value(1)
    axis = c.axis(c.attribute("axis", -2), x.type.rank)
    mode = c.choice("mode", "linear", "linear", "circular")
    samples, length = x.type.shape[0], update.type.shape[axis]
    first = c.value(2) if c.has(2) else c.full((samples,), 0, DType.I64)
    start = c.reshape(first, [samples if d == 0 else 1 for d in range(x.type.rank)])
    steps = np.arange(length).reshape([-1 if d == axis else 1 for d in range(x.type.rank)])
    places = c.emit("add", start, c.made(steps.astype(first.type.dtype.numpy)))
    if mode == "circular":
        places = c.emit("floor_mod", places, c.scalar(x.type.shape[axis], places))
    return scattering.scatter(c, x, c.broadcast(places, update.type.shape), update, axis)


@onnx("BitCast")
def bit_cast(c: Node) -> Array:
    """The bits of numbers, which must be known, as those of another type of the same size."""
    x = c.constant(0)
    return np.ascontiguousarray(x).view(dtype_of(int(c.needed("to"))).numpy).reshape(x.shape)
