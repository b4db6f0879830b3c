"""What paired measurements say: two programs run in turns, so that what else the machine does meets both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

Pairs = Sequence[tuple[float, float]]
"""Seconds of the first and of the second program, round by round."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two programs beside each other."""

    whole: Pairs
    """All of a run."""
    kernels: Mapping[str, Pairs] = field(default_factory=dict[str, Pairs])
    """All calls of a kernel in a run, for those that both programs have."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How much time the second program takes of the first one's."""

    ratio: float
    """The median over the rounds."""
    chance: float
    """How probable so many quicker rounds would be if neither were quicker (sign test, one-sided)."""

    def is_faster(self, ratio: float, chance: float) -> bool:
        """True if the second takes at most this ratio, and luck is no more probable than this."""
        return self.ratio <= ratio and self.chance <= chance


def judge(pairs: Pairs) -> Verdict:
    """The verdict of paired rounds, of which there is one at least; rounds that took no time say nothing."""
    told = [(a, b) for a, b in pairs if a > 0 and b > 0]
    if not told:
        return Verdict(1.0, 1.0)
    different = [(a, b) for a, b in told if a != b]
    quicker = sum(b < a for a, b in different)
    return Verdict(median(b / a for a, b in told), _tail(quicker, len(different)))


def _tail(heads: int, tosses: int) -> float:
    """The probability of at least so many heads of a fair coin."""
    return float(sum(math.comb(tosses, k) for k in range(heads, tosses + 1)) / 2**tosses)


def typical(seconds: Sequence[float]) -> float:
    """The median; 0 of nothing."""
    return median(seconds) if seconds else 0.0
