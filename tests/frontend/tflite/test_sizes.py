"""Shapes that files leave out or open: they follow from those of the inputs, which are bound, and LiteRT agrees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.edgetpu import read_tflite
from netc.compiler.errors import NetcError, Note
from netc.compiler.graph import Graph
from netc.compiler.ops.opaque import unknown_operators
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import Sizes, graph_of, with_shapes

from .small_models import Model

RNG = np.random.default_rng(5)


def network(stated: str) -> tuple[Model, int, int]:
    """Convolution, pooling, a reshape by -1, a dense layer, a reshape whose size is computed; shapes as `stated`."""
    m, rng = Model(), np.random.default_rng(5)

    def tensor(name: str, shape: tuple[int, ...]) -> int:
        if stated == "none":
            return m.tensor(name, None, np.float32)
        if stated == "signature":
            return m.tensor(name, shape, np.float32, signature=(-1, *shape[1:]))
        return m.tensor(name, (-1, *shape[1:]), np.float32)

    signature = (-1, 6, 6, 2)
    x = m.tensor("x", (1, 6, 6, 2) if stated == "signature" else signature, np.float32, signature=signature)
    w = m.constant("w", rng.standard_normal((4, 3, 3, 2)).astype(np.float32))
    bias = m.constant("bias", np.ones(4, np.float32))
    y = tensor("conv", (1, 6, 6, 4))
    m.operator("CONV_2D", (x, w, bias), (y,), ("Conv2DOptions", {"StrideW": 1, "StrideH": 1}))
    pooled = tensor("pooled", (1, 3, 3, 4))
    pool = {"Padding": 1, "StrideW": 2, "StrideH": 2, "FilterWidth": 2, "FilterHeight": 2}
    m.operator("AVERAGE_POOL_2D", (y,), (pooled,), ("Pool2DOptions", pool))
    flat = tensor("flat", (1, 36))
    m.operator("RESHAPE", (pooled, m.constant("flat_shape", np.array((-1, 36), np.int32))), (flat,))
    dense = m.constant("dense", rng.standard_normal((6, 36)).astype(np.float32))
    scores = tensor("scores", (1, 6))
    m.operator("FULLY_CONNECTED", (flat, dense, -1), (scores,), ("FullyConnectedOptions", {}))
    shape = m.tensor("shape", (2,), np.int32)
    m.operator("SHAPE", (scores,), (shape,), ("ShapeOptions", {"OutType": 2}))
    places = [m.constant(f"place{i}", np.array([n], np.int32)) for i, n in enumerate((0, 1, 1))]
    batch = m.tensor("batch", (), np.int32)
    m.operator("STRIDED_SLICE", (shape, *places), (batch,), ("StridedSliceOptions", {"ShrinkAxisMask": 1}))
    sizes = [m.constant(f"size{i}", np.array(n, np.int32)) for i, n in enumerate((2, 3))]
    packed = m.tensor("packed", (3,), np.int32)
    m.operator("PACK", (batch, *sizes), (packed,), ("PackOptions", {"ValuesCount": 3}))
    last = tensor("last", (1, 2, 3))
    m.operator("RESHAPE", (scores, packed), (last,))
    z = tensor("z", (1, 1, 2, 3))
    m.operator("EXPAND_DIMS", (last, m.constant("axis", np.array(1, np.int32))), (z,), ("ExpandDimsOptions", {}))
    return m, x, z


def resized(data: bytes, *arrays: Any) -> Any:
    """LiteRT's answers for inputs of the sizes of `arrays`."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    runner = interpreter.Interpreter(
        model_content=data, experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF
    )
    for details, array in zip(runner.get_input_details(), arrays, strict=True):
        runner.resize_tensor_input(details["index"], array.shape)
    runner.allocate_tensors()
    for details, array in zip(runner.get_input_details(), arrays, strict=True):
        runner.set_tensor(details["index"], array)
    runner.invoke()
    return [runner.get_tensor(details["index"]) for details in runner.get_output_details()]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("stated", ["none", "free", "signature"])
