"""A step in shards means what a step of the whole batch means, and has the same bits on any number of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import netc
from netc.compiler.errors import NetcError
from netc.compiler.modules.module import final_outputs
from netc.compiler.modules.reader import parse_module
from netc.runtime.parallel.trainer import CHECKED_STEPS, ShardedTrainer
from netc.runtime.parallel.world import ALONE, World
from netc.training import TrainingRequest, load_sharded_trainer

from .ranks import ThreadWorld, on_ranks

PLAIN = """
net tiny(image: f32[N, 8, 8, 3]) {
  return image |> conv@conv(8, 3) |> relu |> max_pool(2) |> flatten |> dense@fc(5)
}
"""
NORMED = """
net tiny(image: f32[N, 8, 8, 3]) {
  return image |> conv@conv(8, 3, bias = false) |> batch_norm@bn |> relu |> max_pool(2) |> flatten |> dropout(0.5)
    |> dense@fc(5)
}
"""
WIDE = """
net wide(image: f32[N, 16, 16, 3]) { return image |> conv@conv(32, 3) |> relu |> max_pool(2) |> flatten |> dense@fc(5) }
"""
DENSE = """
net tiny(image: f32[N, 8, 8, 3]) { return image |> flatten |> dense@wide(64) |> relu |> dense@fc(5) }
"""
BATCH, SHARDS = 16, 4
Array = NDArray[Any]


def batches(count: int) -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(3)
    return [
        (rng.standard_normal((BATCH, 8, 8, 3), dtype=np.float32), rng.integers(0, 5, BATCH).astype(np.int32))
        for _ in range(count)
    ]


def trainer(source: Path, world: World = ALONE, shards: int = SHARDS, **options: Any) -> ShardedTrainer:
    request = TrainingRequest(source, batch=BATCH // shards, shards=shards, threads=1, seed=4, **options)
    return load_sharded_trainer(request, netc.load(source, batch=BATCH), world)


@pytest.fixture(params=[PLAIN, NORMED, DENSE], ids=["plain", "normed", "dense"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.net"
    path.write_text(request.param)
    return path


@pytest.mark.parametrize("net", [PLAIN, DENSE], ids=["plain", "dense"])
def test_without_statistics_a_step_is_that_of_the_whole_batch(tmp_path: Path, net: str) -> None:
    path = tmp_path / "tiny.net"
    path.write_text(net)
    options = {"optimizer": "adam(lr=0.003)", "clip_norm": 1.0, "ema": 0.9}
    with netc.compile_training(path, batch=BATCH, threads=1, seed=4, **options) as whole:
        parts = trainer(path, **options)
        for x, labels in batches(3):
            assert parts.step(x, labels) == pytest.approx(whole.step(x, labels), rel=1e-5)
            assert parts.metrics == pytest.approx({**whole.metrics, "counted": BATCH}, rel=1e-5)
        state = parts.state()
        assert state.keys() == whole.state().keys()
        for name, value in whole.state().items():
            np.testing.assert_allclose(state[name], value, rtol=2e-4, atol=1e-6, err_msg=name)
        parts.close()


def test_each_shard_has_its_own_statistics_and_its_own_dropout(tmp_path: Path) -> None:
    path = tmp_path / "tiny.net"
    path.write_text(NORMED)
    (x, labels), parts = batches(1)[0], trainer(path)
    same = np.concatenate([x[: BATCH // SHARDS]] * SHARDS)
    before = parts.state()
    parts.step(same, np.concatenate([labels[: BATCH // SHARDS]] * SHARDS))
    statistics = parts.state()["bn.running_mean"]
    with netc.compile_training(path, batch=BATCH // SHARDS, threads=1, seed=4) as one:
        losses = {one.step(x[: BATCH // SHARDS], labels[: BATCH // SHARDS])}
        np.testing.assert_allclose(statistics, one.state()["bn.running_mean"], rtol=1e-5)
    assert not np.array_equal(statistics, before["bn.running_mean"])
    assert parts.metrics["loss"] not in losses, "all shards dropped the same elements"
    parts.close()


def test_a_large_gradient_crosses_as_two_factors(tmp_path: Path) -> None:
    path = tmp_path / "tiny.net"
    path.write_text(DENSE)
    summed, factors = trainer(path, factors=False), trainer(path)
    assert [array.shape for array in factors._rows.values()] == [(BATCH, 192), (BATCH, 64)]
    assert factors.exchanged_bytes < summed.exchanged_bytes
    for batch in batches(2):
        assert factors.step(*batch) == pytest.approx(summed.step(*batch), rel=1e-6)
    for name, value in summed.state().items():
        np.testing.assert_allclose(factors.state()[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    summed.close()
    factors.close()


def test_a_batch_of_one_shard_has_the_bits_of_one_program(source: Path) -> None:
    with netc.compile_training(source, batch=BATCH, threads=1, seed=4) as whole:
        one = trainer(source, shards=1)
        for batch in batches(3):
            assert one.step(*batch) == whole.step(*batch)
        for name, value in whole.state().items():
            np.testing.assert_array_equal(one.state()[name], value, err_msg=name)
        one.close()


@pytest.mark.parametrize("ranks", [2, 3, 4, 6])
def test_any_number_of_ranks_gives_the_same_bits(source: Path, ranks: int) -> None:
    options = {"optimizer": "sgd(lr=0.05, momentum=0.9)", "accumulate": 2}
    alone = trainer(source, **options)
    for batch in batches(4):
        alone.step(*batch)
    expected = alone.state()

    def work(world: ThreadWorld) -> tuple[dict[str, Array], dict[str, float]]:
        mine = trainer(source, world, **options)
        for x, labels in batches(4):
            given = (x[mine.rows], labels[mine.rows]) if world.rank < SHARDS else ()
            ShardedTrainer.step(mine, *given)  # without orders to the others
        state, metrics = mine.state(), dict(mine.metrics)
        mine.close()
        return state, metrics

    for state, metrics in on_ranks(ranks, work):
        assert metrics == alone.metrics
        for name, value in expected.items():
            np.testing.assert_array_equal(state[name], value, err_msg=name)
    alone.close()


RECIPES = (
    {"optimizer": "lars(lr=5, weight_decay=0.01)", "schedule": "cosine(epochs=4, warmup=2)", "steps_per_epoch": 1},
    {"optimizer": "lamb(lr=0.01)", "label_smoothing": 0.1, "ema": 0.9, "clip_norm": 1.0},
)


@pytest.mark.parametrize("options", RECIPES, ids=["lars-warmup", "lamb-smoothing-ema-clip"])
def test_what_large_batches_are_trained_with_gives_the_same_bits(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "tiny.net"
    path.write_text(NORMED)

    def work(world: World) -> dict[str, Array]:
        mine = trainer(path, world, **options)
        for x, labels in batches(3):
            ShardedTrainer.step(mine, x[mine.rows], labels[mine.rows])  # without orders to the others
        state = mine.state()
        mine.close()
        return state

    expected = work(ALONE)
    for state in on_ranks(4, work):
        assert state.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(state[name], value, err_msg=name)


def test_ranks_add_buckets_to_the_same_bits(tmp_path: Path) -> None:
    path = tmp_path / "wide.net"
    path.write_text(WIDE)
    x, labels = np.random.default_rng(0).standard_normal((BATCH, 16, 16, 3), np.float32), batches(1)[0][1]

    def work(world: World) -> tuple[dict[str, Array], int]:
        mine = trainer(path, world, bucket=10_000)
        if world.rank == 1:
            mine._final = [[], *reversed(mine._final[:-1]), mine._final[-1]]  # as if the program had another order
            mine._shard.listen = lambda heard: None
        for _ in range(3):
            ShardedTrainer.step(mine, x[mine.rows], labels[mine.rows])  # without orders to the others
        state, buckets = mine.state(), mine.bucket[1]
        mine.close()
        return state, buckets

    expected, one = work(ALONE)
    assert one == 1
    for state, buckets in on_ranks(2, work):
        assert buckets == 2
        for name, value in expected.items():
            np.testing.assert_array_equal(state[name], value, err_msg=name)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_shard_announces_gradients_in_the_order_of_the_backward_pass(tmp_path: Path, threads: int) -> None:
    path = tmp_path / "tiny.net"
    path.write_text(WIDE)
    request = TrainingRequest(path, batch=4, shards=4, threads=threads, seed=4, announces=True, bucket=10_000)
    x, labels = np.ones((BATCH, 16, 16, 3), np.float32), batches(1)[0][1]
    with load_sharded_trainer(request, netc.load(path, batch=BATCH), ALONE) as mine:
        shard = mine._shard
        names = [name for name, _ in shard.module.outputs]
        groups = [[names[i] for i in group] for group in final_outputs(mine._calls, len(names))]
        assert "fc.weight.grad" in groups[0]
        assert "conv.weight.grad" in groups[-1]
        heard = list[int]()
        shard.listen(heard.append)
        mine.step(x, labels)
        assert heard == [*range(len(groups) - 1)] * 4
        shard.listen(None)
        mine.step(x, labels)
        assert len(heard) == (len(groups) - 1) * 4
        *early, (share, time) = mine.announced(x, labels)
        assert early
        assert share == time == 1
        assert all(0 < s < 1 and 0 < t <= 1 for s, t in early)
        assert str(parse_module(str(shard.module))) == str(shard.module)


def test_a_rank_with_other_weights_is_named(tmp_path: Path) -> None:
    path = tmp_path / "tiny.net"
    path.write_text(PLAIN)
    (x, labels) = batches(1)[0]

    def work(world: ThreadWorld) -> str:
        mine = trainer(path, world)
        if world.rank == 1:
            mine.program.state["fc.bias"][0] += 1
        try:
            for _ in range(CHECKED_STEPS):
                ShardedTrainer.step(mine, x[mine.rows], labels[mine.rows])  # without orders to the others
        except NetcError as error:
            return str(error)
        finally:
            mine.close()
        return ""

    first, second = on_ranks(2, work)
    assert "the weights of rank 1 differ from those of rank 0 after 100 steps" in first
    assert second == ""
