"""How threads share out a contraction: tiles of channels, or bands of pixels.

With channels, each thread reads its own weights and the whole input; with pixels, the whole weight and its own part of
the input. Weights are only read, and lie in all caches at once. Tensors are not: whoever writes a line of memory waits
until copies in the caches of other cores are gone, and memory that the arena reuses is written again in each run. So an
input that all threads read costs time later, much more than a weight that all of them read.
"""

from __future__ import annotations

from dataclasses import dataclass

from ....loops.ir import Const, Expr
from ....lowering.loops import LINE

SHARED_LINE = 90
"""Cycles until a core may write a line that it and another one have read: 25 ns on Zen 4, one line after the other."""
MOVED_LINE = 12
"""Cycles in which a core reads a line that another one has written, many at a time."""
STREAMED_LINE = 4
"""Cycles in which a line of a weight comes from the cache that cores have in common."""


def part_of(count: int, p: Expr, shares: int, *, is_shared: bool = True) -> tuple[Expr, Expr]:
    """The first of `count` blocks of share p, and the one after its last; all of them where they aren't shared out.

    Shares differ by one block at most, and cover all of them.
    """
    return (p * count // shares, (p + 1) * count // shares) if is_shared else (Const(0), Const(count))


def largest_share(whole: int, size: float, last: float, threads: int) -> float:
    """What the busiest thread gets of `whole` parts of a size and a last one, if it isn't 0, shared out in order."""
    if threads == 1:
        return whole * size + last
    count = whole + bool(last)
    counts = [count * (t + 1) // threads - count * t // threads for t in range(threads)]
    end = (counts[-1] - 1) * size + last if last else counts[-1] * size
    return max(end, max(counts[:-1]) * size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What the two ways to share out have to do with; sizes in bytes."""

    threads: int
    cycles: float
    """Of all multiplications."""
    channels: float
    """The part of all channels that the busiest thread computes, if these are shared out."""
    bands: float
    """The part of all pixels."""
    weight: int
    input: int
    overlap: int
    """Bytes of the input that two neighbouring bands read."""
    torn_lines: int
    """Lines of the result that two threads write, if channels are shared out."""

    @property
    def by_channels(self) -> float:
        """Cycles of the busiest thread."""
        return self.cycles * self.channels + self.shared_input

    @property
    def by_bands(self) -> float:
        """Cycles of the busiest thread."""
        others = 1 - 1 / self.threads
        return self.cycles * self.bands + (self.weight * STREAMED_LINE * others + self.overlap * SHARED_LINE) / LINE

    @property
    def shared_input(self) -> float:
        """Cycles that sharing out channels costs beside multiplications."""
        per_line = SHARED_LINE / self.threads + MOVED_LINE * (1 - 1 / self.threads)
        return self.input / LINE * per_line + SHARED_LINE * self.torn_lines
