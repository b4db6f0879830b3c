"""Where a long sum in single precision is cut into parts, so that its rounding error doesn't grow with its length.

Each product that is added to a sum of n random ones is rounded at the size of that sum: the error of one long sum
grows with the square root of n. Sums of parts of some hundred products, which are added up at last, stay near the error
of a part. A part costs two instructions for each accumulator and a mispredicted branch: one or two hundredths of its
multiplications.
"""

from __future__ import annotations

from dataclasses import dataclass

WHOLE = 512
"""Products of a sum that isn't cut."""
LONGEST = 256
"""Products of a part of a run that is cut."""
ENOUGH = 64
"""Products that are worth adding up on their own."""


@dataclass(frozen=True)
class Cut:
    """After what a partial sum is added to the total."""

    level: int
    """0: after each part of a run, 1: each row of the window, 2: each plane of it."""
    parts: int = 1
    """Into how many a run is cut."""


def cut_of(run: int, runs: int, rows: int, planes: int) -> Cut | None:
    """How a sum is cut that has `planes` of `rows` of `runs` of `run` products; None where it is short enough."""
    lengths = (run, run * runs, run * runs * rows)
    if lengths[2] * planes <= WHOLE:
        return None
    fitting = [level for level, length in enumerate(lengths) if ENOUGH <= length <= WHOLE]
    if fitting:
        return Cut(fitting[-1])
    if run > WHOLE:
        return Cut(0, -(-run // LONGEST))
    return Cut(next((level for level, length in enumerate(lengths) if length > WHOLE), 2))
