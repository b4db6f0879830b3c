"""`netc train` and `netc plot`, with a softmax regression in NumPy in the place of the compiled trainer."""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file, save_file

import netc as package
from netc.compiler.graph.ir import Graph
from netc.runtime.training.run import read_records
from netc.runtime.weights import initial_weights, write_weights

from .conftest import Call

NET = """\
net tiny(image: f32[N, 4, 4, 1], classes = 3) {
  return image |> flatten |> dense@fc(classes)
}
preprocess tiny { divide = 255, mean = 0.5 }
train tiny {
  data = "DATA"
  optimizer = sgd(lr = 0.5, momentum = 0.9)
  schedule = cosine(epochs = 3)
  batch = 8
}
"""


class Trainer:
    """Trains `fc` of the net above."""

    peak_bytes = 1000

    def __init__(self, graph: Graph, **options: Any) -> None:
        self.graph, self.options = graph, options
        self.batch, self.seed = options["batch"], options["seed"]
        self.weights = {name: np.array(v) for name, v in dict(initial_weights(graph, self.seed)).items()}
        self.metrics: Mapping[str, float] = {}
        self.steps = 0
        self.interrupt_at = -1
        self.fail_at = -1

    def step(self, x: NDArray[np.float32], labels: NDArray[np.int32]) -> float:
        weight, bias = self.weights["fc.weight"], self.weights["fc.bias"]
        flat = x.reshape(len(x), -1)
        scores = flat @ weight + bias
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        errors = (shares - np.eye(len(bias), dtype=np.float32)[labels]) / np.float32(len(x))
        weight -= np.float32(0.5) * (flat.T @ errors)
        bias -= np.float32(0.5) * errors.sum(axis=0)
        self.steps += 1
        correct = float((scores.argmax(axis=1) == labels).sum())
        self.metrics = {"correct": correct, "learning_rate": 0.5, "gradient_norm": 1.0}
        if self.steps == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        right = np.take_along_axis(shares, labels[:, np.newaxis].astype(int), axis=1)
        return float("nan") if self.steps == self.fail_at else float(-np.log(right).mean())

    def state(self) -> dict[str, NDArray[Any]]:
        return self.weights | {"steps": np.array(self.steps)}

    def load_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.weights = {name: np.array(state[name]) for name in self.weights}
        self.steps = int(state["steps"])

    def save(self, path: Path, *, averaged: bool = False) -> None:
        factor = np.float32(0.5 if averaged else 1)
        write_weights(path, self.graph, {name: factor * array for name, array in self.weights.items()})

    def diagnose(self, x: NDArray[np.float32], labels: NDArray[np.int32]) -> str:
        return "fc (tiny.net:2)"


class Stand:
    """Stands in for `netc.compile_training` and remembers what it made."""

    def __init__(self) -> None:
        self.made: list[Trainer] = []
        self.settings: dict[str, int] = {}

    def __call__(self, graph: Graph, **options: Any) -> Trainer:
        self.made.append(Trainer(graph, **options))
        vars(self.made[-1]).update(self.settings)
        return self.made[-1]


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    stand = Stand()
    monkeypatch.setattr(package, "compile_training", stand, raising=False)
    return stand


