"""`netc train`: what a run keeps, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from netc.runtime.training.run import read_records

from ..conftest import Call
from .conftest import Stand


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
