"""Random ensembles of decision trees as ONNX files, against ONNX Runtime.

    python benchmarks/onnx_random_trees.py [--count 1000] [--seed 0] [--compiled]

Trees have up to five levels, a single leaf among them; features and thresholds are few numbers, so that they often are
equal, with zeros of both signs, infinities and NaN among them. Each model has a seed of its own, so that one can be
repeated: --seed S --count 1. What ONNX Runtime refuses is counted by reason, and so is what netc refuses. Exit code 1
if a model gives other numbers.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import helper, numpy_helper
from onnx_judge import count_wrong, wanted_of

from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.frontend.onnx import graph_of
from netc.pipeline import compile_graph

Array = np.ndarray[Any, Any]
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
TRANSFORMS = ("NONE", "NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
VALUES = (-2.0, -1.0, -0.5, -0.0, 0.0, 0.1, 0.5, 1.0, 2.5)
RARE = (float("inf"), float("-inf"), 3e38, 16777217.0)


@dataclass
class Trees:
    """Nodes one by one: tree, number, feature, threshold, mode, children, whether NaN counts; and the leaves."""

    rng: random.Random
    features: int
    mode: str
    nodes: list[list[Any]] = field(default_factory=list[list[Any]])
    leaves: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def grow(self, tree: int, depth: int) -> int:
        """A subtree, its root's number."""
        number = len([n for n in self.nodes if n[0] == tree])
        row = [tree, number, 0, 0.0, "LEAF", 0, 0, 0]
        self.nodes.append(row)
        if depth == 0 or self.rng.random() < 0.15:
            self.leaves.append((tree, number))
            return number
        threshold = self.rng.choice(RARE if self.rng.random() < 0.05 else VALUES)
        mode = self.mode if self.mode != "MIXED" else self.rng.choice(MODES)
        low, high = self.grow(tree, depth - 1), self.grow(tree, depth - 1)
        low, high = (low, high) if self.rng.random() < 0.5 else (high, low)
        row[2:] = [self.rng.randrange(self.features), threshold, mode, low, high, self.rng.randint(0, 1)]
        return number


def drawn(seed: int) -> tuple[Any, Array, int]:
    """A model, its input and how many outputs it has."""
    rng = random.Random(seed)
    mode = rng.choice([*MODES, "BRANCH_LEQ", "BRANCH_LEQ", "BRANCH_LT"] + ["MIXED"] * (rng.random() < 0.2))
    features = rng.choice([1, 2, 5, 9])
    trees = Trees(rng, features, mode)
    ids = rng.sample(range(30), rng.choice([1, 1, 2, 3, 7, 20]))
    for tree in ids:
        trees.grow(tree, rng.choice([0, 1, 1, 2, 3, 5]))
    dtype = rng.choice([np.float32, np.float32, np.float32, np.float64, np.int64, np.int32])
    x = np.array(rng.choices(VALUES, k=(n := rng.choice([1, 2, 7, 40])) * features)).reshape(n, features)
    if np.issubdtype(dtype, np.floating):
        for _ in range(rng.choice([0, 0, 3, 8])):
            x[rng.randrange(n), rng.randrange(features)] = rng.choice([float("nan"), float("nan"), *RARE])
        x[rng.randrange(n)] += rng.choice([0, 1e-9])
    x = (x * (1 if np.issubdtype(dtype, np.floating) else 2)).astype(dtype)
    kind = rng.choice([regressor, regressor, classifier, ensemble])
    name, given, version, outputs = kind(trees, rng, dtype)
    # ONNX Runtime takes 1 and 2 of TreeEnsemble for each other.
    given["post_transform"] = rng.choice(TRANSFORMS) if name != "TreeEnsemble" else rng.choice([0, 0, 0, 3, 4])
    node = helper.make_node(name, ["x"], [f"y{i}" for i in range(outputs)], domain="ai.onnx.ml", **given)
    info = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), x.shape)
    kinds = [7, 1] if outputs == 2 else [11 if name == "TreeEnsemble" and dtype == np.float64 else 1]
    results = [helper.make_tensor_value_info(f"y{i}", kind, None) for i, kind in enumerate(kinds)]
    graph = helper.make_graph([node], "random", [info], results)
    sets = [helper.make_opsetid("", 19), helper.make_opsetid("ai.onnx.ml", version)]
    return helper.make_model(graph, opset_imports=sets, ir_version=9), x, outputs


