"""Ensembles of decision trees, operators of the domain ai.onnx.ml.

All trees descend at once, a level at a time: a table of all nodes tells the feature and the number that each node
compares, and where it goes on. A leaf goes on at itself, so that trees of different depths end together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ....compiler.graph.ir import Array, Value
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx
from .classical import binary_scores, labelled, labels_of, transformed

_COMPARISONS = ("less_equal", "less", "greater_equal", "greater", "equal", "not_equal")
"""What the modes 0 to 5 of TreeEnsemble compare; mode 6 asks whether a number is in a set."""
_MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
"""The same in the older operators."""
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
_BYTES = 1 << 30
"""Most memory that the scores of all nodes may take."""


@dataclass(frozen=True)
class Forest:
    """Trees as tables: a row for each node, in which leaves have scores and go on at themselves."""

    comparison: str
    """What all nodes do with a feature and a number."""
    features: Array
    numbers: Array
    children: Array
    """[nodes, 2]: where a node goes on if its comparison doesn't hold, and if it does."""
    missing: Array
    """Whether a feature that is no number counts as one for which the comparison holds."""
    roots: Array
    scores: Array
    """[nodes, targets]: what a leaf adds to each target."""

    @property
    def depth(self) -> int:
        """How many levels lie below the roots. The nodes of a level are met once, so that a cycle has none."""
        level, count = np.unique(self.roots), 0
        while (self.children[level, 0] != level).any():
            level = np.unique(self.children[level])
            count += 1
            if count > len(self.features):
                return -1
        return count


def _leaves(c: Node, forest: Forest) -> Value:
    """[N, features] to [N, trees]: the leaf that each tree comes to."""
    x = c.value(0)
    if x.type.rank == 1:
        x = c.reshape(x, (1, *x.type.shape))
    if not x.type.dtype.is_float:
        x = c.cast(x, DType.F32)
    depth = forest.depth
    if depth < 0 or forest.features.max(initial=0) >= x.type.shape[-1] or forest.features.min(initial=0) < 0:
        c.unsupported(f"its trees have cycles, or compare features that {x.type} doesn't have")
    features, children = (c.made(a.astype(np.int32)) for a in (forest.features, forest.children.reshape(-1)))
    numbers, missing = c.made(forest.numbers.astype(x.type.dtype.numpy)), forest.missing.any()
    at = c.broadcast(c.made(forest.roots.astype(np.int32)[None]), (x.type.shape[0], len(forest.roots)))
    for _ in range(depth):
        feature = c.emit("take_along_axis", x, c.emit("gather", features, at), axis=1)
        holds = c.emit(forest.comparison, feature, c.emit("gather", numbers, at))
        if missing:
            counts = c.emit("logical_and", c.emit("isnan", feature), c.emit("gather", c.made(forest.missing), at))
            holds = c.emit("logical_or", holds, counts)
        place = c.emit("add", c.emit("mul", at, c.scalar(2, at)), c.cast(holds, DType.I32))
        at = c.emit("gather", children, place)
    return at


def _total(c: Node, forest: Forest, aggregate: str) -> Value:
    """[N, features] to [N, targets]: what all trees say together."""
    if aggregate in ("MIN", "MAX") and forest.scores.shape[1] > 1:
        c.unsupported(f"the {aggregate} of several targets is not supported")
    dtype = c.type(0).dtype if c.type(0).dtype is DType.F64 else DType.F32
    rows = c.emit("gather", c.made(forest.scores.astype(dtype.numpy)), _leaves(c, forest))
    operator = {"MIN": "reduce_min", "MAX": "reduce_max"}.get(aggregate, "reduce_sum")
    total = c.emit(operator, rows, axes=(1,))
    return c.emit("div", total, c.scalar(len(forest.roots), total)) if aggregate == "AVERAGE" else total


@onnx("TreeEnsembleRegressor", domain="ai.onnx.ml")
def tree_ensemble_regressor(c: Node) -> Value:
    """[N, features] to [N, targets]."""
    targets = int(c.attribute("n_targets", 1))
    total = _total(c, _older(c, "target", targets), c.choice("aggregate_function", "SUM", *_AGGREGATES))
    total = c.cast(_with_base(c, total), DType.F32)
    return transformed(c, total, c.choice("post_transform", "NONE", "NONE", "SOFTMAX", "LOGISTIC"))


@onnx("TreeEnsembleClassifier", domain="ai.onnx.ml")
def tree_ensemble_classifier(c: Node) -> tuple[Value, ...]:
    """[N, features] to labels [N], and scores [N, classes]."""
    labels = labels_of(c, "classlabels_int64s")
    forest = _older(c, "class", len(labels))
    used = set(c.needed("class_ids"))
    word = c.choice("post_transform", "NONE", "NONE", "SOFTMAX", "LOGISTIC")
    total = _total(c, forest, "SUM")
    if len(labels) > 2:
        total = c.cast(_with_base(c, total), DType.F32)
        return labelled(c, labels, c.emit("argmax", total, axis=1), transformed(c, total, word))
    if len(labels) != 2 or used != {0}:
        c.unsupported(f"{len(labels)} classes with scores for the classes {sorted(used)} are not supported")
    score = c.emit("slice", total, begin=(0, 0), size=(total.type.shape[0], 1))
    score = c.cast(_with_base(c, score), DType.F32)
    are_shares = bool((forest.scores >= 0).all())
    is_second = c.emit("greater", score, c.scalar(0.5 if are_shares else 0.0, score))
    place = c.reshape(c.cast(is_second, DType.I64), (score.type.shape[0],))
    return labelled(c, labels, place, binary_scores(c, score, word, are_shares))


