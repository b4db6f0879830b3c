"""ONNX files on disk: tensors beside them, damaged ones."""

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
pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import netc  # noqa: E402
from netc.cli import main  # noqa: E402
from netc.compiler.errors import NetcError  # noqa: E402
from netc.compiler.graph import verify  # noqa: E402
from netc.compiler.graph.interpreter import evaluate  # noqa: E402
from netc.frontend.onnx import graph_of  # noqa: E402

from .agreement import X, agrees, problems  # noqa: E402
from .small_models import classifier, model  # noqa: E402


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
