"""What a register tile needs to know of the kernel that it is part of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ....graph.ir import Value
from ....loops.ir import Buffer, Expr, Stmt
from ....lowering.group import Group
from ....lowering.kernel import Names
from ....types import DType, TensorType
from .geometry import Walk
from .tiling import Tile

Step = Callable[[Expr, Expr, Expr, Expr, Expr], list[Stmt]]
"""The multiplications of a step: image, row and element of the buffer where its inputs begin, channel tile, depth."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A tensor of the result's shape whose lines a tile asks for before it needs them."""

    buffer: Buffer
    type: TensorType
    writes: bool


class Owner(Protocol):
    """What a micro-kernel needs to know of the kernel that it is part of."""

    group: Group
    g: Walk
    tile: Tile
    dtype: DType
    names: Names
    x: Buffer
    w: Buffer
    y: Buffer
    bias: Buffer | None
    extras: dict[Value, Buffer]
    longest_epilogue: int
    joined_vectors: int
    fetched: Sequence[Fetched]

    def weight_index(self, j: Expr, depth: Expr, channel: Expr, offset: int) -> tuple[Expr, ...]:
        """Place of the weights of step `depth` for the channels from `channel` on, `offset` into channel tile j."""
        ...
