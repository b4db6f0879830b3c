"""Networks that take channels first: the command line feeds them pictures, transposed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import netc as package
from netc.compiler.errors import Note
from netc.loading import load
from netc.runtime.weights import initial_weights, write_weights

from .conftest import Call

BODY = "conv@conv1(4, 3) |> relu |> global_avg_pool |> dense@fc(3)"
NETS = f"""\
net last(image: f32[N, 10, 12, 3]) {{ return image |> {BODY} }}
net grey(image: f32[N, 10, 12, 1]) {{ return image |> {BODY} }}
net flat(image: f32[N, 10, 12]) {{ return reshape(image, shape = [N, 10, 12, 1]) |> {BODY} }}
net first(image: f32[N, 3, 10, 12]) {{ return image |> transpose(permutation = [0, 2, 3, 1]) |> {BODY} }}
"""
ORDERS = ("last", "first")


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    """Two networks that differ in the order of their input, with weights that fit both, and labelled pictures."""
    path = tmp_path / "nets.net"
    path.write_text(NETS)
    graph = load(path, net="last")
    write_weights(tmp_path / "w.safetensors", graph, initial_weights(graph, seed=3))
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (12, 10, 12, 3), np.uint8)
    labels = np.arange(12) % 3
    np.savez(tmp_path / "d.npz", x_train=pictures, y_train=labels, x_test=pictures, y_test=labels)
    Image.fromarray(rng.integers(0, 256, (30, 20, 3), np.uint8)).save(tmp_path / "p.png")
    return path


def test_the_order_changes_no_answer(netc: Call, nets: Path) -> None:
    weights = ("--weights", nets.parent / "w.safetensors")
    said = []
    for order in ORDERS:
        run = netc("run", nets, "--net", order, *weights, "--image", nets.parent / "p.png")
        scored = netc("eval", nets, "--net", order, *weights, "--data", nets.parent / "d.npz", "--json", "--batch", 5)
        assert (run.code, scored.code) == (0, 0), run.err + scored.err
        said.append((run.out, scored.out))
    assert said[0] == said[1]


def test_grey_pictures_need_no_dimension_of_channels(netc: Call, nets: Path) -> None:
    folder = nets.parent / "folder"
    for i in range(6):
        path = folder / "val" / f"c{i % 3}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (10, 12), np.uint8)).save(path)
    graph = load(nets, net="grey")
    write_weights(nets.parent / "g.safetensors", graph, initial_weights(graph, seed=3))
    weights = ("--weights", nets.parent / "g.safetensors")
    said = []
    for net in ("grey", "flat"):
        run = netc("run", nets, "--net", net, *weights, "--image", nets.parent / "p.png")
        scored = netc("eval", nets, "--net", net, *weights, "--data", f"imagefolder:{folder}", "--json")
        assert (run.code, scored.code) == (0, 0), run.err + scored.err
        said.append((run.out, scored.out))
        made = netc(
            "quantize", nets, "--net", net, *weights, "--calibrate", folder, "-o", nets.parent / f"{net}.tflite"
        )
        assert made.code == 0, made.err
    assert said[0] == said[1]


def test_files_of_integers_and_other_engines(netc: Call, nets: Path) -> None:
    said = []
    for order in ORDERS:
        path = nets.parent / f"{order}.tflite"
        options = ("--weights", nets.parent / "w.safetensors", "--calibrate", nets.parent / "d.npz")
        made = netc("quantize", nets, "--net", order, *options, "-o", path)
        assert made.code == 0, made.err
        said.append(netc("run", path, "--image", nets.parent / "p.png").out)
        if order == "first":
            pytest.importorskip("ai_edge_litert")
            said.append(netc("run", path, "--image", nets.parent / "p.png", "--engine", "litert-reference").out)
    assert len(set(said)) == 1
    assert said[0]


def test_training_takes_channels_first(netc: Call, nets: Path) -> None:
    command = ("train", nets, "--net", "first", "--data", nets.parent / "d.npz", "--epochs", 1, "--batch", 4)
    trained = netc(*command, "--run-dir", nets.parent / "run")
    assert trained.code == 0, trained.err


def test_settings_of_pictures_on_the_command_line(netc: Call, nets: Path) -> None:
    weights = ("--weights", nets.parent / "w.safetensors")
    run = ("run", nets, "--net", "last", *weights, "--image", nets.parent / "p.png")
    plain = netc(*run)
    assert netc(*run, "--preprocess", "divide=255").out == plain.out
    assert netc(*run, "--preprocess", "divide=127.5", "--preprocess", "mean=[1,1,1]").out != plain.out
    for wrong, problem in (("divide=0", "divide must be a positive number"), ("x", "--preprocess takes NAME=VALUE")):
        result = netc(*run, "--preprocess", wrong)
        assert (result.code, result.out) == (2, "")
        assert problem in result.err


def test_a_layout_that_changes_nothing_is_said(nets: Path) -> None:
    with pytest.warns(Note, match="--layout nhwc changes nothing in last"):
        package.load(nets, net="last", layout="nhwc")
    assert package.load(nets, net="first", layout="nhwc").inputs[0].type.shape == (1, 10, 12, 3)
