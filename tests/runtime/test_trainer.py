"""The compiled training step against the reference interpreter, and its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.quantization import Ranges
from netc.runtime.trainer import QatTrainer
from netc.runtime.weights import initial_weights, read_metadata

NET = """
block unit(x, filters, stride) {
  y = x |> conv@conv(filters, 3, stride, bias = false) |> batch_norm@bn |> relu
  if stride == 1 and channels(x) == filters { y = y + x }
  return y
}
net tiny(image: f32[N, 9, 9, 3]) {
  return image |> unit@a(8, 1) |> unit@b(8, 1) |> unit@c(12, 2) |> max_pool(2) |> flatten |> dropout(0.25)
    |> dense@fc1(20) |> relu |> dense@fc2(5)
}
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.net"
    path.write_text(NET)
    return path


def batches(count: int) -> list[tuple[Any, Any]]:
    rng = np.random.default_rng(3)
    return [
        (rng.standard_normal((6, 9, 9, 3), dtype=np.float32), rng.integers(0, 5, 6).astype(np.int32))
        for _ in range(count)
    ]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd(lr=0.05, momentum=0.9)", "adam(lr=0.003)"])
def test_steps_follow_the_interpreter(source: Path, optimizer: str, threads: int) -> None:
    with netc.compile_training(source, batch=6, threads=threads, optimizer=optimizer, seed=4) as trainer:
        graph = trainer.step_graph
        state: dict[str, Any] = dict(initial_weights(graph, 4))
        metrics = graph.attributes["metrics"]
        for x, labels in batches(4):
            results = evaluate(graph, [x, labels], state)
            state |= dict(zip(graph.attributes["updates"], results[len(metrics) :], strict=True))
            assert trainer.step(x, labels) == pytest.approx(float(results[0]), rel=2e-4)
            assert trainer.metrics["correct"] == results[1]


