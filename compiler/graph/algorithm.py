"""How an operation is computed, where a backend has a choice."""

from __future__ import annotations

from dataclasses import dataclass

from ..types import TensorType

MAX_TILE = 64
"""Results along one side of a tile, at most."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """How an operation is computed where a backend has a choice: its decision, made once, which its schedules obey.

    It changes nothing of what the operation means, but rounding.
    """

    name: str
    tile: tuple[int, ...] = ()
    """The result is computed in whole tiles: so many places in each spatial dimension. Empty: place by place."""

    def problem(self, result: TensorType) -> str | None:
        """Why a result of this type can't be computed so; None if it can."""
        if self.tile and len(self.tile) != result.rank - 2:
            return f"tiles of {len(self.tile)} dimensions don't cover {result}"
        if any(not 1 <= size <= MAX_TILE for size in self.tile):
            return f"a tile has 1 to {MAX_TILE} places along each side"
        return None

    def __str__(self) -> str:
        return f"{self.name}[{','.join(map(str, self.tile))}]" if self.tile else self.name
