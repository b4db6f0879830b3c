"""What a file is: by its name, by its first bytes, and one message where they disagree."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import netc
from netc.cli import main
from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.image import SAVED_MAGIC
from netc.compiler.types import DType, TensorType
from netc.frontend import FORMATS, Choices, Format, format_of
from netc.frontend.formats import HEAD

NET = "net tiny(x: f32[N, 4]) { return x |> relu }\n"
COMMENT = "// " + "long " * 100 + "\n"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    """The content of a file of each format."""
    (tmp_path / "tiny.net").write_text(NET)
    graph = netc.load(tmp_path / "tiny.net")
    netc.write_tflite(graph, tmp_path / "tiny.tflite")
    text = f"\n{COMMENT}{graph}\n".encode()
    return {"net": (COMMENT + NET).encode(), "graph": text, "tflite": (tmp_path / "tiny.tflite").read_bytes()}


@pytest.mark.parametrize("name", ["net", "graph", "tflite"])
@pytest.mark.parametrize("suffix", ["own", "", ".bin", ".v2"])
def test_content_tells_what_a_file_is(tmp_path: Path, files: dict[str, bytes], name: str, suffix: str) -> None:
    path = tmp_path / f"model{FORMATS[name].suffixes[0] if suffix == 'own' else suffix}"
    path.write_bytes(files[name])
    assert format_of(path) is FORMATS[name]
    np.testing.assert_array_equal(netc.compile(path, threads=1)(np.float32([[-1, 2, -3, 4]])), [[0, 2, 0, 4]])


@pytest.mark.parametrize("name", ["net", "graph", "tflite"])
@pytest.mark.parametrize("suffix", [".net", ".ir", ".tflite"])
def test_a_content_that_contradicts_the_name(
    tmp_path: Path, files: dict[str, bytes], name: str, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if suffix in FORMATS[name].suffixes:
        return
    path = tmp_path / f"model{suffix}"
    path.write_bytes(files[name])
    right = f"call it `model{FORMATS[name].suffixes[0]}`"
    for command in ("show", "compile", "check", "run", "train"):
        assert main([command, str(path)]) == 2
        told = capsys.readouterr().err
        assert f"{path} is named like a " in told
        assert f", but holds a {FORMATS[name].name}\n" in told
        assert right in told
    assert main(["check", str(path), "--json"]) == 2
    (found,) = json.loads(capsys.readouterr().out)
    assert found["hint"] == right


def test_what_nobody_recognises(tmp_path: Path) -> None:
    """The name counts; without one that tells, it is a .net file, and so are the shipped nets."""
    for name, expected in (("a.tflite", "tflite"), ("a.TFLITE", "tflite"), ("a.ir", "graph"), ("a.net", "net")):
        (tmp_path / name).write_bytes(b"\xff\x00")
        assert format_of(tmp_path / name) is FORMATS[expected]
    for source in ("resnet50", tmp_path, tmp_path / "none", tmp_path / "none.bin", "nul\0l", "/dev/null"):
        assert format_of(source) is FORMATS["net"]
    assert format_of(tmp_path / "none.tflite") is FORMATS["tflite"]


def test_saved_programs_are_no_networks(tmp_path: Path) -> None:
    for name in ("a.netc", "a.net", "a.onnx"):
        (tmp_path / name).write_bytes(SAVED_MAGIC + bytes(100))
        with pytest.raises(NetcError, match="is a saved program, which holds code and no network"):
            format_of(tmp_path / name)


def test_nothing_else_is_called_like_saved_programs(tmp_path: Path) -> None:
    path = tmp_path / "a.netc"
    for content in (b"", b"\xff\x00", b"net a(x: f32[N, 4]) { return x |> relu }"):
        path.write_bytes(content)
        with pytest.raises(NetcError, match="is no saved program"):
            format_of(path)
    assert format_of(tmp_path / "none.netc") is FORMATS["net"]


def test_a_name_in_the_place_of_an_identifier(tmp_path: Path) -> None:
    """`TFL3` stands where TFLite has its identifier."""
    path = tmp_path / "model"
    path.write_text("net TFL3(x: f32[N, 4]) { return x |> relu }\n")
    assert format_of(path) is FORMATS["net"]


def test_characters_at_the_end_of_what_is_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_text(NET + "//" + "ü" * HEAD)
    assert format_of(path) is FORMATS["net"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"net": "x"}, "is a graph in text form: it has no nets, sizes or hyperparameters to choose"),
        ({"settings": {"width": 3}}, "it has no nets, sizes or hyperparameters to choose"),
        ({"batch": 3}, "the batch of .* is fixed, it can't be 3"),
    ],
)
def test_graphs_leave_nothing_to_choose(
    tmp_path: Path, files: dict[str, bytes], options: dict[str, object], message: str
) -> None:
    (tmp_path / "g.ir").write_bytes(files["graph"])
    with pytest.raises(netc.NetcError, match=message):
        netc.load(tmp_path / "g.ir", **options)


def test_an_error_in_a_graph_shows_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "g.ir").write_text("graph @g(%x: f32[2]) -> (f32[2]) {\n  %0 = rule(%x) : f32[2]\n  return %0\n}\n")
    assert main(["compile", str(tmp_path / "g.ir")]) == 2
    assert "g.ir:2:8: error" in (told := capsys.readouterr().err)
    assert "2 |   %0 = rule(%x) : f32[2]" in told


# ---- a format of somebody else's ------------------------------------------------------------------------------------


def _read_toy(path: object, choices: Choices) -> Graph:
    """A relu of as many numbers as the file says."""
    size = int(Path(str(path)).read_text().split()[1])
    b = GraphBuilder("toy")
    return b.finish([b.emit("relu", b.input("x", TensorType(DType.F32, (choices.batch, size))))])


@pytest.mark.parametrize("name", ["a.toy", "a"])
def test_a_format_is_a_row(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    toy = Format("toy file", (".toy",), lambda head: head.startswith(b"TOY "), _read_toy, has_weights=True)
    monkeypatch.setitem(FORMATS, "toy", toy)
    path = tmp_path / name
    path.write_text("TOY 3")
    program = netc.compile(path, batch=2, threads=1)
    np.testing.assert_array_equal(program(np.float32([[-1, 0, 1], [2, -2, 3]])), [[0, 0, 1], [2, 0, 3]])
    assert main(["show", str(path)]) == 0
    assert "net toy(x: f32[1,3]) -> f32[1,3]" in capsys.readouterr().out
    assert main(["check", str(path)]) == 0
    assert main(["run", str(path), "--engine", "litert"]) == 2
    assert f"LiteRT runs .tflite files, not {path}" in capsys.readouterr().err
    data = {
        f"{kind}_{split}": np.zeros((4, 3)[: 1 + (kind == "x")], np.float32)
        for kind in "xy"
        for split in ("train", "test")
    }
    np.savez(tmp_path / "data.npz", **data)
    assert main(["eval", str(path), "--data", str(tmp_path / "data.npz"), "--weights", "w.safetensors"]) == 2
    assert "holds no weights of floats" in capsys.readouterr().err
    path.rename(tmp_path / "b.net")
    assert main(["show", str(tmp_path / "b.net")]) == 2
    assert "is named like a .net file, but holds a toy file" in capsys.readouterr().err
