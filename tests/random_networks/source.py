"""Where random choices come from: Hypothesis, which shrinks what fails, or a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st

T = TypeVar("T")


class Source(Protocol):
    """Makes choices. The simplest one is the smallest number."""

    def number(self, low: int, high: int) -> int:
        """A whole number from low up to and including high."""
        ...


class Shrinking:
    """Choices of a Hypothesis test."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data

    def number(self, low: int, high: int) -> int:
        return self.data.draw(_numbers(low, high))


class Seeded:
    """Choices that follow from a seed: the same on every run and machine."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))


_KNOWN: dict[tuple[int, int], Any] = {}


def _numbers(low: int, high: int) -> st.SearchStrategy[int]:
    if (low, high) not in _KNOWN:
        _KNOWN[low, high] = st.integers(low, high)
    strategy: st.SearchStrategy[int] = _KNOWN[low, high]
    return strategy


def choice(source: Source, options: Sequence[T]) -> T:
    """One of the options; the first one is the simplest."""
    return options[source.number(0, len(options) - 1)]
