"""Operators of ONNX that no random model has: control flow, functions, sequences, types."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

from netc.compiler.graph.interpreter import evaluate  # noqa: E402
from netc.frontend.onnx import graph_of  # noqa: E402

from .agreement import agrees, problems  # noqa: E402
from .small_models import model  # noqa: E402


def test_softmax_before_and_since_operator_set_13() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    for opset in (11, 13):
        graph = agrees(model([node], {"x": x.shape}, ["y"], opset=opset), x)
        assert [op.name for op in graph.operations].count("reshape") == (2 if opset < 13 else 0)


@pytest.mark.parametrize("kind", ["f4", "f8", "f2", "i8", "i4", "i2", "i1", "u1", "?"])
@pytest.mark.parametrize("raw", [True, False])
def test_element_types(kind: str, raw: bool) -> None:
    values = np.array([[0, 1, 100], [1, 0, 3]]).astype(kind)
    made = model([helper.make_node("Identity", ["w"], ["y"])], {}, ["y"], {"w": values})
    if not raw:
        code = helper.np_dtype_to_tensor_dtype(values.dtype)
        made.graph.initializer[0].CopyFrom(helper.make_tensor("w", code, values.shape, values.reshape(-1).tolist()))
    (found,) = evaluate(graph_of(made, "small"))
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype


def test_if_loop_and_scan() -> None:
    def graph(name: str, nodes: list[Any], inputs: list[str], outputs: list[str]) -> Any:
        kinds = {"i": TensorProto.INT64, "go": TensorProto.BOOL, "goes": TensorProto.BOOL}
        infos = [
            [
                helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), () if n in kinds else (2, 2))
                for n in names
            ]
            for names in (inputs, outputs)
        ]
        return helper.make_graph(nodes, name, *infos)

    more = graph("more", [helper.make_node("Add", ["x", "x"], ["a"])], [], ["a"])
    less = graph("less", [helper.make_node("Sub", ["x", "x"], ["b"])], [], ["b"])
    turn = [helper.make_node("Mul", ["s", "d"], ["s1"]), helper.make_node("Identity", ["s1"], ["each"])]
    turn.append(helper.make_node("Identity", ["go"], ["goes"]))
    body = graph("body", turn, ["i", "go", "s"], ["goes", "s1", "each"])
    step = [helper.make_node("Add", ["t", "e"], ["t1"]), helper.make_node("Identity", ["t1"], ["out"])]
    scan = graph("scan", step, ["t", "e"], ["t1", "out"])
    nodes = [
        helper.make_node("If", ["yes"], ["d"], then_branch=more, else_branch=less),
        helper.make_node("Loop", ["three", "", "x"], ["last", "all"], body=body),
        helper.make_node("Scan", ["x", "all"], ["total", "sums"], body=scan, num_scan_inputs=1),
    ]
    weights = {"yes": np.array(True), "three": np.int64(3)}
    x = np.random.default_rng(0).standard_normal((2, 2)).astype(np.float32)
    agrees(model(nodes, {"x": (2, 2)}, ["last", "all", "total", "sums"], weights), x)


@pytest.mark.parametrize("opset", [12, 13, 14, 18, 20, 22])
def test_functions_that_onnx_wrote_in_operators_of_an_older_set(opset: int) -> None:
    x, classes = np.random.default_rng(1).standard_normal((3, 5)).astype(np.float32), np.array([4, 0, 1])
    nodes = [
        helper.make_node("SoftmaxCrossEntropyLoss", ["x", "classes"], ["y"], reduction="none", ignore_index=0),
        helper.make_node("NegativeLogLikelihoodLoss", ["x", "classes"], ["z"], reduction="none"),
        helper.make_node("MeanVarianceNormalization", ["x"], ["n"], axes=[0]),
    ]
    made = model(nodes, {"x": x.shape}, ["y", "z", "n"], {"classes": classes}, opset=opset)
    y, z, n = evaluate(graph_of(made, "small"), [x])
    logarithms = x - np.log(np.exp(x).sum(1, keepdims=True))
    np.testing.assert_allclose(y, -logarithms[[0, 1, 2], classes] * (classes != 0), 1e-5, 1e-6)
    np.testing.assert_array_equal(z, -x[[0, 1, 2], classes])
    np.testing.assert_allclose(n, (x - x.mean(0)) / x.std(0), 1e-4, 1e-5)


def test_functions_of_the_file_and_of_onnx() -> None:
    own = helper.make_function(
        "own",
        "Twice",
        ["a"],
        ["b"],
        [
            helper.make_node("Constant", [], ["f"]),
            helper.make_node("Mul", ["a", "f"], ["b"]),
        ],
        [helper.make_opsetid("", 20)],
        ["factor"],
    )
    own.node[0].attribute.add(name="value_float", ref_attr_name="factor", type=onnx.AttributeProto.FLOAT)
    nodes = [
        helper.make_node("Twice", ["x"], ["y"], domain="own", factor=2.5),
        helper.make_node("HannWindow", ["size"], ["window"], periodic=0),
    ]
    weights = {"size": np.array(5)}
    made = model(nodes, {"x": (2, 2)}, ["y", "window"], weights, functions=[own], domains={"own": 1})
    agrees(made, np.ones((2, 2), np.float32))


def sequences(nodes: list[Any], kinds: dict[str, Any], outputs: list[str]) -> Any:
    """A model whose inputs have types of their own."""
    made = model(nodes, {}, outputs)
    made.graph.input.extend(helper.make_value_info(name, kind) for name, kind in kinds.items())
    return made


def test_sequences_and_optional_tensors_are_given_with_the_file() -> None:
    floats = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("OptionalHasElement", ["maybe"], ["has"]),
        helper.make_node("SequenceAt", ["parts", "second"], ["one"]),
        helper.make_node("Identity", ["parts"], ["all"]),
    ]
    kinds = {"parts": helper.make_sequence_type_proto(floats), "maybe": helper.make_optional_type_proto(floats)}
    made = sequences(nodes, kinds, ["has", "one", "all"])
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1), "second"))
    text = problems(made)
    assert "input `parts` is no tensor, but a sequence, which must be known" in text
    assert "--set 'parts=[...]'" in text
    graph = graph_of(made, "parts", settings={"parts": [[1.0, 2.0], [3.0]], "maybe": None})
    assert graph.attributes["signature"]["outputs"] == ("has", "one", "all.0", "all.1")
    has, one, *parts = evaluate(graph, [])
    assert not has
    assert [a.tolist() for a in (one, *parts)] == [[3], [1, 2], [3]]
    assert "can't be 'many'" in problems(made, settings={"parts": [[1.0]], "maybe": "many"})
    assert "takes a list of tensors" in problems(made, settings={"parts": 3, "maybe": None})


@pytest.mark.parametrize("groups", [1, 2])
def test_deformable_convolution(groups: int) -> None:
    rng = np.random.default_rng(groups)
    shapes = {"x": (1, 4, 5, 3), "w": (4, 4 // groups, 3, 2), "o": (1, 24, 2, 4), "b": (4,), "m": (1, 12, 2, 4)}
    given = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    rules = {"strides": [2, 1], "dilations": [1, 2], "pads": [1, 1, 0, 2], "group": groups, "offset_group": 2}
    made = model([helper.make_node("DeformConv", ["x", "w", "o", "b", "m"], ["y"], **rules)], shapes, ["y"], opset=22)
    (wanted,) = ReferenceEvaluator(made).run(None, given)
    (found,) = evaluate(graph_of(made, "deformable"), list(given.values()))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert "don't fit" in problems(
        model([helper.make_node("DeformConv", ["x", "w", "o"], ["y"])], shapes, ["y"], opset=22)
    )


@pytest.mark.parametrize("name", ["AveragePool", "LpPool", "MaxPool"])
@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER"])
def test_pooling_with_steps_over_its_windows(name: str, mode: str) -> None:
    def pooled(stride: int) -> Any:
        rules = {"kernel_shape": [1], "strides": [stride], "auto_pad": mode}
        return model([helper.make_node(name, ["x"], ["y"], **rules)], {"x": (1, 1, 6)}, ["y"], opset=22)

    x = np.arange(6, dtype=np.float32).reshape(1, 1, 6)
    assert evaluate(graph_of(pooled(2), "pooled"), [x])[0].tolist() == [[[0, 2, 4]]]
    text = problems(pooled(3))
    assert f"`auto_pad` {mode} would have to take 2 places away" in text
    assert "state the padding as `pads`" in text


@pytest.mark.parametrize("kind", ["u1", "i2", "i4", "i8"])
@pytest.mark.parametrize(("limit", "bias"), [(2.0, 3.0), (1.5, 0.25), (0.5, -1.75), (0.0, 0.0)])
def test_shrink_of_integers_keeps_all_digits(kind: str, limit: float, bias: float) -> None:
    """The sums are those of whole numbers and fractions, cut like those of ONNX's reference."""
    ends = np.iinfo(kind)
    numbers = [ends.max - 4, ends.min + 4, 2**24 + 1, -(2**24) - 1, 2**53 + 1, *range(-5, 6)]
    x = np.array([n for n in numbers if ends.min + 4 <= n <= ends.max - 4], kind)
    node = helper.make_node("Shrink", ["x"], ["y"], lambd=limit, bias=bias)
    kinds = {"x": helper.np_dtype_to_tensor_dtype(x.dtype)}
    (found,) = evaluate(graph_of(model([node], {"x": x.shape}, ["y"], opset=9, kinds=kinds), "small"), [x])

    def moved(n: int) -> int:
        return math.trunc(Fraction(n) + Fraction(bias) * ((n < -limit) - (n > limit))) if abs(n) > limit else 0

    np.testing.assert_array_equal(found, np.array([moved(int(n)) for n in x], object).astype(kind))


@pytest.mark.parametrize(("kind", "exponents"), [("i4", "i4"), ("i4", "i8"), ("i8", "i4"), ("i8", "i8")])
def test_powers_of_integers_are_exact(kind: str, exponents: str) -> None:
    x = np.array([3, -3, 2**53 + 1 if kind == "i8" else 2**15 + 1, 0, 1, -1, 2, 7], kind)
    y = np.array([39 if kind == "i8" else 19, 3, 1, 0, 5, -3, 30, 11], exponents)
    kinds = {"x": helper.np_dtype_to_tensor_dtype(x.dtype), "y": helper.np_dtype_to_tensor_dtype(y.dtype)}
    node = helper.make_node("Pow", ["x", "y"], ["z"])
    (found,) = evaluate(graph_of(model([node], {"x": x.shape, "y": y.shape}, ["z"], kinds=kinds), "small"), [x, y])
    np.testing.assert_array_equal(found, [int(a) ** int(b) for a, b in zip(x, y, strict=True)])
    assert found.dtype == x.dtype
