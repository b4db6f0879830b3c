"""Networks of layers, the same on every run; `benchmarks/random_trials.py --layers` tries more."""

from __future__ import annotations

import ctypes
import faulthandler
from collections import Counter
from collections.abc import Callable

import pytest

from tests.random_networks.children import DiedError, in_child, isolated
from tests.random_networks.guarded import PAGE, Guarded
from tests.random_networks.layered import Layered, layered, layered_integers
from tests.random_networks.layers import draw_layers
from tests.random_networks.source import Seeded, Source
from tests.random_networks.trials import Trial


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("draw", [layered, layered_integers], ids=lambda draw: draw.__name__)
def test_networks_of_layers(draw: Callable[[Source], Trial], seed: int) -> None:
    trial = draw(Seeded(seed))
    assert not isolated(trial.check), f"seed {seed}: {trial}"


@pytest.mark.parametrize("seed", range(3))
def test_tile_registers_and_turns_round_alike(seed: int) -> None:
    """Where the machine has none, the loops are verified."""
    way = Layered("sapphirerapids", "bf16", ((1, 0), (3, 0), (2, 1)))
    network = draw_layers(Seeded(100 + seed))
    assert not isolated(lambda: way.check(network))


def test_what_is_drawn() -> None:
    networks = [draw_layers(Seeded(seed)) for seed in range(60)]
    names = Counter(op.name for network in networks for op in network.graph.operations)
    anchors = {"conv1d", "conv2d", "conv3d", "dense", "attention", "matmul", "transpose_conv2d"}
    assert anchors | {"max_pool", "concat", "slice", "pad", "resize_nearest", "normalize", "batch_norm"} <= set(names)
    assert {network.graph.inputs[0].type.shape[0] for network in networks} == {1, 2, 3, 4, 5}
    assert any(len(set(network.graph.outputs)) < len(network.graph.outputs) for network in networks)


@pytest.mark.parametrize("at_end", [True, False])
def test_a_touch_beyond_guarded_memory_is_fatal(at_end: bool) -> None:
    memory = Guarded(100, 4, at_end=at_end)
    beyond = memory.address + (100 if at_end else -1)
    assert (memory.address + (100 if at_end else 0)) % PAGE == 0
    with pytest.raises(DiedError, match="SIGSEGV"):
        in_child(lambda: (faulthandler.disable(), ctypes.string_at(beyond, 1)))
    memory.close()
    assert ctypes.string_at(beyond, 1) == bytes(1)