def _with_base(c: Node, total: Value) -> Value:
    """Scores with those that a file adds to all of them."""
    base = _numbers(c, "base_values")
    if not base.size:
        return total
    if base.size != total.type.shape[-1]:
        c.unsupported(f"{base.size} base values for {total.type.shape[-1]} targets are not supported")
    return c.emit("add", total, c.made(base.astype(total.type.dtype.numpy)))


def _numbers(c: Node, name: str) -> Array:
    """An attribute of floats, which may be a tensor of doubles."""
    tensor = c.attribute(f"{name}_as_tensor")
    return c.array(tensor) if tensor is not None else np.array(c.attribute(name, ()), np.float32)


def _older(c: Node, prefix: str, targets: int) -> Forest:
    """The trees of the older operators, whose nodes are numbered tree by tree."""
    trees, nodes = (np.array(c.needed(f"nodes_{name}")) for name in ("treeids", "nodeids"))
    places = {pair: i for i, pair in enumerate(zip(trees.tolist(), nodes.tolist(), strict=True))}
    modes = c.needed("nodes_modes")
    is_leaf = np.array([mode == "LEAF" for mode in modes])
    own = np.arange(len(trees))
    ways = [
        np.array([places.get(pair, -1) for pair in zip(trees.tolist(), c.needed(name), strict=True)])
        for name in ("nodes_falsenodeids", "nodes_truenodeids")
    ]
    children = np.stack([np.where(is_leaf, own, way) for way in ways], axis=1)
    if (children < 0).any():
        c.unsupported("a node of a tree goes on at one that isn't there")
    c.ignore("nodes_hitrates", "nodes_hitrates_as_tensor")
    scores = _scores(c, len(trees), targets)
    ids, weights = np.array(c.needed(f"{prefix}_ids"), np.int64), _numbers(c, f"{prefix}_weights")
    leaves = zip(c.needed(f"{prefix}_treeids"), c.needed(f"{prefix}_nodeids"), strict=True)
    np.add.at(scores, (np.array([places[pair] for pair in leaves]), ids), weights)
    missing = np.array(c.attribute("nodes_missing_value_tracks_true", ()), np.bool_)
    return Forest(
        _comparison(c, [mode for mode in modes if mode != "LEAF"], _MODES),
        np.where(is_leaf, 0, np.array(c.needed("nodes_featureids"))),
        _numbers(c, "nodes_values"),
        children,
        missing if missing.size else np.zeros(len(trees), np.bool_),
        np.unique(trees, return_index=True)[1],
        scores,
    )


def _scores(c: Node, nodes: int, targets: int) -> Array:
    if nodes * targets * 8 > _BYTES:
        c.unsupported(f"{nodes} nodes with {targets} scores each are not supported")
    return np.zeros((nodes, targets))


def _comparison(c: Node, modes: Sequence[Any], known: Sequence[Any]) -> str:
    """The comparison of all nodes, which must be the same."""
    different = sorted(set(modes))
    if len(different) > 1 or (different and different[0] not in known):
        c.unsupported(f"nodes with the modes {different} are not supported")
    return _COMPARISONS[known.index(different[0])] if different else _COMPARISONS[0]


@onnx("TreeEnsemble", domain="ai.onnx.ml")
def tree_ensemble(c: Node) -> Value:
    """[N, features] to [N, targets]."""
    forest = _newer(c, int(c.attribute("n_targets", 1)))
    total = _total(c, forest, _AGGREGATES[int(c.attribute("aggregate_function", 1))])
    word = _TRANSFORMS[int(c.attribute("post_transform", 0))]
    if word not in ("NONE", "SOFTMAX", "LOGISTIC"):
        c.unsupported(f"the transform {word} of scores is not supported")
    return transformed(c, total, word)


def _newer(c: Node, targets: int) -> Forest:
    """The trees of TreeEnsemble, whose leaves are numbered apart; here they stand behind the nodes."""
    splits, modes = c.array(c.needed("nodes_splits")), c.array(c.needed("nodes_modes"))
    weights, ids = c.array(c.needed("leaf_weights")), np.array(c.needed("leaf_targetids"), np.int64)
    count, leaves = len(splits), len(weights)
    ways = []
    for way in ("false", "true"):
        to = np.array(c.needed(f"nodes_{way}nodeids"))
        ways.append(np.where(np.array(c.needed(f"nodes_{way}leafs"), np.bool_), to + count, to))
    inner = np.stack(ways, axis=1)
    own = np.repeat(np.arange(count, count + leaves)[:, None], 2, axis=1)
    children = np.concatenate([inner, own])
    if children.min(initial=0) < 0 or children.max(initial=0) >= len(children):
        c.unsupported("a node of a tree goes on at one that isn't there")
    c.ignore("nodes_hitrates")
    scores = _scores(c, count + leaves, targets)
    scores[np.arange(count, count + leaves), ids] = weights
    missing = np.array(c.attribute("nodes_missing_value_tracks_true", (0,) * count), np.bool_)
    behind: Callable[[Array], Array] = lambda a: np.concatenate([a, np.zeros(leaves, a.dtype)])  # noqa: E731
    return Forest(
        _comparison(c, modes.tolist(), range(len(_COMPARISONS))),
        behind(np.array(c.needed("nodes_featureids"))),
        behind(splits),
        children,
        behind(missing),
        np.array(c.needed("tree_roots")),
        scores,
    )
