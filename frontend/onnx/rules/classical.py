"""Linear models and the preparation of features: operators of the domain ai.onnx.ml."""

from __future__ import annotations

import numpy as np

from ....compiler.graph.ir import Array, Value
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx

_DOMAIN = "ai.onnx.ml"


# ---- scores and labels ----------------------------------------------------------------------------------------------


def labels_of(c: Node, name: str) -> Array:
    """The labels of classes, which must be whole numbers."""
    if c.attribute("classlabels_strings"):
        c.unsupported("classes with labels of text are not supported", hint="export the model with numbered classes")
    return np.array(c.needed(name), np.int64)


def labelled(c: Node, labels: Array, places: Value, scores: Value) -> tuple[Value, Value]:
    """The labels of classes by their places, and the scores."""
    return c.emit("gather", c.made(labels), places), scores


def transformed(c: Node, scores: Value, word: str) -> Value:
    """Scores [N, classes] behind the transform that an attribute names.

    Of one score alone ONNX Runtime leaves it out, which ONNX doesn't say: it is refused.
    """
    if word != "NONE" and scores.type.shape[-1] == 1:
        c.unsupported(f"the transform {word} of one score is not supported: runtimes don't agree on it")
    if word == "SOFTMAX":
        return c.emit("softmax", scores, axis=-1)
    return c.emit("sigmoid", scores) if word == "LOGISTIC" else scores


def binary_scores(c: Node, score: Value, word: str, are_shares: bool) -> Value:
    """[N, 1], the score of the second of two classes, to [N, 2]; a share of 1 leaves the rest to the first."""
    if word == "SOFTMAX":
        c.unsupported("the transform SOFTMAX of one score is not supported: runtimes don't agree on it")
    if are_shares and word == "NONE":
        return c.emit("concat", c.emit("sub", c.scalar(1.0, score), score), score, axis=1)
    return transformed(c, c.emit("concat", c.emit("neg", score), score, axis=1), word)


# ---- linear models --------------------------------------------------------------------------------------------------


def _linear(c: Node, targets: int) -> Value:
    """[N, features] to [N, targets]: products with coefficients, and what is added."""
    x = c.value(0)
    x = c.reshape(x, (1, *x.type.shape)) if x.type.rank == 1 else x
    x = x if x.type.dtype.is_float else c.cast(x, DType.F32)
    weight = np.array(c.needed("coefficients"), x.type.dtype.numpy).reshape(targets, -1).T
    intercepts = np.array(c.attribute("intercepts", ()) or (0.0,) * targets, x.type.dtype.numpy)
    return c.emit("dense", x, c.made(np.ascontiguousarray(weight)), c.made(intercepts))


@onnx("LinearRegressor", domain=_DOMAIN)
def linear_regressor(c: Node) -> Value:
    """[N, features] to [N, targets]."""
    scores = _linear(c, int(c.attribute("targets", 1)))
    return transformed(c, scores, c.choice("post_transform", "NONE", "NONE", "SOFTMAX", "LOGISTIC"))


@onnx("LinearClassifier", domain=_DOMAIN)
def linear_classifier(c: Node) -> tuple[Value, ...]:
    """[N, features] to labels [N], and scores [N, classes]."""
    labels = labels_of(c, "classlabels_ints")
    c.ignore("multi_class")
    targets = len(c.attribute("intercepts", ())) or len(labels)
    if targets != len(labels) or targets < 2:
        c.unsupported(f"{len(labels)} classes with {targets} scores are not supported")
    scores = c.cast(_linear(c, targets), DType.F32)
    word = c.choice("post_transform", "NONE", "NONE", "SOFTMAX", "LOGISTIC")
    return labelled(c, labels, c.emit("argmax", scores, axis=1), transformed(c, scores, word))


@onnx("ZipMap", domain=_DOMAIN)
def zip_map(c: Node) -> Value:
    """Scores [N, classes] as they are: what a map would tell by its keys stands in the order of the classes."""
    c.ignore("classlabels_int64s", "classlabels_strings")
    return c.value(0)


# ---- features -------------------------------------------------------------------------------------------------------


@onnx("Scaler", domain=_DOMAIN)
def scaler(c: Node) -> Value:
    """Each feature less an offset, times a factor."""
    x = c.cast(c.value(0), DType.F32)
    offset, scale = (c.made(np.array(c.attribute(name, (d,)), np.float32)) for name, d in (("offset", 0), ("scale", 1)))
    return c.emit("mul", c.emit("sub", x, offset), scale)


@onnx("Normalizer", domain=_DOMAIN)
def normalizer(c: Node) -> Value:
    """Rows divided by their largest element, the sum of their elements, or the root of that of squares."""
    x = c.cast(c.value(0), DType.F32)
    norm = c.choice("norm", "MAX", "MAX", "L1", "L2")
    if norm == "MAX":
        size = c.emit("reduce_max", x, axes=(-1,), keepdims=True)
    elif norm == "L1":
        size = c.emit("reduce_sum", c.emit("abs", x), axes=(-1,), keepdims=True)
    else:
        size = c.emit("sqrt", c.emit("reduce_sum", c.emit("mul", x, x), axes=(-1,), keepdims=True))
    size = c.emit("select", c.emit("equal", size, c.scalar(0, size)), c.scalar(1, size), size)
    return c.emit("div", x, size)


@onnx("Imputer", domain=_DOMAIN)
def imputer(c: Node) -> Value:
    """Features with numbers in place of those that are missing."""
    x = c.value(0)
    if x.type.dtype.is_float:
        values, missing = c.needed("imputed_value_floats"), float(c.attribute("replaced_value_float", 0.0))
    else:
        values, missing = c.needed("imputed_value_int64s"), int(c.attribute("replaced_value_int64", 0))
    is_missing = c.emit("isnan", x) if np.isnan(missing) else c.emit("equal", x, c.scalar(missing, x))
    return c.emit("select", is_missing, c.made(np.array(values, x.type.dtype.numpy)), x)


@onnx("FeatureVectorizer", domain=_DOMAIN)
def feature_vectorizer(c: Node) -> Value:
    """Features of several tensors beside each other, as floats."""
    parts = [c.cast(x, DType.F32) for x in c.values()]
    parts = [c.reshape(x, (x.type.shape[0], x.type.size // max(x.type.shape[0], 1))) for x in parts]
    widths = tuple(c.attribute("inputdimensions", ()))
    if widths and widths != tuple(x.type.shape[1] for x in parts):
        c.unsupported(f"parts of the widths {list(widths)} of {', '.join(str(x.type) for x in parts)}")
    return parts[0] if len(parts) == 1 else c.emit("concat", *parts, axis=1)


@onnx("OneHotEncoder", domain=_DOMAIN)
def one_hot_encoder(c: Node) -> Value:
    """[...] to [..., categories]: 1 where a number is the category, else 0."""
    x = c.value(0)
    if c.attribute("cats_strings"):
        c.unsupported("categories of text are not supported")
    if not c.flag("zeros", True):
        c.unsupported("an error for numbers that are no category (zeros=0) is not supported")
    categories = c.made(np.array(c.needed("cats_int64s"), x.type.dtype.numpy))
    return c.cast(c.emit("equal", c.reshape(x, (*x.type.shape, 1)), categories), DType.F32)
