"""Predictions for many ranks: the model of the exchange, and what `netc train --plan` prints."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netc.compiler.errors import NetcError
from netc.plan import parse_network
from netc.runtime.parallel.model import BUCKET_BYTES, Measured, Network, best_bucket, exchange_seconds, predict

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


def test_buckets_hide_what_goes_while_a_shard_is_computed() -> None:
    measured = replace(MEASURED, buckets=((0.5, 0.4), (0.9, 0.8), (1.0, 1.0)))
    found = predict(2, measured, NETWORK)
    first, second, last = (exchange_seconds(2, MEASURED, NETWORK, part) for part in (0.5, 0.4, 0.1))
    assert found.exchange == pytest.approx(first + second + last)
    assert max(0.4 + first, 0.8) + second < 1, "all but the last is hidden"
    adding = 0.02 * (first + second) / found.exchange
    assert found.exposed == pytest.approx(last + adding)
    slow = predict(2, measured, Network(1e-3, 1e8))
    assert slow.exposed == pytest.approx(0.4 + slow.exchange - 1.0, rel=0.05)
    assert predict(1, measured, NETWORK).exposed == 0


def test_buckets_grow_with_latency_up_to_the_default() -> None:
    assert best_bucket(4, Network(20e-6, 1e9)) == pytest.approx(20 * 2 * 20e-6 * 1e9)
    assert best_bucket(1024, Network(1e-3, 1e10)) == BUCKET_BYTES


def test_networks() -> None:
    assert parse_network("25Gbit", 8) == Network(8e-6, 25e9 / 8)
    assert parse_network("12.5 GB/s", 0) == Network(0, 12.5e9)
    for wrong in ("25", "0Gbit", "fast", "25Kbit"):
        with pytest.raises(NetcError, match="is no speed of a network"):
            parse_network(wrong, 20)
