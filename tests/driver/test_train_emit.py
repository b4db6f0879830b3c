"""`netc train --emit` and `--cpu`: the training step at the end of each stage, for any processor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import netc as package
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.parser import parse_graph
from netc.loading import find_weights
from netc.pipeline import PROGRAM, STAGES, Request, build, load_program
from netc.training import TrainingRequest, load_trainer

from .conftest import Call

NET = """\
net small(image: f32[N, 4, 4, 1], classes = 3) {
  return image |> conv@conv(8, 3) |> batch_norm@bn |> relu |> flatten |> dense@fc(classes)
}
preprocess small { divide = 255 }
train small { data = "data.npz"; optimizer = sgd(lr = 0.1); schedule = cosine(epochs = 2); batch = 4 }
"""
OPTIONS = {"batch": 4, "optimizer": "sgd(lr=0.1)", "schedule": "cosine(epochs=2)", "steps_per_epoch": 3}
ARM = ("--cpu", "cortex-a76")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A net whose recipe trains on 12 samples, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("small.net").write_text(NET)
    x = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 1)).astype(np.uint8)
    np.savez("data.npz", x_train=x, y_train=np.arange(12) % 3, x_test=x, y_test=np.arange(12) % 3)
    return "small.net"


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_emitted_is_what_is_trained(netc: Call, small: str, stage: str) -> None:
    result = netc("train", small, "--emit", stage, "--threads", 2, "-o", "out")
    assert (result.code, result.out, result.err) == (0, "", "")
    request = TrainingRequest(small, threads=2, **OPTIONS)
    emitted = build(request, until=stage).emit(stage)
    assert Path("out").read_bytes() == (emitted if isinstance(emitted, bytes) else emitted.encode())
    with load_trainer(request) as trainer:
        if stage == "graph":
            assert Path("out").read_text() == str(trainer.step_graph)
        if stage == "loops":
            assert Path("out").read_text() == str(trainer.program.module)
    assert not Path("runs").exists()


def test_the_graph_of_a_step_is_a_network_itself(netc: Call, small: str) -> None:
    """It is read back, and computes what the trainer does."""
    assert netc("train", small, "--emit", "graph", "-o", "step.ir").code == 0
    with package.compile_training(small, threads=1, **OPTIONS) as trainer:
        state = trainer.state()
        step = parse_graph(Path("step.ir").read_text())
        x = np.random.default_rng(1).standard_normal((4, 4, 4, 1), np.float32)
        labels = np.arange(4, dtype=np.int32) % 3
        wanted, *_ = evaluate(step, [x, labels], state)
        assert trainer.step(x, labels) == pytest.approx(float(wanted), rel=1e-5)


def test_steps_for_another_processor(netc: Call, small: str) -> None:
    assert netc("train", small, *ARM, "--emit", "object", "-o", "step.o").code == 0
    assert Path("step.o").read_bytes()[18] == 183, "EM_AARCH64"
    assert 'triple = "aarch64' in netc("train", small, *ARM, "--emit", "llvm").out
    assert "f32x4" in netc("train", small, *ARM, "--threads", 1, "--emit", "loops").out
    result = netc("train", small, *ARM, "--run-dir", "run")
    assert result.code == 2
    assert result.err == netc("run", small, *ARM).err
    assert "can't run code for cortex-a76" in result.err
    assert not Path("run").exists()
    with pytest.raises(package.NetcError, match="can't run code for cortex-a76"):
        package.compile_training(small, cpu="cortex-a76")


def test_steps_with_fake_quantization(netc: Call, small: str) -> None:
    """They are emitted without calibrating, so for any processor, too."""
    assert netc("train", small, "--run-dir", "run", "--epochs", 1).code == 0
    options = ("--qat", "--weights", "run/best.safetensors", "--emit")
    assert "fake_quantize" in netc("train", small, *options, "graph").out
    assert "module @small" in netc("train", small, *options, "loops", *ARM).out


def test_passes_of_a_step_are_looked_at(netc: Call, small: str) -> None:
    options = ("--emit", "optimized", "-o", "out", "--time-passes", "--print-after", "fuse-updates")
    result = netc("train", small, *options)
    assert (result.code, result.out) == (0, "")
    assert all(name in result.err for name in ("after fuse-updates", "lower-gradients", "operations left"))
    assert "loops " not in result.err
    result = netc("train", small, "--time-passes", "--run-dir", "run")
    assert result.code == 0
    assert all(name in result.err for name in ("lower-gradients", "stage ", "loops ", "object "))
    assert "there is no pass `fuze`" in netc("train", small, "--print-after", "fuze").err
    assert "-o needs --emit" in netc("train", small, "-o", "out").err


def test_a_run_keeps_its_processor(netc: Call, small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert netc("train", small, "--cpu", "x86-64-v3", "--run-dir", "run").code == 0
    assert 'triple = "x86_64' in netc("train", "--resume", "run", "--emit", "llvm").out
    monkeypatch.setattr("netc.pipeline.runs_here", lambda target: target.cpu != "x86-64-v3")
    assert "can't run code for x86-64-v3" in netc("train", "--resume", "run").err
    assert netc("train", "--resume", "run", "--cpu", "x86-64-v2").code == 0


# ---- the road itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, 1.5, 10**6])
def test_threads_are_checked_for_steps_as_for_networks(small: str, threads: int) -> None:
    for compiled in (package.compile, package.compile_training):
        with pytest.raises(package.NetcError, match=f"runs on 1 to 1024 threads, not {threads}"):
            compiled(small, threads=threads)


@pytest.mark.parametrize(("memory", "hint"), [(6000, "the parameters alone"), (20_000, "take a smaller batch")])
def test_parameters_and_outputs_count_as_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int, hint: str
) -> None:
    monkeypatch.setattr("netc.pipeline.physical_memory", lambda: memory)
    net = tmp_path / "wide.net"
    net.write_text("net wide(image: f32[N, 4]) { return image |> dense(400) }")  # 8,000 bytes of parameters
    with pytest.raises(package.NetcError, match=r"a run works on .* GB") as caught:
        package.compile(net, batch=10)  # 16,000 of outputs
    assert hint in str(caught.value)


def test_memory_is_checked_for_networks_as_for_steps(small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netc.pipeline.physical_memory", lambda: 1000)
    for compiled, what in ((package.compile, "a run"), (package.compile_training, "a step")):
        with pytest.raises(package.NetcError, match=f"{what} works on .* GB, but this machine has 1e-06 GB of memory"):
            compiled(small, batch=64)
    assert "module" in build(Request(small, batch=64), until="loops").emit("loops")


def test_steps_report_their_stages(small: str) -> None:
    for request in (Request(small), TrainingRequest(small)):
        stages = build(request).stages
        assert [s.name for s in stages] == ["graph", "optimized", "loops", "llvm", "object"]
        assert stages[-1].result.endswith(("compiled", "from the cache"))


def test_programs_take_other_weights(small: str) -> None:
    compilation = build(Request(small, threads=2), PROGRAM)
    x = np.random.default_rng(0).standard_normal((1, 4, 4, 1), np.float32)
    one, other = (load_program(build(Request(small, threads=2, seed=seed), PROGRAM)) for seed in (1, 2))
    program = load_program(compilation, find_weights(None, compilation.graph, 1))
    np.testing.assert_array_equal(program(x), one(x))
    program.repack(find_weights(None, compilation.graph, 2))
    np.testing.assert_array_equal(program(x), other(x))
    assert (one(x) != other(x)).any()
