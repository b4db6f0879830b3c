"""What `netc train` and `netc eval` learn from data: pictures in folders, classes, numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

import netc as package

from ..conftest import Call


def test_pictures_in_folders(netc: Call, net: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        for label, name in enumerate("abc"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                Image.fromarray(np.full((6, 5), 80 * label + number, np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "images" / "train" / "a" / "bad.jpg").write_bytes(b"no picture")
    (tmp_path / "images" / "val" / "b" / "worse.jpg").write_bytes(b"no picture")
    outputs = []
    for workers in (0, 2):
        options = ("--data", "imagefolder:images", "--workers", workers, "--batch", 4, "--augment", "flip")
        result = netc("train", net, *options, "--run-dir", f"run{workers}")
        assert (result.code, result.err) == (0, "")
        assert all(result.out.count(f"{name}.jpg: not a picture") == 1 for name in ("bad", "worse"))
        assert "skipped 2 pictures" in result.out
        outputs.append(Path(f"run{workers}", "last.safetensors").read_bytes())
    assert outputs[0] == outputs[1]
    result = netc("eval", net, "--weights", "run0/last.safetensors", "--data", "imagefolder:images")
    assert "12 samples" in result.out
    assert result.err.startswith("skipped: can't read picture images/val/b/worse.jpg")


def pictures(folder: Path, names: tuple[str, ...]) -> None:
    """Pictures of 4 x 4 pixels, of which one, the class's own, is bright."""
    random = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        for number, name in enumerate(names):
            (folder / split / name).mkdir(parents=True)
            for i in range(count):
                values = random.integers(0, 60, 16)
                values[number] = 255
                Image.fromarray(values.reshape(4, 4).astype(np.uint8)).save(folder / split / name / f"{i}.png")


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("cat", "dog"), '["dog", "cat"]'),
        (tuple(map(str, range(12))), str([str(i) for i in range(12)]).replace("'", '"')),
        (("cat", "dog"), None),
    ],
)
def test_folders_and_labels_agree(
    netc: Call, net: Path, tmp_path: Path, real: None, names: tuple[str, ...], labels: str | None
) -> None:
    """What is trained on a folder is called like the folder, whatever the order; `run.json` has the list."""
    pictures(tmp_path / "pics", names)
    line = f"divide = 255, labels = {labels}" if labels else "divide = 255"
    text = net.read_text().replace("divide = 255, mean = 0.5", line)
    net.write_text(text.replace("classes = 3", f"classes = {len(names)}"))
    options = ("--data", "imagefolder:pics", "--batch", 16, "--epochs", 12, "--workers", 0)
    result = netc("train", net, *options, "--run-dir", "run")
    assert result.code == 0, result.err
    assert ("in another order" in result.err) == (labels is not None)
    weights = ("--weights", "run/best.safetensors")
    assert "100.00%" in netc("eval", net, *weights, "--data", "imagefolder:pics").out
    for name in (names[0], names[-1], "2" if "2" in names else names[1]):
        answer = netc("run", net, *weights, "--image", tmp_path / "pics" / "val" / name / "0.png", "--json")
        assert json.loads(answer.out)[0]["name"] == name
    kept = json.loads(Path("run/run.json").read_text())["recipe"]["classes"]
    assert kept == (json.loads(labels) if labels else list(names))
    (tmp_path / "pics" / "train" / names[0]).rename(tmp_path / "pics" / "train" / "zebra")
    (tmp_path / "pics" / "val" / names[0]).rename(tmp_path / "pics" / "val" / "zebra")
    assert netc("train", "--resume", "run").code == 2


def test_one_class_fewer_is_no_background(netc: Call, tmp_path: Path, real: None) -> None:
    (tmp_path / "pick.net").write_text("net pick(x: f32[N, 3]) { return x |> dense@d(3) }\n")
    save_file(
        {"d.weight": np.eye(3, dtype=np.float32), "d.bias": np.zeros(3, np.float32)}, tmp_path / "eye.safetensors"
    )
    labels = np.array([0, 1, 0, 1, 1, 0, 0, 1])
    x = np.eye(3, dtype=np.float32)[labels]
    np.savez(tmp_path / "two.npz", x_test=x, y_test=labels, x_train=x, y_train=labels)
    arguments = (
        "eval",
        tmp_path / "pick.net",
        "--weights",
        tmp_path / "eye.safetensors",
        "--data",
        "two.npz",
        "--json",
    )
    assert json.loads(netc(*arguments).out)["top1"] == 1
    assert json.loads(netc(*arguments, "--background").out)["top1"] == 0
    assert netc("train", tmp_path / "pick.net", "--data", "two.npz", "--batch", 4, "--run-dir", "r").code == 0
    program = package.compile(tmp_path / "pick.net", weights="r/best.safetensors")
    assert [int(program(np.eye(3, dtype=np.float32)[i : i + 1]).argmax()) for i in (0, 1)] == [0, 1]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64", "float32", "float64"])
def test_eval_of_the_same_numbers(netc: Call, tmp_path: Path, dtype: str) -> None:
    text = "net b(image: f32[N, 2, 2, 1]) { return image |> flatten |> dense@d(2) }\n"
    (tmp_path / "b.net").write_text(text + "preprocess b { divide = 255, mean = 0.5 }\n")
    weights = {"d.weight": np.array([[-1] * 4, [1] * 4], np.float32), "d.bias": np.zeros(2, np.float32)}
    save_file(weights, tmp_path / "w.safetensors")
    x = np.repeat(np.array([10, 60, 200, 250, 100, 150]), 4).astype(dtype)
    arguments = ("eval", tmp_path / "b.net", "--weights", tmp_path / "w.safetensors", "--data", "d.npz", "--json")
    for shape in ((6, 2, 2, 1), (6, 2, 2), (6, 4), (6, 1, 2, 2)):
        np.savez("d.npz", x_test=x.reshape(shape), y_test=[0, 0, 1, 1, 0, 1])
        result = netc(*arguments)
        assert json.loads(result.out)["top1"] == 1
        said = f"note: x_test in d.npz is {dtype} from 10 to 250: preprocess is applied\n"
        assert result.err == ("" if dtype == "uint8" else said)
    np.savez("d.npz", x_test=np.stack([x.reshape(6, 2, 2)] * 3, axis=1), y_test=[0, 0, 1, 1, 0, 1])
    assert netc(*arguments).code == 2


def test_eval_of_one_column_takes_what_training_takes(netc: Call, tmp_path: Path) -> None:
    """A perceptron has one output for two classes; it says 1 where the first value is above 0."""
    (tmp_path / "p.net").write_text("net p(x: f32[N, 4]) { return x |> dense@fc(1) }\n")
    weights = {"fc.weight": np.array([[1, 0, 0, 0]], np.float32), "fc.bias": np.zeros(1, np.float32)}
    save_file(weights, tmp_path / "p.safetensors")
    x = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    labels = (x[:, 0] > 0).astype(np.int32)
    labels[:5] = 1 - labels[:5]
    np.savez(tmp_path / "d.npz", x_test=x, y_test=labels)
    arguments = ("eval", tmp_path / "p.net", "--weights", tmp_path / "p.safetensors", "--data", tmp_path / "d.npz")
    assert json.loads(netc(*arguments, "--batch", "8", "--json").out)["top1_correct"] == 15
    assert json.loads(netc(*arguments, "--limit", "6", "--json").out)["top1_correct"] == 1