@pytest.fixture
def net(tmp_path: Path, stand: Stand) -> Path:
    """A net whose recipe names data of three kinds of picture: left, right and whole."""
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 60), ("test", 21)):
        labels = random.integers(0, 3, count)
        pictures = random.integers(0, 100, (count, 4, 4))
        pictures[labels != 0, :, 2:] += 150
        pictures[labels != 1, :, :2] += 150
        arrays |= {f"x_{split}": pictures.astype(np.uint8), f"y_{split}": labels}
    np.savez(tmp_path / "data.npz", **arrays)
    path = tmp_path / "tiny.net"
    path.write_text(NET.replace("DATA", str(tmp_path / "data.npz")))
    return path


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs go to `runs` of the current folder."""
    monkeypatch.chdir(tmp_path)
    return


def test_train_by_the_recipe_of_the_file(netc: Call, net: Path, stand: Stand) -> None:
    result = netc("train", net)
    assert (result.code, result.err) == (0, "")
    assert "tiny: 3 epochs of 7 steps of 8" in result.out
    assert "epoch 3/3" in result.out
    (run,) = Path("runs").iterdir()
    assert run.name.startswith("tiny-2")
    (trainer,) = stand.made
    assert trainer.options["optimizer"] == "sgd(lr=0.5, momentum=0.9)"
    assert trainer.options["steps_per_epoch"] == 7
    assert trainer.options["threads"] == json.loads((run / "run.json").read_text())["recipe"]["threads"]
    epochs = [r for r in read_records(run) if r["kind"] == "epoch"]
    assert epochs[-1]["test_accuracy"] > 0.9
    assert f"best: epoch {1 + int(np.argmax([e['test_accuracy'] for e in epochs]))}" in result.out


def test_flags_override_the_recipe(netc: Call, net: Path, stand: Stand) -> None:
    result = netc("train", net, "--epochs", 1, "--batch", 20, "--seed", 4, "--augment", "flip", "--run-dir", "here")
    assert result.code == 0
    assert "tiny: 1 epoch of 3 steps of 20" in result.out
    assert stand.made[0].seed == 4
    recipe = json.loads(Path("here/run.json").read_text())["recipe"]
    assert (recipe["augment"], recipe["schedule"]) == ("flip", "cosine(epochs=1)")


def test_moving_averages_are_what_is_kept(netc: Call, net: Path) -> None:
    for name, options in (("plain", ()), ("averaged", ("--ema", 0.9))):
        assert netc("train", net, "--run-dir", name, *options).code == 0
    plain, averaged = (load_file(f"{name}/last.safetensors") for name in ("plain", "averaged"))
    np.testing.assert_array_equal(averaged["fc.weight"], plain["fc.weight"] / 2)


def test_interrupt_saves_and_says_how_to_go_on(netc: Call, net: Path, stand: Stand) -> None:
    assert netc("train", net, "--run-dir", "whole").code == 0
    stand.settings = {"interrupt_at": 10}
    handler = signal.getsignal(signal.SIGINT)
    result = netc("train", net, "--run-dir", "parts")
    assert signal.getsignal(signal.SIGINT) is handler
    assert result.code == 130
    assert "netc train --resume parts" in result.out
    stand.settings = {}
    result = netc("train", "--resume", "parts")
    assert result.code == 0
    assert "going on from parts/checkpoints/step-000000010.safetensors: epoch 2, step 3" in result.out
    for name in ("best.safetensors", "last.safetensors"):
        assert Path("parts", name).read_bytes() == Path("whole", name).read_bytes()


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


def test_a_loss_that_is_no_number(netc: Call, net: Path, stand: Stand) -> None:
    stand.settings = {"fail_at": 9}
    result = netc("train", net)
    assert result.code == 2
    assert "the loss became nan at step 9 (epoch 2, batch 2); first in fc (tiny.net:2)" in result.err
    assert "lower the learning rate" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to train"),
        (("NET", "--augment", "flop"), "did you mean flip?"),
        (("NET", "--data", "nmist"), "did you mean mnist?"),
        (("NET", "--data", "none.npz"), "there is no data file none.npz"),
        (("NET", "--batch", "61"), "has 60 samples, fewer than a batch of 61"),
        (("NET", "--set", "classes=5"), "has 3 classes"),
        (("NET", "--size", "32"), "no hyperparameter `size`"),
        (("NET", "--resume", "nothing"), "there is no run nothing"),
        (("NET", "--resume", "x", "--run-dir", "y"), "leave --run-dir out"),
    ],
)
def test_wrong_requests(netc: Call, net: Path, arguments: tuple[str, ...], message: str) -> None:
    result = netc("train", *(net if a == "NET" else a for a in arguments))
    assert result.code == 2
    assert message in result.err
    assert result.err.count("error:") == 1
    assert not Path("runs").exists()


def test_a_run_goes_on_only_with_its_own_loss(netc: Call, net: Path) -> None:
    own = "block far(scores, labels, by = 2) { return by * reduce_mean(scores * scores) }\n"
    net.write_text(own + net.read_text())
    assert netc("train", net, "--run-dir", "run", "--loss", "far(by = 3)").code == 0
    assert netc("train", "--resume", "run").code == 0
    net.write_text(net.read_text().replace("by * reduce", "by * by * reduce"))
    assert "the network or its loss is not the one" in netc("train", "--resume", "run").err


def test_a_run_goes_on_only_as_it_began(netc: Call, net: Path) -> None:
    assert netc("train", net, "--run-dir", "run").code == 0
    assert netc("train", net, "--resume", "run", "--batch", 8).code == 0
    assert "started with batch = 8" in netc("train", "--resume", "run", "--batch", 4).err
    assert "started with weights" in netc("train", "--resume", "run", "--weights", "w").err
    description = json.loads(Path("run/run.json").read_text())
    del description["recipe"]["network"]
    Path("other").mkdir()
    Path("other/run.json").write_text(json.dumps(description))
    assert "its recipe lacks network" in netc("train", "--resume", "other").err
    net.write_text(net.read_text().replace("|> flatten", "|> relu |> flatten"))
    assert "the network or its loss is not the one" in netc("train", "--resume", "run").err


# ---- plot -----------------------------------------------------------------------------------------------------------


def test_plot_draws_runs(netc: Call, net: Path) -> None:
    pytest.importorskip("matplotlib", reason="netc plot needs matplotlib")
    for name in ("one", "two"):
        assert netc("train", net, "--run-dir", name, "--log-every", 2).code == 0
    assert (result := netc("plot", "one")).code == 0, result.err
    with Image.open("one/curves.png") as picture:
        assert picture.width > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 20
    assert netc("plot", "one", "two/", "-o", "both.svg").code == 0
    text = Path("both.svg").read_text()
    assert "<svg" in text
    assert "#1f6fb4" in text
    assert "#d9541e" in text


def test_plot_refuses(netc: Call, net: Path) -> None:
    assert netc("train", net, "--run-dir", "run").code == 0
    assert "there is no run rum" in netc("plot", "rum").err
    assert "give -o FILE.png" in netc("plot", "run", "run").err
    assert "end its name in .png" in netc("plot", "run", "-o", "x.gif").err


def test_plot_without_matplotlib_says_how_to_get_it(netc: Call, net: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert netc("train", net, "--run-dir", "run").code == 0

    def missing(name: str) -> None:
        raise ModuleNotFoundError(name="matplotlib")

    monkeypatch.setattr(importlib, "import_module", missing_for("netc.curves", missing))
    result = netc("plot", "run")
    assert result.code == 2
    assert "pip install 'netc[plot]'" in result.err


def missing_for(name: str, missing: Any) -> Any:
    """`import_module` that lacks one module."""
    real = importlib.import_module
    return lambda module: missing(module) if module == name else real(module)


def test_nothing_to_draw_yet(netc: Call, net: Path) -> None:
    pytest.importorskip("matplotlib", reason="netc plot needs matplotlib")
    assert netc("train", net, "--run-dir", "run").code == 0
    Path("run/metrics.jsonl").write_text("")
    result = netc("plot", "run")
    assert (result.code, "nothing to draw yet" in result.err) == (2, True)


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