def test_shapes_follow_from_the_inputs(stated: str, batch: int) -> None:
    m, x, z = network(stated)
    data = m.data((x,), (z,))
    graph = graph_of(read_model(data), "net", Sizes(batch))
    assert graph.inputs[0].type.shape == (batch, 6, 6, 2)
    assert graph.outputs[0].type.shape == (batch, 1, 2, 3)
    assert not unknown_operators(graph)
    image = RNG.standard_normal((batch, 6, 6, 2)).astype(np.float32)
    m, x, z = network("signature")  # of sizes of -1 LiteRT says that they are invalid
    (wanted,) = resized(m.data((x,), (z,)), image)
    np.testing.assert_allclose(netc.compile(graph, threads=1)(image), wanted, rtol=1e-5, atol=1e-5)


def test_the_edge_tpu_report_takes_shapes_that_follow() -> None:
    m, x, z = network("none")
    data = m.data((x,), (z,))
    without, found = read_tflite(data), read_tflite(data, complete=with_shapes)
    assert [op.outputs[0].shape for op in without.operators[:2]] == [(), ()]
    shapes = [(1, 6, 6, 4), (1, 3, 3, 4), (1, 36), (1, 6), (2,), (), (3,), (1, 2, 3), (1, 1, 2, 3)]
    assert [op.outputs[0].shape for op in found.operators] == shapes
    stated = read_model(network("signature")[0].data((x,), (z,)))
    assert [t.shape for t in with_shapes(stated).tensors] == [t.shape for t in stated.tensors]


def test_a_shape_that_does_not_follow_is_refused_with_both() -> None:
    m, x, z = network("signature")
    m.tensors[3]["shape"] = [1, 6, 5, 4]
    with pytest.raises(NetcError, match=r"CONV_2D\): it gives f32\[1,6,6,4\], .* declared as f32\[1,6,5,4\]"):
        graph_of(read_model(m.data((x,), (z,))), "net")
    m.tensors[3]["shape"] = [1, 6, 6]
    m.tensors[3]["signature"] = [-1, 6, 6]
    with pytest.raises(NetcError, match=r"declared as f32\[1,6,6\]"):
        graph_of(read_model(m.data((x,), (z,))), "net")


def test_an_operator_that_fixes_the_batch_is_named_with_what_it_does() -> None:
    m = Model()
    x, y = m.tensor("x", (1, 2, 3), np.float32, signature=(-1, 2, 3)), m.tensor("y", (1, 6), np.float32)
    m.operator("RESHAPE", (x, m.constant("shape", np.array((1, 6), np.int32))), (y,))
    with pytest.raises(NetcError, match=r"RESHAPE .*can't bring f32\[4,2,3\] \(24 elements\) to \[1, 6\]"):
        netc.compile(graph_of(read_model(m.data((x,), (y,))), "fixed", Sizes(4)))


def pictures(shape: tuple[int, ...], signature: tuple[int, ...]) -> bytes:
    """Twice the pixels of a picture."""
    m = Model()
    x = m.tensor("serving_default_image:0", shape, np.float32, signature=signature)
    y = m.tensor("y", None, np.float32)
    m.operator("ADD", (x, x), (y,), ("AddOptions", {}))
    m.signatures.append(("serving_default", {"image": x}, {"y": y}))
    return m.data((x,), (y,))


def test_other_free_sizes_are_set_by_name(tmp_path: Path) -> None:
    path = tmp_path / "twice.tflite"
    path.write_bytes(pictures((-1, -1, -1, 3), ()))
    with pytest.raises(NetcError, match=r"input `image` has free sizes \(dimension 1, 2 of \[\?,\?,\?,3\]\)") as caught:
        netc.load(path)
    assert caught.value.diagnostics[0].hint is not None
    assert "--set image=[1,SIZE,SIZE,3]" in caught.value.diagnostics[0].hint
    assert netc.load(path, settings={"image": [2, 4, 5, 3]}).outputs[0].type.shape == (2, 4, 5, 3)
    for wrong in ([2, 4, 5, 4], [2, 4, 5], [2, 4, 5, -3], [2, 4, 5, True], "2", 7, [1 << 20] * 3 + [3]):
        with pytest.raises(NetcError, match="input `image`"):
            netc.load(path, settings={"image": wrong})
    with pytest.raises(NetcError, match="no input `picture` whose shape"):
        netc.load(path, settings={"picture": [1, 4, 4, 3]})


