"""The preprocessing in a file: what a net declares comes back as it was, what is damaged is one error."""

from __future__ import annotations

import io
import random
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.preprocess import LARGEST, MAX_BYTES, NAME, from_buffer, to_buffer
from netc.compiler.tflite.reading import read_model
from netc.compiler.types import DType, Quantization, TensorType
from netc.frontend.tflite import graph_of
from netc.frontend.tflite.metadata import LABELS_BYTES, embedded_labels
from netc.runtime.data.images import Preprocess

DECLARED: dict[str, Any] = {
    "crop": 0.875,
    "resize": "lanczos",
    "divide": 255,
    "mean": (0.485, 0.456, 0.406),
    "std": (0.229, 0.224, 0.225),
}
TEXT = b'{"crop":0.875,"divide":255,"mean":[0.485,0.456,0.406],"resize":"lanczos","std":[0.229,0.224,0.225]}'


def network(declared: dict[str, Any] | None, scale: float | None = None) -> Graph:
    quantization = None if scale is None else Quantization((scale,), (-128,), None)
    b = GraphBuilder("net", {} if declared is None else {"preprocess": declared})
    x = b.input("x", TensorType(DType.F32 if scale is None else DType.I8, (1, 4, 4, 3), None, quantization))
    return b.finish([b.emit("reshape", x, shape=(1, 48))])


def again(graph: Graph) -> Graph:
    return graph_of(read_model(to_tflite(graph)), "net")


def test_bytes_are_always_the_same() -> None:
    assert to_buffer(DECLARED) == TEXT
    assert to_buffer(dict(reversed(DECLARED.items())) | {"labels": "list.txt"}) == TEXT
    assert read_model(to_tflite(network(DECLARED))).metadata[NAME] == TEXT
    assert from_buffer(TEXT) == DECLARED


@pytest.mark.parametrize("scale", [None, 0.017])
@pytest.mark.parametrize("declared", [DECLARED, {"crop": 1, "mean": 0}, {"divide": 128.5, "mean": [1, 1, 1]}, {}, None])
def test_pictures_are_prepared_as_the_net_declares(declared: dict[str, Any] | None, scale: float | None) -> None:
    graph = network(declared, scale)
    back = again(graph)
    assert Preprocess.of(back) == Preprocess.of(graph)
    assert Preprocess.of(again(back)) == Preprocess.of(graph)


def test_labels_are_those_of_the_standard_metadata() -> None:
    b = GraphBuilder("net", {"preprocess": {**DECLARED, "labels": ("r", "g", "b")}})
    mean = b.emit("reduce_mean", b.input("x", TensorType(DType.F32, (1, 4, 4, 3))), axes=(1, 2))
    data = to_tflite(b.finish([mean]), labels=["r", "g", "b"])
    assert graph_of(read_model(data), "net").attributes["preprocess"] == {**DECLARED, "labels": "labels.txt"}


def with_archive(method: int, text: bytes = b"r\ng\nb\n", name: str = "labels.txt") -> bytes:
    """A model with its labels behind it, packed in some way."""
    file = io.BytesIO(to_tflite(network(None)))
    with zipfile.ZipFile(file, "a", method) as archive:
        archive.writestr(name, text)
    return file.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_labels_in_a_file_are_read(method: int) -> None:
    assert embedded_labels(with_archive(method), "labels.txt", 3) == ("r", "g", "b")


@pytest.mark.parametrize(
    "data",
    [
        with_archive(zipfile.ZIP_LZMA),
        with_archive(zipfile.ZIP_LZMA).replace(b"labels.txt\x09", b"labels.txt\xff"),
        with_archive(zipfile.ZIP_DEFLATED).replace(b"labels.txt+", b"labels.txt\xff"),
        with_archive(zipfile.ZIP_STORED).replace(b"r\ng\nb", b"r\ng\nc"),
        with_archive(zipfile.ZIP_DEFLATED, b"r\ng\n" + b"b" * LABELS_BYTES),
        with_archive(zipfile.ZIP_STORED, b"r\ng\n\xff\n"),
        with_archive(zipfile.ZIP_STORED, name="../labels.txt"),
        with_archive(zipfile.ZIP_STORED)[:-30],
    ],
)
def test_labels_that_can_not_be_read_are_none(data: bytes) -> None:
    assert embedded_labels(data, "labels.txt", 3) is None


