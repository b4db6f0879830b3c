"""What targets are to a loss, and what is said where they don't fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.training import parse_loss
from netc.compiler.types import DType, TensorType
from netc.runtime.data.source import ArraySource
from netc.runtime.data.targets import TargetFacts, Targets, assumed_loss, fit_targets, ignoring

INTS, FLOATS = np.int32, np.float64


def net(*output: int) -> Graph:
    b = GraphBuilder("net")
    return b.finish([b.input("x", TensorType(DType.F32, (4, *output)))])


def facts(labels: NDArray[Any]) -> TargetFacts:
    return TargetFacts.of(ArraySource("data.npz", None, labels, np.zeros((len(labels), 1))))


def fitted(loss: str, output: tuple[int, ...], labels: NDArray[Any]) -> Targets:
    return fit_targets(net(*output), parse_loss(loss), facts(labels))


@pytest.mark.parametrize(
    ("loss", "output", "labels", "shape", "noted"),
    [
        ("mean_squared_error", (1,), np.arange(6.0), (1,), True),
        ("mean_squared_error", (1,), np.arange(6)[:, np.newaxis], (1,), False),
        ("mean_squared_error", (), np.arange(6.0)[:, np.newaxis], (), True),
        ("mean_squared_error", (3,), np.ones((6, 3)), (3,), False),
        ("mean_squared_error", (4, 5, 2), np.ones((6, 4, 5, 2)), (4, 5, 2), False),
        ("sigmoid_cross_entropy", (3,), np.eye(3, dtype=INTS), (3,), False),
        ("sigmoid_cross_entropy", (1,), np.array([0, 1], INTS), (), False),
        ("sigmoid_cross_entropy", (4, 5, 1), np.zeros((6, 4, 5), INTS), (4, 5), False),
        ("hinge", (2,), np.array([[-1, 1]]), (2,), False),
        ("softmax_cross_entropy", (3,), np.array([0, 1, 2], INTS), (), False),
        ("softmax_cross_entropy", (7, 3), np.zeros((6, 7), INTS), (7,), False),
        ("softmax_cross_entropy", (4, 5, 3), np.zeros((6, 4, 5, 1), INTS), (4, 5), True),
    ],
)
def test_targets_that_fit(
    loss: str, output: tuple[int, ...], labels: NDArray[Any], shape: tuple[int, ...], noted: bool
) -> None:
    targets = fitted(loss, output, labels)
    assert (targets.shape, bool(targets.notes)) == (shape, noted)
    made = targets(labels)
    assert made.shape == (len(labels), *shape)
    assert made.dtype == (np.int32 if loss.startswith("softmax") else np.float32)
    np.testing.assert_array_equal(made.ravel(), labels.ravel())


def test_one_hot_rows_are_class_numbers() -> None:
    rows = np.eye(3)[[2, 0, 1, 1]]
    targets = fitted("softmax_cross_entropy", (3,), rows)
    assert (targets(rows).tolist(), targets.notes) == (
        [2, 0, 1, 1],
        ("targets of data.npz are one-hot rows [N,3]: taken as class numbers",),
    )


@pytest.mark.parametrize(
    ("loss", "output", "labels", "message", "hint"),
    [
        (
            "mean_squared_error",
            (3,),
            np.zeros(6, INTS),
            r"gives class numbers \[N\], but mean_sq.*f32\[4,3\]",
            "np.eye(3",
        ),
        ("mean_squared_error", (3,), np.zeros(6), r"gives targets float64\[N\], but", ""),
        ("mean_squared_error", (3,), np.zeros((6, 2)), r"float64\[N,2\], but mean_squared_error of net net", ""),
        ("sigmoid_cross_entropy", (3,), np.zeros(6, INTS), "takes f32", "softmax_cross_entropy"),
        ("sigmoid_cross_entropy", (3,), np.full((6, 3), 2), "takes targets from 0 to 1; .* from 2 to 2", ""),
        ("sigmoid_cross_entropy", (1,), np.array([-1, 1]), "takes targets from 0 to 1", ""),
        ("softmax_cross_entropy", (3,), np.zeros((6, 3), INTS), r"int32\[N,3\], but softmax", "sigmoid_cross_entropy"),
        ("softmax_cross_entropy", (3,), np.zeros(6), r"float64\[N\], but softmax", 'y.astype("int32")'),
        ("softmax_cross_entropy", (3,), np.array([0, -1]), "label -1: classes are numbered from 0", "ignore=-1"),
        ("softmax_cross_entropy", (4, 5, 3), np.zeros((6, 4, 4), INTS), r"int32\[N,4,4\], but", ""),
        ("softmax_cross_entropy", (4, 5, 3), np.full((6, 4, 5), 3, INTS), "label 3, but the net gives 3", "classes=4"),
    ],
)
def test_targets_that_do_not_fit(
    loss: str, output: tuple[int, ...], labels: NDArray[Any], message: str, hint: str
) -> None:
    with pytest.raises(NetcError, match=message) as caught:
        fitted(loss, output, labels)
    assert hint in (caught.value.diagnostics[0].hint or "")


@pytest.mark.parametrize(
    ("output", "labels", "name"),
    [
        ((3,), np.zeros(6, INTS), "softmax_cross_entropy"),
        ((3,), np.eye(3), "softmax_cross_entropy"),
        ((3,), np.array([[1, 1, 0]]), "sigmoid_cross_entropy"),
        ((3,), np.array([[0.5, 1, 0]]), "mean_squared_error"),
        ((1,), np.array([0, 1], INTS), "sigmoid_cross_entropy"),
        ((1,), np.array([0.5, 1]), "mean_squared_error"),
        ((4, 5, 3), np.zeros((6, 4, 5), INTS), "softmax_cross_entropy"),
        ((4, 5, 1), np.zeros((6, 4, 5), INTS), "sigmoid_cross_entropy"),
        ((4, 5, 3), np.zeros((6, 4, 5, 3)) + 0.1, "mean_squared_error"),
    ],
)
def test_the_loss_that_targets_suggest(output: tuple[int, ...], labels: NDArray[Any], name: str) -> None:
    assert assumed_loss(net(*output).outputs[0].type, facts(labels)).name == name


def test_pixels_that_are_no_class() -> None:
    """255 doesn't count where there is a class for each pixel, and fewer than 256 of them."""
    loss, labels = parse_loss("softmax_cross_entropy"), np.array([[[0, 255]]], INTS)
    found = ignoring(loss, net(1, 2, 3).outputs[0].type, facts(labels))
    assert found.ignored == 255
    targets = fit_targets(net(1, 2, 3), found, facts(labels))
    assert (targets.ignored, targets.notes) == (255, ("data.npz has labels 255: these don't count",))
    with pytest.raises(NetcError, match="label 7"):
        fit_targets(net(1, 2, 3), found, facts(np.array([[[7, 255]]], INTS)))
    for output, other in (((300,), labels[0, 0]), ((1, 2, 300), labels), ((1, 2, 3), labels * 0)):
        assert ignoring(loss, net(*output).outputs[0].type, facts(other)) == loss