def test_stated_sizes_count_where_a_signature_leaves_them_open(tmp_path: Path) -> None:
    path = tmp_path / "twice.tflite"
    path.write_bytes(pictures((1, 8, 8, 3), (-1, -1, -1, 3)))
    with pytest.warns(Note) as notes:
        graph = netc.load(path)
    assert graph.outputs[0].type.shape == (1, 8, 8, 3)
    assert [str(n.message).partition(": ")[2] for n in notes] == [
        "the batch is free and taken as 1; --batch binds it",
        "input `image` has free sizes, taken as [1, 8, 8, 3]; --set image=[1,8,8,3] binds them",
    ]
    assert netc.load(path, batch=5).outputs[0].type.shape == (5, 8, 8, 3)
    path.write_bytes(pictures((2, 8, 8, 3), ()))
    with pytest.raises(NetcError, match=r"the batch of .* is fixed"):
        netc.load(path, batch=5)
    assert netc.load(path, batch=2).outputs[0].type.shape == (2, 8, 8, 3)


def open_ended() -> Graph:
    """Places of what is true, whose number differs from run to run, a sum of them, and a branch beside them."""
    m = Model()
    x = m.tensor("x", (4,), np.bool_)
    places, rows = m.tensor("places", (1, 1), np.int64, signature=(-1, 1)), m.tensor("rows", (), np.int64)
    m.tensors[places]["shape"] = [-1, 1]
    y, z = m.tensor("y", (1,), np.int64), m.tensor("z", None, np.bool_)
    m.operator("WHERE", (x,), (places,), ("WhereOptions", {}))
    m.operator("ADD", (places, places), (rows,), ("AddOptions", {}))
    m.operator("REDUCE_MAX", (rows, m.constant("axes", np.array([0], np.int32))), (y,), ("ReducerOptions", {}))
    m.operator("LOGICAL_NOT", (x,), (z,), ("LogicalNotOptions", {}))
    return graph_of(read_model(m.data((x,), (y, z))), "open")


def test_sizes_that_differ_from_run_to_run_leave_their_readers_opaque() -> None:
    graph = open_ended()
    first, second, third = unknown_operators(graph)
    assert "can't run the operator WHERE" in first.message
    assert "ADD" in second.message
    assert "tensor `places` has sizes that are not known before the model runs" in second.message
    assert "tensor `rows` has sizes that are not known" in third.message
    assert [v.type.shape for v in graph.outputs] == [(1,), (4,)]


def test_results_of_unlimited_size_are_refused() -> None:
    m = Model()
    x, y = m.tensor("x", (), np.float32), m.tensor("y", None, np.float32)
    m.operator("FILL", (m.constant("dims", np.array([1 << 15] * 3, np.int32)), x), (y,), ("FillOptions", {}))
    with pytest.raises(NetcError, match=r"FILL\): its result .* has more than"):
        graph_of(read_model(m.data((x,), (y,))), "fill")
    n = Model()
    y = n.tensor("y", None, np.float32)
    value = n.constant("value", np.array(1, np.float32))
    n.operator("FILL", (n.constant("dims", np.array([1 << 14] * 2, np.int32)), value), (y,), ("FillOptions", {}))
    graph = graph_of(read_model(n.data((), (y,))), "fill")
    assert graph.operations[-1].name == "broadcast_to"


def test_other_metadata_are_ignored_and_said_once(tmp_path: Path) -> None:
    m = Model()
    x, y = m.tensor("x", (1, 4), np.float32), m.tensor("y", (1, 4), np.float32)
    m.operator("RELU", (x,), (y,))
    m.metadata.update({"TFLITE_METADATA": b"\x10\0\0\0ABCD" + b"\0" * 32, "min_runtime_version": b"1.5", "odd": b"?"})
    path = tmp_path / "m.tflite"
    path.write_bytes(m.data((x,), (y,)))
    with pytest.warns(Note) as notes:
        graph = netc.load(path)
    assert "preprocess" not in graph.attributes
    texts = [str(n.message) for n in notes]
    assert len(texts) == 2
    assert "TFLITE_METADATA are ignored: this is not a TFLite metadata buffer" in texts[0]
    assert texts[1].endswith("metadata of other tools are ignored: odd")
