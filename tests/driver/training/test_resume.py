"""`netc train --resume`: a run goes on as it began, or not at all."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np

from ..conftest import Call
from .conftest import Stand


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


def test_resume_after_records_that_lack_something(netc: Call, net: Path) -> None:
    assert netc("train", net, "--run-dir", "run").code == 0
    records = Path("run/metrics.jsonl").read_text()
    line = records.index("\n") + 1
    Path("run/metrics.jsonl").write_text('{"kind": "skipped"}'.ljust(line - 1) + "\n" + records[line:])
    assert (result := netc("train", "--resume", "run")).code == 0, result.err
