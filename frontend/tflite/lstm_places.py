"""Where the tensors of TFLite's LSTMs stand among the inputs of their operators."""

from __future__ import annotations

from dataclasses import dataclass

from ...compiler.ops.sequences.sequence_lstm import GATES, SEEING
from .context import Context


@dataclass(frozen=True)
class Places:
    """Where the tensors of one direction of an LSTM stand among an operator's inputs; those that may be absent, too."""

    weights: dict[str, int]
    state: int
    cell: int
    extra: int | None = None
    """The weights for an auxiliary input, four in a row."""

    def present(self, c: Context) -> dict[str, int]:
        """The weights that are there."""
        return {role: place for role, place in self.weights.items() if c.has(place)}


def _places(first: int, state: int, norm: int | None, extra: int | None = None) -> Places:
    weights = {f"{g}_weight": first + i for i, g in enumerate(GATES)}
    weights |= {f"{g}_recurrent": first + 4 + i for i, g in enumerate(GATES)}
    weights |= {f"{g}_peephole": first + 8 + i for i, g in enumerate(SEEING)}
    weights |= {f"{g}_bias": first + 11 + i for i, g in enumerate(GATES)}
    weights |= {"projection": first + 15, "projection_bias": first + 16}
    if norm is not None:
        weights |= {f"{g}_norm": norm + i for i, g in enumerate(GATES)}
    return Places(weights, state, state + 1, extra)


FORWARD = _places(1, 18, 20)
BOTH_WAYS = (_places(1, 35, None, 40), _places(18, 37, None, 44))
