"""`netc train` and `netc eval` with targets that aren't one class for each sample, with the compiled trainer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netc.runtime.training.run import read_records

from .conftest import Call

NETS = """\
net plain(x: f32[N, 4], k = 1) { return x |> dense@fc(k) }
net several(x: f32[N, 4]) { return x |> dense@fc(3) }
train several { loss = sigmoid_cross_entropy }
net series(x: f32[N, 10, 2]) { return x |> conv@c(4, 3) |> relu |> global_avg_pool |> dense@fc(2) }
block double(x, filters) {
  for i in range(2) { x = x |> conv@"conv{i + 1}"(filters, 3, bias = false) |> batch_norm@"bn{i + 1}" |> relu }
  return x
}
net unet(image: f32[N, 16, 16, 3], classes = 2) {
  first = image |> double@down0(4)
  second = first |> max_pool(2) |> double@down1(8)
  third = concat(first, second |> conv_transpose@up0(4, 2, stride = 2)) |> double@dec0(4)
  return third |> conv@head(classes, 1)
}
preprocess unet { divide = 255 }
train unet { data = "maskfolder:shapes"; optimizer = adam(lr = 0.03); augment = [crop(1), flip] }
block own(scores: f32[N, H, W, C], labels: i32[N, H, W]) {
  return -reduce_sum(log_softmax(scores) * one_hot(labels, depth = C), axes = [1, 2, 3]) / (H * W)
}
block many(scores: f32[N, C], wanted: f32[N, C]) { return (scores - wanted) * (scores - wanted) }
"""
WEIGHT = np.random.default_rng(7).normal(size=(4, 3))


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.net").write_text(NETS)


def save(name: str, targets: Any, samples: tuple[int, ...] = (4,)) -> str:
    """Samples of random numbers, and what `targets` makes of them."""
    arrays: dict[str, Any] = {}
    for seed, (split, count) in enumerate((("train", 96), ("test", 20))):
        x = np.random.default_rng(seed).normal(size=(count, *samples)).astype(np.float32)
        arrays |= {f"x_{split}": x, f"y_{split}": targets(x)}
    np.savez(name, **arrays)
    return name


def train(netc: Call, net: str, *options: object) -> tuple[str, str, list[Mapping[str, Any]]]:
    """What is printed, and the records of epochs."""
    arguments = ("nets.net", "--net", net, "--epochs", 6, "--batch", 16, "--run-dir", "run", "--threads", 1)
    result = netc("train", *arguments, *options)
    assert result.code == 0, result.err
    return result.out, result.err, [r for r in read_records(Path("run")) if r["kind"] == "epoch"]


def evaluate(netc: Call, net: str, data: str, *options: object) -> dict[str, Any]:
    arguments = ("nets.net", "--net", net, "--weights", "run/best.safetensors", "--data", data, "--batch", 7)
    result = netc("eval", *arguments, "--json", *options)
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


MSE = ("--loss", "mean_squared_error", "--optimizer", "adam(lr=0.1)")


def test_values_of_rank_1(netc: Call) -> None:
    """[N] against [N, 1] doesn't broadcast to [N, N]: the loss would stay near the targets' variance."""
    data = save("data.npz", lambda x: x @ WEIGHT[:, 0])
    out, err, epochs = train(netc, "plain", "--data", data, *MSE)
    assert err == "note: targets of data.npz [N] are reshaped to [N,1]\n"
    assert "mean absolute error" in out
    assert epochs[-1]["test_mean_squared_error"] < 0.3 * epochs[0]["test_mean_squared_error"]
    best = min(epochs, key=lambda epoch: epoch["test_mean_squared_error"])
    found = evaluate(netc, "plain", data)
    assert found["mean_absolute_error"] == pytest.approx(best["test_mean_absolute_error"], rel=1e-5)
    assert (found["samples"], "accuracy" in epochs[0]) == (20, False)
    text = netc("eval", "nets.net", "--net", "plain", "--weights", "run/best.safetensors", "--data", data).out
    assert text.splitlines()[1].startswith("mean absolute error ")


@pytest.mark.parametrize("columns", [1, 3])
def test_values_in_columns(netc: Call, columns: int) -> None:
    data = save("data.npz", lambda x: (x @ WEIGHT)[:, :columns])
    _, err, epochs = train(netc, "plain", "--data", data, *MSE, "--set", f"k={columns}")
    assert (err, epochs[-1]["loss"] < epochs[0]["loss"]) == ("", True)


def test_whole_numbers_as_values(netc: Call) -> None:
    """A recipe, or --loss, tells counts from classes."""
    data = save("data.npz", lambda x: np.rint(3 * x[:, 0]).astype(np.int64) + 9)
    train(netc, "plain", "--data", data, *MSE)
    arguments = ("eval", "nets.net", "--net", "plain", "--weights", "run/best.safetensors", "--data", data)
    assert "--loss mean_squared_error, if these are values" in netc(*arguments).err
    assert evaluate(netc, "plain", data, "--loss", "mean_squared_error")["mean_squared_error"] > 0


def test_several_decisions(netc: Call) -> None:
    data = save("data.npz", lambda x: (x @ WEIGHT > 0).astype(np.uint8))
    _, err, epochs = train(netc, "several", "--data", data, "--optimizer", "adam(lr=0.1)")
    last = epochs[-1]
    assert err == ""
    assert last["accuracy"] > 0.85
    assert 0.9 < last["test_mean_average_precision"] <= 1
    assert last["test_exact_accuracy"] <= last["test_hamming_accuracy"] <= 1
    found = evaluate(netc, "several", data)
    assert found["mean_average_precision"] == max(e["test_mean_average_precision"] for e in epochs)


def test_one_hot_rows(netc: Call) -> None:
    data = save("data.npz", lambda x: np.eye(3)[(x @ WEIGHT).argmax(axis=1)])
    _, err, epochs = train(
        netc, "plain", "--data", data, "--set", "k=3", "--optimizer", "adam(lr=0.1)", "--loss", "softmax_cross_entropy"
    )
    assert err == "note: targets of data.npz are one-hot rows [N,3]: taken as class numbers\n"
    found = evaluate(netc, "plain", data, "--set", "k=3")
    assert found["top1"] == max(e["test_accuracy"] for e in epochs) > 0.7


def test_series_of_vectors(netc: Call) -> None:
    data = save("data.npz", lambda x: (x.sum(axis=(1, 2)) > 0).astype(np.int64), (10, 2))
    _, _, epochs = train(netc, "series", "--data", data, "--optimizer", "adam(lr=0.05)")
    assert epochs[-1]["test_accuracy"] > 0.7


def test_an_own_loss_of_values(netc: Call) -> None:
    data = save("data.npz", lambda x: x @ WEIGHT)
    _, _, epochs = train(netc, "several", "--data", data, "--loss", "many", "--optimizer", "adam(lr=0.1)")
    assert epochs[-1]["test_mean_squared_error"] < 0.5 * epochs[0]["test_mean_squared_error"]


@pytest.mark.parametrize(
    ("net", "options", "message"),
    [
        ("plain", ("--loss", "mean_squared_error", "--set", "k=2"), "data.npz gives targets float64[N,3], but mean_sq"),
        ("several", ("--loss", "softmax_cross_entropy"), "several yes or no for each sample are for --loss sigmoid"),
        ("several", (), "sigmoid_cross_entropy takes targets from 0 to 1; those of data.npz go from"),
    ],
)
def test_what_does_not_fit_is_said_before_compiling(
    netc: Call, net: str, options: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netc.training_job.load_trainer", lambda *_: pytest.fail("it is compiled"))
    kind = np.int32 if "softmax_cross_entropy" in options else np.float64
    data = save("data.npz", lambda x: np.floor(9 * (x @ WEIGHT)).astype(kind))
    result = netc("train", "nets.net", "--net", net, "--data", data, "--run-dir", "run", *options)
    assert result.code == 2
    assert message in result.err
    assert not Path("run").exists()


# ---- a class for each pixel -----------------------------------------------------------------------------------------


def shapes(home: Path, side: int = 16, background: int = 0, inside: int = 1) -> None:
    """Bright discs on dark ground; the uppermost row is no class."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    for split, count in (("train", 48), ("val", 8)):
        for part in ("images", "masks"):
            (home / split / part).mkdir(parents=True)
        for i in range(count):
            (y, x), radius = random.integers(4, side - 4, 2), random.integers(3, 5)
            disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            pixels = random.normal(80, 15, (side, side, 3)) + 90 * disc[..., np.newaxis]
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(home / split / "images" / f"{i}.png")
            mask = np.where(disc, inside, background).astype(np.uint8)
            mask[0] = 255
            Image.fromarray(mask).save(home / split / "masks" / f"{i}.png")


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "own"])
def test_a_unet_learns_masks(netc: Call, tmp_path: Path, loss: str) -> None:
    shapes(tmp_path / "shapes")
    (tmp_path / "shapes/classes.txt").write_text("ground\ndisc\n")
    (tmp_path / "shapes/val/images/7.png").write_bytes(b"no picture")
    out, err, epochs = train(netc, "unet", "--workers", 0, "--loss", loss, "--epochs", 15)
    assert err == ""
    assert "test mean IoU" in out
    assert "7.png: not a picture" in out
    assert max(e["test_mean_iou"] for e in epochs) > 0.8
    assert epochs[-1]["accuracy"] > 0.9
    found = evaluate(netc, "unet", "maskfolder:shapes")
    assert found["mean_iou"] == max(e["test_mean_iou"] for e in epochs)
    assert (found["samples"], found["classes"]) == (7, ["ground", "disc"])
    assert np.sum(found["confusion"]) == 7 * 15 * 16
    arguments = ("--weights", "run/best.safetensors", "--data", "maskfolder:shapes")
    lines = netc("eval", "nets.net", "--net", "unet", *arguments).out.splitlines()
    assert lines[1].split()[:2] == ["mean", "IoU"]
    assert [line.split()[0] for line in lines[-2:]] == ["ground", "disc"]
    if loss == "own":
        return
    calibrated = ("nets.net", "--net", "unet", "--weights", "run/best.safetensors", "--calibrate", "maskfolder:shapes")
    assert netc("quantize", *calibrated, "-o", "unet.tflite").code == 0
    integers = json.loads(netc("eval", "unet.tflite", "--data", "maskfolder:shapes", "--json").out)
    assert abs(integers["mean_iou"] - found["mean_iou"]) < 0.05
    refused = netc("quantize", *calibrated, "-o", "no.tflite", "--eval", "maskfolder:shapes")
    assert (refused.code, Path("no.tflite").exists()) == (2, False)
    assert "compared by the classes of samples, which maskfolder:shapes doesn't give" in refused.err


