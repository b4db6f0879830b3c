"""A data set is one class in one file: what trains, evaluates, calibrates and explains needs no other change."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from netc.classes import class_labels
from netc.data_help import data_table
from netc.loading import load
from netc.runtime.data import registry
from netc.runtime.data.images import decode
from netc.runtime.data.kinds import NamedSet, PathKind, SampleType
from netc.runtime.data.registry import path_of, register
from netc.runtime.data.source import ArraySource, FileSource

from .conftest import Call

ROOT = Path(__file__).parents[2]
NET = """\
net sides(image: f32[N, 8, 8, 1]) { return image |> flatten |> dense@fc(2) }
preprocess sides { divide = 255, labels = "sides" }
"""


def bright(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise that is brighter at the left (label 0) or at the right (label 1): uint8 [count, 8, 8, 1]."""
    labels = np.arange(count) % 2
    pictures = np.random.default_rng(0).integers(0, 100, (count, 8, 8, 1), np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        picture[:, 4 * label : 4 * label + 4] += 150
    return labels, pictures


@pytest.fixture(autouse=True)
def own_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    registry.source_kinds()
    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))


@pytest.fixture
def sides() -> None:
    """A data set in memory."""

    @register
    class Sides(NamedSet):
        name = spelling = home = "sides"
        summary = "noise that is brighter on one side"
        origin = "it is made up"
        sample = SampleType("uint8", (8, 8, 1), 0, 255)
        classes = ("left", "right")

        def open(self, where: Path, split: str) -> ArraySource:
            return self.arrays(*bright(64 if split == "train" else 32))


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A net that tells sides."""
    path = tmp_path / "sides.net"
    path.write_text(NET, encoding="utf-8")
    return path


@pytest.mark.parametrize("command", ["train", "eval", "quantize"])
def test_help_lists_it(netc: Call, sides: None, command: str) -> None:
    assert re.search(r"^  sides +noise that is brighter on one side\.$", netc(command, "--help").out, re.MULTILINE)
    assert (
        "| `sides` | noise that is brighter on one side | train, test | uint8 [8, 8, 1], 0 to 255 | 2: left, right |"
        in (data_table())
    )


def test_it_is_trained_from_evaluated_on_and_calibrated_with(
    netc: Call, sides: None, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETC_DATA", str(tmp_path))
    run = tmp_path / "run"
    trained = netc("train", net, "--data", "sides", "--epochs", 5, "--batch", 16, "--threads", 1, "--run-dir", run)
    assert trained.code == 0, trained.err
    weights = run / "best.safetensors"
    evaluated = json.loads(netc("eval", net, "--weights", weights, "--data", "sides", "--json").out)
    assert (evaluated["samples"], evaluated["top1_correct"]) == (32, 32)
    files = ("-o", tmp_path / "s.tflite", "--report", tmp_path / "s.json")
    quantized = netc("quantize", net, "--weights", weights, "--calibrate", "sides", "--samples", 20, *files)
    assert "calibrated on 20 samples" in quantized.out
    assert "sides, 12 samples, without 20 seen in calibration: top-1 100.00% as floats" in quantized.out
    assert json.loads(netc("eval", tmp_path / "s.tflite", "--data", "sides(classes=[1, 0])", "--json").out) == {
        **evaluated,
        "top1_correct": 32,
    }


def test_its_classes_name_those_of_a_net(sides: None, net: Path) -> None:
    assert class_labels(load(net), str(net)).names == ("left", "right")


def test_unknown_data_lists_it(netc: Call, sides: None, net: Path) -> None:
    assert "there are cifar10, imagenet-samples, mnist, sides, coco:DIR, imagefolder:DIR" in (
        netc("train", net, "--data", "nothing", "--epochs", 1).err
    )


def test_a_kind_that_is_called_by_a_path(netc: Call, net: Path, tmp_path: Path) -> None:
    @register
    class Flat(PathKind):
        name = "flat"
        spelling = "flat:DIR"
        summary = "pictures whose names begin with their class"

        def path(self, text: str) -> Path | None:
            return Path(text.removeprefix("flat:")) if text.startswith("flat:") else None

        def open(self, where: Path, split: str) -> FileSource:
            keys = sorted(map(str, where.glob("*.png")))
            labels = np.array([int(Path(key).name[0]) for key in keys], np.int32)
            return FileSource(f"flat:{where}", 2, labels, keys, decode)

    (tmp_path / "flat").mkdir()
    for number, (label, picture) in enumerate(zip(*bright(32), strict=True)):
        Image.fromarray(picture[:, :, 0]).save(tmp_path / "flat" / f"{label}-{number}.png")
    data = f"flat:{tmp_path / 'flat'}"
    options = ("--epochs", 1, "--batch", 16, "--threads", 1, "--workers", 0, "--run-dir", tmp_path / "run")
    assert netc("train", net, "--data", data, *options).code == 0
    weights = tmp_path / "run" / "best.safetensors"
    assert json.loads(netc("eval", net, "--weights", weights, "--data", data, "--json").out)["samples"] == 32
    quantized = netc("quantize", net, "--weights", weights, "--calibrate", data, "-o", tmp_path / "s.tflite")
    assert "calibrated on 32 samples" in quantized.out
    assert path_of(data) == tmp_path / "flat"
    net.write_text(f'{NET}train sides {{ data = "flat:{tmp_path.parent}", schedule = cosine(epochs = 1) }}\n')
    assert "lies outside the folder of the network" in netc("train", net).err


def test_names_are_taken_once(sides: None) -> None:
    class Again(NamedSet):
        name = "sides"

    with pytest.raises(ValueError, match="data source sides is defined twice"):
        register(cast(Any, Again))


def test_arrays_calibrate_what_takes_no_pictures(netc: Call, tmp_path: Path) -> None:
    net = tmp_path / "rows.net"
    net.write_text("net rows(x: f32[N, 6]) { return x |> dense@fc(2) }\n")
    values = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x_test=values, y_test=np.arange(50) % 2)
    quantized = netc(
        "quantize", net, "--calibrate", tmp_path / "rows.npz", "--samples", 30, "-o", tmp_path / "r.tflite"
    )
    assert "calibrated on 30 samples" in quantized.out


@pytest.mark.parametrize(("file", "name"), [("mnist.txt", "mnist"), ("cifar10.txt", "cifar10")])
def test_labels_that_ship_are_those_of_the_data(file: str, name: str) -> None:
    assert tuple((ROOT / "models" / file).read_text().split()) == registry.class_names(name)


def test_the_documentation_shows_the_registry(update_golden: bool) -> None:
    path = ROOT / "docs" / "command-line.md"
    marks = re.compile(r"(?<=<!-- begin of data_table -->\n).*(?=<!-- end of data_table -->)", re.DOTALL)
    text = path.read_text(encoding="utf-8")
    current = marks.sub(lambda match: data_table(), text)
    if update_golden:
        path.write_text(current, encoding="utf-8")
    assert marks.search(text)
    assert current == path.read_text(encoding="utf-8"), "the table of data is out of date; run pytest --update-golden"
