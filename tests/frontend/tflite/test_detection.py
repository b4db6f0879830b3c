"""TFLite_Detection_PostProcess: what LiteRT finds, in order and with its padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph import evaluate
from netc.compiler.ops.opaque import runnable
from netc.compiler.tflite.model import Model, Node, Tensor
from netc.compiler.tflite.reading import read_model
from netc.compiler.tflite.serialize import serialize
from netc.compiler.tflite.writer import to_tflite
from netc.compiler.types import DType, Quantization, TensorType
from netc.frontend.tflite import graph_of

RNG = np.random.default_rng(5)
COUNT, CLASSES, MOST = 60, 3, 12
OPTIONS = {
    "max_detections": MOST,
    "max_classes_per_detection": 1,
    "num_classes": CLASSES,
    "nms_score_threshold": 0.3,
    "nms_iou_threshold": 0.4,
    "y_scale": 10.0,
    "x_scale": 10.0,
    "h_scale": 5.0,
    "w_scale": 5.0,
}


def model(options: Any, *, background: int = 1, byte: bool = False, room: int = MOST) -> bytes:
    """A file with the operator alone; anchors are constant."""
    grid = np.stack(np.meshgrid(np.arange(6), np.arange(10), indexing="ij"), -1).reshape(COUNT, 2) / 10
    anchors = np.concatenate([grid, np.full((COUNT, 2), 0.25)], axis=1).astype(np.float32)
    kind = (DType.U8,) if byte else (DType.F32,)
    given = [Quantization.of(s, z) for s, z in ((0.1, 120), (1 / 256, 0), (1 / 100, 0))] if byte else [None] * 3
    if byte:
        anchors = np.round(anchors * 100).astype(np.uint8)
    f32 = DType.F32
    tensors = [
        Tensor("moves", TensorType(*kind, (1, COUNT, 4), None, given[0])),
        Tensor("scores", TensorType(*kind, (1, COUNT, CLASSES + background), None, given[1])),
        Tensor("anchors", TensorType(*kind, (COUNT, 4), None, given[2]), anchors),
        *(
            Tensor(n, TensorType(f32, s))
            for n, s in (("boxes", (1, room, 4)), ("classes", (1, room)), ("found", (1, room)), ("number", (1,)))
        ),
    ]
    data = bytes(flexbuffers.Dumps(options)) if isinstance(options, dict) else options
    places = ((0, 1, 2), (3, 4, 5, 6))
    node = Node("CUSTOM", 1, *places, custom_code="TFLite_Detection_PostProcess", custom_options=data)
    names = ["moves", "scores"], ["boxes", "classes", "found", "number"]
    return serialize(Model("ssd", tensors, [node], [0, 1], [3, 4, 5, 6], *names, "serving_default", {}))


def inputs(background: int, byte: bool) -> list[Any]:
    moves = RNG.standard_normal((1, COUNT, 4)).astype(np.float32)
    scores = RNG.permutation(COUNT * (CLASSES + background)).reshape(1, COUNT, -1).astype(np.float32) / 256
    if not byte:
        return [moves, scores]
    return [np.clip(moves * 10 + 120, 0, 255).astype(np.uint8), (scores * 256).astype(np.uint8)]


def litert_found(data: bytes, given: list[Any]) -> list[Any]:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    interpreter = litert.Interpreter(model_content=data)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], given[detail["index"]])
    interpreter.invoke()
    return [interpreter.get_tensor(3 + place) for place in range(4)]


@pytest.mark.parametrize(
    ("extra", "background", "byte"),
    [
        ({}, 1, False),
        ({"use_regular_nms": False}, 0, False),
        ({"use_regular_nms": True}, 1, False),
        ({"use_regular_nms": True, "detections_per_class": 2}, 0, False),
        ({"use_regular_nms": True, "nms_score_threshold": 0.0, "nms_iou_threshold": 0.9}, 1, False),
        ({"nms_score_threshold": 0.68, "nms_iou_threshold": 0.01}, 1, False),
        ({}, 1, True),
    ],
)
def test_litert_finds_the_same(extra: dict[str, Any], background: int, byte: bool) -> None:
    data = model({**OPTIONS, **extra}, background=background, byte=byte)
    graph = graph_of(read_model(data), "ssd")
    given = inputs(background, byte)
    again = to_tflite(graph)
    theirs = litert_found(data, given)
    number = int(theirs[3][0])
    assert 0 < number <= MOST
    assert np.array_equal(litert_found(again, given)[0][:, :number], theirs[0][:, :number])
    for ours in (evaluate(runnable(graph), given), netc.compile(graph)(*given)):
        assert int(ours[3][0]) == number
        for mine, their in zip(ours[:3], theirs[:3], strict=True):
            np.testing.assert_allclose(mine[:, :number], their[:, :number], rtol=1e-5, atol=1e-6)
            assert not mine[:, number:].any()


@pytest.mark.parametrize(
    ("extra", "each", "byte"),
    [
        ({}, 2, False),
        ({}, 3, True),
        ({}, 5, False),  # more than there are classes
        ({"use_regular_nms": True}, 2, False),
    ],
)
def test_several_classes_of_each_box(extra: dict[str, Any], each: int, byte: bool) -> None:
    options = {**OPTIONS, "max_classes_per_detection": each, **extra}
    data = model(options, byte=byte, room=MOST * each)
    given = inputs(1, byte)
    theirs, ours = litert_found(data, given), netc.compile(graph_of(read_model(data), "ssd"))(*given)
    number = int(theirs[3][0])
    assert 0 < number <= MOST
    assert int(ours[3][0]) == number
    shown = slice(0, number * (1 if extra else each))
    is_written = np.arange(MOST * each)[shown] % each < CLASSES  # LiteRT leaves the others as the memory was
    for mine, their in zip(ours[:3], theirs[:3], strict=True):
        np.testing.assert_allclose(mine[:, shown][:, is_written], their[:, shown][:, is_written], rtol=1e-5, atol=1e-6)
        assert not mine[:, shown][:, ~is_written].any()
        assert not mine[:, shown.stop :].any()


def test_a_score_that_equals_the_threshold_counts() -> None:
    data = model({**OPTIONS, "nms_score_threshold": 0.5})
    scores = np.zeros((1, COUNT, CLASSES + 1), np.float32)
    scores[0, 7, 2] = 0.5
    found = evaluate(runnable(graph_of(read_model(data), "ssd")), [np.zeros((1, COUNT, 4), np.float32), scores])
    assert (found[3][0], found[1][0, 0], found[2][0, 0]) == (1, 1, 0.5)
    assert litert_found(data, [np.zeros((1, COUNT, 4), np.float32), scores])[3][0] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (b"\xff\x01", "its options can't be read|its options are no map"),
        ({k: v for k, v in OPTIONS.items() if k != "h_scale"}, "it has no option `h_scale`"),
        ({**OPTIONS, "max_classes_per_detection": 2}, r"gives f32\[1,24,4\], but its file declares f32\[1,12,4\]"),
        ({**OPTIONS, "max_detections": 5}, r"gives f32\[1,5,4\], but its file declares f32\[1,12,4\]"),
    ],
)
def test_other_options_are_an_error(options: Any, message: str) -> None:
    graph = graph_of(read_model(model(options)), "ssd")
    with pytest.raises(NetcError, match=message):
        netc.compile(graph)
