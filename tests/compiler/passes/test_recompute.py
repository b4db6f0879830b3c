"""recompute and checkpoint: the same bits from less memory, for the interpreter and compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler import passes
from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.errors import NetcError
from netc.compiler.graph import Graph, evaluate
from netc.compiler.lowering import footprint
from netc.compiler.passes.rematerialize import TrainingGraph, cheapest_to_keep, rematerialize
from netc.compiler.training import training_step
from netc.runtime.weights import initial_weights

NET = """
block unit(x, filters, stride) {
  y = x |> conv@conv1(filters, 3, stride, bias = false) |> batch_norm@bn1 |> relu
        |> conv@conv2(filters, 3, bias = false)         |> batch_norm@bn2
  if stride == 1 and channels(x) == filters { y = y + x }
  return relu(y)
}
net tiny(image: f32[N, 12, 12, 3]) {
  x = image |> unit@a(8, 1)
  for i in range(4) { x = unit@"b{i}"(x, 8, 1) }
  return x |> unit@c(12, 2) |> flatten |> dropout(0.25) |> dense@fc1(20) |> tanh |> dense@fc2(5)
}
"""
ROWS = """
net rows(x: f32[N, 9, 16]) {
  for i in range(2) {
    x = x + (x |> layer_norm@"n{i}" |> multi_head_attention@"a{i}"(2))
    x = x + (x |> rms_norm@"m{i}" |> dense@"d{i}"(16) |> tanh)
  }
  return x |> instance_norm@g(affine = true) |> reduce_mean(axes = [1]) |> dense@fc(5)
}
"""
BATCH = 6
BEFORE, _, AFTER = passes.pipelines.training("").rpartition("duplicate,")
BEFORE += "duplicate"
SAVING = ["recompute", "recompute{bytes-per-operation=0.0}", "checkpoint", "checkpoint{every=1}", "checkpoint{every=3}"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "tiny.net"
    path.write_text(NET)
    return path


@pytest.fixture(scope="module")
def step(source: Path) -> Graph:
    net = netc.load(source, batch=BATCH)
    return passes.run(training_step(net, loss="softmax_cross_entropy", optimizer="sgd(lr=0.1, momentum=0.9)"), BEFORE)


def batch(seed: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((BATCH, 12, 12, 3), dtype=np.float32), rng.integers(0, 5, BATCH).astype(np.int32)


def names(graph: Graph) -> list[str]:
    return [op.name for op in graph.operations]


@pytest.mark.parametrize("saving", SAVING)
def test_the_interpreter_finds_the_same_bits(step: Graph, saving: str) -> None:
    params = initial_weights(step, 2)
    changed = passes.run(step, saving)
    assert len(changed.operations) > len(step.operations)
    for wanted, got in zip(evaluate(step, batch(), params), evaluate(changed, batch(), params), strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_rows_are_summed_in_one_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.net"
    path.write_text(ROWS)
    rng = np.random.default_rng(7)
    x, labels = rng.standard_normal((BATCH, 9, 16), dtype=np.float32), rng.integers(0, 5, BATCH).astype(np.int32)
    found = []
    for options in [{"recompute": False}, {}, {"checkpoint_every": 1}]:
        with netc.compile_training(path, batch=BATCH, threads=1, seed=5, **options) as trainer:
            found.append([trainer.step(x, labels) for _ in range(3)])
    assert found[1:] == found[:1] * 2


@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_steps_give_the_same_bits(source: Path, threads: int) -> None:
    losses, states, sizes = [], [], []
    for options in [{"recompute": False}, {}, {"checkpoint_every": 0}, {"checkpoint_every": 2}]:
        with netc.compile_training(source, batch=BATCH, threads=threads, seed=5, **options) as trainer:
            losses.append([trainer.step(*batch(i)) for i in range(4)])
            states.append(trainer.state())
            sizes.append(trainer.peak_bytes)
    assert losses[1:] == losses[:1] * 3
    for state in states[1:]:
        for name, array in states[0].items():
            np.testing.assert_array_equal(state[name], array, err_msg=name)
    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[1] > sizes[3]


def test_only_cheap_operators_run_twice(step: Graph) -> None:
    changed = passes.recompute(step)
    added = names(changed)
    for name in names(step):
        added.remove(name)
    assert {"sub", "mul", "add", "relu"} <= set(added)
    assert not {"conv2d", "dense", "reduce_mean", "channel_variance", "tanh", "random_uniform"} & set(added)


def test_convolutions_run_twice_between_checkpoints(step: Graph) -> None:
    changed = passes.Checkpoint(every=6)(step)
    assert names(step).count("conv2d") == 12
    # Both convolutions of unit a, which has no shortcut, and four residual units are one segment; the rest is kept.
    assert names(changed).count("conv2d") == 12 + 10
    assert names(changed).count("channel_variance") == 12
    assert str(passes.Checkpoint(every=99)(step)) == str(passes.recompute(step))


def test_what_is_made_again_stands_before_its_first_reader(step: Graph) -> None:
    changed = passes.recompute(step)
    forward = TrainingGraph.of(step)
    again = rematerialize(forward, cheapest_to_keep(forward, 0.25))
    assert str(again.graph) == str(changed)
    operations = again.graph.operations
    copies = [op in again.forward and op not in forward.forward for op in operations]
    ends = [i for i in range(1, len(operations)) if copies[i - 1] and not copies[i]]
    assert ends
    assert all(any(again.graph.producers.get(v) is operations[i - 1] for v in operations[i].operands) for i in ends)


@pytest.mark.parametrize("saving", ["", *SAVING])
def test_the_footprint_is_that_of_the_compiled_step(source: Path, step: Graph, saving: str) -> None:
    graph = passes.run(step, f"{saving},{AFTER}" if saving else AFTER)
    graph = optimize(graph, "", host_target())
    module = lower(graph, host_target(), 1)
    estimate = footprint(graph)
    assert estimate.state == module.state_bytes
    assert module.arena_bytes == pytest.approx(estimate.arena, rel=0.05)


def test_steps_too_large_for_this_machine_are_refused(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netc.pipeline.physical_memory", lambda: 1000)
    with pytest.raises(NetcError, match="but this machine has 1e-06 GB of memory"):
        netc.compile_training(source, batch=BATCH)


def test_a_negative_number_of_blocks(source: Path) -> None:
    with pytest.raises(NetcError, match="not -1"):
        netc.compile_training(source, batch=BATCH, checkpoint_every=-1)
