"""Linear models, preparation of features and trees, of the domain ai.onnx.ml, against ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Array
from netc.frontend.onnx.reader import graph_of

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
helper, TensorProto = onnx.helper, onnx.TensorProto

X = np.random.default_rng(0).normal(size=(7, 6)).astype(np.float32)
X[3, 2] = np.nan


def model_of(operator: str, x: Array, outputs: Sequence[int], attributes: dict[str, Any], version: int = 1) -> Any:
    names = [f"y{i}" for i in range(len(outputs))]
    node = helper.make_node(operator, ["x"], names, domain="ai.onnx.ml", **attributes)
    inputs = [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)]
    infos = [helper.make_tensor_value_info(n, code, None) for n, code in zip(names, outputs, strict=True)]
    opsets = [helper.make_opsetid("ai.onnx.ml", version), helper.make_opsetid("", 15)]
    return helper.make_model(helper.make_graph([node], "g", inputs, infos), opset_imports=opsets, ir_version=8)


def both(model: Any, x: Array) -> tuple[list[Array], list[Array]]:
    """What ONNX Runtime and a compiled program make of x."""
    wanted = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})
    got = netc.compile(graph_of(model, "m"), threads=1)(x)
    return wanted, list(got) if isinstance(got, tuple) else [got]


def check(model: Any, x: Array) -> None:
    wanted, got = both(model, x)
    assert len(wanted) == len(got)
    for a, b in zip(wanted, got, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


F, I64 = TensorProto.FLOAT, TensorProto.INT64
WEIGHTS = [float(w) for w in np.random.default_rng(1).normal(size=18)]


@pytest.mark.parametrize(
    ("operator", "outputs", "attributes"),
    [
        ("Scaler", [F], {"offset": WEIGHTS[:6], "scale": WEIGHTS[6:12]}),
        ("Scaler", [F], {"offset": [0.5], "scale": [2.0]}),
        ("Normalizer", [F], {"norm": "MAX"}),
        ("Normalizer", [F], {"norm": "L1"}),
        ("Normalizer", [F], {"norm": "L2"}),
        ("Imputer", [F], {"imputed_value_floats": WEIGHTS[:6], "replaced_value_float": float("nan")}),
        ("FeatureVectorizer", [F], {"inputdimensions": [6]}),
        ("LinearRegressor", [F], {"coefficients": WEIGHTS, "intercepts": [0.1, 0.2, 0.3], "targets": 3}),
        ("LinearRegressor", [F], {"coefficients": WEIGHTS[:6]}),
        *(
            (
                "LinearClassifier",
                [I64, F],
                {
                    "coefficients": WEIGHTS[: 6 * classes],
                    "intercepts": WEIGHTS[:classes],
                    "classlabels_ints": [4, 7, 9][:classes],
                    "post_transform": word,
                },
            )
            for classes in (2, 3)
            for word in ("NONE", "SOFTMAX", "LOGISTIC")
        ),
    ],
)
def test_features_and_linear_models(operator: str, outputs: list[int], attributes: dict[str, Any]) -> None:
    x = X if operator == "Imputer" else np.nan_to_num(X)
    check(model_of(operator, x, outputs, attributes), x)


def test_categories() -> None:
    x = np.array([[1, 9], [3, 4]], np.int64)
    check(model_of("OneHotEncoder", x, [F], {"cats_int64s": [1, 3, 9]}), x)


def test_a_row_of_zeros_stays() -> None:
    x = np.zeros((2, 3), np.float32)
    for norm in ("MAX", "L1", "L2"):
        check(model_of("Normalizer", x, [F], {"norm": norm}), x)


def test_maps_are_given_as_rows() -> None:
    x = np.random.default_rng(2).uniform(size=(3, 2)).astype(np.float32)
    model = model_of("ZipMap", x, [F], {"classlabels_int64s": [4, 7]})
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.CopyFrom(
        helper.make_sequence_type_proto(helper.make_map_type_proto(I64, helper.make_tensor_type_proto(F, None)))
    )
    wanted, got = both(model, x)
    np.testing.assert_array_equal([list(row.values()) for row in wanted[0]], got[0])


# ---- trees ----------------------------------------------------------------------------------------------------------


def forest(
    mode: str, classes: Sequence[int], prefix: str, positive: bool = False, levels: Sequence[int] = (4,) * 5
) -> dict[str, Any]:
    """Trees with so many levels at most; each leaf has a score for each of some classes."""
    draw = np.random.default_rng(5)
    columns = ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids")
    found: dict[str, list[Any]] = {f"nodes_{c}": [] for c in (*columns, "missing_value_tracks_true")}
    scores: dict[str, list[Any]] = {f"{prefix}_{c}": [] for c in ("treeids", "nodeids", "ids", "weights")}

    def grow(tree: int, level: int, free: list[int]) -> int:
        number = free.pop(0)
        is_leaf = level == levels[tree] or (level > 0 and draw.random() < 0.3)
        for name, value in (("treeids", tree), ("nodeids", number), ("modes", "LEAF" if is_leaf else mode)):
            found[f"nodes_{name}"].append(value)
        found["nodes_featureids"].append(int(draw.integers(6)))
        found["nodes_values"].append(float(draw.normal()))
        found["nodes_missing_value_tracks_true"].append(int(draw.integers(2)))
        for name in ("truenodeids", "falsenodeids"):
            found[f"nodes_{name}"].append(0)
        place = len(found["nodes_treeids"]) - 1
        if not is_leaf:
            found["nodes_truenodeids"][place] = grow(tree, level + 1, free)
            found["nodes_falsenodeids"][place] = grow(tree, level + 1, free)
        for class_ in classes if is_leaf else ():
            weight = float(draw.normal())
            row = (tree, number, class_, abs(weight) / 5 if positive else weight)
            for name, value in zip(("treeids", "nodeids", "ids", "weights"), row, strict=True):
                scores[f"{prefix}_{name}"].append(value)
        return number

    for tree in range(len(levels)):
        grow(tree, 0, list(range(2 << levels[tree])))
    return {**found, **scores}


@pytest.mark.parametrize("mode", ["LEQ", "LT", "GTE", "GT", "EQ", "NEQ"])
@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
def test_regressions(mode: str, aggregate: str) -> None:
    trees = forest(f"BRANCH_{mode}", [0], "target")
    attributes = {**trees, "n_targets": 1, "aggregate_function": aggregate, "base_values": [0.25]}
    check(model_of("TreeEnsembleRegressor", X, [F], attributes), X)


@pytest.mark.parametrize("mode", ["LEQ", "NEQ"])
def test_trees_of_different_depths(mode: str) -> None:
    """Those that have ended are left behind; leaves of the same depth, and a tree that is a leaf."""
    trees = forest(f"BRANCH_{mode}", [0], "target", levels=(3, 9, 0, 1, 5, 9, 2, 0, 7))
    check(model_of("TreeEnsembleRegressor", X, [F], {**trees, "n_targets": 1}), X)
    graph = graph_of(model_of("TreeEnsembleRegressor", X, [F], {**trees, "n_targets": 1}), "m")
    assert {"slice", "concat", "next_nodes"} <= {op.name for op in graph.operations}


@pytest.mark.parametrize("word", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_several_targets(word: str) -> None:
    trees = forest("BRANCH_LEQ", [0, 1, 2], "target")
    check(model_of("TreeEnsembleRegressor", X, [F], {**trees, "n_targets": 3, "post_transform": word}), X)


@pytest.mark.parametrize("base", [[], [0.25, 0.1, -0.3]])
@pytest.mark.parametrize("word", ["NONE", "SOFTMAX", "LOGISTIC"])
def test_classes(word: str, base: list[float]) -> None:
    attributes = {**forest("BRANCH_LEQ", [0, 1, 2], "class"), "classlabels_int64s": [4, 7, 9], "post_transform": word}
    check(model_of("TreeEnsembleClassifier", X, [I64, F], {**attributes, **({"base_values": base} if base else {})}), X)


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("word", ["NONE", "LOGISTIC"])
@pytest.mark.parametrize("base", [[], [0.25]])
def test_two_classes(word: str, positive: bool, base: list[float]) -> None:
    trees = forest("BRANCH_LT", [0], "class", positive)
    attributes = {**trees, "classlabels_int64s": [4, 7], "post_transform": word}
    check(model_of("TreeEnsembleClassifier", X, [I64, F], {**attributes, **({"base_values": base} if base else {})}), X)


def small_tree(x: Array, features: Sequence[int] = (0, 1), trues: Sequence[int] = (1, 0)) -> Any:
    """Two nodes and three leaves, as TreeEnsemble has them."""

    def tensor(name: str, numbers: Any, dtype: Any) -> Any:
        return onnx.numpy_helper.from_array(np.array(numbers, dtype), name)

    attributes = {
        "tree_roots": [0],
        "n_targets": 2,
        "nodes_featureids": list(features),
        "nodes_splits": tensor("s", [0.1, -0.2], x.dtype),
        "nodes_modes": tensor("m", [0, 0], np.uint8),
        "nodes_truenodeids": list(trues),
        "nodes_trueleafs": [0, 1],
        "nodes_falsenodeids": [1, 2],
        "nodes_falseleafs": [1, 1],
        "leaf_targetids": [0, 1, 0],
        "leaf_weights": tensor("w", [1.5, 2.5, -3.5], x.dtype),
    }
    return model_of("TreeEnsemble", x, [helper.np_dtype_to_tensor_dtype(x.dtype)], attributes, 5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_leaves_that_are_numbered_apart(dtype: Any) -> None:
    x = X.astype(dtype)
    check(small_tree(x), x)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trues": (0, 0)}, "have cycles"),
        ({"trues": (9, 0)}, "goes on at one that isn't there"),
        ({"features": (0, 6)}, "compare features that"),
    ],
)
def test_broken_trees(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(NetcError, match=message):
        graph_of(small_tree(X, **changes), "m")


@pytest.mark.parametrize(
    ("operator", "attributes", "message"),
    [
        ("TreeEnsembleClassifier", {"classlabels_strings": ["a", "b"]}, "labels of text"),
        ("TreeEnsembleClassifier", {"classlabels_int64s": [0, 1], "post_transform": "SOFTMAX"}, "don't agree"),
        ("TreeEnsembleClassifier", {"classlabels_int64s": [0, 1], "post_transform": "PROBIT"}, "can't be"),
    ],
)
def test_what_is_refused(operator: str, attributes: dict[str, Any], message: str) -> None:
    with pytest.raises(NetcError, match=message):
        graph_of(model_of(operator, X, [I64, F], {**forest("BRANCH_LEQ", [0], "class"), **attributes}), "m")


def test_mixed_comparisons_are_refused() -> None:
    trees = forest("BRANCH_LEQ", [0], "target")
    trees["nodes_modes"][0] = "BRANCH_GT"
    with pytest.raises(NetcError, match="nodes with the modes"):
        graph_of(model_of("TreeEnsembleRegressor", X, [F], {**trees, "n_targets": 1}), "m")


def test_the_interpreter_agrees() -> None:
    model = model_of("TreeEnsembleRegressor", X, [F], {**forest("BRANCH_LEQ", [0], "target"), "n_targets": 1})
    np.testing.assert_allclose(evaluate(graph_of(model, "m"), [X])[0], both(model, X)[0][0], rtol=1e-6)
