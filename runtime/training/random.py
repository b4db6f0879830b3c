"""Random numbers that depend on what they are for, not on when they are drawn.

A number is a hash (SplitMix64 by Steele, Lea and Flood, 2014) of a seed, an epoch, a sample and the purpose. So a batch
comes out the same whether one process makes it or ten, whole or row by row, from the start or after a resumption.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
_Bits = NDArray[np.uint64]

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15
_GROUPS = 0x5851F42D4C957F2D
"""Makes a seed for the order of groups, which differs from that for the order of samples."""
WINDOW = 8192
"""Samples that are mixed where they are read in groups."""


@dataclass(frozen=True, slots=True)
class SampleRandom:
    """Independent uniform numbers for each of some samples in one epoch.

    `samples` are the samples' numbers in their data set, int64 [n].
    """

    seed: int
    epoch: int
    samples: Integers

    def uniform(self, purpose: str) -> NDArray[np.float64]:
        """Float64 [n] in [0, 1), always the same ones for the same purpose."""
        return (self._bits(purpose) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def below(self, purpose: str, limit: int) -> Integers:
        """Int64 [n] in 0 .. limit - 1."""
        return (self.uniform(purpose) * limit).astype(np.int64)

    def _bits(self, purpose: str) -> _Bits:
        key = _mix_integer(_mix_integer(self.seed & _MASK) ^ self.epoch) ^ zlib.crc32(purpose.encode())
        return _mix(self.samples.astype(np.uint64) * np.uint64(_STEP) ^ np.uint64(_mix_integer(key)))


def permutation(count: int, seed: int, epoch: int) -> Integers:
    """The order of `count` samples in an epoch: int64 [count], the same on every platform and version."""
    keys = SampleRandom(seed, epoch, np.arange(count, dtype=np.int64)).uniform("order")
    return np.argsort(keys, kind="stable").astype(np.int64)


def grouped_permutation(groups: NDArray[np.int32], seed: int, epoch: int, window: int = WINDOW) -> Integers:
    """As `permutation`, in which samples of one group stay near each other: int64 [n].

    `groups` says which group each sample is in. Groups come in an order drawn at random, and samples are mixed within
    every `window` of them that follow each other.
    """
    count = len(groups)
    places = permutation(int(groups.max(initial=-1)) + 1, seed ^ _GROUPS, epoch)
    rank = np.empty_like(places)
    rank[places] = np.arange(len(places))
    together = np.argsort(rank[groups], kind="stable")
    keys = SampleRandom(seed, epoch, np.arange(count, dtype=np.int64)).uniform("order")
    return together[np.lexsort((keys[together], np.arange(count) // window))].astype(np.int64)


def _mix(values: _Bits) -> _Bits:
    values = values + np.uint64(_STEP)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: _Bits = values ^ (values >> np.uint64(31))
    return mixed


def _mix_integer(value: int) -> int:
    """The same of one number, without the cost of an array."""
    value = (value + _STEP) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
