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
from netc.training import TrainingRequest, load_trainer

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
  shards = 1
}
"""


class Trainer:
    """Trains `fc` of the net above."""

    peak_bytes = 1000

    def __init__(self, request: TrainingRequest) -> None:
        assert isinstance(request.source, Graph)
        self.request, self.evaluated = request, request.source
        self.batch, self.seed = request.batch, request.seed
        self.weights = {name: np.array(v) for name, v in dict(initial_weights(self.evaluated, self.seed)).items()}
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

    def evaluated_weights(self, *, averaged: bool = False) -> dict[str, NDArray[Any]]:
        return {name: np.float32(0.5 if averaged else 1) * array for name, array in self.weights.items()}

    def save(self, path: Path, *, averaged: bool = False) -> None:
        write_weights(path, self.evaluated, self.evaluated_weights(averaged=averaged))

    def diagnose(self, x: NDArray[np.float32], labels: NDArray[np.int32]) -> str:
        return "fc (tiny.net:2)"


class Stand:
    """Stands in for `load_trainer` and remembers what it made."""

    def __init__(self) -> None:
        self.made: list[Trainer] = []
        self.settings: dict[str, int] = {}

    def __call__(self, request: TrainingRequest, built: Any = None) -> Trainer:
        self.made.append(Trainer(request))
        vars(self.made[-1]).update(self.settings)
        return self.made[-1]


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    stand = Stand()
    monkeypatch.setattr("netc.training_job.load_trainer", stand)
    return stand


@pytest.fixture
def real(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled trainer after all."""
    monkeypatch.setattr("netc.training_job.load_trainer", load_trainer)


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
    assert trainer.request.optimizer == "sgd(lr=0.5, momentum=0.9)"
    assert trainer.request.steps_per_epoch == 7
    assert trainer.request.threads == json.loads((run / "run.json").read_text())["recipe"]["threads"]
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


@pytest.mark.parametrize("options", [(), ("--ema", 0.5)])
def test_each_epoch_is_tested_with_its_own_weights(
    netc: Call, net: Path, real: None, options: tuple[object, ...]
) -> None:
    """As `netc eval` tests the file that is written, though the program is kept from epoch to epoch."""
    net.write_text(net.read_text().replace("lr = 0.5, momentum = 0.9", "lr = 0.02"))
    tested = []
    for epochs in (1, 2, 3):
        run = f"run{epochs}"
        assert netc("train", net, "--schedule", "constant", "--epochs", epochs, "--run-dir", run, *options).code == 0
        *_, last = (r for r in read_records(Path(run)) if r["kind"] == "epoch")
        weights = ("--weights", f"{run}/last.safetensors")
        found = json.loads(netc("eval", net, *weights, "--data", "data.npz", "--json").out)
        assert last["test_accuracy"] == found["top1"]
        tested.append(found["top1"])
    assert len(set(tested)) > 1


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
        (("NET", "--set", "classes=2"), "has the label 2, but net tiny gives 2 classes, 0 to 1"),
        (("NET", "--set", "classes=1", "--loss", "softmax_cross_entropy"), "of a single score"),
        (("NET", "--loss", "mean_squared_error"), "data.npz gives class numbers [N], but mean_squared_error"),
        (("NET", "--optimizer", "sgd(lr=-1)"), "lr must not be negative"),
        (("NET", "--optimizer", "adam(beta1=2)"), "beta1 must lie in"),
        (("NET", "--schedule", "step(every=0)"), "step: give"),
        (("NET", "--weights", "/dev/null"), "/dev/null"),
        (("NET", "--freeze", "conv.*"), "no parameter matches `conv.*`"),
        (("NET", "--skip", "fc.*"), "none are"),
        (("NET", "--lr", "conv.*=1"), "no trained parameter matches `conv.*`"),
        (("NET", "--lr", "fc.*"), "`fc.*` is no learning rate"),
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


@pytest.mark.parametrize("option", [("--clip-norm", "nan"), ("--weight-decay", "inf"), ("--optimizer", "sgd(lr=1,")])
def test_a_run_has_a_folder_when_it_has_begun(netc: Call, net: Path, real: None, option: tuple[str, str]) -> None:
    """What is only found when the step is made leaves nothing behind, either."""
    arguments = ("train", net, "--epochs", 1, "--run-dir", "run")
    assert netc(*arguments, *option).code == 2
    assert not Path("run").exists()
    Path("run").mkdir()
    Path("run/file").touch()
    assert "run exists already" in netc(*arguments).err


def test_a_net_that_cannot_be_trained_leaves_no_folder(netc: Call, net: Path, real: None) -> None:
    net.write_text(net.read_text().replace("|> flatten", "|> round_to_grid(full([], 0.5), full([], 0.0)) |> flatten"))
    net.write_text(net.read_text().replace("return image", "return image |> conv@c(2, 3)"))
    result = netc("train", net)
    assert result.code == 2
    assert "round_to_grid" in result.err
    assert not Path("runs").exists()


