"""Labels that don't count and learning rates by name, against PyTorch where it has the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.training import parse_loss, parse_rates, rates_of, training_step
from netc.compiler.training.formula import Formula
from netc.compiler.types import DType, TensorType

from .small_net import SHAPES, Array, Training, batches, small_net, wave

LABELS = np.array([[[0, 255, 2], [1, 1, 255]], [[2, 0, 0], [255, 255, 1]]], np.int32)


def values(text: str, scores: Array, labels: Array) -> dict[str, float]:
    """Loss, correct and counted."""
    loss = parse_loss(text)
    b = GraphBuilder("loss")
    prediction = Formula(b, b.input("x", TensorType(DType.F64, scores.shape)))
    given = Formula(b, b.input("labels", TensorType(DType.I32, labels.shape)))
    named = {
        "loss": loss.value(prediction, given),
        "correct": loss.correct(prediction, given),
        "counted": loss.counted(prediction, given),
    }
    found = {name: formula for name, formula in named.items() if formula is not None}
    results = evaluate(b.finish([formula.value for formula in found.values()]), [scores, labels])
    return {name: float(value) for name, value in zip(found, results, strict=True)}


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("ignored", [255, 0])
def test_ignored_labels_against_pytorch(smoothing: float, ignored: int) -> None:
    torch = pytest.importorskip("torch")
    scores = wave((2, 2, 3, 3), 1) * 2
    labels = np.where(LABELS == 255, ignored, LABELS)
    found = values(f"softmax_cross_entropy(ignore={ignored}, label_smoothing={smoothing})", scores, labels)
    expected = torch.nn.functional.cross_entropy(
        torch.from_numpy(scores.reshape(-1, 3)),
        torch.from_numpy(labels.reshape(-1).astype(np.int64)),
        ignore_index=ignored,
        label_smoothing=smoothing,
    )
    counts = labels != ignored
    np.testing.assert_allclose(found["loss"], expected.item(), rtol=1e-12)
    assert found["counted"] == counts.sum()
    assert found["correct"] == ((scores.argmax(axis=-1) == labels) & counts).sum()


def test_where_nothing_counts_the_loss_is_nought() -> None:
    found = values("softmax_cross_entropy(ignore=255)", wave((1, 2, 3), 0), np.full((1, 2), 255, np.int32))
    assert found == {"loss": 0, "correct": 0, "counted": 0}


def test_without_an_ignored_label_all_count() -> None:
    assert values("softmax_cross_entropy", wave((1, 2, 3), 0), np.zeros((1, 2), np.int32)).keys() == {"loss", "correct"}


def test_rates_of_parameters_against_pytorch() -> None:
    """As parameter groups have them, with a schedule and with Adam's shared numbers."""
    torch = pytest.importorskip("torch")
    rates = {"fc2.*": 0.02, "*.bias": 0.3}
    step = training_step(
        small_net(), loss="softmax_cross_entropy", optimizer="adam(lr=0.1)", rates=rates,
        schedule="exponential(gamma=0.7)", steps_per_epoch=1,
    )  # fmt: skip
    training = Training(step)
    weights = {n: torch.tensor(wave(s, i), requires_grad=True) for i, (n, s) in enumerate(SHAPES.items())}
    own = {"fc1.weight": 0.1, "bn.weight": 0.1, "fc2.weight": 0.02, "fc1.bias": 0.3, "bn.bias": 0.3, "fc2.bias": 0.3}
    optimizer = torch.optim.Adam([{"params": [weights[name]], "lr": rate} for name, rate in own.items()])
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.7)
    for x, y in batches():
        hidden = torch.from_numpy(x) @ weights["fc1.weight"] + weights["fc1.bias"]
        hidden = torch.nn.functional.batch_norm(hidden, None, None, weights["bn.weight"], weights["bn.bias"], True)
        scores = torch.relu(hidden) @ weights["fc2.weight"] + weights["fc2.bias"]
        loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(y.astype(np.int64)))
        found = training(x, y)
        np.testing.assert_allclose(float(found["loss"]), loss.item(), rtol=1e-9)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def test_the_last_pattern_counts() -> None:
    names = ("a.weight", "a.bias", "b.bias")
    rates = parse_rates(["a.*=1", "*.bias=2", "a.*=3", "0.5"])
    assert rates == {"*.bias": 2, "a.*": 3, "*": 0.5}
    assert set(rates_of(rates, names, 9).values()) == {0.5}
    assert rates_of(parse_rates(["*.bias=2", "a.*=3"]), names, 9) == {"a.weight": 3, "a.bias": 3, "b.bias": 2}
    assert rates_of({}, names, 9) == dict.fromkeys(names, 9)


@pytest.mark.parametrize("text", ["a.*=", "a", "=1", "a=-1", "a=nan", "a=inf"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(NetcError, match="is no learning rate"):
        parse_rates([text])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rates": {"fc3.*": 1.0}}, "no trained parameter matches `fc3"),
        ({"rates": {"bn.running_*": 1.0}}, "no trained parameter"),
        ({"rates": {"fc1.*": 1.0}, "freeze": "fc1.*"}, "no trained parameter"),
    ],
)
def test_rates_of_what_is_not_trained(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetcError, match=message):
        training_step(small_net(), loss="softmax_cross_entropy", optimizer="sgd(lr=1)", **options)