def test_only_pictures_have_settings() -> None:
    b = GraphBuilder("net", {"preprocess": DECLARED})
    vector = b.finish([b.emit("exp", b.input("x", TensorType(DType.F32, (1, 4))))])
    assert NAME not in read_model(to_tflite(vector)).metadata


WRONG = [
    (b"", "this is not JSON text"),
    (b"\xff\xfe{}", "this is not JSON text"),
    (b"[" * 4000, "this is not JSON text"),
    (b"9" * 4000, "this is not a JSON object"),
    (b"[1]", "this is not a JSON object"),
    (b" " * (MAX_BYTES + 1), "more than 4,096"),
    (b'{"crops": 1}', "there is no setting 'crops'"),
    (b'{"labels": "/etc/hosts"}', "there is no setting 'labels'"),
    (b'{"\\u001b[2J": 1}', r"there is no setting '\\x1b\[2J'"),
    (b'{"crop": 1.5}', "`crop` must be a number above 0 and up to 1"),
    (b'{"crop": true}', "`crop` must be a number"),
    (b'{"crop": null}', "`crop` must be a number"),
    (b'{"resize": ["bicubic"]}', "`resize` must be one of nearest, box"),
    (b'{"divide": 0}', "`divide` must be a positive number"),
    (b'{"divide": 1e-300}', "`divide` must lie between 1e-12 and 1e[+]12"),
    (b'{"divide": 1e999}', "`divide` must lie between"),
    (b'{"mean": NaN}', "`mean` must lie between"),
    (b'{"mean": [0, [1]]}', "`mean` must be a number or a list"),
    (b'{"mean": [1, 2, 1' + b"0" * 400 + b"]}", "`mean` must lie between"),
    (b'{"std": [0.5, 0, 0.5]}', "`std` must be a number or a list of numbers, none of them 0"),
    (b'{"std": []}', "`std` must be"),
]


@pytest.mark.parametrize(("data", "problem"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_a_damaged_buffer_is_one_error(data: bytes, problem: str) -> None:
    model = read_model(to_tflite(network(DECLARED)))
    with pytest.raises(NetcError, match=rf"metadata `netc\.preprocess`: .*{problem}") as caught:
        graph_of(replace(model, metadata={NAME: data}), "net")
    assert len(caught.value.diagnostics) == 1


def test_whatever_is_read_can_be_applied() -> None:
    rng = random.Random(5)
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    read = 0
    for _ in range(2000):
        data = bytearray(TEXT)
        for _ in range(rng.choice((1, 1, 2, 4))):
            data[rng.randrange(len(data))] = rng.choice(b'0123456789.-+eE[]{},:" ant')
        try:
            values = Preprocess.of(network(from_buffer(bytes(data)))).normalize(pixels)
        except NetcError:
            continue
        read += 1
        assert np.isfinite(values).all()
    assert 100 < read < 1900


def test_extreme_settings_stay_finite() -> None:
    for value in (LARGEST, 1 / LARGEST):
        settings = from_buffer(to_buffer({"divide": 1 / LARGEST, "mean": LARGEST, "std": value}))
        assert np.isfinite(Preprocess.of(network(settings)).normalize(np.full((4, 4, 3), 255, np.uint8))).all()


def test_wrong_settings_are_not_written() -> None:
    with pytest.raises(NetcError, match="`resize` must be one of"):
        to_tflite(network({"resize": "cubic"}))
