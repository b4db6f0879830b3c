"""Types of values, and the buffers that hold them."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import ClassVar

from ..types import DType


class VectorType:
    """The type of an expression: `lanes` elements of `dtype` (one lane: a scalar).

    Equal types are the same object, so that comparing them takes no time.
    """

    __slots__ = ("dtype", "lanes")

    dtype: DType
    lanes: int
    _known: ClassVar[dict[tuple[int, int], VectorType]] = {}

    def __new__(cls, dtype: DType, lanes: int = 1) -> VectorType:
        """The only instance, in copies and pickles, too."""
        key = (id(dtype), lanes)
        kind = cls._known.get(key)
        if kind is None:
            kind = super().__new__(cls)
            object.__setattr__(kind, "dtype", dtype)
            object.__setattr__(kind, "lanes", lanes)
            kind = cls._known.setdefault(key, kind)  # another thread may have been faster
        return kind

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} of a type can't be changed: all that is of this type shares it")

    def __reduce__(self) -> tuple[type[VectorType], tuple[DType, int]]:
        return VectorType, (self.dtype, self.lanes)

    def __str__(self) -> str:
        return f"{self.dtype}x{self.lanes}" if self.lanes > 1 else str(self.dtype)

    def __repr__(self) -> str:
        return f"VectorType({self})"


INDEX = VectorType(DType.I64)
BOOLEAN = VectorType(DType.BOOL)


class Space(enum.Enum):
    """Where a buffer lives."""

    ARGUMENT = "argument"
    """Memory that the caller passes in, read only."""
    OUT = "out"
    """Memory that the caller passes in, written (and possibly read) by the kernel."""
    REGISTER = "register"
    """A tile of registers; every index must be constant once unrolled loops are expanded."""
    TILE = "tile"
    """Registers that hold tiles: `rows` rows, the last dimension, of `lanes` elements each; indices as of registers."""
    STACK = "stack"
    """A small array in the kernel's own frame, one for each thread."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """Row-major memory. `lanes` > 1 (registers and tiles only): each element is a vector, or each row of a tile."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    space: Space = Space.ARGUMENT
    lanes: int = 1

    @property
    def places(self) -> tuple[int, ...]:
        """Extents of the indices: a tile is one place."""
        return self.shape[:-1] if self.space is Space.TILE else self.shape

    @property
    def element(self) -> VectorType:
        """What lies at a place."""
        rows = self.shape[-1] if self.space is Space.TILE else 1
        return VectorType(self.dtype, self.lanes * rows)

    @property
    def is_register(self) -> bool:
        """It is no memory: what lies at a place is read and written as a whole."""
        return self.space in (Space.REGISTER, Space.TILE)

    @property
    def bytes(self) -> int:
        """How much memory it takes; a register tile with several lanes takes more."""
        return math.prod(self.shape) * self.dtype.itemsize