def _nodes(trees: Trees, rng: random.Random, dtype: Any, version: int) -> dict[str, Any]:
    """What the older operators say of nodes, with thresholds as floats or as a tensor of doubles."""
    columns = [*zip(*trees.nodes, strict=True)]
    words = ("treeids", "nodeids", "featureids", "values", "modes", "falsenodeids", "truenodeids")
    given: dict[str, Any] = {f"nodes_{w}": [*columns[i]] for i, w in enumerate(words)}
    if rng.random() < 0.6:
        given["nodes_missing_value_tracks_true"] = [*columns[7]]
    if dtype == np.float64 and version >= 3:
        given["nodes_values_as_tensor"] = _tensor(given.pop("nodes_values"), np.float64)
    return given


def _tensor(values: Any, dtype: Any) -> Any:
    return numpy_helper.from_array(np.array(values, dtype), "")


def _weight(rng: random.Random, kind: str) -> float:
    shares = [0.0, 0.1, 0.25, 0.5, 0.9, 1.0]
    return rng.choice(shares if kind == "shares" else [0.0, -0.0, 1.0, -1.5, 0.3, 100.0, *shares])


def _weights(
    trees: Trees, rng: random.Random, dtype: Any, version: int, prefix: str, targets: list[int]
) -> dict[str, Any]:
    """What leaves add to targets: all to each, or some to several and some to none.

    ONNX Runtime leaves targets to which no leaf adds anything out of all that follows.
    """
    kind, pairs, are_whole = rng.choice(["shares", "any"]), list[tuple[int, int, int, float]](), rng.random() < 0.6
    for tree, number in trees.leaves:
        chosen = rng.choice([1, 1, 1, len(targets)]) if rng.random() > 0.05 else 0
        chosen = len(targets) if are_whole or prefix == "class" else chosen
        pairs += [(tree, number, t, _weight(rng, kind)) for t in rng.sample(targets, min(chosen, len(targets)))]
    pairs = pairs or [(*trees.leaves[0], targets[0], 1.0)]
    columns = [*zip(*pairs, strict=True)]
    given: dict[str, Any] = {f"{prefix}_{w}": [*columns[i]] for i, w in enumerate(("treeids", "nodeids", "ids"))}
    if dtype == np.float64 and version >= 3:
        return given | {f"{prefix}_weights_as_tensor": _tensor(columns[3], np.float64)}
    return given | {f"{prefix}_weights": [*columns[3]]}


def _base(rng: random.Random, count: int, dtype: Any, version: int) -> dict[str, Any]:
    values = [rng.choice([0.5, -0.25, 0.0]) for _ in range(count)]
    if rng.random() < 0.6:
        return {}
    if dtype == np.float64 and version >= 3:
        return {"base_values_as_tensor": _tensor(values, np.float64)}
    return {"base_values": values}


def regressor(trees: Trees, rng: random.Random, dtype: Any) -> tuple[str, dict[str, Any], int, int]:
    """TreeEnsembleRegressor."""
    targets, version = rng.choice([1, 1, 2, 3]), rng.choice([1, 3])
    given = _nodes(trees, rng, dtype, version) | _weights(trees, rng, dtype, version, "target", [*range(targets)])
    given |= {"n_targets": targets, "aggregate_function": rng.choice(["SUM", "SUM", "AVERAGE", "MIN", "MAX"])}
    if len(given["target_ids"]) == targets * len(trees.leaves):
        given |= _base(rng, targets, dtype, version)
    return "TreeEnsembleRegressor", given, version, 1


