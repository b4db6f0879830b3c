"""`netc grad`: the gradient graph as text, at every stage, with losses of the library and of the user's own."""

from pathlib import Path

import numpy as np
import pytest

import netc as package

from ..conftest import Golden
from .conftest import Call

NET = """\
block focal(scores, labels, gamma = 2) {
  log_p = log_softmax(scores)
  return -reduce_sum((1 - exp(log_p)) ** gamma * log_p * one_hot(labels, depth = channels(scores)), axes = [1])
}

block straight(x) { return cast(cast(x, "i32"), "f32") }
gradient straight(x, y, dy) { return dy }

net small(image: f32[N, 2, 2, 1], classes = 3) {
  return image |> flatten |> dense@fc1(4) |> relu |> straight |> dense@fc2(classes)
}
"""


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The net's file, by a path that is the same in every run."""
    monkeypatch.chdir(tmp_path)
    Path("small.net").write_text(NET, encoding="utf-8")
    return "small.net"


def test_gradients_of_all_weights(netc: Call, small: str, golden: Golden) -> None:
    golden(netc("grad", small, "--loss", "softmax_cross_entropy", "--batch", "2").out)


def test_gradients_of_some_values(netc: Call, small: str) -> None:
    text = netc("grad", small, "--loss", "focal(gamma = 1)", "--wrt", "image, fc2.bias").out
    assert text.splitlines()[-2].split()[-2:] == ["%image.grad,", "%fc2.bias.grad"]
    assert "fc1.bias.grad" not in text


def test_later_stages(netc: Call, small: str, tmp_path: Path) -> None:
    arguments = ("grad", small, "--loss", "focal", "--cpu", "x86-64-v3", "--threads", "1")
    assert netc(*arguments, "--emit", "loops", "-o", tmp_path / "small.loops").out == ""
    assert (tmp_path / "small.loops").read_text().startswith("module @small {")


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("focl", "there is no loss `focl`"),
        ("focal(gama = 1)", "did you mean gamma?"),
        ("focal(1)", "options of a loss are given by name"),
        ("focal(", "focal("),
        ("straight", "a loss takes a prediction and labels, but straight takes 1"),
    ],
)
def test_unsuitable_losses(netc: Call, small: str, loss: str, message: str) -> None:
    result = netc("grad", small, "--loss", loss)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_unknown_names(netc: Call, small: str) -> None:
    result = netc("grad", small, "--loss", "focal", "--wrt", "fc1.wight")
    assert (result.code, result.out) == (2, "")
    assert "did you mean fc1.weight?" in result.err


def test_training_with_a_loss_of_ones_own(small: str) -> None:
    x, labels = np.ones((2, 2, 2, 1), np.float32), np.array([0, 2], np.int32)
    with package.compile_training(small, batch=2, threads=1, loss="focal(gamma=1)", optimizer="sgd(lr=0.1)") as trainer:
        losses = [trainer.step(x, labels) for _ in range(20)]
    assert losses[-1] < losses[0]
