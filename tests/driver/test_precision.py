"""`--precision` and `netc.compile(..., precision=...)`: numbers of 16 bits in inference."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc

from .conftest import Call


@pytest.mark.parametrize("precision", ["bf16", "f16"])
def test_programs_of_a_precision(tiny: Path, tiny_weights: Path, precision: str) -> None:
    given: dict[str, Any] = {"weights": tiny_weights, "threads": 1}
    floats, narrow = netc.compile(tiny, **given), netc.compile(tiny, precision=precision, **given)
    assert narrow.packed_weights.nbytes < floats.packed_weights.nbytes
    (image,) = floats.graph.inputs
    x = np.random.default_rng(0).standard_normal(image.type.shape, np.float32)
    expected, found = floats(x), narrow(x)
    assert 0 < np.abs(found - expected).max() <= 0.02 * np.abs(expected).max()
    again = pickle.loads(pickle.dumps(narrow))
    np.testing.assert_array_equal(again(x), found)


def test_what_precision_does_not_go_with(tiny: Path) -> None:
    with pytest.raises(netc.NetcError, match=r"there is no precision `bf8`.*\n.*f32, bf16, f16"):
        netc.compile(tiny, precision="bf8")
    with pytest.raises(netc.NetcError, match="precision is for networks of floats"):
        netc.compile(tiny, precision="bf16", quantize="dynamic_range")


@pytest.mark.parametrize("command", ["train", "quantize", "build"])
def test_commands_without_precision_say_so(netc: Call, tiny: Path, command: str) -> None:
    result = netc(command, tiny, "--precision", "bf16")
    assert result.code == 2
    assert "--precision" in result.err


def test_run_bench_and_compile(netc: Call, tiny: Path, tiny_weights: Path, picture: Path) -> None:
    options = ("--threads", "1", "--precision", "bf16")
    shown = netc("run", tiny, "--weights", tiny_weights, "--image", picture, *options)
    assert (shown.code, shown.err) == (0, "")
    assert len(shown.out.splitlines()) == 5
    report = netc("bench", tiny, *options, "--seconds", "0", "--profile").out
    assert report.startswith("tiny, bf16, batch 1,")
    assert "from_bfloat16" in report
    data = json.loads(netc("compile", tiny, *options, "--json").out)
    assert data["precision"] == "bf16"
    assert data["weights_bytes"] < json.loads(netc("compile", tiny, "--threads", "1", "--json").out)["weights_bytes"]
    assert "to_bfloat16(" in netc("compile", tiny, *options, "--emit", "optimized", "--cpu", "cortex-a76").out


def test_eval(netc: Call, tiny: Path, tiny_weights: Path, mnist: Path) -> None:
    command = ("eval", tiny, "--weights", tiny_weights, "--data", "mnist", "--data-dir", mnist, "--threads", "1")
    assert json.loads(netc(*command, "--precision", "f16", "--json").out)["samples"] == 5
    refused = netc(*command, "--precision", "f16", "--compare", tiny_weights)
    assert refused.code == 2
