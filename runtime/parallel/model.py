"""A model of training on many ranks: what a step takes, from what was measured on one and what a network does.

A message of n bytes takes alpha + n * beta (Hockney, The communication challenge for MPP, 1994); the sum over ranks is
that of `tree`. Ranks are alike, messages don't disturb each other, and nobody waits for data: a bound, which jitter and
a network with fewer links than ranks push up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


BUCKET_BYTES = 25_000_000
"""Of gradients that are added while others are computed, unless a user says otherwise."""


@dataclass(frozen=True, slots=True)
class Network:
    """What connects ranks: seconds that any message takes, and bytes a second in each direction."""

    latency: float
    bandwidth: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What one rank was measured to do."""

    samples: int
    """Of a shard."""
    shard_seconds: float
    """Forward and backward pass of a shard."""
    update_seconds: float
    sum_seconds: float
    """Adding two arrays of all gradients."""
    exchanged_bytes: int
    """Gradients, metrics and running statistics."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A step in which each rank takes one shard."""

    ranks: int
    batch: int
    compute: float
    """Seconds of forward pass, backward pass and update."""
    exchange: float
    """Seconds in which gradients are added over ranks; nothing else goes on."""

    @property
    def seconds(self) -> float:
        """Of a step."""
        return self.compute + self.exchange

    @property
    def samples_per_second(self) -> float:
        """Of all ranks."""
        return self.batch / self.seconds

    @property
    def efficiency(self) -> float:
        """Speed as a share of that of as many ranks that exchange nothing."""
        return self.compute / self.seconds


def exchange_seconds(ranks: int, measured: Measured, network: Network) -> float:
    """How long the sum over ranks takes, each of which holds one shard.

    Powers of two halve and double: 2 log2(p) messages, (p - 1) / p of the bytes there and back, and as many additions.
    Otherwise sums go up the tree to rank 0, and the result back.
    """
    if ranks == 1:
        return 0.0
    depth, size = math.ceil(math.log2(ranks)), measured.exchanged_bytes
    if ranks & (ranks - 1):
        return depth * (2 * (network.latency + size / network.bandwidth) + measured.sum_seconds)
    share = (ranks - 1) / ranks
    return 2 * depth * network.latency + share * (2 * size / network.bandwidth + measured.sum_seconds)


def predict(ranks: int, measured: Measured, network: Network) -> Prediction:
    """A step on so many ranks."""
    compute = measured.shard_seconds + measured.update_seconds
    return Prediction(ranks, ranks * measured.samples, compute, exchange_seconds(ranks, measured, network))