def test_a_step_that_spoils_the_weights_is_not_kept(netc: Call, net: Path, real: None) -> None:
    """The gradient of a root at 0 is no number, the loss is 0."""
    own = "block zero(scores: f32[N, C], labels: i32[N]) {\n  d = scores - stop_gradient(scores)\n"
    net.write_text(own + "  return reduce_sum(d * d, axes = [1]) ** 0.5\n}\n" + net.read_text())
    for name, options in (("each", ("--save-every", 1)), ("epoch", ("--batch", 60))):
        result = netc("train", net, "--loss", "zero", "--epochs", 1, "--run-dir", name, *options)
        assert result.code == 2
        assert "the update of step 1 (epoch 1, batch 1) left infinities or NaNs in fc.weight" in result.err
        assert {p.name for p in Path(name).iterdir()} == {"run.json", "metrics.jsonl", ".lock"}
        assert "the update of step 1" in netc("train", "--resume", name, *options[:2] * (name == "each")).err


def test_a_frozen_and_a_new_part(netc: Call, net: Path, real: None) -> None:
    net.write_text(net.read_text().replace("|> dense@fc", "|> dense@mid(6) |> relu |> dense@fc"))
    assert netc("train", net, "--run-dir", "first").code == 0
    options = ("--weights", "first/last.safetensors", "--set", "classes=4")
    result = netc("train", net, *options)
    assert (result.code, "--skip 'fc.*'" in result.err) == (2, True)
    options += ("--skip", "fc.*", "--freeze", "mid.*", "--epochs", 1, "--run-dir", "second")
    result = netc("train", net, *options)
    assert result.code == 0, result.err
    assert "drawn by seed 0: fc.weight, fc.bias" in result.err
    recipe = json.loads(Path("second/run.json").read_text())["recipe"]
    assert (recipe["freeze"], recipe["skip"]) == (["mid.*"], ["fc.*"])
    before, after = (load_file(f"{name}/last.safetensors") for name in ("first", "second"))
    for name in ("mid.weight", "mid.bias"):
        np.testing.assert_array_equal(before[name], after[name])
    assert after["fc.weight"].shape == (4, 6)
    assert netc("train", "--resume", "second").code == 0
    assert "started with freeze" in netc("train", "--resume", "second", "--freeze", "fc.*").err
    assert "started with skip" in netc("train", "--resume", "second", "--skip", "mid.*").err


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


def test_a_run_goes_on_only_with_its_own_loss(netc: Call, net: Path) -> None:
    own = "block far(scores, labels, by = 2) { return by * reduce_mean(scores * scores) }\n"
    net.write_text(own + net.read_text())
    assert netc("train", net, "--run-dir", "run", "--loss", "far(by = 3)").code == 0
    assert netc("train", "--resume", "run").code == 0
    net.write_text(net.read_text().replace("by * reduce", "by * by * reduce"))
    assert "the network or its loss is not the one" in netc("train", "--resume", "run").err


def test_a_run_goes_on_only_with_its_own_samples(netc: Call, net: Path) -> None:
    assert netc("train", net, "--run-dir", "run").code == 0
    description = json.loads(Path("run/run.json").read_text())
    (data,) = Path().glob("*.npz")
    with np.load(data) as arrays:
        samples = dict(arrays)
    samples["x_train"][0] += 1
    np.savez(data, **samples)
    refused = netc("train", "--resume", "run")
    assert refused.code == 2
    assert "are not those that the run was started with" in refused.err
    assert description["recipe"].pop("processor")
    del description["recipe"]["data_hashes"]
    Path("run/run.json").write_text(json.dumps(description))
    assert netc("train", "--resume", "run").code == 0, "runs of earlier versions go on"


def test_a_run_that_goes_on_with_code_for_another_processor_says_so(netc: Call, net: Path) -> None:
    assert netc("train", net, "--run-dir", "run", "--cpu", "x86-64").code == 0
    assert "the run began with code for x86-64 (" in netc("train", "--resume", "run", "--cpu", "x86-64-v2").err
    assert "other bits" not in netc("train", "--resume", "run").err


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


_RECORD = {"kind": "epoch", "epoch": 1, "position": 1.0, "loss": 0.5}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"loss": float("inf")}, "loss is inf"),
        ({"loss": 10**400}, "loss is 1000"),
        ({"position": [1]}, "position is [1]"),
        ({"epoch": None}, "epoch is None"),
        ({"test_accuracy": "\x1b[2J"}, r"test_accuracy is '\x1b[2J'"),
    ],
)
def test_damaged_metrics_are_not_drawn(netc: Call, net: Path, changed: dict[str, object], message: str) -> None:
    pytest.importorskip("matplotlib", reason="netc plot needs matplotlib")
    assert netc("train", net, "--run-dir", "run").code == 0
    Path("run/metrics.jsonl").write_text(json.dumps(_RECORD | changed) + "\n")
    result = netc("plot", "run")
    assert (result.code, f"the metrics of run are damaged: {message}" in result.err) == (2, True)


def test_names_of_runs_are_no_formulas(netc: Call, net: Path) -> None:
    pytest.importorskip("matplotlib", reason="netc plot needs matplotlib")
    assert netc("train", net, "--run-dir", r"a$\frac$b").code == 0
    assert (result := netc("plot", r"a$\frac$b")).code == 0, result.err


def test_resume_after_records_that_lack_something(netc: Call, net: Path) -> None:
    assert netc("train", net, "--run-dir", "run").code == 0
    records = Path("run/metrics.jsonl").read_text()
    line = records.index("\n") + 1
    Path("run/metrics.jsonl").write_text('{"kind": "skipped"}'.ljust(line - 1) + "\n" + records[line:])
    assert (result := netc("train", "--resume", "run")).code == 0, result.err


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
