"""Choosing register tiles whose steps take a whole row of a window (see `grouped`): rows by columns of pixels.

Such a tile of one vector holds a sum of each pixel, the weights of the row and one element of the input. It reads each
column of the input that lies under the windows of a row of pixels once, so that wide tiles read less.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from ....lowering.group import Group
from ....targets.target import Target
from .geometry import Walk
from .tiling import LATENCY, LOOP_OVERHEAD, Tile, split

_PROMISING = 6
"""Tiles that are worth a try."""
READ_CYCLES = 0.2
"""What reading an element takes beside its multiplications, in multiplications."""


@dataclass(frozen=True, slots=True)
class RowTiling:
    """What a tile is chosen for."""

    g: Walk
    target: Target
    vectors: int = 1
    """Of sums, for each pixel."""
    held: int = 1
    """Vectors of weights that are held for a column of the window."""

    def decided(self, group: Group, widths: tuple[int, ...]) -> Tile:
        """The tile with the least estimated time, unless another one was chosen for the group."""
        sizes = sorted(self.candidates(), key=self._cost)
        settings = [(*size, *widths) for size in sizes[:_PROMISING]]
        return Tile.of(group.choose("tile", settings[0], lambda: settings))

    def candidates(self) -> list[tuple[int, int]]:
        """Rows and columns of what fits the registers."""
        g = self.g
        most = max(1, (self.target.vector_registers - g.window[1] * self.held - 1) // self.vectors)
        sizes = product(range(1, min(g.height, most) + 1), range(1, min(g.width, most) + 1))
        return [(rows, columns) for rows, columns in sizes if rows * columns <= most]

    def _cost(self, size: tuple[int, int]) -> float:
        """Multiplications that a step takes in all tiles of an image, or could have made meanwhile."""
        heights, widths = (split(*of) for of in zip((self.g.height, self.g.width), size, strict=True))
        return sum(n * m * self._tile(rows, columns) for _, n, rows in heights for _, m, columns in widths)

    def _tile(self, rows: int, columns: int) -> float:
        g = self.g
        products = max(rows * columns * self.vectors, LATENCY * self.target.float_units) * g.window[1]
        places = {place for place, _, _ in uses_of_row(g, columns)}
        return products + READ_CYCLES * rows * len(places) * (self.vectors // self.held) + LOOP_OVERHEAD


def uses_of_row(g: Walk, columns: int) -> list[tuple[int, int, int]]:
    """Column of the input, that of the window and that of the tile for all products of a row, in the input's order."""
    found = [(s * g.strides[1] + kx * g.dilations[1], kx, s) for s in range(columns) for kx in range(g.window[1])]
    return sorted(found)
