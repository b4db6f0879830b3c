"""Libraries of `netc build --train`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.library import build_library
from netc.runtime.weights import initial_weights
from tests.emulators.processes import missing, run_library

from .conftest import Call
from .libraries import cc, needs_cc, needs_ziglang

TRAINING = {"optimizer": "adam(lr=0.01)", "freeze": "conv1.*", "clip_norm": 1.0}


def batch() -> tuple[np.ndarray[Any, Any], ...]:
    random = np.random.default_rng(0)
    return random.random((4, 12, 12, 1), np.float32), random.integers(0, 10, 4).astype(np.int32)


@needs_ziglang
def test_libraries_train_as_python_does(tiny: Path, tmp_path: Path) -> None:
    build_library(tiny, tmp_path / "out", prefix="net", batch=4, train=TRAINING)
    library = netc.load_library(tmp_path / "out/net.so")
    trainer = netc.compile_training(tiny, batch=4, threads=1, **TRAINING)
    library.selftest()
    library.reset()
    for _ in range(3):
        loss, *_ = library(*batch())
        assert float(loss) == trainer.step(*batch())
    state, expected = library.state(), trainer.state()
    assert set(state) == set(expected)
    assert not any(name.startswith("conv1") for name in state)
    for name, values in expected.items():
        np.testing.assert_array_equal(state[name], values)
    library.reset()
    library.load_state(state)
    assert float(library(*batch())[0]) == trainer.step(*batch())
    workspace = library._workspace.tobytes()
    netc.save_trained(tmp_path / "new.safetensors", tiny, tmp_path / "out/net.o", workspace)
    found = netc.compile(tiny, weights=tmp_path / "new.safetensors", batch=4, threads=1)(batch()[0])
    weights = {name: array for name, array in trainer.state().items() if not name.startswith("optimizer.")}
    frozen = {name: array for name, array in initial_weights(netc.load(tiny)).items() if name not in weights}
    expected_output = netc.compile(tiny, weights={**weights, **frozen}, batch=4, threads=1)(batch()[0])
    np.testing.assert_array_equal(found, expected_output)
    with pytest.raises(NetcError, match="has more than 9 bytes"):
        netc.save_trained(tmp_path / "new.safetensors", tiny, tmp_path / "out/net.o", workspace[:9])
    with pytest.raises(NetcError, match=r"did you mean fc\.weight"):
        library.load_state({"fc.wieght": state["fc.weight"]})


@needs_cc
def test_the_example_trains(netc: Call, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--train", "--batch", "4", "--lr", "fc.*=0.02", "--freeze", "conv1.*", "--no-embed-weights"]
    assert netc("build", tiny, "-o", out, *options).code == 0
    cc(out, "example.c", "tiny_preprocess.c", "tiny.o", "-o", "example", "-lm")
    printed = subprocess.run(["./example"], cwd=out, capture_output=True, text=True, check=True).stdout.splitlines()
    losses = [float(line.removeprefix("loss ")) for line in printed[1:]]
    assert len(losses) == 20
    assert losses[-1] < losses[0] / 2
    assert "--train --lr 'fc.*=0.02'" in (out / "README.md").read_text().replace(" --freeze 'conv1.*'", "")


def test_training_on_another_processor(tiny: Path, tmp_path: Path) -> None:
    if reason := missing("aarch64-linux"):
        pytest.skip(reason)
    library = build_library(tiny, tmp_path / "out", target="aarch64-linux", prefix="net", batch=4, train=TRAINING)
    loss, *_ = run_library("aarch64-linux", library, batch(), runs=3)
    trainer = netc.compile_training(tiny, batch=4, threads=1, **TRAINING)
    expected = [trainer.step(*batch()) for _ in range(3)]
    assert abs(float(loss) - expected[-1]) < 1e-6 * expected[0]


def test_the_stack_of_a_training_step_is_certified(tiny: Path, tmp_path: Path) -> None:
    build_library(tiny, tmp_path / "out", target="cortex-m4", prefix="net", selftest=False, train=TRAINING)
    certificate = json.loads((tmp_path / "out/net.certificate.json").read_text())
    calls = [call["function"] for call in certificate["deepest_calls"]]
    assert calls[:2] == ["net_train_step", "netc.sequence"]
    assert certificate["ram"]["stack"] == sum(call["frame"] for call in certificate["deepest_calls"])
    page = (tmp_path / "out/README.md").read_text()
    assert "    arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -std=c99 -O2 example.c " in page