def classifier(trees: Trees, rng: random.Random, dtype: Any) -> tuple[str, dict[str, Any], int, int]:
    """TreeEnsembleClassifier."""
    labels = rng.choice([[0, 1], [0, 1], [-3, 7], [0, 1, 2], [5, 2, 9, 1], [4]])
    used = rng.choice([[0], [0], [1], [0, 1]]) if len(labels) == 2 else [*range(len(labels))]
    version = rng.choice([1, 3])
    given = _nodes(trees, rng, dtype, version) | _weights(trees, rng, dtype, version, "class", used)
    base = _base(rng, rng.choice([len(labels), len(used)]), dtype, version)
    return "TreeEnsembleClassifier", given | {"classlabels_int64s": labels} | base, version, 2


def ensemble(trees: Trees, rng: random.Random, dtype: Any) -> tuple[str, dict[str, Any], int, int]:
    """TreeEnsemble of operator set 5, whose roots are inner nodes; that of a leaf alone has two equal ways."""
    dtype = np.float64 if dtype == np.float64 else np.float32
    inner = [n for n in trees.nodes if n[4] != "LEAF"]
    inner = inner or [[trees.leaves[0][0], -1, 0, 0.5, "BRANCH_LEQ", *[trees.leaves[0][1]] * 2, 0]]
    places = {(n[0], n[1]): i for i, n in enumerate(inner)}
    leaves = {pair: i for i, pair in enumerate(trees.leaves)}
    targets = rng.choice([1, 1, 2, 3])
    given: dict[str, Any] = {"nodes_featureids": [n[2] for n in inner], "n_targets": targets}
    given["nodes_splits"] = _tensor([n[3] for n in inner], dtype)
    given["nodes_modes"] = _tensor([MODES.index(n[4]) for n in inner], np.uint8)
    for word, k in (("false", 5), ("true", 6)):
        ways = [(n[0], n[k]) for n in inner]
        given[f"nodes_{word}nodeids"] = [leaves.get(w, places.get(w, 0)) for w in ways]
        given[f"nodes_{word}leafs"] = [int(w in leaves) for w in ways]
    if rng.random() < 0.6:
        given["nodes_missing_value_tracks_true"] = [n[7] for n in inner]
    firsts = {n[0]: i for i, n in reversed([*enumerate(inner)])}
    given["tree_roots"] = [*firsts.values()]
    given["leaf_targetids"] = [rng.randrange(targets) for _ in leaves]
    given["leaf_weights"] = _tensor([_weight(rng, "any") for _ in leaves], dtype)
    return "TreeEnsemble", given | {"aggregate_function": rng.choice([1, 1, 0, 2, 3])}, 5, 1


# ---- comparison ------------------------------------------------------------------------------------------------------


def near(found: Any, wanted: Array) -> bool:
    """Whether a result is ONNX Runtime's."""
    found = np.asarray(found)
    if wanted.dtype.kind != "f":
        return bool(np.array_equal(found, wanted))
    same = found.shape == wanted.shape and found.dtype == wanted.dtype
    return same and bool(np.allclose(found, wanted, 1e-5, 1e-5, equal_nan=True))


def problems(seed: int, counts: Counter[str], *, compiled: bool) -> list[str]:
    """What is wrong with one model."""
    made, x, outputs = drawn(seed)
    node = made.graph.node[0]
    wanted = wanted_of(made, [x])
    if isinstance(wanted, str):
        counts["ONNX Runtime: " + re.sub(r"\d+", "#", wanted)[:120]] += 1
        return []
    try:
        graph = graph_of(made, "random")
        found: dict[str, Any] = {"meaning": evaluate(graph, [x])}
        if compiled:
            with compile_graph(graph, threads=1) as program:
                found["program"] = program(x) if outputs > 1 else [program(x)]
    except NetcError as error:
        counts["refused: " + re.sub(r"\d+", "#", error.diagnostics[0].message)[:140]] += 1
        return []
    counts[node.op_type] += 1
    return [
        f"{what}, output {i}, {x.dtype}{x.shape}: {np.asarray(a).reshape(-1)[:8]}, not {b.reshape(-1)[:8]}"
        for what, results in found.items()
        for i, (a, b) in enumerate(zip(results, wanted, strict=True))
        if not near(a, b)
    ]


def main() -> int:
    """Draw and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compiled", action="store_true")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.count)
    return count_wrong(seeds, lambda seed, counts: problems(seed, counts, compiled=options.compiled))


if __name__ == "__main__":
    sys.exit(main())
