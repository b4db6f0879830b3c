"""Predictions for many ranks: the model of the exchange, and what `netc train --plan` prints."""

from __future__ import annotations

import pytest

from netc.compiler.errors import NetcError
from netc.plan import parse_network
from netc.runtime.parallel.model import Measured, Network, exchange_seconds, predict

MEASURED = Measured(samples=16, shard_seconds=1.0, update_seconds=0.1, sum_seconds=0.02, exchanged_bytes=100_000_000)
NETWORK = Network(1e-3, 1e9)


def test_a_power_of_two_halves_and_doubles() -> None:
    assert exchange_seconds(1, MEASURED, NETWORK) == 0
    assert exchange_seconds(2, MEASURED, NETWORK) == pytest.approx(2e-3 + 0.1 + 0.01)
    assert exchange_seconds(8, MEASURED, NETWORK) == pytest.approx(6e-3 + 7 / 8 * (0.2 + 0.02))


def test_other_numbers_go_up_the_tree_and_back() -> None:
    assert exchange_seconds(3, MEASURED, NETWORK) == pytest.approx(2 * (2 * (1e-3 + 0.1) + 0.02))


def test_a_prediction() -> None:
    found = predict(4, MEASURED, NETWORK)
    exchange = 4e-3 + 3 / 4 * (0.2 + 0.02)
    assert (found.batch, found.seconds) == (64, pytest.approx(1.1 + exchange))
    assert found.efficiency == pytest.approx(1.1 / (1.1 + exchange))
    assert found.samples_per_second == pytest.approx(64 / (1.1 + exchange))


def test_networks() -> None:
    assert parse_network("25Gbit", 8) == Network(8e-6, 25e9 / 8)
    assert parse_network("12.5 GB/s", 0) == Network(0, 12.5e9)
    for wrong in ("25", "0Gbit", "fast", "25Kbit"):
        with pytest.raises(NetcError, match="is no speed of a network"):
            parse_network(wrong, 20)
