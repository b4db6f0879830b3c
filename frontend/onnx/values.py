"""What names of a file stand for, and why a node can't be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from ...compiler.errors import NetcError
from ...compiler.graph.ir import Array, Value
from ...compiler.types import DType, TensorType
from .tensors import foreign_word

_OWN = frozenset(dtype.numpy for dtype in DType)


class UnsupportedError(NetcError):
    """A node that netc has no counterpart for, or not in this form."""


class UnknownInputError(UnsupportedError):
    """A node one of whose inputs must be known while the file is read, but isn't."""


class ReportedError(UnsupportedError):
    """A node that depends on one whose problem was reported."""


@dataclass(eq=False, slots=True)
class Tensor:
    """What a name of the file stands for: numbers that are the same in every run, or a value of the graph.

    `sources` are the graph's inputs that it depends on. An optional tensor that isn't there has neither, nor items.
    """

    name: str
    array: Array | None = None
    value: Value | None = None
    sources: frozenset[str] = frozenset()
    items: tuple[Tensor, ...] | None = None
    """The tensors of a sequence, which itself is none."""

    @property
    def is_missing(self) -> bool:
        """True for an optional tensor or sequence that isn't there."""
        return self.array is None and self.value is None and self.items is None

    @property
    def foreign(self) -> str | None:
        """The name of the element type of known numbers, if netc doesn't have it."""
        return None if self.array is None or self.array.dtype in _OWN else foreign_word(self.array)

    @property
    def type(self) -> TensorType:
        """Element type and shape. Raises `UnsupportedError` for a sequence, and for elements that netc doesn't have."""
        if self.value is not None:
            return self.value.type
        if self.array is None:
            raise self.no_tensor()
        if self.foreign is not None:
            raise UnsupportedError(f"elements of type {self.foreign} are not supported here")
        return TensorType(DType.of(self.array.dtype), self.array.shape)

    def no_tensor(self) -> UnsupportedError:
        """What is wrong where a tensor is asked for, and this is none."""
        what = "an optional tensor that isn't there" if self.is_missing else "a sequence of tensors"
        return UnsupportedError(f"`{self.name}` is {what}")


@dataclass(eq=False)
class Constants:
    """The constants that stand in a graph already: of a tensor, by the order of its dimensions."""

    values: dict[tuple[Tensor, tuple[int, ...] | None], Value] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    """Names that they have."""


Given: TypeAlias = Value | Array | Tensor | None
"""What an output stands for: a value of the graph, numbers that are the same in every run, or nothing."""
