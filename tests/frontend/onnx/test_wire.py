"""Large tensors of a file are read from their places."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper  # noqa: E402

import netc  # noqa: E402
from netc.compiler.errors import NetcError  # noqa: E402
from netc.compiler.graph.interpreter import evaluate  # noqa: E402
from netc.frontend.onnx import graph_of, wire  # noqa: E402
from netc.frontend.onnx.reader import MAX_FILE, load_onnx  # noqa: E402

from .small_models import model  # noqa: E402

LARGE = np.random.default_rng(0).standard_normal((160, 256)).astype(np.float32)
"""More bytes than are left in the file at least."""


def adding(*weights: np.ndarray[Any, Any]) -> Any:
    """The sum of an input and weights, each of which is large."""
    names = [f"w{i}" for i in range(len(weights))]
    nodes = [helper.make_node("Add", [f"x{i}", name], [f"x{i + 1}"]) for i, name in enumerate(names)]
    return model(nodes, {"x0": (160, 256)}, [f"x{len(names)}"], dict(zip(names, weights, strict=True)))


def places_of(path: Path) -> dict[int, wire.Place]:
    found = wire.without_large_tensors(path, MAX_FILE)
    assert found is not None
    return found[1]


def saved(made: Any, folder: Path) -> Path:
    path = folder / "large.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def test_large_initializers_stay_in_the_file(tmp_path: Path) -> None:
    made = adding(LARGE, 2 * LARGE[:1], 3 * LARGE)
    path = saved(made, tmp_path)
    assert list(places_of(path)) == [0, 2]
    assert [p.length for p in places_of(path).values()] == [LARGE.nbytes, LARGE.nbytes]
    assert str(netc.load(path)) == str(graph_of(made, "large"))
    for a, b in zip(evaluate(netc.load(path), [LARGE]), evaluate(graph_of(made, "large"), [LARGE]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_fields_may_come_in_several_parts_and_any_order(tmp_path: Path) -> None:
    """Messages that stand twice are joined: initializers are numbered through."""
    made = adding(LARGE, 3 * LARGE)
    first, second = onnx.ModelProto(), onnx.ModelProto()
    first.graph.initializer.append(made.graph.initializer[1])
    second.CopyFrom(made)
    del second.graph.initializer[1]
    path = tmp_path / "parts.onnx"
    path.write_bytes(first.SerializeToString() + second.SerializeToString())
    (found,) = evaluate(graph_of(onnx.ModelProto.FromString(path.read_bytes()), "parts"), [LARGE])
    path.write_bytes(second.SerializeToString() + first.SerializeToString())
    assert sorted(places_of(path)) == [0, 1]
    np.testing.assert_array_equal(evaluate(netc.load(path), [LARGE])[0], found)


def test_what_lies_beside_the_file_comes_first(tmp_path: Path) -> None:
    made = adding(LARGE)
    tensor = made.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    (tmp_path / "w.bin").write_bytes((5 * LARGE).tobytes())
    (found,) = evaluate(netc.load(saved(made, tmp_path)), [LARGE])
    np.testing.assert_array_equal(found, LARGE + 5 * LARGE)


def test_a_tensor_of_another_size_than_its_shape_is_refused(tmp_path: Path) -> None:
    made = adding(LARGE)
    made.graph.initializer[0].dims[0] = 161
    with pytest.raises(NetcError, match=r"needs 164864 bytes, but `large\.onnx` has 163840 at "):
        netc.load(saved(made, tmp_path))


def test_two_contents_of_a_tensor_are_left_to_the_library(tmp_path: Path) -> None:
    made = adding(LARGE)
    tensor = made.graph.initializer.pop()
    double = tensor.SerializeToString() + TensorProto(raw_data=(7 * LARGE).tobytes()).SerializeToString()
    graph = made.graph.SerializeToString() + b"\x2a" + wire._varint(len(double)) + double
    made.ClearField("graph")
    path = tmp_path / "double.onnx"
    path.write_bytes(made.SerializeToString() + b"\x3a" + wire._varint(len(graph)) + graph)
    assert wire.without_large_tensors(path, MAX_FILE) is None
    (found,) = evaluate(netc.load(path), [LARGE])
    np.testing.assert_array_equal(found, LARGE + 7 * LARGE)


@pytest.mark.parametrize("seed", range(60))
def test_damage_is_refused_or_read_as_the_library_reads_it(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(adding(LARGE, 2 * LARGE).SerializeToString())
    if seed % 3:
        start = wire.without_large_tensors(saved(adding(LARGE, 2 * LARGE), tmp_path), MAX_FILE)
        assert start is not None
        heads = [*range(60), *(p.offset - d for p in start[1].values() for d in range(1, 30)), *range(-120, 0)]
        for _ in range(rng.randint(1, 3)):
            data[rng.choice(heads)] = rng.randrange(256)
    else:
        del data[rng.randrange(len(data)) :]
    path = tmp_path / "damaged.onnx"
    path.write_bytes(data)
    try:
        wanted: Any = str(graph_of(onnx.ModelProto.FromString(bytes(data)), "damaged"))
    except Exception:
        wanted = None
    try:
        found: Any = str(netc.load(path))
    except NetcError:
        found = None
    assert found == wanted


def test_a_pipe_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe.onnx"
    os.mkfifo(path)
    end = os.open(path, os.O_RDWR)  # a pipe into which nobody writes is empty

    def write() -> None:
        with open(end, "wb") as pipe:
            pipe.write(adding(LARGE).SerializeToString())

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    graph = load_onnx(path)
    np.testing.assert_array_equal(evaluate(graph, [LARGE])[0], 2 * LARGE)


def test_few_bytes_in_many_fields_are_left_to_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_MAX_FIELDS", 10)
    path = saved(adding(LARGE), tmp_path)
    assert wire.without_large_tensors(path, MAX_FILE) is None
    np.testing.assert_array_equal(evaluate(netc.load(path), [LARGE])[0], 2 * LARGE)


def test_files_over_the_limit_are_left_to_whoever_says_so(tmp_path: Path) -> None:
    path = saved(adding(LARGE), tmp_path)
    assert wire.without_large_tensors(path, path.stat().st_size) is not None
    assert wire.without_large_tensors(path, path.stat().st_size - 1) is None