@pytest.mark.parametrize("kind", ["moving", "learned"])
def test_quantization_aware_steps_follow_the_interpreter(source: Path, tmp_path: Path, kind: str) -> None:
    inputs = [x for x, _ in batches(2)]
    weights = dict(initial_weights(netc.load(source, batch=6), 4))
    ranges = netc.calibrate(netc.load(source, batch=6), inputs, weights=weights).calibration.ranges()
    options = {"weights": weights, "optimizer": "sgd(lr=0.01)", "ema": 0.9, "qat": kind, "ranges": ranges}
    with netc.compile_training(source, batch=6, threads=2, **options) as trainer:
        assert isinstance(trainer, QatTrainer)
        graph, state = trainer.step_graph, trainer.state()
        metrics = graph.attributes["metrics"]
        for x, labels in batches(3):
            results = evaluate(graph, [x, labels], {**weights, **state})
            state |= dict(zip(graph.attributes["updates"], results[len(metrics) :], strict=True))
            assert trainer.step(x, labels) == pytest.approx(float(results[0]), rel=0.02)
        now = trainer.state()
        for name in trainer.fake.values(ranges):
            assert float(now[name]) == pytest.approx(float(state[name]), rel=1e-2, abs=1e-5)
        plain, averaged = trainer.ranges(), trainer.ranges(averaged=True)
        assert plain["fc1/relu"].high == max(0.0, float(now["ranges.fc1/relu.high"]))
        assert averaged["fc1/relu"].high == max(0.0, float(now["ema.ranges.fc1/relu.high"]))
        trainer.save(tmp_path / "w.safetensors", averaged=True)
    assert Ranges.from_json(read_metadata(tmp_path / "w.safetensors")["ranges"]) == averaged


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"qat": "fixed"}, "ranges are moving or learned, not 'fixed'"),
        ({"qat": "moving"}, "starts from calibrated ranges"),
        ({"qat": "moving", "ranges": Ranges({}, "minmax", 1)}, "no calibrated range of `image`"),
    ],
)
def test_what_quantization_aware_training_needs(source: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(netc.NetcError, match=message):
        netc.compile_training(source, batch=6, **options)


def test_going_back_to_a_state_repeats_the_same_bits(source: Path) -> None:
    first, second, third = batches(3)
    with netc.compile_training(source, batch=6, threads=2) as trainer:
        trainer.step(*first)
        saved = trainer.state()
        losses = [trainer.step(*second), trainer.step(*third)]
        final = trainer.state()
    with netc.compile_training(source, batch=6, threads=2, seed=trainer.seed) as again:
        again.load_state(saved)
        assert [again.step(*second), again.step(*third)] == losses
        for name, array in again.state().items():
            np.testing.assert_array_equal(array, final[name], err_msg=name)


def test_saved_weights_are_those_of_the_network(source: Path, tmp_path: Path) -> None:
    (x, labels), *_ = batches(1)
    with netc.compile_training(source, batch=6, threads=1, ema=0.9) as trainer:
        trainer.step(x, labels)
        trainer.save(tmp_path / "w.safetensors")
        weights = trainer.weights()
    program = netc.compile(source, weights=tmp_path / "w.safetensors", batch=6, threads=1)
    (expected,) = evaluate(netc.load(source, batch=6), [x], weights)
    np.testing.assert_allclose(program(x), expected, atol=1e-4)


def test_a_state_of_another_network_is_refused(source: Path) -> None:
    with netc.compile_training(source, batch=6, threads=1) as trainer:
        state = trainer.state()
        state["fc3.weight"] = state.pop("fc2.weight")
        with pytest.raises(netc.NetcError, match=r"lacks `fc2.weight`"):
            trainer.load_state(state)


def test_the_place_where_numbers_stop_being_finite_is_found(source: Path) -> None:
    (x, labels), *_ = batches(1)
    with netc.compile_training(source, batch=6, threads=1) as trainer:
        assert trainer.diagnose(x, labels) is None
        trainer.program.state["b.conv.weight"][...] = 1e38
        place = trainer.diagnose(x, labels)
        assert place is not None
        assert "b.conv" in place
        trainer.program.state["fc1.bias"][2] = np.nan
        assert trainer.diagnose(x, labels) == "the parameter fc1.bias"


def test_labels_are_classes_of_the_net(source: Path) -> None:
    (x, labels), *_ = batches(1)
    with netc.compile_training(source, batch=6, threads=1) as trainer:
        for wrong in (-1, 5, 1000):
            with pytest.raises(netc.NetcError, match="net tiny has 0 to 4"):
                trainer.step(x, np.where(labels == labels[0], wrong, labels))
        with pytest.raises(netc.NetcError, match="labels are whole numbers of int32, not float64"):
            trainer.step(x, labels + 0.5)
        assert trainer.step(x, labels.astype(np.uint8)) > 0


def test_weights_that_are_not_finite_are_not_saved(source: Path, tmp_path: Path) -> None:
    with netc.compile_training(source, batch=6, threads=1) as trainer:
        trainer.program.state["b.conv.weight"][0, 0, 0, 0] = np.nan
        with pytest.raises(netc.NetcError, match=r"b.conv.weight holds infinities or NaNs"):
            trainer.save(tmp_path / "w.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_trunk_is_kept_and_a_head_is_drawn(source: Path, threads: int) -> None:
    """Compiled: frozen weights and statistics stay to the bit, what is skipped comes from the seed."""
    start = dict(initial_weights(netc.load(source, batch=6), 9))
    start["a.bn.running_mean"] = np.linspace(-1, 1, 8, dtype=np.float32)
    drawn = initial_weights(netc.load(source, batch=6), 4)
    options = {"weights": {**start, "fc2.weight": np.zeros((7, 7), np.float32)}, "skip": "fc2.*", "seed": 4}
    frozen = {"freeze": ("[abc].*",), "optimizer": "adamw(lr=0.01)", "ema": 0.9}
    with netc.compile_training(source, batch=6, threads=threads, **options, **frozen) as trainer:
        graph = trainer.step_graph
        state = {**start, **{n: drawn[n] for n in ("fc2.weight", "fc2.bias")}, **trainer.state()}
        np.testing.assert_array_equal(trainer.weights()["fc2.weight"], drawn["fc2.weight"])
        count = len(graph.attributes["metrics"])
        for x, labels in batches(3):
            results = evaluate(graph, [x, labels], state)
            state |= dict(zip(graph.attributes["updates"], results[count:], strict=True))
            assert trainer.step(x, labels) == pytest.approx(float(results[0]), rel=2e-4)
        for averaged in (False, True):
            weights = trainer.weights(averaged=averaged)
            for name in start:
                same = np.array_equal(weights[name], start[name])
                assert same == name.startswith(("a.", "b.", "c.")), name
