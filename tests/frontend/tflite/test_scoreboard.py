"""Verdicts of the scoreboard of public TFLite files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.graph.ir import Array


@pytest.mark.parametrize(
    ("wanted", "got", "other", "verdict"),
    [
        ([1.0, -2.0], [1.0, -2.0], [1.0, -2.0], "exact"),
        ([1.0, np.nan], [1.0, np.nan], [1.0, np.nan], "exact"),
        ([1.0, np.nan], [1.0, 3.0], [1.0, np.nan], "differs"),
        ([1.0, np.inf], [1.0, -np.inf], [1.0, np.inf], "differs"),
        ([1.0, 0.0], [1.0, 0.9e-4], [1.0, 0.0], "close"),
        ([1.0, 0.0], [1.0, 1.1e-4], [1.0, 0.0], "differs"),
        ([1.0, 0.0], [1.0, 0.002], [1.0, 0.001], "close"),
        ([1.0, 0.0], [1.0, 0.004], [1.0, 0.001], "differs"),
        ([1.0, 0.0], [1.0, 0.04], [1.0, 0.5], "differs"),
        ([0.0, 0.0], [1.0, 0.5], [1.0, 0.5], "close"),
        ([0.0, 0.0], [1.0, 0.5], [1.0, 0.6], "differs"),
        ([1.0, 0.0], [1.0, 2e-4], None, "close"),  # the delegate alone judges
        ([7, 3], [7, 4], [7, 3], "differs"),
        ([7, 3], [7, 4], [7, 4], "close"),
        ([7, 3], [7, 3], [7, 4], "exact"),
    ],
)
def test_verdicts(wanted: list[Any], got: list[Any], other: list[Any] | None, verdict: str) -> None:
    judged = pytest.importorskip("public_verdicts").judged

    def calls(numbers: list[Any]) -> list[list[Array]]:
        return [[np.array(numbers, np.int8 if isinstance(numbers[0], int) else np.float32)]]

    assert judged(calls(wanted), other and calls(other), calls(got))["verdict"] == verdict


def test_state_counts() -> None:
    judged = pytest.importorskip("public_verdicts").judged
    first, second = np.zeros(2, np.float32), np.ones(2, np.float32)
    found = judged([[first], [second]], [[first], [second]], [[first], [first]])
    assert found["verdict"] == "differs"
    assert found["outputs"][0].startswith("call 2 output 0")


@pytest.mark.parametrize(("second", "is_tie"), [(np.float32(1.0), True), (np.float32(1.0 - 3e-6), False)])
def test_ties(second: np.float32, is_tie: bool) -> None:
    places = pytest.importorskip("public_tflite_places")
    x = np.zeros((1, 4, 2, 1), np.float32)
    x[0, 2, 1], x[0, 3, 0] = 1, second
    choice = places.Choice(0, 0, 0, (2, 2), (2, 2))
    own = np.array([0, 2]).reshape(1, 2, 1, 1)
    litert = np.array([0, 2], np.uint32).view(np.float32).reshape(1, 2, 1, 1)  # down the columns: x[0, 2, 1]
    assert places._row_by_row(litert, choice).ravel().tolist() == [0, 1]
    assert places._are_ties(x, places._row_by_row(litert, choice), own, choice) is is_tie
