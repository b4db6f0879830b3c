"""Narrow groups of integer convolutions, taken together so that dot products of four elements fit them."""

from __future__ import annotations

import numpy as np

from ...graph.ir import Builder, Value

QUAD = 4
"""Elements that a dot product adds up: the channels of a group must be a multiple of it."""
MOST = 16
"""Groups that are taken together, at most: so many times more is multiplied, mostly by zero."""


def are_whole_quads(channels: int, groups: int) -> bool:
    """True for groups of so many channels each that dot products fit as they are: one group's may be filled up."""
    return groups == 1 or channels % QUAD == 0


def together(channels: int, groups: int, filters: int) -> int:
    """How many neighbouring groups, each of so many channels and filters, become one; 1 where they stay as they are."""
    is_depthwise = channels == 1 and filters.bit_count() == 1  # whose vectors hold whole groups
    if is_depthwise or are_whole_quads(channels, groups):
        return 1
    fitting = [n for n in range(2, groups + 1) if groups % n == 0 and (n * channels % QUAD == 0 or n == groups)]
    return fitting[0] if fitting[0] <= MOST else 1


def joined(b: Builder, weight: Value, groups: int, count: int, zero_point: int) -> Value:
    """The weight [K..., C, F] of groups with that of `count` groups each: [K..., count * C, F].

    Outside a filter's own group stands what counts as 0.
    """
    channels, filters = weight.type.shape[-2:]
    owner = np.arange(filters) // (filters // groups) % count
    is_own = np.repeat(np.arange(count), channels)[:, np.newaxis] == owner
    copies = b.emit("concat", *(weight,) * count, axis=weight.type.rank - 2)
    nothing = b.constant(np.array(zero_point, weight.type.dtype.numpy))
    return b.emit("select", b.constant(is_own), copies, nothing)
