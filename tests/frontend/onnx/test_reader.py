"""ONNX files: what is read, what is refused and how that is said."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

import netc  # noqa: E402
from netc.cli import main  # noqa: E402
from netc.compiler.errors import NetcError, Note  # noqa: E402
from netc.compiler.graph import verify  # noqa: E402
from netc.compiler.graph.interpreter import evaluate  # noqa: E402
from netc.frontend.onnx import graph_of  # noqa: E402
from netc.frontend.onnx.reader import UnknownInputsError  # noqa: E402

from .small_models import classifier, model  # noqa: E402

X = np.random.default_rng(1).standard_normal((2, 3, 8, 8)).astype(np.float32)


def agrees(made: Any, *inputs: np.ndarray[Any, Any], **settings: Any) -> netc.Graph:
    """The graph of a model, which gives what ONNX Runtime gives."""
    graph = graph_of(made, "small", **settings)
    verify(graph)
    names = [info.name for info in made.graph.input]
    made.ir_version = 10
    session = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, dict(zip(names, inputs, strict=True)))
    for result, expected in zip(evaluate(graph, list(inputs)), wanted, strict=True):
        assert result.dtype == expected.dtype
        np.testing.assert_allclose(result, expected, 1e-4, 1e-5)
    return graph


def problems(made: Any, **settings: Any) -> str:
    """What is said of a model that is refused."""
    with pytest.raises(NetcError) as raised:
        graph_of(made, "small", **settings)
    return str(raised.value)


# ---- what is read ----------------------------------------------------------------------------------------------------


def test_a_classifier_has_one_transpose_left() -> None:
    graph = agrees(classifier(), X, batch=2)
    assert [op.name for op in graph.operations].count("transpose") == 1  # of the input


def test_a_batch_that_was_assumed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(classifier(), path)
    with pytest.warns(Note, match="the file leaves the batch open: batch = 1"):
        netc.load(path)


def test_outputs_of_another_rank_than_the_file_declares(tmp_path: Path) -> None:
    made = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2, 3]}, ["y"])
    made.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, []))
    onnx.save(made, tmp_path / "small.onnx")
    with pytest.warns(Note, match=r"output `y` is f32\[2,3\], though the file declares 0 dimensions"):
        netc.load(tmp_path / "small.onnx")
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    assert "not of the type that the file declares" in problems(made)


def test_nodes_in_another_order() -> None:
    zero = helper.make_graph(
        [helper.make_node("Identity", ["a"], ["z"])], "then", [], [helper.make_tensor_value_info("z", 1, None)]
    )
    nodes = [
        helper.make_node("If", ["yes"], ["y"], then_branch=zero, else_branch=zero),
        helper.make_node("Relu", ["b"], ["a"]),
        helper.make_node("Neg", ["x"], ["b"]),
    ]
    made = model(nodes, {"x": [2, 3]}, ["y"], {"yes": np.array(True)})
    x = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(evaluate(graph_of(made, "small"), [x])[0], np.maximum(-x, 0))


def test_nodes_that_wait_for_each_other_are_refused() -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Neg", ["a"], ["b"])]
    assert "is used before anything gives it a value" in problems(model(nodes, {"x": [2]}, ["b"]))


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    path.write_bytes(classifier().SerializeToString().replace(b"image", b"im\x80ge"))
    with pytest.raises(NetcError, match="no text in UTF-8"):
        netc.load(path)


def test_a_classifier_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(classifier(), path)
    agrees(classifier(), X, batch=2)
    (meant,) = evaluate(netc.load(path, batch=2), [X])
    np.testing.assert_allclose(netc.compile(path, batch=2, threads=1)(X), meant, 1e-4, 1e-5)
    assert main(["show", str(path)]) == 0
    assert "image: f32[1,3,8,8]" in capsys.readouterr().out
    assert main(["check", str(path)]) == 0
    assert main(["compile", str(path), "--emit", "graph", "--set", "batch=3"]) == 0
    assert "f32[3,3,8,8]" in capsys.readouterr().out


def test_softmax_before_and_since_operator_set_13() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    for opset in (11, 13):
        graph = agrees(model([node], {"x": x.shape}, ["y"], opset=opset), x)
        assert [op.name for op in graph.operations].count("reshape") == (2 if opset < 13 else 0)


def test_shapes_are_computed_at_once() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["first"]),
        helper.make_node("Concat", ["first", "rest"], ["new"], axis=0),
        helper.make_node("Reshape", ["x", "new"], ["y"]),
    ]
    weights = {"zero": np.int64(0), "axes": np.array([0]), "rest": np.array([-1])}
    graph = agrees(model(nodes, {"x": X.shape}, ["y"], weights), X)
    assert [op.name for op in graph.operations] == ["reshape"]


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


# ---- sizes ----------------------------------------------------------------------------------------------------------


def test_parts_of_known_tensors() -> None:
    """A sequence of parts of a weight is read as numbers: none of them is an operation that nobody keeps."""
    nodes = [
        helper.make_node("SplitToSequence", ["w", "sizes"], ["parts"], axis=0),
        helper.make_node("SequenceAt", ["parts", "one"], ["part"]),
        helper.make_node("Add", ["x", "part"], ["y"]),
    ]
    w = np.arange(6, dtype=np.float32).reshape(3, 2)
    known = {"w": w, "sizes": np.array([1, 2]), "one": np.array(1)}
    graph = graph_of(model(nodes, {"x": [2, 2]}, ["y"], known), "small")
    (found,) = evaluate(graph, [np.ones((2, 2), np.float32)])
    np.testing.assert_array_equal(found, w[1:] + 1)


def test_open_sizes_are_bound_by_name() -> None:
    made = model([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", "height", None]}, ["y"])
    text = problems(made)
    assert "sizes of the inputs are open" in text
    assert "--set height=SIZE --set x_2=SIZE" in text
    graph = graph_of(made, "small", batch=4, settings={"height": 5, "x_2": 6})
    assert graph.inputs[0].type.shape == (4, 5, 6)
    assert "there is no open size or input `heigth`" in problems(made, settings={"heigth": 5, "x_2": 6, "height": 1})


def test_sizes_that_differ_in_punctuation_have_names_of_their_own() -> None:
    shape = ["N", "h*2", "h/2", "h_2", "2h"]
    made = model([helper.make_node("Relu", ["x"], ["y"])], {"x": shape, "h.2": ["h/2"]}, ["y"])
    text = problems(made)
    assert "--set h_2=SIZE" in text
    for number, name in ((2, "h*2"), (3, "h/2")):
        assert f"h_2_{number}: dimension {number - 1} of input `x` (`{name}`)" in text
    assert "--set _2h=SIZE" in text
    options = {"h_2": 5, "h_2_2": 6, "h_2_3": 7, "_2h": 8}
    assert [v.type.shape for v in graph_of(made, "small", settings=options).inputs] == [(1, 6, 7, 5, 8), (7,)]
    own = {"h_2": 5, "h*2": 6, "h/2": 7, "2h": 8}
    assert [v.type.shape for v in graph_of(made, "small", settings=own).inputs] == [(1, 6, 7, 5, 8), (7,)]


def test_a_size_and_an_input_of_one_name_are_two_options() -> None:
    made = model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2, "x", None], "x_2": [3]}, ["y"])
    graph = graph_of(made, "small", settings={"x": 4, "x_2": 5})
    assert [v.type.shape for v in graph.inputs] == [(2, 4, 5), (3,)]
    graph = graph_of(made, "small", settings={"x": 4, "x_2": 5, "x_2_2": [1, 2, 3]})
    assert [v.type.shape for v in graph.inputs] == [(2, 4, 5)]


def test_a_fixed_batch_is_said(tmp_path: Path) -> None:
    path = tmp_path / "fixed.onnx"
    onnx.save(model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2, 3]}, ["y"]), path)
    with pytest.raises(NetcError, match="is fixed, it can't be 4"):
        netc.load(path, batch=4)


def test_inputs_that_decide_on_shapes_are_given(tmp_path: Path) -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    made = model([node], {"x": [2, 3], "shape": [1]}, ["y"], kinds={"shape": TensorProto.INT64})
    text = problems(made)
    assert "input 1, `shape`, must be known when the file is read" in text
    assert "give values of the inputs it depends on: `shape`" in text
    graph = graph_of(made, "small", settings={"shape": [6]})
    assert graph.outputs[0].type.shape == (6,)
    onnx.save(made, tmp_path / "small.onnx")
    with pytest.raises(UnknownInputsError) as raised:
        netc.load(tmp_path / "small.onnx")
    assert raised.value.inputs == {"shape"}


def test_the_ratio_of_dropout_need_not_be_known_where_nothing_is_dropped() -> None:
    node = helper.make_node("Dropout", ["x", "ratio"], ["y"])
    graph = graph_of(model([node], {"x": [2, 3], "ratio": []}, ["y"]), "dropout")
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(evaluate(graph, [x, np.float32(0.5)])[0], x)


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_all_problems_at_once() -> None:
    nodes = [
        helper.make_node("Convolve", ["x"], ["a"], "one"),
        helper.make_node("Relu", ["x"], ["b"], "two", slope=1.0),
        helper.make_node("Strange", ["x"], ["c"], "three", domain="com.example"),
        helper.make_node("Relu", ["a"], ["d"], "four"),
        helper.make_node("StringNormalizer", ["a"], ["e"], "five"),
        helper.make_node("MatMul", ["x", "x"], ["f"], "six"),
    ]
    text = problems(model(nodes, {"x": (2, 3)}, ["d", "f"], domains={"com.example": 1}))
    assert "node 0 `one` (Convolve, opset 20): there is no operator Convolve in operator set 20" in text
    assert "node 1 `two` (Relu, opset 20): Relu-14 has no attribute `slope`" in text
    assert "node 2 `three` (com.example.Strange, opset 1): there is no operator Strange in the domain" in text
    assert "`four`" not in text  # depends on the first
    assert "node 4 `five` (StringNormalizer, opset 20): the operator StringNormalizer-10 is not supported" in text
    assert "node 5 `six` (MatMul, opset 20)" in text
    assert "inputs: f32[2,3], f32[2,3]" in text


@pytest.mark.parametrize("opset", [0, 99])
def test_operator_sets(opset: int) -> None:
    made = model([helper.make_node("Relu", ["x"], ["y"])], {"x": (2,)}, ["y"])
    made.opset_import[0].version = opset
    assert f"operator set {opset} is not supported" in problems(made)


def test_old_operators_are_read_if_they_stayed_as_they_were() -> None:
    agrees(
        model([helper.make_node("Softmax", ["x"], ["y"])], {"x": (2, 3)}, ["y"], opset=1),
        np.eye(2, 3, dtype=np.float32),
    )
    assert "Relu-1 is older than the rules of netc (6)" in problems(
        model([helper.make_node("Relu", ["x"], ["y"])], {"x": (2,)}, ["y"], opset=1)
    )


# ---- sequences -------------------------------------------------------------------------------------------------------


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


# ---- attributes ------------------------------------------------------------------------------------------------------


def test_an_attribute_that_netc_passes_over_is_refused() -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)
    assert "elements of type BFLOAT16 are not supported" in problems(model([node], {"x": (2,)}, ["y"]))


def test_the_package_is_imported_for_its_files_only_and_named_where_it_is_missing(tmp_path: Path) -> None:
    path, net = tmp_path / "x.onnx", tmp_path / "tiny.net"
    path.write_bytes(classifier().SerializeToString())
    net.write_text("net tiny(x: f32[N, 4]) { return x |> relu }")
    code = (
        "import sys, netc\n"
        "netc.load(sys.argv[2])\n"
        "print('onnx' in sys.modules)\n"
        "sys.modules['onnx'] = None\n"
        "try: netc.load(sys.argv[1])\n"
        "except netc.NetcError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path), str(net)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False\n")
    assert "ONNX files need the package onnx" in done.stdout
    assert "netc[onnx]" in done.stdout


# ---- tensors in other files, damaged files ---------------------------------------------------------------------------


def external(folder: Path, location: str, values: np.ndarray[Any, Any]) -> Path:
    """A model whose weight lies in another file."""
    made = model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": values.shape}, ["y"], {"w": values})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "4"), ("length", str(values.nbytes))):
        tensor.external_data.add(key=key, value=value)
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_tensors_beside_the_model(tmp_path: Path) -> None:
    values = np.array([1, 2, 3], np.float32)
    (tmp_path / "w.bin").write_bytes(b"skip" + values.tobytes())
    (found,) = evaluate(netc.load(external(tmp_path, "w.bin", values)), [values])
    np.testing.assert_array_equal(found, 2 * values)


def test_no_tensors_outside_the_folder(tmp_path: Path) -> None:
    values = np.array([1, 2, 3], np.float32)
    (tmp_path / "w.bin").write_bytes(b"skip" + values.tobytes())
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link.bin").symlink_to(tmp_path / "w.bin")
    for location in ("../w.bin", str(tmp_path / "w.bin"), "link.bin", ""):
        with pytest.raises(NetcError, match="outside the model's folder"):
            netc.load(external(inner, location, values))
    (inner / "short.bin").write_bytes(b"skip")
    path = external(inner, "short.bin", values)
    with pytest.raises(NetcError, match="needs 12 bytes"):
        netc.load(path)


def test_damaged_files_give_one_error(tmp_path: Path) -> None:
    """Random changes of bytes: an error of netc's or a sound graph, in bounded time."""
    rng, data = random.Random(0), classifier().SerializeToString()
    path = tmp_path / "damaged.onnx"
    for _ in range(150):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8))):
            changed[rng.randrange(len(changed))] = rng.randrange(256)
        if rng.random() < 0.2:
            del changed[rng.randrange(len(changed)) :]
        path.write_bytes(changed)
        start = time.perf_counter()
        with suppress(NetcError):
            verify(netc.load(path))
        assert time.perf_counter() - start < 5


