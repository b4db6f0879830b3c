"""Ensembles of decision trees, operators of the domain ai.onnx.ml.

All trees descend at once by tables of their nodes, a level at a time (`next_nodes`). The deepest trees come first, so
that those that have ended are left behind. Then the scores of the leaves are added up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
_SHRINK = 0.75
"""Share of trees that go on, at most, where those that have ended are left behind: this costs two copies."""
_MOST_COPIES = 4
"""How many rows there may be for each node, as trees that share a node get copies of it."""
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

    def comparing_equal(self) -> Forest:
        """The same trees, of which none asks whether numbers differ: that holds for what is no number, too."""
        if self.comparison != "not_equal":
            return self
        nowhere = np.zeros_like(self.missing)
        return replace(self, comparison="equal", children=self.children[:, ::-1], missing=nowhere)

    def ordered(self) -> Ordered:
        """The nodes in the order in which trees meet them; raises `ValueError` for trees with cycles."""
        is_leaf = (self.children == np.arange(len(self.features))[:, None]).all(axis=1)
        old, trees = self.roots, np.arange(len(self.roots))
        levels, low, depths = [old], list[Array](), np.zeros(len(trees), np.int64)
        start, limit = 0, len(self.features) + 1
        while old.size:
            inner = np.flatnonzero(~is_leaf[old])
            ways = start + np.arange(len(old))
            ways[inner] = start + len(old) + 2 * np.arange(len(inner))
            low.append(ways)
            start += len(old)
            old, trees = self.children[old[inner]].reshape(-1), np.repeat(trees[inner], 2)
            levels.append(old)
            depths[trees] = len(low)
            if len(levels) > limit or start > _MOST_COPIES * limit:
                raise ValueError
        nodes = np.concatenate(levels)
        return Ordered(nodes, np.concatenate([*low, old]), is_leaf[nodes], depths)


@dataclass(frozen=True)
class Ordered:
    """Nodes level by level, first all roots, with the two children of a node side by side."""

    nodes: Array
    """By their rows in the tables of the forest."""
    low: Array
    """Where a node goes on if its comparison doesn't hold; if it does, at the next row."""
    is_leaf: Array
    """A leaf goes on at itself, as its comparison never holds."""
    depths: Array
    """How many levels each tree has below its root."""

    def ways(self, forest: Forest) -> Array:
        """Features and `low`; what is no number counts for negative features."""
        features = forest.features[self.nodes]
        counts = forest.missing[self.nodes] & ~self.is_leaf
        return np.stack([np.where(counts, ~features, features), self.low], axis=1).astype(np.int32)

    def numbers(self, forest: Forest) -> Array:
        """What nodes compare with: no number for leaves."""
        return np.where(self.is_leaf, np.nan, forest.numbers[self.nodes])


def _leaves(c: Node, forest: Forest, ordered: Ordered) -> Value:
    """[N, features] to [N, trees]: the leaf that each tree comes to."""
    x = c.value(0)
    if x.type.rank == 1:
        x = c.reshape(x, (1, *x.type.shape))
    if not x.type.dtype.is_float:
        x = c.cast(x, DType.F32)
    if forest.features.max(initial=0) >= x.type.shape[-1] or forest.features.min(initial=0) < 0:
        c.unsupported(f"its trees compare features that {x.type} doesn't have")
    tables = c.made(ordered.ways(forest)), c.made(ordered.numbers(forest).astype(x.type.dtype.numpy))
    deepest_first = np.argsort(-ordered.depths, kind="stable").astype(np.int32)
    at, ended = c.made(deepest_first[None]), list[Value]()
    for level in range(ordered.depths.max(initial=0)):
        going, (batch, count) = int((ordered.depths > level).sum()), at.type.shape
        if going <= _SHRINK * count:
            ended.insert(0, c.emit("slice", at, begin=(0, going), size=(batch, count - going)))
            at = c.emit("slice", at, begin=(0, 0), size=(batch, going))
        at = c.emit("next_nodes", x, at, *tables, comparison=forest.comparison)
    whole = [c.broadcast(part, (x.type.shape[0], part.type.shape[1])) for part in (at, *ended)]
    return c.emit("concat", *whole, axis=1) if ended else whole[0]


def _total(c: Node, forest: Forest, aggregate: str) -> Value:
    """[N, features] to [N, targets]: what all trees say together."""
    if aggregate in ("MIN", "MAX") and forest.scores.shape[1] > 1:
        c.unsupported(f"the {aggregate} of several targets is not supported")
    forest = forest.comparing_equal()
    try:
        ordered = forest.ordered()
    except ValueError:
        c.unsupported("its trees have cycles, or share most of their nodes")
    dtype = c.type(0).dtype if c.type(0).dtype is DType.F64 else DType.F32
    scores = c.made(forest.scores[ordered.nodes].astype(dtype.numpy))
    operator = {"MIN": "reduce_min", "MAX": "reduce_max"}.get(aggregate, "reduce_sum")
    total = c.emit(operator, c.emit("gather", scores, _leaves(c, forest, ordered)), axes=(1,))
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
