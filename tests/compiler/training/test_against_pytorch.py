"""Losses of six training steps in f64, against those of PyTorch 2.13 for the same net, batches and settings.

Each number depends on all that the steps before it did: gradients, batch statistics, optimiser, schedule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from netc.compiler.graph.verifier import verify
from netc.compiler.training import training_step

from .small_net import Array, Training, batches, small_net

SGD = "sgd(lr=0.5)"

OPTIMIZERS = {
    "sgd(lr=0.5)": (1.37223755899, 1.43974288635, 1.38320438798, 1.27033485123, 1.25267545001, 1.44076127734),
    "sgd(lr=0.5, momentum=0.9)": (
        *(1.37223755899, 1.43974288635, 1.64016323902, 1.79934733782, 1.33096537404, 1.3082480101),
    ),
    "sgd(lr=0.5, momentum=0.9, nesterov=true, weight_decay=0.01)": (
        *(1.37223755899, 1.62647463894, 1.5808326687, 1.52009064058, 1.26008743843, 1.17777256424),
    ),
    "adam(lr=0.1)": (1.37223755899, 1.44184587462, 1.44944169652, 1.12405494316, 1.11522677232, 1.50429560254),
    "adam(lr=0.1, beta1=0.8, beta2=0.99, weight_decay=0.05)": (
        *(1.37223755899, 1.44184603591, 1.41168857635, 1.1193606976, 1.1381436633, 1.42975890272),
    ),
    "adamw(lr=0.1, weight_decay=0.5)": (
        *(1.37223755899, 1.39268418429, 1.39261393932, 1.13712758602, 1.11841258074, 1.39940628121),
    ),
    # PyTorch's RMSprop with its squares starting at one; without eps it is the same rule.
    "rmsprop(lr=0.1, decay=0.9, momentum=0.5, eps=1e-30)": (
        *(1.37223755899, 1.44437139554, 1.15778783351, 1.12182213985, 1.24436019696, 1.38778328956),
    ),
}

SCHEDULES = {
    "constant": OPTIMIZERS[SGD],
    "step(every=2, gamma=0.3)": (
        *(1.37223755899, 1.43974288635, 1.38320438798, 1.31171946924, 1.05924301276, 1.43395919925),
    ),
    "step(at=[1, 4], gamma=0.3)": (
        *(1.37223755899, 1.43974288635, 1.33748822261, 1.03763365654, 1.22904622036, 1.45898268656),
    ),
    "exponential(gamma=0.7)": (
        *(1.37223755899, 1.43974288635, 1.32941085607, 1.19295003306, 1.17326641923, 1.4137206782),
    ),
    "cosine(epochs=6, final=0.1)": (
        *(1.37223755899, 1.43974288635, 1.36877443715, 1.26907795328, 1.1811549044, 1.39912888531),
    ),
    "polynomial(epochs=6, power=2)": (
        *(1.37223755899, 1.43974288635, 1.32885777177, 1.18656437179, 1.16001350701, 1.40651492507),
    ),
    "cosine(epochs=6, warmup=2)": (
        *(1.37223755899, 1.42231354006, 1.37781393207, 1.29932431327, 1.25122898294, 1.40997056758),
    ),
}


def one_hot(labels: Array) -> Array:
    return np.eye(3)[labels]


LOSSES: dict[str, tuple[Callable[[Array], Array], tuple[float, ...]]] = {
    "softmax_cross_entropy(label_smoothing=0.1)": (
        lambda labels: labels,
        (1.36716244276, 1.3914342165, 1.34888396741, 1.24754299488, 1.23711635394, 1.39901215535),
    ),
    "sigmoid_cross_entropy": (
        one_hot,
        (0.807678491959, 0.824215350411, 0.711586255294, 0.699094482461, 0.750383375876, 0.7683844346),
    ),
    "mean_squared_error": (
        one_hot,
        (0.747581083113, 0.464959085274, 0.689151922917, 0.256079128895, 0.269308151486, 0.358183148071),
    ),
    "hinge": (
        lambda labels: one_hot(labels) * 2 - 1,
        (1.10536138326, 1.21998937618, 0.98236401375, 0.923515052056, 1.04881887668, 1.07822266441),
    ),
}

OPTIONS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "clip": (
        {"clip_norm": 0.25},
        (1.37223755899, 1.44217741971, 1.12970216186, 1.13071459807, 1.36490104603, 1.3903174435),
    ),
    "accumulate": (
        {"accumulate": 2},
        (1.37223755899, 1.47756678509, 1.2837662792, 1.10124059691, 1.28354726279, 1.40037983003),
    ),
}


def losses_of(optimizer: str = SGD, loss: str = "softmax_cross_entropy", **options: Any) -> Training:
    step = training_step(small_net(), loss=loss, optimizer=optimizer, **options)
    verify(step)
    return Training(step)


def check(training: Training, expected: tuple[float, ...], labels: Callable[[Array], Array] = lambda y: y) -> None:
    losses = [float(training(x, labels(y))["loss"]) for x, y in batches()]
    np.testing.assert_allclose(losses, expected, rtol=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_optimizer(optimizer: str) -> None:
    check(losses_of(optimizer), OPTIMIZERS[optimizer])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule(schedule: str) -> None:
    check(losses_of(schedule=schedule, steps_per_epoch=1), SCHEDULES[schedule])


@pytest.mark.parametrize("loss", LOSSES)
def test_loss(loss: str) -> None:
    labels, expected = LOSSES[loss]
    check(losses_of(loss=loss), expected, labels)


@pytest.mark.parametrize("option", OPTIONS)
def test_option(option: str) -> None:
    options, expected = OPTIONS[option]
    check(losses_of(**options), expected)


def test_running_statistics() -> None:
    training = losses_of()
    check(training, OPTIMIZERS[SGD])
    mean = (0.400920068842, 0.219401400068, -0.461158993402, -0.0957999183602)
    variance = (1.60515382635, 1.27299358855, 1.46593084871, 1.6063495308)
    np.testing.assert_allclose(training.state["bn.running_mean"], mean, rtol=1e-9)
    np.testing.assert_allclose(training.state["bn.running_var"], variance, rtol=1e-9)
