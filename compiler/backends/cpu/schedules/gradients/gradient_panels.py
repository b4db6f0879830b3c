"""How the operands of a weight's gradient are cut: blocks of pixels, and panels of channels or filters.

See `packed_weight_gradient`, which copies and multiplies them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .....loops.ir import Expr, Stmt
from .....lowering.loops import ceil_div
from ..tiling import split


@dataclass(frozen=True, slots=True)
class Axis:
    """Rows or columns of a block: those of dy, and what of the input the taps read for them."""

    size: int
    """Of dy, all of it."""
    kernel: int
    stride: int
    dilation: int
    origin: int
    """Where the input that the first tap reads for the first place begins."""

    @property
    def step(self) -> int:
        """Places of a panel from what a tap reads to what it reads next: a single tap's are all that is copied."""
        return 1 if self.kernel == 1 else self.stride

    @property
    def copied(self) -> int:
        """Places of the input from one place of the panel to the next."""
        return self.stride if self.kernel == 1 else 1

    def extent(self, places: int) -> int:
        """Places of a panel for so many of dy."""
        return places * self.step + self.overlap

    @property
    def overlap(self) -> int:
        """Places of a panel that the taps read beyond those of the first one."""
        return 1 - self.step + (self.kernel - 1) * self.dilation


@dataclass(frozen=True, slots=True)
class Side:
    """Channels or filters of the result in panels: equal ones and perhaps a narrower last one."""

    size: int
    width: int

    @property
    def forms(self) -> list[tuple[int, int, int]]:
        """First element, count and width of panels of each form."""
        return split(self.size, self.width)

    @property
    def panels(self) -> int:
        """All panels."""
        return ceil_div(self.size, self.width)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of pixels: where it begins, how many images and rows it has, whether it is the first of all."""

    image: Expr
    row: Expr
    images: Expr
    rows: Expr
    is_first: Expr


@dataclass(frozen=True, slots=True)
class Panels:
    """Some panels of one form, by number."""

    start: Expr
    stop: Expr
    first: int
    """Element at which panels of this form begin."""
    width: int

    def element(self, number: Expr) -> Expr:
        """The first element of a panel."""
        return number * self.width + self.first


def part_of(body: Callable[[Panels], list[Stmt]], form: tuple[int, int, int], parts: int, number: Expr) -> list[Stmt]:
    """`body` for one of so many equal parts of the panels of a form."""
    first, count, width = form
    return body(Panels(number * count // parts, (number + 1) * count // parts, first, width))
