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
    buckets: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    """For each, which share of the gradients has been announced with it, and of the shard's time has passed."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A step in which each rank takes one shard."""

    ranks: int
    batch: int
    compute: float
    """Seconds of forward pass, backward pass and update."""
    exchange: float
    """Seconds in which gradients are added over ranks."""
    exposed: float
    """Those of them in which nothing else goes on."""

    @property
    def seconds(self) -> float:
        """Of a step."""
        return self.compute + self.exposed

    @property
    def samples_per_second(self) -> float:
        """Of all ranks."""
        return self.batch / self.seconds

    @property
    def efficiency(self) -> float:
        """Speed as a share of that of as many ranks that exchange nothing."""
        return self.compute / self.seconds


def exchange_seconds(ranks: int, measured: Measured, network: Network, part: float = 1.0) -> float:
    """How long the sum over ranks of a part of the gradients takes, where each rank holds one shard.

    Powers of two halve and double: 2 log2(p) messages, (p - 1) / p of the bytes there and back, and as many additions.
    Otherwise sums go up the tree to rank 0, and the result back.
    """
    if ranks == 1:
        return 0.0
    depth, size, added = math.ceil(math.log2(ranks)), part * measured.exchanged_bytes, part * measured.sum_seconds
    if ranks & (ranks - 1):
        return depth * (2 * (network.latency + size / network.bandwidth) + added)
    share = (ranks - 1) / ranks
    return 2 * depth * network.latency + share * (2 * size / network.bandwidth + added)


def predict(ranks: int, measured: Measured, network: Network) -> Prediction:
    """A step on so many ranks.

    Buckets are added one after the other, each as soon as a shard has announced it; what a thread adds is taken from
    the computation, as all cores are at work.
    """
    compute = measured.shard_seconds + measured.update_seconds
    done, exchange, before = 0.0, 0.0, 0.0
    for share, ready in measured.buckets:
        seconds = exchange_seconds(ranks, measured, network, share - before)
        done = max(done, ready * measured.shard_seconds) + seconds
        exchange, before = exchange + seconds, share
    hidden = exchange - (exposed := max(0.0, done - measured.shard_seconds))
    adding = measured.sum_seconds * (ranks > 1) * hidden / max(exchange, 1e-12)
    return Prediction(ranks, ranks * measured.samples, compute, exchange, exposed + adding)


def best_bucket(ranks: int, network: Network) -> float:
    """Bytes of a bucket for which latency is a twentieth of the time that its messages take, at most `BUCKET_BYTES`."""
    return min(20 * max(1, math.ceil(math.log2(ranks))) * network.latency * network.bandwidth, BUCKET_BYTES)