def test_promises_of_large_tensors_cost_nothing() -> None:
    huge = [helper.make_node("ConstantOfShape", ["s"], ["big"]), helper.make_node("Add", ["big", "x"], ["y"])]
    made = model(huge, {"x": (1,)}, ["y"], {"s": np.array([1 << 20, 1 << 19])})
    assert graph_of(made, "small").outputs[0].type.size == 1 << 39
    lying = model([helper.make_node("Add", ["x", "w"], ["y"])], {"x": (1,)}, ["y"], {"w": np.ones(2, np.float32)})
    lying.graph.initializer[0].dims[0] = 1 << 40
    assert "can't have the shape" in problems(lying)
    endless = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["goes"])],
        "body",
        [onnx.ValueInfoProto(name="i"), onnx.ValueInfoProto(name="go")],
        [onnx.ValueInfoProto(name="goes")],
    )
    loop = helper.make_node("Loop", ["", "yes"], [], body=endless)
    assert "turns is not supported" in problems(model([loop], {"x": (1,)}, ["x"], {"yes": np.array(True)}))


def test_numpy_helper_and_netc_read_the_same() -> None:
    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float16)
    tensor = helper.make_tensor("w", TensorProto.FLOAT16, (3, 4), values.reshape(-1).tolist())
    made = model([helper.make_node("Identity", ["w"], ["y"])], {}, ["y"])
    made.graph.initializer.append(tensor)
    (found,) = evaluate(graph_of(made, "small"))
    np.testing.assert_array_equal(found, numpy_helper.to_array(tensor))
