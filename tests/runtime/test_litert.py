"""LiteRT as an engine: what is missing or refused is one error; where it is installed, its answers."""

import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.registry import lookup
from netc.compiler.tflite import to_tflite
from netc.compiler.types import DType, TensorType
from netc.runtime.litert import LiteRT, needs_edgetpu


class FakeInterpreter:
    """As much of LiteRT's interpreter as the engine needs: doubles its input, or fails on request."""

    def __init__(self, model_path: str, num_threads: int | None, **options: Any) -> None:
        self.path, self.options = model_path, options
        if "damaged" in model_path:
            raise ValueError("model.cc:1\nThe model is not a valid Flatbuffer file")

    def allocate_tensors(self) -> None: ...

    def get_input_details(self) -> list[dict[str, Any]]:
        return [{"index": 0, "name": "x", "shape": np.array([1, 2]), "dtype": np.float32}]

    def get_output_details(self) -> list[dict[str, Any]]:
        return [{"index": 1, "name": "y", "shape": np.array([1, 2]), "dtype": np.float32}]

    def set_tensor(self, index: int, array: Any) -> None:
        self.x = array

    def invoke(self) -> None:
        if "broken" in self.path:
            raise RuntimeError("Node number 3 failed to invoke.")

    def get_tensor(self, index: int) -> Any:
        return 2 * self.x


def no_device(library: str) -> None:
    raise ValueError(f"Failed to load delegate from {library}")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    module = SimpleNamespace(
        Interpreter=FakeInterpreter,
        OpResolverType=SimpleNamespace(BUILTIN_REF="reference"),
        load_delegate=no_device,
    )
    monkeypatch.setitem(sys.modules, "ai_edge_litert", SimpleNamespace(interpreter=module))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)
    return module


def test_without_litert(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(NetcError, match=r"LiteRT can't be used(.|\n)*pip install 'netc\[litert\]'"):
        LiteRT("m.tflite")


def test_runs_and_checks_its_inputs(fake: SimpleNamespace) -> None:
    engine = LiteRT("m.tflite", reference=True)
    assert engine._interpreter.options == {"experimental_op_resolver_type": "reference"}
    x = np.array([[1, 2]], np.float32)
    np.testing.assert_array_equal(engine(x), 2 * x)
    with pytest.raises(NetcError, match=r"input `x` takes float32\[1, 2\], not float64\[1, 3\]"):
        engine(np.zeros((1, 3)))
    with pytest.raises(NetcError, match="takes 1 input"):
        engine(x, x)


def test_what_litert_refuses(fake: SimpleNamespace) -> None:
    with pytest.raises(NetcError, match=r"can't load damaged\.tflite: The model is not a valid Flatbuffer file$"):
        LiteRT("damaged.tflite")
    with pytest.raises(NetcError, match=r"can't run broken\.tflite: Node number 3"):
        LiteRT("broken.tflite")(np.zeros((1, 2), np.float32))


def test_edge_tpu_without_library_or_device(fake: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(NetcError, match=r"library .*edgetpu.* can't be loaded"):
        LiteRT("m.tflite", edgetpu=True)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    with pytest.raises(NetcError, match=r"no Edge TPU could be opened: Failed to load delegate"):
        LiteRT("m.tflite", edgetpu=True)
    fake.load_delegate = lambda library: "delegate"
    assert LiteRT("m.tflite", edgetpu=True)._interpreter.options == {"experimental_delegates": ["delegate"]}


def test_files_for_the_edge_tpu_are_recognised() -> None:
    for operator, wanted in (("edgetpu-custom-op", True), ("Other", False)):
        b = GraphBuilder("net")
        x = b.input("x", TensorType(DType.I8, (1, 4)))
        graph = b.finish([b.operation(lookup("opaque"), [x], {"operator": operator, "results": ("i8[1,4]",)}).result])
        assert needs_edgetpu(graph) is wanted


@pytest.mark.parametrize("reference", [False, True])
def test_litert_itself(tmp_path: Path, reference: bool) -> None:
    pytest.importorskip("ai_edge_litert")
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (2, 5)))
    graph = b.finish([b.emit("relu", b.emit("add", x, b.constant(np.ones(5, np.float32))))])
    path = tmp_path / "m.tflite"
    path.write_bytes(to_tflite(graph))
    values = np.random.default_rng(0).standard_normal((2, 5)).astype(np.float32)
    np.testing.assert_allclose(LiteRT(path, reference=reference)(values), evaluate(graph, [values])[0], rtol=1e-6)
