"""TFLite files that netc writes: read back they mean the same, and their bytes are what the format asks for."""

import io
import zipfile
from dataclasses import replace
from typing import Any

import flatbuffers
import numpy as np
import pytest
import tflite

from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.compiler.types import DType, TensorType
from netc.frontend.tflite.reader import graph_of

RNG = np.random.default_rng(7)


def constant(b: GraphBuilder, *shape: int, name: str | None = None) -> Value:
    return b.constant(RNG.standard_normal(shape).astype(np.float32), name=name)


def picture(*shape: int) -> tuple[GraphBuilder, Value]:
    b = GraphBuilder("net")
    return b, b.input("x", TensorType(DType.F32, shape))


def window(padding: object, strides: tuple[int, int] = (1, 1), groups: int = 1) -> dict[str, object]:
    return {"strides": strides, "padding": padding, "dilations": (1, 1), "groups": groups}


def convolution(padding: object, strides: tuple[int, int], groups: int, multiplier: int) -> Graph:
    b, x = picture(1, 9, 9, 4)
    y = b.emit(
        "conv2d", x, constant(b, 3, 3, 4 // groups, 4 * multiplier), constant(b, 4 * multiplier),
        **window(padding, strides, groups),
    )  # fmt: skip
    return b.finish([b.emit("relu6", y)])


def unary(name: str, **attributes: object) -> Graph:
    b, x = picture(2, 3, 4)
    return b.finish([b.emit(name, x, **attributes)])


def binary(name: str, activation: str | None) -> Graph:
    b, x = picture(2, 3, 4)
    y = b.emit(name, x, constant(b, 4))
    return b.finish([b.emit(activation, y) if activation else y])


def pooled(name: str, padding: object) -> Graph:
    b, x = picture(1, 8, 8, 3)
    return b.finish([b.emit(name, x, size=(3, 3), strides=(2, 2), padding=padding)])


def sequence(padding: object, stride: int, groups: int) -> Graph:
    b, x = picture(2, 9, 4)
    given = {"strides": (stride,), "padding": padding, "dilations": (1,), "groups": groups}
    y = b.emit("conv1d", x, constant(b, 3, 4 // groups, 8), constant(b, 8), **given)
    return b.finish([b.emit("relu", y)])


def enlarged(padding: tuple[tuple[int, int], ...], size: tuple[int, int], bias: bool) -> Graph:
    b, x = picture(1, 4, 5, 3)
    operands = [constant(b, 3, 3, 3, 6), *([constant(b, 6)] if bias else [])]
    return b.finish([b.emit("transpose_conv2d", x, *operands, size=size, strides=(2, 2), padding=padding)])


def transposed(spatial: int, size: tuple[int, ...], **window: Any) -> Graph:
    """A transposed convolution of 4 to 6 channels that TFLite has no form of, but for zeros, slices and reshapes."""
    b, x = picture(2, *range(3, 3 + spatial), 4)
    groups = window.get("groups", 1)
    given = {"strides": (2,) * spatial, "padding": ((0, 0),) * spatial, "size": size, **window}
    kernel = (3, 2, 3)[:spatial]
    return b.finish([b.emit(f"transpose_conv{spatial}d", x, constant(b, *kernel, 4 // groups, 6), **given)])


def volume(padding: object) -> Graph:
    b, x = picture(1, 4, 5, 6, 3)
    given = {"strides": (1, 2, 1), "padding": padding, "dilations": (1, 1, 2), "groups": 1}
    return b.finish([b.emit("relu", b.emit("conv3d", x, constant(b, 2, 3, 3, 3, 4), constant(b, 4), **given))])


def labels() -> Graph:
    b, x = picture(2, 5)
    return b.finish([b.emit("one_hot", b.emit("argmax", x, axis=-1), depth=5)])


def dense(*lead: int) -> Graph:
    b, x = picture(*lead, 5)
    return b.finish([b.emit("softmax", b.emit("dense", x, constant(b, 5, 3), constant(b, 3)), axis=-1)])


def moved() -> Graph:
    b, x = picture(1, 4, 6, 2)
    y = b.emit("pad", x, padding=((0, 0), (1, 2), (0, 1), (0, 0)))
    y = b.emit("transpose", y, permutation=(0, 2, 1, 3))
    y = b.emit("slice", y, begin=(0, 1, 1, 0), size=(1, 5, 5, 2))
    y = b.emit("concat", y, b.emit("neg", y), axis=-1)
    return b.finish([b.emit("reshape", y, shape=(1, 100)), b.emit("reduce_mean", y, axes=(1, 2))])


def twice() -> Graph:
    b, x = picture(2, 3)
    y = b.emit("exp", x)
    return b.finish([x, y, y])


GRAPHS = {
    "conv same": lambda: convolution("same", (1, 1), 1, 2),
    "conv explicit": lambda: convolution(((2, 1), (0, 2)), (2, 2), 1, 2),
    "conv that pads as same does": lambda: convolution(((1, 1), (1, 1)), (1, 1), 1, 2),
    "conv grouped": lambda: convolution("valid", (1, 1), 2, 1),
    "depthwise": lambda: convolution("same", (2, 2), 4, 2),
    "max_pool explicit": lambda: pooled("max_pool", ((1, 1), (1, 1))),
    "max_pool same": lambda: pooled("max_pool", "same"),
    "avg_pool same": lambda: pooled("avg_pool", "same"),
    "avg_pool explicit": lambda: pooled("avg_pool", ((1, 1), (1, 1))),
    "conv1d same": lambda: sequence("same", 1, 1),
    "conv1d explicit": lambda: sequence(((2, 0),), 2, 1),
    "conv1d depthwise": lambda: sequence("valid", 1, 4),
    "transpose_conv2d same": lambda: enlarged(((0, 1), (0, 1)), (8, 10), True),
    "transpose_conv2d valid": lambda: enlarged(((0, 0), (0, 0)), (9, 11), False),
    "transpose_conv2d explicit": lambda: enlarged(((1, 0), (2, 0)), (7, 8), True),
    "transpose_conv1d": lambda: transposed(1, (8,), padding=((1, 0),)),
    "transpose_conv2d in groups": lambda: transposed(2, (7, 8), groups=2),
    "transpose_conv2d dilated": lambda: transposed(2, (9, 10), dilations=(2, 3), padding=((1, 0), (0, 0))),
    "transpose_conv3d same": lambda: transposed(3, (6, 8, 10), padding=((0, 1), (0, 0), (0, 1))),
    "transpose_conv3d in groups": lambda: transposed(3, (6, 8, 12), padding=((1, 1),) * 3, groups=2),
    "conv3d same": lambda: volume("same"),
    "conv3d explicit": lambda: volume(((1, 0), (1, 1), (0, 2))),
    "sign": lambda: unary("sign"),
    "softplus": lambda: unary("softplus"),
    "logsumexp": lambda: unary("logsumexp", axis=1),
    "one_hot": labels,
    "dense": lambda: dense(2),
    "dense of rank 3": lambda: dense(2, 3),
    "add relu": lambda: binary("add", "relu"),
    "mul": lambda: binary("mul", None),
    "sub relu6": lambda: binary("sub", "relu6"),
    "div": lambda: binary("div", None),
    "maximum relu": lambda: binary("maximum", "relu"),
    "clamp -1 1": lambda: unary("clamp", low=-1.0, high=1.0),
    "clamp": lambda: unary("clamp", low=-0.5, high=0.25),
    "sigmoid": lambda: unary("sigmoid"),
    "tanh": lambda: unary("tanh"),
    "hard_sigmoid": lambda: unary("hard_sigmoid"),
    "leaky_relu": lambda: unary("leaky_relu", alpha=0.2),
    "reduce_max": lambda: unary("reduce_max", axes=(-1,), keepdims=True),
    "argmax": lambda: unary("argmax", axis=1),
    "moved": moved,
    "outputs that are inputs or repeated": twice,
}


@pytest.mark.parametrize("name", GRAPHS)
def test_what_is_written_reads_back_the_same(name: str) -> None:
    graph = GRAPHS[name]()
    again = graph_of(read_model(to_tflite(graph)), "again")
    x = RNG.standard_normal(graph.inputs[0].type.shape).astype(np.float32)
    for wanted, got in zip(evaluate(graph, [x]), evaluate(again, [x]), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def model(data: bytes) -> tflite.Model:
    return tflite.Model.GetRootAs(data, 0)


def operators(data: bytes) -> list[str]:
    names = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}
    m = model(data)
    subgraph = m.Subgraphs(0)
    codes = [subgraph.Operators(i).OpcodeIndex() for i in range(subgraph.OperatorsLength())]
    return [names[m.OperatorCodes(code).BuiltinCode()] for code in codes]


def test_activations_are_fused() -> None:
    assert operators(to_tflite(convolution("same", (1, 1), 1, 1))) == ["CONV_2D"]
    assert operators(to_tflite(convolution(((2, 1), (0, 2)), (2, 2), 4, 1))) == ["PAD", "DEPTHWISE_CONV_2D"]


def test_an_activation_of_a_result_with_other_readers_is_not_fused() -> None:
    b, x = picture(1, 4)
    y = b.emit("add", x, constant(b, 4))
    graph = b.finish([b.emit("relu", y), y])
    assert operators(to_tflite(graph)) == ["ADD", "RELU"]


def test_the_same_graph_gives_the_same_bytes() -> None:
    graph = convolution("same", (1, 1), 1, 2)
    assert to_tflite(graph, labels=[str(i) for i in range(8)]) == to_tflite(graph, labels=[str(i) for i in range(8)])


def test_buffers_are_shared_and_aligned() -> None:
    b, x = picture(1, 4)
    same = RNG.standard_normal(4).astype(np.float32)
    y = b.emit("mul", b.emit("add", x, b.constant(same)), b.constant(same.copy()))
    data = to_tflite(b.finish([b.emit("dense", y, constant(b, 4, 3))]))
    m = model(data)
    sizes = [m.Buffers(i).DataLength() for i in range(m.BuffersLength())]
    assert sizes.count(16) == 1
    assert sizes[0] == 0
    for i in range(1, m.BuffersLength()):
        table = m.Buffers(i)._tab
        field = flatbuffers.number_types.UOffsetTFlags.py_type(table.Offset(4))
        assert table.Vector(field) % 16 == 0


def test_weights_keep_their_names() -> None:
    b, x = picture(1, 4)
    graph = b.finish([b.emit("dense", x, constant(b, 4, 3, name="head.fc.weight"))])
    tensors = read_model(to_tflite(graph)).tensors
    assert [t.name for t in tensors] == ["x", "head.fc.weight", "head.fc/dense/bias", "head.fc/dense"]


def test_metadata_tell_normalisation_and_labels() -> None:
    b, x = picture(1, 8, 8, 3)
    b.attributes["preprocess"] = {"divide": 255, "mean": [0.5, 0.4, 0.3], "std": 0.2, "labels": "list.txt"}
    pooled = b.emit("reduce_mean", x, axes=(1, 2))
    data = to_tflite(b.finish([pooled]), labels=["red", "green", "blue"])
    model = read_model(data)
    standard = {name: buffer for name, buffer in model.metadata.items() if name == "TFLITE_METADATA"}
    preprocess = graph_of(replace(model, metadata=standard), "again").attributes["preprocess"]
    assert preprocess["mean"] == pytest.approx((127.5, 102, 76.5))
    assert preprocess["std"] == pytest.approx((51, 51, 51))
    assert preprocess["labels"] == "labels.txt"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("labels.txt") == b"red\ngreen\nblue\n"


def test_labels_of_a_detector_name_its_class_numbers() -> None:
    b, x = picture(1, 4, 4, 3)
    b.attributes["preprocess"] = {"divide": 255, "labels": "list.txt"}
    b.attributes["signature"] = {"inputs": ("x",), "outputs": ("boxes", "classes")}
    boxes = b.emit("reduce_mean", x, axes=(1, 2))
    data = to_tflite(b.finish([boxes, b.emit("argmax", boxes)]), labels=["a", "b", "c", "d", "e"])
    assert graph_of(read_model(data), "again").attributes["preprocess"]["labels"] == "labels.txt"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("labels.txt") == b"a\nb\nc\nd\ne\n"


def test_labels_must_fit() -> None:
    with pytest.raises(NetcError, match=r"2 labels don't fit the output f32\[2,3,4\]"):
        to_tflite(unary("exp"), labels=["a", "b"])


def test_what_has_no_tflite_form_is_an_error() -> None:
    b = GraphBuilder("net")
    graph = b.finish([b.emit("random_uniform", b.input("counter", TensorType(DType.I64, ())), shape=(3,))])
    with pytest.raises(NetcError, match="there is no TFLite form of random_uniform"):
        to_tflite(graph)


def test_parameters_need_values() -> None:
    b, x = picture(1, 4)
    weight = b.emit("param", shape=(4, 2), name="w")
    graph = b.finish([b.emit("dense", x, weight)])
    with pytest.raises(NetcError, match="there is no value for the parameter `w`"):
        to_tflite(graph)
    assert operators(to_tflite(graph, {"w": np.zeros((4, 2), np.float32)})) == ["FULLY_CONNECTED"]


@pytest.mark.parametrize("name", GRAPHS)
def test_litert_runs_what_is_written(name: str) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    graph = GRAPHS[name]()
    interpreter = litert.Interpreter(
        model_content=to_tflite(graph), experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    x = RNG.standard_normal(graph.inputs[0].type.shape).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    for wanted, details in zip(evaluate(graph, [x]), interpreter.get_output_details(), strict=True):
        np.testing.assert_allclose(interpreter.get_tensor(details["index"]), wanted, rtol=1e-5, atol=1e-5)