def test_masks_in_arrays_and_one_score(netc: Call, tmp_path: Path) -> None:
    """Pictures of 24 x 24 pixels are brought to the net's size, and their masks with them."""
    arrays: dict[str, Any] = {}
    for split, count in (("train", 32), ("test", 8)):
        masks = np.zeros((count, 24, 24), np.uint8)
        for i in range(count):
            masks[i, :, : 6 + i % 12] = 1
        arrays |= {f"x_{split}": np.stack([60 + 120 * masks] * 3, axis=-1), f"y_{split}": masks}
    np.savez("seg.npz", **arrays)
    options = ("--data", "seg.npz", "--set", "classes=1", "--loss", "sigmoid_cross_entropy", "--augment", "flip")
    _, _, epochs = train(netc, "unet", *options)
    assert epochs[-1]["test_mean_iou"] > 0.8


@pytest.mark.parametrize(
    ("inside", "options", "message"),
    [
        (2, (), "masks/0.png has class 2, but the net has 2 classes\n  hint: --set classes=3"),
        (1, ("--set", "classes=1", "--loss", "sigmoid_cross_entropy"), "has class 255, but the net has 2 classes"),
        (
            1,
            ("--loss", "mean_squared_error"),
            "gives a class number for each pixel, but mean_squared_error of net unet",
        ),
        (1, ("--net", "plain"), "the input of net plain is f32[128,4], not pictures"),
    ],
)
def test_masks_that_do_not_fit(netc: Call, tmp_path: Path, inside: int, options: tuple[str, ...], message: str) -> None:
    shapes(tmp_path / "shapes", inside=inside)
    result = netc("train", "nets.net", "--net", "unet", "--data", "maskfolder:shapes", "--run-dir", "run", *options)
    assert result.code == 2
    assert message in result.err
    assert not Path("run").exists()
